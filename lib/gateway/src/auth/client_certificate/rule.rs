//! Rules of `allow`: which names of a certificate make a caller.
//!
//! - `uri:` is compared byte for byte with the subject alternative names that are URIs. `*` stands for a run of
//!   characters within one path segment, and `**` as the last segment for one or more whole segments. Neither stands in
//!   the scheme or the authority (SPIFFE's trust domain), which are written out.
//! - `dns:` is compared with those that are host names, in any case. `*` as the first label stands for one label. A
//!   name with a `*` of its own matches nothing: it names no one client.
//! - `cn:` is compared byte for byte with the common name. `*` as the first label stands for one label.

use std::fmt;

/// A rule of `allow`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    kind: Kind,
    /// As it is written, without its kind; host names in lower case.
    text: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uri,
    Dns,
    Cn,
}

/// The names of a certificate that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Names {
    pub(super) uris: Vec<String>,
    /// In lower case.
    pub(super) dns: Vec<String>,
    pub(super) cn: Option<String>,
}

/// A name that is longer is matched by nothing.
const LONGEST: usize = 512;

impl Rule {
    /// # Errors
    /// What is wrong with it, as the end of a sentence that names it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (kind, rest) = match text.split_once(':') {
            Some(("uri", rest)) => (Kind::Uri, rest),
            Some(("dns", rest)) => (Kind::Dns, rest),
            Some(("cn", rest)) => (Kind::Cn, rest),
            _ => return Err("must begin with uri:, dns: or cn:"),
        };
        if rest.is_empty() || rest.len() > LONGEST || rest.chars().any(char::is_control) {
            return Err("must name something, of 512 bytes at most");
        }
        match kind {
            Kind::Uri => uri_is_fit(rest)?,
            Kind::Dns if !rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.*".contains(&b)) => {
                return Err("must be a host name");
            }
            Kind::Dns | Kind::Cn if after_first_label(rest).contains('*') => {
                return Err("may have `*` as its first label alone, like *.devices");
            }
            Kind::Dns | Kind::Cn => {}
        }
        let text = if kind == Kind::Dns { rest.to_ascii_lowercase() } else { rest.to_owned() };
        Ok(Self { kind, text: text.into() })
    }

    /// The first of the names that it matches, as the caller's id.
    pub(super) fn find(&self, names: &Names) -> Option<String> {
        let fits = |name: &&String| name.len() <= LONGEST && self.matches(name);
        let found = match self.kind {
            Kind::Uri => names.uris.iter().find(fits),
            Kind::Dns => names.dns.iter().find(fits),
            Kind::Cn => names.cn.as_ref().filter(fits),
        };
        found.map(|name| format!("{}:{name}", self.kind.as_str()))
    }

    fn matches(&self, name: &str) -> bool {
        match self.kind {
            Kind::Uri => uri_matches(&self.text, name),
            Kind::Dns => !name.contains('*') && labels_match(&self.text, name),
            Kind::Cn => !name.chars().any(char::is_control) && labels_match(&self.text, name),
        }
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Uri => "uri",
            Self::Dns => "dns",
            Self::Cn => "cn",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.text)
    }
}

/// What follows a `*` that is the first label, or all of it.
fn after_first_label(text: &str) -> &str {
    match text.strip_prefix('*') {
        Some(rest) if rest.is_empty() || rest.starts_with('.') => rest,
        _ => text,
    }
}

fn labels_match(rule: &str, name: &str) -> bool {
    let rest = after_first_label(rule);
    if rest.len() == rule.len() {
        return rule == name;
    }
    name.strip_suffix(rest).is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

/// # Errors
/// What is wrong with it.
fn uri_is_fit(uri: &str) -> Result<(), &'static str> {
    let (scheme, _) = uri.split_once(':').ok_or("must be a URI with its scheme, like spiffe://shop/orders")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !is_scheme || !uri.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be a URI with its scheme, like spiffe://shop/orders");
    }
    let (fixed, path) = uri.split_at(path_at(uri));
    if fixed.contains('*') {
        return Err("may have `*` in its path alone: the scheme and the authority are written out");
    }
    let before_last = path.strip_suffix("/**").unwrap_or(path);
    if before_last.split('/').any(|segment| segment.matches('*').count() > 1) {
        return Err("may have one `*` in a segment, and `**` as its last segment");
    }
    Ok(())
}

