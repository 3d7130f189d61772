//! What tests of limits are made of: clocks, a table with faults, limits, requests.

use super::*;

/// A clock that tests move, or that follows tokio's paused time; `off` by this many nanoseconds.
#[derive(Debug)]
pub(super) struct TestClock {
    base: Mutex<Timestamp>,
    started: Option<Instant>,
    off: i64,
}

impl TestClock {
    pub(super) fn at(millis: u64) -> Self {
        Self { base: Mutex::new(Timestamp::from_millis(millis)), started: None, off: 0 }
    }

    pub(super) fn running(millis: u64, started: Instant, off_millis: i64) -> Self {
        let base = Mutex::new(Timestamp::from_millis(millis));
        Self { base, started: Some(started), off: off_millis * 1_000_000 }
    }

    pub(super) fn set(&self, millis: u64) {
        self.set_nanos(millis * 1_000_000);
    }

    pub(super) fn set_nanos(&self, nanos: u64) {
        *self.base.lock().unwrap() = Timestamp::from_nanos(nanos);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let base = *self.base.lock().unwrap();
        let now = self.started.map_or(base, |started| base.plus(started.elapsed()));
        Timestamp::from_nanos(now.nanos().saturating_add_signed(self.off))
    }
}

/// What happens to calls of [`FaultyTable`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    None,
    Throttled,
    Unavailable,
    Hangs,
    Slow(Duration),
    /// It happens, and nobody hears of it.
    Lost,
    /// It is delivered twice.
    Twice,
}

#[derive(Debug)]
pub(super) struct FaultyTable {
    pub(super) inner: MemoryTable,
    fault: Mutex<Fault>,
    updates: AtomicUsize,
    /// When the last update of each item was sent.
    pub(super) sent: Mutex<BTreeMap<String, Instant>>,
}

impl FaultyTable {
    pub(super) fn new(fault: Fault) -> Self {
        let sent = Mutex::default();
        Self { inner: MemoryTable::default(), fault: Mutex::new(fault), updates: AtomicUsize::new(0), sent }
    }

    pub(super) fn becomes(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(super) fn updates(&self) -> usize {
        self.updates.load(Ordering::Relaxed)
    }
}

impl Table for FaultyTable {
    passed_on!(get_many);

    passed_on!(put);

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.sent.lock().unwrap().insert(key.to_owned(), Instant::now());
        let fault = *self.fault.lock().unwrap();
        Box::pin(async move {
            match fault {
                Fault::None => {}
                Fault::Throttled => return Err(TableError::Throttled { reason: ThrottleReason::Table }),
                Fault::Unavailable => {
                    return Err(TableError::Unavailable { maybe_done: true, detail: "gone".to_owned(), source: None });
                }
                Fault::Hangs => std::future::pending().await,
                Fault::Slow(delay) => tokio::time::sleep(delay).await,
                Fault::Lost => {
                    _ = self.inner.update(which, key, update, terms).await;
                    return Err(TableError::Unavailable { maybe_done: true, detail: "gone".to_owned(), source: None });
                }
                Fault::Twice => {
                    let first = self.inner.update(which, key, update, terms).await;
                    _ = self.inner.update(which, key, update, terms).await;
                    return first;
                }
            }
            self.inner.update(which, key, update, terms).await
        })
    }

    passed_on!(delete);
}

/// Nine seconds into a minute.
pub(super) const NOON: u64 = 1_700_000_049_000;

/// Each algorithm, with a burst of so many where it has one.
pub(super) const ALGORITHMS: [fn(u64) -> Algorithm; 6] = [
    |burst| Algorithm::TokenBucket { burst },
    |burst| Algorithm::LeakyBucket { burst, queue: Duration::ZERO },
    |_| Algorithm::FixedWindow,
    |_| Algorithm::SlidingWindow { approximate: false },
    |_| Algorithm::SlidingWindow { approximate: true },
    |_| Algorithm::SlidingLog,
];

pub(super) fn counted_on(
    name: &str,
    rate: &str,
    by: &str,
    algorithm: Algorithm,
    cost: &str,
    on_store_failure: OnStoreFailure,
) -> Arc<Limit> {
    let expression = |text, place| {
        let scope = Scope { place, params: &[], env: &BTreeMap::new() };
        Expression::compile(text, &scope).unwrap()
    };
    let by = if by == "global" { LimitKey::Global } else { LimitKey::By(expression(by, Place::LimitKey)) };
    let cost = cost.parse().map_or_else(|_| Cost::Of(expression(cost, Place::Cost)), Cost::Fixed);
    let limit = Limit::new("shop".into(), name.into(), Rate::parse(rate).unwrap(), by, on_store_failure);
    Arc::new(limit.counted_by(algorithm).costing(cost).accurate(Accuracy::Exact))
}

