//! Whether a policy acts, only watches, or rests.

/// The mode of one use of a policy; every policy has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// It decides, and what it refuses is refused.
    #[default]
    Enforce,
    /// It decides and is recorded, and everything passes.
    Shadow,
    /// It is not asked.
    Off,
}

impl Mode {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}
