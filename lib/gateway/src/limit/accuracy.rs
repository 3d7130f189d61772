//! Who counts for a limit, and over how many items.

use std::fmt;
use std::num::NonZeroU32;

/// Who is asked before a request passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Accuracy {
    /// A lease of the shared count that this environment holds: never more than the limit in all, and while much is
    /// asked of one key, up to a quarter of the burst may lie unused in leases.
    #[default]
    Leased,
    /// The table, for each request: all of the limit is given.
    Exact,
    /// This environment alone: every environment counts by itself.
    Local,
}

impl Accuracy {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Exact => "exact",
            Self::Local => "local",
        }
    }
}

/// Over how many items of the table each key's count is spread: one item takes some 1,000 writes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Shards {
    /// As many as the rate needs.
    #[default]
    Auto,
    /// So many, each with its part of the rate and the burst.
    Fixed(NonZeroU32),
}

impl Shards {
    /// The most that can be written.
    pub const MOST: u32 = 64;
}

impl fmt::Display for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(shards) => write!(f, "{shards}"),
        }
    }
}
