//! A set of keys (RFC 7517 §5), as an issuer publishes it or a file holds it.

use std::fmt;

use aws_lc_rs::digest::Digest;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::algorithm::Algorithm;
use super::jwk::Jwk;
use super::key::Key;
use super::token::line;

/// The largest set that is read, in bytes.
const LARGEST: usize = 256 * 1024;

/// How many keys of a set are looked at.
const MOST: usize = 128;

/// How many keys are tried for a token that names none.
const MOST_TRIED: usize = 8;

/// Keys, parsed, and which edition of them this is.
#[derive(Debug)]
pub struct KeySet {
    /// Grows with each set that takes the place of another: what was verified by an earlier one is verified again.
    pub generation: u64,
    keys: Vec<Key>,
    /// Keys of no use that nobody was warned of when they were read: they are told of where a key is missed.
    pub(in crate::auth) left_out: Vec<String>,
}

impl KeySet {
    /// The keys of a JWK set. A key that is of no use is left out, and the second part says which and why; it never makes
    /// the others unusable.
    ///
    /// # Errors
    /// Why it is no set at all.
    pub fn parse(bytes: &[u8], generation: u64) -> Result<(Self, Vec<String>), String> {
        if bytes.len() > LARGEST {
            return Err(format!("the key set has {} bytes, more than {LARGEST}", bytes.len()));
        }
        let Document { elements, more } =
            serde_json::from_slice(bytes).map_err(|error| format!("it is no JWK set: {}", line(&error.to_string())))?;
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (number, jwk) in elements.iter().enumerate() {
            match jwk.whole().and_then(Key::of) {
                Ok(key) => keys.push(key),
                Err(why) => left_out.push(format!("{} is left out: {}", jwk.shown(number + 1), line(&why))),
            }
        }
        if more {
            left_out.push(format!("keys after the first {MOST} are left out"));
        }
        Ok((Self { generation, keys, left_out: Vec::new() }, left_out))
    }

    /// The set that a secret is, for these of the HMAC algorithms.
    ///
    /// # Errors
    /// That it is too short, without a part of it.
    pub fn secret(secret: &[u8], algorithms: &[Algorithm], generation: u64) -> Result<Self, String> {
        Ok(Self { generation, keys: vec![Key::secret(secret, algorithms)?], left_out: Vec::new() })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key has this name: where none has, it may be one that the issuer has begun to use since.
    pub fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Whether one can check signatures of an algorithm.
    pub fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.serves(algorithm))
    }

    /// Whether one of them signed `message`, whose SHA-256 is `digest`: one of the name, or where none is given any that
    /// fits.
    ///
    /// # Errors
    /// Why not, for the log.
    pub(super) fn signed(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        message: &[u8],
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), String> {
        let named = |key: &&Key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid));
        let mut fitting = self.keys.iter().filter(named).filter(|key| key.serves(algorithm));
        let mut tried = 0;
        for key in fitting.by_ref().take(MOST_TRIED) {
            if key.signed(algorithm, message, digest, signature) {
                return Ok(());
            }
            tried += 1;
        }
        let and = if self.left_out.is_empty() { "" } else { "; " };
        let left_out = self.left_out.join("; ");
        Err(match (tried, kid) {
            (0, Some(kid)) if self.has(kid) => format!("the key {kid:?} is not one for {algorithm}"),
            (0, Some(kid)) => format!("there is no key {kid:?}{and}{left_out}"),
            (0, None) => format!("there is no key for {algorithm}{and}{left_out}"),
            _ if fitting.next().is_some() => format!("it names no key, and none of the first {MOST_TRIED} signed it"),
            _ => "the signature is wrong".to_owned(),
        })
    }
}

/// The elements of `keys`, up to the most.
#[derive(Debug, Default)]
struct Document {
    elements: Vec<Jwk>,
    more: bool,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `keys`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
        let mut document = None;
        while let Some(name) = map.next_key::<String>()? {
            if name != "keys" {
                map.next_value::<IgnoredAny>()?;
            } else if document.is_some() {
                return Err(A::Error::custom("it has `keys` twice"));
            } else {
                let Elements(elements) = map.next_value()?;
                document = Some(elements);
            }
        }
        document.ok_or_else(|| A::Error::custom("it has no `keys`"))
    }
}

struct Elements(Document);

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List).map(Self)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Document, A::Error> {
        let mut document = Document::default();
        while document.elements.len() < MOST {
            let Some(jwk) = list.next_element()? else { return Ok(document) };
            document.elements.push(jwk);
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            document.more = true;
        }
        Ok(document)
    }
}
