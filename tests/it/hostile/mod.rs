//! A hostile world. Thousands of hostile requests at each door: the gateway answers what is good among them as before,
//! and its memory and its descriptors do not grow. Upstreams and tables that do what none should: each request is
//! answered, in its time.

use std::num::NonZeroU32;
use std::sync::Arc;

use tollgate::clock::SystemClock;
use tollgate::config::{self, Files, Host};
use tollgate::exchange::{Body, Origin, Request, Scheme};
use tollgate::gateway::{Gateway, World};
use tollgate::table::Table;
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};

mod lambda;
mod local;
mod table;
mod upstream;

/// Which requests are sent: another seed sends others. A failure tells the request's number beside it, and each request
/// follows from the two alone.
const SEED: u64 = 20_261_124;

/// How many hostile requests each door gets, and after how many of them its memory is measured first: by then every
/// buffer and pool has the size that it keeps.
const REQUESTS: u64 = 10_000;
const WARM_UP: u64 = 2_000;

/// How much larger a process may be after all requests than after the first: a leak of 300 bytes a request is found,
/// what the allocator keeps in one run and not in another is not.
const GROWTH: u64 = 2 * 1024 * 1024;

/// Chance that is the same in every run: SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    /// The dice of request `number`.
    fn of(number: u64) -> Self {
        let mut dice = Self(SEED ^ number.wrapping_mul(0xa076_1d64_78bd_642f));
        dice.roll();
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound.max(1) as u64).unwrap()
    }

    /// True once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most + 1);
        (0..count).map(|_| self.roll().to_le_bytes()[0]).collect()
    }

    /// Changes some bytes: another one in their place, one more, fewer, a part twice, or the end cut off.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] = self.roll().to_le_bytes()[0],
                1 => bytes.insert(at, self.one_of(b"\0\r\n\t \"\\:;,%/{}[]\x7f\x80\xff")),
                2 if !bytes.is_empty() => drop(bytes.remove(at)),
                3 => {
                    let part = bytes[at..(at + self.below(64)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, part);
                }
                _ if self.once_in(3) => bytes.truncate(at),
                _ => {}
            }
        }
    }
}

/// Bytes of memory that a process has in use.
fn memory(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    // Pages have 4 KiB on every machine that this is built for but some of ARM's, where it only allows more.
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// What is to be told of a process's memory after all requests; fails where it has grown.
fn flat(pid: u32, before: u64) -> String {
    let after = memory(pid);
    assert!(after <= before + GROWTH, "it grew from {before} to {after} bytes");
    format!("memory after {WARM_UP} requests {before} bytes, after {REQUESTS} {after} bytes")
}

pub(crate) struct OneFile(pub(crate) String);

impl Files for OneFile {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.clone().into_bytes())
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("there is one file".to_owned())
    }
}

/// A gateway of this config, with real connections to its upstreams.
fn gateway(config: impl Into<String>, table: Arc<dyn Table>) -> Gateway {
    let files = OneFile(config.into());
    let compiled = config::compile("gateway.yaml", Host { files: &files, env: &|_| None });
    let routes = compiled.unwrap_or_else(|problems| panic!("{problems}")).routes;
    let upstream = HttpUpstream::new(UpstreamSettings::default(), Arc::new(SystemClock));
    Gateway::new(
        routes,
        World {
            table,
            upstream,
            clock: Arc::new(SystemClock),
            environments: Some(NonZeroU32::MIN),
            vault: Arc::new(tollgate::secret::NoVault),
        },
    )
}

fn request(method: http::Method, path: &str, body: Body) -> Request {
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "id-1".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    Request { method, path: path.to_owned(), query: None, headers: http::HeaderMap::new(), body, origin }
}

#[test]
fn the_same_number_rolls_the_same_and_another_does_not() {
    let rolls = |number| {
        (0..8)
            .map({
                let mut dice = Dice::of(number);
                move |_| dice.roll()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(rolls(1), rolls(1));
    assert_ne!(rolls(1), rolls(2));
}
