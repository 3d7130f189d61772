//! An event of a front door made into a request: a function URL's, an API Gateway HTTP API's (payload formats 2.0 and
//! 1.0), a REST API's, an Application Load Balancer's.
//!
//! Read by its shape and borrowed; what has not the shape of one of these is no HTTP request and is refused whole. Path
//! and query never pass through a URL parser, which would normalise the one and panic callers on the other. Where the
//! platform has decoded what the client sent, it is encoded again, so that what comes out is a path and a query. What is
//! odd in a field costs that field or gives the client an answer, never the invocation.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};
use tollgate::clock::Timestamp;
use tollgate::exchange::{Body, ClientCert, IamIdentity, Origin, Request, Scheme};
use tollgate::refusal::Refusal;

use self::raw::{Listed, Pairs, Raw, Single};
use self::shape::{Event, Millis};

mod identity;
mod raw;
mod shape;

pub(crate) use shape::Front;

/// An event that is no HTTP request: an authorizer's, a queue's, a WebSocket's, or no JSON at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the event is not an HTTP request of a function URL, an API Gateway or an Application Load Balancer: {why}")]
pub struct NotHttp {
    /// What it is instead or what it lacks, for the log: it names no content of the event.
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
    /// How it came, and so how it is answered.
    pub(crate) front: Front,
}

/// Reads one event.
///
/// # Errors
/// [`NotHttp`] where its shape is not that of an HTTP request of one of the doors.
pub(crate) fn read(event: &[u8], invocation: Invocation) -> Result<Incoming, NotHttp> {
    let mut event: Event<'_> = serde_json::from_slice(event).map_err(|fault| NotHttp {
        why: if fault.is_data() { "a field is not as it should be" } else { "it is not JSON" },
    })?;
    let front = event.front()?;
    let mut headers = fields(&mut event)?;
    let query = query(front, &mut event);
    let (body, bad_body) = body(event.body.take(), event.is_base64_encoded.unwrap_or(false));
    let said = Said::of(front, event, &headers)?;
    let (path, bad_path) = path_of(front, said.path, &said.stage);
    one_cookie_field(&mut headers, &said.cookies);
    let id = if said.id.is_empty() { invocation.id } else { said.id };
    let origin = Origin {
        ip: said.ip.unwrap_or(UNKNOWN),
        scheme: said.scheme,
        host: host(&headers, &said.domain),
        version: said.version,
        seed: seed(&id),
        id,
        deadline: invocation.answer_by,
        front_time: said.time,
        client_certificate: said.client_certificate,
        iam: said.iam,
    };
    let request = Request { method: said.method, path, query, headers, body, origin };
    Ok(Incoming { request, refusal: bad_path.or(bad_body), front })
}

/// The address where the event names none that can be read: no allow list has it.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// What the two families of events say in different places.
struct Said<'a> {
    method: Method,
    path: Raw<'a>,
    stage: String,
    ip: Option<IpAddr>,
    scheme: Scheme,
    version: &'static str,
    domain: String,
    id: String,
    time: Option<Timestamp>,
    cookies: Vec<Option<Raw<'a>>>,
    client_certificate: Option<ClientCert>,
    iam: Option<IamIdentity>,
}

impl<'a> Said<'a> {
    fn of(front: Front, event: Event<'a>, headers: &HeaderMap) -> Result<Self, NotHttp> {
        let lacks = |why| NotHttp { why };
        let mut context = event.request_context.ok_or(lacks("there is no `requestContext`"))?;
        let (client_certificate, iam) = identity::of(front, &mut context, headers);
        let parsed = |ip: Raw<'_>| ip.text().parse().ok();
        let (method, path, protocol, ip) = match front {
            Front::FunctionUrl | Front::HttpApi => {
                let path = event.raw_path.ok_or(lacks("there is no `rawPath`"))?;
                let http = context.http.ok_or(lacks("there is no `requestContext.http`"))?;
                (http.method, path, http.protocol, http.source_ip.and_then(parsed))
            }
            Front::HttpApiV1 | Front::RestApi => {
                let path = event.path.ok_or(lacks("there is no `path`"))?;
                let ip = context.identity.and_then(|identity| identity.source_ip);
                (event.http_method, path, context.protocol, ip.and_then(parsed))
            }
            Front::LoadBalancer { .. } => {
                let path = event.path.ok_or(lacks("there is no `path`"))?;
                (event.http_method, path, None, last_hop(headers))
            }
        };
        let method = method.and_then(|method| Method::from_bytes(&method.0).ok());
        Ok(Self {
            method: method.ok_or(lacks("there is no method"))?,
            path,
            stage: context.stage.map(Raw::text).unwrap_or_default(),
            ip,
            scheme: scheme(front, headers),
            version: version(protocol.as_ref()),
            domain: context.domain_name.map(Raw::text).unwrap_or_default(),
            id: context.request_id.map(Raw::text).unwrap_or_default(),
            time: context.time_epoch.or(context.request_time_epoch).and_then(|Millis(time)| time),
            cookies: event.cookies.unwrap_or_default(),
            client_certificate,
            iam,
        })
    }
}

