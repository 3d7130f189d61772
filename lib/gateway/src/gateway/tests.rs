//! The way itself: the order of the stages, where a request stops, and what is not called after a stop.

mod callers;
mod modes;
mod permit;
mod splits;

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, HOST};
use proptest::prelude::*;

use super::*;
use crate::clock::{IN_STEP, Watched};
use crate::config::{Files, Host, compile};
use crate::exchange::BodyFault;
use crate::forward::{BoxFuture, FaultKind, Outbound, Target, UpstreamFault};
use crate::table::MemoryTable;
use crate::testkit::request;

#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_000_030)
    }
}

/// An upstream that answers from a list and notes what it was sent.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<Response, UpstreamFault>>>,
    hangs: bool,
    sent: Mutex<Vec<(String, HeaderMap, Bytes)>>,
}

impl Upstream for Scripted {
    fn send<'a>(&'a self, target: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        Box::pin(async move {
            let line = format!("{}:{} {} {}", target.host, target.port, outbound.method, outbound.uri);
            let body = match outbound.body.collect(1 << 20).await {
                Ok(body) => body,
                Err(fault) => return Err(fault_of(FaultKind::RequestBody(fault), false)),
            };
            self.sent.lock().unwrap().push((line, outbound.headers, body));
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.answers.lock().unwrap().pop_front().unwrap_or_else(|| Ok(Response::empty(StatusCode::OK)))
        })
    }
}

fn fault_of(kind: FaultKind, stale_connection: bool) -> UpstreamFault {
    UpstreamFault { kind, stale_connection, detail: "10.0.0.1 said no".to_owned() }
}

struct OneFile<'a>(&'a str);

impl Files for OneFile<'_> {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("no directory".to_owned())
    }
}

fn gateway_with(config: &str, upstream: Scripted) -> (Gateway, Arc<Scripted>) {
    let compiled = compile("gateway.yaml", Host { files: &OneFile(config), env: &|_| None });
    let routes = compiled.unwrap_or_else(|problems| panic!("{problems}")).routes;
    let upstream = Arc::new(upstream);
    let world = World {
        table: Arc::new(MemoryTable::default()),
        upstream: Arc::clone(&upstream) as _,
        clock: Arc::new(StoppedClock),
        environments: Some(NonZeroU32::MIN),
        vault: Arc::new(crate::secret::NoVault),
    };
    (Gateway::new(routes, world), upstream)
}

fn gateway(config: &str) -> (Gateway, Arc<Scripted>) {
    gateway_with(config, Scripted::default())
}

/// A config that answers everything, on this clock.
fn answering(clock: Arc<dyn Clock>) -> Gateway {
    let (Gateway { routes, world, .. }, _) =
        gateway("version: 1\nroutes: [{name: a, auth: none, match: {path: /**}, to: {respond: {body: ok}}}]");
    Gateway::new(routes, World { clock, ..world })
}

#[tokio::test]
async fn the_clock_hears_the_front_doors_time_before_anything_else_is_asked_the_time() {
    let clock = Arc::new(Watched::new(StoppedClock, IN_STEP));
    let gateway = answering(Arc::clone(&clock) as _);
    for (front, opened, breaks) in [
        (None, 1_000_030, 0),
        (Some(1_000_029), 1_000_030, 0),
        (Some(1_000_031), 1_000_031, 1),
        (Some(1), 1_000_030, 2),
    ] {
        let mut request = request("GET /");
        request.origin.front_time = front.map(Timestamp::from_secs);
        let served = gateway.handle(request).await;
        assert_eq!(served.exchange.opened, Timestamp::from_secs(opened), "{front:?}");
        assert_eq!(clock.breaks(), breaks, "{front:?}");
    }
}

async fn text(body: Body) -> String {
    String::from_utf8(body.collect(1 << 20).await.expect("a body").to_vec()).expect("text")
}

fn sent(upstream: &Scripted) -> Vec<String> {
    upstream.sent.lock().unwrap().iter().map(|(line, ..)| line.clone()).collect()
}

