//! Identification: who is calling. A method a file.
//!
//! A route names the ways in, any of which will do; a way is one method, or several that must all agree. Which of them
//! nearly worked is for the log alone: a client learns that it has no credentials, or that they are not taken.

mod api_key;
mod assumed;
mod basic;
mod caller;
mod challenge;
mod client_certificate;
pub mod external;
mod fields;
mod flights;
mod granted;
pub mod hmac;
mod iam;
mod introspection;
mod issuer;
pub mod jwt;
mod key;
pub mod keyring;
mod known;
mod mapping;
mod recent;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

pub use api_key::ApiKeys;
pub use assumed::Assumed;
pub use basic::Basic;
pub use caller::{Caller, Identity};
pub use challenge::{Challenge, Challenges};
pub use client_certificate::{Authorities, CLIENT_CERT, CLIENT_CERT_CHAIN, ClientCertificates, Rule};
pub use granted::Granted;
pub use iam::{Iam, Principal};
pub use introspection::{Introspection, IntrospectionClient, IntrospectionPolicy, IntrospectionTerms};
pub use issuer::Published;
pub use key::{ApiKey, Pepper};
pub use known::{REVOKED_AT_LAST, REVOKED_WITHIN};
pub use mapping::{ClaimPath, Mapping};

use crate::clock::Timestamp;
use crate::exchange::{After, Body, Origin, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;

/// What a method reads of a request: all as it came, before any transform.
#[derive(Debug)]
pub struct Presented<'r> {
    /// The method.
    pub method: &'r http::Method,
    /// The path as sent.
    pub path: &'r str,
    /// The query as sent.
    pub query: Option<&'r str>,
    /// The fields, credentials included.
    pub headers: &'r HeaderMap,
    /// What the platform says.
    pub origin: &'r Origin,
    /// The whole content, where a method [`Method::reads_body`]; else `None`.
    pub body: Option<&'r Bytes>,
    /// The route's name.
    pub route: &'r Arc<str>,
    /// When the request came.
    pub now: Timestamp,
}

/// A way to tell who calls: what one entry of the config's `auth` is made of.
pub trait Method: fmt::Debug + Send + Sync {
    /// Who calls, proven. What need not delay the answer goes to `after`.
    ///
    /// # Errors
    /// Why nobody is identified.
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        world: &'a World,
        after: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>>;

    /// Takes its credential off a request, and nothing else.
    fn strip(&self, request: &mut Request);

    /// What a 401 asks for (RFC 9110 §11.6.1).
    fn challenge(&self) -> Challenge;

    /// Whether it must read the content of a request with these fields.
    fn reads_body(&self, headers: &HeaderMap) -> bool {
        let _ = headers;
        false
    }

    /// The fields that it sends on of its own: no client may send them.
    fn forwards(&self) -> Vec<HeaderName> {
        Vec::new()
    }

    /// What it sends on of a caller of whom this is said.
    fn sends(&self, claims: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
        let _ = claims;
        Vec::new()
    }

    /// What it is, for `explain` and the compiled print: `api_key in x-api-key`. Never a secret.
    fn describe(&self) -> String;
}

/// An entry of the config's `auth`.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub method: Arc<dyn Method>,
}

/// How a route identifies its callers.
#[derive(Debug, Clone)]
pub enum Auth {
    /// `auth: none`: anyone, written out and never implied.
    Public,
    /// Any of some ways.
    Any(Ways),
}

/// The ways in, in order, and what a client that came by none of them is told.
#[derive(Debug, Clone)]
pub struct Ways {
    ways: Vec<Way>,
    mode: Mode,
    challenges: Challenges,
}

/// One way in.
#[derive(Debug, Clone)]
pub enum Way {
    /// One method.
    One(Use),
    /// All of these. The caller is the first one's; the others only have to agree.
    All(Vec<Use>),
}

/// One use of a method by a route.
#[derive(Debug, Clone)]
pub struct Use {
    /// The entry of `auth`, shared by all its uses.
    pub entry: Arc<Entry>,
    /// Whether its credential goes on to the upstream.
    pub keep: bool,
}

/// Why a method did not identify a caller, from what counts least to what counts most where several were asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// There is no credential of its kind.
    Missing,
    /// There is one, and it is no good: the words are for the log.
    Invalid(String),
    /// It is known who calls, and that it may not: the words are for the log.
    Forbidden(String),
    /// Nobody could say: the words are for the log.
    Unchecked(String),
}

impl Denied {
    /// Of the entry `name`: operators are told which of several it was.
    fn by(self, name: &str) -> Self {
        let by = |why: String| format!("{name}: {why}");
        match self {
            Self::Missing => Self::Missing,
            Self::Invalid(why) => Self::Invalid(by(why)),
            Self::Forbidden(why) => Self::Forbidden(by(why)),
            Self::Unchecked(why) => Self::Unchecked(by(why)),
        }
    }

    /// What counts of two ways: the graver, or both where they are of a kind.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Invalid(one), Self::Invalid(two)) => Self::Invalid(both(&one, &two)),
            (Self::Forbidden(one), Self::Forbidden(two)) => Self::Forbidden(both(&one, &two)),
            (Self::Unchecked(one), Self::Unchecked(two)) => Self::Unchecked(both(&one, &two)),
            (one, two) => one.max(two),
        }
    }
}

