//! What an authorizer's answer is worth.

use serde_json::{Map, Value};

use super::policy::Policy;
use crate::auth::Denied;
use crate::auth::caller::{Caller, Identity};

/// An answer, which may be for more than one request.
#[derive(Debug)]
pub(super) enum Answer {
    /// This is the caller.
    Allowed(Caller),
    /// This is the caller of what the policy allows.
    Policy(Policy, Caller),
    /// The credentials are not taken.
    NotTaken(String),
    /// The caller may not.
    Forbidden(String),
}

impl Answer {
    /// What it means for a call of the method with this ARN.
    pub(super) fn judge(&self, arn: impl FnOnce() -> String) -> Result<Caller, Denied> {
        match self {
            Self::Allowed(caller) => Ok(caller.clone()),
            Self::Policy(policy, caller) => {
                let arn = arn();
                if policy.allows(&arn) {
                    Ok(caller.clone())
                } else {
                    Err(Denied::Forbidden(format!("the policy of {} does not allow {arn}", caller.id())))
                }
            }
            Self::NotTaken(why) => Err(Denied::Invalid(why.clone())),
            Self::Forbidden(why) => Err(Denied::Forbidden(why.clone())),
        }
    }

    pub(super) const fn is_yes(&self) -> bool {
        matches!(self, Self::Allowed(_) | Self::Policy(..))
    }

    /// The answer of a Lambda authorizer: simple (`isAuthorized`), or an IAM policy.
    ///
    /// # Errors
    /// What is not understood.
    pub(super) fn of_lambda(body: &[u8]) -> Result<Self, String> {
        let answer: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| "its answer is no JSON object".to_owned())?;
        let mut identity = context(answer.get("context"))?;
        match (answer.get("isAuthorized"), answer.get("policyDocument")) {
            (Some(Value::Bool(true)), None) => Ok(Self::Allowed(Caller::of(identity))),
            (Some(Value::Bool(false)), None) => Ok(Self::Forbidden("it says no".to_owned())),
            (None, Some(document)) => {
                let principal = answer.get("principalId").and_then(Value::as_str).filter(|id| !id.is_empty());
                principal.ok_or("its answer has no principalId")?.clone_into(&mut identity.id);
                if let Some(key) = answer.get("usageIdentifierKey").filter(|key| !key.is_null()) {
                    let key = key.as_str().ok_or("its usageIdentifierKey is no text")?;
                    identity.claims.insert("usageIdentifierKey".to_owned(), key.into());
                }
                Ok(Self::Policy(Policy::read(document)?, Caller::of(identity)))
            }
            _ => Err("its answer has not one of isAuthorized (true or false) and policyDocument".to_owned()),
        }
    }
}

/// The caller of a `context`: its members are claims, and some of them tell who it is.
fn context(context: Option<&Value>) -> Result<Identity, String> {
    let claims = match context {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(members)) => members.clone(),
        Some(_) => return Err("its context is no object".to_owned()),
    };
    if let Some((name, _)) = claims.iter().find(|(_, value)| !is_plain(value)) {
        let name: String = name.chars().take(40).collect();
        return Err(format!("its context's \"{name}\" is no text, number, boolean, nor a list of these"));
    }
    let text = |names: &[&str]| {
        let found = names.iter().find_map(|name| claims.get(*name)).filter(|value| !value.is_array());
        found.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default()
    };
    Ok(Identity {
        via: super::External::VIA,
        id: text(&["id", "principalId", "sub"]),
        tenant: text(&["tenant"]),
        plan: text(&["plan"]),
        scopes: words(claims.get("scopes").or_else(|| claims.get("scope"))),
        groups: words(claims.get("groups")),
        claims,
        forward: Vec::new(),
    })
}

fn is_plain(value: &Value) -> bool {
    let scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_));
    scalar(value) || value.as_array().is_some_and(|list| list.iter().all(scalar))
}

/// A list, or a text with spaces or commas between.
fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => split(text),
        Some(Value::Array(list)) => list.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Words with spaces or commas between.
pub(super) fn split(text: &str) -> Vec<String> {
    text.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(answer: &Value) -> Result<Answer, String> {
        Answer::of_lambda(answer.to_string().as_bytes())
    }

    const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:a/$default/GET/orders";

    fn judge(answer: &Value) -> Result<Caller, Denied> {
        read(answer).expect("an answer").judge(|| ARN.to_owned())
    }

    #[test]
    fn a_simple_answer_allows_or_forbids_and_its_context_is_the_caller() {
        let caller = judge(&json!({"isAuthorized": true, "context": {
            "id": 7, "tenant": "acme", "plan": "pro", "scope": "a b", "groups": ["x", "y"], "beta": true, "score": 0.5
        }}))
        .expect("allowed");
        assert_eq!((caller.id(), caller.tenant(), caller.plan(), caller.via()), ("7", "acme", "pro", "external"));
        assert_eq!((caller.scopes(), caller.groups()), (&split("a b")[..], &split("x y")[..]));
        assert_eq!((&caller.claims()["beta"], &caller.claims()["score"]), (&json!(true), &json!(0.5)));
        assert_eq!(judge(&json!({"isAuthorized": true})).expect("allowed").id(), "");
        assert!(matches!(judge(&json!({"isAuthorized": false, "context": {"id": "a"}})), Err(Denied::Forbidden(_))));
    }

    #[test]
    fn a_policy_is_judged_for_the_method_that_is_called() {
        let policy = |effect: &str| {
            json!({"principalId": "user-1", "usageIdentifierKey": "key-1", "context": {"id": "another", "tenant": "acme"},
                "policyDocument": {"Version": "2012-10-17",
                    "Statement": [{"Action": "execute-api:Invoke", "Effect": effect, "Resource": ARN}]}})
        };
        let caller = judge(&policy("Allow")).expect("allowed");
        assert_eq!((caller.id(), caller.tenant()), ("user-1", "acme"));
        assert_eq!(caller.claims()["usageIdentifierKey"], "key-1");
        let denied = judge(&policy("Deny"));
        assert!(matches!(&denied, Err(Denied::Forbidden(why)) if why.contains("user-1")), "{denied:?}");
        let other = read(&policy("Allow")).expect("an answer").judge(|| ARN.replace("GET", "PUT"));
        assert!(matches!(other, Err(Denied::Forbidden(_))));
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        let policy = json!({"Statement": []});
        for answer in [
            json!({}),
            json!([]),
            json!(null),
            json!("Allow"),
            json!({"isAuthorized": "true"}),
            json!({"isAuthorized": 1}),
            json!({"isAuthorized": null}),
            json!({"isAuthorized": true, "policyDocument": policy}),
            json!({"isAuthorized": true, "context": []}),
            json!({"isAuthorized": true, "context": {"a": {"b": 1}}}),
            json!({"isAuthorized": true, "context": {"a": null}}),
            json!({"policyDocument": policy}),
            json!({"policyDocument": policy, "principalId": ""}),
            json!({"policyDocument": policy, "principalId": 7}),
            json!({"policyDocument": policy, "principalId": "a", "usageIdentifierKey": 7}),
            json!({"policyDocument": {}, "principalId": "a"}),
        ] {
            assert!(read(&answer).is_err(), "{answer}");
        }
        assert!(Answer::of_lambda(b"{").is_err() && Answer::of_lambda(b"").is_err());
    }
}
