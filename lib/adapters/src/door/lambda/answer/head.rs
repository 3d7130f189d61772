//! The JSON of an answer, as each door takes it.
//!
//! A function URL and an HTTP API with payload format 2.0 take one value a name, and cookies apart. API Gateway's format
//! 1.0 takes lists. A load balancer takes lists where its target group has multi-value headers, one value a name where
//! it has not, and wants the status in words too.

use std::borrow::Cow;
use std::fmt::Write;

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::Front;

/// An answer without its content.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) front: Front,
    pub(super) status: StatusCode,
    pub(super) headers: &'a HeaderMap,
}

impl Head<'_> {
    /// With its content, which is base64 where `encoded`.
    pub(super) fn with(self, body: &str, encoded: bool) -> String {
        to_json(&Answer { head: self, body: Some((body, encoded)) })
    }

    /// Without, as a streamed answer begins.
    pub(super) fn alone(self) -> String {
        to_json(&Answer { head: self, body: None })
    }
}

fn to_json(answer: &Answer<'_>) -> String {
    // Only a map with keys that are no strings, or a `Serialize` that says so, makes this fail; neither is here.
    serde_json::to_string(answer).unwrap_or_default()
}

struct Answer<'a> {
    head: Head<'a>,
    body: Option<(&'a str, bool)>,
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Head { front, status, headers } = self.head;
        let mut answer = serializer.serialize_map(None)?;
        answer.serialize_entry("statusCode", &status.as_u16())?;
        match front {
            Front::FunctionUrl | Front::HttpApi => {
                answer.serialize_entry("headers", &Joined { headers, cookies: false })?;
                answer.serialize_entry("cookies", &Values(headers, &SET_COOKIE))?;
            }
            Front::HttpApiV1 | Front::RestApi => answer.serialize_entry("multiValueHeaders", &Listed(headers))?,
            Front::LoadBalancer { lists } => {
                let reason = status.canonical_reason().unwrap_or("Unnamed");
                answer.serialize_entry("statusDescription", &format_args!("{} {reason}", status.as_str()))?;
                match lists {
                    true => answer.serialize_entry("multiValueHeaders", &Listed(headers))?,
                    false => answer.serialize_entry("headers", &Joined { headers, cookies: true })?,
                }
            }
        }
        if let Some((body, encoded)) = self.body {
            answer.serialize_entry("body", body)?;
            answer.serialize_entry("isBase64Encoded", &encoded)?;
        }
        answer.end()
    }
}

/// One value a name: joining with a comma is what RFC 9110 §5.3 allows for all fields but `set-cookie`.
struct Joined<'a> {
    headers: &'a HeaderMap,
    /// Whether cookies stand among the fields.
    cookies: bool,
}

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for name in self.headers.keys().filter(|name| *name != SET_COOKIE) {
            let mut values = self.headers.get_all(name).iter().map(text);
            let first = values.next().unwrap_or_default();
            let joined = values.fold(first, |mut joined, value| {
                let _infallible = write!(joined.to_mut(), ", {value}");
                joined
            });
            map.serialize_entry(name.as_str(), &joined)?;
        }
        if self.cookies {
            for (nth, cookie) in self.headers.get_all(SET_COOKIE).iter().enumerate() {
                map.serialize_entry(&set_cookie(nth), &text(cookie))?;
            }
        }
        map.end()
    }
}

/// The name of the nth cookie's field in a map that has one value a name: the same name to HTTP, which does not tell
/// upper from lower case, and 512 names to JSON. Cookies past those would be lost, and no browser takes so many.
fn set_cookie(nth: usize) -> String {
    let letters = SET_COOKIE.as_str().char_indices().filter(|(_, letter)| letter.is_ascii_alphabetic());
    let upper: Vec<usize> = letters.enumerate().filter(|(bit, _)| nth >> bit & 1 == 1).map(|(_, (at, _))| at).collect();
    let case = |(at, letter): (usize, char)| if upper.contains(&at) { letter.to_ascii_uppercase() } else { letter };
    SET_COOKIE.as_str().char_indices().map(case).collect()
}

/// Every value of every name.
struct Listed<'a>(&'a HeaderMap);

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name.as_str(), Values(self.0, name))))
    }
}

/// Every value of one name.
struct Values<'a>(&'a HeaderMap, &'a HeaderName);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for value in self.0.get_all(self.1) {
            list.serialize_element(&text(value))?;
        }
        list.end()
    }
}

/// A field's value as text. What is not UTF-8 is ISO-8859-1, as field values once were (RFC 9110 §5.5): each byte has
/// its character, so none is lost.
fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => text.into(),
        Err(_) => value.as_bytes().iter().map(|byte| char::from(*byte)).collect::<String>().into(),
    }
}