/// An API Gateway has every name in both of its maps, and only the one with lists has all values.
fn every_value<'a>(listed: Option<Listed<'a>>, single: Option<Single<'a>>) -> Pairs<'a> {
    match (listed, single) {
        (Some(Listed(pairs)), _) if !pairs.0.is_empty() => pairs,
        (_, Some(Single(pairs))) => pairs,
        (_, None) => Pairs(Vec::new()),
    }
}

/// The event's fields. One whose name or value HTTP does not allow is left out: no client can send it.
fn fields(event: &mut Event<'_>) -> Result<HeaderMap, NotHttp> {
    let pairs = every_value(event.multi_value_headers.take(), event.headers.take());
    let mut headers = HeaderMap::with_capacity(32);
    for (name, value) in pairs.0 {
        if let Some(value) = value
            && let Ok(name) = HeaderName::from_bytes(&name.0)
            && let Ok(value) = HeaderValue::from_bytes(&value.0)
        {
            headers.try_append(name, value).map_err(|_| NotHttp { why: "it has too many fields" })?;
        }
    }
    Ok(headers)
}

/// The query. API Gateway's payload format 1.0 has it decoded, a load balancer as it was sent, both taken apart at `&`
/// and `=`; a parameter without `=` cannot be told from one with an empty value there.
fn query(front: Front, event: &mut Event<'_>) -> Option<String> {
    if matches!(front, Front::FunctionUrl | Front::HttpApi) {
        return event.raw_query_string.take().map(Raw::text).filter(|query| !query.is_empty());
    }
    let pairs = every_value(event.multi_value_query_string_parameters.take(), event.query_string_parameters.take());
    let decoded = !matches!(front, Front::LoadBalancer { .. });
    let mut query = String::new();
    for (name, value) in pairs.0 {
        if !query.is_empty() {
            query.push('&');
        }
        for (part, end) in [(Some(name), "="), (value, "")] {
            match part {
                Some(part) if decoded => query.extend(percent_encode(&part.0, QUERY)),
                Some(part) => query.push_str(&part.text()),
                None => {}
            }
            query.push_str(end);
        }
    }
    (!query.is_empty()).then_some(query)
}

/// What RFC 3986 §2.3 calls unreserved stays.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What a path that was decoded cannot hold as it is.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

fn path_of(front: Front, raw: Raw<'_>, stage: &str) -> (String, Option<Refusal>) {
    let path = match front {
        Front::HttpApi | Front::HttpApiV1 => percent_encode(without_stage(&raw.0, stage), PATH).to_string(),
        Front::FunctionUrl | Front::RestApi | Front::LoadBalancer { .. } => raw.text(),
    };
    if path.is_empty() {
        return ("/".to_owned(), None);
    }
    let refusal = (!path.starts_with('/') && path != "*")
        .then(|| Refusal::BadPath { path: path.clone(), why: "it does not start with `/`" });
    (path, refusal)
}

/// An HTTP API puts the stage before every path, custom domains included, unless it is `$default`.
fn without_stage<'p>(path: &'p [u8], stage: &str) -> &'p [u8] {
    if stage.is_empty() || stage == "$default" {
        return path;
    }
    match path.strip_prefix(b"/").and_then(|path| path.strip_prefix(stage.as_bytes())) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => rest,
        _ => path,
    }
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

/// One `cookie` field of all cookies, as HTTP/1.1 sends them (RFC 6265 §5.4): payload format 2.0 takes the field apart,
/// and a client of HTTP/2 may send it in parts (RFC 9113 §8.2.3).
fn one_cookie_field(headers: &mut HeaderMap, cookies: &[Option<Raw<'_>>]) {
    if cookies.is_empty() && headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let listed = cookies.iter().flatten().map(|cookie| &*cookie.0);
    let pairs: Vec<&[u8]> = match cookies.is_empty() {
        true => headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect(),
        false => listed.filter(|pair| !pair.is_empty()).collect(),
    };
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

/// The address that the load balancer itself took the request from: it appends it to `X-Forwarded-For`, with its port
/// where it is told to. What stands before it is the client's word.
fn last_hop(headers: &HeaderMap) -> Option<IpAddr> {
    let hops = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    let last = hops.rsplit(',').next()?.trim();
    let bare = last.strip_prefix('[').and_then(|last| last.strip_suffix(']')).unwrap_or(last);
    bare.parse().ok().or_else(|| Some(last.parse::<SocketAddr>().ok()?.ip()))
}

/// API Gateway and function URLs speak TLS alone; a load balancer says which of its listeners it was, in a field that it
/// overwrites.
fn scheme(front: Front, headers: &HeaderMap) -> Scheme {
    let balanced = matches!(front, Front::LoadBalancer { .. });
    if balanced && headers.get("x-forwarded-proto").is_none_or(|scheme| scheme != "https") {
        Scheme::Http
    } else {
        Scheme::Https
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

#[cfg(test)]
mod tests;
