//! What is judged before anything is asked of a table or of who is calling: the address, the body's size and its type.

use std::net::IpAddr;

use http::HeaderValue;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ipnet::{IpNet, Ipv4Net};

use crate::exchange::{Body, Request};
use crate::forward::flow::{self, Watch};
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;

/// The most that is taken of a body whatever the mode of `body`: what Lambda takes of a request.
pub const MOST: u64 = 6 << 20;

/// Address lists, body size and content types of a route, compiled.
#[derive(Debug)]
pub struct Screen {
    /// Who is let in.
    pub addresses: Addresses,
    /// What bodies are taken.
    pub bodies: Bodies,
}

/// Address lists; empty ones let all pass.
#[derive(Debug)]
pub struct Addresses {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    /// Whether they act.
    pub mode: Mode,
}

/// What bodies a route takes.
#[derive(Debug)]
pub struct Bodies {
    /// The largest, in bytes.
    pub max: u64,
    /// The types taken; empty is all.
    pub content_types: Vec<MediaRange>,
    /// Whether both act.
    pub mode: Mode,
}

impl Addresses {
    /// Of these lists. IPv4 networks in IPv6 clothes (`::ffff:10.0.0.0/104`) are the IPv4 ones, as addresses are.
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>, mode: Mode) -> Self {
        let plain = |list: Vec<IpNet>| list.into_iter().map(unmapped).collect();
        Self { allow: plain(allow), deny: plain(deny), mode }
    }

    /// The networks let in, and those that are not.
    pub fn lists(&self) -> (&[IpNet], &[IpNet]) {
        (&self.allow, &self.deny)
    }

    fn judge(&self, ip: IpAddr) -> Result<(), Refusal> {
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

impl Bodies {
    /// The most that passes, in bytes: in shadow and off too, every body is bounded.
    pub fn most(&self) -> u64 {
        if self.mode == Mode::Enforce { self.max } else { self.max.max(MOST) }
    }

    fn judge_type(&self, given: Option<&HeaderValue>) -> Result<(), Refusal> {
        let given = given.and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.content_types.is_empty() || self.content_types.iter().any(|range| range.matches(given)) {
            return Ok(());
        }
        Err(Refusal::ContentTypeRefused { given: given.chars().take(100).collect() })
    }
}

impl Screen {
    /// Judges a request by what is known before its body is read.
    ///
    /// # Errors
    /// 403 for the address, 413 for the size, 415 for the type.
    pub fn check(&self, request: &Request, shadowed: &mut Shadowed) -> Result<(), Refusal> {
        let Self { addresses, bodies } = self;
        addresses.mode.ask(shadowed, || addresses.judge(request.origin.ip))?;
        let declared = request.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let known = request.body.known_len();
        let length = known.max(declared);
        within(length, bodies.most())?;
        bodies.mode.ask(shadowed, || within(length, bodies.max))?;
        if known.or(declared) != Some(0) {
            bodies.mode.ask(shadowed, || bodies.judge_type(request.headers.get(CONTENT_TYPE)))?;
        }
        Ok(())
    }

    /// The body, ended with a fault as soon as it passes the most; and in shadow the word whether it passed the limit.
    pub fn limit_body(&self, body: Body) -> (Body, Option<Watch>) {
        let Bodies { max, mode, .. } = self.bodies;
        let (body, watch) = if mode == Mode::Shadow { flow::watched(body, max) } else { (body, None) };
        (flow::limited(body, self.bodies.most()), watch)
    }
}

fn within(length: Option<u64>, limit: u64) -> Result<(), Refusal> {
    if length > Some(limit) { Err(Refusal::BodyTooLarge { limit }) } else { Ok(()) }
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
        Screen {
            addresses: Addresses::new(networks(allow), networks(deny), Mode::Enforce),
            bodies: Bodies { max: 10, content_types: types, mode: Mode::Enforce },
        }
    }

    fn check(screen: &Screen, request: &Request) -> Result<(), Refusal> {
        let mut shadowed = Shadowed::default();
        let checked = screen.check(request, &mut shadowed);
        assert_eq!(shadowed, Shadowed::default(), "nothing is in shadow");
        checked
    }

    #[test]
    fn a_denied_address_is_refused_though_it_is_allowed_too() {
        let screen = screen(&["10.0.0.0/8"], &["10.1.0.0/16"], &[]);
        assert!(check(&screen, &request("10.2.3.4", None, "")).is_ok());
        for ip in ["10.1.3.4", "192.0.2.1", "::ffff:10.1.3.4"] {
            assert!(matches!(check(&screen, &request(ip, None, "")), Err(Refusal::AddressDenied { .. })), "{ip}");
        }
        assert!(
            check(&screen, &request("::ffff:10.2.3.4", None, "")).is_ok(),
            "an IPv4 address in IPv6 clothes is the IPv4 one"
        );
    }

    #[test]
    fn an_ipv4_network_in_ipv6_clothes_is_the_ipv4_one() {
        let screen = screen(&[], &["::ffff:10.0.0.0/104", "2001:db8::/32"], &[]);
        for ip in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert!(check(&screen, &request(ip, None, "")).is_err(), "{ip}");
        }
        for ip in ["11.1.2.3", "2001:db9::1", "::1"] {
            assert!(check(&screen, &request(ip, None, "")).is_ok(), "{ip}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_whatever_came_so_far() {
        let mut declared = request("::1", None, "");
        declared.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("11"));
        assert!(matches!(check(&screen(&[], &[], &[]), &declared), Err(Refusal::BodyTooLarge { limit: 10 })));
    }

    #[test]
    fn every_type_is_still_a_type() {
        let screen = screen(&[], &[], &["*/*"]);
        assert!(check(&screen, &request("::1", Some("a/b; c=d"), "x")).is_ok());
        assert!(check(&screen, &request("::1", Some("a"), "x")).is_err());
        assert!(check(&screen, &request("::1", None, "x")).is_err());
    }

    #[test]
    fn a_body_over_the_limit_is_refused_by_what_is_known_before_reading() {
        let screen = screen(&[], &[], &[]);
        assert!(check(&screen, &request("::1", None, "0123456789")).is_ok());
        assert!(matches!(
            check(&screen, &request("::1", None, "0123456789a")),
            Err(Refusal::BodyTooLarge { limit: 10 })
        ));
    }

    #[test]
    fn content_types_are_compared_without_parameters_and_only_where_there_is_a_body() {
        let screen = screen(&[], &[], &["application/json", "image/*"]);
        for given in ["application/json", "Application/JSON; charset=utf-8", "image/png"] {
            assert!(check(&screen, &request("::1", Some(given), "x")).is_ok(), "{given}");
        }
        for given in [Some("text/plain"), Some("application/jsonp"), Some("image"), Some("image/"), None] {
            let refused = check(&screen, &request("::1", given, "x"));
            assert!(matches!(refused, Err(Refusal::ContentTypeRefused { .. })), "{given:?}");
        }
        assert!(check(&screen, &request("::1", None, "")).is_ok());
    }

    #[test]
    fn in_shadow_all_that_would_be_refused_is_taken_down_in_order_and_off_nothing_is() {
        let told = |mode| {
            let mut screen = screen(&["10.0.0.0/8"], &[], &["image/*"]);
            (screen.addresses.mode, screen.bodies.mode) = (mode, mode);
            let mut shadowed = Shadowed::default();
            screen.check(&request("::1", Some("text/plain"), "0123456789a"), &mut shadowed).expect("it passes");
            shadowed.codes()
        };
        assert_eq!(told(Mode::Shadow), ["address_denied", "body_too_large", "content_type_refused"]);
        assert_eq!(told(Mode::Off), [""; 0]);
    }

    #[test]
    fn every_body_is_bounded_in_shadow_and_off_too_and_never_by_less_than_when_enforced() {
        let mut long = request("::1", None, "");
        long.headers.insert(CONTENT_LENGTH, HeaderValue::from(MOST + 1));
        for (mode, max, most) in [
            (Mode::Enforce, 10, 10),
            (Mode::Shadow, 10, MOST),
            (Mode::Off, 10, MOST),
            (Mode::Shadow, MOST + 1, MOST + 1),
        ] {
            let mut screen = screen(&[], &[], &[]);
            (screen.bodies.mode, screen.bodies.max) = (mode, max);
            assert_eq!(screen.bodies.most(), most);
            let checked = screen.check(&long, &mut Shadowed::default());
            assert_eq!(checked.is_ok(), most > MOST, "{mode:?} {max}");
        }
    }

    #[test]
    fn what_is_no_media_type_is_refused() {
        for text in ["json", "a/b/c", "*/json", "", "a/"] {
            assert!(MediaRange::parse(text).is_err(), "{text}");
        }
    }
}
