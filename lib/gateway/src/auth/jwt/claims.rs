//! What the claims of a token must say (RFC 7519 §4.1).

use std::time::Duration;

use serde_json::{Map, Value};

use super::token::short;
use crate::clock::Timestamp;

/// The last second of the year 9999: a date after it is a slip, most often milliseconds.
const LAST: u64 = 253_402_300_799;

/// What an entry of `auth` wants of claims.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `iss`, exactly.
    pub issuer: String,
    /// One of these must be in `aud`; empty where any will do.
    pub audiences: Vec<String>,
    /// The claim that stands for `aud` in tokens that have none.
    pub audience_claim: Option<String>,
    /// Claims that must have these values.
    pub require: Vec<(String, Value)>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// The longest from `iat` to `exp`.
    pub max_lifetime: Option<Duration>,
}

/// When a token is good, leeway included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    from: Timestamp,
    until: Timestamp,
}

impl Window {
    /// # Errors
    /// That it is too early, or too late.
    pub(super) fn holds(self, now: Timestamp) -> Result<(), String> {
        if now >= self.until {
            return Err("the token has expired".to_owned());
        }
        if now < self.from {
            return Err("the token is not good yet: its nbf or iat lies ahead".to_owned());
        }
        Ok(())
    }
}

impl Rules {
    /// When the token is good, where all else is as it must be.
    ///
    /// # Errors
    /// What is not, for the log.
    pub(super) fn check(&self, claims: &Map<String, Value>) -> Result<Window, String> {
        issued_by(&self.issuer, claims)?;
        audience(&self.audiences, self.audience_claim.as_deref(), claims)?;
        required(&self.require, claims)?;
        unbound(claims)?;
        self.window(claims)
    }

    fn window(&self, claims: &Map<String, Value>) -> Result<Window, String> {
        let expires = date(claims, "exp")?.ok_or("the token has no exp")?;
        let (begins, issued) = (date(claims, "nbf")?, date(claims, "iat")?);
        if let Some(most) = self.max_lifetime {
            let issued = issued.ok_or("the token has no iat, which `max_lifetime` is counted from")?;
            if expires.since(issued) > most {
                return Err(format!("the token is good for longer than {most:?}"));
            }
        }
        let from = begins.max(issued).unwrap_or_default();
        Ok(Window { from: from.minus(self.leeway), until: expires.plus(self.leeway) })
    }
}

/// Whether `iss` is this issuer.
///
/// # Errors
/// What it is instead, for the log.
pub(in crate::auth) fn issued_by(wanted: &str, claims: &Map<String, Value>) -> Result<(), String> {
    match claims.get("iss") {
        Some(Value::String(issuer)) if issuer == wanted => Ok(()),
        Some(Value::String(issuer)) => Err(format!("the token's iss is {:?}", short(issuer))),
        Some(_) => Err("the token's iss is no string".to_owned()),
        None => Err("the token has no iss".to_owned()),
    }
}

/// Whether `aud`, or where there is none the claim that stands for it, is one of these; any will do where these are none.
///
/// # Errors
/// What it is instead, for the log.
pub(in crate::auth) fn audience(
    audiences: &[String],
    claim: Option<&str>,
    claims: &Map<String, Value>,
) -> Result<(), String> {
    let (name, audience) = match (claims.get("aud"), claim) {
        (Some(aud), _) => ("aud", Some(aud)),
        (None, Some(name)) => (name, claims.get(name)),
        (None, None) => ("aud", None),
    };
    let given = match audience {
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(list)) => match list.iter().map(Value::as_str).collect() {
            Some(given) => given,
            None => return Err(format!("the token's {name} is no list of strings")),
        },
        Some(_) => return Err(format!("the token's {name} is neither a string nor a list of strings")),
        None if audiences.is_empty() => return Ok(()),
        None => return Err(format!("the token has no {name}")),
    };
    if audiences.is_empty() || given.iter().any(|given| audiences.iter().any(|own| own == given)) {
        return Ok(());
    }
    Err(format!("the token's {name} is {:?}", short(&given.join(" "))))
}

/// Whether claims have the values that they must have.
///
/// # Errors
/// Which one has not, for the log.
pub(in crate::auth) fn required(wanted: &[(String, Value)], claims: &Map<String, Value>) -> Result<(), String> {
    match wanted.iter().find(|(name, wanted)| !claims.get(name).is_some_and(|value| same(value, wanted))) {
        Some((name, wanted)) => Err(format!("the token's {name} is not {wanted}")),
        None => Ok(()),
    }
}

/// Whether a token is good for whoever has it. Of one that is bound to a key (RFC 7800 §3.1: by DPoP, or a client's
/// certificate) that would have to be proven too, and nobody here does.
///
/// # Errors
/// That it is bound, for the log.
pub(in crate::auth) fn unbound(claims: &Map<String, Value>) -> Result<(), String> {
    if claims.contains_key("cnf") { Err("the token is bound to a key by its cnf".to_owned()) } else { Ok(()) }
}

/// A NumericDate (RFC 7519 §2): seconds, which may have a fraction.
pub(in crate::auth) fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, String> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(format!("the token's {name} is no number")) };
    if let Some(secs) = number.as_u64().filter(|secs| *secs <= LAST) {
        return Ok(Some(Timestamp::from_secs(secs)));
    }
    #[expect(clippy::cast_precision_loss, reason = "the bound is far below 2^53")]
    let secs = number.as_f64().filter(|secs| (0.0..=LAST as f64).contains(secs));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of a float stays in bounds")]
    let nanos = secs.map(|secs| (secs * 1e9) as u64);
    nanos.map(|nanos| Some(Timestamp::from_nanos(nanos))).ok_or_else(|| format!("the token's {name} is out of bounds"))
}

/// Whether two values are the same; numbers by what they are worth.
fn same(one: &Value, other: &Value) -> bool {
    one == other || one.as_f64().is_some_and(|number| other.as_f64() == Some(number))
}
