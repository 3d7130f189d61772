//! What an expression may read of one request.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::auth::Caller;
use crate::clock::Timestamp;
use crate::exchange::Scheme;

/// Everything an expression may read of one request, borrowed from it.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The normalised path.
    pub path: &'a str,
    /// The query as sent.
    pub query: Option<&'a str>,
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// The authority asked for.
    pub host: &'a str,
    /// The request's id.
    pub id: &'a str,
    /// The client's address.
    pub ip: IpAddr,
    /// The client's scheme.
    pub scheme: Scheme,
    /// What the path captured.
    pub params: &'a Params,
    /// Who calls, once that is known.
    pub caller: Option<&'a Caller>,
    /// The route's name.
    pub route: &'a str,
    /// The upstream's answer, once there is one.
    pub response: Option<AnswerFacts<'a>>,
    /// When the request came.
    pub now: Timestamp,
}

/// What an expression may read of an answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerFacts<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its fields.
    pub headers: &'a HeaderMap,
}

/// What a path captured, decoded, in the order of the path.
#[derive(Debug, Clone, Default)]
pub struct Params(Vec<Param>);

#[derive(Debug, Clone)]
struct Param {
    name: Arc<str>,
    value: String,
    rest: bool,
}

impl Params {
    /// Of a path that captures nothing.
    pub const NONE: Self = Self(Vec::new());

    /// Adds a capture of one segment.
    pub fn push(&mut self, name: Arc<str>, value: String) {
        self.0.push(Param { name, value, rest: false });
    }

    /// Adds a capture of several segments, whose slashes are kept when it is written into a path.
    pub fn push_rest(&mut self, name: Arc<str>, value: String) {
        self.0.push(Param { name, value, rest: true });
    }

    /// The value of a capture.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|param| *param.name == *name).map(|param| param.value.as_str())
    }

    /// Whether a capture is of several segments.
    pub(super) fn is_rest(&self, name: &str) -> bool {
        self.0.iter().any(|param| *param.name == *name && param.rest)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|param| (&*param.name, param.value.as_str()))
    }
}

impl<'a> Facts<'a> {
    /// The first value of a query parameter, decoded: `+` is a space.
    pub fn query_value(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// All parameters of the query, decoded, in order.
    pub(super) fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        self.query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (form_decoded(name), form_decoded(value))
        })
    }

    /// The first cookie of a name (RFC 6265 §5.4), its value as sent.
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// All cookies, in order.
    pub(super) fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.headers
            .get_all(http::header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
    }
}

/// The values of a field, joined (RFC 9110 §5.2); `None` where there is none. What is no UTF-8 is replaced.
pub(super) fn field<'a>(fields: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    let mut values = fields.get_all(name).iter();
    let first = String::from_utf8_lossy(values.next()?.as_bytes());
    Some(
        values.fold(first, |joined, value| {
            Cow::Owned(format!("{joined}, {}", String::from_utf8_lossy(value.as_bytes())))
        }),
    )
}

fn form_decoded(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        return Cow::Owned(percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned());
    }
    percent_decode_str(text).decode_utf8_lossy()
}
