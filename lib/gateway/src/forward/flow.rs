//! Bodies on their way: a request's is cut at its limit, an answer's at its time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::exchange::{Body, BodyFault, BodyStream};

/// A request's body that ends with [`BodyFault::TooLarge`] once it passes `limit` bytes.
pub fn limited(body: Body, limit: u64) -> Body {
    match body {
        Body::Stream(inner) if http_body::Body::size_hint(&inner).exact().is_none_or(|len| len > limit) => {
            Body::stream(Limited { inner, left: limit, limit })
        }
        body @ (Body::Empty | Body::Full(_) | Body::Stream(_)) => body,
    }
}

/// An answer's body that ends with [`BodyFault::Stalled`] when `idle` passes between two chunks, or at `until`.
pub fn timed(body: Body, idle: Option<Duration>, until: Option<Instant>) -> Body {
    match body {
        Body::Stream(inner) if idle.is_some() || until.is_some() => {
            Body::stream(Timed { inner, idle, until, begun: None, timer: None })
        }
        body @ (Body::Empty | Body::Full(_) | Body::Stream(_)) => body,
    }
}

struct Limited {
    inner: BodyStream,
    left: u64,
    limit: u64,
}

impl http_body::Body for Limited {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let frame = ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyFault::TooLarge { limit: self.limit }))),
            }
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

struct Timed {
    inner: BodyStream,
    idle: Option<Duration>,
    until: Option<Instant>,
    begun: Option<Instant>,
    /// Armed only while the sender lets us wait: a body that is there at once costs no timer.
    timer: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = this.inner.as_mut().poll_frame(cx) {
            this.timer = None;
            if this.until.is_some_and(|until| Instant::now() >= until) && matches!(frame, Some(Ok(_))) {
                return Poll::Ready(Some(Err(this.stalled())));
            }
            return Poll::Ready(frame);
        }
        if this.timer.is_none() {
            let now = Instant::now();
            this.begun = Some(now);
            let idle = this.idle.map(|idle| now + idle);
            let ends = match (idle, this.until) {
                (Some(idle), Some(until)) => Some(idle.min(until)),
                (idle, until) => idle.or(until),
            };
            this.timer = ends.map(|ends| Box::pin(sleep_until(ends)));
        }
        if let Some(timer) = &mut this.timer {
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Some(Err(this.stalled())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Timed {
    fn stalled(&self) -> BodyFault {
        BodyFault::Stalled(self.begun.map(|begun| begun.elapsed()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::*;

    /// A body fed by hand.
    struct Fed(mpsc::UnboundedReceiver<Bytes>);

    impl http_body::Body for Fed {
        type Data = Bytes;
        type Error = BodyFault;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
            self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    fn fed() -> (mpsc::UnboundedSender<Bytes>, Body) {
        let (feed, fed) = mpsc::unbounded_channel();
        (feed, Body::stream(Fed(fed)))
    }

    #[tokio::test]
    async fn a_stream_that_passes_the_limit_ends_with_a_fault() {
        let (feed, body) = fed();
        let mut body = match limited(body, 5) {
            Body::Stream(stream) => stream,
            other @ (Body::Empty | Body::Full(_)) => panic!("a stream stays one: {other:?}"),
        };
        feed.send(Bytes::from_static(b"12345")).expect("open");
        feed.send(Bytes::from_static(b"6")).expect("open");
        assert!(body.frame().await.expect("a frame").is_ok());
        assert!(matches!(body.frame().await, Some(Err(BodyFault::TooLarge { limit: 5 }))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stalls_between_two_chunks_is_cut() {
        let (feed, body) = fed();
        let Body::Stream(mut body) = timed(body, Some(Duration::from_secs(5)), None) else { panic!("a stream") };
        feed.send(Bytes::from_static(b"1")).expect("open");
        assert!(body.frame().await.expect("a frame").is_ok());
        let before = Instant::now();
        assert!(matches!(body.frame().await, Some(Err(BodyFault::Stalled(_)))));
        assert_eq!(before.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_trickles_past_its_total_time_is_cut() {
        let (feed, body) = fed();
        let until = Instant::now() + Duration::from_secs(10);
        let Body::Stream(mut body) = timed(body, Some(Duration::from_secs(5)), Some(until)) else { panic!("a stream") };
        let mut got = 0;
        loop {
            feed.send(Bytes::from_static(b"1")).expect("open");
            match body.frame().await.expect("a frame") {
                Ok(_) => got += 1,
                Err(_) => break,
            }
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(got, 4);
    }
}
