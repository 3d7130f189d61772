//! From claims to a caller, and to the fields that go on to the upstream.

use std::fmt;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::caller::Identity;

/// Where a claim stands: `claims.org`, `claims.realm_access.roles`, `claims['cognito:groups']`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// A claim by its name alone, whatever it is made of.
    pub fn named(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// The path that a text is; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix("claims")?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (name, after) = step(rest)?;
            steps.push(name.to_owned());
            rest = after;
        }
        (!steps.is_empty()).then_some(Self(steps))
    }

    /// What stands there; `null` counts as nothing.
    fn of<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let (first, rest) = self.0.split_first()?;
        let found = rest.iter().try_fold(claims.get(first)?, |value, step| value.as_object()?.get(step))?;
        (!found.is_null()).then_some(found)
    }
}

/// `.name`, `['any text']` or `["any text"]`, and what comes after it.
fn step(text: &str) -> Option<(&str, &str)> {
    if let Some(text) = text.strip_prefix('.') {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        return text.split_at_checked(end).filter(|(name, _)| !name.is_empty());
    }
    let text = text.strip_prefix('[')?;
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let (name, rest) = text.strip_prefix(quote)?.split_once(quote)?;
    Some((name, rest.strip_prefix(']')?)).filter(|_| !name.is_empty())
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims")?;
        for step in &self.0 {
            let plain = step.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if plain { write!(f, ".{step}")? } else { write!(f, "['{step}']")? }
        }
        Ok(())
    }
}

/// What of claims makes the caller, and what goes on to the upstream.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// Who calls: text or a number, which must be there.
    pub id: ClaimPath,
    /// The tenant: text or a number.
    pub tenant: Option<ClaimPath>,
    /// The plan: text or a number.
    pub plan: Option<ClaimPath>,
    /// The scopes, text parted by spaces (RFC 8693 §4.2) or a list; the first that is there.
    pub scopes: Vec<ClaimPath>,
    /// The groups, a list or one.
    pub groups: Option<ClaimPath>,
    /// Claims that are sent on as fields.
    pub forward: Vec<(ClaimPath, HeaderName)>,
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            id: ClaimPath::named("sub"),
            tenant: None,
            plan: None,
            scopes: ["scope", "scp"].map(ClaimPath::named).to_vec(),
            groups: None,
            forward: Vec::new(),
        }
    }
}

impl Mapping {
    /// Who calls.
    ///
    /// # Errors
    /// That a claim is not there or not of its kind, for the log.
    pub(super) fn identity(&self, via: &'static str, claims: Map<String, Value>) -> Result<Identity, String> {
        let id =
            scalar(&self.id, &claims)?.filter(|id| !id.is_empty()).ok_or_else(|| format!("there is no {}", self.id))?;
        let of = |path: &Option<ClaimPath>| path.as_ref().map_or(Ok(None), |path| scalar(path, &claims));
        let (tenant, plan) = (of(&self.tenant)?.unwrap_or_default(), of(&self.plan)?.unwrap_or_default());
        let scopes = self.scopes.iter().find(|path| path.of(&claims).is_some());
        let scopes = scopes.map_or(Ok(Vec::new()), |path| texts(path, &claims, true))?;
        let groups = self.groups.as_ref().map_or(Ok(Vec::new()), |path| texts(path, &claims, false))?;
        let forward = self.sends(&claims);
        Ok(Identity { via, id, tenant, plan, scopes, groups, claims, forward })
    }

    /// The fields that go on of these claims.
    pub(super) fn sends(&self, claims: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
        let each = self.forward.iter().filter_map(|(path, name)| Some((name.clone(), field(path.of(claims)?)?)));
        each.collect()
    }
}

fn scalar(path: &ClaimPath, claims: &Map<String, Value>) -> Result<Option<String>, String> {
    match path.of(claims) {
        Some(Value::String(text)) if text.chars().any(char::is_control) => {
            Err(format!("{path} has control characters"))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("{path} is neither text nor a number")),
        None => Ok(None),
    }
}

/// A list of texts, or one text: of scopes it is several, parted by spaces.
fn texts(path: &ClaimPath, claims: &Map<String, Value>, parted: bool) -> Result<Vec<String>, String> {
    match path.of(claims) {
        Some(Value::String(text)) if parted => Ok(text.split_ascii_whitespace().map(str::to_owned).collect()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<_>>();
            texts.ok_or_else(|| format!("{path} is no list of texts"))
        }
        Some(_) => Err(format!("{path} is neither text nor a list of texts")),
        None => Ok(Vec::new()),
    }
}

/// A claim as a field's value: text, a number or a boolean; of a list, what is in it, joined by commas. What cannot be
/// told from something else that way, or has control characters, is not sent.
fn field(value: &Value) -> Option<HeaderValue> {
    let text = match value {
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(plain).collect::<Option<_>>()?;
            if items.iter().any(|item| item.contains(',')) {
                return None;
            }
            items.join(",")
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => plain(value)?,
    };
    if text.is_empty() || text.chars().any(char::is_control) {
        return None;
    }
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
