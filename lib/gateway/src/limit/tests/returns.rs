//! Returns and clocks at their worst, one by one: what random requests meet too rarely.

use super::*;

async fn take_many(limits: &Limits, cost: &str, table: &dyn Table, clock: &dyn Clock) -> Taken {
    take_from(limits, From { ip: 1, path: "/", key: Some(cost) }, table, clock).await
}

/// A limit, and the same before one that refuses everything: what it takes there comes back.
fn with_and_without(algorithm: Algorithm, rate: &str) -> (Limits, Limits) {
    let wide = counted("wide", rate, "global", algorithm, bounds::COST);
    let shut = counted_on("shut", "1/day", "global", Algorithm::FixedWindow, "1", OnStoreFailure::Closed);
    (limits([Arc::clone(&wide)]), limits([wide, shut]))
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_after_the_bucket_was_full_again_undoes_nobodys_token() {
    for algorithm in ALGORITHMS {
        let cost = "1";
        let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
        let (_, refusing) = with_and_without(algorithm(2), "2/s");
        let (others, _) = with_and_without(algorithm(2), "2/s");
        let another = limits([counted("shut", "1/day", "global", Algorithm::FixedWindow, "1")]);
        assert_eq!(admitted(&another, 1, &table, &clock).await, 1);
        let late = take_many(&refusing, cost, &table, &clock).await;
        assert!(late.refused.is_some() && !late.later.is_empty());
        clock.set(NOON + 5_000);
        for _ in 0..2 {
            assert!(take_many(&others, cost, &table, &clock).await.refused.is_none(), "{}", algorithm(2));
        }
        late.later.run(&table, &clock).await;
        let (fresh, _) = with_and_without(algorithm(2), "2/s");
        assert!(take_many(&fresh, cost, &table, &clock).await.refused.is_some(), "{}", algorithm(2));
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_to_an_older_bucket_does_not_mislead_who_saw_it_before() {
    let algorithm = Algorithm::SlidingWindow { approximate: false };
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let (one, _) = with_and_without(algorithm, "10/s");
    let (other, refusing) = with_and_without(algorithm, "10/s");
    let another = limits([counted("shut", "1/day", "global", Algorithm::FixedWindow, "1")]);
    assert_eq!(admitted(&another, 1, &table, &clock).await, 1);
    let late = take_many(&refusing, "3", &table, &clock).await;
    assert!(take_many(&one, "2", &table, &clock).await.refused.is_none());
    clock.set(NOON + 101);
    assert!(take_many(&one, "2", &table, &clock).await.refused.is_none());
    late.later.run(&table, &clock).await;
    assert!(take_many(&other, "3", &table, &clock).await.refused.is_none());
    // The first bucket is out of the window, the second, which has five, is not.
    clock.set(NOON + 11 * 101);
    assert!(take_many(&one, "8", &table, &clock).await.refused.is_some());
    assert!(take_many(&one, "5", &table, &clock).await.refused.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_window_is_whole_between_the_slowest_clock_and_the_fastest() {
    for algorithm in [Algorithm::SlidingWindow { approximate: false }, Algorithm::SlidingLog] {
        for ms in 0..110 {
            let table = MemoryTable::default();
            let environment = || limits([counted("l", "2/s", "global", algorithm, "1")]);
            let slow = TestClock::at(NOON + ms - 5);
            assert_eq!(admitted(&environment(), 3, &table, &slow).await, 2);
            let fast = TestClock::at(NOON + ms + 999 + 5);
            assert_eq!(admitted(&environment(), 1, &table, &fast).await, 0, "{algorithm} at {ms}");
        }
    }
}
