//! What callers may do, as a user has it: asked of `explain`, and of a gateway that runs.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollgate::clock::{Clock, SystemClock};

use crate::cli::{Config, Dev, run};
use crate::dynamo;

const CONFIG: &str = r#"version: 1
upstreams: {orders: {targets: "http://127.0.0.1:9"}}
auth: {partners: {api_key: {header: x-api-key, pepper: "file:pepper.txt"}}}
defaults: {auth: partners, allow: {tenants: ["*"]}}
routes:
  - name: order
    match: {path: "/orgs/{org}/orders"}
    allow: {tenants: [acme, "acme-*"], scopes: [orders:read], groups: [staff], when: "claims.org == params.org && now - claims.auth_time < 900"}
    request: {headers: {set: {x-tenant: "${caller.tenant}", x-org: "${claims.org}"}}}
    to: orders
  - {name: read, match: {path: /read}, allow: {scopes: [orders:read]}, to: {respond: {body: "read by ${caller.tenant}"}}}
  - {name: watched, match: {path: /watched}, allow: {scopes: [orders:read], mode: shadow}, to: {respond: {body: watched}}}
  - {name: acme, match: {path: /acme}, allow: {tenants: [acme]}, to: {respond: {body: acme}}}
  - {name: passed-on, auth: none, allow: {mode: off}, match: {path: /passed/on}, to: orders}
  - {name: open, auth: none, match: {path: /open}, allow: {when: "request.query.a == '1'"}, to: {respond: {body: open}}}
"#;

fn config() -> Config {
    let config = Config::of(CONFIG);
    config.add("pepper.txt", "a pepper that is long enough");
    config
}

/// What `explain` says of a request by this caller, on standard output and standard error.
async fn explain(caller: &str, target: &str) -> (Option<i32>, String, String) {
    let config = config();
    config.add("caller.json", caller);
    let (path, caller) = (config.path(), config.path().with_file_name("caller.json"));
    let more = ["--as", caller.to_str().unwrap(), "GET", target];
    run(&[&["explain", "--config", path.to_str().unwrap()], &more[..]].concat()).await
}

fn caller(tenant: &str, scopes: &str, groups: &str, age: u64) -> String {
    let now = SystemClock.now().secs();
    json!({
        "id": "ada", "tenant": tenant, "scopes": [scopes], "groups": [groups],
        "claims": {"org": "north", "auth_time": now - age},
    })
    .to_string()
}

#[tokio::test]
async fn explain_takes_a_caller_for_granted_and_says_what_it_may_do_and_why_not() {
    let target = "/orgs/north/orders";
    let (code, out, err) = explain(&caller("acme-eu", "orders:read", "staff", 60), target).await;
    assert_eq!(code, Some(0), "{err}");
    for told in [
        "caller.json: passes (caller ada, tenant acme-eu, scopes orders:read, groups staff, via jwt)\n",
        "  permit    tenants acme, acme-*; all scopes of orders:read; any group of staff; when claims.org == params.org && \
         now - claims.auth_time < 900: passes\n",
        "  forward   x-tenant: acme-eu\n",
        "  forward   x-org: north\n",
    ] {
        assert!(out.contains(told), "{told} in {out}");
    }
    assert!(out.contains("  identify  assumed from "), "{out}");
    for (caller, target, why) in [
        (caller("other", "orders:read", "staff", 60), target, "tenant_denied: the tenant \"other\" is not served here"),
        (caller("", "orders:read", "staff", 60), target, "tenant_denied: the tenant \"\" is not served here"),
        (
            caller("acme", "orders:list", "staff", 60),
            target,
            "scope_missing: of the scopes \"orders:read\" the caller has \"orders:list\"",
        ),
        (
            caller("acme", "orders:read", "guests", 60),
            target,
            "group_missing: the caller's groups \"guests\" are not served here",
        ),
        (
            caller("acme", "orders:read", "staff", 60),
            "/orgs/south/orders",
            "condition_failed: the condition claims.org == params.org",
        ),
        (caller("acme", "orders:read", "staff", 1000), target, "900 is false"),
        (
            r#"{"id": "ada", "tenant": "acme", "scopes": ["orders:read"], "groups": ["staff"]}"#.to_owned(),
            target,
            "fails: there is no claims.",
        ),
    ] {
        let (_, out, _) = explain(&caller, target).await;
        let permit = out.lines().find(|line| line.starts_with("  permit")).expect("the stage is told");
        assert!(permit.contains(": stops here, ") && permit.contains(why), "{why} in {permit}");
        assert!(out.contains("  status    403\n") && !out.contains("  limit "), "{out}");
    }
}

