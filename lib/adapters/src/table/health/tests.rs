//! When the table is left alone, and for how long.

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;

#[derive(Debug)]
struct Millis(AtomicU64);

impl Clock for Millis {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

const START: u64 = 1_000_000;

fn health() -> (Arc<Millis>, Health) {
    let clock = Arc::new(Millis(AtomicU64::new(START)));
    (Arc::clone(&clock), Health::new(clock))
}

fn failed() -> Result<(), TableError> {
    Err(TableError::Unavailable { maybe_done: true, detail: String::new(), source: None })
}

fn throttled(reason: ThrottleReason) -> Result<(), TableError> {
    Err(TableError::Throttled { reason })
}

#[test]
fn after_five_failures_in_a_row_it_rests_longer_and_longer() {
    let (clock, health) = health();
    for _ in 0..4 {
        health.saw(&failed());
    }
    assert!(health.ask().is_ok());
    health.saw(&failed());
    for rest in [500, 1000, 2000, 4000, 5000, 5000] {
        health.saw(&failed()); // one that was under way
        health.saw(&Ok(())); // and another
        clock.0.fetch_add(rest - 1, Ordering::Relaxed);
        assert!(health.ask().is_err(), "{rest}");
        clock.0.fetch_add(1, Ordering::Relaxed);
        assert!(health.ask().is_ok(), "{rest}");
        health.saw(&failed());
    }
}

#[test]
fn any_answer_ends_the_row() {
    let (clock, health) = health();
    for _ in 0..20 {
        for _ in 0..4 {
            health.saw(&failed());
        }
        health.saw::<()>(&Err(TableError::Refused { old: None }));
        clock.0.fetch_add(2_000, Ordering::Relaxed);
    }
    assert!(health.ask().is_ok());
}

#[test]
fn an_account_or_a_table_that_is_asked_too_much_is_left_alone_and_a_hot_key_is_nothing() {
    for reason in [ThrottleReason::Account, ThrottleReason::Table, ThrottleReason::Unknown, ThrottleReason::KeyRange] {
        let (_, health) = health();
        for _ in 0..5 {
            health.saw(&throttled(reason));
        }
        assert_eq!(health.ask().is_ok(), reason == ThrottleReason::KeyRange, "{reason:?}");
    }
    let (_, health) = health();
    for _ in 0..4 {
        health.saw(&failed());
        health.saw(&throttled(ThrottleReason::KeyRange));
    }
    health.saw(&failed());
    assert!(health.ask().is_err(), "a hot key does not end the row either");
}

#[test]
fn more_failures_than_not_within_two_seconds_are_too_many_where_there_are_ten_answers() {
    for (answers, apart, rests) in [
        ("FFSFFSFFS", 0, false),
        ("FFSFFSFFSF", 0, true),
        ("SFSFSFSFSFSFSFSF", 0, false),
        ("FSFSFSFSFSF", 0, true),
        ("FFSFFSFFSF", 100, true),
        ("FFSFFSFFSF", 250, false),
        ("FFSFFSFFSFFSFFSFFS", 1_000, false),
    ] {
        let (clock, health) = health();
        for answer in answers.chars() {
            assert!(health.ask().is_ok(), "{answers} {apart}");
            health.saw(&if answer == 'F' { failed() } else { Ok(()) });
            clock.0.fetch_add(apart, Ordering::Relaxed);
        }
        assert_eq!(health.ask().is_err(), rests, "{answers} {apart}");
    }
}

#[test]
fn the_next_rest_is_longer_unless_two_good_seconds_have_passed() {
    for (pause, rest) in [(0, 1_000), (1_999, 1_000), (2_000, 500)] {
        let (clock, health) = health();
        for _ in 0..5 {
            health.saw(&failed());
        }
        clock.0.fetch_add(500 + pause, Ordering::Relaxed);
        health.saw(&Ok(()));
        for _ in 0..5 {
            assert!(health.ask().is_ok());
            health.saw(&failed());
        }
        clock.0.fetch_add(rest - 1, Ordering::Relaxed);
        assert!(health.ask().is_err(), "{pause}");
        clock.0.fetch_add(1, Ordering::Relaxed);
        assert!(health.ask().is_ok(), "{pause}");
    }
}

#[test]
fn a_clock_that_is_set_back_makes_no_rest_longer() {
    let (clock, health) = health();
    for _ in 0..5 {
        health.saw(&failed());
    }
    clock.0.store(START - 4_501, Ordering::Relaxed);
    assert!(health.ask().is_ok());
}

proptest! {
    #[test]
    fn no_rest_is_longer_than_five_seconds_and_none_begins_without_a_failure(
        answers in proptest::collection::vec((any::<bool>(), 0..1_500_u64), 1..200),
    ) {
        let (clock, health) = health();
        for (fails, apart) in answers {
            let before = health.ask().is_ok();
            health.saw(&if fails { failed() } else { Ok(()) });
            let failures = health.lock().in_a_row;
            prop_assert!(!before || health.ask().is_ok() || failures == IN_A_ROW);
            clock.0.fetch_add(apart, Ordering::Relaxed);
            let now = clock.0.load(Ordering::Relaxed);
            prop_assert!(health.lock().until <= Timestamp::from_millis(now + 5_000));
        }
    }
}
