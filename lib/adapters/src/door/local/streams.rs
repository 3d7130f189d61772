//! The streams of an HTTP/2 connection, each for as long as its client takes its answer.
//!
//! A client that opens no window for a stream is waited for without end: nothing is written that could stand still, and
//! the answer's body, with the upstream behind it, is not asked for more.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};

tokio::task_local! {
    /// The offer of the stream that is polled.
    static OFFER: Offer;
}

/// Since when a part of an answer is there that the client does not take; `None` where it is the client who waits.
/// Empty over HTTP/1, where writing tells whether a client takes.
#[derive(Clone, Default)]
pub(super) struct Offer(Option<Arc<Mutex<Option<Instant>>>>);

impl Offer {
    /// That of the stream which is being answered.
    pub(super) fn of_this_stream() -> Self {
        let offer = OFFER.try_with(Self::clone).unwrap_or_default();
        offer.note(true);
        offer
    }

    /// Notes whether something more is there, or has to be waited for.
    pub(super) fn note(&self, there: bool) {
        if let Some(since) = &self.0 {
            *since.lock().unwrap_or_else(PoisonError::into_inner) = there.then(Instant::now);
        }
    }

    fn since(&self) -> Option<Instant> {
        *self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a connection's streams; one whose client takes nothing for `stall` is given up, which resets it.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) stall: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let offer = Offer(Some(Arc::default()));
        let stream = Box::pin(OFFER.scope(offer.clone(), stream));
        tokio::spawn(Stream { stream, offer, stall: self.stall, bell: None });
    }
}

struct Stream<F> {
    stream: Pin<Box<F>>,
    offer: Offer,
    stall: Duration,
    bell: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = this.offer.since() else { return Poll::Pending };
        let until = since + this.stall;
        let bell = this.bell.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if bell.deadline() != until {
            bell.as_mut().reset(until);
        }
        bell.as_mut().poll(cx)
    }
}
