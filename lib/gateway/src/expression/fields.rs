//! The variables of the language and their fields, and where each may be named.

use super::Place;
use super::claims::Claim;
use super::slot::{Access, Whole};

/// The variables.
pub(super) const ROOTS: &[&str] = &["request", "params", "caller", "route", "response", "env", "claims", "now"];

/// What a field is.
#[derive(Debug)]
pub(super) enum Field {
    Text(Access),
    Claim(Claim),
    Status,
    Now,
    Whole(Whole),
}

/// Whether a variable may be named here.
///
/// # Errors
/// Why not.
pub(super) fn root(name: &str, place: Place) -> Result<(), String> {
    let allowed: &[&str] = match place {
        Place::Match => &["request", "params", "route", "env"],
        Place::Allow | Place::LimitKey | Place::Sticky | Place::Request => {
            &["request", "params", "caller", "claims", "now", "route", "env"]
        }
        Place::Cost | Place::Response => &["request", "params", "caller", "claims", "now", "route", "response", "env"],
        Place::EnvOnly => &["env"],
    };
    if allowed.contains(&name) {
        return Ok(());
    }
    Err(match (name, place) {
        (_, Place::EnvOnly) => "only `env` may stand here, since it must be the same for every request".to_owned(),
        ("caller" | "claims" | "now", _) => format!("`{name}` is not known yet where routes are matched"),
        ("response", _) => "`response` is not known here, only in templates of the answer and in `cost`".to_owned(),
        _ => format!("unknown variable `{name}`, there are {}", allowed.join(", ")),
    })
}

/// Whether a field's keys are the request's own.
pub(super) fn is_map(root: &str, field: &str) -> bool {
    matches!((root, field), ("request", "headers" | "query" | "cookies") | ("response", "headers"))
}

/// What the steps from a variable come to.
///
/// # Errors
/// The step that is wrong, and what is wrong with it.
pub(super) fn find(root: &str, steps: &[&str]) -> Result<Field, (usize, String)> {
    let known = fields(root);
    let (field, rest) = match (root, steps) {
        ("params", []) => return Ok(Field::Whole(Whole::Params)),
        ("claims", []) => return Ok(Field::Whole(Whole::Claims)),
        ("claims", steps) => return Ok(Field::Claim(Claim::at(steps))),
        ("now", []) => return Ok(Field::Now),
        ("now", [step, ..]) => return Err((0, format!("`now` is a number of seconds and has no `{step}`"))),
        ("params", [name, rest @ ..]) => (Field::Text(Access::Param((*name).to_owned())), rest),
        (_, []) => return Err((0, format!("`{root}` is no value of its own: name one of {}", dotted(root, known)))),
        ("request" | "response", ["body", ..]) => return Err((0, format!("`{root}.body` is not supported yet"))),
        (_, [map, key, rest @ ..]) if is_map(root, map) => (Field::Text(entry(root, map, key)?), rest),
        (_, [name, rest @ ..]) => {
            let unknown = || (0, format!("unknown field `{root}.{name}`, there are {}", known.join(", ")));
            (field(root, name).ok_or_else(unknown)?, rest)
        }
    };
    let at = steps.len() - rest.len();
    match (&field, rest) {
        (_, []) => Ok(field),
        (Field::Whole(_), [step, ..]) => {
            Err((at, format!("`{}` is a list and has no `{step}`", dotted_path(root, steps, at))))
        }
        (_, [step, ..]) => Err((at, format!("`{}` is one value and has no `{step}`", dotted_path(root, steps, at)))),
    }
}

fn field(root: &str, name: &str) -> Option<Field> {
    Some(match (root, name) {
        ("request", "method") => Field::Text(Access::Method),
        ("request", "path") => Field::Text(Access::Path),
        ("request", "host") => Field::Text(Access::Host),
        ("request", "id") => Field::Text(Access::Id),
        ("request", "ip") => Field::Text(Access::Ip),
        ("request", "scheme") => Field::Text(Access::Scheme),
        ("request", "headers") => Field::Whole(Whole::Headers),
        ("request", "query") => Field::Whole(Whole::Query),
        ("request", "cookies") => Field::Whole(Whole::Cookies),
        ("caller", "id") => Field::Text(Access::CallerId),
        ("caller", "tenant") => Field::Text(Access::CallerTenant),
        ("caller", "plan") => Field::Text(Access::CallerPlan),
        ("caller", "via") => Field::Text(Access::CallerVia),
        ("caller", "scopes") => Field::Whole(Whole::Scopes),
        ("caller", "groups") => Field::Whole(Whole::Groups),
        ("route", "name") => Field::Text(Access::Route),
        ("response", "status") => Field::Status,
        ("response", "headers") => Field::Whole(Whole::ResponseHeaders),
        _ => return None,
    })
}

fn entry(root: &str, map: &str, key: &str) -> Result<Access, (usize, String)> {
    if map == "headers" && key.bytes().any(|b| b.is_ascii_uppercase()) {
        let lower = key.to_ascii_lowercase();
        return Err((1, format!("the keys of `headers` are lower case: write '{lower}'")));
    }
    let key = key.to_owned();
    Ok(match (root, map) {
        ("response", _) => Access::ResponseHeader(key),
        (_, "query") => Access::Query(key),
        (_, "cookies") => Access::Cookie(key),
        _ => Access::Header(key),
    })
}

fn fields(root: &str) -> &'static [&'static str] {
    match root {
        "request" => &["method", "path", "host", "id", "ip", "scheme", "headers", "query", "cookies"],
        "caller" => &["id", "tenant", "plan", "scopes", "groups", "via"],
        "response" => &["status", "headers"],
        "route" => &["name"],
        _ => &[],
    }
}

fn dotted(root: &str, fields: &[&str]) -> String {
    fields.iter().map(|field| format!("`{root}.{field}`")).collect::<Vec<_>>().join(", ")
}

fn dotted_path(root: &str, steps: &[&str], count: usize) -> String {
    std::iter::once(root).chain(steps.iter().take(count).copied()).collect::<Vec<_>>().join(".")
}

/// What there is, for a message.
pub(super) fn list<'a>(names: impl Iterator<Item = &'a str>, none: &str) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { none.to_owned() } else { format!("there is {}", names.join(", ")) }
}
