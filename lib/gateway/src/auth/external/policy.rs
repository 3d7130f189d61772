//! The IAM policy that a Lambda authorizer may answer with, as API Gateway judges it: an explicit `Deny` wins, and what
//! is not allowed is denied.

use serde_json::Value;

/// The action that calling is.
const INVOKE: &str = "execute-api:invoke";

/// The most that all patterns of a policy may have, in bytes: each is matched anew for each request.
const MOST: usize = 16 * 1024;

/// The statements that speak of calling.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Policy(Vec<Statement>);

#[derive(Debug, PartialEq, Eq)]
struct Statement {
    allow: bool,
    resources: Vec<String>,
}

impl Policy {
    /// The policy of a `policyDocument`.
    ///
    /// # Errors
    /// What is not understood. What is not understood must not be passed over: it may be what denies.
    pub(super) fn read(document: &Value) -> Result<Self, String> {
        let statements = match document.get("Statement") {
            Some(Value::Array(list)) => list.iter().collect(),
            Some(one @ Value::Object(_)) => vec![one],
            _ => return Err("its policy has no Statement".to_owned()),
        };
        let mut read = Vec::new();
        for statement in statements {
            read.extend(Statement::read(statement)?);
        }
        let length: usize = read.iter().flat_map(|statement| &statement.resources).map(String::len).sum();
        if length > MOST {
            return Err(format!("its policy's resources have more than {MOST} bytes"));
        }
        Ok(Self(read))
    }

    /// Whether calling this method's ARN is allowed.
    pub(super) fn allows(&self, arn: &str) -> bool {
        let speaks = |allow: bool| {
            let mut of_kind = self.0.iter().filter(|statement| statement.allow == allow);
            of_kind.any(|statement| statement.resources.iter().any(|pattern| matches(pattern, arn)))
        };
        speaks(true) && !speaks(false)
    }
}

impl Statement {
    /// `None` where it does not speak of calling.
    fn read(statement: &Value) -> Result<Option<Self>, String> {
        let members = statement.as_object().ok_or("a statement is no object")?;
        if let Some(name) =
            members.keys().find(|name| !["Sid", "Effect", "Action", "Resource"].contains(&name.as_str()))
        {
            return Err(format!(
                "a statement has \"{}\", which is not understood",
                name.chars().take(40).collect::<String>()
            ));
        }
        let allow = match statement.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err("a statement's Effect is neither Allow nor Deny".to_owned()),
        };
        let actions = texts(statement.get("Action")).ok_or("a statement's Action is no text")?;
        let resources = texts(statement.get("Resource")).ok_or("a statement's Resource is no text")?;
        let calls = actions.iter().any(|action| matches(&action.to_ascii_lowercase(), INVOKE));
        Ok(calls.then_some(Self { allow, resources }))
    }
}

/// One text, or a list of some.
fn texts(value: Option<&Value>) -> Option<Vec<String>> {
    match value? {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// `*` stands for any number of bytes, `/` among them, and `?` for one. Where a `*` took too little, the last one takes
/// more: no pattern makes it look at more than all of the text for each of its own bytes.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut next) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(next) {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, next));
                at += 1;
            }
            Some(b) if b == byte || *b == b'?' => (at, next) = (at + 1, next + 1),
            _ => {
                let Some((of, taken)) = star else { return false };
                star = Some((of, taken + 1));
                (at, next) = (of + 1, taken + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef/prod";

    fn policy(statements: &Value) -> Result<Policy, String> {
        Policy::read(&json!({"Version": "2012-10-17", "Statement": statements}))
    }

    fn allow(resource: &str) -> Value {
        json!({"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": format!("{ARN}/{resource}")})
    }

    fn deny(resource: &str) -> Value {
        json!({"Effect": "Deny", "Action": "execute-api:Invoke", "Resource": format!("{ARN}/{resource}")})
    }

    #[test]
    fn what_is_allowed_is_and_an_explicit_deny_wins_wherever_it_stands() {
        for (statements, called, allowed) in [
            (json!([allow("GET/orders")]), "GET/orders", true),
            (json!([allow("GET/orders")]), "GET/orders/7", false),
            (json!([allow("GET/orders")]), "POST/orders", false),
            (json!([allow("GET/orders")]), "GET/Orders", false),
            (allow("GET/orders"), "GET/orders", true),
            (json!([allow("*/orders/*")]), "GET/orders/7/lines", true),
            (json!([allow("GET/orders/?")]), "GET/orders/7", true),
            (json!([allow("GET/orders/?")]), "GET/orders/77", false),
            (json!([allow("GET/orders/?")]), "GET/orders/", false),
            (json!([allow("*"), deny("GET/admin/*")]), "GET/orders", true),
            (json!([allow("*"), deny("GET/admin/*")]), "GET/admin/x", false),
            (json!([deny("GET/admin/*"), allow("*")]), "GET/admin/x", false),
            (json!([deny("GET/orders")]), "POST/orders", false),
            (json!([]), "GET/orders", false),
        ] {
            let policy = policy(&statements).expect("a policy");
            assert_eq!(policy.allows(&format!("{ARN}/{called}")), allowed, "{statements} {called}");
        }
    }

    #[test]
    fn actions_are_words_in_any_case_with_wildcards_and_those_of_other_services_say_nothing() {
        for (action, speaks) in [
            (json!("execute-api:Invoke"), true),
            (json!("EXECUTE-API:invoke"), true),
            (json!("execute-api:*"), true),
            (json!("*"), true),
            (json!(["s3:GetObject", "execute-api:Inv?ke"]), true),
            (json!("execute-api:ManageConnections"), false),
            (json!("s3:*"), false),
        ] {
            let read = policy(&json!({"Effect": "Allow", "Action": action, "Resource": "*"})).expect("a policy");
            assert_eq!(read.allows(ARN), speaks, "{action}");
        }
    }

    #[test]
    fn what_is_not_understood_is_no_policy() {
        let good = allow("*");
        for (name, value) in [
            ("Condition", json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}})),
            ("NotAction", json!("s3:*")),
            ("NotResource", json!("*")),
            ("Principal", json!("*")),
            ("Effect", json!("allow")),
            ("Effect", json!(true)),
            ("Action", json!(7)),
            ("Action", Value::Null),
            ("Resource", json!([7])),
            ("Resource", json!("x".repeat(MOST + 1))),
        ] {
            let mut statement = good.clone();
            statement[name] = value;
            assert!(policy(&json!([statement])).is_err(), "{statement}");
        }
        for document in [json!({}), json!([]), json!("*"), json!({"Statement": 7}), json!({"Statement": [7]})] {
            assert!(Policy::read(&document).is_err(), "{document}");
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_the_regular_expressions_that_they_stand_for(pattern in "[ab/?*]{0,8}", text in "[ab/]{0,8}") {
            let regex = format!("^{}$", pattern.replace('?', ".").replace('*', ".*"));
            let regex = regex::Regex::new(&regex).expect("a regular expression");
            prop_assert_eq!(matches(&pattern, &text), regex.is_match(&text));
        }
    }
}
