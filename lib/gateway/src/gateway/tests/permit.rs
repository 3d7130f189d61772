//! What callers may do, and what upstreams are told of them: asked once it is known who calls and before limits count
//! it, and never taken from a client.

use proptest::prelude::*;

use super::*;
use crate::auth::{Auth, Challenge, Denied, Identity, Method as AuthMethod, Presented};
use crate::testkit::any_of;

const CONFIG: &str = r#"
version: 1
upstreams: {orders: {targets: "http://orders.internal"}}
auth: {staff: {api_key: {header: x-key, pepper: "env:PEPPER"}}}
limits:
  tenant: {rate: 1/min, by: caller.tenant, algorithm: fixed_window}
  early: {rate: 2/min, by: request.ip, algorithm: fixed_window, before: identify}
  leased: {rate: 40/min, by: request.ip}
defaults: {auth: staff, allow: {scopes: [read]}}
routes:
  - {name: orders, match: {path: "/orders/{org}"}, limits: [tenant], allow: {tenants: [acme], when: "claims.org == params.org"}, to: orders}
  - {name: default, match: {path: /default}, limits: [tenant], to: orders}
  - {name: early, match: {path: /early}, limits: [early], to: orders}
  - {name: leased, match: {path: /leased}, limits: [leased], to: orders}
  - {name: told, match: {path: /told}, allow: {mode: off}, request: {headers: {set: {x-tenant: "${caller.tenant}", x-seen: "${request.headers['x-user-id']}"}}}, to: orders}
  - {name: renamed, match: {path: /renamed}, request: {headers: {rename: {x-user-id: authorization}}}, to: orders}
  - {name: watched, match: {path: /watched}, allow: {mode: shadow}, to: orders}
  - {name: by-header, auth: none, allow: {mode: off}, match: {path: /open, headers: {x-user-id: {present: true}}}, to: {respond: {body: fooled}}}
  - {name: open, auth: none, allow: {mode: off}, match: {path: /open}, to: orders}
"#;

/// A method of tests: whoever sends `x-key` is the tenant and has the one scope that it says, and its user is told on.
#[derive(Debug)]
struct Says;

impl AuthMethod for Says {
    fn identify<'a>(
        &'a self,
        asked: &'a Presented<'a>,
        _: &'a World,
        _: &'a mut After,
    ) -> BoxFuture<'a, Result<Caller, Denied>> {
        let said = asked.headers.get("x-key").ok_or(Denied::Missing).map(|said| {
            let (tenant, scope) = said.to_str().unwrap().split_once(' ').unwrap();
            let claims = serde_json::json!({"org": tenant});
            Caller::of_identity(Identity {
                via: "jwt",
                id: "ada".to_owned(),
                tenant: tenant.to_owned(),
                scopes: vec![scope.to_owned()],
                claims: claims.as_object().unwrap().clone(),
                forward: vec![(USER, HeaderValue::from_static("ada"))],
                ..Identity::default()
            })
        });
        Box::pin(std::future::ready(said))
    }

    fn strip(&self, request: &mut Request) {
        request.headers.remove("x-key");
    }

    fn challenge(&self) -> Challenge {
        Challenge::Bearer
    }

    fn forwards(&self) -> Vec<HeaderName> {
        vec![USER]
    }

    fn sends(&self, claims: &serde_json::Map<String, serde_json::Value>) -> Vec<(HeaderName, HeaderValue)> {
        claims.get("sub").map(|sub| (USER, sub.as_str().unwrap().parse().unwrap())).into_iter().collect()
    }

    fn describe(&self) -> String {
        "says".to_owned()
    }
}

const USER: HeaderName = HeaderName::from_static("x-user-id");

fn gateway() -> (Gateway, Arc<Scripted>) {
    let env = |name: &str| (name == "PEPPER").then(|| "0123456789abcdef".to_owned());
    let compiled = compile("gateway.yaml", Host { files: &OneFile(CONFIG), env: &env });
    let mut routes = compiled.unwrap_or_else(|problems| panic!("{problems}")).routes;
    for route in routes.routes.iter_mut().filter(|route| matches!(route.auth, Auth::Any(_))) {
        route.auth = any_of(&[("says", Arc::new(Says), false)]);
    }
    routes.asserted = Asserted::new(Says.forwards());
    let (Gateway { world, .. }, upstream) = super::gateway(ALL);
    (Gateway::new(routes, world), upstream)
}

fn by(target: &str, key: &str) -> Request {
    let mut request = request(target);
    request.headers.insert("x-key", key.parse().unwrap());
    request
}

fn stopped(served: &Served) -> (u16, Option<&'static str>) {
    (served.response.status.as_u16(), served.exchange.stopped_by)
}

