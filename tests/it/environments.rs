//! Environments with real threads and real clocks that share a limit over DynamoDB, judged by the simulation's checker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Method};
use simulation::{Bound, beyond, counts_from, ideal};
use tollgate::clock::{Clock, SystemClock, Timestamp};
use tollgate::config::{Host, compile};
use tollgate::exchange::{Body, Origin, Request, Response, Scheme};
use tollgate::forward::{BoxFuture, Outbound, Target, Upstream, UpstreamFault};
use tollgate::gateway::{Gateway, World};
use tollgate::table::{Item, Reading, Table, TableError, Terms, Update, Which};
use tollgate_adapters::table::DynamoTable;

use crate::dynamo;
use crate::hostile::OneFile;

const BOUND: Bound = Bound { rate: 300, burst: 300 };

/// For how long each asks.
const LASTS: Duration = Duration::from_millis(2_500);

/// An environment's clock, and what it said last.
#[derive(Debug, Default)]
struct Told(AtomicU64);

impl Clock for Told {
    fn now(&self) -> Timestamp {
        let now = SystemClock.now();
        self.0.store(now.nanos(), Ordering::Relaxed);
        now
    }
}

/// An environment's way to the table: takes down from when on what it is given counts.
#[derive(Debug)]
struct Noted {
    table: Arc<DynamoTable>,
    clock: Arc<Told>,
    /// For a token alone, when its bucket is debited; for a lease, when it was asked for.
    given: Mutex<Option<u64>>,
    writes: AtomicU64,
}

impl Table for Noted {
    fn get_many<'a>(
        &'a self,
        which: Which,
        keys: &'a [&'a str],
        reading: Reading,
    ) -> BoxFuture<'a, Result<Vec<Option<Item>>, TableError>> {
        self.table.get_many(which, keys, reading)
    }

    fn put<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        item: Item,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<(), TableError>> {
        self.table.put(which, key, item, terms)
    }

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        let told = i128::from(self.clock.0.load(Ordering::Relaxed));
        Box::pin(async move {
            self.writes.fetch_add(1, Ordering::Relaxed);
            let item = self.table.update(which, key, update, terms).await?;
            let from = counts_from(update, terms, BOUND.token(1)).map_or(told, |from| from.min(told));
            *self.given.lock().unwrap() = Some(u64::try_from(from).unwrap());
            Ok(item)
        })
    }

    fn delete<'a>(&'a self, which: Which, key: &'a str, terms: &'a Terms) -> BoxFuture<'a, Result<(), TableError>> {
        self.table.delete(which, key, terms)
    }
}

/// No route has one.
#[derive(Debug)]
struct NoUpstream;

impl Upstream for NoUpstream {
    fn send<'a>(&'a self, target: &'a Target, _: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        unreachable!("{target:?}")
    }
}

/// When requests came, when those that were admitted count, and how many writes that took.
#[derive(Debug, Default)]
struct Seen {
    arrived: Vec<u64>,
    admitted: Vec<u64>,
    writes: u64,
}

/// One environment: one request after the other, this far apart, until the time is over.
async fn environment(config: &str, endpoint: &str, seed: u64, apart: Duration) -> Seen {
    let clock = Arc::new(Told::default());
    let table = DynamoTable::connect(dynamo::settings(endpoint)).await;
    let table =
        Arc::new(Noted { table, clock: Arc::clone(&clock), given: Mutex::default(), writes: AtomicU64::default() });
    let routes = compile("gateway.yaml", Host { files: &OneFile(config.to_owned()), env: &|_| None }).unwrap().routes;
    let world = World {
        table: Arc::clone(&table) as _,
        upstream: Arc::new(NoUpstream),
        clock: Arc::clone(&clock) as _,
        environments: None,
        vault: Arc::new(tollgate::secret::NoVault),
    };
    let gateway = Gateway::new(routes, world);
    let (mut seen, started) = (Seen::default(), tokio::time::Instant::now());
    let mut ticks = tokio::time::interval(apart);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while started.elapsed() < LASTS {
        ticks.tick().await;
        *table.given.lock().unwrap() = None;
        let arrived = SystemClock.now().nanos();
        seen.arrived.push(arrived);
        let served = gateway.handle(request(seed + seen.arrived.len() as u64)).await;
        if served.response.status.is_success() {
            // Where the table was not asked, a lease was there when the request came.
            seen.admitted.push(table.given.lock().unwrap().unwrap_or(arrived));
        }
        served.after.run(None).await;
    }
    seen.writes = table.writes.load(Ordering::Relaxed);
    seen
}

fn request(seed: u64) -> Request {
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: seed.to_string(),
        seed,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    let (path, headers) = ("/".to_owned(), HeaderMap::new());
    Request { method: Method::GET, path, query: None, headers, body: Body::Empty, origin }
}

/// Eight of them, each on a thread of its own, that ask for twice the limit together.
fn all_together(accuracy: &str) -> Seen {
    let config = format!(
        "version: 1\nname: {accuracy}\nlimits: {{l: {{rate: {}/s, by: global, burst: {}, accuracy: {accuracy}, on_store_failure: closed}}}}\nroutes:\n  - {{name: a, auth: none, match: {{path: /}}, limits: l, to: {{respond: {{body: ok}}}}}}\n",
        BOUND.rate, BOUND.burst
    );
    let endpoint = dynamo::start();
    let apart = Duration::from_millis(8_000 / (2 * BOUND.rate));
    let threads: Vec<_> = (0..8_u64)
        .map(|number| {
            let (config, endpoint) = (config.clone(), endpoint.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let table = DynamoTable::connect(dynamo::settings(&endpoint)).await;
                    table.create_tables().await.unwrap();
                    environment(&config, &endpoint, number * 1_000_003, apart).await
                })
            })
        })
        .collect();
    let mut all = Seen::default();
    for thread in threads {
        let seen = thread.join().unwrap();
        all.arrived.extend(seen.arrived);
        all.admitted.extend(seen.admitted);
        all.writes += seen.writes;
    }
    all.arrived.sort_unstable();
    all
}

#[test]
fn environments_with_real_clocks_never_admit_more_than_the_limit_and_most_of_it() {
    for accuracy in ["leased", "exact"] {
        let mut seen = all_together(accuracy);
        let (asked, admitted) = (seen.arrived.len(), seen.admitted.len());
        let over = beyond(BOUND, 0, &mut seen.admitted);
        let ideal = ideal(BOUND, &seen.arrived, 0);
        println!(
            "{accuracy}: {admitted} of {asked} admitted, an ideal bucket {ideal}; {} writes; {:.1} below the bound",
            seen.writes, -over
        );
        assert!(over <= 0.0, "{accuracy}: {over:.1} more than the bound");
        assert!(admitted as f64 >= 0.7 * ideal as f64, "{accuracy}: {admitted} of {ideal}");
    }
}
