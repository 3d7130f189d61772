//! Permission: what a caller that is known may do. Tenants, scopes and groups that a route asks for, and a condition.

use std::sync::Arc;

use crate::auth::Caller;
use crate::expression::{Expression, Facts};
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;

/// `allow` of a route, compiled.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// What is asked of a caller; `None` where nothing is.
    pub conditions: Option<Arc<Conditions>>,
    /// Whether it acts.
    pub mode: Mode,
    /// Whether it acts on who passed unidentified, as all do where the route's `auth` only watches.
    pub unidentified: Mode,
}

/// What is asked of a caller: all that is written here.
#[derive(Debug, Default)]
pub struct Conditions {
    /// Of these tenants; empty is any, and none.
    pub tenants: Vec<Pattern>,
    /// With these scopes.
    pub scopes: Option<Scopes>,
    /// In one of these groups; empty is any, and none.
    pub groups: Vec<String>,
    /// Where this is true.
    pub when: Option<Expression>,
}

/// The scopes that are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    /// Every one of these.
    All(Vec<String>),
    /// At least one of these.
    Any(Vec<String>),
}

/// A name in which each `*` stands for any text, none included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Access {
    /// Lets the caller pass, or not. The first that is not met is told, from what counts broadest to what is closest.
    ///
    /// # Errors
    /// [`Refusal::TenantDenied`], [`Refusal::ScopeMissing`], [`Refusal::GroupMissing`] and
    /// [`Refusal::ConditionFailed`], each with status 403.
    pub fn check(&self, caller: &Caller, facts: &Facts<'_>, shadowed: &mut Shadowed) -> Result<(), Refusal> {
        let Some(conditions) = &self.conditions else { return Ok(()) };
        let mode = if caller.via() == "none" { self.unidentified } else { self.mode };
        mode.ask(shadowed, || conditions.check(caller, facts)).map(drop)
    }
}

impl Conditions {
    /// Whether it asks for something that only a caller who is known can have.
    pub fn asks_who(&self) -> bool {
        !self.tenants.is_empty() || self.scopes.is_some() || !self.groups.is_empty()
    }

    fn check(&self, caller: &Caller, facts: &Facts<'_>) -> Result<(), Refusal> {
        let tenant = caller.tenant();
        // Who belongs to nobody belongs to no tenant, whatever the pattern.
        let of_one = !tenant.is_empty() && self.tenants.iter().any(|pattern| pattern.fits(tenant));
        if !self.tenants.is_empty() && !of_one {
            return Err(Refusal::TenantDenied { tenant: tenant.to_owned() });
        }
        if let Some(scopes) = self.scopes.as_ref().filter(|scopes| !scopes.are_met(caller.scopes())) {
            let (wanted, granted) = (scopes.list().join(" "), caller.scopes().join(" "));
            return Err(Refusal::ScopeMissing { wanted, granted, bearer: came_by_bearer_token(caller) });
        }
        if !self.groups.is_empty() && !self.groups.iter().any(|group| caller.groups().contains(group)) {
            return Err(Refusal::GroupMissing { groups: caller.groups().join(" ") });
        }
        let Some(when) = &self.when else { return Ok(()) };
        match when.truth(facts) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::ConditionFailed { why: format!("{} is false", when.source()) }),
            // What cannot be told is not allowed.
            Err(failure) => Err(Refusal::ConditionFailed { why: format!("{} fails: {failure}", when.source()) }),
        }
    }
}

/// Whether the scheme is `Bearer`, whose challenge may name scopes (RFC 6750 §3).
fn came_by_bearer_token(caller: &Caller) -> bool {
    matches!(caller.via(), "jwt" | "introspection")
}

impl Scopes {
    /// The scopes as written.
    pub fn list(&self) -> &[String] {
        match self {
            Self::All(scopes) | Self::Any(scopes) => scopes,
        }
    }

    fn are_met(&self, granted: &[String]) -> bool {
        match self {
            Self::All(scopes) => scopes.iter().all(|scope| granted.contains(scope)),
            Self::Any(scopes) => scopes.iter().any(|scope| granted.contains(scope)),
        }
    }
}

/// Whether a text is one scope (RFC 6749 §3.3): visible ASCII without `"` and `\`, so that it can stand in a list and
/// between quotes.
pub fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

impl Pattern {
    /// This pattern.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a pattern of this text.
    pub fn fits(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else { return self.0 == text };
        let Some(mut text) = text.strip_prefix(first) else { return false };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        // The earliest place is as good as any: what follows may begin wherever it likes.
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            let Some((_, after)) = text.split_once(part) else { return false };
            text = after;
        }
        text.ends_with(last)
    }
}

#[cfg(test)]
mod tests;
