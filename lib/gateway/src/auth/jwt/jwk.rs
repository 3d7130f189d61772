//! The members of a JWK (RFC 7517 §4), read so that one that is broken breaks no other.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The members that are looked at; all others are ignored, as RFC 7517 §4 says.
const KNOWN: [&str; 19] = [
    "kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e", "k", "d", "p", "q", "dp", "dq", "qi", "oth",
    "priv",
];

/// What only a private key or a secret has.
const PRIVATE: [&str; 9] = ["k", "d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// The members of one element of a set; or, where it is no object or has a member twice, what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Jwk {
    members: Vec<(&'static str, Value)>,
    broken: Option<String>,
}

impl Jwk {
    /// # Errors
    /// Why it cannot be read as a key at all.
    pub(super) fn whole(&self) -> Result<&Self, String> {
        match &self.broken {
            Some(why) => Err(why.clone()),
            None => Ok(self),
        }
    }

    /// How it is called in words for the log: its `kid` as sent, at most a line of it.
    pub(super) fn shown(&self, number: usize) -> String {
        match self.get("kid").and_then(Value::as_str) {
            Some(kid) => format!("key {:?}", kid.chars().take(64).collect::<String>()),
            None => format!("key {number}"),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.members.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// A member that is text, if it is there.
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, String> {
        match self.get(name) {
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("its {name} is no string")),
            None => Ok(None),
        }
    }

    /// A member that must be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, String> {
        self.text(name)?.ok_or_else(|| format!("it has no {name}"))
    }

    /// Its type.
    pub(super) fn kty(&self) -> Result<&str, String> {
        self.need("kty")
    }

    /// Its `key_ops`, where it has some.
    pub(super) fn operations(&self) -> Result<Option<Vec<&str>>, String> {
        let wrong = || "its key_ops are no list of strings".to_owned();
        match self.get("key_ops") {
            Some(Value::Array(list)) => {
                list.iter().map(Value::as_str).collect::<Option<Vec<_>>>().map(Some).ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
            None => Ok(None),
        }
    }

    /// A member that a public key has not, where there is one. `oct` keys are told apart by their type.
    pub(super) fn private(&self) -> Option<&'static str> {
        let oct = self.get("kty").is_some_and(|kty| kty == "oct");
        let private = self.members.iter().map(|(name, _)| *name).find(|name| PRIVATE.contains(name));
        private.filter(|_| !oct)
    }
}

impl<'de> Deserialize<'de> for Jwk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Element)
    }
}

struct Element;

impl Element {
    fn no_object() -> Jwk {
        Jwk { members: Vec::new(), broken: Some("it is no object".to_owned()) }
    }
}

impl<'de> Visitor<'de> for Element {
    type Value = Jwk;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JWK")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Jwk, A::Error> {
        let mut jwk = Jwk::default();
        while let Some(name) = map.next_key::<String>()? {
            let Some(known) = KNOWN.into_iter().find(|known| *known == name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value()?;
            if jwk.get(known).is_some() {
                jwk.broken = Some(format!("it has {known} twice"));
            } else {
                jwk.members.push((known, value));
            }
        }
        Ok(jwk)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Jwk, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::no_object())
    }

    fn visit_str<E>(self, _: &str) -> Result<Jwk, E> {
        Ok(Self::no_object())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Jwk, E> {
        Ok(Self::no_object())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Jwk, E> {
        Ok(Self::no_object())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Jwk, E> {
        Ok(Self::no_object())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Jwk, E> {
        Ok(Self::no_object())
    }

    fn visit_unit<E>(self) -> Result<Jwk, E> {
        Ok(Self::no_object())
    }
}
