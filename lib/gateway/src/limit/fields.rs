//! `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), as structured fields (RFC 9651), and the
//! `X-RateLimit-*` fields that came before them.
//!
//! Of the draft's parameters, `qu` is left out, since what is not requests has no unit in its registry, and `pk`, since
//! it would tell of one client's key to another that shares it.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::digits::push_number;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// The largest integer of a structured field (RFC 9651 §3.3.1); what is larger is told as this.
const LARGEST: u64 = 999_999_999_999_999;

/// In which fields clients are told of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FieldSet {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers).
    #[default]
    Standard,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, the last in seconds from now, as Envoy and
    /// Kong write it, and not as a point in time, as some do.
    Legacy,
    /// Both.
    Both,
}

impl FieldSet {
    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Legacy => "legacy",
            Self::Both => "both",
        }
    }

    const fn has_standard(self) -> bool {
        matches!(self, Self::Standard | Self::Both)
    }

    const fn has_legacy(self) -> bool {
        matches!(self, Self::Legacy | Self::Both)
    }
}

/// What is told of a limit whatever its state, written once.
#[derive(Debug)]
pub(super) struct Named {
    policy: String,
    /// Where in it the name ends.
    name: usize,
    quota: u64,
    /// Where in it the window begins.
    window: usize,
    /// The whole field where this is the only limit.
    alone: Option<HeaderValue>,
}

impl Named {
    /// A limit of which `quota` come back in `window` seconds.
    pub(super) fn new(name: &str, quota: u64, window: u64) -> Self {
        let quota = quota.min(LARGEST);
        let mut policy = string(name);
        let name = policy.len();
        policy.push_str(";q=");
        push_number(&mut policy, quota);
        policy.push_str(";w=");
        let before = policy.len();
        push_number(&mut policy, window.min(LARGEST));
        let alone = HeaderValue::from_str(&policy).ok();
        Self { policy, name, quota, window: before, alone }
    }

    fn name(&self) -> &str {
        self.policy.get(..self.name).unwrap_or_default()
    }
}

/// What a client is told of one limit.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) limit: &'a Named,
    /// In which fields.
    pub(super) set: FieldSet,
    /// The window's length in seconds, where it is not always the same.
    pub(super) window: Option<u64>,
    /// What is left, and for how long that is so; `None` where it was not asked or did not say.
    pub(super) state: Option<(u64, Duration)>,
}

impl Told<'_> {
    /// What is left, and the whole seconds for how long: a little too long rather than too short.
    fn state(&self) -> Option<(u64, u64)> {
        let (left, reset) = self.state?;
        let secs = reset.as_secs().saturating_add(u64::from(reset.subsec_nanos() > 0));
        Some((left.min(LARGEST), secs.min(LARGEST)))
    }
}

/// The fields of these limits: the tightest first (least left, then longest to wait), what is not known last.
pub(super) fn fields(mut limits: Vec<Told<'_>>) -> HeaderMap {
    let mut fields = HeaderMap::new();
    limits.sort_by_key(|limit| match limit.state {
        Some((left, reset)) => (0, left, Reverse(reset)),
        None => (1, 0, Reverse(Duration::ZERO)),
    });
    standard(&limits, &mut fields);
    if let Some(tightest) = limits.iter().find(|told| told.set.has_legacy()) {
        legacy(tightest, &mut fields);
    }
    fields
}

