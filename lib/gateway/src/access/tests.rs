//! Who is let in by what a route asks, and what it is told.

use proptest::prelude::*;

use super::*;
use crate::auth::Identity;
use crate::testkit::{asked_with_params, expression_of};

fn caller(tenant: &str, scopes: &[&str], groups: &[&str], via: &'static str) -> Caller {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let claims = serde_json::json!({"org": "acme"}).as_object().expect("a map").clone();
    let (tenant, scopes, groups) = (tenant.to_owned(), texts(scopes), texts(groups));
    Caller::of_identity(Identity { via, id: "ada".to_owned(), tenant, scopes, groups, claims, ..Identity::default() })
}

fn asks(conditions: Conditions, mode: Mode) -> Access {
    Access { conditions: Some(Arc::new(conditions)), mode, unidentified: mode }
}

fn tenants(list: &[&str]) -> Conditions {
    Conditions { tenants: list.iter().map(|text| Pattern::new(*text)).collect(), ..Conditions::default() }
}

fn scopes(scopes: Scopes) -> Conditions {
    Conditions { scopes: Some(scopes), ..Conditions::default() }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// The code of the refusal, and its words.
fn verdict(access: &Access, caller: &Caller) -> Result<(), (&'static str, String)> {
    let mut asked = asked_with_params("GET /acme", &[("org", "acme")]);
    asked.caller = caller.clone();
    let checked = access.check(caller, &asked.facts("orders"), &mut Shadowed::default());
    checked.map_err(|refusal| (refusal.code(), refusal.to_string()))
}

fn code(conditions: Conditions, caller: &Caller) -> Option<&'static str> {
    verdict(&asks(conditions, Mode::Enforce), caller).err().map(|(code, _)| code)
}

#[test]
fn a_tenant_is_let_in_by_name_or_by_pattern_and_nobody_without_one() {
    for (patterns, tenant, denied) in [
        (&["acme"][..], "acme", false),
        (&["acme"], "acme2", true),
        (&["acme"], "ACME", true),
        (&["other", "acme"], "acme", false),
        (&["acme-*"], "acme-eu", false),
        (&["acme-*"], "other", true),
        (&["*"], "anyone", false),
        (&["*"], "", true),
        (&["acme"], "", true),
    ] {
        let code = code(tenants(patterns), &caller(tenant, &[], &[], "jwt"));
        assert_eq!(code, denied.then_some("tenant_denied"), "{patterns:?} {tenant:?}");
    }
}

#[test]
fn scopes_are_asked_for_all_together_or_one_of_them() {
    let (read, write) = ("orders:read", "orders:write");
    for (asked, granted, missing) in [
        (Scopes::All(texts(&[read])), &[read][..], false),
        (Scopes::All(texts(&[read, write])), &[write, "more", read], false),
        (Scopes::All(texts(&[read, write])), &[read], true),
        (Scopes::All(texts(&[read])), &["orders:rea", "ORDERS:READ"], true),
        (Scopes::All(texts(&[read])), &[], true),
        (Scopes::Any(texts(&[read, write])), &[write], false),
        (Scopes::Any(texts(&[read, write])), &["orders"], true),
    ] {
        let code = code(scopes(asked.clone()), &caller("acme", granted, &[], "jwt"));
        assert_eq!(code, missing.then_some("scope_missing"), "{asked:?} {granted:?}");
    }
}

#[test]
fn one_group_of_several_is_enough() {
    let asked = || Conditions { groups: texts(&["staff", "admins"]), ..Conditions::default() };
    assert_eq!(code(asked(), &caller("", &[], &["readers", "admins"], "jwt")), None);
    assert_eq!(code(asked(), &caller("", &["staff"], &["readers"], "jwt")), Some("group_missing"));
}

#[test]
fn a_condition_that_is_false_fails_or_is_no_truth_denies() {
    let caller = caller("acme", &[], &[], "jwt");
    for (when, denied) in [
        ("claims.org == params.org", None),
        ("claims.org != params.org", Some("the condition claims.org != params.org is false")),
        ("claims.none == 'x'", Some("the condition claims.none == 'x' fails: there is no claims.none")),
        ("claims.org", Some("the condition claims.org fails: text is neither true nor false")),
    ] {
        let when_of = Conditions { when: Some(expression_of(when, &["org"])), ..Conditions::default() };
        let refused = verdict(&asks(when_of, Mode::Enforce), &caller).err();
        assert_eq!(refused, denied.map(|words| ("condition_failed", words.to_owned())), "{when}");
    }
}