const ALL: &str = r#"
version: 1
upstreams:
  orders: {targets: "http://orders.internal:8080/v1", retry: {attempts: 2, backoff: 0s}, timeout: 2s}
  plain: {targets: "http://plain.internal"}
limits:
  two: {rate: 2/min, by: request.ip, algorithm: fixed_window}
defaults: {auth: none}
routes:
  - name: orders
    match: {path: "/orders/{id}", methods: [GET, POST]}
    cors: {origins: ["https://shop.example.com"]}
    address: {deny: [10.0.0.0/8]}
    body: {max: 4B, content_types: [text/plain]}
    limits: [two]
    request: {path: "/o/${params.id}", headers: {set: {x-order: "${params.id}"}}, query: {remove: [debug]}}
    response: {headers: {set: {x-seen: "${response.status} ${request.path}"}, remove: [server]}}
    to: orders
  - name: plain
    match: {path: /plain/**}
    timeout: 3s
    request: {strip_prefix: /plain}
    to: plain
  - {name: keep, match: {path: /keep/**}, encoded_slashes: keep, to: plain}
"#;

#[tokio::test]
async fn a_request_goes_through_every_stage_and_its_answer_back() {
    let mut answer = Response::empty(StatusCode::CREATED);
    answer.headers.insert("server", HeaderValue::from_static("secret"));
    answer.headers.insert("connection", HeaderValue::from_static("x-hop"));
    answer.headers.insert("x-hop", HeaderValue::from_static("1"));
    answer.body = Body::Full(Bytes::from_static(b"done"));
    let scripted = Scripted { answers: Mutex::new([Ok(answer)].into()), ..Scripted::default() };
    let (gateway, upstream) = gateway_with(ALL, scripted);
    let mut request = request("POST /orders/7?a=%2f&debug=1");
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    request.headers.insert(ORIGIN, HeaderValue::from_static("https://shop.example.com"));
    request.headers.insert("x-forwarded-for", HeaderValue::from_static("6.6.6.6"));
    request.body = Body::Full(Bytes::from_static(b"1234"));
    let served = gateway.handle(request).await;
    let (line, headers, body) = upstream.sent.lock().unwrap()[0].clone();
    assert_eq!(line, "orders.internal:8080 POST http://orders.internal:8080/v1/o/7?a=%2f");
    assert_eq!(headers["x-order"], "7");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
    assert_eq!(headers["x-request-id"], "id-1");
    assert!(!headers.contains_key(HOST));
    assert_eq!(body, "1234");
    assert_eq!(served.response.status, StatusCode::CREATED);
    let fields = &served.response.headers;
    assert_eq!(fields["x-seen"], "201 /orders/7");
    assert_eq!(fields["access-control-allow-origin"], "https://shop.example.com");
    assert_eq!(fields["x-request-id"], "id-1");
    assert_eq!(fields["ratelimit"], "\"two\";r=1;t=50");
    assert!(!fields.contains_key("server") && !fields.contains_key("x-hop") && !fields.contains_key("connection"));
    assert_eq!(text(served.response.body).await, "done");
    let exchange = served.exchange;
    assert_eq!((exchange.route.as_deref(), exchange.upstream.as_deref()), (Some("orders"), Some("orders")));
    assert_eq!((exchange.attempts, exchange.stopped_by), (1, None));
}

#[tokio::test]
async fn a_request_stops_at_the_first_stage_that_says_no_and_nothing_after_is_asked() {
    let (gateway, upstream) = gateway(ALL);
    let with = |line: &str, change: fn(&mut Request)| {
        let mut request = request(line);
        change(&mut request);
        request
    };
    let denied: fn(&mut Request) = |request| request.origin.ip = [10, 1, 2, 3].into();
    for (request, status, code) in [
        (with("GET /orders/%zz", |_| {}), 400, "bad_path"),
        (with("GET /orders/a%2fb", |_| {}), 400, "bad_path"),
        (with("GET /nowhere", |_| {}), 404, "route_not_found"),
        (with("DELETE /orders/7", |_| {}), 405, "method_not_allowed"),
        (with("GET /orders/7", denied), 403, "address_denied"),
        (
            with("POST /orders/7", |request| request.body = Body::Full(Bytes::from_static(b"12345"))),
            413,
            "body_too_large",
        ),
        (
            with("POST /orders/7", |request| request.body = Body::Full(Bytes::from_static(b"1"))),
            415,
            "content_type_refused",
        ),
    ] {
        let served = gateway.handle(request).await;
        assert_eq!((served.response.status.as_u16(), served.exchange.stopped_by), (status, Some(code)));
        assert!(!served.response.headers.contains_key("ratelimit"), "{code}: no limit was asked");
        assert_eq!(served.response.headers[CONTENT_TYPE], "application/problem+json");
    }
    assert_eq!(sent(&upstream), [""; 0]);
}

#[tokio::test]
async fn a_preflight_for_a_method_without_a_route_goes_to_a_route_for_options() {
    let (gateway, upstream) = gateway(
        r#"
version: 1
upstreams: {own: {targets: "http://own.internal"}}
defaults: {auth: none}
routes:
  - {name: get, match: {path: /a, methods: [GET]}, to: own}
  - {name: options, match: {path: "/{x}", methods: [OPTIONS]}, to: own}
"#,
    );
    for (line, asked, status) in [("OPTIONS /a", "PUT", StatusCode::OK), ("OPTIONS /a/b", "PUT", StatusCode::NOT_FOUND)]
    {
        let mut preflight = request(line);
        preflight.headers.insert(ORIGIN, HeaderValue::from_static("https://shop.example.com"));
        preflight.headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static(asked));
        assert_eq!(gateway.handle(preflight).await.response.status, status, "{line} for {asked}");
    }
    assert_eq!(sent(&upstream), ["own.internal:80 OPTIONS http://own.internal/a"]);
}

#[tokio::test]
async fn a_preflight_is_answered_though_everything_else_would_refuse_it() {
    let (gateway, upstream) = gateway(ALL);
    let mut preflight = request("OPTIONS /orders/7");
    preflight.origin.ip = [10, 1, 2, 3].into();
    preflight.headers.insert(ORIGIN, HeaderValue::from_static("https://shop.example.com"));
    preflight.headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("POST"));
    let served = gateway.handle(preflight).await;
    assert_eq!((served.response.status, served.exchange.stopped_by), (StatusCode::NO_CONTENT, Some("preflight")));
    assert_eq!(served.response.headers["access-control-allow-methods"], "GET, POST");
    assert_eq!(sent(&upstream), [""; 0]);
    let options = gateway.handle(request("OPTIONS /orders/7")).await;
    assert_eq!(
        options.response.status,
        StatusCode::METHOD_NOT_ALLOWED,
        "an OPTIONS that asks for nothing is a request"
    );
    assert_eq!(options.response.headers["allow"], "GET, HEAD, POST");
}

#[tokio::test]
async fn the_third_request_of_two_is_refused_with_cors_and_limit_fields_and_reaches_no_upstream() {
    let (gateway, upstream) = gateway(ALL);
    let ask = || {
        let mut request = request("GET /orders/7");
        request.headers.insert(ORIGIN, HeaderValue::from_static("https://shop.example.com"));
        gateway.handle(request)
    };
    assert_eq!(ask().await.response.status, StatusCode::OK);
    assert_eq!(ask().await.response.status, StatusCode::OK);
    let served = ask().await;
    assert_eq!(
        (served.response.status, served.exchange.stopped_by),
        (StatusCode::TOO_MANY_REQUESTS, Some("over_limit"))
    );
    let fields = &served.response.headers;
    assert_eq!(fields["retry-after"], "50");
    assert_eq!(fields["ratelimit-policy"], "\"two\";q=2;w=60");
    assert_eq!(fields["access-control-allow-origin"], "https://shop.example.com");
    assert_eq!(sent(&upstream).len(), 2);
}

#[tokio::test]
async fn what_an_upstream_does_wrong_is_told_by_code_and_never_in_its_words() {
    for (fault, status, code) in [
        (FaultKind::Connect, 502, "upstream_unreachable"),
        (FaultKind::Reset, 502, "upstream_reset"),
        (FaultKind::Protocol, 502, "upstream_protocol"),
    ] {
        let scripted = Scripted { answers: Mutex::new([Err(fault_of(fault, false))].into()), ..Scripted::default() };
        let (gateway, _) = gateway_with(ALL, scripted);
        let served = gateway.handle(request("GET /plain/x")).await;
        assert_eq!((served.response.status.as_u16(), served.exchange.stopped_by), (status, Some(code)));
        assert!(served.exchange.detail.is_some_and(|detail| detail.contains("10.0.0.1")), "the log is told");
        assert!(!text(served.response.body).await.contains("10.0.0.1"), "the client is not");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_is_given_up_at_the_routes_time_or_the_invocations() {
    let hanging = || gateway_with(ALL, Scripted { hangs: true, ..Scripted::default() }).0;
    let begun = tokio::time::Instant::now();
    let served = hanging().handle(request("GET /plain/x")).await;
    assert_eq!(
        (served.response.status, served.exchange.stopped_by),
        (StatusCode::GATEWAY_TIMEOUT, Some("upstream_timeout"))
    );
    assert_eq!(begun.elapsed().as_secs(), 3);
    let begun = tokio::time::Instant::now();
    let mut hurried = request("GET /plain/x");
    hurried.origin.deadline = Some(begun + Duration::from_secs(1));
    hanging().handle(hurried).await;
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn what_may_be_sent_again_is_and_what_may_not_is_not() {
    let answers = |faults: Vec<UpstreamFault>| Scripted {
        answers: Mutex::new(faults.into_iter().map(Err).collect()),
        ..Scripted::default()
    };
    let reset = |stale| fault_of(FaultKind::Reset, stale);
    for (line, faults, status, times) in [
        ("GET /orders/1", vec![reset(false), reset(false)], 200, 3),
        ("GET /orders/1", vec![reset(false), reset(false), reset(false)], 502, 3),
        ("POST /orders/1", vec![reset(false)], 502, 1),
        ("GET /plain/1", vec![reset(false)], 502, 1),
        ("GET /plain/1", vec![reset(true)], 200, 2),
        ("GET /plain/1", vec![reset(true), reset(true)], 502, 2),
        ("POST /plain/1", vec![reset(true)], 502, 1),
    ] {
        let case = format!("{line} {}", faults.len());
        let (gateway, upstream) = gateway_with(ALL, answers(faults));
        let served = gateway.handle(request(line)).await;
        assert_eq!((served.response.status.as_u16(), sent(&upstream).len()), (status, times), "{case}");
        assert_eq!(served.exchange.attempts as usize, times, "{case}");
    }
}

#[tokio::test]
async fn a_status_that_is_worth_a_retry_is_sent_again_and_the_last_answer_passes() {
    let busy = || Ok(Response::empty(StatusCode::SERVICE_UNAVAILABLE));
    let scripted = Scripted { answers: Mutex::new([busy(), busy(), busy()].into()), ..Scripted::default() };
    let (gateway, upstream) = gateway_with(ALL, scripted);
    let served = gateway.handle(request("GET /orders/1")).await;
    assert_eq!((served.response.status, served.exchange.stopped_by), (StatusCode::SERVICE_UNAVAILABLE, None));
    assert_eq!(sent(&upstream).len(), 3);
}

/// A body that breaks off, or that is longer than it may be.
struct Breaking(Option<Result<Bytes, BodyFault>>);

impl http_body::Body for Breaking {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BodyFault>>> {
        std::task::Poll::Ready(self.0.take().map(|data| data.map(http_body::Frame::data)))
    }
}

#[tokio::test]
async fn a_streamed_body_that_passes_the_limit_or_breaks_is_the_clients_fault() {
    let broken = || BodyFault::Broken("gone".into());
    for (body, status, code) in [
        (Ok(Bytes::from(vec![0; (1 << 20) + 1])), 413, "body_too_large"),
        (Err(broken()), 400, "body_broken"),
        (Err(BodyFault::Stalled(Duration::from_secs(1))), 408, "body_stalled"),
    ] {
        let (gateway, _) = gateway(ALL);
        let mut request = request("POST /plain/x");
        request.body = Body::stream(Breaking(Some(body)));
        let served = gateway.handle(request).await;
        assert_eq!((served.response.status.as_u16(), served.exchange.stopped_by), (status, Some(code)));
    }
}

#[tokio::test]
async fn paths_reach_the_upstream_as_they_were_matched() {
    let (gateway, upstream) = gateway(ALL);
    for line in ["GET /plain", "GET /plain/", "GET //plain/./a/../b%7e?x=<>", "GET /keep/a%2fb"] {
        gateway.handle(request(line)).await;
    }
    assert_eq!(
        sent(&upstream),
        [
            "plain.internal:80 GET http://plain.internal/",
            "plain.internal:80 GET http://plain.internal/",
            "plain.internal:80 GET http://plain.internal/b~?x=%3C%3E",
            "plain.internal:80 GET http://plain.internal/keep/a%2Fb",
        ]
    );
}

#[tokio::test]
async fn head_is_answered_with_the_fields_of_get_and_no_content() {
    let (gateway, _) = gateway(
        "version: 1\nroutes: [{name: a, auth: none, match: {path: /, methods: [GET]}, to: {respond: {body: hello}}}]",
    );
    let served = gateway.handle(request("HEAD /")).await;
    assert_eq!(
        (served.response.status, served.response.headers["content-length"].as_bytes()),
        (StatusCode::OK, &b"5"[..])
    );
    assert!(matches!(served.response.body, Body::Empty));
}

#[tokio::test]
async fn an_upstream_whose_secret_is_missing_answers_503_and_the_others_answer() {
    let (gateway, upstream) = gateway(
        "version: 1
upstreams:
  secret: {targets: \"https://a.internal\", tls: {client_certificate: {secret: \"env:NOT_SET\"}}}
  plain: {targets: \"http://b.internal\"}
defaults: {auth: none}
routes:
  - {name: a, match: {path: /a}, to: secret}
  - {name: b, match: {path: /b}, to: plain}",
    );
    let served = gateway.handle(request("GET /a")).await;
    assert_eq!(
        (served.response.status, served.exchange.stopped_by),
        (StatusCode::SERVICE_UNAVAILABLE, Some("secret_unavailable"))
    );
    assert_eq!(gateway.handle(request("GET /b")).await.response.status, StatusCode::OK);
    assert_eq!(sent(&upstream).len(), 1);
}

const GUARDED: &str = r#"
version: 1
upstreams:
  guarded: {targets: "http://guarded.internal"}
  open: {targets: "http://open.internal"}
defaults: {auth: none}
routes:
  - {name: guarded, match: {path: /admin/users}, to: guarded}
  - {name: open, match: {path: /**}, to: open}
"#;

/// Spellings that a server behind may take for `/admin/users`.
fn spelling() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "/admin",
        "/users",
        "/%61dmin",
        "/user%73",
        "/%55sers",
        "/adm%69n",
        "/",
        "//",
        "/.",
        "/..",
        "/%2e",
        "/%2E%2e",
        "/x",
        "/x/..",
        "/admin%2fusers",
        "/admin%5cusers",
        "/admin\\users",
        "/admin%252fusers",
        "/admin/users",
        "/ADMIN",
    ]);
    prop::collection::vec(part, 1..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn what_is_forwarded_is_what_was_matched_and_no_spelling_goes_around_a_route(path in spelling()) {
        let (gateway, upstream) = gateway(GUARDED);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let served = runtime.block_on(gateway.handle(request(&format!("GET {path}"))));
        let seen = sent(&upstream);
        let normal = normalise(&path).expect("a path");
        if normal.encoded_slash {
            prop_assert_eq!((served.response.status, seen.len()), (StatusCode::BAD_REQUEST, 0));
        } else {
            let host = if normal.path == "/admin/users" { "guarded" } else { "open" };
            let authority = format!("{host}.internal");
            prop_assert_eq!(seen, vec![format!("{authority}:80 GET http://{authority}{}", normal.path)]);
        }
    }
}
