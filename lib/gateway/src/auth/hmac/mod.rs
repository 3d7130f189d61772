//! HMAC signatures: `Authorization: hmac …` as Kong's clients send it, `Signature …` of draft-cavage-http-signatures-12,
//! and HTTP Message Signatures (RFC 9421).
//!
//! What is signed must say when, and what is asked for. A signature is good for as long as the clock's skew allows, for
//! whoever sends it: environments share no memory of those seen, so it is no protection against replay within that.

mod claim;
mod digest;
mod message;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, Key};
use http::header::{AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderName};

use super::caller::{Caller, Identity};
use super::challenge::Challenge;
use super::{Denied, Method, Presented};
use crate::clock::Timestamp;
use crate::exchange::{After, Request};
use crate::forward::BoxFuture;
use crate::forward::sign::line;
use crate::gateway::World;
use crate::secret::Secret;
use claim::{Claim, Form};

/// The longest field that is read as a signature.
const LONGEST: usize = 8 * 1024;

/// The shortest secret, in bytes.
pub const SHORTEST: usize = 16;

/// What a signature may be made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-384.
    Sha384,
    /// HMAC with SHA-512.
    Sha512,
}

impl Algorithm {
    /// Its name, as in `algorithm="…"`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    fn key(self, secret: &[u8]) -> Key {
        let algorithm = match self {
            Self::Sha256 => HMAC_SHA256,
            Self::Sha384 => HMAC_SHA384,
            Self::Sha512 => HMAC_SHA512,
        };
        Key::new(algorithm, secret)
    }
}

/// One who signs.
#[derive(Debug)]
pub struct Client {
    /// Its secrets, the newest first; any of them is good.
    pub secrets: Vec<Arc<Secret>>,
    /// Who it is.
    pub caller: Caller,
}

impl Client {
    /// A client of this name, which is the caller's id.
    pub fn new(secrets: Vec<Arc<Secret>>, identity: Identity) -> Self {
        Self { secrets, caller: Caller::of(Identity { via: Hmac::VIA, ..identity }) }
    }
}

/// An entry of `auth` that identifies by HMAC signatures.
#[derive(Debug)]
pub struct Hmac {
    /// The entry's name.
    pub name: Arc<str>,
    /// The field that carries the signature; `signature` has it without a scheme.
    pub header: HeaderName,
    /// What is taken; the first where a signature does not say.
    pub algorithms: Vec<Algorithm>,
    /// How far the date may be from now, either way.
    pub skew: Duration,
    /// Parts that must be signed beside the date and the request line.
    pub required: Vec<String>,
    /// Whether a body must be signed.
    pub body: bool,
    /// By name.
    pub clients: BTreeMap<String, Client>,
}

impl Hmac {
    const VIA: &str = "hmac";

