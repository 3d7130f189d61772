//! What is promised of each algorithm, whatever the requests, the clocks and the table do (state.md §12: P1, P2, P3,
//! P5, P7, P12).

use super::*;

/// What one simulated request meets.
#[derive(Debug, Clone, Copy)]
struct Step {
    environment: usize,
    /// Since the one before, in milliseconds.
    pause: u64,
    cost: u64,
    fault: Fault,
    /// How many returns that wait are sent after it.
    returns: usize,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![5 => Just(0), 5 => 1..40_u64, 2 => 40..700_u64, 1 => 700..2_500_u64];
    let fault = prop_oneof![
        12 => Just(Fault::None),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Twice),
        1 => Just(Fault::Throttled),
        1 => Just(Fault::Slow(Duration::from_millis(30))),
    ];
    let step = (0..4_usize, pause, 1..3_u64, fault, 0..3_usize)
        .prop_map(|(environment, pause, cost, fault, returns)| Step { environment, pause, cost, fault, returns });
    prop::collection::vec(step, 1..120)
}

/// When in nanoseconds by a true clock, and how many.
type Admitted = Vec<(u64, u64)>;

/// Environments with clocks of their own on one table. What a second limit refuses gives back to the first, later and
/// out of order. An admitted request counts when what took it was sent; of a token bucket, when that was first tried; of
/// a queue, when it leaves.
async fn simulate(algorithm: Algorithm, rate: &str, offsets: &[i64; 4], steps: &[Step]) -> Admitted {
    let started = Instant::now();
    let table = FaultyTable::new(Fault::None);
    let wide = counted("wide", rate, "request.host", algorithm, COST);
    let wide = wide.items().stem.key(Some(("", "api.example.com"))).item();
    let environments = offsets.map(|off| {
        let closed = OnStoreFailure::Closed;
        let wide = counted_on("wide", rate, "request.host", algorithm, COST, closed);
        let narrow = counted_on("narrow", "9/s", "request.ip", Algorithm::SlidingLog, "1", closed);
        (limits([wide, narrow]), TestClock::running(NOON, started, off))
    });
    let mut admitted = Vec::new();
    let mut waiting: Vec<Later> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(step.pause)).await;
        table.becomes(step.fault);
        let (limits, clock) = &environments[step.environment];
        let cost = step.cost.to_string();
        let from = From { ip: u8::try_from(number % 3).unwrap(), path: "/", key: Some(&cost) };
        let asked = Instant::now();
        let taken = take_from(limits, from, &table, clock).await;
        table.becomes(Fault::None);
        if taken.refused.is_none() {
            let when = match algorithm {
                Algorithm::TokenBucket { .. } => asked,
                Algorithm::LeakyBucket { .. } => Instant::now(),
                Algorithm::FixedWindow
                | Algorithm::SlidingWindow { .. }
                | Algorithm::SlidingLog
                | Algorithm::Quota { .. } => table.sent.lock().unwrap()[&wide],
            };
            admitted.push((NOON * 1_000_000 + nanos_since(started, when), step.cost));
        }
        waiting.push(taken.later);
        for _ in 0..step.returns.min(waiting.len()) {
            waiting.swap_remove(number % waiting.len()).run(&table, clock).await;
        }
    }
    admitted
}

/// The cost is the header that [`From::key`] sets.
pub(super) const COST: &str = "request.headers['x-key']";

fn nanos_since(started: Instant, when: Instant) -> u64 {
    u64::try_from((when - started).as_nanos()).unwrap()
}

fn on_a_paused_clock<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

/// The most in any window of this length.
fn fullest(admitted: &Admitted, window: Duration) -> u64 {
    let length = u64::try_from(window.as_nanos()).unwrap();
    let from = |start: u64| admitted.iter().filter(move |(at, _)| (start..start + length).contains(at));
    admitted.iter().map(|(start, _)| from(*start).map(|(_, cost)| cost).sum()).max().unwrap_or(0)
}

