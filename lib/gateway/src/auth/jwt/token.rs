//! The compact form of a signed token (RFC 7515 §7.1), read strictly.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::json;
use super::key::LONGEST_KID;

/// The longest token that is looked at, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;

/// A token, taken apart; nothing of it is proven.
#[derive(Debug)]
pub(super) struct Token<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
    /// What is signed: header and payload as they came.
    pub(super) signed: &'t [u8],
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// # Errors
    /// Why it is no token that can be taken, for the log.
    pub(super) fn parse(text: &'t str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the token has {} bytes, more than {LONGEST}", text.len()));
        }
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let [header, payload, signature] = parts.as_slice() else {
            return Err("the token has not exactly three parts".to_owned());
        };
        let signed = text.get(..header.len() + 1 + payload.len()).unwrap_or_default().as_bytes();
        let Header { algorithm, kid, typ } = Header::parse(&decoded("header", header)?)?;
        let (payload, signature) = (decoded("payload", payload)?, decoded("signature", signature)?);
        Ok(Self { algorithm, kid, typ, signed, payload, signature })
    }
}

/// Base64url without padding, whitespace or stray bits at the end (RFC 7515 §2), so that a token has one form alone.
fn decoded(part: &str, text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("the token's {part} is no base64url text without padding"))
}

/// The parameters that count (RFC 7515 §4.1). Those that name keys (`jku`, `jwk`, `x5u`, `x5c`) are not looked at.
struct Header {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let members = json::object(bytes).map_err(|why| format!("the token's header: {why}"))?;
        if members.contains_key("crit") {
            return Err("the token's header has `crit`, and no extension is understood here".to_owned());
        }
        if members.get("b64").is_some_and(|b64| *b64 != true) {
            return Err("the token's payload is not encoded (RFC 7797)".to_owned());
        }
        if let Some(name) = ["zip", "enc"].into_iter().find(|name| members.contains_key(*name)) {
            return Err(format!("the token's header has `{name}`, as signed tokens do not"));
        }
        let alg = text(&members, "alg")?.ok_or("the token's header has no alg")?;
        let algorithm = Algorithm::named(alg).ok_or_else(|| format!("the token's alg is {:?}", short(alg)))?;
        let kid = text(&members, "kid")?.map(str::to_owned);
        if kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(format!("the token's kid has more than {LONGEST_KID} bytes"));
        }
        Ok(Self { algorithm, kid, typ: text(&members, "typ")?.map(str::to_owned) })
    }
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Result<Option<&'m str>, String> {
    match members.get(name) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("the token's {name} is no string")),
        None => Ok(None),
    }
}

/// The beginning of what a client sent, for the log.
pub(super) fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
