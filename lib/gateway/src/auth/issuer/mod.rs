//! Keys that a token's issuer publishes: fetched over HTTP, kept in the environment, and fetched anew before they
//! expire. What is done when stands in [`held`]; here it is done.
//!
//! Only the config, and what the issuer's own metadata says, decide where keys come from: never a token (`jku`, `x5u`,
//! `jwk` of RFC 7515 §4.1 are not looked at).

mod discovery;
mod freshness;
mod held;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::jwt::{KeySet, json};
use crate::call::{Call, Endpoint, Reply};
use crate::clock::{Clock, Timestamp};
use crate::exchange::After;
use crate::forward::Upstream;
use crate::gateway::World;
use freshness::freshness;
use held::{Held, Next};

/// For how long keys are waited for, metadata included.
const BOUND: Duration = Duration::from_millis(1_500);

/// What says that the metadata is not there, and may be elsewhere.
const NOT_SERVED: u16 = 404;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 150 * 1024;

/// The keys of one issuer.
#[derive(Debug, Clone)]
pub struct Published(Arc<Issuer>);

#[derive(Debug)]
struct Issuer {
    at: At,
    /// The authorities to trust instead of the system's.
    ca: Option<Bytes>,
    held: Mutex<Held<KeySet>>,
    /// Whose turn it is to ask: one at a time.
    turn: tokio::sync::Mutex<()>,
    generations: AtomicU64,
}

/// Where the keys are.
#[derive(Debug)]
enum At {
    /// There.
    Keys(Box<Endpoint>),
    /// Where the issuer's metadata says; the metadata is at the first of these, or at the second.
    Discovery { issuer: String, metadata: Box<[Endpoint; 2]> },
}

impl Published {
    /// The keys at `url`.
    ///
    /// # Errors
    /// What is wrong with the address, to be read after it.
    pub fn at(url: &str, ca: Option<Bytes>) -> Result<Self, &'static str> {
        let keys = Endpoint::parse(url, ca.clone())?;
        Ok(Self::new(At::Keys(Box::new(keys)), ca))
    }

    /// The keys of `issuer`, where its metadata says (OpenID Connect Discovery 1.0 §4, RFC 8414 §3).
    ///
    /// # Errors
    /// What is wrong with the issuer as an address, to be read after it.
    pub fn of(issuer: &str, ca: Option<Bytes>) -> Result<Self, &'static str> {
        const FORM: &str = "must be an address like https://login.example.com, without query and fragment";
        let [openid, oauth] = discovery::well_known(issuer).ok_or(FORM)?;
        let metadata = Box::new([Endpoint::parse(&openid, ca.clone())?, Endpoint::parse(&oauth, ca.clone())?]);
        Ok(Self::new(At::Discovery { issuer: issuer.to_owned(), metadata }, ca))
    }

    fn new(at: At, ca: Option<Bytes>) -> Self {
        let (held, turn, generations) = (Mutex::default(), tokio::sync::Mutex::default(), AtomicU64::new(1));
        Self(Arc::new(Issuer { at, ca, held, turn, generations }))
    }

    /// Where they come from, for `explain` and the compiled print.
    pub fn describe(&self) -> String {
        match &self.0.at {
            At::Keys(keys) => keys.uri().to_string(),
            At::Discovery { .. } => "discovery".to_owned(),
        }
    }

    /// The keys now, for a token that names the key `kid`. They are waited for until `deadline` at the latest; a refresh
    /// that need not be waited for goes to `after`.
    ///
    /// # Errors
    /// Why nobody can say which keys are good, for the log.
    pub async fn get(
        &self,
        kid: Option<&str>,
        deadline: Option<Instant>,
        world: &World,
        after: &mut After,
    ) -> Result<Arc<KeySet>, String> {
        let (issuer, clock) = (&self.0, &*world.clock);
        let knows = |keys: &KeySet| kid.is_none_or(|kid| keys.has(kid));
        let now = clock.now();
        let next = issuer.held().next(now, knows);
        match next {
            Next::Use(keys) => return Ok(keys),
            Next::Refresh(keys) => {
                self.refresh(now, world, after);
                return Ok(keys);
            }
            Next::Unknown(why) if issuer.turn.try_lock().is_ok() => return Err(why.to_string()),
            // Whoever has the turn may bring them.
            Next::Unknown(_) | Next::Fetch => {}
        }
        // Apart, so that a request which need not wait does not carry what waiting takes.
        Box::pin(self.wait(kid, deadline, world)).await
    }

    async fn wait(&self, kid: Option<&str>, deadline: Option<Instant>, world: &World) -> Result<Arc<KeySet>, String> {
        let (issuer, clock) = (&self.0, &*world.clock);
        let knows = |keys: &KeySet| kid.is_none_or(|kid| keys.has(kid));
        let until = within(deadline);
        let turn = timeout_at(until, issuer.turn.lock()).await;
        // Whoever had the turn before may have fetched them.
        let next = match &turn {
            Ok(_) => issuer.held().claim(clock.now(), knows),
            Err(_) => issuer.held().after_failure(clock.now(), knows),
        };
        let next = match next {
            Next::Fetch if issuer.renew(&*world.upstream, clock, until).await => issuer.held().fetched(),
            Next::Fetch => issuer.held().after_failure(clock.now(), knows),
            next @ (Next::Use(_) | Next::Refresh(_) | Next::Unknown(_)) => next,
        };
        match next {
            Next::Use(keys) | Next::Refresh(keys) => Ok(keys),
            Next::Unknown(why) => Err(why.to_string()),
            Next::Fetch => Err("the keys could not be fetched".to_owned()),
        }
    }

    /// Fetches the keys again, once the response is out.
    fn refresh(&self, now: Timestamp, world: &World, after: &mut After) {
        self.0.held().begins(now, |_| true);
        let (issuer, upstream, clock) = (Arc::clone(&self.0), Arc::clone(&world.upstream), Arc::clone(&world.clock));
        after.push(async move {
            let until = within(None);
            let Ok(_turn) = timeout_at(until, issuer.turn.lock()).await else { return };
            // A request that could not wait may have fetched them.
            if !issuer.held().came_since(now) {
                issuer.renew(&*upstream, &*clock, until).await;
            }
        });
    }
}