    /// The claim of a request.
    fn claim<'r>(&self, headers: &'r HeaderMap) -> Result<Claim<'r>, Denied> {
        let invalid = |why: &str| Denied::Invalid(why.to_owned());
        let text = one(headers, &self.header)?.ok_or(Denied::Missing)?;
        let claim = if self.header == SIGNATURE {
            match one(headers, &SIGNATURE_INPUT)? {
                Some(input) => message::claim(input, text),
                None => Claim::lines(after_scheme(text).unwrap_or(text)),
            }
        } else {
            match after_scheme(text) {
                Some(parameters) => Claim::lines(parameters),
                // Another method's credential.
                None if self.carries_schemes() => return Err(Denied::Missing),
                None => Claim::lines(text),
            }
        };
        claim.map_err(invalid)
    }

    /// Whether the field is one that other methods use, too.
    fn carries_schemes(&self) -> bool {
        self.header == AUTHORIZATION || self.header == http::header::PROXY_AUTHORIZATION
    }

    fn algorithm(&self, claim: &Claim<'_>) -> Result<Algorithm, String> {
        let found = match claim.algorithm {
            Some(name) => self.algorithms.iter().find(|algorithm| algorithm.as_str() == name),
            None => self.algorithms.first(),
        };
        found.copied().ok_or_else(|| format!("the algorithm \"{}\" is not taken", shown(claim.algorithm)))
    }

    /// That it says when, which is about now, and signs what it must.
    fn covers(&self, claim: &Claim<'_>, asked: &Presented<'_>) -> Result<(), String> {
        let signs = |name: &str| claim.parts.contains(&name);
        let base = claim.form != Form::Lines;
        let line = if base {
            let query = asked.query.is_none() || signs("@query");
            signs("@method") && (signs("@target-uri") || signs("@request-target") || (signs("@path") && query))
        } else {
            signs("request-line") || signs("(request-target)") || signs("@request-target")
        };
        if !line {
            return Err("it does not sign the method, the path and the query".to_owned());
        }
        let signed = |name: &str| signs(name) || (base && stands_for(name, &claim.parts));
        if let Some(name) = self.required.iter().find(|name| !signed(name)) {
            return Err(format!("it does not sign {name}"));
        }
        self.timely(claim, asked)
    }

    /// Every time that is signed is about now, and there is one.
    fn timely(&self, claim: &Claim<'_>, asked: &Presented<'_>) -> Result<(), String> {
        let near = |at: Timestamp| asked.now.since(at).max(at.since(asked.now)) <= self.skew;
        let mut times = Vec::new();
        let signs_created = claim.form != Form::Lines || claim.parts.contains(&"(created)");
        if let Some(created) = claim.created.filter(|_| signs_created) {
            times.push(("created", Timestamp::from_secs(created)));
        }
        for name in [DATE.as_str(), "x-date"].into_iter().filter(|name| claim.parts.contains(name)) {
            let date = asked.headers.get(name).and_then(|value| date(value.to_str().ok()?));
            times.push((name, date.ok_or_else(|| format!("{name} is no date of HTTP"))?));
        }
        if times.is_empty() || (claim.form != Form::Lines && claim.created.is_none()) {
            return Err("it does not sign when it was made".to_owned());
        }
        if let Some((name, _)) = times.iter().find(|(_, at)| !near(*at)) {
            return Err(format!("{name} is more than {:?} from now", self.skew));
        }
        match claim.expires {
            Some(expires) if Timestamp::from_secs(expires) <= asked.now => Err("it expired".to_owned()),
            _ => Ok(()),
        }
    }

    /// A digest that is signed is the body's; and where a body must be signed, one is.
    fn digests(&self, claim: &Claim<'_>, asked: &Presented<'_>) -> Result<(), Denied> {
        let mut signed = false;
        for name in digest::FIELDS.into_iter().filter(|name| claim.parts.contains(name)) {
            let body = asked.body.ok_or_else(|| Denied::Unchecked("the body was not read".to_owned()))?;
            digest::check(name, asked.headers, body).map_err(Denied::Invalid)?;
            signed = true;
        }
        if self.body && !signed && asked.body.is_none_or(|body| !body.is_empty()) {
            return Err(Denied::Invalid("the signature does not cover a digest of the body".to_owned()));
        }
        Ok(())
    }

    fn judge(&self, asked: &Presented<'_>) -> Result<Caller, Denied> {
        let claim = self.claim(asked.headers)?;
        let algorithm = self.algorithm(&claim).map_err(Denied::Invalid)?;
        self.covers(&claim, asked).map_err(Denied::Invalid)?;
        let client = self.clients.get(claim.client);
        let keys = client.map_or_else(|| Ok(vec![algorithm.key(&[0; SHORTEST])]), |client| keys(client, algorithm))?;
        let mut right = false;
        for version in versions(&claim, asked) {
            let text = text::signed(&claim, asked, version).map_err(Denied::Invalid)?;
            right |= keys.iter().any(|key| hmac::verify(key, &text, &claim.signature).is_ok());
        }
        match client {
            Some(client) if right => {
                self.digests(&claim, asked)?;
                Ok(client.caller.clone())
            }
            Some(_) => Err(Denied::Invalid(format!("the signature of {} is wrong", claim.client))),
            None => Err(Denied::Invalid(format!("there is no client \"{}\"", shown(Some(claim.client))))),
        }
    }
}