#[tokio::test]
async fn explain_says_what_a_permission_in_shadow_would_refuse_and_assumes_nobody_where_anyone_may_come() {
    let (_, out, _) = explain(&caller("acme", "none", "none", 0), "/watched").await;
    assert!(
        out.contains("(shadow): would refuse, scope_missing: of the scopes") && out.contains("status    200"),
        "{out}"
    );
    let (_, out, _) = explain(&caller("acme", "none", "none", 0), "/open?a=1").await;
    assert!(out.contains("  identify  none: anyone: passes\n") && !out.contains("assumed"), "{out}");
    let (_, out, _) = explain(&caller("acme", "none", "none", 0), "/open").await;
    assert!(
        out.contains("condition_failed: the condition request.query.a == '1' fails: there is no request.query"),
        "{out}"
    );
}

#[tokio::test]
async fn a_caller_that_cannot_be_read_is_an_error_that_names_its_file() {
    for (caller, why) in [
        ("{", "caller.json: it is no JSON"),
        (r#"{"id": "ada", "scope": "a"}"#, "caller.json: unknown key `scope`"),
        (r#"{"tenant": "acme"}"#, "caller.json: it needs `id`"),
    ] {
        let (code, out, err) = explain(caller, "/read").await;
        assert!((code, out.as_str()) == (Some(1), "") && err.contains(why), "{why} in {err}");
    }
    let (code, _, err) = run(&["explain", "--as", "no-such-file.json", "GET", "/"]).await;
    assert!(code == Some(1) && err.contains("no-such-file.json: "), "{err}");
}

#[tokio::test]
async fn no_client_can_tell_an_upstream_what_the_gateway_tells() {
    let config = config();
    let path = config.path();
    let mut args = vec!["explain", "--config", path.to_str().unwrap(), "GET", "/passed/on", "-H", "x-own: kept"];
    for field in
        ["Client-Cert: forged", "client_cert: forged", "X_Amzn-Mtls_ClientCert: forged", "CLIENT.CERT.CHAIN: forged"]
    {
        args.extend(["-H", field]);
    }
    let (code, out, err) = run(&args).await;
    assert!(code == Some(0) && out.contains("  forward   x-own: kept\n") && !out.contains("forged"), "{out}{err}");
}

#[tokio::test]
async fn a_running_gateway_lets_in_whom_a_route_allows_and_logs_whom_it_does_not() {
    let (config, state) = (config(), format!("dynamodb:{}", dynamo::start()));
    let path = config.path();
    let mut keys = Vec::new();
    for (tenant, scope) in [("acme", "orders:read"), ("acme", "orders:list"), ("other", "orders:read")] {
        let args = ["keys", "create", "--config", path.to_str().unwrap(), "--state", &state, "--tenant", tenant];
        let (code, out, err) = run(&[&args[..], &["--scopes", scope]].concat()).await;
        assert_eq!(code, Some(0), "{err}");
        keys.push(format!("x-api-key: {}", out.trim()));
    }
    let mut dev = Dev::start(&config, &["--state", &state]).await;
    for (target, key, status, body) in [
        ("/read", &keys[0], 200, "read by acme"),
        ("/read", &keys[1], 403, "\"code\":\"scope_missing\""),
        ("/read", &keys[2], 200, "read by other"),
        ("/acme", &keys[2], 403, "\"code\":\"tenant_denied\""),
        ("/watched", &keys[1], 200, "watched"),
    ] {
        let (answered, told) = dev.get_with(target, key).await;
        assert!(answered == status && told.contains(body), "{target}: {answered} {told}");
    }
    let logged = dev.line("scope_missing").await;
    assert!(logged.contains("403 GET /read") && logged.contains("of the scopes"), "{logged}");
    let whole = dev.whole("/read", &keys[1]).await;
    assert!(!whole.to_ascii_lowercase().contains("www-authenticate"), "a key is no bearer token: {whole}");
}

const TOKENS: &str = r#"version: 1
upstreams: {orders: {targets: "http://127.0.0.1:9"}}
auth:
  customers:
    jwt:
      {issuer: shop, any_audience: true, algorithms: HS256, keys: {secret: "file:secret.txt"}, forward: {sub: x-user-id, org: x-tenant-id}}
defaults: {auth: customers}
routes:
  - {name: answered, match: {path: "/orgs/{org}"}, allow: {scopes: [orders:read, orders:list], when: "claims.org == params.org && now - claims.auth_time < 900"}, to: {respond: {body: "${claims.sub} of ${claims.org}"}}}
  - {name: passed-on, match: {path: /passed/on}, to: orders}
"#;

/// A token of the shared secret (RFC 7515 §3.1).
fn token(claims: &Value) -> String {
    let signed = [json!({"alg": "HS256", "typ": "JWT"}), claims.clone()]
        .map(|part| URL_SAFE_NO_PAD.encode(part.to_string()))
        .join(".");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes())))
}

