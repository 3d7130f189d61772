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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::auth::{Caller, Challenge, Denied, Method, Presented};
    use crate::config::{Files, Host, compile};
    use crate::exchange::After;
    use crate::forward::BoxFuture;
    use crate::gateway::World;

    /// A method that reads its credential from `x-token` and sends these on.
    #[derive(Debug)]
    struct Sends(Vec<HeaderName>);

    impl Method for Sends {
        fn identify<'a>(
            &'a self,
            _: &'a Presented<'a>,
            _: &'a World,
            _: &'a mut After,
        ) -> BoxFuture<'a, Result<Caller, Denied>> {
            Box::pin(std::future::ready(Err(Denied::Missing)))
        }

        fn strip(&self, request: &mut Request) {
            request.headers.remove("x-token");
        }

        fn challenge(&self) -> Challenge {
            Challenge::Bearer
        }

        fn forwards(&self) -> Vec<HeaderName> {
            self.0.clone()
        }

        fn describe(&self) -> String {
            "sends".to_owned()
        }
    }

    struct Nothing;

    impl Files for Nothing {
        fn read(&self, path: &str) -> Result<Vec<u8>, String> {
            Err(format!("{path} is not there"))
        }

        fn list(&self, _: &str) -> Result<Vec<String>, String> {
            Ok(Vec::new())
        }
    }

    /// What is said of an entry that sends these on.
    fn said(names: &[&str]) -> Vec<String> {
        let env = |_: &str| None;
        let mut reader = Reader::new(Host { files: &Nothing, env: &env });
        let names = names.iter().map(|name| name.parse().expect("a name")).collect();
        let entry = Entry { name: Arc::from("customers"), method: Arc::new(Sends(names)) };
        reader.auth = BTreeMap::from([("customers".to_owned(), Some(Arc::new(entry)))]);
        let forwards = reader.auth["customers"].as_ref().expect("an entry").method.forwards();
        let each = (0..forwards.len()).filter_map(|at| reader.wrong_forward(&forwards[at], &forwards[..at]));
        each.collect()
    }

    #[test]
    fn what_identifies_the_caller_may_be_sent_on_under_any_name_of_its_own() {
        let fine = ["x-user-id", "x_tenant", "x-forwarded-user", "x-forwarded-email", "remote-user", "client-cert"];
        assert_eq!(said(&fine), [""; 0]);
    }

    #[test]
    fn what_is_the_clients_or_the_gateways_own_is_refused_in_every_spelling() {
        for name in [
            "host",
            "connection",
            "keep-alive",
            "transfer-encoding",
            "content-length",
            "authorization",
            "cookie",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-request-id",
            "via",
        ] {
            let said = said(&[name]);
            assert!(said.len() == 1 && said[0].contains("the gateway's own"), "{name}: {said:?}");
        }
    }

    #[test]
    fn two_values_under_one_name_or_what_looks_like_one_are_refused() {
        assert_eq!(said(&["x-user", "x-user"]), ["two values are sent on as the header \"x-user\""]);
        assert_eq!(said(&["x-user", "x_user"]), ["upstreams may take the headers \"x-user\" and \"x_user\" for one"]);
    }

    #[test]
    fn a_field_that_carries_a_credential_cannot_be_sent_on_since_no_client_could_bring_it() {
        let said = said(&["x-token"]);
        assert!(said.len() == 1 && said[0].starts_with("\"customers\" reads its credential"), "{said:?}");
    }

    #[test]
    fn entries_that_send_nothing_on_are_not_spoken_of() {
        let config = "version: 1\nauth: {a: {api_key: {header: x-user, pepper: \"env:P\"}}}\n\
                      routes: [{name: r, auth: a, match: {path: /}, to: {respond: {}}}]";
        struct One(&'static str);
        impl Files for One {
            fn read(&self, _: &str) -> Result<Vec<u8>, String> {
                Ok(self.0.as_bytes().to_vec())
            }
            fn list(&self, _: &str) -> Result<Vec<String>, String> {
                Ok(Vec::new())
            }
        }
        let compiled = compile("gateway.yaml", Host { files: &One(config), env: &|_| None }).expect("it compiles");
        assert!(!compiled.routes.asserted.holds("x-user") && compiled.routes.asserted.holds("client-cert"));
    }
}
