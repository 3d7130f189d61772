//! What is held against a clock, and what comes of it.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::{IN_STEP, UNKNOWN};
use super::*;

/// A clock that says what it is told to.
#[derive(Debug, Clone, Default)]
struct Hand(Arc<AtomicU64>);

impl Hand {
    fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

const NOON: u64 = 1_795_521_600_000;
const HOUR: u64 = 3_600_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn watched() -> (Hand, Watched<Hand>) {
    let hand = Hand::default();
    hand.set(NOON);
    let clock = Watched::new(hand.clone(), IN_STEP);
    (hand, clock)
}

#[test]
fn a_clock_that_nothing_speaks_against_is_as_it_is() {
    let (hand, clock) = watched();
    assert_eq!((clock.now(), clock.error(), clock.breaks()), (at(NOON), IN_STEP, 0));
    hand.set(NOON + HOUR);
    assert_eq!((clock.now(), clock.error(), clock.breaks()), (at(NOON + HOUR), IN_STEP, 0));
    assert_eq!(Watched::new(hand, UNKNOWN).error(), UNKNOWN);
}

#[test]
fn a_step_back_is_one_break_and_no_reason_for_doubt() {
    let (hand, clock) = watched();
    clock.now();
    hand.set(NOON - HOUR);
    assert_eq!((clock.now(), clock.error(), clock.breaks()), (at(NOON - HOUR), IN_STEP, 1));
    assert_eq!((clock.now(), clock.breaks()), (at(NOON - HOUR), 1));
    hand.set(NOON - HOUR - 1);
    assert_eq!((clock.now(), clock.breaks()), (at(NOON - HOUR - 1), 2));
}

#[test]
fn a_clock_behind_a_front_doors_goes_on_from_there_and_is_doubted() {
    let (hand, clock) = watched();
    clock.saw_front(at(NOON + 40));
    assert_eq!((clock.now(), clock.error(), clock.breaks()), (at(NOON + 40), DOUBTED, 1));
    hand.set(NOON + 1_000);
    assert_eq!(clock.now(), at(NOON + 1_040));
    clock.saw_front(at(NOON + 900));
    assert_eq!((clock.now(), clock.error()), (at(NOON + 1_000), DOUBTED), "by this one it is not behind");
    assert_eq!(clock.breaks(), 2, "time went back");
}

#[test]
fn a_front_door_that_is_ahead_by_no_more_than_clocks_are_off_is_taken_over_without_doubt() {
    let (hand, clock) = watched();
    for (ahead, now) in [(5, 5), (3, 3), (0, 0)] {
        clock.saw_front(at(NOON + ahead));
        assert_eq!((clock.now(), clock.error(), clock.breaks()), (at(NOON + now), IN_STEP, 0));
    }
    hand.set(NOON + 7);
    clock.saw_front(at(NOON));
    assert_eq!((clock.now(), clock.breaks()), (at(NOON + 7), 0));
}

#[test]
fn a_front_door_years_ahead_is_doubted_but_not_taken_over() {
    let (_, clock) = watched();
    clock.saw_front(at(NOON + 1_000 * 24 * HOUR));
    assert_eq!((clock.now(), clock.error(), clock.breaks()), (at(NOON), DOUBTED, 1));
    clock.saw_front(at(NOON + 300_000));
    assert_eq!(clock.now(), at(NOON + 300_000));
    clock.saw_front(at(NOON + 300_001));
    assert_eq!(clock.now(), at(NOON));
    clock.saw_front(Timestamp::from_nanos(u64::MAX));
    assert_eq!(clock.now(), at(NOON));
}

#[test]
fn an_old_event_disturbs_nothing_at_the_start_or_later() {
    let (_, clock) = watched();
    for old in [0, NOON - 1_000 * HOUR, NOON - HOUR, NOON - 8_000, NOON - 2, NOON - 900_003, NOON - HOUR, 0] {
        clock.saw_front(at(old));
        assert_eq!((clock.now(), clock.error(), clock.breaks()), (at(NOON), IN_STEP, 0), "{old}");
    }
}

#[test]
fn an_event_that_took_seconds_longer_than_the_quickest_makes_the_clock_unsure_until_one_is_in_time() {
    let (_, clock) = watched();
    for (took, error) in [(9_000, IN_STEP), (3, IN_STEP), (2_003, IN_STEP), (2_004, DOUBTED), (600_000, DOUBTED)] {
        clock.saw_front(at(NOON - took));
        assert_eq!((clock.error(), clock.breaks()), (error, 0), "{took}");
    }
    clock.saw_front(at(NOON - 30));
    assert_eq!((clock.error(), clock.now()), (IN_STEP, at(NOON)));
}

#[test]
fn a_date_fits_within_its_second_the_way_and_what_clocks_are_off() {
    for (sent, received, date, fits) in [
        (NOON, NOON, NOON, true),
        (NOON, NOON + 20, NOON - 1_000, true),
        (NOON, NOON + 20, NOON - 1_006, false),
        (NOON, NOON + 20, NOON + 1_045, true),
        (NOON, NOON + 20, NOON + 1_046, false),
        (NOON - 5_000, NOON, NOON - 5_000, true),
        (NOON, NOON - HOUR, NOON - HOUR, true),
        (NOON, NOON, 0, false),
    ] {
        let (_, clock) = watched();
        clock.saw_date(at(date), at(sent), at(received));
        let expected = if fits { (IN_STEP, 0) } else { (DOUBTED, 1) };
        assert_eq!((clock.error(), clock.breaks()), expected, "{sent} {received} {date}");
        assert_eq!(clock.now(), at(NOON));
    }
}

#[test]
fn a_doubted_clock_is_trusted_again_by_what_fits_a_minute_after_the_last_that_did_not() {
    let (hand, clock) = watched();
    let date = |now| clock.saw_date(at(now), at(now), at(now));
    clock.saw_front(at(NOON + 40));
    hand.set(NOON + 30_000);
    clock.saw_front(at(NOON + 30_040));
    hand.set(NOON + 89_999);
    clock.saw_front(at(NOON + 89_990));
    assert_eq!(clock.error(), DOUBTED, "going back by 40 ms was the last that did not fit");
    hand.set(NOON + 200_000);
    assert_eq!(clock.error(), DOUBTED, "time alone proves nothing");
    date(NOON + 200_000);
    assert_eq!((clock.error(), clock.now()), (IN_STEP, at(NOON + 200_000)));
    assert_eq!(clock.breaks(), 3);
}

#[test]
fn no_date_clears_a_clock_that_a_front_door_found_behind() {
    let (hand, clock) = watched();
    clock.saw_front(at(NOON + 40));
    hand.set(NOON + HOUR);
    let now = clock.now();
    assert_eq!(now, at(NOON + HOUR + 40));
    clock.saw_date(now, now, now);
    assert_eq!(clock.error(), DOUBTED);
}

#[test]
fn a_clock_that_was_hours_ahead_is_trusted_a_minute_after_it_was_set_back() {
    let (hand, clock) = watched();
    clock.saw_date(at(NOON - HOUR), at(NOON), at(NOON));
    hand.set(NOON - HOUR);
    assert_eq!((clock.now(), clock.breaks(), clock.error()), (at(NOON - HOUR), 2, DOUBTED));
    let later = NOON - HOUR + 60_000;
    hand.set(later);
    clock.saw_date(at(later), at(later), at(later));
    assert_eq!(clock.error(), IN_STEP);
}

#[test]
fn many_that_read_at_once_see_no_step_that_there_was_not() {
    #[derive(Debug, Default)]
    struct Counting(AtomicU64);
    impl Clock for Counting {
        fn now(&self) -> Timestamp {
            Timestamp::from_nanos(self.0.fetch_add(1, Ordering::SeqCst))
        }
    }
    let clock = Watched::new(Counting::default(), IN_STEP);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| (0..20_000).for_each(|_| _ = clock.now()));
        }
    });
    assert_eq!((clock.breaks(), clock.now()), (0, Timestamp::from_nanos(80_000)));
}

