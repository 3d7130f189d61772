//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): structured fields, the tightest policy
//! first.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::Limit;

/// What one limit says of itself.
pub(super) struct State<'a> {
    pub(super) limit: &'a Limit,
    pub(super) left: u64,
    pub(super) resets: Duration,
}

/// Writes both fields. Names of limits hold no character that a quoted string must escape.
pub(super) fn write(states: &mut [State<'_>], fields: &mut HeaderMap) {
    states.sort_by_key(|state| state.left);
    let mut policy = String::new();
    let mut current = String::new();
    for State { limit, left, resets } in states.iter() {
        let comma = if policy.is_empty() { "" } else { ", " };
        let (name, count, per) = (&limit.name, limit.rate.count(), limit.rate.per().as_secs());
        policy.push_str(&format!("{comma}\"{name}\";q={count};w={per}"));
        let resets = resets.as_millis().div_ceil(1000);
        current.push_str(&format!("{comma}\"{name}\";r={left};t={resets}"));
    }
    for (name, value) in [(POLICY, policy), (CURRENT, current)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            fields.insert(name, value);
        }
    }
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const CURRENT: HeaderName = HeaderName::from_static("ratelimit");
