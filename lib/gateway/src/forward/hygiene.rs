//! Header hygiene: what of a message's fields goes on to the next hop, both ways.
//!
//! An intermediary forwards end-to-end fields and makes its own of the others (RFC 9110 §7.6). What names the client,
//! the scheme or the host is written from [`Origin`], which is what the platform says, never from the client's copies.
//! Framing (`Content-Length`, `Transfer-Encoding`) of a request is the adapter's: it follows from the body alone, so
//! that no pair of lengths that disagree can reach an upstream.
//!
//! Servers that hand fields on as variables (CGI, WSGI) read `X_Real_IP` as `X-Real-IP`; so a name with underscores is
//! judged as if it had hyphens.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, FORWARDED, TE, TRANSFER_ENCODING, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::digits::push_ip;
use crate::exchange::{Origin, Scheme};
use crate::forward::Protocol;

/// The request's id, on every upstream request and every answer.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The milliseconds that the upstream has left, when the platform's deadline is known.
pub const X_REQUEST_DEADLINE_MS: HeaderName = HeaderName::from_static("x-request-deadline-ms");

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How many fields are written into a request here and after, so that the map grows once.
const WRITTEN: usize = 12;

/// The trailing part of our `Via` element (RFC 9110 §7.6.3): a pseudonym, so that no host is told.
const PSEUDONYM: &str = "tollgate";

/// Makes a client's fields into those of the upstream request.
///
/// Removed: hop-by-hop fields and whatever `Connection` names (RFC 9110 §7.6.1), `TE` but for `trailers`, `Host` and
/// framing, `Expect` (the door answers it), fields by which frameworks let a client change path or method behind the
/// gateway's back, and every field that only a gateway may write. Written: `Via` (appended), `Forwarded` (RFC 7239),
/// `X-Forwarded-*`, `x-request-id`, and `x-request-deadline-ms` where `remaining` is known.
///
/// Call it before fields of the gateway's own (identity, transforms) are added: what the client's `Connection` names
/// must not take those away.
pub fn outbound(headers: &mut HeaderMap, origin: &Origin, remaining: Option<Duration>) {
    headers.reserve(WRITTEN);
    let trailers = takes_trailers(headers);
    strip(headers, of_a_request);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    append_via(headers, origin.version);
    name_origin(headers, origin);
    if let Ok(id) = HeaderValue::from_str(&origin.id) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(remaining) = remaining {
        let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        headers.insert(X_REQUEST_DEADLINE_MS, HeaderValue::from(millis));
    }
}

/// Makes an upstream's fields into those of the answer: hop-by-hop fields and whatever `Connection` names removed,
/// `Via` appended, and no `Content-Length` where there may be none (204, RFC 9110 §8.6) or where the body was framed
/// otherwise (RFC 9112 §6.3). That of an answer to HEAD and of a 304 stays.
pub fn inbound(headers: &mut HeaderMap, status: StatusCode, spoken: Protocol) {
    if headers.contains_key(TRANSFER_ENCODING) || status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH);
    }
    strip(headers, hop_by_hop);
    let version = match spoken {
        Protocol::Http1 | Protocol::Auto => "1.1",
        Protocol::Http2 => "2.0",
    };
    append_via(headers, version);
}

/// Removes what `unwanted` says and what `Connection` names, in one pass over the names.
fn strip(headers: &mut HeaderMap, unwanted: fn(&str) -> bool) {
    let mut gone: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let options = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        gone.extend(options.filter_map(|option| HeaderName::from_bytes(option).ok()));
    }
    for name in headers.keys() {
        let text = name.as_str();
        if unwanted(text) || (text.contains('_') && unwanted(&text.replace('_', "-"))) {
            gone.push(name.clone());
        }
    }
    for name in gone {
        headers.remove(name);
    }
}

fn hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-authentication-info"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

fn of_a_request(name: &str) -> bool {
    hop_by_hop(name)
        || matches!(
            name,
            "host"
                | "content-length"
                | "expect"
                | "forwarded"
                | "x-real-ip"
                | "x-original-url"
                | "x-rewrite-url"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-request-id"
                | "x-request-deadline-ms"
        )
        || name.starts_with("x-forwarded-")
}

/// Whether `TE` has the member `trailers` (RFC 9110 §10.1.4), the one that can be forwarded.
fn takes_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

fn append_via(headers: &mut HeaderMap, version: &str) {
    let ours = match (version, headers.contains_key(VIA)) {
        ("1.1", false) => HeaderValue::from_static("1.1 tollgate"),
        ("2.0", false) => HeaderValue::from_static("2.0 tollgate"),
        _ => {
            let mut line = Vec::new();
            for value in headers.get_all(VIA) {
                line.extend_from_slice(value.as_bytes());
                line.extend_from_slice(b", ");
            }
            line.extend_from_slice(version.as_bytes());
            line.push(b' ');
            line.extend_from_slice(PSEUDONYM.as_bytes());
            let Ok(line) = HeaderValue::from_maybe_shared(Bytes::from(line)) else { return };
            line
        }
    };
    headers.insert(VIA, ours);
}

/// Writes `Forwarded` and cuts the other fields' values out of the same bytes.
fn name_origin(headers: &mut HeaderMap, origin: &Origin) {
    let mut line = String::with_capacity(64 + origin.host.len());
    let address = push_address(&mut line, origin);
    let host = push_host(&mut line, &origin.host);
    line.push_str(";proto=");
    line.push_str(origin.scheme.as_str());

    let line = Bytes::from(line);
    let mut set = |name: HeaderName, part: Range<usize>| {
        if let Ok(value) = HeaderValue::from_maybe_shared(line.slice(part)) {
            headers.insert(name, value);
        }
    };
    set(FORWARDED, 0..line.len());
    set(X_FORWARDED_FOR, address);
    if let Some(host) = host {
        let port = port_of(&origin.host).map(|at| host.start + at..host.end);
        set(X_FORWARDED_HOST, host);
        if let Some(port) = port {
            set(X_FORWARDED_PORT, port);
        }
    }
    let (proto, default_port) = match origin.scheme {
        Scheme::Http => ("http", "80"),
        Scheme::Https => ("https", "443"),
    };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    headers.entry(X_FORWARDED_PORT).or_insert(HeaderValue::from_static(default_port));
}

/// Writes `for=`, an IPv6 address quoted and in brackets (RFC 7239 §6); returns where the bare address stands.
fn push_address(line: &mut String, origin: &Origin) -> Range<usize> {
    let (open, close) = if origin.ip.is_ipv6() { ("for=\"[", "]\"") } else { ("for=", "") };
    line.push_str(open);
    let start = line.len();
    push_ip(line, origin.ip);
    let end = line.len();
    line.push_str(close);
    start..end
}

/// Writes `host=`, quoted unless it is a token; returns where the bare host stands. A host that no quoting makes safe
/// is left out.
fn push_host(line: &mut String, host: &str) -> Option<Range<usize>> {
    if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        return None;
    }
    let token = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    line.push_str(if token { ";host=" } else { ";host=\"" });
    let start = line.len();
    line.push_str(host);
    let end = line.len();
    if !token {
        line.push('"');
    }
    Some(start..end)
}

/// Where in an authority the digits of its port begin.
fn port_of(authority: &str) -> Option<usize> {
    let (_, port) = authority.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| authority.len() - port.len())
}

#[cfg(test)]
mod tests;