/// Something that happens to an environment, in true time.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes, awake or frozen.
    Pass(u64),
    /// The clock is set, to be off by this.
    Set(i64),
    /// An event came that took this long.
    Front(u64),
    /// The table answered: how long the request took there, and the answer back.
    Date(u64, u64),
}

fn steps(off: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        3 => (0..5_000_u64).prop_map(Step::Pass),
        1 => (0..200_000_u64).prop_map(Step::Pass),
        1 => off.prop_map(Step::Set),
        4 => (0..60_u64).prop_map(Step::Front),
        3 => ((0..200_u64), (0..200_u64)).prop_map(|(there, back)| Step::Date(there, back)),
    ];
    proptest::collection::vec(one, 1..60)
}

/// An environment and the true time.
struct Run {
    hand: Hand,
    clock: Watched<Hand>,
    truth: u64,
    off: i64,
}

impl Run {
    fn pass(&mut self, millis: u64) {
        self.truth += millis;
        self.hand.set(self.truth.saturating_add_signed(self.off));
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Pass(millis) => self.pass(millis),
            Step::Set(off) => {
                self.off = off;
                self.pass(0);
            }
            Step::Front(took) => {
                let came = self.truth;
                self.pass(took);
                self.clock.saw_front(at(came));
            }
            Step::Date(there, back) => {
                let sent = self.clock.now();
                self.pass(there);
                let date = Timestamp::from_secs(at(self.truth).secs());
                self.pass(back);
                self.clock.saw_date(date, sent, self.clock.now());
            }
        }
    }

    fn new() -> Self {
        let (hand, clock) = watched();
        Self { hand, clock, truth: NOON, off: 0 }
    }
}

