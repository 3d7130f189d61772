//! Requests at moments that random ones meet too rarely: answers that come late, clocks that step while a request waits,
//! and a table that is gone.

use super::lease::Holding;
use super::*;

fn among<'a>(table: &'a dyn Table, clock: &'a dyn Clock, environments: u32) -> Around<'a> {
    Around { table, clock, seed: 1, deadline: None, environments: NonZeroU32::new(environments) }
}

#[tokio::test(start_paused = true)]
async fn an_environments_share_is_spent_at_once_and_told_as_what_it_is() {
    for algorithm in [bucket(100), Algorithm::LeakyBucket { burst: 1, queue: Duration::from_millis(200) }] {
        let (table, clock) = (FaultyTable::new(Fault::Unavailable), TestClock::running(NOON, Instant::now(), 0));
        let limits = limits([counted("l", "100/s", "global", algorithm, "1")]);
        let (headers, asked) = (HeaderMap::new(), Instant::now());
        let facts = facts(&headers, "/", IpAddr::V4(Ipv4Addr::LOCALHOST), &clock);
        let around = among(&table, &clock, 1_000);
        let taken = limits.take(Held::default(), &facts, &Caller::of_test("", "", ""), around).await;
        assert!(taken.refused.is_none());
        assert!(asked.elapsed() <= BOUND, "{algorithm}: {:?}", asked.elapsed());
        assert_eq!(taken.verdicts[0].remaining, 0, "{algorithm}: its share was one");
    }
    let (table, clock) = (FaultyTable::new(Fault::Unavailable), TestClock::running(NOON, Instant::now(), 0));
    let limits = limits([counted("l", "100/s", "global", Algorithm::FixedWindow, "1")]);
    let headers = HeaderMap::new();
    let facts = facts(&headers, "/", IpAddr::V4(Ipv4Addr::LOCALHOST), &clock);
    let around = among(&table, &clock, 50);
    let taken = limits.take(Held::default(), &facts, &Caller::of_test("", "", ""), around).await;
    assert_eq!(taken.verdicts[0].remaining, 1, "its share was two");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_back_while_the_table_is_asked_makes_nobody_wait() {
    for algorithm in ALGORITHMS {
        let (table, clock) =
            (FaultyTable::new(Fault::Slow(Duration::from_millis(5))), TestClock::running(NOON, Instant::now(), 0));
        let limits = limits([counted("l", "100/s", "global", algorithm(100), "1")]);
        let asked = Instant::now();
        let (taken, ()) = tokio::join!(take(&limits, 1, &table, &clock), async {
            tokio::time::sleep(Duration::from_millis(2)).await;
            clock.set(NOON - 60_000);
        });
        assert!(taken.refused.is_none(), "{}: {:?}", algorithm(100), taken.refused);
        assert!(asked.elapsed() <= BOUND, "{}: {:?}", algorithm(100), asked.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_table_takes_longer_than_a_lease_holds_each_request_asks_for_itself() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let limits = limits([leased("l", "100/s", "global", bucket(20))]);
    ask_evenly(&limits, 300, Duration::from_millis(11), &table, &clock).await;
    table.becomes(Fault::Slow(Duration::from_millis(55)));
    tokio::time::sleep(Duration::from_millis(60)).await;
    for _ in 0..5 {
        let asked = Instant::now();
        let taken = take(&limits, 1, &table, &clock).await;
        assert!(taken.refused.is_none(), "{:?}", taken.refused);
        assert!(asked.elapsed() <= 2 * Duration::from_millis(55), "{:?}", asked.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_window_that_was_asked_for_again_still_ends_with_its_window() {
    let end = NOON + 51_000;
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(end - 3_350, Instant::now(), 0));
    let limits = limits([leased("l", "1000/min", "global", Algorithm::FixedWindow)]);
    ask_evenly(&limits, 300, Duration::from_millis(10), &table, &clock).await;
    let limit = limits.0[0].limit.limit().unwrap();
    // Others took nearly all, which the first attempt, 400 ms before the end, finds out.
    let window = Window::labelled(clock.now(), Per::Minute).attribute();
    let filled = Update::new().set(window, 985);
    table.inner.update(Which::Hot, &limit.items().stem.key(None).item(), &filled, &Terms::default()).await.unwrap();
    // What is held is void, since the clock steps back.
    clock.set(end - 3_400);
    table.becomes(Fault::Slow(Duration::from_millis(70)));
    let before = table.updates();
    assert!(take(&limits, 1, &table, &clock).await.refused.is_none());
    assert_eq!(table.updates(), before + 2, "refused, and then given a few");
    table.becomes(Fault::None);
    tokio::time::sleep(Duration::from_millis(270)).await;
    assert_eq!(clock.now(), Timestamp::from_millis(end + 10));
    take(&limits, 1, &table, &clock).await;
    assert_eq!(table.updates(), before + 3, "a window has no tokens of the one before");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_asked_for_before_the_clock_stepped_back_is_void() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let limits = limits([leased("l", "1000/s", "global", bucket(1_000))]);
    ask_evenly(&limits, 200, Duration::from_millis(2), &table, &clock).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    table.becomes(Fault::Slow(Duration::from_millis(5)));
    let (taken, ()) = tokio::join!(take(&limits, 1, &table, &clock), async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        clock.set(NOON - 60_000);
    });
    taken.later.run(&table, &clock).await;
    // By what the clock says now, the lease would hold for another minute.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = table.updates();
    let passed = take(&limits, 1, &table, &clock).await.refused.is_none();
    assert!(!passed || table.updates() > before, "spent of a lease that is over");
}

#[tokio::test(start_paused = true)]
async fn a_route_may_have_more_limits_than_a_request_begins_anew() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let many = (0..40)
        .map(|number| counted_on(&format!("l{number}"), "9/s", "global", bucket(9), "1", OnStoreFailure::Closed));
    let taken = take(&limits(many), 1, &table, &clock).await;
    assert!(taken.refused.is_none(), "{:?}", taken.refused);
}

#[tokio::test(start_paused = true)]
async fn leases_that_are_asked_for_while_the_caller_is_identified_take_no_longer_than_the_bound_together() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let names = ["a", "b", "c", "d"];
    let limits =
        limits(names.map(|name| leased_on(name, "1000/s", "request.host", bucket(1_000), OnStoreFailure::Open)));
    ask_evenly(&limits, 200, Duration::from_millis(2), &table, &clock).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    table.becomes(Fault::Hangs);
    let (headers, asked) = (HeaderMap::new(), Instant::now());
    let facts = facts(&headers, "/", IpAddr::V4(Ipv4Addr::LOCALHOST), &clock);
    limits.prepare(true, &facts, among(&table, &clock, 1), &Held::default()).await;
    assert!(asked.elapsed() <= BOUND + LAST_LOOK, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_an_environment_gave_back_itself_is_no_sign_of_others() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let wide = counted("wide", "10/s", "request.host", bucket(10), "1");
    let shut = counted_on("shut", "1/day", "global", Algorithm::FixedWindow, "1", OnStoreFailure::Closed);
    // The other environment uses up what this one does not know to be used up.
    let other = limits([counted_on("shut", "1/day", "global", Algorithm::FixedWindow, "1", OnStoreFailure::Closed)]);
    assert_eq!(admitted(&other, 1, &table, &clock).await, 1);
    let (alone, both) = (limits([Arc::clone(&wide)]), limits([wide, shut]));
    let refused = take(&both, 1, &table, &clock).await;
    assert!(refused.refused.is_some() && !refused.later.is_empty());
    refused.later.run(&table, &clock).await;
    assert_eq!(admitted(&alone, 10, &table, &clock).await, 10);
    // A token is there again in 100 ms, which only its item tells.
    assert_eq!(retry_after(&take(&alone, 1, &table, &clock).await), Duration::from_millis(100));
    let seen = format!("{:?}", alone.0[0].limit.limit().unwrap().book);
    assert!(seen.contains("has_others: false"), "{seen}");
}

#[tokio::test(start_paused = true)]
async fn what_is_put_back_again_and_again_takes_no_room() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let wide = leased("wide", "6000/min", "request.host", bucket(6_000));
    let (alone, both) =
        (limits([Arc::clone(&wide)]), limits([Arc::clone(&wide), limit("narrow", "1/min", "request.ip")]));
    ask_evenly(&alone, 400, Duration::from_millis(10), &table, &clock).await;
    take(&both, 1, &table, &clock).await;
    for _ in 0..100 {
        assert!(take(&both, 1, &table, &clock).await.refused.is_some());
    }
    let leases = format!("{:?}", wide.book).matches("Lease {").count();
    assert!(leases <= 4, "{leases} leases");
}

#[test]
fn a_lease_is_never_of_more_than_there_is_room_for_until_its_end() {
    let at = Timestamp::from_millis(NOON);
    for (rate, burst) in [("1000/s", 1_000), ("20000/s", 20), ("600000/min", 100), ("100000/s", 2_000)] {
        for error in [Duration::from_millis(5), Duration::from_secs(1)] {
            let limit = leased("l", rate, "global", bucket(burst));
            let mut holding = Holding::new(1);
            for _ in 0..1_000_000 {
                holding.demand(1, Duration::from_millis(500), at);
            }
            let ask = Ask { at, cost: 1, error, ..Ask::default() };
            let wanted = holding.want(ask, limit.meter(), &Seen::Nothing, limit.quantum());
            let room = limit.meter().room(&wanted, &Seen::Nothing);
            assert!(
                wanted.lease.is_zero() || wanted.cost <= room,
                "{rate} {burst} {error:?}: {} of {room}",
                wanted.cost
            );
        }
    }
}

#[test]
fn demand_beyond_all_numbers_asks_for_what_is_needed() {
    let at = Timestamp::from_millis(NOON);
    let limit = leased("l", "18446744073709551615/s", "global", Algorithm::FixedWindow);
    let mut holding = Holding::new(1);
    for _ in 0..100 {
        holding.demand(u64::MAX, Duration::from_millis(500), at);
    }
    let ask = Ask { at, cost: 1, ..Ask::default() };
    assert!(holding.want(ask, limit.meter(), &Seen::Nothing, limit.quantum()).cost > 1);
}

#[test]
fn an_item_that_was_deleted_and_begins_anew_is_followed_again() {
    let at = |secs: u64| Timestamp::from_secs(1_700_000_000 + secs);
    let mut holding = Holding::new(1);
    holding.sees(Some(1_000), false, at(0));
    for (grants, secs) in [(1, 600), (2, 602), (3, 604)] {
        holding.sends();
        holding.sees(Some(grants), true, at(secs));
        holding.lands(None);
    }
    let soon = at(604).plus(Duration::from_millis(1));
    assert_eq!(holding.denied(soon, at(604)), soon, "nobody else writes");
}
