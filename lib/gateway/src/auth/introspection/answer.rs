//! What an introspection endpoint said (RFC 7662 §2.2), and whether that lets anyone in.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::auth::caller::Caller;
use crate::auth::jwt::claims::{audience, date, issued_by, required, unbound};
use crate::auth::jwt::json;
use crate::auth::mapping::Mapping;
use crate::clock::Timestamp;

/// What [`Caller::via`] says of callers with a token that was asked for.
pub(super) const VIA: &str = "introspection";

/// How far the clock of whoever issued a token may be ahead.
const AHEAD: Duration = Duration::from_secs(30);

/// What must be said of a token that is active.
#[derive(Debug)]
pub struct Terms {
    /// `iss`, where that is asked for.
    pub issuer: Option<String>,
    /// One of these must be in `aud`; empty where any will do.
    pub audiences: Vec<String>,
    /// Members that must have these values.
    pub require: Vec<(String, Value)>,
    /// Who it says calls.
    pub mapping: Mapping,
}

/// What is known of a token: whose it is and when it expires, or why it is no good.
pub(super) type Word = Result<(Caller, Option<Timestamp>), String>;

impl Terms {
    /// # Errors
    /// Why the answer is none.
    pub(super) fn judge(&self, answer: &[u8], now: Timestamp) -> Result<Word, String> {
        let members = json::object(answer)?;
        match members.get("active") {
            Some(Value::Bool(true)) => Ok(self.active(members, now)),
            Some(Value::Bool(false)) => Ok(Err("the token is not active".to_owned())),
            _ => Err("it does not say whether the token is `active`".to_owned()),
        }
    }

    fn active(&self, members: Map<String, Value>, now: Timestamp) -> Word {
        match members.get("token_type") {
            None => {}
            Some(Value::String(kind)) if kind.eq_ignore_ascii_case("Bearer") => {}
            Some(_) => return Err("the token is no bearer token".to_owned()),
        }
        // One that is bound to a client's certificate is of type `Bearer` all the same (RFC 8705 §3.2).
        unbound(&members)?;
        if let Some(issuer) = &self.issuer {
            issued_by(issuer, &members)?;
        }
        audience(&self.audiences, None, &members)?;
        required(&self.require, &members)?;
        let (expires, begins) = (date(&members, "exp")?, date(&members, "nbf")?);
        if expires.is_some_and(|expires| expires <= now) {
            return Err("the token has expired".to_owned());
        }
        if begins.is_some_and(|begins| begins > now.plus(AHEAD)) {
            return Err("the token is not good yet: its nbf lies ahead".to_owned());
        }
        let identity = self.mapping.identity(VIA, members).map_err(|why| format!("of the token: {why}"))?;
        Ok((Caller::of(identity), expires))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn terms() -> Terms {
        Terms {
            issuer: Some("https://login.example.com".to_owned()),
            audiences: vec!["orders".to_owned()],
            require: vec![("token_use".to_owned(), "access".into())],
            mapping: Mapping::default(),
        }
    }

    /// Of a good answer with these members in place of its own.
    fn judged(terms: &Terms, changes: &Value) -> Result<Word, String> {
        let mut answer = serde_json::json!({
            "active": true, "iss": "https://login.example.com", "aud": "orders", "token_use": "access", "sub": "ada",
            "scope": "orders:read orders:write", "token_type": "Bearer", "exp": NOW + 60, "nbf": NOW - 60,
        });
        let members = answer.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap().clone() {
            if value.is_null() {
                members.remove(&name)
            } else {
                members.insert(name, value)
            };
        }
        terms.judge(answer.to_string().as_bytes(), Timestamp::from_secs(NOW))
    }

    #[test]
    fn an_active_token_tells_its_caller_and_its_end() {
        let (caller, expires) = judged(&terms(), &serde_json::json!({})).unwrap().unwrap();
        assert_eq!((caller.id(), caller.via()), ("ada", "introspection"));
        assert_eq!(caller.scopes(), ["orders:read", "orders:write"]);
        assert_eq!(caller.claims()["token_use"], "access");
        assert_eq!(expires, Some(Timestamp::from_secs(NOW + 60)));
    }

    #[test]
    fn what_need_not_be_said_may_be_left_out() {
        let left_out = serde_json::json!({"exp": null, "nbf": null, "token_type": null, "scope": null});
        assert_eq!(judged(&terms(), &left_out).unwrap().unwrap().1, None);
        let any = Terms { issuer: None, audiences: Vec::new(), require: Vec::new(), mapping: Mapping::default() };
        assert!(judged(&any, &serde_json::json!({"iss": null, "aud": null, "token_use": null})).unwrap().is_ok());
    }

    #[test]
    fn an_active_token_is_good_only_where_all_else_is_as_it_must_be() {
        for (changes, why) in [
            (serde_json::json!({"active": false}), "not active"),
            (serde_json::json!({"iss": "https://evil.example.com"}), "the token's iss is"),
            (serde_json::json!({"iss": null}), "no iss"),
            (serde_json::json!({"aud": "payments"}), "the token's aud is"),
            (serde_json::json!({"aud": ["payments", "ORDERS"]}), "the token's aud is"),
            (serde_json::json!({"aud": null}), "no aud"),
            (serde_json::json!({"aud": {"orders": true}}), "neither a string nor"),
            (serde_json::json!({"token_use": "refresh"}), "token_use"),
            (serde_json::json!({"token_type": "DPoP"}), "no bearer token"),
            (serde_json::json!({"token_type": 1}), "no bearer token"),
            (serde_json::json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}), "bound to a key"),
            (serde_json::json!({"exp": NOW}), "expired"),
            (serde_json::json!({"exp": "2099-01-01"}), "exp is no number"),
            (serde_json::json!({"exp": -1}), "out of bounds"),
            (serde_json::json!({"nbf": NOW + 31}), "not good yet"),
            (serde_json::json!({"nbf": "soon"}), "nbf is no number"),
            (serde_json::json!({"sub": null}), "no claims.sub"),
            (serde_json::json!({"sub": ""}), "no claims.sub"),
            (serde_json::json!({"sub": ["ada"]}), "neither text nor a number"),
            (serde_json::json!({"scope": 7}), "claims.scope"),
        ] {
            let told = judged(&terms(), &changes).unwrap().unwrap_err();
            assert!(told.contains(why), "{changes}: {told}");
        }
        assert!(judged(&terms(), &serde_json::json!({"aud": ["payments", "orders"]})).unwrap().is_ok());
        assert!(judged(&terms(), &serde_json::json!({"nbf": NOW + 30, "token_type": "bearer"})).unwrap().is_ok());
    }

    #[test]
    fn what_does_not_say_whether_a_token_is_active_says_nothing() {
        for answer in [
            "",
            "active",
            "[]",
            "{}",
            "true",
            r#"{"active": "true"}"#,
            r#"{"active": 1}"#,
            r#"{"active": null}"#,
            r#"{"Active": true}"#,
            r#"{"active": false, "active": true}"#,
            r#"{"active": true, "sub": "ada", "sub": "eve"}"#,
            r#"{"active": true} {"active": true}"#,
            "{\"active\": true",
            "eyJhbGciOiJSUzI1NiJ9.e30.c2ln",
        ] {
            assert!(terms().judge(answer.as_bytes(), Timestamp::from_secs(NOW)).is_err(), "{answer}");
        }
    }
}
