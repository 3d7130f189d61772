//! A leaky bucket with a queue: who waits, for how long, and who does not.

use super::*;

const QUEUE: Algorithm = Algorithm::LeakyBucket { burst: 1, queue: Duration::from_millis(250) };

/// When each of so many requests that come at once goes on, in milliseconds; `None` is refused.
async fn departures(limits: &Limits, asked: u64, deadline: Option<Duration>) -> Vec<Option<u128>> {
    let started = Instant::now();
    let (table, clock) = (MemoryTable::default(), TestClock::running(NOON, started, 0));
    let one = async |_: u64| {
        let from = From { ip: 1, path: "/", key: None };
        let taken = take_until(limits, from, &table, &clock, deadline.map(|deadline| started + deadline)).await;
        taken.refused.is_none().then(|| started.elapsed().as_millis())
    };
    let mut waiting: Vec<_> = (0..asked).map(|number| Box::pin(one(number))).collect();
    let mut left = vec![None; waiting.len()];
    let mut under_way: Vec<_> = (0..waiting.len()).collect();
    std::future::poll_fn(|context| {
        under_way.retain(|number| match waiting[*number].as_mut().poll(context) {
            Poll::Ready(departure) => {
                left[*number] = departure;
                false
            }
            Poll::Pending => true,
        });
        if under_way.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    left
}

#[tokio::test(start_paused = true)]
async fn what_is_early_leaves_at_the_rate_and_what_is_too_early_is_refused_at_once() {
    let limits = limits([counted("slow", "10/s", "global", QUEUE, "1")]);
    assert_eq!(departures(&limits, 5, None).await, [Some(0), Some(100), Some(200), None, None]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_beyond_its_deadline() {
    let limits = limits([counted("slow", "10/s", "global", QUEUE, "1")]);
    assert_eq!(departures(&limits, 4, Some(Duration::from_millis(150))).await, [Some(0), Some(100), None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_burst_goes_on_at_once_and_the_rest_queues() {
    let queue = Duration::from_millis(250);
    let limits = limits([counted("slow", "10/s", "global", Algorithm::LeakyBucket { burst: 3, queue }, "1")]);
    let leave = departures(&limits, 6, None).await;
    assert_eq!(leave, [Some(0), Some(0), Some(0), Some(100), Some(200), None]);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_nobody_waits() {
    let limits = Limits(vec![Use { limit: counted("slow", "10/s", "global", QUEUE, "1").into(), mode: Mode::Shadow }]);
    assert_eq!(departures(&limits, 5, None).await, [Some(0); 5]);
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_by_another_limit_does_not_wait_and_gives_its_turn_back() {
    let started = Instant::now();
    let (table, clock) = (MemoryTable::default(), TestClock::running(NOON, started, 0));
    let slow = counted("slow", "10/s", "global", QUEUE, "1");
    let few = counted("few", "1/min", "request.ip", Algorithm::SlidingLog, "1");
    let both = limits([Arc::clone(&slow), few]);
    assert!(take(&both, 1, &table, &clock).await.refused.is_none());
    let elsewhere = counted("few", "1/min", "request.ip", Algorithm::SlidingLog, "1");
    let refused = take(&limits([Arc::clone(&slow), elsewhere]), 1, &table, &clock).await;
    assert_eq!(refused.refused.as_ref().map(Refusal::code), Some("over_limit"));
    assert_eq!(started.elapsed(), Duration::ZERO);
    refused.later.run(&table, &clock).await;
    assert!(take(&limits([slow]), 1, &table, &clock).await.refused.is_none());
    assert_eq!(started.elapsed(), Duration::from_millis(100), "and not 200");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_steps_back_makes_nobody_wait() {
    let started = Instant::now();
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let limits = limits([counted("few", "5/min", "global", Algorithm::TokenBucket { burst: 5 }, "1")]);
    let behind = StepsBack(clock, AtomicUsize::new(0));
    assert!(take(&limits, 1, &table, &behind).await.refused.is_none());
    assert_eq!(started.elapsed(), Duration::ZERO);
}

/// A clock that is a minute earlier from the fourth look on.
#[derive(Debug)]
struct StepsBack(TestClock, AtomicUsize);

impl Clock for StepsBack {
    fn now(&self) -> Timestamp {
        let looks = self.1.fetch_add(1, Ordering::Relaxed);
        if looks < 3 { self.0.now() } else { self.0.now().minus(Duration::from_secs(60)) }
    }
}
