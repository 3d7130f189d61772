//! Identification: who is calling. A method a file: so far API keys.

mod api_key;
mod caller;
mod flights;
mod key;
pub mod keyring;
mod known;
mod recent;
mod record;
#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use http::HeaderMap;

pub use api_key::ApiKeys;
pub use caller::Caller;
pub use key::{ApiKey, Pepper};
pub use known::REVOKED_WITHIN;

use crate::clock::Clock;
use crate::refusal::Refusal;
use crate::table::Table;

/// How a route identifies its callers.
#[derive(Debug, Clone)]
pub enum Auth {
    /// `auth: none`: anyone, written out and never implied.
    Public,
    /// Any of these, in order.
    Any(Vec<Use>),
}

/// One use of a method by a route.
#[derive(Debug, Clone)]
pub struct Use {
    /// The method, shared by all its uses.
    pub method: Arc<ApiKeys>,
    /// Whether its credential goes on to the upstream.
    pub keep: bool,
}

/// Why a method did not identify a caller, from what counts least to what counts most where several were asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Denied {
    /// There is no credential of its kind.
    Missing,
    /// There is one, and it is no good: the words are for the log.
    Invalid(String),
    /// Nobody could say.
    Unchecked(String),
}

impl Auth {
    /// Whether it may have to ask for anything.
    pub const fn takes_time(&self) -> bool {
        matches!(self, Self::Any(_))
    }

    /// Identifies the caller, and takes the credentials off the request, so that neither an upstream nor an expression
    /// sees them.
    ///
    /// # Errors
    /// [`Refusal::CredentialsMissing`] and [`Refusal::CredentialsInvalid`]; [`Refusal::CredentialsUnchecked`] where a
    /// credential may be right and nobody could say.
    pub async fn identify(
        &self,
        headers: &mut HeaderMap,
        table: &dyn Table,
        clock: &dyn Clock,
    ) -> Result<Caller, Refusal> {
        let uses = match self {
            Self::Public => return Ok(PUBLIC.clone()),
            Self::Any(uses) => uses,
        };
        let mut denied = Denied::Missing;
        let mut identified = None;
        for used in uses {
            match used.method.identify(headers, table, clock).await {
                Ok(caller) => {
                    identified = Some(caller);
                    break;
                }
                Err(why) => denied = denied.max(why),
            }
        }
        for used in uses.iter().filter(|used| !used.keep) {
            headers.remove(used.method.header());
        }
        identified.ok_or(match denied {
            Denied::Missing => Refusal::CredentialsMissing,
            Denied::Invalid(why) => Refusal::CredentialsInvalid { why },
            Denied::Unchecked(why) => Refusal::CredentialsUnchecked { why },
        })
    }
}

static PUBLIC: LazyLock<Caller> = LazyLock::new(Caller::public);
