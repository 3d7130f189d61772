//! An event of a function URL (payload format 2.0) made into a request.
//!
//! Read by its shape and borrowed: `version` is `2.0`, there is a `rawPath` and a `requestContext.http.method`, or it is
//! no HTTP request and is refused whole. Path and query are taken byte for byte and never pass through a URL parser,
//! which would normalise the one and panic callers on the other. What is odd in a field costs that field or gives the
//! client an answer, never the invocation.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use tollgate::exchange::{Body, Origin, Request, Scheme};
use tollgate::refusal::Refusal;

/// An event that is no HTTP request: an authorizer's, a queue's, an older payload format, or no JSON at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event is not an HTTP request of payload format 2.0: {why}")]
pub struct NotHttp {
    /// What is missing, for the log: it names no content of the event.
    pub why: &'static str,
}

/// What the Runtime API, rather than the event, says of an invocation.
#[derive(Debug, Clone, Default)]
pub(crate) struct Invocation {
    /// Stands in where the event has no request id.
    pub(crate) id: String,
    /// When the answer must have been made.
    pub(crate) answer_by: Option<tokio::time::Instant>,
}

/// One event, read.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// The request.
    pub(crate) request: Request,
    /// Why it must not go any further, where something in it cannot be taken: still an HTTP answer.
    pub(crate) refusal: Option<Refusal>,
    /// Whether it came by a function URL (or an emulator's), the only place that takes a streamed answer.
    pub(crate) streams: bool,
}

/// Reads one event.
///
/// # Errors
/// [`NotHttp`] where its shape is not that of an HTTP request in payload format 2.0.
pub(crate) fn read(event: &[u8], invocation: Invocation) -> Result<Incoming, NotHttp> {
    let event: Event<'_> = serde_json::from_slice(event).map_err(|fault| NotHttp {
        why: if fault.is_data() { "a field is not as it should be" } else { "it is not JSON" },
    })?;
    if event.version.as_deref() != Some("2.0") {
        return Err(NotHttp { why: "`version` is not 2.0" });
    }
    if event.route_arn.is_some() || event.identity_source.is_some() {
        return Err(NotHttp { why: "it asks an authorizer" });
    }
    let path = event.raw_path.ok_or(NotHttp { why: "there is no `rawPath`" })?;
    let context = event.request_context.ok_or(NotHttp { why: "there is no `requestContext`" })?;
    let http = context.http.ok_or(NotHttp { why: "there is no `requestContext.http`" })?;
    let method = http.method.as_ref().and_then(|method| Method::from_bytes(&method.0).ok());
    let method = method.ok_or(NotHttp { why: "there is no method" })?;

    let (path, bad_path) = path_of(path);
    let query = event.raw_query_string.map(Raw::text).filter(|query| !query.is_empty());
    let mut headers = event.headers.unwrap_or_default().0;
    put_cookies(&mut headers, event.cookies.as_deref().unwrap_or_default());
    let (body, bad_body) = body(event.body, event.is_base64_encoded.unwrap_or(false));
    let domain = context.domain_name.map(Raw::text).unwrap_or_default();
    let streams = domain == "localhost" || (domain.ends_with(".on.aws") && domain.contains(".lambda-url."));
    let id = match context.request_id.map(Raw::text) {
        Some(id) if !id.is_empty() => id,
        _ => invocation.id,
    };
    let origin = Origin {
        ip: http.source_ip.and_then(|ip| ip.text().parse().ok()).unwrap_or(UNKNOWN),
        scheme: Scheme::Https,
        host: host(&headers, &domain),
        version: version(http.protocol.as_ref()),
        seed: seed(&id),
        id,
        deadline: invocation.answer_by,
    };
    let request = Request { method, path, query, headers, body, origin };
    Ok(Incoming { request, refusal: bad_path.or(bad_body), streams })
}

/// The address where the event names none that can be read: no allow list has it.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn path_of(raw: Raw<'_>) -> (String, Option<Refusal>) {
    let path = raw.text();
    if path.is_empty() {
        return ("/".to_owned(), None);
    }
    let refusal = (!path.starts_with('/') && path != "*")
        .then(|| Refusal::BadPath { path: path.clone(), why: "it does not start with `/`" });
    (path, refusal)
}

