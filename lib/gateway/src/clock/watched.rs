//! A clock that is held against others' (state.md §2).
//!
//! What speaks against it: it steps back; a front door's clock, which was read before the request came here, is ahead of
//! it; a date of the table does not fit. Each is a *break* of trust, and leaves the clock *doubted*, the step alone
//! excepted, which is most likely a correction. What may be the request's as well as the clock's, an event that took
//! seconds longer than the quickest to come here, is no break and makes it unsure only until one comes in time again.
//!
//! Doubt ends with the first thing that fits after [`PROBATION`] without one that does not: a clock that is behind by
//! less than events take to come here fits now and then, so one that fits proves nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::{Clock, DOUBTED, Timestamp};

/// For how long nothing may have spoken against a clock before it is trusted again.
const PROBATION: Duration = Duration::from_secs(60);

/// How much longer than the quickest an event may take to come here.
const LATE: Duration = Duration::from_secs(2);

/// An event that is older than any front door waits for its answer (API Gateway: 29 s, a function: 15 min) is a sample
/// or is sent again, and tells nothing of the time.
const LIVE: Duration = Duration::from_secs(15 * 60);

/// A front door's clock that is further ahead is not taken over: AWS refuses what is signed by a clock that is off by 5
/// minutes, so the table would long have said so, and one wrong event must not write a time years ahead into items that
/// all environments share.
const BELIEVED: Duration = Duration::from_secs(5 * 60);

/// What a date in whole seconds leaves open (RFC 9110 §5.6.7).
const DATE: Duration = Duration::from_secs(1);

/// A clock that is held against front doors' and the table's. A few atomics: it is read several times a request.
#[derive(Debug)]
pub struct Watched<C> {
    clock: C,
    usual: Duration,
    /// The latest that the clock said.
    seen: AtomicU64,
    /// How far it is known to be behind: added to what it says.
    behind: AtomicU64,
    /// How long the quickest event took to come here.
    quickest: AtomicU64,
    /// Whether the latest event took [`LATE`] longer.
    late: AtomicBool,
    /// When something last spoke against it, while it is doubted; else 0.
    doubted: AtomicU64,
    breaks: AtomicU64,
}

impl<C: Clock> Watched<C> {
    /// Watches `clock`, which is off by `usual` at most as long as nothing speaks against it.
    pub const fn new(clock: C, usual: Duration) -> Self {
        Self {
            clock,
            usual,
            seen: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            quickest: AtomicU64::new(u64::MAX),
            late: AtomicBool::new(false),
            doubted: AtomicU64::new(0),
            breaks: AtomicU64::new(0),
        }
    }

    /// What the clock itself says. Finds a step back, since what others saw is asked for first.
    fn read(&self) -> Timestamp {
        let seen = self.seen.load(Ordering::Acquire);
        let now = self.clock.now();
        if now.nanos() >= seen {
            self.seen.fetch_max(now.nanos(), Ordering::AcqRel);
        } else if self.seen.compare_exchange(seen, now.nanos(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.breaks.fetch_add(1, Ordering::AcqRel);
            // Probation is counted on this clock.
            if self.doubted.load(Ordering::Relaxed) != 0 {
                self.doubt(now);
            }
        }
        now
    }

    fn doubt(&self, now: Timestamp) {
        self.doubted.store(now.nanos().max(1), Ordering::Relaxed);
    }

    /// Something spoke against it.
    fn broke(&self, now: Timestamp) {
        self.doubt(now);
        self.breaks.fetch_add(1, Ordering::AcqRel);
    }

    /// Something spoke for it.
    fn fits(&self, now: Timestamp) {
        let doubted = self.doubted.load(Ordering::Relaxed);
        let over = now.since(Timestamp::from_nanos(doubted)) >= PROBATION;
        if doubted != 0 && over && self.behind() <= self.usual {
            // Unless something else spoke against it meanwhile.
            _ = self.doubted.compare_exchange(doubted, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    fn behind(&self) -> Duration {
        Duration::from_nanos(self.behind.load(Ordering::Acquire))
    }
}

impl<C: Clock> Clock for Watched<C> {
    fn now(&self) -> Timestamp {
        self.read().plus(self.behind())
    }

    fn error(&self) -> Duration {
        let trusted = self.doubted.load(Ordering::Relaxed) == 0 && !self.late.load(Ordering::Relaxed);
        if trusted { self.usual } else { DOUBTED.max(self.usual) }
    }

    fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Acquire)
    }

    /// From here on `now` is not before `at`, so far as it can be believed.
    fn saw_front(&self, at: Timestamp) {
        let now = self.read();
        let ahead = at.since(now);
        let corrected = if ahead > BELIEVED { Duration::ZERO } else { ahead };
        if ahead > self.usual || self.behind().saturating_sub(corrected) > self.usual {
            // The break comes before the time that it voids things at.
            self.broke(now);
        }
        self.behind.store(nanos(corrected), Ordering::Release);
        if ahead > self.usual {
            return;
        }
        let took = now.since(at);
        if took > LIVE {
            return;
        }
        let quickest = self.quickest.fetch_min(nanos(took), Ordering::Relaxed).min(nanos(took));
        let late = took.saturating_sub(Duration::from_nanos(quickest)) > LATE;
        self.late.store(late, Ordering::Relaxed);
        if !late {
            self.fits(now);
        }
    }

    fn saw_date(&self, date: Timestamp, sent: Timestamp, received: Timestamp) {
        let off = date.since(received).max(received.since(date));
        let now = self.read();
        if off > DATE + received.since(sent) + self.usual {
            self.broke(now);
        } else {
            self.fits(now);
        }
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
