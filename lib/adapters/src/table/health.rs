//! Whether the table is worth asking (state.md §13.2): where it fails too often it is left alone for a while, so that its
//! callers' failure policy acts at once instead of after a timeout each.
//!
//! Too often is five times in a row, or more than half of at least ten answers within two seconds; ten, since two or
//! three odd answers of a client that asks little are no rate. A hot key's throttling says nothing of the others and is
//! no answer at all here. The first rest is 500 ms, and each that follows before two good seconds have passed twice as
//! long as the one before, 5 s at most. What comes first after a rest decides: a failure begins the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate::clock::{Clock, Timestamp};
use tollgate::table::{TableError, ThrottleReason};

const IN_A_ROW: u32 = 5;
const WINDOW: Duration = Duration::from_secs(2);
/// In milliseconds.
const HALF: u64 = 1_000;
const FEWEST: u32 = 10;
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Health {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    in_a_row: u32,
    /// The last two seconds, as two halves: the current and the one before.
    halves: [Half; 2],
    /// How long the next rest is.
    rest: Duration,
    /// The end of the last one.
    until: Timestamp,
}

/// A half of the window.
#[derive(Debug, Clone, Copy, Default)]
struct Half {
    number: u64,
    answers: u32,
    failures: u32,
}

impl State {
    /// Whether it rests. A rest that ends later than any can was begun before the clock was set back, and is over.
    fn rests(&self, now: Timestamp) -> bool {
        now < self.until && self.until.since(now) <= LONGEST_REST
    }

    fn count(&mut self, now: Timestamp, failed: bool) {
        let number = now.millis() / HALF;
        if self.halves[0].number != number {
            self.halves = [Half { number, ..Half::default() }, self.halves[0]];
        }
        self.halves[0].answers = self.halves[0].answers.saturating_add(1);
        self.halves[0].failures = self.halves[0].failures.saturating_add(failed.into());
    }

    fn fails_too_often(&self) -> bool {
        let [current, before] = self.halves;
        let before = if before.number + 1 == current.number { before } else { Half::default() };
        let (answers, failures) =
            (current.answers.saturating_add(before.answers), current.failures.saturating_add(before.failures));
        answers >= FEWEST && failures > answers / 2
    }
}

impl Health {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State { in_a_row: 0, halves: [Half::default(); 2], rest: FIRST_REST, until: Timestamp::default() };
        Self { clock, state: Mutex::new(state) }
    }

    /// Whether to ask.
    ///
    /// # Errors
    /// [`TableError::Unavailable`] while it rests.
    pub(super) fn ask(&self) -> Result<(), TableError> {
        if self.lock().rests(self.clock.now()) {
            let detail = "left alone after it failed too often".to_owned();
            return Err(TableError::Unavailable { maybe_done: false, detail, source: None });
        }
        Ok(())
    }

    /// Learns from an answer.
    pub(super) fn saw<T>(&self, answer: &Result<T, TableError>) {
        let failed = match answer {
            Ok(_) | Err(TableError::Refused { .. } | TableError::Invalid { .. }) => false,
            Err(TableError::Throttled { reason: ThrottleReason::KeyRange }) => return,
            Err(TableError::Throttled { .. } | TableError::Unavailable { .. }) => true,
        };
        let now = self.clock.now();
        let mut state = self.lock();
        // Those that were under way when the rest began tell nothing new.
        if state.rests(now) {
            return;
        }
        state.count(now, failed);
        if !failed {
            state.in_a_row = 0;
            if now.since(state.until) >= WINDOW {
                state.rest = FIRST_REST;
            }
        } else {
            state.in_a_row = state.in_a_row.saturating_add(1);
        }
        if state.in_a_row >= IN_A_ROW || state.fails_too_often() {
            state.until = now.plus(state.rest);
            state.rest = LONGEST_REST.min(state.rest * 2);
            // So that the first failure after the rest begins the next.
            state.in_a_row = IN_A_ROW;
            state.halves = [Half::default(); 2];
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
