//! Bodies on their way: a request's is cut at its size, an answer's at its time. Trailers pass.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::exchange::{Body, BodyFault, BodyStream};

/// A body that ends with [`BodyFault::TooLarge`] once it passes `limit` bytes. One that is known to be shorter stays
/// as it is.
pub fn limited(body: Body, limit: u64) -> Body {
    if body.known_len().is_some_and(|len| len <= limit) {
        return body;
    }
    let inner: BodyStream = match body {
        Body::Empty => return Body::Empty,
        Body::Full(bytes) => Box::pin(Full::new(bytes).map_err(|never| match never {})),
        Body::Stream(inner) => inner,
    };
    Body::stream(Limited { inner: Some(inner), left: limit, limit })
}

/// A body that passes whole, and the word whether more than `limit` bytes of it came.
pub fn watched(body: Body, limit: u64) -> (Body, Option<Watch>) {
    match body {
        Body::Stream(inner) if inner.size_hint().exact().is_none() => {
            let watch = Watch { limit, passed: Arc::default() };
            let watched = Watched { inner, left: limit, passed: Arc::clone(&watch.passed) };
            (Body::stream(watched), Some(watch))
        }
        body @ (Body::Empty | Body::Full(_) | Body::Stream(_)) => (body, None),
    }
}

/// An answer's body that ends with [`BodyFault::Stalled`] when `idle` passes between two chunks, or at `until`.
/// An `idle` of zero is no limit.
pub fn timed(body: Body, idle: Option<Duration>, until: Option<Instant>) -> Body {
    let idle = idle.filter(|idle| !idle.is_zero());
    match body {
        Body::Stream(inner) if idle.is_some() || until.is_some() => {
            Body::stream(Timed { inner: Some(inner), idle, until, waiting: None, timer: None })
        }
        body @ (Body::Empty | Body::Full(_) | Body::Stream(_)) => body,
    }
}

/// Tells of a body on its way whether it passed its limit. One whose length is known needs none.
#[derive(Debug)]
pub struct Watch {
    limit: u64,
    passed: Arc<AtomicBool>,
}

impl Watch {
    /// The limit, where more came so far.
    pub fn passed(&self) -> Option<u64> {
        self.passed.load(Ordering::Relaxed).then_some(self.limit)
    }
}

struct Watched {
    inner: BodyStream,
    left: u64,
    passed: Arc<AtomicBool>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        match self.left.checked_sub(data.map_or(0, |data| data.len() as u64)) {
            Some(left) => self.left = left,
            None => self.passed.store(true, Ordering::Relaxed),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// `inner` is `None` once the body has ended or was cut: what is left of it is given back at once.
struct Limited {
    inner: Option<BodyStream>,
    left: u64,
    limit: u64,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = ready!(inner.as_mut().poll_frame(cx));
        let len = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) | None => {
                self.inner = None;
                return Poll::Ready(frame);
            }
        };
        let Some(left) = self.left.checked_sub(len) else {
            self.inner = None;
            return Poll::Ready(Some(Err(BodyFault::TooLarge { limit: self.limit })));
        };
        self.left = left;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint())
    }
}

struct Timed {
    inner: Option<BodyStream>,
    idle: Option<Duration>,
    until: Option<Instant>,
    /// Since when the sender lets us wait.
    waiting: Option<Instant>,
    /// Made at the first wait and set anew at each: a body that is there at once costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = inner.as_mut().poll_frame(cx) {
            let over = || this.until.is_some_and(|until| Instant::now() >= until);
            // A sender that never lets us wait arms no timer, and shall not run on for ever either.
            if matches!(&frame, Some(Ok(frame)) if frame.is_data()) && over() {
                return this.cut();
            }
            this.waiting = None;
            if matches!(frame, None | Some(Err(_))) {
                this.inner = None;
            }
            return Poll::Ready(frame);
        }
        if this.waiting.is_none() {
            this.wait();
        }
        if let Some(timer) = &mut this.timer {
            ready!(timer.as_mut().poll(cx));
            return this.cut();
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.size_hint())
    }
}

impl Timed {
    /// Sets the timer for one wait, which begins now.
    fn wait(&mut self) {
        let now = Instant::now();
        self.waiting = Some(now);
        // An idle time beyond what an instant can hold is none.
        let idle = self.idle.and_then(|idle| now.checked_add(idle));
        let Some(ends) = idle.into_iter().chain(self.until).min() else { return };
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(ends),
            None => self.timer = Some(Box::pin(sleep_until(ends))),
        }
    }

    fn cut(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.inner = None;
        self.timer = None;
        let waited = self.waiting.map(|since| since.elapsed()).unwrap_or_default();
        Poll::Ready(Some(Err(BodyFault::Stalled(waited))))
    }
}

#[cfg(test)]
mod tests;