/// Where a URI's path begins (RFC 3986 §3): after the authority, or after the scheme where there is none.
fn path_at(uri: &str) -> usize {
    let after_scheme = uri.find(':').map_or(uri.len(), |colon| colon + 1);
    match uri.get(after_scheme..).and_then(|rest| rest.strip_prefix("//")) {
        Some(rest) => uri.len() - rest.len() + rest.find('/').unwrap_or(rest.len()),
        None => after_scheme,
    }
}

fn uri_matches(rule: &str, uri: &str) -> bool {
    let (fixed, path) = rule.split_at(path_at(rule));
    let Some(given) = uri.strip_prefix(fixed).filter(|given| given.bytes().all(|b| b.is_ascii_graphic())) else {
        return false;
    };
    let mut given = given.split('/');
    for segment in path.split('/') {
        let Some(found) = given.next() else { return false };
        let matched = match segment.split_once('*') {
            Some(("", "*")) => return is_run(found) && given.all(is_run),
            Some((before, after)) => {
                found.strip_prefix(before).and_then(|found| found.strip_suffix(after)).is_some_and(is_run)
            }
            None => segment == found,
        };
        if !matched {
            return false;
        }
    }
    given.next().is_none()
}

/// Whether a `*` may stand for it: something, of one segment, and nowhere else in the tree.
fn is_run(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.contains(['?', '#', '*'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: &str, uris: &[&str], dns: &[&str], cn: Option<&str>) -> Option<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let names = Names { uris: owned(uris), dns: owned(dns), cn: cn.map(str::to_owned) };
        Rule::parse(rule).unwrap().find(&names)
    }

    #[test]
    fn uris_match_byte_for_byte_and_a_star_within_one_segment() {
        for (rule, uri, matches) in [
            ("uri:spiffe://shop/orders", "spiffe://shop/orders", true),
            ("uri:spiffe://shop/orders", "spiffe://shop/Orders", false),
            ("uri:spiffe://shop/orders", "spiffe://shop/orders/", false),
            ("uri:spiffe://shop", "spiffe://shop", true),
            ("uri:spiffe://shop", "spiffe://shop/orders", false),
            ("uri:spiffe://shop/*", "spiffe://shop/orders", true),
            ("uri:spiffe://shop/*", "spiffe://shop/orders/eu", false),
            ("uri:spiffe://shop/*", "spiffe://shop/", false),
            ("uri:spiffe://shop/*", "spiffe://shop", false),
            ("uri:spiffe://shop/*", "spiffe://shop.evil/orders", false),
            ("uri:spiffe://shop/*", "spiffe://evil/shop/orders", false),
            ("uri:spiffe://shop/*", "spiffe://shop/..", false),
            ("uri:spiffe://shop/*", "spiffe://shop/a?b", false),
            ("uri:spiffe://shop/*", "spiffe://shop/a#b", false),
            ("uri:spiffe://shop/*", "spiffe://shop/*", false),
            ("uri:spiffe://shop/*", "spiffe://shop/a b", false),
            ("uri:spiffe://shop/*", "spiffe://shop/ü", false),
            ("uri:spiffe://shop/ns/*/sa/api-*", "spiffe://shop/ns/eu/sa/api-1", true),
            ("uri:spiffe://shop/ns/*/sa/api-*", "spiffe://shop/ns/eu/sa/api-", false),
            ("uri:spiffe://shop/ns/*/sa/api-*", "spiffe://shop/ns/eu/x/sa/api-1", false),
            ("uri:spiffe://shop/a*a", "spiffe://shop/a", false),
            ("uri:spiffe://shop/a*a", "spiffe://shop/aba", true),
            ("uri:spiffe://shop/**", "spiffe://shop/orders/eu/1", true),
            ("uri:spiffe://shop/**", "spiffe://shop/orders", true),
            ("uri:spiffe://shop/**", "spiffe://shop/", false),
            ("uri:spiffe://shop/**", "spiffe://shop/a//b", false),
            ("uri:spiffe://shop/**", "spiffe://shop/a/../b", false),
            ("uri:spiffe://shop/**", "spiffe://shops/a", false),
            ("uri:urn:device:*", "urn:device:7", true),
            ("uri:urn:device:*", "urn:device:7/8", false),
            ("uri:urn:device:*", "urn:devices:7", false),
        ] {
            let id = matches.then(|| format!("uri:{uri}"));
            assert_eq!(found(rule, &[uri], &["x"], Some(uri)), id, "{rule} of {uri}");
        }
    }

    #[test]
    fn host_names_match_in_any_case_and_a_star_is_the_first_label() {
        for (rule, name, matches) in [
            ("dns:Till.shop", "till.shop", true),
            ("dns:till.shop", "a.till.shop", false),
            ("dns:*.shop", "till.shop", true),
            ("dns:*.shop", "a.till.shop", false),
            ("dns:*.shop", ".shop", false),
            ("dns:*.shop", "shop", false),
            ("dns:*.shop", "tillshop", false),
            ("dns:*.shop", "*.shop", false),
            ("dns:*", "localhost", true),
            ("dns:*", "till.shop", false),
        ] {
            let id = matches.then(|| format!("dns:{name}"));
            assert_eq!(found(rule, &[name], &[name], Some(name)), id, "{rule} of {name}");
        }
    }

    #[test]
    fn common_names_match_byte_for_byte_and_a_star_is_the_first_label() {
        for (rule, name, matches) in [
            ("cn:till 7", "till 7", true),
            ("cn:till 7", "Till 7", false),
            ("cn:*.devices", "till-7.devices", true),
            ("cn:*.devices", "a.till-7.devices", false),
            ("cn:*.devices", "till-7.devices.evil", false),
            ("cn:*.devices", "till\u{0}.devices", false),
            ("cn:*", "till-7", true),
        ] {
            let id = matches.then(|| format!("cn:{name}"));
            assert_eq!(found(rule, &[name], &[name], Some(name)), id, "{rule} of {name}");
        }
        assert_eq!(found("cn:*", &[], &[], Some(&"x".repeat(513))), None);
        assert_eq!(found("cn:*", &["till"], &["till"], None), None);
    }

    #[test]
    fn the_first_name_that_matches_is_the_id() {
        let uris = ["spiffe://other/a", "spiffe://shop/b", "spiffe://shop/c"];
        assert_eq!(found("uri:spiffe://shop/*", &uris, &[], None).as_deref(), Some("uri:spiffe://shop/b"));
    }

    #[test]
    fn rules_that_say_too_much_or_nothing_are_refused() {
        for rule in [
            "",
            "*",
            "uri:",
            "shop",
            "email:a@shop",
            "uri:*",
            "uri:/orders",
            "uri:spiffe://*/orders",
            "uri:spiffe://sh*p/orders",
            "uri:s*://shop/orders",
            "uri:spiffe://shop/**/orders",
            "uri:spiffe://shop/**/**",
            "uri:spiffe://shop/a**",
            "uri:spiffe://shop/*-*",
            "uri:spiffe://shop/a b",
            "dns:till.*",
            "dns:t*.shop",
            "dns:*.*.shop",
            "dns:a/b",
            "dns:ü",
            "cn:a*",
            "cn:*.*",
            "cn:a\nb",
        ] {
            assert!(Rule::parse(rule).is_err(), "{rule}");
        }
        assert!(Rule::parse(&format!("cn:{}", "x".repeat(513))).is_err());
    }
}
