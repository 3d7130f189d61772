//! What is judged before anything is asked of a table or of who is calling: the address, the body's size and its type.

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ipnet::{IpNet, Ipv4Net};

use crate::exchange::{Body, Request};
use crate::forward::flow;
use crate::refusal::Refusal;

/// Address lists, body size and content types of a route, compiled.
#[derive(Debug)]
pub struct Screen {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    body_max: u64,
    content_types: Vec<MediaRange>,
}

impl Screen {
    /// Of these; empty lists let all pass. `body_max` is in bytes. IPv4 networks in IPv6 clothes
    /// (`::ffff:10.0.0.0/104`) are the IPv4 ones, as addresses are.
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>, body_max: u64, content_types: Vec<MediaRange>) -> Self {
        let plain = |list: Vec<IpNet>| list.into_iter().map(unmapped).collect();
        Self { allow: plain(allow), deny: plain(deny), body_max, content_types }
    }

    /// The largest body, in bytes.
    pub const fn body_max(&self) -> u64 {
        self.body_max
    }

    /// The networks let in, and those that are not.
    pub fn addresses(&self) -> (&[IpNet], &[IpNet]) {
        (&self.allow, &self.deny)
    }

    /// The types taken; empty is all.
    pub fn content_types(&self) -> &[MediaRange] {
        &self.content_types
    }

    /// Judges a request by what is known before its body is read.
    ///
    /// # Errors
    /// 403 for the address, 413 for the size, 415 for the type.
    pub fn check(&self, request: &Request) -> Result<(), Refusal> {
        self.address(request.origin.ip)?;
        let declared = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let known = request.body.known_len();
        if known.max(declared) > Some(self.body_max) {
            return Err(Refusal::BodyTooLarge { limit: self.body_max });
        }
        if self.content_types.is_empty() || known.or(declared) == Some(0) {
            return Ok(());
        }
        let given = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.content_types.iter().any(|range| range.matches(given)) {
            return Ok(());
        }
        Err(Refusal::ContentTypeRefused { given: given.chars().take(100).collect() })
    }

    /// The body, ended with a fault as soon as it passes the limit.
    pub fn limit_body(&self, body: Body) -> Body {
        flow::limited(body, self.body_max)
    }

    fn address(&self, ip: IpAddr) -> Result<(), Refusal> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return Ok(());
        }
        let ip = ip.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&ip));
        if within(&self.deny) || !(self.allow.is_empty() || within(&self.allow)) {
            return Err(Refusal::AddressDenied { ip });
        }
        Ok(())
    }
}

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let within = v6.prefix_len().checked_sub(96);
    let v4 = v6.network().to_ipv4_mapped().zip(within).and_then(|(v4, len)| Ipv4Net::new(v4, len).ok());
    v4.map_or(network, IpNet::V4)
}

/// `application/json`, `image/*` or `*/*`; parameters are not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRange(String);

impl MediaRange {
    /// Reads one.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = text.split_once('/').is_some_and(|(kind, sub)| {
            (is_token(kind) && (is_token(sub) || sub == "*")) || (kind == "*" && sub == "*")
        });
        if fits {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err("must be a type like application/json or image/*".to_owned())
        }
    }

    /// As written, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, given: &str) -> bool {
        let given = given.split(';').next().unwrap_or_default().trim();
        match self.0.strip_suffix('*') {
            Some(kind) => {
                let begins = |given: &str| kind == "*/" || given.eq_ignore_ascii_case(kind.trim_end_matches('/'));
                given.split_once('/').is_some_and(|(given, sub)| begins(given) && is_token(given) && is_token(sub))
            }
            None => given.eq_ignore_ascii_case(&self.0),
        }
    }
}

/// RFC 6838 §4.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;
    use crate::testkit;

    fn request(ip: &str, content_type: Option<&'static str>, body: &'static str) -> Request {
        let mut request = testkit::request("POST /");
        request.origin.ip = ip.parse().expect("an address");
        if let Some(content_type) = content_type {
            request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        if !body.is_empty() {
            request.body = Body::Full(Bytes::from_static(body.as_bytes()));
        }
        request
    }

    fn screen(allow: &[&str], deny: &[&str], types: &[&str]) -> Screen {
        let networks = |list: &[&str]| list.iter().map(|text| text.parse().expect("a network")).collect();
        let types = types.iter().map(|text| MediaRange::parse(text).expect("a type")).collect();
        Screen::new(networks(allow), networks(deny), 10, types)
    }

    #[test]
    fn a_denied_address_is_refused_though_it_is_allowed_too() {
        let screen = screen(&["10.0.0.0/8"], &["10.1.0.0/16"], &[]);
        assert!(screen.check(&request("10.2.3.4", None, "")).is_ok());
        for ip in ["10.1.3.4", "192.0.2.1", "::ffff:10.1.3.4"] {
            assert!(matches!(screen.check(&request(ip, None, "")), Err(Refusal::AddressDenied { .. })), "{ip}");
        }
        assert!(
            screen.check(&request("::ffff:10.2.3.4", None, "")).is_ok(),
            "an IPv4 address in IPv6 clothes is the IPv4 one"
        );
    }

    #[test]
    fn an_ipv4_network_in_ipv6_clothes_is_the_ipv4_one() {
        let screen = screen(&[], &["::ffff:10.0.0.0/104", "2001:db8::/32"], &[]);
        for ip in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert!(screen.check(&request(ip, None, "")).is_err(), "{ip}");
        }
        for ip in ["11.1.2.3", "2001:db9::1", "::1"] {
            assert!(screen.check(&request(ip, None, "")).is_ok(), "{ip}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_whatever_came_so_far() {
        let mut declared = request("::1", None, "");
        declared.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("11"));
        assert!(matches!(screen(&[], &[], &[]).check(&declared), Err(Refusal::BodyTooLarge { limit: 10 })));
    }

    #[test]
    fn every_type_is_still_a_type() {
        let screen = screen(&[], &[], &["*/*"]);
        assert!(screen.check(&request("::1", Some("a/b; c=d"), "x")).is_ok());
        assert!(screen.check(&request("::1", Some("a"), "x")).is_err());
        assert!(screen.check(&request("::1", None, "x")).is_err());
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_what_is_known_before_reading() {
        let screen = screen(&[], &[], &[]);
        assert!(screen.check(&request("::1", None, "0123456789")).is_ok());
        assert!(matches!(screen.check(&request("::1", None, "0123456789a")), Err(Refusal::BodyTooLarge { limit: 10 })));
    }

    #[test]
    fn content_types_are_compared_without_parameters_and_only_where_there_is_a_body() {
        let screen = screen(&[], &[], &["application/json", "image/*"]);
        for given in ["application/json", "Application/JSON; charset=utf-8", "image/png"] {
            assert!(screen.check(&request("::1", Some(given), "x")).is_ok(), "{given}");
        }
        for given in [Some("text/plain"), Some("application/jsonp"), Some("image"), Some("image/"), None] {
            let refused = screen.check(&request("::1", given, "x"));
            assert!(matches!(refused, Err(Refusal::ContentTypeRefused { .. })), "{given:?}");
        }
        assert!(screen.check(&request("::1", None, "")).is_ok());
    }

    #[test]
    fn what_is_no_media_type_is_refused() {
        for text in ["json", "a/b/c", "*/json", "", "a/"] {
            assert!(MediaRange::parse(text).is_err(), "{text}");
        }
    }
}
