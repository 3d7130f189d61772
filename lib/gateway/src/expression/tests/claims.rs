//! What a token says of its caller, and the time.

use super::*;
use crate::auth::{Caller, Identity};

fn known() -> Asked {
    let mut asked = testkit::asked_with_params("GET /orders/7", &[("id", "acme")]);
    let claims = serde_json::json!({
        "sub": "ada", "org": "acme", "email_verified": true, "locked": false, "nothing": null,
        "auth_time": 999_500, "level": 2.0, "score": 1.5, "large": u64::MAX, "tiny": -3,
        "groups": ["staff", "admin"], "empty": [], "https://x/y": "z", "it's": {"a\\b": "q"},
        "realm_access": {"roles": ["offline", "orders"], "deep": {"er": "x"}},
        "orgs": [{"id": "acme", "admin": true}, {"id": "other", "admin": false}],
        "a": {"b": "nested"}, "a['b']": "flat",
    });
    let claims = claims.as_object().expect("a map").clone();
    asked.caller = Caller::of_identity(Identity { via: "jwt", id: "ada".to_owned(), claims, ..Identity::default() });
    asked
}

fn text(expression: &str) -> Result<String, String> {
    let asked = known();
    let compiled = compile(expression, Place::Request).map_err(|problems| format!("{problems:?}"))?;
    compiled.text(&asked.facts("orders")).map_err(|failure| failure.to_string())
}

fn truth(expression: &str) -> Result<bool, String> {
    let asked = known();
    let compiled = compile(expression, Place::Allow).map_err(|problems| format!("{problems:?}"))?;
    compiled.truth(&asked.facts("orders")).map_err(|failure| failure.to_string())
}

#[test]
fn any_claim_is_read_by_its_path_in_all_spellings() {
    for (expression, value) in [
        ("claims.sub", "ada"),
        ("claims['sub']", "ada"),
        ("claims['https://x/y']", "z"),
        (r#"claims["it's"]['a\\b']"#, "q"),
        ("claims.realm_access.deep.er", "x"),
        ("claims['realm_access'].deep['er']", "x"),
        ("claims.realm_access.roles[1]", "orders"),
        ("claims.orgs[0].id", "acme"),
        ("claims[params.id == 'acme' ? 'org' : 'sub']", "acme"),
        ("claims.auth_time", "999500"),
        ("claims.level", "2"),
        ("claims.score", "1.5"),
        ("claims.large", "18446744073709551615"),
        ("claims.tiny", "-3"),
        ("claims.email_verified", "true"),
        ("claims.nothing", ""),
        (r#"claims.a.b + ' ' + claims["a['b']"]"#, "nested flat"),
        ("string(size(claims)) + string(size(claims.groups))", "182"),
        ("claims.org + '-' + claims.sub", "acme-ada"),
    ] {
        assert_eq!(text(expression).as_deref(), Ok(value), "{expression}");
    }
}

#[test]
fn a_claim_alone_is_what_it_is_to_the_interpreter() {
    for claim in ["sub", "auth_time", "level", "score", "large", "tiny", "email_verified", "nothing", "groups", "none"]
    {
        let (alone, interpreted) = (text(&format!("claims.{claim}")), text(&format!("[claims.{claim}][0]")));
        assert_eq!(alone.ok(), interpreted.ok(), "{claim}");
    }
}

#[test]
fn claims_are_compared_searched_and_gone_through() {
    for (expression, value) in [
        ("claims.org == params.id", true),
        ("claims.email_verified", true),
        ("claims.email_verified && !claims.locked", true),
        ("claims.email_verified == true", true),
        ("claims.nothing == null", true),
        ("claims.level == 2 && claims.level >= 2 && claims.level == 2.0", true),
        ("claims.score > 1 && claims.score < 2", true),
        ("claims.large > claims.auth_time", true),
        ("'admin' in claims.groups", true),
        ("'admin' in claims.empty", false),
        ("'orders' in claims.realm_access.roles", true),
        ("'roles' in claims.realm_access", true),
        ("'org' in claims", true),
        ("'none' in claims", false),
        ("claims.groups.exists(group, group.startsWith('adm'))", true),
        ("claims.orgs.exists(org, org.id == params.id && org.admin)", true),
        ("claims.orgs.all(org, org.id in claims.groups)", false),
        ("claims.groups == ['staff', 'admin']", true),
        ("claims.realm_access.exists(key, key == 'deep')", true),
        ("has(claims.org)", true),
        ("has(claims.nothing)", true),
        ("has(claims.none)", false),
        ("has(claims.none.deeper)", false),
        ("has(claims.sub.deeper)", false),
        ("has(claims['https://x/y'])", true),
        ("has(claims.none) && claims.none == 'x'", false),
        ("!has(claims.act) && claims.sub != ''", true),
        ("now == 1000000", true),
        ("now - claims.auth_time < 900", true),
        ("now - claims.auth_time < 500", false),
        ("now < claims.score", false),
    ] {
        assert_eq!(truth(expression), Ok(value), "{expression}");
    }
}

#[test]
fn a_claim_that_is_not_there_or_does_not_fit_fails() {
    for (expression, words) in [
        ("claims.none", "there is no claims.none"),
        ("claims.none == 'x'", "there is no claims.none"),
        ("claims.none != 'x'", "there is no claims.none"),
        ("claims.sub.deeper == 'x'", "there is no claims.sub.deeper"),
        ("claims['https://x/z'] == 'x'", "there is no claims['https://x/z']"),
        ("'x' in claims.none", "there is no claims.none"),
        ("claims.sub", "text is neither true nor false"),
        ("claims.level", "a number is neither true nor false"),
        ("claims.groups", "a list is neither true nor false"),
        ("claims.nothing", "null is neither true nor false"),
    ] {
        assert_eq!(truth(expression), Err(words.to_owned()), "{expression}");
    }
    for expression in ["claims.groups", "claims.realm_access"] {
        let failed = text(expression).expect_err(expression);
        assert!(failed.ends_with("is no text"), "{failed}");
    }
    assert!(truth("'x' in claims.sub").is_err() && truth("now - claims.score > 1").is_err());
}

#[test]
fn who_brings_no_claims_has_none() {
    let asked = asked();
    for expression in ["claims.sub == ''", "claims.sub != ''", "claims.locked"] {
        let failed = compile(expression, Place::Allow).expect("an expression").truth(&asked.facts("orders"));
        assert!(failed.is_err(), "{expression}");
    }
    let has = compile("has(claims.sub)", Place::Allow).expect("an expression");
    assert_eq!(has.truth(&asked.facts("orders")), Ok(false));
}

#[test]
fn what_reads_claims_waits_for_the_caller() {
    for expression in ["claims.sub", "has(claims.sub)", "claims.sub + '!'", "size(claims)", "'a' in claims.groups"] {
        assert!(compile(expression, Place::LimitKey).expect("an expression").reads(Part::Caller), "{expression}");
    }
    assert!(!compile("now + 1", Place::LimitKey).expect("an expression").reads(Part::Caller));
}

#[test]
fn templates_take_claims_and_leave_out_what_is_none() {
    let asked = known();
    for (source, filled) in
        [("${claims.org}/${claims.none}.", "acme/."), ("${claims.groups}!", "!"), ("${now}", "1000000")]
    {
        assert_eq!(template(source, Place::Request).expect("a template").render(&asked.facts("r")), filled);
    }
    let path = template("/o/${claims['https://x/y']}/${claims.realm_access.deep.er}", Place::Request).expect("a path");
    assert_eq!(path.render_path(&asked.facts("r")).expect("a path"), "/o/z/x");
}
