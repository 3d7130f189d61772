//! The compact form of a signed token (RFC 7515 §7.1), read strictly.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::algorithm::Algorithm;
use super::json;
use super::key::LONGEST_KID;

/// The longest token that is looked at, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;

/// What is signed of a token, header and payload as they came, and its signature, still encoded.
///
/// # Errors
/// Why it is no token that can be taken, for the log.
pub(super) fn split(token: &[u8]) -> Result<(&[u8], &[u8]), String> {
    if token.len() > LONGEST {
        return Err(format!("the token has {} bytes, more than {LONGEST}", token.len()));
    }
    parted(token, token.iter().rposition(|byte| *byte == b'.'))
}

/// What stands before and after a dot.
fn parted(text: &[u8], dot: Option<usize>) -> Result<(&[u8], &[u8]), String> {
    let parts = dot.and_then(|dot| Some((text.get(..dot)?, text.get(dot + 1..)?)));
    parts.ok_or_else(|| "the token has not exactly three parts".to_owned())
}

/// A token, taken apart; nothing of it is proven.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Arc<str>>,
    pub(super) typ: Option<String>,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl Token {
    /// The token of these parts, as [`split`] gives them.
    ///
    /// # Errors
    /// Why it is no token that can be taken, for the log.
    pub(super) fn parse(signed: &[u8], signature: &[u8]) -> Result<Self, String> {
        let (header, payload) = parted(signed, signed.iter().position(|byte| *byte == b'.'))?;
        let Header { algorithm, kid, typ } = Header::parse(&decoded("header", header)?)?;
        let (payload, signature) = (decoded("payload", payload)?, decoded("signature", signature)?);
        Ok(Self { algorithm, kid, typ, payload, signature })
    }
}

/// Base64url without padding, whitespace or stray bits at the end (RFC 7515 §2), so that a token has one form alone.
fn decoded(part: &str, text: &[u8]) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("the token's {part} is no base64url text without padding"))
}

/// The parameters that count (RFC 7515 §4.1). Those that name keys (`jku`, `jwk`, `x5u`, `x5c`) are not looked at.
struct Header {
    algorithm: Algorithm,
    kid: Option<Arc<str>>,
    typ: Option<String>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let members = json::members(bytes).map_err(|why| format!("the token's header: {why}"))?;
        let (mut alg, mut kid, mut typ) = (None, None, None);
        for (name, value) in members {
            match &*name {
                "alg" => alg = Some(text("alg", value)?),
                "kid" => kid = Some(Arc::<str>::from(text("kid", value)?)),
                "typ" => typ = Some(text("typ", value)?),
                "crit" => {
                    return Err("the token's header has `crit`, and no extension is understood here".to_owned());
                }
                "b64" if value != true => return Err("the token's payload is not encoded (RFC 7797)".to_owned()),
                "zip" | "enc" => return Err(format!("the token's header has `{name}`, as signed tokens do not")),
                _ => {}
            }
        }
        let alg = alg.ok_or("the token's header has no alg")?;
        let algorithm = Algorithm::named(&alg).ok_or_else(|| format!("the token's alg is {:?}", short(&alg)))?;
        if kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(format!("the token's kid has more than {LONGEST_KID} bytes"));
        }
        Ok(Self { algorithm, kid, typ })
    }
}

fn text(name: &str, value: Value) -> Result<String, String> {
    if let Value::String(text) = value { Ok(text) } else { Err(format!("the token's {name} is no string")) }
}

/// The beginning of what a client sent, for the log.
pub(super) fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The beginning of words that may have in them what somebody else wrote, for the log.
pub(in crate::auth) fn line(text: &str) -> String {
    text.chars().take(LONGEST_LINE).collect()
}

/// The longest line of such words, in characters.
const LONGEST_LINE: usize = 200;
