//! From hyper's request to the core's.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tollgate::exchange::{Body, BodyFault, Origin, Request, Scheme};
use tollgate::refusal::Refusal;

use super::LocalSettings;

/// Translates a request; the peer's address and the name of our socket are what the platform says here.
///
/// # Errors
/// [`Refusal::Malformed`] and [`Refusal::UriTooLong`]: what is not safe to be taken for a request.
pub(super) fn translate(
    parts: Parts,
    incoming: Incoming,
    (id, seed): (String, u64),
    (ip, local): (IpAddr, SocketAddr),
    settings: &LocalSettings,
) -> Result<Request, Refusal> {
    let malformed = |why| Refusal::Malformed { why };
    if parts.method == Method::CONNECT {
        return Err(malformed("CONNECT asks for a tunnel"));
    }
    let host = host_of(&parts, local).map_err(malformed)?;
    let Some(target) = parts.uri.path_and_query() else { return Err(malformed("the target has no path")) };
    if target.as_str().len() > settings.max_uri {
        return Err(Refusal::UriTooLong { limit: settings.max_uri });
    }
    if target.path() == "*" && parts.method != Method::OPTIONS {
        return Err(malformed("the target `*` is for OPTIONS alone"));
    }
    let version = match parts.version {
        Version::HTTP_09 | Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2.0",
        _ => "1.1",
    };
    let body = if incoming.is_end_stream() {
        Body::Empty
    } else {
        Body::stream(Patient { incoming, stall: settings.body_stall, bell: None })
    };
    Ok(Request {
        path: target.path().to_owned(),
        query: target.query().map(str::to_owned),
        method: parts.method,
        headers: parts.headers,
        body,
        origin: Origin {
            ip,
            scheme: Scheme::Http,
            host,
            version,
            id,
            seed,
            deadline: None,
            front_time: None,
            client_certificate: None,
            iam: None,
        },
    })
}

/// The authority asked for: that of an absolute target, else the one `Host` (RFC 9112 §3.2).
fn host_of(parts: &Parts, local: SocketAddr) -> Result<String, &'static str> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err("there are several Host fields");
    }
    let field = match field {
        Some(field) => Some(authority(field.as_bytes()).ok_or("the Host field names no host")?),
        None => None,
    };
    if let Some(target) = parts.uri.authority() {
        if !parts.uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https")) {
            return Err("the target has no scheme of ours");
        }
        let target = authority(target.as_str().as_bytes()).ok_or("the target names no host")?;
        return match (field, parts.version) {
            (None, Version::HTTP_11) => Err("there is no Host field"),
            // One request for two hosts; over HTTP/1 the target wins (RFC 9112 §3.2.2).
            (Some(field), Version::HTTP_2) if field != target => Err("Host and :authority differ"),
            _ => Ok(target),
        };
    }
    match field {
        Some(field) => Ok(field),
        None if parts.version == Version::HTTP_10 => Ok(local.to_string()),
        None => Err("there is no Host field"),
    }
}

/// `host[:port]` in lower case; nothing where it is empty, ill-formed, or holds user information.
fn authority(text: &[u8]) -> Option<String> {
    let authority = Authority::try_from(text).ok()?;
    let host = authority.host();
    // User information would stand before the host.
    let port = authority.as_str().strip_prefix(host).filter(|_| !host.is_empty())?;
    let digits = port.is_empty() || port.strip_prefix(':')?.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| authority.as_str().to_ascii_lowercase())
}

/// A request's body, for as long as it keeps coming.
struct Patient {
    incoming: Incoming,
    stall: Duration,
    bell: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.bell = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyFault::Broken(Box::new(error)))));
        }
        let stall = this.stall;
        let bell = this.bell.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + stall)));
        bell.as_mut().poll(cx).map(|()| Some(Err(BodyFault::Stalled(stall))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
