//! Port `Upstream`, and what is sent through it.

mod attempts;
mod backend;
pub mod balance;
mod destination;
pub mod flow;
pub mod hygiene;
pub mod retry;
pub mod sign;
pub mod split;
mod target;

pub use backend::{Backend, HostPolicy};
pub use destination::{Branch, Destination};
pub use target::{Dial, Protocol, Target, Tls};

use std::fmt::Debug;
use std::pin::Pin;

use http::{HeaderMap, Method, Uri};

use crate::exchange::{Body, BodyFault, Response};

/// A future of a port.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Sends one request to one target and gives its answer's head with the body still arriving.
///
/// An adapter keeps connections and speaks the protocol; it decides nothing: no retry, no redirect, no decompression,
/// no header of its own beyond what framing needs.
pub trait Upstream: Send + Sync + Debug {
    /// Sends `outbound` to `target`; the answer's headers end the wait. Timeouts other than the target's
    /// `connect_timeout` are the caller's: dropping the future gives the request up.
    fn send<'a>(&'a self, target: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>>;
}

/// One request as it goes to an upstream: every field final.
#[derive(Debug)]
pub struct Outbound {
    /// The method.
    pub method: Method,
    /// Absolute: the scheme of the target, the authority to send (`Host`, `:authority`), path and query.
    /// The connection goes to the target's own address whatever the authority.
    pub uri: Uri,
    /// Header fields, without `host` and without hop-by-hop fields. `te: trailers` may stand.
    pub headers: HeaderMap,
    /// The content.
    pub body: Body,
}

/// Why a sending brought no answer.
#[derive(Debug, thiserror::Error)]
#[error("{kind:?}: {detail}")]
pub struct UpstreamFault {
    /// What kind of fault.
    pub kind: FaultKind,
    /// Whether it went out on a connection that had served before and not one byte of an answer came: the one case
    /// that is sent again without a retry policy, where that is safe.
    pub stale_connection: bool,
    /// For the log alone.
    pub detail: String,
}

/// Kinds of [`UpstreamFault`]: the words of `retry.on` and `breaker.on`.
#[derive(Debug)]
pub enum FaultKind {
    /// No connection: refused, unresolvable, TLS failed, or `connect_timeout` passed.
    Connect,
    /// The connection broke before the answer's headers were whole.
    Reset,
    /// What came is no HTTP answer.
    Protocol,
    /// The client's body ended early; not the upstream's fault.
    RequestBody(BodyFault),
    /// Nothing was sent, since there is nothing to sign it with.
    Unsigned,
}
