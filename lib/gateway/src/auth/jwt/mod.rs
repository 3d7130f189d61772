//! JSON Web Tokens (RFC 7519), taken as strictly as RFC 8725 advises.
//!
//! A token is read whole and its claims are judged before its signature is: one that would be refused anyway costs
//! neither keys nor a signature. Nothing of it counts until the signature is verified.

mod algorithm;
mod claims;
mod json;
mod jwk;
mod key;
mod key_set;
mod keys;
mod remembered;
mod source;
#[cfg(test)]
mod tests;
mod token;
mod weak;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

pub use algorithm::Algorithm;
pub use claims::Rules;
pub use key_set::KeySet;
pub use keys::Keys;
pub use source::Source;

use super::caller::Caller;
use super::mapping::Mapping;
use super::{Challenge, Denied, Method, Presented};
use crate::clock::Timestamp;
use crate::exchange::{After, Request};
use crate::forward::BoxFuture;
use crate::gateway::World;
use remembered::{Remembered, Verified};
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
        let token = self.presented(asked).map_err(|why| self.invalid(&why))?.ok_or(Denied::Missing)?;
        let text = std::str::from_utf8(&token).map_err(|_| self.invalid("the token is no text"))?;
        let hash = Remembered::hash(&self.name, text);
        if let Some(hash) = &hash
            && let Some(verified) = self.remembered.get(hash)
        {
            let keys = self.keys(verified.kid.as_deref(), world, after).await?;
            if keys.generation == verified.generation {
                verified.window.holds(asked.now).map_err(|why| self.invalid(&why))?;
                return Ok(verified.caller.clone());
            }
            self.remembered.forget(hash);
        }
        let judged = self.judge(text, asked.now).map_err(|why| self.invalid(&why))?;
        let keys = self.keys(judged.token.kid.as_deref(), world, after).await?;
        let verified = self.verify(judged, &keys).map_err(|why| self.invalid(&why))?;
        let caller = verified.caller.clone();
        if let Some(hash) = hash {
            self.remembered.keep(hash, verified);
        }
        Ok(caller)
    }

    async fn keys(&self, kid: Option<&str>, world: &World, after: &mut After) -> Result<Arc<KeySet>, Denied> {
        let keys = self.policy.keys.get(kid, world, after).await;
        keys.map_err(|why| Denied::Unchecked(format!("{}: {why}", self.name)))
    }

    fn invalid(&self, why: &str) -> Denied {
        Denied::Invalid(format!("{}: {why}", self.name))
    }

    /// The one token of a request. Two are refused: which of them would an upstream believe?
    fn presented<'r>(&self, asked: &Presented<'r>) -> Result<Option<Cow<'r, [u8]>>, String> {
        let mut all = self.policy.from.iter().flat_map(|source| source.tokens(asked));
        let one = all.next();
        if all.next().is_some() { Err("there is more than one token".to_owned()) } else { Ok(one) }
    }

    /// All that can be said of a token without its key.
    fn judge<'t>(&self, text: &'t str, now: Timestamp) -> Result<Judged<'t>, String> {
        let token = Token::parse(text)?;
        let policy = &self.policy;
        if !policy.algorithms.contains(&token.algorithm) {
            return Err(format!("the token's alg {} is not one of `algorithms`", token.algorithm));
        }
        if let Some(typ) = &token.typ
            && !policy.types.contains(&media_type(typ))
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

    /// Whether a key of these signed it.
    fn verify(&self, judged: Judged<'_>, keys: &KeySet) -> Result<Verified, String> {
        let Judged { token, window, caller } = judged;
        let kid = self.policy.keys.kid(token.kid.as_deref());
        keys.signed(kid, token.algorithm, token.signed, &token.signature)?;
        Ok(Verified { caller, window, kid: token.kid, generation: keys.generation })
    }
}

/// A token that is good if it was signed by the right key.
struct Judged<'t> {
    token: Token<'t>,
    window: claims::Window,
    caller: Caller,
}

/// A `typ` as it is compared: a media type whose `application/` may be left out (RFC 7515 §4.1.9).
fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").map_or_else(|| typ.clone(), str::to_owned)
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
