//! Host, path, method, header, query, expression → one route.
//!
//! A path is normalised once ([`normalise`]) and matched once; the normalised form is what is forwarded. Precedence is
//! Gateway API's (config.md, *Matching*): the host first, then the path, then how much else was asked for.

mod conditions;
mod entry;
mod host;
mod path;
mod pattern;
mod router;
#[cfg(test)]
mod tests;
mod trie;

pub use conditions::{Conditions, ValueMatch};
pub use entry::{Priority, Route, Timeouts};
pub use host::HostMatch;
pub use path::{Normal, normalise};
pub use pattern::PathMatch;
pub use router::{Conflict, Outcome, Router};