pub(super) fn counted(name: &str, rate: &str, by: &str, algorithm: Algorithm, cost: &str) -> Arc<Limit> {
    counted_on(name, rate, by, algorithm, cost, OnStoreFailure::Local)
}

pub(super) fn limit_on(name: &str, rate: &str, by: &str, on_store_failure: OnStoreFailure) -> Arc<Limit> {
    counted_on(name, rate, by, Algorithm::FixedWindow, "1", on_store_failure)
}

pub(super) fn limit(name: &str, rate: &str, by: &str) -> Arc<Limit> {
    limit_on(name, rate, by, OnStoreFailure::Local)
}

pub(super) fn limits(limits: impl IntoIterator<Item = Arc<Limit>>) -> Limits {
    Limits(limits.into_iter().map(Use::from).collect())
}

pub(super) struct From<'a> {
    pub(super) ip: u8,
    pub(super) path: &'a str,
    pub(super) key: Option<&'a str>,
}

pub(super) async fn take_from(limits: &Limits, from: From<'_>, table: &dyn Table, clock: &dyn Clock) -> Taken {
    take_until(limits, from, table, clock, None).await
}

pub(super) async fn take_until(
    limits: &Limits,
    from: From<'_>,
    table: &dyn Table,
    clock: &dyn Clock,
    deadline: Option<Instant>,
) -> Taken {
    let mut headers = HeaderMap::new();
    if let Some(key) = from.key {
        headers.insert("x-key", key.parse().unwrap());
    }
    let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, from.ip));
    let facts = facts(&headers, from.path, ip, clock);
    limits
        .take(
            Held::default(),
            &facts,
            &Caller::of_test("", "", ""),
            Around { table, clock, seed: 1, deadline, environments: Some(NonZeroU32::MIN) },
        )
        .await
}

pub(super) fn facts<'a>(headers: &'a HeaderMap, path: &'a str, ip: IpAddr, clock: &dyn Clock) -> Facts<'a> {
    Facts {
        method: &Method::GET,
        path,
        query: None,
        headers,
        host: "api.example.com",
        id: "id-1",
        ip,
        scheme: Scheme::Https,
        params: const { &Params::NONE },
        caller: None,
        route: "route",
        response: None,
        now: clock.now(),
    }
}

pub(super) async fn take(limits: &Limits, ip: u8, table: &dyn Table, clock: &dyn Clock) -> Taken {
    take_from(limits, From { ip, path: "/", key: None }, table, clock).await
}

/// The item of the first address, in which `per-ip` has a share.
pub(super) fn first_ip(limit: &Limit) -> String {
    limit.items().stem.key(Some(("", "192.0.2.1"))).item()
}

/// How many of `asked` requests of one address pass.
pub(super) async fn admitted(limits: &Limits, asked: usize, table: &dyn Table, clock: &dyn Clock) -> usize {
    let mut admitted = 0;
    for _ in 0..asked {
        admitted += usize::from(take(limits, 1, table, clock).await.refused.is_none());
    }
    admitted
}

pub(super) fn retry_after(taken: &Taken) -> Duration {
    match &taken.refused {
        Some(Refusal::OverLimit { retry_after, .. }) => *retry_after,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// A limit of which some is leased.
pub(super) fn leased(name: &str, rate: &str, by: &str, algorithm: Algorithm) -> Arc<Limit> {
    leased_on(name, rate, by, algorithm, OnStoreFailure::Closed)
}

pub(super) fn leased_on(
    name: &str,
    rate: &str,
    by: &str,
    algorithm: Algorithm,
    on_store_failure: OnStoreFailure,
) -> Arc<Limit> {
    let limit = counted_on(name, rate, by, algorithm, "1", on_store_failure);
    Arc::new(Arc::into_inner(limit).unwrap().accurate(Accuracy::Leased))
}

pub(super) fn bucket(burst: u64) -> Algorithm {
    Algorithm::TokenBucket { burst }
}

/// Asks so often, this far apart; how many passed. What is to do later is done after each.
pub(super) async fn ask_evenly(
    limits: &Limits,
    asked: u32,
    apart: Duration,
    table: &dyn Table,
    clock: &dyn Clock,
) -> u32 {
    let mut passed = 0;
    for _ in 0..asked {
        let taken = take(limits, 1, table, clock).await;
        passed += u32::from(taken.refused.is_none());
        taken.later.run(table, clock).await;
        tokio::time::sleep(apart).await;
    }
    passed
}
