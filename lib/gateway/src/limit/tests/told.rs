//! What clients are told.

use super::*;

fn told_in(name: &str, rate: &str, headers: FieldSet, mode: Mode) -> Use {
    let limit = Arc::into_inner(limit(name, rate, "request.ip")).unwrap();
    Use { limit: Arc::new(limit.told_in(headers)).into(), mode }
}

fn names(taken: &Taken) -> Vec<&str> {
    let mut names: Vec<_> = taken.fields.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_limit_is_told_in_the_fields_it_asks_for_admitted_or_refused() {
    const STANDARD: [&str; 2] = ["ratelimit", "ratelimit-policy"];
    const LEGACY: [&str; 3] = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let both = [STANDARD.as_slice(), LEGACY.as_slice()].concat();
    for (headers, told) in
        [(FieldSet::Standard, STANDARD.to_vec()), (FieldSet::Legacy, LEGACY.to_vec()), (FieldSet::Both, both)]
    {
        let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
        let limits = Limits(vec![told_in("l", "1/min", headers, Mode::Enforce)]);
        for refused in [false, true] {
            let taken = take(&limits, 1, &table, &clock).await;
            assert_eq!((taken.refused.is_some(), names(&taken)), (refused, told.clone()), "{headers:?}");
            if headers != FieldSet::Standard {
                for (name, value) in [("limit", "1"), ("remaining", "0"), ("reset", "51")] {
                    assert_eq!(taken.fields[format!("x-ratelimit-{name}")], value);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_limit_in_shadow_adds_no_field_of_any_kind() {
    let (table, clock) = (MemoryTable::default(), TestClock::at(NOON));
    let limits = Limits(vec![
        told_in("watched", "1/min", FieldSet::Both, Mode::Shadow),
        told_in("enforced", "5/min", FieldSet::Both, Mode::Enforce),
    ]);
    let alone = Limits(limits.0[..1].to_vec());
    assert!(names(&take(&alone, 1, &table, &clock).await).is_empty());
    let taken = take(&limits, 1, &table, &clock).await;
    assert_eq!(taken.shadowed.codes(), ["over_limit"]);
    assert_eq!(taken.fields["ratelimit"], r#""enforced";r=4;t=51"#);
    assert_eq!(taken.fields["x-ratelimit-limit"], "5", "the tighter one does not bind");
}
