//! The caller, as identification proved it.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// Who calls. Only [`super::Auth::identify`] gives one out, so limiting before identifying does not compile.
///
/// Cheap to clone: whoever is known is the same caller for every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller(Arc<Identity>);

/// What a method proved of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The method: `api_key`, `jwt`…
    pub via: &'static str,
    /// The caller's id; empty for the public.
    pub id: String,
    /// The tenant; empty where there is none.
    pub tenant: String,
    /// The plan; empty where there is none.
    pub plan: String,
    /// The scopes granted.
    pub scopes: Vec<String>,
    /// The groups belonged to.
    pub groups: Vec<String>,
    /// What else was said of it: a token's claims, an introspection's members, an authorizer's context.
    pub claims: Map<String, Value>,
    /// The fields that go on to the upstream.
    pub forward: Vec<(HeaderName, HeaderValue)>,
}

impl Caller {
    /// A caller that a method identified.
    pub(super) fn of(identity: Identity) -> Self {
        Self(Arc::new(identity))
    }

    /// The first of several that must all agree, with the fields that any of them sends on: those of a name are the
    /// first's that has some, so that an upstream is never told of two.
    pub(super) fn first_of(callers: Vec<Self>) -> Option<Self> {
        let mut callers = callers.into_iter();
        let mut first = callers.next()?;
        for caller in callers {
            let told = |(name, _): &&(HeaderName, HeaderValue)| first.forward().iter().any(|(own, _)| own == name);
            let more: Vec<_> = caller.forward().iter().filter(|field| !told(field)).cloned().collect();
            if !more.is_empty() {
                Arc::make_mut(&mut first.0).forward.extend(more);
            }
        }
        Some(first)
    }

    /// A caller as tests need one, identified by nothing.
    #[cfg(test)]
    pub(crate) fn of_test(id: &str, tenant: &str, plan: &str) -> Self {
        let [id, tenant, plan] = [id, tenant, plan].map(str::to_owned);
        Self::of(Identity { via: "none", id, tenant, plan, ..Identity::default() })
    }

    /// A caller as tests need one, of whom this was proved.
    #[cfg(test)]
    pub(crate) fn of_identity(identity: Identity) -> Self {
        Self::of(identity)
    }

    /// The caller's id; empty for the public.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The tenant; empty where there is none.
    pub fn tenant(&self) -> &str {
        &self.0.tenant
    }

    /// The plan; empty where there is none.
    pub fn plan(&self) -> &str {
        &self.0.plan
    }

    /// The scopes granted.
    pub fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// The groups belonged to.
    pub fn groups(&self) -> &[String] {
        &self.0.groups
    }

    /// What else was said of it; empty where nothing was.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.claims
    }

    /// The fields that go on to the upstream.
    pub fn forward(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.forward
    }

    /// Tells an upstream who calls, in place of whatever stands under these names.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        for (name, _) in self.forward() {
            headers.remove(name);
        }
        for (name, value) in self.forward() {
            headers.append(name, value.clone());
        }
    }

    /// The method that identified it: `none` for the public.
    pub fn via(&self) -> &'static str {
        self.0.via
    }
}
