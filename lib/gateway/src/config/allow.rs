//! `allow:` of a route and of `defaults`.

use std::sync::Arc;

use crate::access::{Access, Conditions, Pattern, Scopes, is_scope};
use crate::auth::Auth;
use crate::expression::{Part, Place as Stands};
use crate::mode::Mode;

use super::Reader;
use super::problem::Place;
use super::read::{Fields, items};
use super::tree::{Node, Value};

/// `allow` as written; without a mode of its own it has its route's.
#[derive(Clone, Default)]
pub(crate) struct Allow {
    conditions: Option<Arc<Conditions>>,
    mode: Option<Mode>,
}

impl Reader<'_> {
    /// `allow:` where a path captures `params`. With a mode alone, what stands in `defaults` is asked.
    pub(crate) fn allow(&mut self, node: &Node, params: &[Arc<str>], standing: &Allow) -> Option<Allow> {
        let mut fields = Fields::of(node, "`allow`", &mut self.problems)?;
        let (tenants, scopes) = (fields.take("tenants"), fields.take("scopes"));
        let (groups, when) = (fields.take("groups"), fields.take("when"));
        let mode = self.mode(&mut fields);
        fields.finish(&mut self.problems);
        if [tenants, scopes, groups, when].iter().all(Option::is_none) {
            if mode.is_none() {
                let message = "`allow` needs one of `tenants`, `scopes`, `groups` and `when`: \
                               what `defaults` ask is not asked with `allow: {mode: off}`";
                self.problems.error(node.place, message);
            }
            return Some(Allow { mode, ..standing.clone() });
        }
        let conditions = Conditions {
            tenants: tenants
                .map(|node| self.names(node, "a tenant"))
                .unwrap_or_default()
                .into_iter()
                .map(Pattern::new)
                .collect(),
            scopes: scopes.and_then(|node| self.scopes(node)),
            groups: groups.map(|node| self.names(node, "a group")).unwrap_or_default(),
            when: when.and_then(|node| self.expression(node, "`when`", Stands::Allow, params)),
        };
        Some(Allow { conditions: Some(Arc::new(conditions)), mode })
    }

    /// What a route asks that lets callers in by `auth`.
    pub(crate) fn access(&mut self, allow: Allow, route: Mode, auth: Option<&Auth>, place: Place) -> Access {
        let Allow { conditions, mode } = allow;
        let mode = mode.unwrap_or(route);
        let of_auth = match auth {
            Some(Auth::Public) => Mode::Off,
            Some(Auth::Any(ways)) => ways.mode(),
            None => Mode::Enforce,
        };
        let watches = (mode, of_auth) == (Mode::Enforce, Mode::Shadow);
        let access = Access { conditions, mode, unidentified: if watches { Mode::Shadow } else { mode } };
        if let Some(conditions) = &access.conditions
            && mode != Mode::Off
            && of_auth == Mode::Off
        {
            if conditions.asks_who() {
                let message = "where `auth` lets anyone in nobody has a tenant, a scope or a group: \
                               only `when` can be asked, and nothing with `allow: {mode: off}`";
                self.problems.error(place, message);
            } else if conditions.when.as_ref().is_some_and(|when| when.reads(Part::Caller)) {
                self.problems
                    .warn(place, "`when` of `allow` asks who calls, which an `auth` that lets anyone in does not tell");
            }
        }
        access
    }

    /// A list of all, or `{all: […]}`, or `{any: […]}`.
    fn scopes(&mut self, node: &Node) -> Option<Scopes> {
        let Value::Map(_) = node.value else { return Some(Scopes::All(self.scope_names(node))) };
        let mut fields = Fields::of(node, "`scopes`", &mut self.problems)?;
        let (all, any) = (fields.take("all"), fields.take("any"));
        fields.finish(&mut self.problems);
        match (all, any) {
            (Some(all), None) => Some(Scopes::All(self.scope_names(all))),
            (None, Some(any)) => Some(Scopes::Any(self.scope_names(any))),
            _ => {
                self.problems.error(node.place, "`scopes` takes a list, or one of `all` and `any`");
                None
            }
        }
    }

    fn scope_names(&mut self, node: &Node) -> Vec<String> {
        let scopes = self.names(node, "a scope");
        for scope in scopes.iter().filter(|scope| !is_scope(scope)) {
            let message = format!("the scope \"{scope}\" must be visible ASCII without spaces, quotes and backslashes");
            self.problems.error(node.place, message);
        }
        scopes
    }

    /// At least one text, none of them empty.
    fn names(&mut self, node: &Node, what: &str) -> Vec<String> {
        let names: Vec<_> = items(node).iter().filter_map(|item| self.problems.text(item, what)).collect();
        if items(node).is_empty() || names.iter().any(String::is_empty) {
            self.problems.error(node.place, format!("there must be {what} at least, and none may be empty"));
        }
        names
    }
}
