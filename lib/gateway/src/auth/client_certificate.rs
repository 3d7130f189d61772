//! Client certificates: TLS ends before us, and whoever ended it hands the certificate over (RFC 9440 §1).
//!
//! That the client holds the key was proven there. Here the chain is verified against authorities of our own, at our
//! own time, and the names are held against `allow`. What is proven is remembered by the hash of the text that was
//! handed over, so that a repeated certificate costs a hash.

mod chain;
mod der;
mod rule;
#[cfg(test)]
mod tests;
mod text;
mod x509;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value};

pub use chain::Authorities;
pub use rule::Rule;

use self::chain::Proof;
use super::caller::{Caller, Identity};
use super::granted::Granted;
use super::key::Hash;
use super::recent::{Recent, lock};
use super::{Challenge, Denied, Method, Presented};
use crate::clock::Timestamp;
use crate::exchange::{After, CertFrom, ClientCert, Origin, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;

/// The client's certificate, upstream (RFC 9440 §2.2).
pub const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
/// The certificates between it and the authority, upstream (RFC 9440 §2.3).
pub const CLIENT_CERT_CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// For how long what was proven of a certificate holds at most.
const HOLDS: Duration = Duration::from_secs(300);

/// How many certificates are remembered; some kilobytes each.
const MOST: usize = 1_024;

/// An entry of `auth` that identifies by client certificates.
#[derive(Debug)]
pub struct ClientCertificates {
    name: Arc<str>,
    from: CertFrom,
    authorities: Authorities,
    allow: Vec<Rule>,
    granted: Granted,
    proven: Mutex<Recent<Proven>>,
}

/// What was proven of a certificate, and from when to when that holds.
#[derive(Debug)]
struct Proven {
    caller: Caller,
    from: Timestamp,
    until: Timestamp,
}

impl ClientCertificates {
    /// What [`Caller::via`] says of callers with a certificate.
    const VIA: &str = "client_certificate";

    /// The entry `name`: certificates handed over by `from`, of one of `authorities`, with a name that one of `allow`
    /// matches.
    pub fn new(name: &str, from: CertFrom, authorities: Authorities, allow: Vec<Rule>, granted: Granted) -> Self {
        let proven = Mutex::new(Recent::new(MOST));
        Self { name: name.into(), from, authorities, allow, granted, proven }
    }

    fn caller(&self, origin: &Origin, now: Timestamp) -> Result<Caller, Denied> {
        let handed = origin.client_certificate.as_ref().filter(|handed| handed.from == self.from);
        let Some(ClientCert { text, .. }) = handed else { return Err(Denied::Missing) };
        let Some(hash) = digest(&SHA256, text).as_ref().first_chunk::<32>().copied() else {
            return Err(Denied::Missing);
        };
        if let Some(caller) = self.remembered(&hash, now) {
            return Ok(caller);
        }
        let proven = self.prove(text, now).map_err(|why| Denied::Invalid(format!("{}: {why}", self.name)))?;
        let caller = proven.caller.clone();
        lock(&self.proven).keep(hash, proven);
        Ok(caller)
    }

    /// A clock that was set back makes nothing hold longer.
    fn remembered(&self, hash: &Hash, now: Timestamp) -> Option<Caller> {
        let mut proven = lock(&self.proven);
        proven.get(hash).filter(|proven| (proven.from..proven.until).contains(&now)).map(|proven| proven.caller.clone())
    }

    /// # Errors
    /// Why it is no caller's, for the log.
    fn prove(&self, text: &[u8], now: Timestamp) -> Result<Proven, String> {
        let chain = text::certificates(text)?;
        let proof = self.authorities.verify(&chain, now.secs())?;
        let id = self.allow.iter().find_map(|rule| rule.find(&proof.names));
        let id = id.ok_or_else(|| format!("the certificate {} has no name that is allowed", proof.serial))?;
        let own = chain.first().ok_or("there is no certificate")?;
        let ends = Timestamp::from_secs(proof.holds_until.saturating_add(1));
        let identity = Identity {
            forward: forward(own, &proof.between),
            claims: claims(own, &proof),
            ..self.granted.identity(Self::VIA, id, "")
        };
        Ok(Proven { caller: Caller::of(identity), from: now, until: now.plus(HOLDS).min(ends) })
    }
}

impl Method for ClientCertificates {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        _: &'a World,
        _: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        Box::pin(std::future::ready(self.caller(asked.origin, asked.now)))
    }

    /// The fields that a certificate came in are gone before anything reads them.
    fn strip(&self, _: &mut Request) {}

    fn challenge(&self) -> Challenge {
        Challenge::Scheme("ClientCertificate")
    }

    fn forwards(&self) -> Vec<HeaderName> {
        vec![CLIENT_CERT, CLIENT_CERT_CHAIN]
    }

    fn describe(&self) -> String {
        let from = match &self.from {
            CertFrom::ApiGateway => "API Gateway".to_owned(),
            CertFrom::Alb { target_group, verified: true } => format!("the load balancer of {target_group}"),
            CertFrom::Alb { target_group, verified: false } => {
                format!("the load balancer of {target_group} unverified")
            }
            CertFrom::Edge => "the edge".to_owned(),
        };
        let allow: Vec<String> = self.allow.iter().map(ToString::to_string).collect();
        let count = self.authorities.count();
        format!("client_certificate from {from}, {count} authorities, {}", allow.join(" or "))
    }
}

/// Structured fields' byte sequences (RFC 9440 §2.1).
fn forward(own: &CertificateDer<'_>, between: &[CertificateDer<'_>]) -> Vec<(HeaderName, HeaderValue)> {
    let item = |certificate: &CertificateDer<'_>| format!(":{}:", STANDARD.encode(certificate));
    let chain = between.iter().map(item).collect::<Vec<_>>().join(", ");
    let fields = [(CLIENT_CERT, item(own)), (CLIENT_CERT_CHAIN, chain)];
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)))
        .collect()
}

/// The certificate's SHA-256 fingerprint and serial number in hexadecimal, its names, and when it ends.
fn claims(own: &CertificateDer<'_>, proof: &Proof) -> Map<String, Value> {
    let texts = |names: &[String]| Value::from(names.iter().take(MOST_NAMES).cloned().collect::<Vec<_>>());
    let mut claims = Map::new();
    claims.insert("fingerprint".to_owned(), hex(digest(&SHA256, own).as_ref()).into());
    claims.insert("serial".to_owned(), proof.serial.clone().into());
    claims.insert("uris".to_owned(), texts(&proof.names.uris));
    claims.insert("dns".to_owned(), texts(&proof.names.dns));
    if let Some(cn) = &proof.names.cn {
        claims.insert("cn".to_owned(), cn.clone().into());
    }
    claims.insert("not_after".to_owned(), proof.not_after.into());
    claims
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// How many names of a kind stand in the claims.
const MOST_NAMES: usize = 32;
