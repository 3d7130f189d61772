//! An upstream as the config names it: targets, and how they are chosen and asked.

use std::sync::Arc;
use std::time::Duration;

use super::Target;
use super::balance::{Balance, UnderWay};
use super::retry::{Retry, RetryBudget};
use super::sign::Sign;
use crate::secret::Secrets;

/// One entry of `upstreams`, compiled. Shared by all routes that go to it.
#[derive(Debug)]
pub struct Backend {
    /// Its name in the config.
    pub name: Arc<str>,
    /// Where it listens, at least one.
    pub targets: Vec<Target>,
    /// Requests at each of them now.
    pub under_way: Vec<UnderWay>,
    /// Which target is next.
    pub balance: Balance,
    /// What is sent again; attempts 0 without a policy.
    pub retry: Retry,
    /// How much may be sent again, over all requests of this environment.
    pub budget: RetryBudget,
    /// One attempt, until the answer's headers; `None` is the route's.
    pub timeout: Option<Duration>,
    /// Which `Host` goes out.
    pub host: HostPolicy,
    /// What tells it that a request is the gateway's.
    pub sign: Sign,
    /// The secrets that it needs.
    pub secrets: Secrets,
}

/// Which `Host` an upstream sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPolicy {
    /// The authority of its own `url`.
    Upstream,
    /// What the client asked for.
    Client,
    /// This one.
    Literal(String),
}