fn told(upstream: &Scripted) -> HeaderMap {
    upstream.sent.lock().unwrap().last().expect("something was sent").1.clone()
}

#[tokio::test]
async fn a_route_lets_in_whom_it_allows_and_tells_the_others_why_not() {
    let (gateway, upstream) = gateway();
    for (target, key, stop) in [
        ("GET /orders/acme", "acme none", (200, None)),
        ("GET /orders/other", "acme none", (403, Some("condition_failed"))),
        ("GET /orders/other", "other none", (403, Some("tenant_denied"))),
        ("GET /default", "third write", (403, Some("scope_missing"))),
        ("GET /default", "third read", (200, None)),
    ] {
        let served = gateway.handle(by(target, key)).await;
        assert_eq!(stopped(&served), stop, "{target} {key}");
        assert!(served.exchange.caller.is_some(), "who was refused is known to the log");
    }
    assert_eq!(stopped(&gateway.handle(request("GET /default")).await), (401, Some("credentials_missing")));
    assert_eq!(sent(&upstream).len(), 2);
}

#[tokio::test]
async fn a_refusal_says_its_code_its_words_go_to_the_log_and_a_bearer_is_told_the_scopes() {
    let (gateway, _) = gateway();
    let Served { response, exchange, .. } = gateway.handle(by("GET /default", "third write")).await;
    assert_eq!(response.headers["www-authenticate"], "Bearer error=\"insufficient_scope\", scope=\"read\"");
    assert_eq!(exchange.detail.as_deref(), Some("of the scopes \"read\" the caller has \"write\""));
    let body = text(response.body).await;
    assert!(body.contains("\"code\":\"scope_missing\"") && !body.contains("write"), "{body}");
}

#[tokio::test]
async fn in_shadow_who_is_not_allowed_passes_and_is_taken_down() {
    let (gateway, _) = gateway();
    let served = gateway.handle(by("GET /watched", "third write")).await;
    assert_eq!(stopped(&served), (200, None));
    assert_eq!(served.exchange.shadowed.codes(), ["scope_missing"]);
    assert!(gateway.handle(by("GET /watched", "third read")).await.exchange.shadowed.codes().is_empty());
}

#[tokio::test]
async fn who_is_not_allowed_is_not_counted_as_a_caller_but_as_what_floods() {
    let (gateway, _) = gateway();
    for _ in 0..3 {
        assert_eq!(stopped(&gateway.handle(by("GET /default", "acme write")).await), (403, Some("scope_missing")));
    }
    assert_eq!(stopped(&gateway.handle(by("GET /default", "acme read")).await), (200, None));
    assert_eq!(stopped(&gateway.handle(by("GET /default", "acme read")).await), (429, Some("over_limit")));
    for stop in [(403, Some("scope_missing")), (403, Some("scope_missing")), (429, Some("over_limit"))] {
        let served = gateway.handle(by("GET /early", "acme write")).await;
        assert_eq!(stopped(&served), stop);
        assert!(served.response.headers.contains_key("ratelimit"), "what was counted is told");
    }
}

/// How many of 60 pass a leased limit of 40, where as many that are not allowed come between them.
async fn pass_of_sixty(refused: bool) -> usize {
    let (gateway, _) = gateway();
    let mut passed = 0;
    for _ in 0..60 {
        for key in ["a read", "a write"].into_iter().take(1 + usize::from(refused)) {
            let served = gateway.handle(by("GET /leased", key)).await;
            passed += usize::from(served.response.status == StatusCode::OK);
            served.after.run(None).await;
        }
    }
    passed
}

#[tokio::test]
async fn leases_lose_nothing_to_requests_that_are_not_allowed() {
    let (alone, among) = (pass_of_sixty(false).await, pass_of_sixty(true).await);
    assert!((30..=40).contains(&alone), "of the limit at most a quarter is held back: {alone}");
    assert_eq!(among, alone);
}

#[tokio::test]
async fn an_upstream_is_told_who_calls_by_the_gateway_alone() {
    let (gateway, upstream) = gateway();
    let mut request = by("GET /told", "acme read");
    for name in
        ["x-user-id", "x_user_id", "X-User_Id", "client-cert", "x-amzn-mtls-clientcert", "x-forwarded-client-cert"]
    {
        request.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("forged"));
    }
    // What a client names here is dropped between hops (RFC 9110 §7.6.1), but not what is the gateway's own.
    request.headers.insert("connection", HeaderValue::from_static("close, x-user-id, x-tenant"));
    gateway.handle(request).await;
    let headers = told(&upstream);
    assert_eq!(headers.get_all(USER).iter().collect::<Vec<_>>(), ["ada"]);
    assert_eq!((&headers["x-tenant"], &headers["x-seen"]), (&"acme".parse().unwrap(), &"".parse().unwrap()));
    assert!(!format!("{headers:?}").contains("forged"), "{headers:?}");
}

