//! Port `Upstream`, and what is sent through it.

mod attempts;
mod backend;
pub mod balance;
mod destination;
pub mod flow;
pub mod hygiene;
pub mod retry;
pub mod split;

pub use backend::{Backend, HostPolicy};
pub use destination::{Branch, Destination};

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

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

/// Where an upstream listens: one `targets` entry, compiled.
#[derive(Debug, Clone)]
pub struct Target {
    /// Tells connections apart: two targets with the same key may share them. Made from all fields below.
    pub key: Arc<str>,
    /// Host name or address to dial; an IPv6 address without its brackets.
    pub host: String,
    /// Port to dial.
    pub port: u16,
    /// TLS settings; `None` is plain HTTP.
    pub tls: Option<Tls>,
    /// What is spoken.
    pub protocol: Protocol,
    /// For the TCP and TLS handshakes together.
    pub connect_timeout: Duration,
    /// Its share of the traffic; 0 takes none.
    pub weight: u32,
    /// The authority of its `url`: what `Host` says under `host: upstream`.
    pub authority: String,
    /// The path of its `url` without a trailing slash, put before every path; often empty.
    pub base_path: String,
}

/// The protocol spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, over TLS by ALPN, in clear by prior knowledge (RFC 9113 §3.3).
    Http2,
    /// Whatever ALPN agrees on; HTTP/1.1 in clear.
    Auto,
}

impl Protocol {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Auto => "auto",
        }
    }
}

/// TLS to an upstream.
#[derive(Clone, Default)]
pub struct Tls {
    /// PEM of the authorities to trust instead of the system's.
    pub ca_pem: Option<Arc<[u8]>>,
    /// PEM of the client certificate chain and its key, both in one text.
    pub identity_pem: Option<Arc<[u8]>>,
    /// The name to verify and send as SNI, where it is not the host.
    pub server_name: Option<String>,
}

impl Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("ca", &self.ca_pem.is_some())
            .field("identity", &self.identity_pem.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
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
}