fn standard(limits: &[Told<'_>], fields: &mut HeaderMap) {
    // Of one limit, the policy is always the same.
    let policies = match limits {
        [Told { limit, set, window: None, .. }] if set.has_standard() => limit.alone.clone(),
        _ => value(policies(limits)),
    };
    for (name, value) in [(POLICY, policies), (STATE, value(states(limits)))] {
        if let Some(value) = value {
            fields.insert(name, value);
        }
    }
}

fn policies(limits: &[Told<'_>]) -> String {
    let mut policies = String::with_capacity(limits.iter().map(|told| told.limit.policy.len() + 12).sum());
    for told in limits.iter().filter(|told| told.set.has_standard()) {
        separate(&mut policies);
        match told.window {
            None => policies.push_str(&told.limit.policy),
            Some(window) => {
                policies.push_str(told.limit.policy.get(..told.limit.window).unwrap_or_default());
                push_number(&mut policies, window.min(LARGEST));
            }
        }
    }
    policies
}

fn states(limits: &[Told<'_>]) -> String {
    let mut states = String::with_capacity(limits.iter().map(|told| told.limit.name + 40).sum());
    for told in limits.iter().filter(|told| told.set.has_standard()) {
        if let Some((left, reset)) = told.state() {
            separate(&mut states);
            states.push_str(told.limit.name());
            states.push_str(";r=");
            push_number(&mut states, left);
            states.push_str(";t=");
            push_number(&mut states, reset);
        }
    }
    states
}

fn value(list: String) -> Option<HeaderValue> {
    if list.is_empty() { None } else { HeaderValue::from_maybe_shared(Bytes::from(list)).ok() }
}

fn legacy(told: &Told<'_>, fields: &mut HeaderMap) {
    fields.insert(LEGACY_LIMIT, told.limit.quota.into());
    if let Some((left, reset)) = told.state() {
        fields.insert(LEGACY_REMAINING, left.into());
        fields.insert(LEGACY_RESET, reset.into());
    }
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use sfv::{BareItem, Item, ListEntry, Parser};

    use super::*;

    type Limit<'a> = (&'a str, u64, u64, Option<(u64, u64)>);

    fn told_in(limits: &[(FieldSet, Limit<'_>)]) -> HeaderMap {
        let named: Vec<_> = limits.iter().map(|(_, (name, q, w, _))| Named::new(name, *q, *w)).collect();
        let told = named.iter().zip(limits).map(|(limit, (set, (.., state)))| {
            let state = state.map(|(left, ms)| (left, Duration::from_millis(ms)));
            Told { limit, set: *set, window: None, state }
        });
        fields(told.collect())
    }

    fn told(limits: &[Limit<'_>]) -> HeaderMap {
        told_in(&limits.iter().map(|limit| (FieldSet::Standard, *limit)).collect::<Vec<_>>())
    }

    fn text<'h>(fields: &'h HeaderMap, name: &str) -> Option<&'h str> {
        fields.get(name).map(|value| value.to_str().unwrap())
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
    fn each_limit_is_told_in_the_fields_it_asks_for_and_the_older_ones_tell_the_tightest_of_theirs() {
        let fields = told_in(&[
            (FieldSet::Both, ("both", 9, 3600, Some((5, 100)))),
            (FieldSet::Legacy, ("legacy", 8, 60, Some((3, 41_001)))),
            (FieldSet::Standard, ("standard", 7, 1, Some((0, 400)))),
        ]);
        assert_eq!(text(&fields, "ratelimit-policy"), Some(r#""standard";q=7;w=1, "both";q=9;w=3600"#));
        assert_eq!(text(&fields, "ratelimit"), Some(r#""standard";r=0;t=1, "both";r=5;t=1"#));
        for (name, value) in [("limit", "8"), ("remaining", "3"), ("reset", "42")] {
            assert_eq!(text(&fields, &format!("x-ratelimit-{name}")), Some(value));
        }
        let fields = told_in(&[(FieldSet::Legacy, ("legacy", 8, 60, None))]);
        assert_eq!(fields.len(), 1, "what is left is not known");
        assert_eq!(text(&fields, "x-ratelimit-limit"), Some("8"));
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

    /// The items of a field as a parser of RFC 9651 reads them: names with their parameters, all integers.
    fn items(field: &str) -> Vec<(String, BTreeMap<String, u64>)> {
        let list: sfv::List = Parser::new(field).parse().unwrap();
        let item = |entry: ListEntry| {
            let ListEntry::Item(Item { bare_item: BareItem::String(name), params }) = entry else {
                panic!("{entry:?} is no string")
            };
            let params = params.iter().map(|(key, value)| {
                let value = value.as_integer().unwrap_or_else(|| panic!("{key} is no integer"));
                (key.as_str().to_owned(), u64::try_from(i64::from(value)).unwrap())
            });
            (name.as_str().to_owned(), params.collect())
        };
        list.into_iter().map(item).collect()
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![0..1000_u64, LARGEST - 1..LARGEST + 2, any::<u64>()]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_it_was_meant(
            limits in prop::collection::vec(
                (".{0,20}", number(), number(), prop::option::of((number(), 0..u64::MAX / 1000, any::<bool>()))), 1..5),
        ) {
            let named: Vec<_> = limits.iter().map(|(name, q, w, _)| Named::new(name, *q, *w)).collect();
            let told: Vec<_> = named.iter().zip(&limits).map(|(limit, (.., state))| {
                let state = state.map(|(left, secs, more)| (left, Duration::new(secs, u32::from(more))));
                Told { limit, set: FieldSet::Both, window: None, state }
            }).collect();
            let fields = fields(told);
            let plain = |name: &str| name.chars().filter(|letter| (' '..='~').contains(letter)).collect::<String>();
            let capped = |number: u64| number.min(999_999_999_999_999);
            let pair = |a: &str, x, b: &str, y| BTreeMap::from([(a.to_owned(), capped(x)), (b.to_owned(), capped(y))]);
            let mut policies: Vec<_> = limits.iter().map(|(name, q, w, _)| (plain(name), pair("q", *q, "w", *w))).collect();
            let mut states: Vec<_> = limits.iter().filter_map(|(name, _, _, state)| {
                state.map(|(left, secs, more)| (plain(name), pair("r", left, "t", secs + u64::from(more))))
            }).collect();
            let mut written = items(text(&fields, "ratelimit-policy").unwrap());
            let tightest = written[0].1["q"].to_string();
            prop_assert_eq!(text(&fields, "x-ratelimit-limit"), Some(&*tightest));
            for list in [&mut policies, &mut written, &mut states] {
                list.sort();
            }
            prop_assert_eq!(written, policies);
            let mut written = text(&fields, "ratelimit").map(items).unwrap_or_default();
            prop_assert!(written.is_sorted_by_key(|(_, params)| params["r"]), "the tightest comes first");
            written.sort();
            prop_assert_eq!(written, states);
        }
    }
}
