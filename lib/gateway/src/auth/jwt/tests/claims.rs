//! What claims must say, and what they make of a caller.

use std::time::Duration;

use super::*;
use crate::auth::ClaimPath;

/// The claims with one changed, `null` in a string for none.
fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// One signer for all tests of a function: what counts here is what it signs.
struct Desk(Signer);

impl Desk {
    fn new() -> Self {
        Self(Signer::new(Algorithm::EdDsa, "k"))
    }

    fn entry(&self, change: impl FnOnce(&mut Policy)) -> Jwt {
        let mut policy = policy(Keys::Fixed(set_of(&[&self.0])));
        change(&mut policy);
        Jwt::new("customers", policy)
    }

    fn check(&self, jwt: &Jwt, claims: &Value) -> Result<Caller, String> {
        check(jwt, &self.0.token(claims))
    }

    /// What is made of claims that are text, good ones around them.
    fn check_text(&self, jwt: &Jwt, claims: &str) -> Result<Caller, String> {
        check(jwt, &self.0.token_of(r#"{"alg":"EdDSA","kid":"k"}"#, claims))
    }
}

#[test]
fn the_issuer_and_an_audience_must_be_exactly_ours() {
    let desk = Desk::new();
    let jwt = desk.entry(|_| ());
    for (claims, why) in [
        (without("iss"), "the token has no iss"),
        (with("iss", json!("https://issuer.example")), "the token's iss is \"https://issuer.example\""),
        (with("iss", json!("HTTPS://issuer.example/")), "the token's iss is \"HTTPS://issuer.example/\""),
        (with("iss", json!(["https://issuer.example/"])), "the token's iss is no string"),
        (without("aud"), "the token has no aud"),
        (with("aud", json!("api://gateway2")), "the token's aud is \"api://gateway2\""),
        (with("aud", json!("API://gateway")), "the token's aud is \"API://gateway\""),
        (with("aud", json!("api://gateway api://other")), "the token's aud is \"api://gateway api://other\""),
        (with("aud", json!([])), "the token's aud is \"\""),
        (with("aud", json!(["a", "b"])), "the token's aud is \"a b\""),
        (with("aud", json!([["api://gateway"]])), "the token's aud is no list of strings"),
        (with("aud", json!(["api://gateway", 7])), "the token's aud is no list of strings"),
        (with("aud", json!({"api://gateway": true})), "the token's aud is neither a string nor a list of strings"),
        (with("aud", Value::Null), "the token's aud is neither a string nor a list of strings"),
    ] {
        assert_eq!(desk.check(&jwt, &claims).unwrap_err(), why, "{claims}");
    }
    assert!(desk.check(&jwt, &with("aud", json!(["other", "api://gateway"]))).is_ok());
}

#[test]
fn another_claim_may_stand_for_an_audience_that_is_not_there() {
    let desk = Desk::new();
    let jwt = desk.entry(|policy| policy.rules.audience_claim = Some("client_id".to_owned()));
    let mut claims = without("aud");
    assert_eq!(desk.check(&jwt, &claims).unwrap_err(), "the token has no client_id");
    claims["client_id"] = "another".into();
    assert_eq!(desk.check(&jwt, &claims).unwrap_err(), "the token's client_id is \"another\"");
    claims["client_id"] = "api://gateway".into();
    assert!(desk.check(&jwt, &claims).is_ok());
    claims["aud"] = "another".into();
    assert_eq!(desk.check(&jwt, &claims).unwrap_err(), "the token's aud is \"another\"", "one that is there counts");
}

#[test]
fn any_audience_is_taken_where_that_is_written_and_well_formed_all_the_same() {
    let desk = Desk::new();
    let jwt = desk.entry(|policy| policy.rules.audiences.clear());
    for claims in [without("aud"), with("aud", json!("x")), with("aud", json!([]))] {
        assert!(desk.check(&jwt, &claims).is_ok(), "{claims}");
    }
    assert!(desk.check(&jwt, &with("aud", json!(7))).is_err());
}

#[test]
fn claims_that_are_required_have_the_value() {
    let desk = Desk::new();
    let require = [("token_use", json!("access")), ("level", json!(2)), ("active", json!(true))];
    let jwt =
        desk.entry(|policy| policy.rules.require = require.map(|(name, value)| (name.to_owned(), value)).to_vec());
    let mut claims = good();
    assert_eq!(desk.check(&jwt, &claims).unwrap_err(), "the token's token_use is not \"access\"");
    claims["token_use"] = "access".into();
    claims["level"] = json!("2");
    assert_eq!(desk.check(&jwt, &claims).unwrap_err(), "the token's level is not 2");
    claims["level"] = json!(2.0);
    claims["active"] = json!("true");
    assert_eq!(desk.check(&jwt, &claims).unwrap_err(), "the token's active is not true");
    claims["active"] = json!(true);
    assert!(desk.check(&jwt, &claims).is_ok());
    claims["token_use"] = json!(["access"]);
    assert!(desk.check(&jwt, &claims).is_err());
}

#[test]
fn dates_are_numbers_within_bounds() {
    let desk = Desk::new();
    let jwt = desk.entry(|_| ());
    assert_eq!(desk.check(&jwt, &without("exp")).unwrap_err(), "the token has no exp");
    for name in ["exp", "nbf", "iat"] {
        for value in [json!(null), json!("1795522200"), json!(true), json!([1]), json!({})] {
            let why = desk.check(&jwt, &with(name, value)).unwrap_err();
            assert_eq!(why, format!("the token's {name} is no number"));
        }
        for value in
            [json!(-1), json!(-0.5), json!(253_402_300_800_u64), json!(1e300), json!(u64::MAX), json!(i64::MIN)]
        {
            let why = desk.check(&jwt, &with(name, value)).unwrap_err();
            assert_eq!(why, format!("the token's {name} is out of bounds"));
        }
    }
    let text = good().to_string();
    for number in ["1e999", "-1e999", "NaN", "Infinity", "0x10", "01795522200", "+1795522200", "1795522200."] {
        let claims = text.replace(&format!("\"exp\":{}", NOON + 600), &format!("\"exp\":{number}"));
        assert!(claims.contains(number));
        let why = desk.check_text(&jwt, &claims).unwrap_err();
        assert!(why.starts_with("the token's claims: "), "{number}: {why}");
    }
    for (number, good) in
        [("1.7955222e9", true), ("1795521600.5", true), ("1795521600", false), ("1795521599.999", false), ("0", false)]
    {
        let claims = text.replace(&format!("\"exp\":{}", NOON + 600), &format!("\"exp\":{number}"));
        assert_eq!(desk.check_text(&jwt, &claims).is_ok(), good, "{number}");
    }
}

#[test]
fn a_token_is_good_from_nbf_and_iat_until_just_before_exp_with_the_leeway_on_both_ends() {
    let desk = Desk::new();
    let claims = json!({
        "iss": "https://issuer.example/", "aud": "api://gateway", "sub": "u", "iat": 1_000, "nbf": 1_010, "exp": 2_000,
    });
    let at = |jwt: &Jwt, claims: &Value, secs: u64| check_at(jwt, &desk.0.token(claims), Timestamp::from_secs(secs));
    for leeway in [0, 30] {
        let jwt = desk.entry(|policy| policy.rules.leeway = Duration::from_secs(leeway));
        let early = "the token is not good yet: its nbf or iat lies ahead";
        assert_eq!(at(&jwt, &claims, 1_009 - leeway).unwrap_err(), early);
        assert!(at(&jwt, &claims, 1_010 - leeway).is_ok());
        assert!(at(&jwt, &claims, 1_999 + leeway).is_ok());
        assert_eq!(at(&jwt, &claims, 2_000 + leeway).unwrap_err(), "the token has expired");
        let mut later = claims.clone();
        later["iat"] = json!(1_500);
        assert_eq!(at(&jwt, &later, 1_499 - leeway).unwrap_err(), early, "issued ahead of time");
        assert!(at(&jwt, &later, 1_500 - leeway).is_ok());
    }
}

#[test]
fn a_token_may_be_good_for_no_longer_than_max_lifetime() {
    let desk = Desk::new();
    let jwt = desk.entry(|policy| policy.rules.max_lifetime = Some(Duration::from_secs(660)));
    assert!(desk.check(&jwt, &good()).is_ok());
    assert_eq!(
        desk.check(&jwt, &with("exp", json!(NOON + 601))).unwrap_err(),
        "the token is good for longer than 660s"
    );
    let why = desk.check(&jwt, &without("iat")).unwrap_err();
    assert_eq!(why, "the token has no iat, which `max_lifetime` is counted from");
}

#[test]
fn claims_are_one_object_with_no_member_twice_at_any_level() {
    let desk = Desk::new();
    let jwt = desk.entry(|_| ());
    let text = good().to_string();
    let more = |more: &str| format!("{},{more}}}", text.strip_suffix('}').unwrap());
    for claims in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "7".to_owned(),
        "\"text\"".to_owned(),
        format!("[{text}]"),
        format!("{text}{text}"),
        format!("{text}x"),
        text.strip_suffix('}').unwrap().to_owned(),
        more(r#""sub":"admin""#),
        more(r#""\u0073ub":"admin""#),
        more(r#""exp":1"#),
        more(r#""a":{"b":{"c":1,"c":2}}"#),
        more(r#""a":[{"c":1,"c":2}]"#),
        more(r#""a":"\ud800""#),
        more("\"a\":\"\u{1}\""),
        more(&format!(r#""a":{}{}"#, "[".repeat(32), "]".repeat(32))),
        more(&format!(r#""a":{}"#, "[".repeat(5_000))),
        more(&format!(r#""a":{}1{}"#, r#"{"a":"#.repeat(1_000), "}".repeat(1_000))),
    ] {
        let why = desk.check_text(&jwt, &claims).unwrap_err();
        assert!(why.starts_with("the token's claims: "), "{why}");
    }
    assert!(desk.check_text(&jwt, &more(&format!(r#""a":{}{}"#, "[".repeat(31), "]".repeat(31)))).is_ok());
    let not_utf8 = [text.as_bytes(), &[0xff]].concat();
    let signed = format!("{}.{}", signer::b64(r#"{"alg":"EdDSA"}"#), signer::b64(not_utf8));
    let token = format!("{signed}.{}", signer::b64(desk.0.sign(signed.as_bytes())));
    assert!(check(&jwt, &token).is_err());
}

#[test]
fn a_caller_is_made_of_the_claims_that_are_named() {
    let desk = Desk::new();
    let path = |text: &str| ClaimPath::parse(text).unwrap();
    let jwt = desk.entry(|policy| {
        policy.mapping = Mapping {
            id: path("claims.user.id"),
            tenant: Some(path("claims['https://example.com/org']")),
            plan: Some(path("claims.plan")),
            scopes: vec![path("claims.permissions")],
            groups: Some(path("claims[\"cognito:groups\"]")),
            forward: Vec::new(),
        }
    });
    let mut claims = good();
    assert_eq!(desk.check(&jwt, &claims).unwrap_err(), "the token's claims: there is no claims.user.id");
    claims["user"] = json!({"id": 42});
    let caller = desk.check(&jwt, &claims).unwrap();
    let found = (caller.via(), caller.id(), caller.tenant(), caller.plan(), caller.scopes(), caller.groups());
    assert_eq!(found, ("jwt", "42", "", "", [].as_slice(), [].as_slice()));
    assert_eq!(caller.claims(), claims.as_object().unwrap());
    claims["https://example.com/org"] = "acme".into();
    claims["plan"] = "pro".into();
    claims["permissions"] = json!(["orders:read", "orders write"]);
    claims["cognito:groups"] = json!(["staff", "Domain Users"]);
    let caller = desk.check(&jwt, &claims).unwrap();
    assert_eq!((caller.tenant(), caller.plan()), ("acme", "pro"));
    assert_eq!(caller.scopes(), ["orders:read", "orders write"]);
    assert_eq!(caller.groups(), ["staff", "Domain Users"]);
    claims["cognito:groups"] = json!("Domain Users");
    claims["permissions"] = json!(" orders:read   orders:write ");
    let caller = desk.check(&jwt, &claims).unwrap();
    assert_eq!(
        (caller.scopes(), caller.groups()),
        (["orders:read", "orders:write"].map(str::to_owned).as_slice(), ["Domain Users".to_owned()].as_slice())
    );
    for (name, value, why) in [
        ("plan", json!(["pro"]), "claims.plan is neither text nor a number"),
        ("plan", json!("pro\r\nx: y"), "claims.plan has control characters"),
        ("https://example.com/org", json!(true), "claims['https://example.com/org'] is neither text nor a number"),
        ("permissions", json!([1]), "claims.permissions is no list of texts"),
        ("permissions", json!({}), "claims.permissions is neither text nor a list of texts"),
        ("cognito:groups", json!(7), "claims['cognito:groups'] is neither text nor a list of texts"),
        ("user", json!("u"), "there is no claims.user.id"),
        ("user", json!({"id": ""}), "there is no claims.user.id"),
        ("user", json!({"id": null}), "there is no claims.user.id"),
    ] {
        let mut claims = claims.clone();
        claims[name] = value;
        assert_eq!(desk.check(&jwt, &claims).unwrap_err(), format!("the token's claims: {why}"));
    }
}

#[test]
fn scopes_are_scope_or_scp_where_nothing_is_written() {
    let desk = Desk::new();
    let jwt = desk.entry(|_| ());
    assert_eq!(desk.check(&jwt, &good()).unwrap().scopes(), ["read", "write"]);
    let mut claims = without("scope");
    assert!(desk.check(&jwt, &claims).unwrap().scopes().is_empty());
    claims["scp"] = json!(["a", "b"]);
    assert_eq!(desk.check(&jwt, &claims).unwrap().scopes(), ["a", "b"]);
    claims["scope"] = json!("c");
    assert_eq!(desk.check(&jwt, &claims).unwrap().scopes(), ["c"]);
}

#[test]
fn claims_go_on_as_fields_and_none_that_would_say_something_else() {
    let desk = Desk::new();
    let forward =
        [("sub", "x-user-id"), ("n", "x-n"), ("list", "x-list"), ("claims.a.b", "x-b"), ("https://e/x.y", "x-y")];
    let jwt = desk.entry(|policy| {
        let path = |name: &str| ClaimPath::parse(name).unwrap_or_else(|| ClaimPath::named(name));
        policy.mapping.forward = forward.map(|(claim, name)| (path(claim), name.parse().unwrap())).to_vec();
    });
    let names: Vec<_> = jwt.forwards().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["x-user-id", "x-n", "x-list", "x-b", "x-y"]);
    let sent = |claims: &Value| -> Vec<String> {
        let caller = desk.check(&jwt, claims).unwrap();
        let text = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        caller.forward().iter().map(text).collect()
    };
    let mut claims = good();
    claims["n"] = json!(-1.5);
    claims["list"] = json!(["a", 2, true]);
    claims["a"] = json!({"b": false});
    claims["https://e/x.y"] = "Zoë".into();
    assert_eq!(sent(&claims), ["x-user-id: user-1", "x-n: -1.5", "x-list: a,2,true", "x-b: false", "x-y: Zoë"]);
    for value in [
        json!("a\r\nx-admin: true"),
        json!("a\nb"),
        json!("a\0"),
        json!("\t"),
        json!("\u{7f}"),
        json!("\u{85}"),
        json!(""),
        json!(null),
        json!({"a": 1}),
        json!([]),
        json!(["a,b"]),
        json!([["a"]]),
        json!(["a\r\n"]),
        json!([null]),
        json!([""]),
    ] {
        claims["list"] = value.clone();
        assert_eq!(sent(&claims).len(), 4, "{value}");
    }
}

#[test]
fn a_path_to_a_claim_is_written_as_in_expressions() {
    for (text, shown) in [
        ("claims.sub", "claims.sub"),
        ("claims['sub']", "claims.sub"),
        ("claims.a.b_2['c d'].e", "claims.a.b_2['c d'].e"),
        ("claims[\"x]'\"]", "claims['x]'']"),
    ] {
        assert_eq!(ClaimPath::parse(text).unwrap().to_string(), shown);
    }
    for text in [
        "",
        "claims",
        "claims.",
        "claims..a",
        "claims.a-b",
        "claims[a]",
        "claims['a'",
        "claims['']",
        "claimsa",
        "sub",
        "claims.a ",
        "claims['a']b",
    ] {
        assert_eq!(ClaimPath::parse(text), None, "{text}");
    }
}

#[test]
fn a_token_that_is_bound_to_a_key_is_no_bearer_token() {
    let desk = Desk::new();
    let jwt = desk.entry(|_| ());
    for bound in
        [json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}), json!({"x5t#S256": "bwcK"}), json!(null)]
    {
        assert_eq!(desk.check(&jwt, &with("cnf", bound)).unwrap_err(), "the token is bound to a key by its cnf");
    }
    assert!(desk.check(&jwt, &good()).is_ok());
}