fn body(body: Option<Raw<'_>>, encoded: bool) -> (Body, Option<Refusal>) {
    let bytes = match body {
        None => return (Body::Empty, None),
        Some(Raw(bytes)) if encoded => match STANDARD.decode(bytes) {
            Ok(bytes) => bytes,
            Err(_) => return (Body::Empty, Some(Refusal::BodyBroken)),
        },
        Some(Raw(bytes)) => bytes.into_owned(),
    };
    (if bytes.is_empty() { Body::Empty } else { Body::Full(Bytes::from(bytes)) }, None)
}

/// One `cookie` field of all cookies, as HTTP/1.1 sends them (RFC 6265 §5.4): the platform takes the field apart.
fn put_cookies(headers: &mut HeaderMap, cookies: &[Option<Raw<'_>>]) {
    let pairs: Vec<&[u8]> = cookies.iter().flatten().map(|cookie| &*cookie.0).filter(|pair| !pair.is_empty()).collect();
    if !pairs.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&pairs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, value);
    }
}

fn host(headers: &HeaderMap, domain: &str) -> String {
    let host = headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()));
    match host {
        Some(host) if !host.is_empty() => host.to_ascii_lowercase(),
        _ => domain.to_ascii_lowercase(),
    }
}

fn version(protocol: Option<&Raw<'_>>) -> &'static str {
    match protocol.map(|protocol| &*protocol.0) {
        Some(b"HTTP/1.0") => "1.0",
        Some(b"HTTP/2.0" | b"HTTP/2") => "2.0",
        Some(b"HTTP/3.0" | b"HTTP/3") => "3.0",
        _ => "1.1",
    }
}

/// FNV-1a of the id, mixed once more so that ids which differ in their last letters differ in every bit. Written out,
/// not the standard library's hash, because a request must draw the same lots when it is replayed by another build.
pub(crate) fn seed(id: &str) -> u64 {
    let hash = id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    #[serde(borrow)]
    version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    raw_path: Option<Raw<'a>>,
    #[serde(borrow)]
    raw_query_string: Option<Raw<'a>>,
    #[serde(borrow)]
    cookies: Option<Vec<Option<Raw<'a>>>>,
    headers: Option<Headers>,
    #[serde(borrow)]
    request_context: Option<Context<'a>>,
    #[serde(borrow)]
    body: Option<Raw<'a>>,
    is_base64_encoded: Option<bool>,
    route_arn: Option<IgnoredAny>,
    identity_source: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    #[serde(borrow)]
    domain_name: Option<Raw<'a>>,
    #[serde(borrow)]
    request_id: Option<Raw<'a>>,
    #[serde(borrow)]
    http: Option<Http<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    #[serde(borrow)]
    method: Option<Raw<'a>>,
    #[serde(borrow)]
    protocol: Option<Raw<'a>>,
    #[serde(borrow)]
    source_ip: Option<Raw<'a>>,
}

/// A JSON string as bytes, borrowed where nothing in it is escaped. Bytes rather than text, so that neither broken
/// UTF-8 nor half a surrogate pair in what a client sent can cost the whole event.
struct Raw<'a>(Cow<'a, [u8]>);

impl Raw<'_> {
    /// As text, percent-encoding whatever is not UTF-8: in a path or a query that is the same thing written otherwise.
    fn text(self) -> String {
        match String::from_utf8(self.0.into_owned()) {
            Ok(text) => text,
            Err(broken) => {
                let mut text = String::with_capacity(broken.as_bytes().len() + 16);
                for chunk in broken.as_bytes().utf8_chunks() {
                    text.push_str(chunk.valid());
                    for byte in chunk.invalid() {
                        text.push_str(&format!("%{byte:02X}"));
                    }
                }
                text
            }
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Raw(Cow::Borrowed(bytes)))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Raw(Cow::Owned(bytes.to_vec())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.visit_borrowed_bytes(text.as_bytes())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_bytes(text.as_bytes())
    }
}

/// The event's fields. One whose name or value HTTP does not allow is left out: no client can send it.
#[derive(Default)]
struct Headers(HeaderMap);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadersVisitor)
    }
}

struct HeadersVisitor;

impl<'de> Visitor<'de> for HeadersVisitor {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of header fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut headers = HeaderMap::with_capacity(32);
        while let Some((name, value)) = map.next_entry::<Raw<'_>, Option<Raw<'_>>>()? {
            if let Some(value) = value
                && let Ok(name) = HeaderName::from_bytes(&name.0)
                && let Ok(value) = HeaderValue::from_bytes(&value.0)
            {
                headers.try_append(name, value).map_err(|_| A::Error::custom("too many fields"))?;
            }
        }
        Ok(Headers(headers))
    }
}

#[cfg(test)]
mod tests;