/// By how many nanoseconds of the rate more than the burst passed in the worst interval; 0 is exactly the bound.
fn beyond(admitted: &Admitted, burst: i128, step: i128) -> i128 {
    let mut worst = i128::MIN;
    for (first, (start, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        for (at, cost) in admitted.iter().skip(first) {
            sum += i128::from(*cost);
            worst = worst.max(sum * step - burst * step - i128::from(at.saturating_sub(*start)));
        }
    }
    worst
}

fn offsets() -> impl Strategy<Value = [i64; 4]> {
    prop_oneof![Just([0; 4]), prop::array::uniform4(-5..=5_i64)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_bucket_never_sees_more_than_its_burst_and_the_rate(burst in 2..20_u64, offsets in offsets(), steps in steps()) {
        let admitted = on_a_paused_clock(simulate(Algorithm::TokenBucket { burst }, "20/s", &offsets, &steps));
        let apart = offsets.iter().max().unwrap() - offsets.iter().min().unwrap();
        let beyond = beyond(&admitted, burst.into(), 50_000_000);
        prop_assert!(beyond <= i128::from(apart) * 1_000_000, "{beyond} ns");
    }

    #[test]
    fn what_leaves_a_queue_is_never_more_than_its_burst_and_the_rate(
        burst in 2..6_u64, offsets in offsets(), steps in steps(), queue in 1..1000_u64,
    ) {
        // What is slow leaves late, together with what comes after it.
        let steps: Vec<_> = steps
            .into_iter()
            .map(|step| Step { fault: if let Fault::Slow(_) = step.fault { Fault::None } else { step.fault }, ..step })
            .collect();
        let queue = Duration::from_millis(queue);
        let admitted = on_a_paused_clock(simulate(Algorithm::LeakyBucket { burst, queue }, "20/s", &offsets, &steps));
        let apart = offsets.iter().max().unwrap() - offsets.iter().min().unwrap();
        // Tokio's timer counts in whole milliseconds.
        let beyond = beyond(&admitted, burst.into(), 50_000_000);
        prop_assert!(beyond <= i128::from(apart + 1) * 1_000_000, "{beyond} ns");
    }

    #[test]
    fn no_window_sees_more_than_a_sliding_window_allows(limit in 2..20_u64, offsets in offsets(), steps in steps()) {
        let algorithm = Algorithm::SlidingWindow { approximate: false };
        let admitted = on_a_paused_clock(simulate(algorithm, &format!("{limit}/s"), &offsets, &steps));
        let fullest = fullest(&admitted, Duration::from_secs(1));
        prop_assert!(fullest <= limit, "{fullest}");
    }

    #[test]
    fn no_window_sees_more_than_a_sliding_log_allows(limit in 1..20_u64, offsets in offsets(), steps in steps()) {
        let steps: Vec<_> = steps.into_iter().map(|step| Step { cost: 1, ..step }).collect();
        let admitted = on_a_paused_clock(simulate(Algorithm::SlidingLog, &format!("{limit}/s"), &offsets, &steps));
        let fullest = fullest(&admitted, Duration::from_secs(1));
        prop_assert!(fullest <= limit, "{fullest}");
    }

    #[test]
    fn a_window_of_the_calendar_never_sees_more_than_its_limit(
        limit in 2..20_u64, offsets in offsets(), steps in steps(),
    ) {
        let admitted = on_a_paused_clock(simulate(Algorithm::FixedWindow, &format!("{limit}/s"), &offsets, &steps));
        let mut windows = BTreeMap::<u64, u64>::new();
        for (at, cost) in admitted {
            *windows.entry(at / 1_000_000_000).or_default() += cost;
        }
        prop_assert!(windows.values().all(|sum| *sum <= limit), "{windows:?}");
    }

    #[test]
    fn two_weighted_windows_see_less_than_twice_the_limit(limit in 2..20_u64, offsets in offsets(), steps in steps()) {
        let algorithm = Algorithm::SlidingWindow { approximate: true };
        let admitted = on_a_paused_clock(simulate(algorithm, &format!("{limit}/s"), &offsets, &steps));
        let fullest = fullest(&admitted, Duration::from_secs(1));
        prop_assert!(fullest <= 2 * limit, "{fullest}");
    }

    /// Nothing is refused that could pass, either.
    #[test]
    fn alone_a_bucket_is_the_ideal_one(burst in 2..20_u64, steps in steps()) {
        let steps: Vec<_> = steps.into_iter().map(|step| Step { fault: Fault::None, environment: 0, ..step }).collect();
        let (limit, ideal) = on_a_paused_clock(async {
            let started = Instant::now();
            let (table, clock) = (MemoryTable::default(), TestClock::running(NOON, started, 0));
            let limits = limits([counted("l", "20/s", "global", Algorithm::TokenBucket { burst }, COST)]);
            let (mut passed, mut ideal, mut tokens, mut last) = (Vec::new(), Vec::new(), burst * 50, 0);
            for step in &steps {
                tokio::time::sleep(Duration::from_millis(step.pause)).await;
                let from = From { ip: 1, path: "/", key: Some(&step.cost.to_string()) };
                passed.push(take_from(&limits, from, &table, &clock).await.refused.is_none());
                // A token is 50 ms.
                let now = u64::try_from(started.elapsed().as_millis()).unwrap();
                tokens = (burst * 50).min(tokens + now - last);
                last = now;
                ideal.push(tokens >= step.cost * 50);
                tokens -= if tokens >= step.cost * 50 { step.cost * 50 } else { 0 };
            }
            (passed, ideal)
        });
        prop_assert_eq!(limit, ideal);
    }

    /// All or nothing: a table without any limit but counters decides the same.
    #[test]
    fn a_refused_request_costs_nothing_whatever_the_algorithms(
        one in 0..ALGORITHMS.len(), other in 0..ALGORITHMS.len(), asked in prop::collection::vec((0..2_usize, 0..4_u8), 1..60),
    ) {
        on_a_paused_clock(async {
            let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
            let environment = || {
                let wide = counted("wide", "8/min", "global", ALGORITHMS[one](8), "1");
                limits([wide, counted("narrow", "3/min", "request.ip", ALGORITHMS[other](3), "1")])
            };
            let environments = [environment(), environment()];
            let (mut all, mut each) = (0, [0; 4]);
            for (environment, ip) in asked {
                let taken = take(&environments[environment], ip, &table, &clock).await;
                let of_ip = &mut each[usize::from(ip)];
                let may = all < 8 && *of_ip < 3;
                assert_eq!(taken.refused.is_none(), may, "{one} {other} {all} {of_ip}");
                (all, *of_ip) = (all + u64::from(may), *of_ip + u64::from(may));
                taken.later.run(&table, &clock).await;
            }
        });
    }
}
