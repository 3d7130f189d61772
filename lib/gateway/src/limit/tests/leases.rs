//! Leases: what an environment spends without asking, and what never comes of it.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_busy_environment_asks_once_for_many_requests_and_ahead_of_need() {
    for algorithm in [bucket(1_000), Algorithm::FixedWindow] {
        let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
        let limits = limits([leased("l", "1000/s", "global", algorithm)]);
        let passed = ask_evenly(&limits, 2_000, Duration::from_millis(2), &table, &clock).await;
        assert_eq!(passed, 2_000, "{algorithm}: half of the limit");
        assert!(table.updates() < 100, "{algorithm}: {} writes", table.updates());
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_request_takes_one_token_and_leases_none() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let limits = limits([leased("l", "100/min", "global", bucket(100))]);
    for _ in 0..20 {
        assert_eq!(take(&limits, 1, &table, &clock).await.verdicts[0].remaining, 99);
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(table.updates(), 20);
}

#[tokio::test(start_paused = true)]
async fn bursts_under_twenty_are_exact() {
    for burst in [1, 2, 3, 5, 19] {
        let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
        let environment = || limits([leased("l", &format!("{burst}/min"), "global", bucket(burst))]);
        let environments = [environment(), environment(), environment()];
        let mut passed = 0;
        for number in 0..60 {
            passed += u64::from(take(&environments[number % 3], 1, &table, &clock).await.refused.is_none());
        }
        assert_eq!(passed, burst);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_leased_before_a_freeze_is_not_spent_after_it() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let limits = limits([leased("l", "1000/s", "global", bucket(1_000))]);
    ask_evenly(&limits, 200, Duration::from_millis(2), &table, &clock).await;
    let before = table.updates();
    assert!(take(&limits, 1, &table, &clock).await.refused.is_none());
    assert_eq!(table.updates(), before, "from the lease");
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert!(take(&limits, 1, &table, &clock).await.refused.is_none());
    assert_eq!(table.updates(), before + 1, "asked anew");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_back_voids_every_lease() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let limits = limits([leased("l", "1000/s", "global", bucket(1_000))]);
    ask_evenly(&limits, 200, Duration::from_millis(2), &table, &clock).await;
    let before = table.updates();
    clock.set(NOON - 10);
    assert!(take(&limits, 1, &table, &clock).await.refused.is_none());
    assert_eq!(table.updates(), before + 1);
}

/// A table that takes its time, and while it does, the clock steps.
#[derive(Debug)]
struct Stepping<'a> {
    inner: FaultyTable,
    clock: &'a TestClock,
}

impl Table for Stepping<'_> {
    passed_on!(get_many);

    passed_on!(put);

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        Box::pin(async move {
            let answer = self.inner.update(which, key, update, terms).await;
            self.clock.set(NOON - 100);
            answer
        })
    }

    passed_on!(delete);
}

#[tokio::test(start_paused = true)]
async fn a_token_held_while_another_limit_is_asked_is_void_where_the_clock_steps_back_meanwhile() {
    let clock = TestClock::running(NOON, Instant::now(), 0);
    let table = Stepping { inner: FaultyTable::new(Fault::None), clock: &clock };
    let wide = leased("wide", "1000/s", "request.host", bucket(1_000));
    let (alone, both) = (limits([Arc::clone(&wide)]), limits([wide, limit("narrow", "9/min", "request.ip")]));
    ask_evenly(&alone, 200, Duration::from_millis(2), &table.inner, &clock).await;
    let before = table.inner.updates();
    assert!(take(&both, 1, &table, &clock).await.refused.is_none());
    assert_eq!(table.inner.updates() - before, 2, "the narrow one, and the wide one anew");
}

/// A clock that something spoke against, so often.
#[derive(Debug)]
struct Doubted(TestClock, AtomicUsize);

impl Clock for Doubted {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn error(&self) -> Duration {
        if self.1.load(Ordering::Relaxed) == 0 { Duration::from_millis(5) } else { Duration::from_secs(1) }
    }