proptest! {
    #[test]
    fn a_clock_that_is_off_by_no_more_than_clocks_are_is_never_doubted(
        off in -5..=5_i64,
        steps in steps(Just(0)),
    ) {
        let mut run = Run { off, ..Run::new() };
        run.pass(0);
        for step in steps.iter().filter(|step| !matches!(step, Step::Set(_))) {
            run.take(step);
            let now = run.clock.now();
            prop_assert!(now.since(at(run.truth)).max(at(run.truth).since(now)) <= IN_STEP);
            prop_assert_eq!((run.clock.breaks(), run.clock.error()), (0, IN_STEP));
        }
    }

    #[test]
    fn time_goes_back_only_with_a_break_and_is_never_before_the_front_door(
        steps in steps(prop_oneof![-40..40_i64, -20_000..20_000_i64]),
    ) {
        let mut run = Run::new();
        let (mut last, mut breaks) = (run.clock.now(), 0);
        for step in &steps {
            let (raw, came) = (run.hand.now(), run.truth);
            run.take(step);
            let now = run.clock.now();
            if matches!(step, Step::Front(_)) {
                prop_assert!(now >= at(came), "{step:?}");
            }
            let back = run.hand.now() < raw || last.since(now) > IN_STEP;
            prop_assert!(!back || run.clock.breaks() > breaks, "{step:?}");
            (last, breaks) = (now, run.clock.breaks());
        }
    }

    #[test]
    fn what_does_not_fit_is_a_break_each_time_and_doubted(
        steps in steps(prop_oneof![-40..40_i64, -20_000..20_000_i64]),
    ) {
        let mut run = Run::new();
        for step in &steps {
            let (breaks, came) = (run.clock.breaks(), run.truth);
            run.take(step);
            if matches!(step, Step::Front(_)) && at(came).since(run.hand.now()) > IN_STEP {
                prop_assert!(run.clock.breaks() > breaks);
                prop_assert_eq!(run.clock.error(), DOUBTED);
            }
        }
        // A clock that is right from now on is trusted once two minutes have passed.
        run.take(&Step::Set(0));
        for _ in 0..13 {
            run.take(&Step::Front(3));
            run.pass(10_000);
        }
        run.take(&Step::Front(3));
        prop_assert_eq!(run.clock.error(), IN_STEP);
        prop_assert_eq!(run.clock.now(), at(run.truth));
    }
}