impl Method for Hmac {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        _: &'a World,
        _: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        Box::pin(std::future::ready(self.judge(asked).map_err(|denied| denied.by(&self.name))))
    }

    fn strip(&self, request: &mut Request) {
        let headers = &mut request.headers;
        if self.carries_schemes() {
            super::fields::take_off(headers, &self.header, |value| after_scheme(value).is_some());
            return;
        }
        headers.remove(&self.header);
        if self.header == SIGNATURE {
            headers.remove(SIGNATURE_INPUT);
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::Scheme("Hmac")
    }

    fn reads_body(&self, headers: &HeaderMap) -> bool {
        let signs = |claim: Claim<'_>| self.body || digest::FIELDS.iter().any(|name| claim.parts.contains(name));
        self.claim(headers).is_ok_and(signs)
    }

    fn describe(&self) -> String {
        let algorithms: Vec<_> = self.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
        let required = if self.required.is_empty() { String::new() } else { format!(" {}", self.required.join(" ")) };
        let body = if self.body { ", a body by its digest" } else { "" };
        format!(
            "hmac in {}, {}, skew {:?}, signs the date and the request line{required}{body}, clients {}",
            self.header,
            algorithms.join(" or "),
            self.skew,
            self.clients.keys().map(String::as_str).take(8).collect::<Vec<_>>().join(" ")
        )
    }
}

/// The keys of a client, of those of its secrets that can be used.
fn keys(client: &Client, algorithm: Algorithm) -> Result<Vec<Key>, Denied> {
    let usable = client.secrets.iter().filter_map(|secret| secret.get()).filter(|secret| secret.len() >= SHORTEST);
    let keys: Vec<_> = usable.map(|secret| algorithm.key(line(&secret))).collect();
    if keys.is_empty() {
        let names: Vec<_> = client.secrets.iter().map(|secret| secret.reference()).collect();
        return Err(Denied::Unchecked(format!("{} is not resolved, or too short", names.join(" and "))));
    }
    Ok(keys)
}

/// The versions that the request line may have been signed with, the client's own first.
fn versions<'r>(claim: &Claim<'_>, asked: &Presented<'r>) -> Vec<&'r str> {
    let own = asked.origin.version;
    let others = text::VERSIONS.into_iter().filter(|version| *version != own && claim.parts.contains(&"request-line"));
    std::iter::once(own).chain(others).collect()
}

/// Whether a derived component says what a field's name asks for.
fn stands_for(name: &str, parts: &[&str]) -> bool {
    name == "host" && (parts.contains(&"@authority") || parts.contains(&"@target-uri"))
}

/// The parameters of `hmac …` and `Signature …`; schemes come in any case (RFC 9110 §11.1).
fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(' ')?;
    ["hmac", "signature"].iter().any(|word| scheme.eq_ignore_ascii_case(word)).then_some(rest)
}

/// The one field of a name, if any.
fn one<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Option<&'r str>, Denied> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Denied::Invalid(format!("there is more than one {name}")));
    }
    let text = value.to_str().ok().filter(|text| text.len() <= LONGEST);
    text.map(Some).ok_or_else(|| Denied::Invalid(format!("{name} is no text, or too long")))
}

/// A date in the one form that may be sent (RFC 9110 §5.6.7).
fn date(text: &str) -> Option<Timestamp> {
    let fixed = text.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len() && text.ends_with(" GMT");
    let at = fixed.then(|| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok())??;
    Some(Timestamp::from_secs(u64::try_from(at.as_second()).ok()?))
}

/// What a client wrote, for the log.
fn shown(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().take(64).collect()
}

const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
