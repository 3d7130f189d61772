//! Limits over a table: what they count, and what they refuse. Fixed windows where nothing else is said.

mod algorithms;
mod bounds;
mod fixtures;
mod keys;
mod laws;
mod leases;
mod moments;
mod owed;
mod plans;
mod queue;
mod returns;
mod told;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::division::reads_caller_id;
use super::hold::LAST_LOOK;
use super::key::Stem;
use super::window::Window;
use super::*;
use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::exchange::{LimitVerdict, Scheme};
use crate::expression::{Params, Place, Scope};
use crate::forward::BoxFuture;
use crate::refusal::Refusal;
use crate::table::{Item, MemoryTable, Reading, TableError, Terms, ThrottleReason, Update, Which};
use crate::testkit::passed_on;
use fixtures::*;

#[tokio::test]
async fn the_sixth_request_of_a_minute_is_refused_until_the_minute_is_over() {
    let (limits, table, clock) =
        (limits([limit("per-ip", "5/min", "request.ip")]), MemoryTable::default(), TestClock::at(NOON));
    for left in (0..5).rev() {
        let taken = take(&limits, 1, &table, &clock).await;
        assert!(taken.refused.is_none());
        assert_eq!(taken.fields["ratelimit-policy"], r#""per-ip";q=5;w=60"#);
        assert_eq!(taken.fields["ratelimit"], format!(r#""per-ip";r={left};t=51"#));
        let verdict = LimitVerdict { name: "per-ip".into(), admitted: true, remaining: left };
        assert_eq!(taken.verdicts, [verdict]);
    }
    clock.set(NOON + 10_300);
    let taken = take(&limits, 1, &table, &clock).await;
    assert_eq!(retry_after(&taken), Duration::from_millis(40_700));
    assert_eq!(taken.fields["ratelimit"], r#""per-ip";r=0;t=41"#);
    assert_eq!(taken.verdicts, [LimitVerdict { name: "per-ip".into(), admitted: false, remaining: 0 }]);
    assert!(take(&limits, 2, &table, &clock).await.refused.is_none(), "another address has its own count");
    clock.set(NOON + 51_005);
    assert_eq!(admitted(&limits, 7, &table, &clock).await, 5);
}

#[tokio::test]
async fn environments_share_one_count() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let environments: Vec<_> = (0..4).map(|_| limits([limit("per-ip", "10/min", "request.ip")])).collect();
    let mut sum = 0;
    for environment in &environments {
        sum += admitted(environment, 4, &table, &clock).await;
    }
    assert_eq!(sum, 10);
}

#[tokio::test]
async fn a_key_known_to_be_over_asks_the_table_nothing_until_its_window_ends() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let limits = limits([limit("per-ip", "2/min", "request.ip")]);
    assert_eq!(admitted(&limits, 50, &table, &clock).await, 2);
    assert_eq!(table.updates(), 2, "the second answer told that it was the last");
    clock.set(NOON + 60_000);
    assert_eq!(admitted(&limits, 50, &table, &clock).await, 2);
    assert_eq!(table.updates(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_within_the_skew_of_a_boundary_waits_for_the_new_window() {
    let started = Instant::now();
    let clock = TestClock::running(NOON + 50_997, started, 0);
    let (limits, table) = (limits([limit("per-ip", "1/min", "request.ip")]), MemoryTable::default());
    let taken = take(&limits, 1, &table, &clock).await;
    assert_eq!(taken.fields["ratelimit"], r#""per-ip";r=0;t=60"#);
    assert_eq!(started.elapsed(), Duration::from_millis(8));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_at_a_boundary_still_counts() {
    let (limits, table, clock) =
        (limits([limit("per-ip", "3/s", "request.ip")]), MemoryTable::default(), TestClock::at(NOON));
    assert_eq!(admitted(&limits, 5, &table, &clock).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_window_ended_while_we_asked_is_not_spent_in_the_next() {
    let started = Instant::now();
    let clock = TestClock::running(NOON + 50_960, started, 0);
    let (limits, table) =
        (limits([limit("per-ip", "2/min", "request.ip")]), FaultyTable::new(Fault::Slow(Duration::from_millis(40))));
    let taken = take(&limits, 1, &table, &clock).await;
    assert_eq!(taken.fields["ratelimit"], r#""per-ip";r=1;t=60"#, "of the new window");
    assert_eq!(table.updates(), 2);
    table.becomes(Fault::None);
    assert_eq!(admitted(&limits, 5, &table, &clock).await, 1);
}

#[tokio::test(start_paused = true)]
async fn many_environments_admit_exactly_the_limit_in_every_window() {
    const PER_SECOND: usize = 25;
    const SECONDS: u64 = 12;
    let started = Instant::now();
    let table = Arc::new(MemoryTable::default());
    let truth = TestClock::running(NOON + 500, started, 0);
    let mut environments = tokio::task::JoinSet::new();
    for number in 0..20_u64 {
        let table = Arc::clone(&table);
        environments.spawn(async move {
            let off = i64::try_from(number % 11).unwrap() - 5;
            let clock = TestClock::running(NOON + 500, started, off);
            let truth = TestClock::running(NOON + 500, started, 0);
            let limits = limits([limit("all", "25/s", "global")]);
            let mut seed = number + 1;
            let mut admitted = Vec::new();
            while truth.now().millis() < NOON + SECONDS * 1000 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let pause = match seed >> 60 {
                    0 => 1500, // frozen for a while
                    short => short,
                };
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if take(&limits, 1, &*table, &clock).await.refused.is_none() {
                    admitted.push(truth.now().secs());
                }
            }
            admitted
        });
    }
    let mut windows = BTreeMap::<u64, usize>::new();
    for second in environments.join_all().await.into_iter().flatten() {
        *windows.entry(second).or_default() += 1;
    }
    assert!(truth.now().millis() >= NOON + SECONDS * 1000);
    let whole: Vec<_> = windows.range(NOON / 1000 + 1..NOON / 1000 + SECONDS).map(|(_, count)| *count).collect();
    assert_eq!(whole, vec![PER_SECOND; usize::try_from(SECONDS - 1).unwrap()]);
    assert!(windows.values().all(|count| *count <= PER_SECOND));
}

#[tokio::test]
async fn what_an_earlier_limit_gave_goes_back_when_a_later_one_refuses() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let environment = || (limit("wide", "10/min", "request.host"), limit("narrow", "2/min", "request.ip"));
    let (wide, narrow) = environment();
    assert_eq!(admitted(&limits([wide, narrow]), 2, &table, &clock).await, 2);
    let (wide, narrow) = environment();
    let both = limits([Arc::clone(&wide), narrow]);
    let refused = take(&both, 1, &table, &clock).await;
    assert_eq!(refused.refused.as_ref().map(Refusal::code), Some("over_limit"));
    assert_eq!(refused.fields["ratelimit"], r#""narrow";r=0;t=51, "wide";r=8;t=51"#);
    assert!(!refused.later.is_empty());
    refused.later.run(&table, &clock).await;
    for _ in 0..20 {
        let again = take(&both, 1, &table, &clock).await;
        assert!(again.refused.is_some() && again.later.is_empty(), "nothing is taken once it is known");
        assert_eq!(again.fields["ratelimit-policy"], r#""narrow";q=2;w=60, "wide";q=10;w=60"#);
    }
    let alone = limits([wide]);
    assert_eq!(admitted(&alone, 20, &table, &clock).await, 8);
}

#[tokio::test]
async fn a_return_ends_a_denial_that_it_made_wrong() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let (wide, narrow) = (limit("wide", "1/min", "request.host"), limit("narrow", "1/min", "request.ip"));
    let (both, alone) = (limits([Arc::clone(&wide), narrow]), limits([wide]));
    let another = limit("narrow", "1/min", "request.ip");
    assert!(take(&limits([another]), 1, &table, &clock).await.refused.is_none());
    let refused = take(&both, 1, &table, &clock).await;
    assert!(refused.refused.is_some());
    assert!(take(&alone, 1, &table, &clock).await.refused.is_some(), "the one there is is still out");
    refused.later.run(&table, &clock).await;
    assert!(take(&alone, 1, &table, &clock).await.refused.is_none());
}

#[tokio::test]
async fn shadow_counts_and_records_and_lets_pass_and_off_does_not_even_ask() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let used = |name: &str, mode| Use { limit: limit(name, "1/min", "request.ip").into(), mode };
    let limits = Limits(vec![used("watched", Mode::Shadow), used("resting", Mode::Off)]);
    let first = take(&limits, 1, &table, &clock).await;
    assert!(first.shadowed.all().is_empty() && first.refused.is_none());
    let second = take(&limits, 1, &table, &clock).await;
    assert!(second.refused.is_none());
    assert_eq!(second.shadowed.codes(), ["over_limit"]);
    assert_eq!(second.verdicts, [LimitVerdict { name: "watched".into(), admitted: false, remaining: 0 }]);
    assert!(second.fields.is_empty(), "a client is not told of what does not bind it");
    assert_eq!(table.updates(), 1, "the first answer told that it was the last");
}

#[tokio::test]
async fn without_limits_nothing_is_asked_or_told() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let taken = take(&Limits::none(), 1, &table, &clock).await;
    assert!(taken.refused.is_none() && taken.fields.is_empty() && taken.verdicts.is_empty());
    assert_eq!(table.updates(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_the_table_does_not_answer_each_policy_does_as_written() {
    for fault in [Fault::Throttled, Fault::Unavailable, Fault::Hangs] {
        let (table, clock) = (FaultyTable::new(fault), TestClock::at(NOON));
        let failing = |on| limits([limit_on("per-ip", "3/min", "request.ip", on)]);

        let local = failing(OnStoreFailure::Local);
        assert_eq!(admitted(&local, 8, &table, &clock).await, 3, "{fault:?}");
        let told = take(&local, 1, &table, &clock).await;
        assert_eq!(retry_after(&told), Duration::from_secs(51));
        assert_eq!(told.fields["ratelimit"], r#""per-ip";r=0;t=51"#);

        let open = failing(OnStoreFailure::Open);
        assert_eq!(admitted(&open, 8, &table, &clock).await, 8, "{fault:?}");
        let told = take(&open, 1, &table, &clock).await;
        assert_eq!(told.fields["ratelimit-policy"], r#""per-ip";q=3;w=60"#);
        assert!(!told.fields.contains_key("ratelimit"), "what is left is not known");

        let closed = failing(OnStoreFailure::Closed);
        let taken = take(&closed, 1, &table, &clock).await;
        assert_eq!(taken.refused.as_ref().map(Refusal::code), Some("state_unavailable"), "{fault:?}");
        assert_eq!(taken.verdicts, [LimitVerdict { name: "per-ip".into(), admitted: false, remaining: 0 }]);

        clock.set(NOON + 60_000);
        assert_eq!(admitted(&local, 8, &table, &clock).await, 3, "the next window, {fault:?}");
        table.becomes(Fault::None);
        assert_eq!(admitted(&closed, 8, &table, &clock).await, 3, "and the table again, {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_that_hangs_delays_an_answer_by_the_bound_whatever_the_number_of_limits() {
    let (table, clock) = (FaultyTable::new(Fault::Hangs), TestClock::at(NOON));
    let many = limits((0..5).map(|number| limit(&number.to_string(), "3/min", "request.ip")));
    let started = Instant::now();
    assert!(take(&many, 1, &table, &clock).await.refused.is_none());
    assert!(started.elapsed() <= BOUND + LAST_LOOK + Duration::from_millis(1), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_later_limit_that_fails_closed_gives_back_what_was_counted_here() {
    let (table, clock) = (FaultyTable::new(Fault::Unavailable), TestClock::at(NOON));
    let local = limit("local", "3/min", "request.ip");
    let closed = limit_on("closed", "3/min", "request.ip", OnStoreFailure::Closed);
    let both = limits([Arc::clone(&local), closed]);
    assert_eq!(admitted(&both, 10, &table, &clock).await, 0);
    assert_eq!(admitted(&limits([local]), 10, &table, &clock).await, 3);
}

#[tokio::test]
async fn an_item_that_makes_no_sense_is_a_failure_of_the_table() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let limit = limit_on("per-ip", "3/min", "request.ip", OnStoreFailure::Closed);
    let window = Window::labelled(clock.now(), Per::Minute).attribute() + &limit.items().suffix;
    table.put(Which::Hot, &first_ip(&limit), Item::new().with(window, "many"), &Terms::default()).await.unwrap();
    let closed = limits([limit]);
    let taken = take(&closed, 1, &table, &clock).await;
    assert_eq!(taken.refused.as_ref().map(Refusal::code), Some("state_unavailable"));
}

#[tokio::test]
async fn requests_without_a_key_share_one_bucket() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let limits = limits([limit("keyed", "2/min", "request.headers['x-key']")]);
    let mut passed = Vec::new();
    for (ip, key) in [(1, None), (2, Some("")), (3, None), (4, Some("")), (5, Some("a")), (6, Some("b"))] {
        let taken = take_from(&limits, From { ip, path: "/", key }, &table, &clock).await;
        passed.push(taken.refused.is_none());
    }
    assert_eq!(passed, [true, true, false, false, true, true]);
}

#[test]
fn callers_of_two_methods_count_apart_where_the_key_is_their_id() {
    for (source, apart) in [
        ("caller.id", true),
        ("route.name + ':' + caller . id", true),
        ("caller['id']", true),
        ("caller.tenant", false),
        ("request.ip", false),
    ] {
        assert_eq!(reads_caller_id(source), apart, "{source}");
    }
    let stem = Stem::new("c", "l", "fixed_window/60");
    assert_ne!(stem.key(Some(("jwt", "7"))), stem.key(Some(("api_key", "7"))));
}

#[tokio::test]
async fn an_item_does_not_grow_with_idle_times() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let limit = limit("per-ip", "2/min", "request.ip");
    let key = first_ip(&limit);
    let limits = limits([limit]);
    for minutes in [0, 1, 2, 50, 51, 200, 201, 350, 351] {
        clock.set(NOON + minutes * 60_000);
        assert!(take(&limits, 1, &table, &clock).await.refused.is_none());
    }
    let items = table.get_many(Which::Hot, &[&key], Reading::Strong).await.unwrap();
    let windows = items[0].as_ref().unwrap().iter().filter(|(name, _)| name.starts_with('w')).count();
    assert_eq!(windows, 2, "{items:?}");
}

#[tokio::test]
async fn a_lower_rate_counts_what_was_taken_under_the_higher() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    assert_eq!(admitted(&limits([limit("l", "10/min", "global")]), 4, &table, &clock).await, 4);
    let lower = limits([limit("l", "3/min", "global")]);
    assert_eq!(retry_after(&take(&lower, 1, &table, &clock).await), Duration::from_secs(51));
}

#[test]
fn taking_can_move_between_threads() {
    fn sent(_: impl Send) {}
    let (limits, table, clock) = (limits([limit("l", "1/s", "global")]), MemoryTable::default(), TestClock::at(NOON));
    sent(take(&limits, 1, &table, &clock));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_key_of_any_length_and_letters_has_its_exact_count(one in ".{0,3000}", other in "\\PC{0,200}") {
        prop_assume!(one != other);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
        let limits = limits([limit_on("by-path", "2/min", "request.path", OnStoreFailure::Closed)]);
        for path in [&one, &other] {
            let mut passed = Vec::new();
            for _ in 0..3 {
                let from = From { ip: 1, path, key: None };
                let taken = runtime.block_on(take_from(&limits, from, &table, &clock));
                passed.push(taken.refused.map_or("passed", |refusal| refusal.code()));
            }
            prop_assert_eq!(passed, ["passed", "passed", "over_limit"]);
        }
    }
}
