//! OAuth 2 introspection (RFC 7662): tokens that say nothing themselves, and a server that is asked what they are.
//!
//! What it said is remembered for a while, so a revoked token is let in for so long at most. Where it does not answer,
//! or says what nobody can read, nobody is let in.

mod answer;
mod client;
mod told;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

pub use answer::Terms as IntrospectionTerms;
pub use client::Client as IntrospectionClient;

use super::caller::Caller;
use super::flights::Flights;
use super::jwt::Source;
use super::key::Hash;
use super::{Challenge, Denied, Method, Presented};
use crate::call::{Call, Endpoint};
use crate::exchange::{After, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;
use answer::VIA;
use told::Told;

/// The longest token that anyone is asked about, in bytes.
const LONGEST: usize = 8 * 1024;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 * 1024;

/// Answers above this size are asked for each time, so that what is remembered is bounded in bytes too.
const LARGEST_KEPT: usize = 8 * 1024;

/// An entry of `auth` that asks whose a token is.
#[derive(Debug)]
pub struct Introspection {
    name: Arc<str>,
    policy: IntrospectionPolicy,
    told: Told,
    flights: Flights<Result<Result<Caller, String>, String>>,
}

/// What an entry asks, and what it takes.
#[derive(Debug)]
pub struct IntrospectionPolicy {
    /// Whom to ask.
    pub endpoint: Endpoint,
    /// As whom.
    pub client: IntrospectionClient,
    /// For how long to wait.
    pub timeout: Duration,
    /// For how long a good token is known, at most.
    pub cache: Duration,
    /// Where a token may stand.
    pub from: Vec<Source>,
    /// What must be said of it.
    pub terms: IntrospectionTerms,
}

impl Introspection {
    /// The entry `name`.
    pub fn new(name: &str, policy: IntrospectionPolicy) -> Self {
        let (told, flights) = (Told::new(policy.cache), Flights::default());
        Self { name: name.into(), policy, told, flights }
    }

    async fn caller(&self, asked: &Presented<'_>, world: &World) -> Result<Caller, Denied> {
        let invalid = |why: String| Denied::Invalid(format!("{}: {why}", self.name));
        let token = Source::only(&self.policy.from, asked).map_err(invalid)?.ok_or(Denied::Missing)?;
        let token = check(&token).map_err(|why| invalid(why.to_owned()))?;
        let hash = self.hash(token);
        let word = match self.told.get(&hash, world.clock.now()) {
            Some(word) => word,
            None => {
                let answer = self.flights.share(hash, || self.ask(token, hash, asked.origin.deadline, world));
                answer.await.map_err(|why| Denied::Unchecked(format!("{}: {why}", self.name)))?
            }
        };
        word.map_err(invalid)
    }

    /// What the server says of a token.
    ///
    /// # Errors
    /// Why it says nothing, for the log.
    async fn ask(
        &self,
        token: &str,
        hash: Hash,
        deadline: Option<Instant>,
        world: &World,
    ) -> Result<Result<Caller, String>, String> {
        let IntrospectionPolicy { endpoint, client, timeout, terms, .. } = &self.policy;
        let (headers, form) = client.question(token)?;
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map_or(*timeout, |left| left.min(*timeout));
        let call = Call { method: http::Method::POST, headers, body: Bytes::from(form), timeout, most: LARGEST };
        let asked_at = world.clock.now();
        let reply = endpoint.call(&*world.upstream, call).await?;
        match (reply.status, reply.status.as_u16()) {
            (StatusCode::OK, _) => {}
            (status, 401 | 403) => {
                return Err(format!("the endpoint answered {status}: `client` is not one that may ask"));
            }
            (status, _) => return Err(format!("the endpoint answered {status}")),
        }
        let word = terms.judge(&reply.body, world.clock.now()).map_err(|why| format!("its answer: {why}"))?;
        if reply.body.len() <= LARGEST_KEPT {
            self.told.keep(hash, &word, asked_at);
        }
        Ok(word.map(|(caller, _)| caller))
    }

    /// What stands for a token of this entry.
    fn hash(&self, token: &str) -> Hash {
        Sha256::new().chain_update(self.name.as_bytes()).chain_update([0]).chain_update(token).finalize().into()
    }
}

/// The text of what can be a token (RFC 6750 §2.1).
///
/// # Errors
/// Why it can be none.
fn check(token: &[u8]) -> Result<&str, &'static str> {
    if token.len() > LONGEST {
        return Err("the token is too long");
    }
    let text = std::str::from_utf8(token).map_err(|_| "the token is no text")?;
    let digits = text.trim_end_matches('=');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if digits.is_empty() || !digits.bytes().all(fits) {
        return Err("the token has letters that none has");
    }
    Ok(text)
}

impl Method for Introspection {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        world: &'a World,
        _after: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        Box::pin(self.caller(asked, world))
    }

    fn strip(&self, request: &mut Request) {
        for source in &self.policy.from {
            source.strip(request);
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::Bearer
    }

    fn forwards(&self) -> Vec<HeaderName> {
        self.policy.terms.mapping.forward.iter().map(|(_, name)| name.clone()).collect()
    }

    fn sends(&self, claims: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
        self.policy.terms.mapping.sends(claims)
    }

    fn describe(&self) -> String {
        let IntrospectionPolicy { endpoint, timeout, cache, from, terms, .. } = &self.policy;
        let from: Vec<_> = from.iter().map(ToString::to_string).collect();
        let audiences = if terms.audiences.is_empty() { "anyone".to_owned() } else { terms.audiences.join(" or ") };
        format!(
            "{VIA} in {} by {} within {}s for {audiences}, known for {}s",
            from.join(" or "),
            endpoint.uri(),
            timeout.as_secs_f64(),
            cache.as_secs_f64(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_token_is_refused_before_anyone_is_asked() {
        let longest = "a".repeat(LONGEST);
        for token in ["a", "2YotnFZFEjr1zCsicMWpAA", "a.b-c_d~e+f/g==", &longest] {
            assert_eq!(check(token.as_bytes()), Ok(token));
        }
        let longer = "a".repeat(LONGEST + 1);
        for token in ["", "=", "a b", "a,b", "a=b", "a\"b", "a%20", "a\n", "tökén", &longer] {
            assert!(check(token.as_bytes()).is_err(), "{token}");
        }
        assert!(check(&[b'a', 0xff]).is_err());
    }
}
