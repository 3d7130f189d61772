//! Tokens, good and bad. The keys are made anew each time; those of the standards are in testdata/jwt.

mod attacks;
mod claims;
mod keys;
mod properties;
mod published;
mod remembered;
mod signer;
mod sources;
mod vectors;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::clock::Clock;
use crate::testkit::{request, world};
use signer::Signer;

/// 2026-11-24 12:00 UTC.
const NOON: u64 = 1_795_521_600;

/// A clock that stands still until it is set.
#[derive(Debug)]
struct TestClock(AtomicU64);

impl TestClock {
    fn at(secs: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(secs)))
    }

    fn set(&self, secs: u64) {
        self.0.store(secs, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// The set of these signers' public keys.
fn set_of(signers: &[&Signer]) -> Arc<KeySet> {
    let set = json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()});
    let (set, left_out) = KeySet::parse(set.to_string().as_bytes(), 1).unwrap();
    assert!(left_out.is_empty(), "{left_out:?}");
    Arc::new(set)
}

/// What the tests' entry takes: everything strict, no leeway, all algorithms of public keys.
fn policy(keys: Keys) -> Policy {
    Policy {
        algorithms: match keys {
            Keys::Secret(_) => vec![Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512],
            Keys::Fixed(_) | Keys::Published(_) => Algorithm::public().collect(),
        },
        keys,
        types: vec!["jwt".to_owned(), "at+jwt".to_owned()],
        rules: Rules {
            issuer: "https://issuer.example/".to_owned(),
            audiences: vec!["api://gateway".to_owned()],
            audience_claim: None,
            require: Vec::new(),
            leeway: std::time::Duration::ZERO,
            max_lifetime: None,
        },
        from: vec![Source::Header(http::header::AUTHORIZATION)],
        mapping: Mapping::default(),
    }
}

/// An entry that takes tokens of these signers.
fn entry(signers: &[&Signer]) -> Jwt {
    Jwt::new("customers", policy(Keys::Fixed(set_of(signers))))
}

/// Claims that are good at noon.
fn good() -> Value {
    json!({
        "iss": "https://issuer.example/", "aud": "api://gateway", "sub": "user-1", "iat": NOON - 60, "exp": NOON + 600,
        "scope": "read write",
    })
}

/// What an entry makes of a token at noon: the caller, or why not.
fn check(jwt: &Jwt, token: &str) -> Result<Caller, String> {
    check_at(jwt, token, Timestamp::from_secs(NOON))
}

fn check_at(jwt: &Jwt, token: &str, now: Timestamp) -> Result<Caller, String> {
    let Keys::Fixed(keys) = &jwt.policy.keys else { panic!("its keys are fixed") };
    let (signed, signature) = token::split(token.as_bytes())?;
    let judged = jwt.judge(signed, signature, now)?;
    jwt.verify(judged, signed, &digest(&SHA256, signed), keys).map(|verified| verified.caller)
}

/// What an entry makes of a request.
async fn ask(jwt: &Jwt, request: &Request, clock: &Arc<TestClock>) -> Result<Caller, Denied> {
    let clock = Arc::clone(clock);
    let now = clock.now();
    let world = world(clock);
    let asked = Presented {
        method: &request.method,
        path: &request.path,
        query: request.query.as_deref(),
        headers: &request.headers,
        origin: &request.origin,
        body: None,
        route: &Arc::from("r"),
        now,
    };
    jwt.identify(&asked, &world, &mut After::default()).await
}

/// A request with a token in `Authorization`.
fn bearer(token: &str) -> Request {
    let mut request = request("GET /");
    request.headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}