const SECRET: &str = "a secret of thirty-two bytes and more";

#[tokio::test]
async fn a_tokens_claims_decide_are_told_on_and_say_what_another_token_would_need() {
    let config = Config::of(TOKENS);
    config.add("secret.txt", SECRET);
    let now = SystemClock.now().secs();
    let claims = |scope: &str, age: u64| json!({"iss": "shop", "sub": "ada", "org": "north", "scope": scope, "auth_time": now - age, "exp": now + 600});
    let bearer = |claims: &Value| format!("authorization: Bearer {}", token(claims));
    let good = bearer(&claims("orders:list orders:read", 60));
    let dev = Dev::start(&config, &[]).await;
    for (target, field, status, body) in [
        ("/orgs/north", &good, 200, "ada of north"),
        ("/orgs/south", &good, 403, "\"code\":\"condition_failed\""),
        ("/orgs/north", &bearer(&claims("orders:list orders:read", 901)), 403, "\"code\":\"condition_failed\""),
        ("/orgs/north", &bearer(&claims("orders:read", 60)), 403, "\"code\":\"scope_missing\""),
        ("/orgs/north", &"x-other: 1".to_owned(), 401, "\"code\":\"credentials_missing\""),
    ] {
        let (answered, told) = dev.get_with(target, field).await;
        assert!(answered == status && told.contains(body), "{target}: {answered} {told}");
    }
    let whole = dev.whole("/orgs/north", &bearer(&claims("orders:read", 60))).await;
    let challenge = "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"orders:read orders:list\"\r\n";
    assert!(whole.contains(challenge), "{whole}");

    let path = config.path();
    let args = ["explain", "--config", path.to_str().unwrap(), "GET", "/passed/on", "-H", &good];
    let (_, out, _) = run(&[&args[..], &["-H", "X_User_ID: forged", "-H", "connection: x-user-id"]].concat()).await;
    assert!(out.contains("  forward   x-user-id: ada\n") && out.contains("  forward   x-tenant-id: north\n"), "{out}");
    assert!(!out.contains("forged") && !out.contains("Bearer"), "{out}");
    config.add("caller.json", r#"{"id": "bo", "claims": {"sub": "bo"}}"#);
    let caller = path.with_file_name("caller.json");
    let (_, out, _) = run(&[&args[..], &["--as", caller.to_str().unwrap()]].concat()).await;
    assert!(out.contains("  forward   x-user-id: bo\n") && !out.contains("x-tenant-id"), "{out}");
}

#[tokio::test]
async fn who_watches_the_gateway_sees_what_a_policy_in_shadow_would_refuse() {
    let config = Config::of(
        "version: 1\nroutes: [{name: r, auth: none, match: {path: /}, allow: {when: \"false\", mode: shadow}, to: {respond: {}}}]",
    );
    let mut dev = Dev::start(&config, &[]).await;
    assert_eq!(dev.get("/").await.0, 200);
    let line = dev.line("GET / ").await;
    assert!(line.ends_with("  would refuse, condition_failed: the condition false is false"), "{line}");
}