#[test]
fn all_that_is_asked_must_be_met_and_the_broadest_that_is_not_is_told() {
    let all = || Conditions {
        tenants: vec![Pattern::new("acme")],
        scopes: Some(Scopes::All(texts(&["read"]))),
        groups: texts(&["staff"]),
        when: Some(expression_of("caller.id == 'ada'", &[])),
    };
    for (tenant, scopes, groups, denied) in [
        ("acme", &["read"][..], &["staff"][..], None),
        ("other", &[], &[], Some("tenant_denied")),
        ("acme", &[], &[], Some("scope_missing")),
        ("acme", &["read"], &[], Some("group_missing")),
    ] {
        assert_eq!(code(all(), &caller(tenant, scopes, groups, "jwt")), denied);
    }
    let watching = Access { unidentified: Mode::Shadow, ..asks(all(), Mode::Enforce) };
    assert!(
        verdict(&watching, &caller("", &[], &[], "none")).is_ok(),
        "an `auth` in shadow lets who is not known pass"
    );
    assert!(verdict(&watching, &caller("", &[], &[], "jwt")).is_err());
    assert!(verdict(&Access::default(), &caller("", &[], &[], "none")).is_ok(), "what asks nothing lets anyone pass");
}

#[test]
fn only_who_came_by_a_bearer_token_is_told_which_scopes_it_would_need() {
    let access = asks(scopes(Scopes::All(texts(&["read", "write"]))), Mode::Enforce);
    for (via, told) in [
        ("jwt", Some("Bearer error=\"insufficient_scope\", scope=\"read write\"")),
        ("introspection", Some("Bearer error=\"insufficient_scope\", scope=\"read write\"")),
        ("api_key", None),
        ("basic", None),
    ] {
        let (caller, asked) = (caller("acme", &[], &[], via), asked_with_params("GET /", &[]));
        let refused = access.check(&caller, &asked.facts("orders"), &mut Shadowed::default()).expect_err("a refusal");
        let response = refused.into_response("id");
        assert_eq!(response.status, http::StatusCode::FORBIDDEN);
        let challenge = response.headers.get("www-authenticate").map(|value| value.to_str().expect("text"));
        assert_eq!(challenge, told, "{via}");
    }
}

#[test]
fn a_scope_is_what_can_stand_between_quotes() {
    for text in ["a", "orders:read", "https://example.com/scope", "!#[]~"] {
        assert!(is_scope(text), "{text}");
    }
    for text in ["", "a b", "a\"b", "a\\b", "ä", "a\n"] {
        assert!(!is_scope(text), "{text}");
    }
}

proptest! {
    #[test]
    fn a_pattern_fits_what_the_same_regex_fits(
        pattern in "[ab*]{0,6}",
        text in "[ab]{0,8}",
    ) {
        let regex = regex::Regex::new(&format!("^{}$", pattern.replace('*', ".*"))).expect("a regex");
        prop_assert_eq!(Pattern::new(pattern).fits(&text), regex.is_match(&text));
    }

    #[test]
    fn in_shadow_nobody_is_refused_and_all_that_would_be_are_taken_down(
        tenant in "[a-c]?",
        granted in proptest::collection::vec("[a-c]", 0..3),
    ) {
        let conditions = || Conditions { scopes: Some(Scopes::Any(texts(&["a"]))), ..tenants(&["a", "b"]) };
        let granted: Vec<_> = granted.iter().map(String::as_str).collect();
        let caller = caller(&tenant, &granted, &[], "jwt");
        let asked = asked_with_params("GET /", &[]);
        let mut shadowed = Shadowed::default();
        let watched = asks(conditions(), Mode::Shadow).check(&caller, &asked.facts("r"), &mut shadowed);
        prop_assert!(watched.is_ok());
        prop_assert_eq!(shadowed.codes(), code(conditions(), &caller).into_iter().collect::<Vec<_>>());
        let mut untouched = Shadowed::default();
        prop_assert!(asks(conditions(), Mode::Off).check(&caller, &asked.facts("r"), &mut untouched).is_ok());
        prop_assert!(untouched.all().is_empty());
    }
}
