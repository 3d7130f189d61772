//! Whether the table is worth asking: after five failures in a row it is left alone for a while, so that its callers'
//! failure policy acts at once instead of after a timeout each (state.md §13.2).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate::clock::{Clock, Timestamp};
use tollgate::table::{TableError, ThrottleReason};

const IN_A_ROW: u32 = 5;
const FIRST_REST: Duration = Duration::from_millis(500);
const LONGEST_REST: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Health {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    rest: Duration,
    until: Timestamp,
}

impl Health {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::new(State { failures: 0, rest: FIRST_REST, until: Timestamp::default() }) }
    }

    /// Whether to ask.
    ///
    /// # Errors
    /// [`TableError::Unavailable`] while it rests.
    pub(super) fn ask(&self) -> Result<(), TableError> {
        let state = self.lock();
        if state.failures >= IN_A_ROW && self.clock.now() < state.until {
            let detail = format!("left alone after {} failures in a row", state.failures);
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
        if !failed {
            *state = State { failures: 0, rest: FIRST_REST, until: Timestamp::default() };
            return;
        }
        state.failures = state.failures.saturating_add(1);
        // Those that were under way when the rest began tell nothing new.
        if state.failures >= IN_A_ROW && now >= state.until {
            state.until = now.plus(state.rest);
            state.rest = LONGEST_REST.min(state.rest * 2);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Debug, Default)]
    struct Millis(AtomicU64);

    impl Clock for Millis {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    fn failed() -> Result<(), TableError> {
        Err(TableError::Unavailable { maybe_done: true, detail: String::new(), source: None })
    }

    #[test]
    fn after_five_failures_in_a_row_it_rests_longer_and_longer() {
        let clock = Arc::new(Millis(AtomicU64::new(1_000_000)));
        let health = Health::new(clock.clone());
        for _ in 0..4 {
            health.saw(&failed());
        }
        assert!(health.ask().is_ok());
        health.saw(&failed());
        for rest in [500, 1000, 2000, 4000, 5000, 5000] {
            health.saw(&failed()); // one that was under way
            clock.0.fetch_add(rest - 1, Ordering::Relaxed);
            assert!(health.ask().is_err(), "{rest}");
            clock.0.fetch_add(1, Ordering::Relaxed);
            assert!(health.ask().is_ok(), "{rest}");
            health.saw(&failed());
        }
    }

    #[test]
    fn any_answer_ends_the_row() {
        let health = Health::new(Arc::new(Millis(AtomicU64::new(1_000_000))));
        for _ in 0..20 {
            for _ in 0..4 {
                health.saw(&failed());
            }
            health.saw::<()>(&Err(TableError::Refused { old: None }));
        }
        for _ in 0..20 {
            health.saw::<()>(&Err(TableError::Throttled { reason: ThrottleReason::KeyRange }));
        }
        assert!(health.ask().is_ok(), "a hot key says nothing of the others");
    }
}
