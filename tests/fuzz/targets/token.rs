//! Any bytes as a token: none is taken that was not signed, and of those that were, none whose claims do not say what
//! they must. The same bytes as a set of keys: none of it panics, and it is bounded.
//!
//! The bytes before the first NUL are a header, those after it the claims.
#![no_main]

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tokio::runtime::{Builder, Runtime};
use tollgate::auth::jwt::KeySet;
use tollgate::auth::{Auth, Caller, Denied, Presented};
use tollgate::clock::{Clock, Timestamp};
use tollgate::config::{Files, Host, compile};
use tollgate::exchange::{After, Body, Origin, Request, Response, Scheme};
use tollgate::forward::{BoxFuture, Outbound, Target, Upstream, UpstreamFault};
use tollgate::gateway::World;
use tollgate::secret::NoVault;
use tollgate::table::MemoryTable;

const NOON: u64 = 1_795_521_600;
const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const CONFIG: &str = "
version: 1
auth:
  tokens:
    jwt:
      issuer: https://issuer.example/
      audiences: api
      algorithms: [HS256, HS512]
      keys: {secret: \"env:SECRET\"}
      leeway: 0s
      from: [{header: authorization}, {cookie: session}, {query: token}]
      caller: {id: claims.sub, tenant: claims.org, groups: claims.groups}
      forward: {sub: x-sub, org: x-org, list: x-list, claims.a.b: x-b}
routes:
  - {name: a, auth: tokens, match: {path: /}, to: {respond: {}}}
";

struct Text;

impl Files for Text {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(CONFIG.as_bytes().to_vec())
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOON)
    }
}

#[derive(Debug)]
struct Nowhere;

impl Upstream for Nowhere {
    fn send<'a>(&'a self, _: &'a Target, _: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        Box::pin(async { Ok(Response::empty(StatusCode::OK)) })
    }
}

/// What all inputs share.
struct Gate {
    runtime: Runtime,
    method: Arc<dyn tollgate::auth::Method>,
    world: World,
}

impl Gate {
    fn new() -> Self {
        let compiled = compile("gateway.yaml", Host { files: &Text, env: &|_| Some(SECRET.to_owned()) });
        let routes = compiled.expect("the config compiles").routes.routes;
        let Auth::Any(ways) = &routes[0].auth else { panic!("the route takes anyone") };
        let world = World {
            table: Arc::new(MemoryTable::default()),
            upstream: Arc::new(Nowhere),
            clock: Arc::new(Noon),
            environments: None,
            vault: Arc::new(NoVault),
        };
        let method = Arc::clone(&ways.all()[0].uses()[0].entry.method);
        Self { runtime: Builder::new_current_thread().build().expect("a runtime"), method, world }
    }

    fn ask(&self, request: &Request) -> Result<Caller, Denied> {
        let asked = Presented {
            method: &request.method,
            path: &request.path,
            query: request.query.as_deref(),
            headers: &request.headers,
            origin: &request.origin,
            body: None,
            route: &Arc::from("a"),
            now: Timestamp::from_secs(NOON),
        };
        self.runtime.block_on(self.method.identify(&asked, &self.world, &mut After::default()))
    }
}

fn request() -> Request {
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "id-1".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    let (method, path) = (Method::GET, "/".to_owned());
    Request { method, path, query: None, headers: HeaderMap::new(), body: Body::Empty, origin }
}

fn bearer(token: &str) -> Option<Request> {
    let mut request = request();
    request.headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).ok()?);
    Some(request)
}

/// The token, by the algorithm that its header may name.
fn signed(algorithm: hmac::Algorithm, header: &[u8], claims: &[u8]) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = hmac::sign(&hmac::Key::new(algorithm, SECRET.as_bytes()), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn check_taken(caller: &Caller, alg: &str, header: &[u8], claims: &[u8]) {
    // Read as every other reader would: what counts must be in there, once and of its kind.
    let header: Map<String, Value> = serde_json::from_slice(header).expect("a header");
    assert_eq!(header["alg"], alg);
    assert!(["crit", "zip", "enc"].iter().all(|name| !header.contains_key(*name)));
    let claims: Map<String, Value> = serde_json::from_slice(claims).expect("claims");
    assert_eq!(claims["iss"], "https://issuer.example/");
    assert!(claims["aud"] == "api" || claims["aud"].as_array().is_some_and(|list| list.contains(&"api".into())));
    assert!(claims["exp"].as_f64().is_some_and(|exp| exp > NOON as f64));
    assert!(!caller.id().is_empty() && !caller.id().chars().any(char::is_control));
    assert_eq!(caller.claims(), &claims);
    for (name, value) in caller.forward() {
        assert!(["x-sub", "x-org", "x-list", "x-b"].contains(&name.as_str()));
        assert!(!value.is_empty() && value.as_bytes().iter().all(|byte| *byte >= b' ' && *byte != 0x7f));
    }
}

thread_local! {
    static GATE: Gate = Gate::new();
}

fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (header, claims) = (&bytes[..cut], bytes.get(cut + 1..).unwrap_or_default());
    GATE.with(|gate| {
        let text = String::from_utf8_lossy(header);
        for mut request in
            [bearer(&text), Some(Request { query: Some(text.to_string()), ..request() })].into_iter().flatten()
        {
            assert!(gate.ask(&request).is_err(), "nobody signed it");
            gate.method.strip(&mut request);
            assert!(!request.headers.contains_key(AUTHORIZATION));
            assert_eq!(gate.ask(&request), Err(Denied::Missing));
        }
        for (alg, algorithm) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let request = bearer(&signed(algorithm, header, claims)).expect("a token is text");
            let taken = gate.ask(&request);
            assert_eq!(gate.ask(&request), taken, "again");
            if let Ok(caller) = taken {
                check_taken(&caller, alg, header, claims);
            }
        }
    });
    if let Ok((keys, left_out)) = KeySet::parse(header, 1) {
        assert!(keys.len() <= 128 && left_out.len() <= 129);
    }
});
