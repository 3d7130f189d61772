//! JSON Web Tokens (RFC 7519), taken as strictly as RFC 8725 advises.
//!
//! A token is read whole and its claims are judged before its signature is: one that would be refused anyway costs
//! neither keys nor a signature. Nothing of it counts until the signature is verified.

mod algorithm;
pub(super) mod claims;
pub(super) mod json;
mod jwk;
mod key;
mod key_set;
mod keys;
mod remembered;
mod source;
#[cfg(test)]
mod tests;
pub(super) mod token;
mod weak;

use std::sync::Arc;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

pub use algorithm::Algorithm;
pub use claims::Rules;
pub use key_set::KeySet;
pub use keys::Keys;
pub use source::Source;

use super::caller::Caller;
use super::key::Hash;
use super::mapping::Mapping;
use super::{Challenge, Denied, Method, Presented};
use crate::clock::Timestamp;
use crate::exchange::{After, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;
use remembered::{LARGEST, Remembered, Verified};
use token::{Token, short};

/// An entry of `auth` that identifies by tokens.
#[derive(Debug)]
pub struct Jwt {
    name: Arc<str>,
    policy: Policy,
    remembered: Remembered,
}

/// What an entry takes.
#[derive(Debug)]
pub struct Policy {
    /// What tokens are checked with.
    pub keys: Keys,
    /// What they may be signed by.
    pub algorithms: Vec<Algorithm>,
    /// What a token's `typ` may be, where it has one; in lower case.
    pub types: Vec<String>,
    /// What its claims must say.
    pub rules: Rules,
    /// Where it may stand.
    pub from: Vec<Source>,
    /// Who it says calls.
    pub mapping: Mapping,
}

impl Jwt {
    /// What [`Caller::via`] says of callers with a token.
    const VIA: &str = "jwt";

    /// The entry `name`.
    pub fn new(name: &str, policy: Policy) -> Self {
        Self { name: name.into(), policy, remembered: Remembered::default() }
    }

    async fn caller(&self, asked: &Presented<'_>, world: &World, after: &mut After) -> Result<Caller, Denied> {
        let token = Source::only(&self.policy.from, asked).map_err(|why| self.invalid(&why))?.ok_or(Denied::Missing)?;
        let (signed, signature) = token::split(&token).map_err(|why| self.invalid(&why))?;
        let digest = digest(&SHA256, signed);
        let hash: Option<Hash> = digest.as_ref().try_into().ok().filter(|_| token.len() <= LARGEST);
        if let Some(hash) = &hash
            && let Some(verified) = self.remembered.get(hash, signature)
        {
            let keys = self.keys(verified.kid.as_deref(), asked, world, after).await?;
            if keys.generation == verified.generation {
                verified.window.holds(asked.now).map_err(|why| self.invalid(&why))?;
                return Ok(verified.caller);
            }
            self.remembered.forget(hash);
        }
        let judged = self.judge(signed, signature, asked.now).map_err(|why| self.invalid(&why))?;
        let keys = self.keys(judged.token.kid.as_deref(), asked, world, after).await?;
        let verified = self.verify(judged, signed, &digest, &keys).map_err(|why| self.invalid(&why))?;
        let caller = verified.caller.clone();
        if let Some(hash) = hash {
            self.remembered.keep(hash, signature, verified);
        }
        Ok(caller)
    }

    async fn keys(
        &self,
        kid: Option<&str>,
        asked: &Presented<'_>,
        world: &World,
        after: &mut After,
    ) -> Result<Arc<KeySet>, Denied> {
        let keys = self.policy.keys.get(kid, asked.origin.deadline, world, after).await;
        keys.map_err(|why| Denied::Unchecked(format!("{}: {why}", self.name)))
    }

    fn invalid(&self, why: &str) -> Denied {
        Denied::Invalid(format!("{}: {why}", self.name))
    }

    /// All that can be said of a token without its key.
    fn judge(&self, signed: &[u8], signature: &[u8], now: Timestamp) -> Result<Judged, String> {
        let token = Token::parse(signed, signature)?;
        let policy = &self.policy;
        if !policy.algorithms.contains(&token.algorithm) {
            return Err(format!("the token's alg {} is not one of `algorithms`", token.algorithm));
        }
        if let Some(typ) = &token.typ
            && !policy.types.iter().any(|own| own.eq_ignore_ascii_case(media_type(typ)))
        {
            return Err(format!("the token's typ is {:?}", short(typ)));
        }
        let claims = json::object(&token.payload).map_err(|why| format!("the token's claims: {why}"))?;
        let window = policy.rules.check(&claims)?;
        window.holds(now)?;
        let identity =
            policy.mapping.identity(Self::VIA, claims).map_err(|why| format!("the token's claims: {why}"))?;
        Ok(Judged { token, window, caller: Caller::of(identity) })
    }

    /// Whether a key of these signed it: what was signed, whose SHA-256 is `digest`.
    fn verify(&self, judged: Judged, signed: &[u8], digest: &Digest, keys: &KeySet) -> Result<Verified, String> {
        let Judged { token, window, caller } = judged;
        let kid = self.policy.keys.kid(token.kid.as_deref());
        keys.signed(kid, token.algorithm, signed, digest, &token.signature)?;
        Ok(Verified { caller, window, kid: token.kid, generation: keys.generation })
    }
}

/// A token that is good if it was signed by the right key.
struct Judged {
    token: Token,
    window: claims::Window,
    caller: Caller,
}

/// A `typ` as it is compared, case aside: a media type whose `application/` may be left out (RFC 7515 §4.1.9).
fn media_type(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    }
}

impl Method for Jwt {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        world: &'a World,
        after: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        Box::pin(self.caller(asked, world, after))
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
        self.policy.mapping.forward.iter().map(|(_, name)| name.clone()).collect()
    }

    fn sends(&self, claims: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
        self.policy.mapping.sends(claims)
    }

    fn describe(&self) -> String {
        let Policy { keys, algorithms, types, rules, from, mapping: _ } = &self.policy;
        let audiences = if rules.audiences.is_empty() { "anyone".to_owned() } else { rules.audiences.join(" or ") };
        let algorithms: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let from: Vec<_> = from.iter().map(ToString::to_string).collect();
        format!(
            "jwt in {} of {} for {audiences}, {} by {}, typ {}, leeway {}s",
            from.join(" or "),
            rules.issuer,
            algorithms.join(" or "),
            keys.describe(),
            types.join(" or "),
            rules.leeway.as_secs_f64(),
        )
    }
}
