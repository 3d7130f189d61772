//! True time, the clocks of environments, and what one request leaves behind.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tollgate::clock::{Clock, Timestamp};

/// The moment a run starts, in nanoseconds of the epoch.
const START: u64 = 1_700_000_000_000_000_000;

/// Simulated time: tokio's paused clock, which jumps from timer to timer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth(Instant);

impl Truth {
    pub(crate) fn begin() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(crate) fn at(self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

impl Clock for Truth {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(START + Self::now(*self))
    }
}

/// The clock of one environment: off by an amount that steps change.
#[derive(Debug)]
pub(crate) struct Wall {
    truth: Truth,
    off: AtomicI64,
    told: AtomicU64,
}

impl Wall {
    pub(crate) const fn new(truth: Truth, off: i64) -> Self {
        Self { truth, off: AtomicI64::new(off), told: AtomicU64::new(0) }
    }

    pub(crate) fn step(&self, off: i64) {
        self.off.store(off, Ordering::Relaxed);
    }

    /// What it said last.
    pub(crate) fn told(&self) -> i128 {
        self.told.load(Ordering::Relaxed).into()
    }

    /// When this is truly, what it calls `moment`; in nanoseconds since the start.
    pub(crate) fn truly(&self, moment: i128) -> u64 {
        u64::try_from(moment - i128::from(START) - i128::from(self.off.load(Ordering::Relaxed))).unwrap_or(0)
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let truth = self.truth.now();
        let told = (START + truth).saturating_add_signed(self.off.load(Ordering::Relaxed));
        self.told.store(told, Ordering::Relaxed);
        Timestamp::from_nanos(told)
    }
}

/// While an environment is frozen, nothing of it runs, its timers included.
#[derive(Debug, Default)]
pub(crate) struct Ice(AtomicU64);

impl Ice {
    pub(crate) fn freeze_until(&self, nanos: u64) {
        self.0.fetch_max(nanos, Ordering::Relaxed);
    }
}

/// A future that is polled only while its environment is not frozen.
pub(crate) struct Freezable<F> {
    inner: Pin<Box<F>>,
    ice: Arc<Ice>,
    truth: Truth,
    thaw: Option<Pin<Box<Sleep>>>,
}

impl<F> Freezable<F> {
    pub(crate) fn new(ice: &Arc<Ice>, truth: Truth, inner: F) -> Self {
        Self { inner: Box::pin(inner), ice: Arc::clone(ice), truth, thaw: None }
    }
}

impl<F: Future> Future for Freezable<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        loop {
            let until = self.ice.0.load(Ordering::Relaxed);
            if until <= self.truth.now() {
                break;
            }
            let until = self.truth.at(until);
            let thaw = self.thaw.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if thaw.deadline() != until {
                thaw.as_mut().reset(until);
            }
            ready!(thaw.as_mut().poll(cx));
        }
        self.thaw = None;
        self.inner.as_mut().poll(cx)
    }
}

/// What became of one request; times in nanoseconds since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) arrived: u64,
    /// When it counts, where it was admitted: when the table was asked for its own token, or else when it was spent.
    pub(crate) counts: Option<u64>,
    /// Whether its limits took time, which only the table takes.
    pub(crate) waited: bool,
}

/// What became of all requests.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Vec<Entry>>);

impl Ledger {
    pub(crate) fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

tokio::task_local! {
    /// The request that runs.
    pub(crate) static TRACE: Trace;
}

/// What is noted of a request while it runs. It is written down at its end, however it ends.
#[derive(Debug)]
pub(crate) struct Trace {
    ledger: Arc<Ledger>,
    truth: Truth,
    arrived: u64,
    /// From when on the token counts that the table granted to it alone.
    took: Cell<Option<u64>>,
    decided: Cell<Option<u64>>,
    counts: Cell<Option<u64>>,
}

impl Trace {
    pub(crate) fn open(ledger: &Arc<Ledger>, truth: Truth) -> Self {
        let arrived = truth.now();
        Self {
            ledger: Arc::clone(ledger),
            truth,
            arrived,
            took: Cell::default(),
            decided: Cell::default(),
            counts: Cell::default(),
        }
    }

    /// The table granted it a token, which counts from then on.
    pub(crate) fn took(&self, from: u64) {
        self.took.set(Some(from));
    }

    /// Its limits let it pass, or not.
    pub(crate) fn decided(&self, admitted: bool) {
        if self.decided.get().is_none() {
            let now = self.truth.now();
            self.decided.set(Some(now));
            self.counts.set(admitted.then(|| self.took.get().unwrap_or(now)));
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let waited = self.decided.get().is_none_or(|at| at > self.arrived);
        let entry = Entry { arrived: self.arrived, counts: self.counts.get(), waited };
        self.ledger.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}
