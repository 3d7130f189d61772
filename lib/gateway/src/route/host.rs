//! Hosts of a route: a name, or `*.` and a name for all under it; with a port only where one is written.

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
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        let address = name.starts_with('[') && name.ends_with(']') && !wildcard;
        if address || name.split('.').all(label) { Ok(Self { name, wildcard, port }) } else { Err(wrong()) }
    }

    /// As the config writes it.
    pub fn show(&self) -> String {
        let star = if self.wildcard { "*." } else { "" };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{star}{}{port}", self.name)
    }
}

/// An authority's name, without a trailing dot, and its port; `None` where the port is no number.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port.parse().ok()?)),
        _ => (authority, None),
    };
    Some((name.strip_suffix('.').unwrap_or(name), port))
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
        for text in ["", "*", "*.*.a", "a b", "a..b", "a:x", "http://a", "*.", "a/b", "a:99999"] {
            assert!(HostMatch::parse(text).is_err(), "{text}");
        }
    }
}
