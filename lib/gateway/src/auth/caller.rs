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
