//! The caller, as identification proved it.

/// Who calls. Only [`Auth::identify`] makes one, so limiting before identifying does not compile.
#[derive(Debug, Clone)]
pub struct Caller {
    id: String,
    via: String,
}

impl Caller {
    /// The caller's id; empty for the public.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the method that identified the caller; empty for the public. Ids of two methods may be the same.
    pub fn via(&self) -> &str {
        &self.via
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
            Self::Public => Caller { id: String::new(), via: String::new() },
        }
    }
}
