//! A caller that is only taken for granted, as `tollgate explain --as` does: read from a file, never from a request.

use serde_json::{Map, Value};

use super::Method;
use super::caller::{Caller, Identity};

/// Who everyone is taken to be.
#[derive(Debug, Clone)]
pub struct Assumed(Identity);

/// The methods by which a caller may have come.
const METHODS: [&str; 8] =
    ["jwt", "introspection", "api_key", "client_certificate", "iam", "hmac", "basic", "external"];

impl Assumed {
    /// The caller that a JSON object describes: `id`, `tenant`, `plan`, `via` (else `jwt`), `scopes`, `groups`, `claims`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(json).map_err(|error| format!("it is no JSON: {error}"))?;
        let Value::Object(mut members) = value else { return Err("it must be a JSON object".to_owned()) };
        let given = take_text(&mut members, "via")?;
        let via = match given.as_str() {
            "" => "jwt",
            given => METHODS
                .into_iter()
                .find(|known| *known == given)
                .ok_or_else(|| format!("`via` {given:?} must be one of {}", METHODS.join(", ")))?,
        };
        let identity = Identity {
            via,
            id: take_text(&mut members, "id")?,
            tenant: take_text(&mut members, "tenant")?,
            plan: take_text(&mut members, "plan")?,
            scopes: take_texts(&mut members, "scopes")?,
            groups: take_texts(&mut members, "groups")?,
            claims: match members.remove("claims") {
                None => Map::new(),
                Some(Value::Object(claims)) => claims,
                Some(_) => return Err("`claims` must be an object".to_owned()),
            },
            forward: Vec::new(),
        };
        if let Some(unknown) = members.keys().next() {
            return Err(format!(
                "unknown key `{unknown}`, expected one of claims, groups, id, plan, scopes, tenant, via"
            ));
        }
        if identity.id.is_empty() {
            return Err("it needs `id`, a text".to_owned());
        }
        Ok(Self(identity))
    }

    /// The caller on a route that takes these methods: the first of them that sends claims on does.
    pub(super) fn caller<'m>(&self, methods: impl IntoIterator<Item = &'m dyn Method>) -> Caller {
        let forward = methods.into_iter().map(|method| method.sends(&self.0.claims)).find(|fields| !fields.is_empty());
        Caller::of(Identity { forward: forward.unwrap_or_default(), ..self.0.clone() })
    }
}

fn take_text(members: &mut Map<String, Value>, name: &str) -> Result<String, String> {
    match members.remove(name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("`{name}` must be a text")),
    }
}

fn take_texts(members: &mut Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("`{name}` must be a list of texts");
    let Some(value) = members.remove(name) else { return Ok(Vec::new()) };
    let Value::Array(items) = value else { return Err(wrong()) };
    items.into_iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_read_from_json() {
        let json = br#"{"id": "ada", "tenant": "acme", "plan": "pro", "via": "basic", "scopes": ["a", "b"],
                        "groups": ["staff"], "claims": {"org": {"id": 7}}}"#;
        let caller = Assumed::parse(json).expect("a caller").caller([]);
        assert_eq!((caller.id(), caller.tenant(), caller.plan(), caller.via()), ("ada", "acme", "pro", "basic"));
        assert_eq!(
            (caller.scopes(), caller.groups()),
            (&["a".to_owned(), "b".to_owned()][..], &["staff".to_owned()][..])
        );
        assert_eq!(caller.claims()["org"]["id"], 7);
        let least = Assumed::parse(br#"{"id": "ada"}"#).expect("a caller").caller([]);
        assert_eq!((least.tenant(), least.via(), least.claims().len()), ("", "jwt", 0));
    }

    #[test]
    fn what_is_wrong_in_it_is_said() {
        for (json, why) in [
            ("", "it is no JSON"),
            ("[]", "it must be a JSON object"),
            ("{}", "it needs `id`"),
            (r#"{"id": ""}"#, "it needs `id`"),
            (r#"{"id": 7}"#, "`id` must be a text"),
            (r#"{"id": "a", "scopes": "read"}"#, "`scopes` must be a list of texts"),
            (r#"{"id": "a", "groups": [7]}"#, "`groups` must be a list of texts"),
            (r#"{"id": "a", "claims": []}"#, "`claims` must be an object"),
            (r#"{"id": "a", "via": "none"}"#, "`via` \"none\" must be one of"),
            (r#"{"id": "a", "scope": "read"}"#, "unknown key `scope`, expected one of"),
        ] {
            let told = Assumed::parse(json.as_bytes()).expect_err(json);
            assert!(told.starts_with(why), "{json}: {told}");
        }
    }
}