fn both(one: &str, two: &str) -> String {
    if one == two { one.to_owned() } else { format!("{one}; {two}") }
}

impl Way {
    /// Its uses.
    pub fn uses(&self) -> &[Use] {
        match self {
            Self::One(used) => std::slice::from_ref(used),
            Self::All(uses) => uses,
        }
    }

    async fn identify(&self, asked: &Presented<'_>, world: &World, after: &mut After) -> Result<Caller, Denied> {
        let mut callers = Vec::new();
        for used in self.uses() {
            callers.push(used.entry.method.identify(asked, world, after).await?);
        }
        Caller::first_of(callers).ok_or(Denied::Missing)
    }
}

impl Ways {
    /// These ways, at least one. In shadow whoever came by none of them passes as anyone does.
    pub fn new(ways: Vec<Way>, mode: Mode) -> Self {
        let challenges = Challenges::of(ways.iter().flat_map(Way::uses).map(|used| used.entry.method.challenge()));
        Self { ways, mode, challenges }
    }

    /// Whether it refuses.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// In the order that they are tried.
    pub fn all(&self) -> &[Way] {
        &self.ways
    }

    fn uses(&self) -> impl Iterator<Item = &Use> {
        self.ways.iter().flat_map(Way::uses)
    }

    async fn identify(&self, asked: &Presented<'_>, world: &World, after: &mut After) -> Result<Caller, Refusal> {
        let mut denied = Denied::Missing;
        for way in &self.ways {
            match way.identify(asked, world, after).await {
                Ok(caller) => return Ok(caller),
                Err(why) => denied = denied.and(why),
            }
        }
        let challenges = self.challenges.clone();
        Err(match denied {
            Denied::Missing => Refusal::CredentialsMissing { challenges },
            Denied::Invalid(why) => Refusal::CredentialsInvalid { challenges, why },
            Denied::Forbidden(why) => Refusal::CallerForbidden { why },
            Denied::Unchecked(why) => Refusal::CredentialsUnchecked { why },
        })
    }
}

impl Auth {
    /// The entries that it names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let ways: &[Way] = match self {
            Self::Public => &[],
            Self::Any(ways) => ways.all(),
        };
        ways.iter().flat_map(Way::uses).map(|used| &*used.entry)
    }

    /// Whether it may have to ask for anything.
    pub const fn takes_time(&self) -> bool {
        matches!(self, Self::Any(_))
    }

    /// The caller of a route that lets anyone in.
    pub fn public(&self) -> Option<Caller> {
        matches!(self, Self::Public).then(|| PUBLIC.clone())
    }

    /// Identifies the caller, and takes the credentials off the request, so that neither an upstream nor an expression
    /// sees them. In shadow one who is not identified passes as anyone does, with what was sent. A body that a method must read is read whole, up to `most` bytes.
    ///
    /// # Errors
    /// [`Refusal::CredentialsMissing`] and [`Refusal::CredentialsInvalid`]; [`Refusal::CallerForbidden`] where an
    /// authorizer says so; [`Refusal::CredentialsUnchecked`] where a credential may be right and nobody could say.
    pub async fn identify(
        &self,
        request: &mut Request,
        about: About<'_>,
        world: &World,
        shadowed: &mut Shadowed,
        after: &mut After,
    ) -> Result<Caller, Refusal> {
        let ways = match self {
            Self::Any(ways) if ways.mode != Mode::Off => ways,
            Self::Public | Self::Any(_) => return Ok(PUBLIC.clone()),
        };
        let body = if ways.uses().any(|used| used.entry.method.reads_body(&request.headers)) {
            Some(whole(&mut request.body, about.most).await?)
        } else {
            None
        };
        let asked = Presented {
            method: &request.method,
            path: &request.path,
            query: request.query.as_deref(),
            headers: &request.headers,
            origin: &request.origin,
            body: body.as_ref(),
            route: about.route,
            now: about.now,
        };
        let identified = match about.assumed {
            Some(assumed) => Ok(assumed.caller(ways.uses().map(|used| &*used.entry.method))),
            None => ways.identify(&asked, world, after).await,
        };
        // In shadow an upstream may still judge the credentials, as before there was an `auth`.
        if identified.is_ok() || ways.mode == Mode::Enforce {
            for used in ways.uses().filter(|used| !used.keep) {
                used.entry.method.strip(request);
            }
        }
        Ok(ways.mode.ask(shadowed, || identified)?.unwrap_or_else(|| PUBLIC.clone()))
    }
}

/// What identification needs to know of a request beside what is in it.
#[derive(Debug, Clone, Copy)]
pub struct About<'r> {
    /// The route's name.
    pub route: &'r Arc<str>,
    /// When the request came.
    pub now: Timestamp,
    /// The most that a body may have, in bytes.
    pub most: u64,
    /// Who it is taken to be whatever its credentials, where the gateway only explains itself.
    pub assumed: Option<&'r Assumed>,
}

/// Reads a body whole, and leaves it in its place.
async fn whole(body: &mut Body, most: u64) -> Result<Bytes, Refusal> {
    let bytes = std::mem::take(body).collect(most).await?;
    *body = if bytes.is_empty() { Body::Empty } else { Body::Full(bytes.clone()) };
    Ok(bytes)
}

static PUBLIC: LazyLock<Caller> = LazyLock::new(|| Caller::of(Identity { via: "none", ..Identity::default() }));
