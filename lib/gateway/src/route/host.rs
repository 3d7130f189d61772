//! Hosts of a route: a name, or `*.` and a name for all under it; with a port only where one is written.

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// One host of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostMatch {
    /// Lower case; without `*.` where it is a wildcard.
    pub(super) name: String,
    pub(super) wildcard: bool,
    pub(super) port: Option<u16>,
}

impl HostMatch {
    /// Reads one.
    ///
    /// # Errors
    /// Words that follow the text as written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || "must be a host name, like api.example.com or *.example.com, with a port where it matters".to_owned();
        let (host, port) = split_port(text).ok_or_else(wrong)?;
        let (wildcard, name) = match host.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, host),
        };
        let name = name.to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let fits = match address {
            Some(address) => !wildcard && address.parse::<Ipv6Addr>().is_ok(),
            None => name.split('.').all(label),
        };
        if fits { Ok(Self { name, wildcard, port }) } else { Err(wrong()) }
    }

    /// Whether it is a name that API Gateway gives to its APIs.
    pub fn is_api_gateways(&self) -> bool {
        let (first, rest) = self.name.split_once('.').unwrap_or_default();
        let aws = self.name.ends_with(".amazonaws.com") || self.name.ends_with(".amazonaws.com.cn");
        aws && (first == "execute-api" || rest.starts_with("execute-api."))
    }

    /// As the config writes it.
    pub fn show(&self) -> String {
        let star = if self.wildcard { "*." } else { "" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{star}{}{port}", self.name)
    }
}

/// An authority's name, without a trailing dot, and its port; `None` where the port is no number.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            // `parse` alone would take a sign too.
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            (name, Some(port.parse().ok().filter(|_| digits)?))
        }
        _ => (authority, None),
    };
    Some((name.strip_suffix('.').unwrap_or(name), port))
}

/// The host that a request asks for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// Lower case, without a trailing dot.
    pub(super) name: Cow<'a, str>,
    pub(super) port: Option<u16>,
}

impl<'a> Asked<'a> {
    /// Of an authority, `host` or `host:port`. What is no number after the colon is no port (`host:`, RFC 3986 §3.2.3).
    pub(super) fn of(authority: &'a str) -> Self {
        let (name, port) = split_port(authority).unwrap_or_else(|| {
            let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
            (name.strip_suffix('.').unwrap_or(name), None)
        });
        let lower = !name.bytes().any(|b| b.is_ascii_uppercase());
        Self { name: if lower { Cow::Borrowed(name) } else { Cow::Owned(name.to_ascii_lowercase()) }, port }
    }

    /// What the name is under, the longest first: of `a.b.c`, `b.c` and `c`.
    pub(super) fn parents(&self) -> impl Iterator<Item = &str> {
        let parent = |name: &str| name.find('.').filter(|at| *at > 0);
        std::iter::successors(Some(&*self.name), move |name| name.get(parent(name)? + 1..)).skip(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_with_wildcards_and_ports() {
        for text in ["api.example.com", "*.example.com", "localhost:9000", "[::1]:80", "*.example.com:8443", "a_b.c"] {
            assert_eq!(HostMatch::parse(text).map(|host| host.show()).as_deref(), Ok(text));
        }
        assert_eq!(HostMatch::parse("API.Example.com.").map(|host| host.show()).as_deref(), Ok("api.example.com"));
        for text in
            ["", "*", "*.*.a", "a b", "a..b", "a:x", "http://a", "*.", "a/b", "a:99999", "a:", "a:+8", "[a]", "*.[::1]"]
        {
            assert!(HostMatch::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_of_a_request_is_its_name_and_its_port() {
        for (authority, name, port) in [
            ("a.b", "a.b", None),
            ("A.b.:8080", "a.b", Some(8080)),
            ("a.b:", "a.b", None),
            ("a.b:x", "a.b", None),
            ("[::1]:80", "[::1]", Some(80)),
            ("[::1]", "[::1]", None),
            ("", "", None),
        ] {
            let asked = Asked::of(authority);
            assert_eq!((&*asked.name, asked.port), (name, port), "{authority}");
        }
        assert_eq!(Asked::of("a.b.c").parents().collect::<Vec<_>>(), ["b.c", "c"]);
        assert_eq!(Asked::of(".b.c").parents().count(), 0);
    }
}
