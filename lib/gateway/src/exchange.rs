//! Request, Response and Exchange: what comes in, what goes out, and what one request leaves behind.
//!
//! The core's own types rather than a framework's: a raw path and a raw query, kept byte for byte, a header map, and
//! a body that is whole or a stream. Doors translate into them and out of them.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;

use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::forward::split::Drawn;
use crate::limit::Owed;
use crate::mode::Shadowed;

/// One request, as a door hands it over.
#[derive(Debug)]
pub struct Request {
    /// The method, any token (RFC 9110 §9.1).
    pub method: Method,
    /// The path as the client sent it, percent-encoding untouched; starts with `/`, or is `*`.
    pub path: String,
    /// The query as the client sent it, without its `?`; `None` where there was no `?` at all.
    pub query: Option<String>,
    /// Header fields, names in lower case. `host` is not read from here: see [`Origin::host`].
    pub headers: HeaderMap,
    /// The content.
    pub body: Body,
    /// What the platform, not the client, says of the request.
    pub origin: Origin,
}

/// What the platform says of a request: never taken from a bare header.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The peer's address: a function URL's `sourceIp`, at the local door the socket's peer.
    pub ip: IpAddr,
    /// `https` on AWS, `http` at the local door.
    pub scheme: Scheme,
    /// The authority that the client asked for, port included where it was written; lower case.
    pub host: String,
    /// The HTTP version the client spoke, as `Via` writes it (RFC 9110 §7.6.3): `1.0`, `1.1`, `2.0`.
    pub version: &'static str,
    /// The platform's id for the request; the door makes one up where the platform has none.
    pub id: String,
    /// The request's seed: splits, jitter and balance draw from it, so that a request can be replayed.
    pub seed: u64,
    /// When the platform stops waiting, where it says so; caps every timeout.
    pub deadline: Option<tokio::time::Instant>,
    /// When the front door took the request, by its own clock, where it says so: what this environment's is held against.
    pub front_time: Option<Timestamp>,
    /// The client certificate that a front door which ended TLS asked for, where it passed one on.
    pub client_certificate: Option<ClientCert>,
    /// Who signed the request, where the front door checked its signature (`AWS_IAM`).
    pub iam: Option<IamIdentity>,
}

/// A client certificate as it was passed on. Nothing but the front door has looked at it yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCert {
    /// Who passed it on.
    pub from: CertFrom,
    /// As it was passed on: PEM, as it is or percent-encoded, or byte sequences (RFC 9440 §2.1); the certificate, and
    /// after it what it was sent with.
    pub text: Bytes,
}

/// Who passed a client certificate on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertFrom {
    /// API Gateway, in the event's `requestContext`.
    ApiGateway,
    /// A load balancer, in fields of its own.
    Alb {
        /// The ARN of the target group that the event came by.
        target_group: String,
        /// Whether its listener verified the certificate (`verify`), or passed on what it was sent (`passthrough`).
        verified: bool,
    },
    /// The edge, in a field that is believed beside its secret alone.
    Edge,
}

/// An identity that AWS checked, of the event's `requestContext`. What it does not say is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IamIdentity {
    /// The ARN of the user or the assumed role.
    pub arn: String,
    /// The account.
    pub account: String,
    /// The unique id of the user or role, with the session's name.
    pub user_id: String,
    /// The organization of the account.
    pub organization: String,
}

/// The scheme of the client's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One answer.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The content.
    pub body: Body,
}

impl Response {
    /// An answer without content.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::Empty }
    }
}

/// A stream of content frames: data, and trailers at the end.
pub type BodyStream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyFault> + Send + 'static>>;

