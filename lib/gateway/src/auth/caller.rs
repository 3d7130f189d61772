//! The caller, as identification proved it.

use std::sync::Arc;

/// Who calls. Only [`super::Auth::identify`] makes one, so limiting before identifying does not compile.
///
/// Cheap to clone: a key that is known is the same caller for every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    id: Arc<str>,
    tenant: Arc<str>,
    plan: Arc<str>,
    scopes: Arc<[String]>,
    groups: Arc<[String]>,
    via: &'static str,
}

impl Caller {
    /// Anyone: nothing is known, not even who it is.
    pub(super) fn public() -> Self {
        Self::of("none", "", "", "", Vec::new())
    }

    /// A caller that the method `via` identified.
    pub(super) fn of(via: &'static str, id: &str, tenant: &str, plan: &str, scopes: Vec<String>) -> Self {
        Self {
            id: id.into(),
            tenant: tenant.into(),
            plan: plan.into(),
            scopes: scopes.into(),
            groups: Arc::default(),
            via,
        }
    }

    /// A caller as tests need one, identified by nothing.
    #[cfg(test)]
    pub(crate) fn of_test(id: &str, tenant: &str, plan: &str) -> Self {
        Self::of("none", id, tenant, plan, Vec::new())
    }

    /// The caller's id; empty for the public.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The tenant; empty where there is none.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The plan; empty where there is none.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// The scopes granted.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The groups belonged to.
    pub fn groups(&self) -> &[String] {
        &self.groups
    }

    /// The method that identified it: `none` for the public.
    pub fn via(&self) -> &'static str {
        self.via
    }
}
