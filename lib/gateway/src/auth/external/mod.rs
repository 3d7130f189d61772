//! An external authorizer: a service over HTTP, or a Lambda function as API Gateway calls them.
//!
//! An answer is kept only where the config says so, and then for as much of the request as it says; by default that is
//! all that the authorizer was told, so that no answer is taken for what it was not given for.

mod answer;
mod http;
mod lambda;
mod policy;
#[cfg(test)]
mod tests;
mod told;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::HeaderName;
use ::http::header::COOKIE;
use aws_lc_rs::digest::{Context, SHA256};

pub use self::http::Service;
pub use lambda::{Arn, Function, Payload};

use super::caller::Caller;
use super::challenge::Challenge;
use super::flights::Flights;
use super::key::Hash;
use super::recent::{Recent, lock};
use super::{Denied, Method, Presented};
use crate::clock::Timestamp;
use crate::exchange::{After, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;
use answer::Answer;
use told::Told;

/// The largest answer that is read, in bytes.
const LARGEST: usize = 64 * 1024;

/// The largest answer that is kept; API Gateway takes no larger one of an authorizer.
const LARGEST_KEPT: usize = 8 * 1024;

/// How many answers are kept.
const MOST: usize = 1_024;

/// For how long a no is kept at most: what someone waits who was just let in.
const NO: Duration = Duration::from_secs(5);

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A field.
    Header(HeaderName),
    /// The authority.
    Host,
    /// The path.
    Path,
    /// The query.
    Query,
    /// The client's address.
    Ip,
}

impl Part {
    /// The words for the parts that are no fields.
    pub const WORDS: [(&str, Self); 4] = [
        ("request.host", Self::Host),
        ("request.path", Self::Path),
        ("request.query", Self::Query),
        ("request.ip", Self::Ip),
    ];

    fn name(&self) -> &str {
        match self {
            Self::Header(name) => name.as_str(),
            Self::Host => "request.host",
            Self::Path => "request.path",
            Self::Query => "request.query",
            Self::Ip => "request.ip",
        }
    }
}

/// Who is asked.
#[derive(Debug)]
pub enum Authorizer {
    /// A service over HTTP.
    Service(Service),
    /// A Lambda function.
    Function(Function),
}

/// What of the config does not depend on who is asked.
#[derive(Debug)]
pub struct Terms {
    /// For how long it may take.
    pub timeout: Duration,
    /// For how long an answer is kept; zero keeps none.
    pub cache: Duration,
    /// The fields that it is told.
    pub forward_headers: Vec<HeaderName>,
    /// What tells callers apart: its fields must be there, and an answer holds for one combination of them. `None` is
    /// any of `forward_headers`, and all that it is told.
    pub identity: Option<Vec<Part>>,
    /// Whether an answer holds for one route and method.
    pub by_route: bool,
}

/// An entry of `auth` that asks an authorizer.
#[derive(Debug)]
pub struct External {
    name: Arc<str>,
    authorizer: Authorizer,
    terms: Terms,
    /// What an answer holds for.
    parts: Vec<Part>,
    good: Mutex<Recent<Kept>>,
    /// Apart, so that credentials that are made up drive no good ones out.
    bad: Mutex<Recent<Kept>>,
    flights: Flights<Result<Arc<Answer>, String>>,
}

#[derive(Debug)]
struct Kept {
    answer: Arc<Answer>,
    at: Timestamp,
    until: Timestamp,
}

impl External {
    const VIA: &str = "external";

    /// The entry `name`, which asks `authorizer` on these terms.
    pub fn new(name: &str, authorizer: Authorizer, terms: Terms) -> Self {
        let fields = terms.forward_headers.iter().cloned().map(Part::Header);
        let all = Part::WORDS.into_iter().map(|(_, part)| part).filter(|_| terms.by_route);
        let parts = terms.identity.clone().unwrap_or_else(|| fields.chain(all).collect());
        let [good, bad] = [Mutex::new(Recent::new(MOST)), Mutex::new(Recent::new(MOST))];
        Self { name: name.into(), authorizer, terms, parts, good, bad, flights: Flights::default() }
    }

    /// The fields that tell who calls.
    fn credentials(&self) -> impl Iterator<Item = &HeaderName> {
        self.parts.iter().filter_map(|part| if let Part::Header(name) = part { Some(name) } else { None })
    }

    /// Whether what tells who calls is there; without, nobody is asked.
    fn present(&self, asked: &Presented<'_>) -> Result<(), Denied> {
        let there = |name: &HeaderName| asked.headers.contains_key(name);
        let enough = match &self.terms.identity {
            Some(_) => self.credentials().all(there),
            None => self.credentials().next().is_none() || self.credentials().any(there),
        };
        if !enough {
            return Err(Denied::Missing);
        }
        // The authorizer might look at one, and what is behind at another.
        match self.credentials().find(|name| **name != COOKIE && asked.headers.get_all(*name).iter().nth(1).is_some()) {
            Some(name) => Err(Denied::Invalid(format!("there is more than one {name}"))),
            None => Ok(()),
        }
    }

