//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), as structured fields (RFC 9651).

use std::cmp::Reverse;
use std::fmt::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::rate::Rate;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// What a client is told of one limit.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) name: &'a str,
    pub(super) rate: Rate,
    /// What is left, and for how long that is so; `None` where it was not asked or did not say.
    pub(super) state: Option<(u64, Duration)>,
}

/// The fields of these limits: the tightest first (least left, then longest to wait), what is not known last.
pub(super) fn fields(mut limits: Vec<Told<'_>>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    limits.sort_by_key(|limit| match limit.state {
        Some((left, reset)) => (0, left, Reverse(reset)),
        None => (1, 0, Reverse(Duration::ZERO)),
    });
    let (mut policies, mut states) = (String::new(), String::new());
    for limit in &limits {
        let name = string(limit.name);
        separate(&mut policies);
        // Writing to a string cannot fail.
        _ = write!(policies, "{name};q={};w={}", limit.rate.count, limit.rate.per.secs());
        if let Some((left, reset)) = limit.state {
            separate(&mut states);
            _ = write!(states, "{name};r={left};t={}", reset.as_millis().div_ceil(1000));
        }
    }
    for (name, value) in [(POLICY, policies), (STATE, states)] {
        if !value.is_empty()
            && let Ok(value) = HeaderValue::from_str(&value)
        {
            fields.insert(name, value);
        }
    }
    fields
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push_str(", ");
    }
}

/// A string of RFC 9651 §3.3.3; what it cannot hold is left out.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars().filter(|letter| (' '..='~').contains(letter)) {
        if matches!(letter, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<'a>(name: &'a str, rate: &str, state: Option<(u64, u64)>) -> Told<'a> {
        let state = state.map(|(left, millis)| (left, Duration::from_millis(millis)));
        Told { name, rate: Rate::parse(rate).unwrap(), state }
    }

    #[test]
    fn the_tightest_limit_comes_first_and_the_unknown_last() {
        let fields = fields(vec![
            told("later", "9/h", None),
            told("wide", "1000/s", Some((990, 400))),
            told("per-ip", "5/min", Some((3, 41_001))),
            told("daily", "5/day", Some((3, 80_000_000))),
        ]);
        assert_eq!(
            fields["ratelimit-policy"],
            r#""daily";q=5;w=86400, "per-ip";q=5;w=60, "wide";q=1000;w=1, "later";q=9;w=3600"#
        );
        assert_eq!(fields["ratelimit"], r#""daily";r=3;t=80000, "per-ip";r=3;t=42, "wide";r=990;t=1"#);
    }

    #[test]
    fn without_limits_there_are_no_fields() {
        assert!(fields(Vec::new()).is_empty());
        assert!(!fields(vec![told("a", "1/s", None)]).contains_key("ratelimit"));
    }

    #[test]
    fn a_name_stays_inside_its_quotes() {
        assert_eq!(string("a\"b\\c\r\nä"), r#""a\"b\\c""#);
    }
}