    fn breaks(&self) -> u64 {
        self.1.load(Ordering::Relaxed) as u64
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_doubted_voids_every_lease_and_gets_none() {
    let table = FaultyTable::new(Fault::None);
    let clock = Doubted(TestClock::running(NOON, Instant::now(), 0), AtomicUsize::new(0));
    let limits = limits([leased("l", "1000/s", "global", bucket(1_000))]);
    ask_evenly(&limits, 200, Duration::from_millis(2), &table, &clock).await;
    let before = table.updates();
    clock.1.store(1, Ordering::Relaxed);
    assert_eq!(ask_evenly(&limits, 100, Duration::from_millis(2), &table, &clock).await, 100);
    assert_eq!(table.updates() - before, 100, "each is asked for");
}

#[tokio::test(start_paused = true)]
async fn a_leased_token_whose_request_another_limit_refuses_serves_the_next() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let wide = leased("wide", "1000/s", "request.host", bucket(1_000));
    let narrow = limit("narrow", "1/min", "request.ip");
    let (alone, both) = (limits([Arc::clone(&wide)]), limits([wide, narrow]));
    ask_evenly(&alone, 200, Duration::from_millis(2), &table, &clock).await;
    assert!(take(&both, 1, &table, &clock).await.refused.is_none());
    let left = take(&alone, 1, &table, &clock).await.verdicts[0].remaining;
    let before = table.updates();
    for _ in 0..10 {
        let refused = take(&both, 1, &table, &clock).await;
        assert!(refused.refused.is_some());
        refused.later.run(&table, &clock).await;
    }
    assert_eq!(take(&alone, 1, &table, &clock).await.verdicts[0].remaining, left - 1, "the ten took nothing");
    assert_eq!(table.updates(), before);
}

#[tokio::test(start_paused = true)]
async fn many_requests_at_once_wait_for_one_lease() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::running(NOON, Instant::now(), 0));
    let limits = limits([leased("l", "10000/s", "global", bucket(10_000))]);
    ask_evenly(&limits, 500, Duration::from_millis(1), &table, &clock).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    table.becomes(Fault::Slow(Duration::from_millis(5)));
    let before = table.updates();
    let all = (0..30).map(|_| take(&limits, 1, &table, &clock));
    let mut all: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        all.retain_mut(|one| one.as_mut().poll(context).is_pending());
        if all.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert!(table.updates() - before <= 2, "{}", table.updates() - before);
}

#[tokio::test(start_paused = true)]
async fn limits_of_one_key_are_asked_in_one_write_and_refuse_together() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let environment = || {
        limits([
            counted("second", "3/s", "request.ip", bucket(3), "1"),
            counted("minute", "5/min", "request.ip", Algorithm::FixedWindow, "1"),
            counted("day", "9/day", "request.ip", Algorithm::SlidingWindow { approximate: false }, "1"),
        ])
    };
    let (one, other) = (environment(), environment());
    assert_eq!(admitted(&one, 2, &table, &clock).await, 2);
    assert_eq!(table.updates(), 2);
    assert_eq!(admitted(&other, 2, &table, &clock).await, 1, "three a second");
    clock.set(NOON + 1_000);
    assert_eq!(admitted(&one, 5, &table, &clock).await, 2, "five a minute");
    clock.set(NOON + 60_000);
    assert_eq!(admitted(&other, 3, &table, &clock).await, 3);
    clock.set(NOON + 61_000);
    assert_eq!(admitted(&other, 5, &table, &clock).await, 1, "nine a day");
    assert_eq!(take(&one, 1, &table, &clock).await.refused.map(|refusal| refusal.code()), Some("over_limit"));
}

#[tokio::test(start_paused = true)]
async fn a_sharded_limit_gives_all_of_its_burst_and_no_more_into_however_many_it_is_divided() {
    for shards in [2, 3, 4, 5, 7, 8] {
        let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
        let sharded = || {
            let limit = counted("l", "400/day", "global", bucket(400), "1");
            let shards = Shards::Fixed(NonZeroU32::new(shards).unwrap());
            Arc::new(Arc::into_inner(limit).unwrap().sharded(shards))
        };
        let environments: Vec<_> = (0..8).map(|_| limits([sharded()])).collect();
        let mut passed = 0;
        for number in 0..4_000_u64 {
            clock.set(NOON + number * 10);
            let place = usize::try_from(number % 8).unwrap();
            let around = Around {
                table: &table,
                clock: &clock,
                seed: number,
                deadline: None,
                environments: Some(NonZeroU32::MIN),
            };
            let headers = HeaderMap::new();
            let facts = facts(&headers, "/", IpAddr::V4(Ipv4Addr::LOCALHOST), &clock);
            let taken = environments[place].take(Held::default(), &facts, &Caller::of_test("", "", ""), around).await;
            passed += u32::from(taken.refused.is_none());
        }
        assert!((280..=400).contains(&passed), "{passed} of {shards} shards");
        assert!(table.sent.lock().unwrap().len() <= usize::try_from(shards).unwrap());
    }
}