    /// What an answer holds for, hashed; each part with its length, so that no two lists are one text.
    fn key(&self, told: &Told<'_>) -> Hash {
        let mut context = Context::new(&SHA256);
        let mut add = |bytes: &[u8]| {
            context.update(&bytes.len().to_be_bytes());
            context.update(bytes);
        };
        let asked = told.asked;
        if self.terms.by_route {
            add(asked.route.as_bytes());
            add(asked.method.as_str().as_bytes());
        }
        for part in &self.parts {
            match part {
                Part::Header(name) => {
                    let values = asked.headers.get_all(name);
                    add(&values.iter().count().to_be_bytes());
                    values.iter().for_each(|value| add(value.as_bytes()));
                }
                Part::Host => add(asked.origin.host.as_bytes()),
                Part::Path => add(told.path.as_bytes()),
                Part::Query => add(asked.query.map(|query| format!("?{query}")).unwrap_or_default().as_bytes()),
                Part::Ip => add(asked.origin.ip.to_string().as_bytes()),
            }
        }
        let mut hash = Hash::default();
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    async fn judge(&self, asked: &Presented<'_>, world: &World) -> Result<Caller, Denied> {
        self.present(asked)?;
        let told = Told::of(asked, &self.terms.forward_headers)?;
        let answer = if self.terms.cache.is_zero() {
            self.ask(&told, world).await.map(|(answer, _)| Arc::new(answer))
        } else {
            let key = self.key(&told);
            match self.kept(&key, asked.now) {
                Some(answer) => Ok(answer),
                None => Box::pin(self.flights.share(key, || self.ask_and_keep(key, &told, world))).await,
            }
        };
        let answer = answer.map_err(Denied::Unchecked)?;
        answer.judge(|| match &self.authorizer {
            Authorizer::Function(function) => function.method_arn(&told),
            Authorizer::Service(_) => String::new(),
        })
    }

    /// The answer, and whether it may be kept.
    async fn ask(&self, told: &Told<'_>, world: &World) -> Result<(Answer, bool), String> {
        let (upstream, timeout) = (&*world.upstream, self.terms.timeout);
        let (answer, size, kept) = match &self.authorizer {
            Authorizer::Service(service) => service.ask(told, upstream, timeout, LARGEST).await?,
            Authorizer::Function(function) => {
                let sources: Vec<_> = self.credentials().filter_map(|name| told.joined(name)).collect();
                let (answer, size) = function.ask(told, &sources, upstream, timeout, LARGEST).await?;
                (answer, size, true)
            }
        };
        Ok((answer, kept && size <= LARGEST_KEPT))
    }

    async fn ask_and_keep(&self, key: Hash, told: &Told<'_>, world: &World) -> Result<Arc<Answer>, String> {
        let (answer, keep) = self.ask(told, world).await?;
        let answer = Arc::new(answer);
        if keep {
            let (known, lasts) =
                if answer.is_yes() { (&self.good, self.terms.cache) } else { (&self.bad, self.terms.cache.min(NO)) };
            // From when the request came: the answer is no younger.
            let at = told.asked.now;
            let kept = Kept { answer: Arc::clone(&answer), at, until: at.plus(lasts) };
            lock(known).keep(key, kept);
        }
        Ok(answer)
    }

    /// A clock that was set back makes no answer last longer.
    fn kept(&self, key: &Hash, now: Timestamp) -> Option<Arc<Answer>> {
        [&self.good, &self.bad].into_iter().find_map(|known| {
            let mut known = lock(known);
            let Kept { answer, at, until } = known.get(key)?;
            (*at..*until).contains(&now).then(|| Arc::clone(answer))
        })
    }
}

impl Method for External {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        world: &'a World,
        _: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        Box::pin(async { self.judge(asked, world).await.map_err(|denied| denied.by(&self.name)) })
    }

    fn strip(&self, request: &mut Request) {
        for name in self.credentials() {
            request.headers.remove(name);
        }
    }

    fn challenge(&self) -> Challenge {
        if self.credentials().any(|name| *name == ::http::header::AUTHORIZATION) {
            Challenge::Bearer
        } else {
            Challenge::Scheme("External")
        }
    }

    fn forwards(&self) -> Vec<HeaderName> {
        match &self.authorizer {
            Authorizer::Service(service) => service.upstream_headers.clone(),
            Authorizer::Function(_) => Vec::new(),
        }
    }

    fn describe(&self) -> String {
        let Terms { timeout, cache, by_route, .. } = &self.terms;
        let asks = match &self.authorizer {
            Authorizer::Service(service) => format!("{} {}", service.method, service.endpoint.uri()),
            Authorizer::Function(function) => function.arn().to_owned(),
        };
        let mut parts: Vec<_> = if *by_route { vec!["route", "method"] } else { Vec::new() };
        parts.extend(self.parts.iter().map(Part::name));
        let kept = if cache.is_zero() {
            "no answer kept".to_owned()
        } else {
            format!("an answer kept {cache:?} for the same {}", parts.join(" "))
        };
        format!("external {asks}, within {timeout:?}, {kept}")
    }
}