/// Content of a request or an answer.
#[derive(Default)]
pub enum Body {
    /// No content at all.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// Arriving as it is sent on.
    Stream(BodyStream),
}

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyFault {
    /// It is larger than what the route takes; the limit, in bytes.
    #[error("the body passed {limit} bytes")]
    TooLarge {
        /// The limit that it passed, in bytes.
        limit: u64,
    },
    /// The sender stalled for longer than it may.
    #[error("the body stalled for {0:?}")]
    Stalled(Duration),
    /// The sender went away or broke the protocol.
    #[error("the body broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Body {
    /// The body as a stream of frames, whatever it was.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error = BodyFault> + Send + 'static,
    {
        Self::Stream(Box::pin(body))
    }

    /// How many bytes there are, where that is known before reading.
    pub fn known_len(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint().exact(),
        }
    }

    /// All of it, up to `limit` bytes.
    ///
    /// # Errors
    /// [`BodyFault::TooLarge`] as soon as more than `limit` bytes came, else what broke the stream.
    pub async fn collect(self, limit: u64) -> Result<Bytes, BodyFault> {
        match self {
            Self::Empty => Ok(Bytes::new()),
            Self::Full(bytes) if bytes.len() as u64 <= limit => Ok(bytes),
            Self::Full(_) => Err(BodyFault::TooLarge { limit }),
            Self::Stream(mut stream) => {
                let mut whole = Vec::new();
                while let Some(frame) = stream.frame().await {
                    if let Ok(data) = frame?.into_data() {
                        if (whole.len() + data.len()) as u64 > limit {
                            return Err(BodyFault::TooLarge { limit });
                        }
                        whole.extend_from_slice(&data);
                    }
                }
                Ok(whole.into())
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// What one request leaves behind: one wide log event, written once, at the end.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When the gateway first saw the request. Read once; dates and ages are judged against it.
    pub opened: Timestamp,
    /// The request id, on every answer as `x-request-id`.
    pub id: String,
    /// The method as sent.
    pub method: Method,
    /// The path as sent.
    pub path: String,
    /// The authority as sent.
    pub host: String,
    /// The client's address, after `edge` was applied.
    pub ip: IpAddr,
    /// The route that took it; `None` where none did.
    pub route: Option<Arc<str>>,
    /// Who called; `None` where that was not asked, or not proved.
    pub caller: Option<Caller>,
    /// The status that went back.
    pub status: StatusCode,
    /// Reason code of a refusal ([`crate::refusal::Refusal::code`]), or of an early answer (`preflight`, `redirect`…).
    pub stopped_by: Option<&'static str>,
    /// The refusal's own words, for the log alone.
    pub detail: Option<String>,
    /// The branch it took, where there are several.
    pub drawn: Option<Drawn>,
    /// The upstream it went to.
    pub upstream: Option<Arc<str>>,
    /// How many times it was sent to an upstream.
    pub attempts: u32,
    /// From the first sending to the answer's headers.
    pub upstream_time: Option<Duration>,
    /// From [`Exchange::opened`] to the answer's headers.
    pub took: Duration,
    /// The plan that the caller's limits came from, where a limit is by plan.
    pub plan: Option<Arc<str>>,
    /// What each limit said, in the order asked.
    pub limits: Vec<LimitVerdict>,
    /// What policies in `mode: shadow` would have refused.
    pub shadowed: Shadowed,
    /// What the request owes its limits, once its answer tells how much.
    pub owed: Owed,
}

/// What one limit said of a request, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitVerdict {
    /// The limit's name.
    pub name: Arc<str>,
    /// Whether it let the request pass.
    pub admitted: bool,
    /// What was left after it, a lower bound.
    pub remaining: u64,
}

impl Exchange {
    /// Opens the record of one request.
    pub fn open(request: &Request, opened: Timestamp) -> Self {
        Self {
            opened,
            id: request.origin.id.clone(),
            method: request.method.clone(),
            path: request.path.clone(),
            host: request.origin.host.clone(),
            ip: request.origin.ip,
            route: None,
            caller: None,
            status: StatusCode::OK,
            stopped_by: None,
            detail: None,
            drawn: None,
            upstream: None,
            attempts: 0,
            upstream_time: None,
            took: Duration::ZERO,
            plan: None,
            limits: Vec::new(),
            shadowed: Shadowed::default(),
            owed: Owed::default(),
        }
    }
}

/// Work that need not delay the client: run by the door once the answer has been handed over and before the
/// environment is frozen, bounded by the deadline. Never spawned and forgotten: a frozen environment runs nothing.
#[derive(Default)]
pub struct After {
    jobs: Vec<Pin<Box<dyn Future<Output = ()> + Send + 'static>>>,
}

impl After {
    /// Adds a job.
    pub fn push(&mut self, job: impl Future<Output = ()> + Send + 'static) {
        self.jobs.push(Box::pin(job));
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Runs every job, one after the other, until `until` at the latest; what is not done by then is dropped.
    pub async fn run(self, until: Option<tokio::time::Instant>) {
        let all = async {
            for job in self.jobs {
                job.await;
            }
        };
        match until {
            Some(until) => drop(tokio::time::timeout_at(until, all).await),
            None => all.await,
        }
    }
}

impl fmt::Debug for After {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "After({} jobs)", self.jobs.len())
    }
}

/// What the gateway gives a door for one request.
#[derive(Debug)]
pub struct Served {
    /// The answer.
    pub response: Response,
    /// Its record, for the log.
    pub exchange: Exchange,
    /// What is still to do once the answer is out.
    pub after: After,
}