#[tokio::test]
async fn what_is_told_can_be_renamed_to_what_no_method_may_send_on() {
    let (gateway, upstream) = gateway();
    let mut request = by("GET /renamed", "acme read");
    request.headers.insert("authorization", HeaderValue::from_static("forged"));
    gateway.handle(request).await;
    let headers = told(&upstream);
    assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), ["ada"]);
    assert!(!headers.contains_key(USER));
}

#[tokio::test]
async fn no_client_speaks_under_a_name_that_a_route_tells_of_callers_by_in_any_spelling() {
    const TELLS: &str = r#"
version: 1
upstreams: {orders: {targets: "http://orders.internal"}}
auth: {staff: {jwt: {issuer: staff, audiences: a, algorithms: HS256, keys: {secret: "env:S"}, forward: {org: x-org}}}}
routes: [{name: r, auth: none, match: {path: /}, request: {headers: {rename: {x-org: remote-user, x-old: x-new}, set: {x-tenant: "${caller.tenant}", x-path: "${request.path}"}}}, to: orders}]
"#;
    let env = |name: &str| (name == "S").then(|| "0123456789abcdef0123456789abcdef".to_owned());
    let compiled = compile("gateway.yaml", Host { files: &OneFile(TELLS), env: &env });
    let routes = compiled.unwrap_or_else(|problems| panic!("{problems}")).routes;
    let (Gateway { world, .. }, upstream) = super::gateway(ALL);
    let mut request = request("GET /");
    for name in ["remote-user", "remote_user", "x-org", "x-tenant", "x_tenant", "x-new", "x-path", "x_path"] {
        request.headers.insert(name, HeaderValue::from_static("client"));
    }
    Gateway::new(routes, world).handle(request).await;
    let headers = told(&upstream);
    let clients = headers.iter().filter(|(_, value)| *value == "client").map(|(name, _)| name.as_str());
    assert_eq!(
        clients.collect::<std::collections::BTreeSet<_>>(),
        ["x-new", "x_path"].into(),
        "what is told of no caller is as it always was"
    );
}

#[tokio::test]
async fn a_route_for_anyone_is_neither_found_nor_reached_by_what_only_the_gateway_tells() {
    let (gateway, upstream) = gateway();
    let mut request = request("GET /open");
    request.headers.insert(USER, HeaderValue::from_static("forged"));
    let served = gateway.handle(request).await;
    assert_eq!(served.exchange.route.as_deref(), Some("open"));
    assert!(!told(&upstream).contains_key(USER));
}

#[tokio::test]
async fn who_is_assumed_stands_in_wherever_somebody_must_be_known_and_nowhere_else() {
    let (gateway, upstream) = gateway();
    let bo = br#"{"id": "bo", "tenant": "acme", "scopes": ["read"], "claims": {"sub": "bo"}}"#;
    let gateway = gateway.assuming(Assumed::parse(bo).unwrap());
    let served = gateway.handle(by("GET /told", "other write")).await;
    assert_eq!(served.exchange.caller.as_ref().map(|caller| (caller.id(), caller.tenant())), Some(("bo", "acme")));
    assert!(!told(&upstream).contains_key("x-key"), "credentials come off as ever");
    assert_eq!(told(&upstream)[USER], "bo", "its claims go on as a token's would");
    assert_eq!(stopped(&gateway.handle(request("GET /default")).await), (200, None));
    let open = gateway.handle(request("GET /open")).await;
    assert_eq!(open.exchange.caller.map(|caller| caller.via()), Some("none"));
}

fn spelt() -> impl Strategy<Value = String> {
    let sign = || prop_oneof![Just('-'), Just('_'), Just('.')];
    (any::<u32>(), sign(), sign()).prop_map(|(cases, one, two)| {
        let cased = |(index, c): (usize, char)| if cases >> index & 1 == 1 { c.to_ascii_uppercase() } else { c };
        format!("x{one}user{two}id").chars().enumerate().map(cased).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_client_calls_it_an_upstream_sees_one_user_and_it_is_the_gateways(
        names in proptest::collection::vec(spelt(), 1..5),
        known in any::<bool>(),
    ) {
        let (gateway, upstream) = gateway();
        let mut request = if known { by("GET /told", "acme read") } else { request("GET /open") };
        for name in &names {
            request.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static("forged"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(gateway.handle(request));
        let headers = told(&upstream);
        let users: Vec<_> = headers.iter().filter(|(name, _)| crate::asserted::same(name.as_str().as_bytes(), b"x-user-id")).collect();
        let (user, expected) = (USER, HeaderValue::from_static("ada"));
        prop_assert_eq!(users, if known { vec![(&user, &expected)] } else { vec![] });
    }
}
