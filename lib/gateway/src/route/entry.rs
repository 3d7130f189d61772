//! A route: its policies, compiled, each of them a value that is there even where nothing was written.

use std::sync::Arc;
use std::time::Duration;

use crate::access::Access;
use crate::auth::Auth;
use crate::cors::{self, Cors};
use crate::exchange::Request;
use crate::forward::Destination;
use crate::gateway::Stop;
use crate::limit::Limits;
use crate::mode::Shadowed;
use crate::screen::Screen;
use crate::secret::Secrets;
use crate::transform::{RequestTransform, ResponseTransform};

/// One entry of `routes`, compiled.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands in the config: `file:line:col`.
    pub declared: String,
    /// What is shed last, what first.
    pub priority: Priority,
    /// Whether `%2F` and `%5C` may stand in its paths.
    pub keeps_encoded_slashes: bool,
    /// CORS.
    pub cors: Cors,
    /// Address lists, body size, content types.
    pub screen: Screen,
    /// How callers are identified.
    pub auth: Auth,
    /// What they may do.
    pub access: Access,
    /// Rate limits, in order.
    pub limits: Limits,
    /// What changes on the way in.
    pub request: RequestTransform,
    /// What changes on the way out.
    pub response: ResponseTransform,
    /// How long it may take.
    pub timeouts: Timeouts,
    /// Whether answers carry `Server-Timing`.
    pub timing: bool,
    /// Where it goes.
    pub to: Destination,
    /// The secrets that identifying callers and going there need.
    pub secrets: Secrets,
}

/// Time limits of a route; `None` is no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the answer's headers, retries included.
    pub headers: Option<Duration>,
    /// Between two chunks of the answer.
    pub idle: Option<Duration>,
    /// Until the answer's end.
    pub total: Option<Duration>,
}

/// The classes of load shedding, from what is shed last to what is shed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Shed last.
    Critical,
    /// The default.
    Important,
    /// Shed first.
    BestEffort,
}

impl Priority {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Important => "important",
            Self::BestEffort => "best_effort",
        }
    }
}

impl Route {
    /// Answers a CORS preflight where the route has CORS; stops with a 204.
    pub(crate) fn preflight(&self, request: &Request, shadowed: &mut Shadowed) -> Result<(), Stop> {
        self.cors.watch(&request.headers, &request.origin, shadowed);
        if request.method == http::Method::OPTIONS
            && cors::is_preflight(&request.method, &request.headers).is_some()
            && let Some(response) = self.cors.preflight(&request.method, &request.headers)
        {
            return Err(Stop::Answered("preflight", Box::new(response)));
        }
        Ok(())
    }
}
