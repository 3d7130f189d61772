//! What the config grants to every caller of an entry that brings nothing of the kind itself.

use super::caller::Identity;

/// The `caller` of an entry of `auth`, written out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    /// The tenant; `None` where the method has its own word for it.
    pub tenant: Option<String>,
    /// The plan; empty where there is none.
    pub plan: String,
    /// The scopes.
    pub scopes: Vec<String>,
    /// The groups.
    pub groups: Vec<String>,
}

impl Granted {
    /// An identity with what is granted, `tenant` being the method's own word.
    pub(super) fn identity(&self, via: &'static str, id: String, tenant: &str) -> Identity {
        Identity {
            via,
            id,
            tenant: self.tenant.as_deref().unwrap_or(tenant).to_owned(),
            plan: self.plan.clone(),
            scopes: self.scopes.clone(),
            groups: self.groups.clone(),
            ..Identity::default()
        }
    }
}
