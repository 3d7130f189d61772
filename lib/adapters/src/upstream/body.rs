//! Bodies between the core and hyper.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tollgate::exchange::{Body, BodyFault, BodyStream};

use super::locked;
use super::pool::Lease;

/// Answers up to this size are handed on whole when they are there with their head, which spares a stream.
const WHOLE: u64 = 64 * 1024;

/// A request's body on its way out.
pub(super) enum Sending {
    Empty,
    Full(Bytes),
    Stream(BodyStream, Broken),
}

/// Where a body leaves the fault that ended it, since hyper does not hand it back.
#[derive(Clone, Default)]
pub(super) struct Broken(Arc<Mutex<Option<BodyFault>>>);

/// Stands in for the [`BodyFault`] that [`Broken`] keeps.
#[derive(Debug, thiserror::Error)]
#[error("the request's body ended early")]
pub(super) struct Cut;

impl Broken {
    pub(super) fn take(&self) -> Option<BodyFault> {
        locked(&self.0).take()
    }
}

impl Sending {
    pub(super) fn new(body: Body) -> Self {
        match body {
            Body::Empty => Self::Empty,
            Body::Full(bytes) if bytes.is_empty() => Self::Empty,
            Body::Full(bytes) => Self::Full(bytes),
            Body::Stream(stream) => Self::Stream(stream, Broken::default()),
        }
    }

    pub(super) fn broken(&self) -> Option<Broken> {
        match self {
            Self::Empty | Self::Full(_) => None,
            Self::Stream(_, broken) => Some(broken.clone()),
        }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream, broken) => stream.as_mut().poll_frame(cx).map_err(|fault| {
                *locked(&broken.0) = Some(fault);
                Cut
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(stream, _) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream, _) => stream.size_hint(),
        }
    }
}

/// An answer's body as it arrives. Its end gives the connection back.
struct Arriving {
    first: Option<Result<Frame<Bytes>, BodyFault>>,
    incoming: Incoming,
    lease: Option<Lease>,
}

/// Takes an answer's body: whole if it is small and there, else as a stream. `lease` is the HTTP/1 connection.
pub(super) fn receive(mut incoming: Incoming, lease: Option<Lease>) -> Body {
    if incoming.is_end_stream() {
        give_back(lease);
        return Body::Empty;
    }
    let mut first = None;
    if incoming.size_hint().exact().is_some_and(|size| size <= WHOLE) {
        // Nobody need be woken: what is not there now is polled for again as a stream.
        let polled = Pin::new(&mut incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Some(frame)) = polled {
            match frame {
                Ok(frame) if incoming.is_end_stream() => match frame.into_data() {
                    Ok(data) => {
                        give_back(lease);
                        return Body::Full(data);
                    }
                    Err(frame) => first = Some(Ok(frame)),
                },
                frame => first = Some(frame.map_err(broken_off)),
            }
        }
    }
    Body::stream(Arriving { first, incoming, lease })
}

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let polled = match self.first.take() {
            Some(first) => Some(first),
            None => match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(polled) => polled.map(|frame| frame.map_err(broken_off)),
                Poll::Pending => return Poll::Pending,
            },
        };
        match &polled {
            Some(Err(_)) => self.lease = None,
            Some(Ok(_)) if !self.incoming.is_end_stream() => {}
            Some(Ok(_)) | None => give_back(self.lease.take()),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let waiting = match &self.first {
            Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) | None => 0,
        };
        self.incoming.size_hint().exact().map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + waiting))
    }
}

fn give_back(lease: Option<Lease>) {
    if let Some(lease) = lease {
        lease.give_back();
    }
}

fn broken_off(error: hyper::Error) -> BodyFault {
    BodyFault::Broken(Box::new(error))
}