impl Issuer {
    /// Fetches the keys and takes them up; whether that was possible.
    async fn renew(&self, upstream: &dyn Upstream, clock: &dyn Clock, until: Instant) -> bool {
        let mut attempt = Attempt { issuer: self, over: false };
        let fetched = self.fetch(upstream, until).await;
        let renewed = fetched.and_then(|reply| self.take_up(&reply, clock.now()));
        attempt.over = true;
        renewed.map_err(|why| self.held().failed(&why)).is_ok()
    }

    async fn fetch(&self, upstream: &dyn Upstream, until: Instant) -> Result<Reply, String> {
        match &self.at {
            At::Keys(keys) => ask(keys, upstream, until).await.and_then(|reply| good(keys, reply)),
            At::Discovery { issuer, metadata } => {
                let [openid, oauth] = &**metadata;
                let (mut at, mut reply) = (openid, ask(openid, upstream, until).await?);
                if reply.status.as_u16() == NOT_SERVED {
                    (at, reply) = (oauth, ask(oauth, upstream, until).await?);
                }
                let metadata = json::object(&good(at, reply)?.body).map_err(|why| format!("its metadata: {why}"))?;
                let uri = discovery::jwks_uri(&metadata, issuer)?;
                if issuer.starts_with("https:") && !uri.starts_with("https:") {
                    return Err("its jwks_uri must be https://, as the issuer is".to_owned());
                }
                let keys = Endpoint::parse(uri, self.ca.clone()).map_err(|why| format!("its jwks_uri {why}"))?;
                ask(&keys, upstream, until).await.and_then(|reply| good(&keys, reply))
            }
        }
    }

    /// The same bytes are the same keys; others are of a new generation.
    fn take_up(&self, reply: &Reply, now: Timestamp) -> Result<(), String> {
        let fresh = freshness(&reply.headers);
        let digest: [u8; 32] = Sha256::digest(&reply.body).into();
        if self.held().renewed(&digest, now, fresh) {
            return Ok(());
        }
        let (mut keys, mut left_out) = KeySet::parse(&reply.body, self.generations.fetch_add(1, Ordering::Relaxed))?;
        left_out.truncate(MOST_TOLD);
        if keys.is_empty() {
            return Err(format!("no key of the set can be used: {}", left_out.join("; ")));
        }
        keys.left_out = left_out;
        self.held().keep(Arc::new(keys), digest, now, fresh);
        Ok(())
    }

    fn held(&self) -> MutexGuard<'_, Held<KeySet>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many keys that are of no use are told of.
const MOST_TOLD: usize = 4;

/// A fetch under way. Where whoever began it goes away, the next in line begins anew.
struct Attempt<'i> {
    issuer: &'i Issuer,
    over: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.issuer.held().given_up();
        }
    }
}

fn within(deadline: Option<Instant>) -> Instant {
    let bound = Instant::now() + BOUND;
    deadline.map_or(bound, |deadline| bound.min(deadline))
}

async fn ask(endpoint: &Endpoint, upstream: &dyn Upstream, until: Instant) -> Result<Reply, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static("tollgate"));
    let timeout = until.saturating_duration_since(Instant::now());
    let call = Call { method: Method::GET, headers, body: Bytes::new(), timeout, most: LARGEST };
    endpoint.call(upstream, call).await
}

fn good(endpoint: &Endpoint, reply: Reply) -> Result<Reply, String> {
    let status = reply.status;
    if status == StatusCode::OK { Ok(reply) } else { Err(format!("{} answered {status}", endpoint.uri())) }
}
