//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), as structured fields (RFC 9651).

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::digits::push_number;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");

/// What is told of a limit whatever its state, written once.
#[derive(Debug)]
pub(super) struct Named {
    policy: String,
    /// Where in it the name ends.
    name: usize,
    /// Where in it the window begins.
    window: usize,
}

impl Named {
    /// A limit of which `quota` come back in `window` seconds.
    pub(super) fn new(name: &str, quota: u64, window: u64) -> Self {
        let mut policy = string(name);
        let name = policy.len();
        policy.push_str(";q=");
        push_number(&mut policy, quota);
        policy.push_str(";w=");
        let before = policy.len();
        push_number(&mut policy, window);
        Self { policy, name, window: before }
    }

    fn name(&self) -> &str {
        self.policy.get(..self.name).unwrap_or_default()
    }
}

/// What a client is told of one limit.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) limit: &'a Named,
    /// The window's length in seconds, where it is not always the same.
    pub(super) window: Option<u64>,
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
    let room = limits.iter().map(|told| told.limit.policy.len() + 12).sum::<usize>();
    let (mut policies, mut states) = (String::with_capacity(room), String::with_capacity(room + 32 * limits.len()));
    for told in &limits {
        separate(&mut policies);
        match told.window {
            None => policies.push_str(&told.limit.policy),
            Some(window) => {
                policies.push_str(told.limit.policy.get(..told.limit.window).unwrap_or_default());
                push_number(&mut policies, window);
            }
        }
        if let Some((left, reset)) = told.state {
            separate(&mut states);
            states.push_str(told.limit.name());
            states.push_str(";r=");
            push_number(&mut states, left);
            states.push_str(";t=");
            push_number(&mut states, reset.as_secs().saturating_add(u64::from(reset.subsec_nanos() > 0)));
        }
    }
    for (name, value) in [(POLICY, policies), (STATE, states)] {
        if !value.is_empty()
            && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value))
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

    type Limit<'a> = (&'a str, u64, u64, Option<(u64, u64)>);

    fn told(limits: &[Limit<'_>]) -> HeaderMap {
        let named: Vec<_> = limits.iter().map(|(name, q, w, _)| Named::new(name, *q, *w)).collect();
        let states = limits.iter().map(|(.., state)| state.map(|(left, ms)| (left, Duration::from_millis(ms))));
        fields(named.iter().zip(states).map(|(limit, state)| Told { limit, window: None, state }).collect())
    }

    #[test]
    fn the_tightest_limit_comes_first_and_the_unknown_last() {
        let fields = told(&[
            ("later", 9, 3600, None),
            ("wide", 1000, 1, Some((990, 400))),
            ("per-ip", 5, 60, Some((3, 41_001))),
            ("daily", 5, 86_400, Some((3, 80_000_000))),
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
        assert!(!told(&[("a", 1, 1, None)]).contains_key("ratelimit"));
    }

    #[test]
    fn a_name_stays_inside_its_quotes() {
        assert_eq!(string("a\"b\\c\r\nä"), r#""a\"b\\c""#);
    }
}
