//! `sign` of an upstream: what tells it that a request is the gateway's.
//!
//! Fields that are made of secrets are put on here, after every transform, so that nothing a client or a config writes
//! of the same name stays. A signature over the request as it is sent is the adapter's to make: [`SigV4`] only names it.

mod oauth2;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

pub use oauth2::{ClientAuth, ClientCredentials};

use crate::exchange::After;
use crate::gateway::World;
use crate::secret::{Derived, Secret};

/// Signature Version 4 of AWS, with the credentials of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4 {
    /// The service's name in signatures: `lambda`, `execute-api`, `s3`.
    pub service: Arc<str>,
    /// The region; `None` is the environment's.
    pub region: Option<Arc<str>>,
}

/// `sign` of an upstream, compiled.
#[derive(Debug, Default)]
pub enum Sign {
    /// Nothing is put on.
    #[default]
    Nothing,
    /// Fields made of secrets: `bearer`, `basic`, `headers`.
    Fields(Vec<Field>),
    /// A bearer token that is asked for (RFC 6749 §4.4).
    Token(Arc<ClientCredentials>),
    /// The signature that the targets name.
    SigV4(SigV4),
}

/// One field made of a secret.
pub struct Field {
    name: HeaderName,
    value: Derived<HeaderValue>,
    shown: String,
}

impl Field {
    /// `Authorization: Bearer …` (RFC 6750 §2.1).
    pub fn bearer(secret: Arc<Secret>) -> Self {
        let shown = format!("bearer {}", secret.reference());
        Self { name: AUTHORIZATION, value: Derived::new(secret, |token| bearer(line(token))), shown }
    }

    /// `Authorization: Basic …` (RFC 7617).
    pub fn basic(user: String, password: Arc<Secret>) -> Self {
        let shown = format!("basic {user}, password {}", password.reference());
        let value = Derived::new(password, move |password| basic(user.as_bytes(), line(password)));
        Self { name: AUTHORIZATION, value, shown }
    }

    /// A field whose value is the secret.
    pub fn whole(name: HeaderName, secret: Arc<Secret>) -> Self {
        let shown = format!("{name} {}", secret.reference());
        Self { name, value: Derived::new(secret, |value| hidden(line(value))), shown }
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Field({})", self.shown)
    }
}

/// What signs one request: the fields to put on.
#[derive(Debug, Default)]
pub(crate) struct Signed {
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Sign {
    /// What signs a request now. A token that is not there yet is asked for; one that ends soon is asked for `after` the
    /// response.
    ///
    /// # Errors
    /// Why there is nothing to sign with, for the log.
    pub(crate) async fn signed(&self, world: &World, after: &mut After) -> Result<Signed, String> {
        let fields = match self {
            Self::Nothing | Self::SigV4(_) => Vec::new(),
            Self::Fields(fields) => {
                let made = fields.iter().map(|field| Ok((field.name.clone(), (*field.value.get()?).clone())));
                made.collect::<Result<_, String>>()?
            }
            Self::Token(credentials) => vec![(AUTHORIZATION, credentials.token(world, after).await?)],
        };
        Ok(Signed { fields })
    }

    /// Takes back what the upstream refused with 401 where something else may be had: then the request is worth sending
    /// once more.
    pub(crate) fn refused(&self, signed: &Signed, world: &World) -> bool {
        match (self, signed.fields.first()) {
            (Self::Token(credentials), Some((_, token))) => credentials.refused(token, world.clock.now()),
            (Self::Token(_) | Self::Nothing | Self::Fields(_) | Self::SigV4(_), _) => false,
        }
    }

    /// Takes off what the client sent that would be signed with the gateway's name though it is the client's word: an
    /// `x-amz-*` field may choose what a service does.
    pub(crate) fn clean(&self, headers: &mut HeaderMap) {
        if let Self::SigV4(_) = self {
            remove_if(headers, |name| name.starts_with("x-amz-"));
        }
    }

    /// The signature that is the adapter's to make.
    pub fn sigv4(&self) -> Option<&SigV4> {
        match self {
            Self::SigV4(sign) => Some(sign),
            Self::Nothing | Self::Fields(_) | Self::Token(_) => None,
        }
    }

    /// What it does, for `print`.
    pub fn shown(&self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Fields(fields) => fields.iter().map(|field| field.shown.clone()).collect(),
            Self::Token(credentials) => vec![credentials.shown()],
            Self::SigV4(SigV4 { service, region }) => {
                let region = region.as_deref().unwrap_or("the environment's region");
                vec![format!("sigv4 {service}, {region}")]
            }
        }
    }
}

impl Signed {
    /// Puts the fields on, instead of any of the same name.
    pub(crate) fn put_on(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.fields {
            remove_if(headers, |other| other == name.as_str());
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// Removes fields by their names, in which servers that hand fields on as variables read `_` as `-`.
fn remove_if(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let gone = |name: &&HeaderName| unwanted(name.as_str()) || unwanted(&name.as_str().replace('_', "-"));
    let gone: Vec<HeaderName> = headers.keys().filter(gone).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
}

/// A secret that is one line: files of such often end with a line break that is none of it.
pub(crate) fn line(secret: &[u8]) -> &[u8] {
    let end = secret.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    secret.get(..end).unwrap_or_default()
}

fn hidden(value: &[u8]) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_bytes(value).map_err(|_| "it cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn bearer(token: &[u8]) -> Result<HeaderValue, String> {
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err("it is no bearer token: it must be of visible ASCII alone".to_owned());
    }
    hidden(&[b"Bearer ", token].concat())
}

fn basic(user: &[u8], password: &[u8]) -> Result<HeaderValue, String> {
    hidden(format!("Basic {}", STANDARD.encode([user, b":", password].concat())).as_bytes())
}
