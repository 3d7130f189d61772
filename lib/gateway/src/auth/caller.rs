//! The caller, as identification proved it.

/// Who calls. Only [`Auth::identify`] makes one, so limiting before identifying does not compile.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    id: String,
    tenant: String,
    plan: String,
    scopes: Vec<String>,
    groups: Vec<String>,
    via: &'static str,
}

impl Caller {
    /// A caller as a key would prove it.
    #[cfg(test)]
    pub(crate) fn proved(id: &str, tenant: &str, plan: &str) -> Self {
        let (id, tenant, plan) = (id.to_owned(), tenant.to_owned(), plan.to_owned());
        Self { id, tenant, plan, via: "api_key", ..Self::default() }
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

/// How a route identifies its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// `auth: none`: anyone, written out and never implied.
    Public,
}

impl Auth {
    /// Identifies the caller.
    pub fn identify(self) -> Caller {
        match self {
            Self::Public => Caller { via: "none", ..Caller::default() },
        }
    }
}
