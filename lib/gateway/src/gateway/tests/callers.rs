//! Who calls: asked before limits, known to them and to templates, and never passed on with their keys.

use super::*;
use crate::auth::keyring::{Keyring, Order, Seed};

const CONFIG: &str = r#"
version: 1
upstreams: {orders: {targets: "http://orders.internal"}}
auth: {partners: {api_key: {header: x-api-key, pepper: "env:PEPPER"}}}
limits: {tenant: {rate: 1/min, by: caller.tenant, algorithm: fixed_window}}
defaults: {auth: partners}
routes:
  - name: orders
    match: {path: /orders}
    cors: {origins: ["https://shop.example.com"]}
    limits: [tenant]
    request: {headers: {set: {x-tenant: "${caller.tenant}", x-key: "${request.headers['x-api-key']}"}}}
    to: orders
  - {name: open, auth: none, match: {path: /open}, to: orders}
"#;

fn gateway() -> (Gateway, Arc<Scripted>) {
    let env = |name: &str| (name == "PEPPER").then(|| "0123456789abcdef".to_owned());
    let compiled = compile("gateway.yaml", Host { files: &OneFile(CONFIG), env: &env });
    let upstream = Arc::new(Scripted::default());
    let world = World {
        table: Arc::new(MemoryTable::default()),
        upstream: Arc::clone(&upstream) as _,
        clock: Arc::new(StoppedClock),
        environments: Some(NonZeroU32::MIN),
        vault: Arc::new(crate::secret::NoVault),
    };
    (Gateway::new(compiled.unwrap_or_else(|problems| panic!("{problems}")).routes, world), upstream)
}

async fn key(gateway: &Gateway, tenant: &str) -> String {
    let World { table, clock, .. } = &gateway.world;
    let keyring =
        Keyring { keys: &gateway.routes.api_keys[0], plans: &gateway.routes.plans, table: &**table, clock: &**clock };
    let order = Order {
        env: "live".to_owned(),
        tenant: tenant.to_owned(),
        plan: "pro".to_owned(),
        scopes: std::collections::BTreeSet::new(),
        lives: None,
    };
    let mut seed = Seed { secret: [1; 32], id: [1; 12] };
    seed.secret[0] = tenant.len().try_into().unwrap();
    keyring.create(&order, seed).await.unwrap().key.reveal().to_owned()
}

async fn ask(gateway: &Gateway, target: &str, key: Option<&str>) -> Served {
    let mut request = request(target);
    if let Some(key) = key {
        request.headers.insert("x-api-key", key.parse().unwrap());
    }
    request.headers.insert(ORIGIN, HeaderValue::from_static("https://shop.example.com"));
    gateway.handle(request).await
}

#[tokio::test]
async fn a_caller_is_known_to_limits_templates_and_the_record_and_its_key_stays_here() {
    let (gateway, upstream) = gateway();
    let (acme, other) = (key(&gateway, "acme").await, key(&gateway, "other").await);
    for (key, status) in [(&acme, 200), (&other, 200), (&acme, 429)] {
        assert_eq!(ask(&gateway, "GET /orders", Some(key)).await.response.status.as_u16(), status);
    }
    let headers: Vec<_> = upstream.sent.lock().unwrap().iter().map(|(_, headers, _)| headers.clone()).collect();
    assert_eq!(headers.iter().map(|headers| &headers["x-tenant"]).collect::<Vec<_>>(), ["acme", "other"]);
    for headers in headers {
        assert!(!headers.contains_key("x-api-key") && !format!("{headers:?}").contains("gwk_"), "{headers:?}");
    }
    let served = ask(&gateway, "GET /orders", Some(&acme)).await;
    let caller = served.exchange.caller.as_ref().expect("a caller");
    assert_eq!((caller.tenant(), caller.plan(), caller.via()), ("acme", "pro", "api_key"));
    assert!(!format!("{:?}", served.exchange).contains(&acme));
}

#[tokio::test]
async fn who_cannot_be_told_is_refused_before_a_limit_is_charged_and_browsers_are_told() {
    let (gateway, upstream) = gateway();
    let acme = key(&gateway, "acme").await;
    for (key, code) in [(None, "credentials_missing"), (Some("gwk_live_x"), "credentials_invalid")] {
        let Served { response, exchange, .. } = ask(&gateway, "GET /orders", key).await;
        assert_eq!((response.status, exchange.stopped_by), (StatusCode::UNAUTHORIZED, Some(code)));
        assert_eq!(response.headers["www-authenticate"], format!("ApiKey error=\"{code}\""));
        assert_eq!(response.headers["access-control-allow-origin"], "https://shop.example.com");
        assert!(exchange.caller.is_none() && exchange.limits.is_empty());
    }
    assert!(sent(&upstream).is_empty());
    assert_eq!(ask(&gateway, "GET /orders", Some(&acme)).await.response.status, StatusCode::OK);
}

#[tokio::test]
async fn an_open_route_asks_for_no_key_and_passes_on_what_is_there() {
    let (gateway, upstream) = gateway();
    let served = ask(&gateway, "GET /open", Some("anything")).await;
    assert_eq!(served.response.status, StatusCode::OK);
    assert_eq!(served.exchange.caller.map(|caller| caller.via()), Some("none"));
    assert_eq!(upstream.sent.lock().unwrap()[0].1["x-api-key"], "anything");
}

#[tokio::test]
async fn a_preflight_brings_no_key_and_needs_none() {
    let (gateway, _) = gateway();
    let mut preflight = request("OPTIONS /orders");
    preflight.headers.insert(ORIGIN, HeaderValue::from_static("https://shop.example.com"));
    preflight.headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET"));
    assert_eq!(gateway.handle(preflight).await.response.status, StatusCode::NO_CONTENT);
}
