//! What methods send on as fields: names that upstreams may take for the gateway's word, and clients cannot need.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::asserted::{Asserted, same};
use crate::auth::Entry;
use crate::exchange::{Body, Origin, Request, Scheme};
use crate::transform::headers::reserved;

use super::super::Reader;
use super::super::files::Document;
use super::super::problem::Place;
use super::super::tree::{Node, Value};

/// Fields that are the client's credentials, or written by the gateway of what the platform says.
const OTHERS: [&str; 9] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "set-cookie",
];

impl Reader<'_> {
    /// Judges the fields that the entries of one file's `auth` send on.
    pub(crate) fn check_forwards(&mut self, document: &Document) {
        let Some(Node { value: Value::Map(entries), .. }) = document.node.get("auth") else { return };
        for (key, node) in entries {
            let Some(Some(entry)) = self.auth.get(&key.name) else { continue };
            let names = entry.method.forwards();
            for (index, name) in names.iter().enumerate() {
                let place = written(node, name).unwrap_or(key.place);
                if let Some(message) = self.wrong_forward(name, names.get(..index).unwrap_or_default()) {
                    self.problems.error(place, message);
                }
            }
        }
    }

    fn wrong_forward(&self, name: &HeaderName, before: &[HeaderName]) -> Option<String> {
        let like = |other: &HeaderName| same(other.as_str().as_bytes(), name.as_str().as_bytes());
        if let Some(other) = before.iter().find(|other| like(other)) {
            return Some(match other == name {
                true => format!("two values are sent on as the header \"{name}\""),
                false => format!("upstreams may take the headers \"{other}\" and \"{name}\" for one"),
            });
        }
        let with_hyphens = name.as_str().replace('_', "-");
        let owned = HeaderName::try_from(&with_hyphens).is_ok_and(|name| reserved(&name));
        if owned || OTHERS.contains(&with_hyphens.as_str()) {
            return Some(format!(
                "the header \"{name}\" is the client's credentials or the gateway's own: send this on as another"
            ));
        }
        // Of a certificate's fields the door and the edge take what they need before.
        let always = Asserted::new([]).holds(name.as_str());
        let reader = self.auth.values().flatten().find(|entry| !always && reads(entry, name))?;
        Some(format!(
            "\"{}\" reads its credential from the header \"{name}\", which no client may send once it is sent on",
            reader.name
        ))
    }
}

/// Whether a method finds its credential in this field: it takes off what it reads, and nothing else.
fn reads(entry: &Entry, name: &HeaderName) -> bool {
    let origin = Origin {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        scheme: Scheme::Https,
        host: String::new(),
        version: "1.1",
        id: String::new(),
        seed: 0,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    let mut request = Request {
        method: http::Method::GET,
        path: "/".to_owned(),
        query: None,
        headers: HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]),
        body: Body::Empty,
        origin,
    };
    entry.method.strip(&mut request);
    request.headers.is_empty()
}

/// Where an entry writes this name as a value of its `forward`.
fn written(entry: &Node, name: &HeaderName) -> Option<Place> {
    let Value::Map(methods) = &entry.value else { return None };
    methods.iter().filter_map(|(_, method)| method.get("forward")).find_map(|forward| {
        let Value::Map(fields) = &forward.value else { return None };
        let (_, node) = fields
            .iter()
            .rfind(|(_, node)| matches!(&node.value, Value::Text(text) if text.eq_ignore_ascii_case(name.as_str())))?;
        Some(node.place)
    })
}
