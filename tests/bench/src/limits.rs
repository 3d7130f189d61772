//! What a limit check costs that is served from a lease: µs for `Limits::take`, by what is counted together. The table is
//! in memory and asked now and then for the next lease; how often is told, and that is in the figures.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::time::Instant;
use tollgate::clock::{Clock, IN_STEP, SystemClock, Watched};
use tollgate::config::{Files, Host, compile};
use tollgate::exchange::Scheme;
use tollgate::expression::{Facts, Params};
use tollgate::forward::BoxFuture;
use tollgate::limit::{Around, Held};
use tollgate::route::Route;
use tollgate::table::{Item, MemoryTable, Reading, Table, TableError, Terms, Update, Which};

type Fault = Box<dyn std::error::Error>;

const CONFIG: &str = "
version: 1
name: bench
defaults: {auth: none}
limits:
  per-ip: {rate: 100000000/s, by: request.ip, shards: 1}
  all: {rate: 100000000/s, by: global, shards: 1}
routes:
  - {name: none, match: {path: /a}, to: {respond: {status: 200}}}
  - {name: request.ip, match: {path: /b}, limits: [per-ip], to: {respond: {status: 200}}}
  - {name: global, match: {path: /c}, limits: [all], to: {respond: {status: 200}}}
  - {name: both, match: {path: /d}, limits: [per-ip, all], to: {respond: {status: 200}}}
";

/// Clients that take turns.
const CLIENTS: u8 = 8;
const ROUNDS: u64 = 100_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let compiled = compile("gateway.yaml", Host { files: &Text, env: &|_| None }).map_err(|wrong| wrong.to_string())?;
    let table = Counted::default();
    let clock = Watched::new(SystemClock, IN_STEP);
    for route in &compiled.routes.routes {
        let (mut least, mut wrote) = (f64::MAX, 0);
        // The least of several: whatever else the machine does only adds to it.
        for _ in 0..10 {
            let before = table.writes.load(Ordering::Relaxed);
            let took = round(route, &table, &clock).await?;
            least = least.min(took.as_secs_f64() * 1e6 / u64_to_f64(ROUNDS));
            wrote = table.writes.load(Ordering::Relaxed) - before;
        }
        let share = u64_to_f64(wrote) * 100.0 / u64_to_f64(ROUNDS);
        print(&format!("{:10} {least:.3} µs a check, {share:.3} % of them wrote", route.name));
    }
    Ok(())
}

async fn round(route: &Route, table: &Counted, clock: &dyn Clock) -> Result<Duration, Fault> {
    let (headers, params) = (HeaderMap::new(), Params::default());
    let caller = route.auth.public().ok_or("a route of the benchmark is not public")?;
    let started = Instant::now();
    let deadline = Some(started + Duration::from_secs(30));
    for seed in 0..ROUNDS {
        let client = u8::try_from(seed % u64::from(CLIENTS))?;
        let facts = Facts {
            method: &Method::GET,
            path: "/",
            query: None,
            headers: &headers,
            host: "api.example.com",
            id: "id",
            ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, client)),
            scheme: Scheme::Https,
            params: &params,
            caller: Some(&caller),
            route: &route.name,
            response: None,
            now: clock.now(),
        };
        let around = Around { table, clock, seed, deadline, environments: None };
        let taken = route.limits.take(Held::default(), &facts, &caller, around).await;
        if taken.refused.is_some() {
            return Err("a limit of the benchmark refused".into());
        }
        if !taken.later.is_empty() {
            taken.later.run(table, clock).await;
        }
    }
    Ok(started.elapsed())
}

/// A config that is one text.
struct Text;

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(CONFIG.as_bytes().to_vec())
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("there is no folder".to_owned())
    }
}

/// A table in memory that counts its writes.
#[derive(Debug, Default)]
struct Counted {
    table: MemoryTable,
    writes: AtomicU64,
}

impl Table for Counted {
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
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.table.update(which, key, update, terms)
    }

    fn delete<'a>(&'a self, which: Which, key: &'a str, terms: &'a Terms) -> BoxFuture<'a, Result<(), TableError>> {
        self.table.delete(which, key, terms)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark")]
const fn u64_to_f64(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::print_stdout, reason = "a figure is what this program is for")]
fn print(line: &str) {
    println!("{line}");
}
