//! What holds of every algorithm.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_burst_passes_whole_at_one_instant_and_not_one_more() {
    for algorithm in ALGORITHMS {
        for burst in [1, 2, 3, 5, 20] {
            let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
            let environment = || limits([counted("l", &format!("{burst}/min"), "global", algorithm(burst), "1")]);
            let environments = [environment(), environment(), environment()];
            let mut passed = 0;
            for number in 0..30 {
                passed += u64::from(take(&environments[number % 3], 1, &table, &clock).await.refused.is_none());
            }
            assert_eq!(passed, burst, "{}", algorithm(burst));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_one_environment_uses_costs_one_write_a_request_and_none_when_refused() {
    for algorithm in ALGORITHMS {
        let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
        let limits = limits([counted("l", "20/min", "global", algorithm(20), "1")]);
        let mut passed = 0;
        for number in 0..400 {
            clock.set(NOON + number * 777);
            passed += usize::from(take(&limits, 1, &table, &clock).await.refused.is_none());
        }
        assert!((80..140).contains(&passed), "{}: {passed} of 5 minutes", algorithm(20));
        assert_eq!(table.updates(), passed, "{}", algorithm(20));
    }
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_meets_anothers_item_needs_few_writes() {
    for algorithm in ALGORITHMS {
        let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
        let environment = || limits([counted("l", "20/min", "global", algorithm(20), "1")]);
        assert_eq!(admitted(&environment(), 19, &table, &clock).await, 19);
        clock.set(NOON + 7_000);
        let before = table.updates();
        assert!(take(&environment(), 1, &table, &clock).await.refused.is_none(), "{}", algorithm(20));
        assert!(table.updates() - before <= 2, "{}: {}", algorithm(20), table.updates() - before);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// To the second in the field, and to the nanosecond within.
    #[test]
    fn who_waits_as_told_is_let_in_and_who_waits_a_second_less_is_not(
        which in 0..ALGORITHMS.len(), limit in 1..12_u64, per in 0..2_usize,
        pauses in prop::collection::vec(prop_oneof![3 => 0..50_000_000_u64, 2 => 0..10_000_000_000_u64], 1..40),
        cost in 1..5_u64,
    ) {
        let algorithm = ALGORITHMS[which](limit);
        let cost = if algorithm == Algorithm::SlidingLog { 1 } else { cost.min(limit) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
        let rate = format!("{limit}/{}", ["s", "min"][per]);
        let limits = limits([counted("l", &rate, "global", algorithm, &cost.to_string())]);
        let mut now = clock.now().nanos();
        for pause in pauses {
            now += pause;
            clock.set_nanos(now);
            let taken = runtime.block_on(take(&limits, 1, &table, &clock));
            let Some(refused) = &taken.refused else { continue };
            let exactly = u64::try_from(retry_after(&taken).as_nanos()).unwrap();
            let field = &refused.into_response("id").headers["retry-after"];
            let told = field.to_str().unwrap().parse::<u64>().unwrap() * 1_000_000_000;
            for (wait, lets_in) in [(told - 1_000_000_000, false), (exactly - 1, false)] {
                clock.set_nanos(now + wait);
                let again = runtime.block_on(take(&limits, 1, &table, &clock));
                prop_assert_eq!(again.refused.is_none(), lets_in, "{} after {} of {}: {:?}", algorithm, wait, exactly, field);
            }
            now += if pause % 2 == 0 { told } else { exactly };
            clock.set_nanos(now);
            let again = runtime.block_on(take(&limits, 1, &table, &clock));
            prop_assert!(again.refused.is_none(), "{}: {:?}", algorithm, again);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_idle_item_is_as_good_as_none() {
    for algorithm in ALGORITHMS {
        let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
        let environment = || limits([counted("l", "6/min", "global", algorithm(6), "1")]);
        for round in 0..3 {
            clock.set(NOON + round * 400_000);
            assert_eq!(admitted(&environment(), 9, &table, &clock).await, 6, "{}", algorithm(6));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_table_each_environment_counts_by_the_same_algorithm() {
    for algorithm in ALGORITHMS {
        let (table, clock) = (FaultyTable::new(Fault::Unavailable), TestClock::at(NOON));
        let limits = limits([counted("l", "6/min", "request.ip", algorithm(6), "1")]);
        assert_eq!(admitted(&limits, 9, &table, &clock).await, 6, "{}", algorithm(6));
        let refused = take(&limits, 1, &table, &clock).await;
        clock.set_nanos(clock.now().nanos() + u64::try_from(retry_after(&refused).as_nanos()).unwrap());
        assert!(take(&limits, 1, &table, &clock).await.refused.is_none(), "{}", algorithm(6));
    }
}

#[tokio::test(start_paused = true)]
async fn items_that_make_no_sense_are_a_failure_of_the_table() {
    for algorithm in ALGORITHMS {
        let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
        let limit = counted_on("l", "6/min", "global", algorithm(6), "1", OnStoreFailure::Closed);
        let key = limit.items().stem.key(None).item();
        let window = Window::labelled(clock.now(), Per::Minute).attribute();
        let nonsense = ["tat", "w", "j", "l"].into_iter().fold(Item::new(), |item, name| item.with(name, "many"));
        table.put(Which::Hot, &key, nonsense.with(window, "many"), &Terms::default()).await.unwrap();
        let taken = take(&limits([limit]), 1, &table, &clock).await;
        assert_eq!(taken.refused.as_ref().map(Refusal::code), Some("state_unavailable"), "{}", algorithm(6));
    }
}

#[tokio::test(start_paused = true)]
async fn another_algorithm_or_unit_starts_anew() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    for algorithm in ALGORITHMS {
        for per in ["s", "min", "day"] {
            let limits = limits([counted("l", &format!("3/{per}"), "global", algorithm(3), "1")]);
            assert_eq!(admitted(&limits, 9, &table, &clock).await, 3, "{} by the {per}", algorithm(3));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_count_is_never_exceeded_by_what_was_taken_under_the_higher() {
    for algorithm in ALGORITHMS {
        let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
        let with = |count: u64| limits([counted("l", &format!("{count}/min"), "global", algorithm(count), "1")]);
        assert_eq!(admitted(&with(10), 8, &table, &clock).await, 8);
        assert_eq!(admitted(&with(3), 9, &table, &clock).await, 0, "{}", algorithm(3));
        clock.set(NOON + 300_000);
        assert_eq!(admitted(&with(3), 9, &table, &clock).await, 3, "{}", algorithm(3));
    }
}

#[tokio::test]
async fn a_bucket_tells_its_burst_and_what_comes_back_when() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let limits = limits([counted("per-ip", "4/min", "global", Algorithm::TokenBucket { burst: 3 }, "1")]);
    for state in ["r=2;t=15", "r=1;t=30", "r=0;t=15"] {
        let taken = take(&limits, 1, &table, &clock).await;
        assert!(taken.refused.is_none());
        assert_eq!(taken.fields["ratelimit-policy"], r#""per-ip";q=3;w=45"#);
        assert_eq!(taken.fields["ratelimit"], format!(r#""per-ip";{state}"#));
    }
    clock.set(NOON + 14_000);
    let taken = take(&limits, 1, &table, &clock).await;
    assert_eq!(taken.fields["ratelimit"], r#""per-ip";r=0;t=1"#);
    assert_eq!(retry_after(&taken), Duration::from_secs(1));
}

#[tokio::test]
async fn a_request_takes_what_it_costs() {
    let costs = |cost: &'static str| {
        let limit = counted("l", "10/min", "global", Algorithm::TokenBucket { burst: 10 }, cost);
        (limits([limit]), MemoryTable::default(), TestClock::at(NOON))
    };
    for (cost, header, left) in [
        ("4", None, 6),
        ("request.headers['x-key']", Some("3"), 7),
        ("int(request.headers['x-key']) * 2", Some("3"), 4),
        ("request.headers['x-key']", Some("2.5"), 7),
        ("request.headers['x-key']", Some("-7"), 9),
        ("request.headers['x-key']", Some("1000"), 0),
        ("request.headers['x-key']", Some("many"), 9),
        ("int(request.headers['x-key'])", None, 9),
    ] {
        let (limits, table, clock) = costs(cost);
        let taken = take_from(&limits, From { ip: 1, path: "/", key: header }, &table, &clock).await;
        assert!(taken.refused.is_none());
        assert_eq!(taken.verdicts[0].remaining, left, "{cost} of {header:?}");
    }
    let (limits, table, clock) = costs("request.headers['x-key']");
    for (header, passes) in [("8", true), ("3", false), ("2", true), ("1", false)] {
        let taken = take_from(&limits, From { ip: 1, path: "/", key: Some(header) }, &table, &clock).await;
        assert_eq!(taken.refused.is_none(), passes, "{header}");
    }
}
