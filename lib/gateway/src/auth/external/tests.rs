//! What authorizers are told, what their answers are worth, and for how long.

use std::sync::atomic::{AtomicU64, Ordering};

use ::http::header::AUTHORIZATION;
use ::http::{HeaderValue, Method as Verb, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::auth::Auth;
use crate::call::Endpoint;
use crate::clock::Clock;
use crate::exchange::{Body, Response};
use crate::forward::{Outbound, Target, Upstream, UpstreamFault};
use crate::mode::Shadowed;
use crate::refusal::Refusal;
use crate::testkit;

/// An authorizer of tests: the credential says how it goes.
#[derive(Debug, Default)]
struct Double {
    asked: Mutex<Vec<(String, ::http::HeaderMap, String)>>,
    answer: Mutex<Option<Value>>,
}

impl Double {
    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn last(&self) -> (String, ::http::HeaderMap, String) {
        self.asked.lock().unwrap().last().expect("it was asked").clone()
    }
}

impl Upstream for Double {
    fn send<'a>(&'a self, target: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        Box::pin(async move {
            let Outbound { method, uri, headers, body } = outbound;
            let said = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            let body = String::from_utf8(body.collect(1 << 20).await.unwrap().to_vec()).unwrap();
            self.asked.lock().unwrap().push((format!("{} {method} {uri}", target.authority), headers, body));
            tokio::time::sleep(Duration::from_millis(if said == "slow" { 600 } else { 10 })).await;
            if let Some(answer) = &*self.answer.lock().unwrap() {
                let mut response = Response::empty(StatusCode::OK);
                response.body = Body::Full(answer.to_string().into());
                if answer.get("errorMessage").is_some() {
                    response.headers.insert("x-amz-function-error", HeaderValue::from_static("Unhandled"));
                }
                return Ok(response);
            }
            let (status, body) = match said.split(' ').next().unwrap_or_default() {
                "no" => (401, Body::Empty),
                "forbidden" => (403, Body::Full(Bytes::from_static(b"a hint"))),
                "redirect" => (302, Body::Empty),
                "broken" => (500, Body::Empty),
                "huge" => (200, Body::Full(vec![0; LARGEST + 1].into())),
                _ => (200, Body::Empty),
            };
            let mut response = Response::empty(StatusCode::from_u16(status).unwrap());
            response.body = body;
            for (name, value) in [
                ("x-tollgate-id", "ann"),
                ("x-tollgate-tenant", "acme"),
                ("x-tollgate-plan", "pro"),
                ("x-tollgate-scopes", "a b"),
                ("x-tollgate-groups", "x, y"),
                ("x-auth-user", "ann@example.com"),
                ("x-other", "1"),
            ] {
                response.headers.insert(name, HeaderValue::from_static(value));
            }
            if said == "yes no-store" {
                response.headers.insert("cache-control", HeaderValue::from_static("private, No-Store"));
            }
            if said == "yes large" {
                response.headers.insert("x-large", HeaderValue::from_str(&"x".repeat(LARGEST_KEPT)).unwrap());
            }
            Ok(response)
        })
    }
}

#[derive(Debug)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// 2020-03-12, as in the events of the documentation.
const NOON: u64 = 1_584_043_438_000;

struct Bench {
    auth: Auth,
    double: Arc<Double>,
    clock: Arc<TestClock>,
    world: World,
}

fn terms() -> Terms {
    Terms {
        timeout: Duration::from_millis(500),
        cache: Duration::ZERO,
        forward_headers: vec![AUTHORIZATION, HeaderName::from_static("x-tenant")],
        identity: None,
        by_route: true,
    }
}

fn cached() -> Terms {
    Terms { cache: Duration::from_secs(60), ..terms() }
}

/// Kept for the credential, as most want it.
fn by_credential() -> Terms {
    Terms { identity: Some(vec![Part::Header(AUTHORIZATION)]), ..cached() }
}

fn bench_of(authorizer: Authorizer, terms: Terms) -> Bench {
    let external = Arc::new(External::new("policy", authorizer, terms));
    let (double, clock) = (Arc::new(Double::default()), Arc::new(TestClock(AtomicU64::new(NOON))));
    let auth = testkit::any_of(&[("policy", external, false)]);
    let world = testkit::world_of(
        Arc::new(crate::table::MemoryTable::default()),
        Arc::clone(&double) as _,
        Arc::clone(&clock) as _,
    );
    Bench { auth, double, clock, world }
}

fn service(terms: Terms) -> Bench {
    let endpoint = Endpoint::parse("https://authz.internal/check?v=1", None).unwrap();
    let upstream_headers = vec![HeaderName::from_static("x-auth-user")];
    bench_of(Authorizer::Service(Service { endpoint, method: Verb::GET, upstream_headers }), terms)
}

const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:authz:live";

fn function(payload: Payload, terms: Terms) -> Bench {
    let arn = Arn::parse(ARN).unwrap();
    let endpoint = Endpoint::parse(&arn.url(None), None).unwrap();
    let function = Function::new(endpoint, arn, payload, "abcdef".to_owned(), "prod".to_owned());
    bench_of(Authorizer::Function(function), terms)
}

fn request(line: &str, credential: &str) -> Request {
    let mut request = testkit::request(line);
    if !credential.is_empty() {
        request.headers.insert(AUTHORIZATION, HeaderValue::from_str(credential).unwrap());
    }
    request
}

impl Bench {
    async fn ask(&self, line: &str, credential: &str) -> Result<Caller, Refusal> {
        testkit::identify(&self.auth, &mut request(line, credential), &self.world).await
    }

    async fn ask_at(&self, route: &str, line: &str, credential: &str) -> Result<Caller, Refusal> {
        let route = Arc::from(route);
        let about = crate::auth::About { route: &route, now: self.clock.now(), most: 1 << 20, assumed: None };
        self.auth
            .identify(
                &mut request(line, credential),
                about,
                &self.world,
                &mut Shadowed::default(),
                &mut After::default(),
            )
            .await
    }

    async fn code(&self, line: &str, credential: &str) -> &'static str {
        self.ask(line, credential).await.map_or_else(|refusal| refusal.code(), |_| "allowed")
    }

    fn pass(&self, time: Duration) {
        self.clock.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_told_the_request_and_the_named_fields_and_says_who_it_is() {
    let bench = service(terms());
    let mut asked = request("POST /a/../b%2fc/%7Ed?x=1", "yes");
    for (name, value) in [
        ("x-tenant", "t1"),
        ("cookie", "a=1"),
        ("x-forwarded-uri", "/public"),
        ("x-original-url", "https://evil.example/"),
        ("x-auth-user", "root"),
    ] {
        asked.headers.insert(name, HeaderValue::from_static(value));
    }
    let caller = testkit::identify(&bench.auth, &mut asked, &bench.world).await.expect("allowed");
    assert_eq!((caller.id(), caller.tenant(), caller.plan(), caller.via()), ("ann", "acme", "pro", "external"));
    assert_eq!(
        (caller.scopes(), caller.groups()),
        (&["a".to_owned(), "b".to_owned()][..], &["x".to_owned(), "y".to_owned()][..])
    );
    let forward: Vec<_> =
        caller.forward().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    assert_eq!(forward, ["x-auth-user: ann@example.com"]);
    let (line, headers, body) = bench.double.last();
    assert_eq!((line.as_str(), body.as_str()), ("authz.internal GET https://authz.internal/check?v=1", ""));
    let mut told: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    told.sort();
    assert_eq!(
        told,
        [
            "authorization: yes",
            "x-forwarded-for: 192.0.2.1",
            "x-forwarded-host: api.example.com",
            "x-forwarded-method: POST",
            "x-forwarded-proto: https",
            "x-forwarded-uri: /b%2Fc/~d?x=1",
            "x-original-method: POST",
            "x-original-url: https://api.example.com/b%2Fc/~d?x=1",
            "x-request-id: id-1",
            "x-tenant: t1",
            "x-tollgate-route: r",
        ]
    );
    let left: Vec<_> = asked.headers.keys().map(HeaderName::as_str).collect();
    assert!(!left.contains(&"authorization") && !left.contains(&"x-tenant") && left.contains(&"cookie"), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn each_answer_of_a_service_is_worth_what_it_says_and_what_says_nothing_lets_nobody_in() {
    let bench = service(cached());
    for (credential, code) in [
        ("yes", "allowed"),
        ("no", "credentials_invalid"),
        ("forbidden", "caller_forbidden"),
        ("redirect", "credentials_unchecked"),
        ("broken", "credentials_unchecked"),
        ("huge", "credentials_unchecked"),
        ("slow", "credentials_unchecked"),
    ] {
        assert_eq!(bench.code("GET /", credential).await, code, "{credential}");
    }
    let refused = bench.ask("GET /", "forbidden").await.expect_err("no").into_response("ID");
    let Body::Full(body) = refused.body else { panic!("a refusal has a body") };
    assert!(!String::from_utf8_lossy(&body).contains("a hint"), "its body is not passed on");
}

#[tokio::test(start_paused = true)]
async fn without_what_tells_who_calls_nobody_is_asked() {
    let bench = service(terms());
    assert_eq!(bench.code("GET /", "").await, "credentials_missing");
    let mut either = request("GET /", "");
    either.headers.insert("x-tenant", HeaderValue::from_static("t1"));
    assert_eq!(bench.double.count(), 0);
    assert!(testkit::identify(&bench.auth, &mut either, &bench.world).await.is_ok(), "any of the fields will do");

    let both = [AUTHORIZATION, HeaderName::from_static("x-tenant")].map(Part::Header).to_vec();
    let bench = service(Terms { identity: Some(both), ..terms() });
    assert_eq!(bench.code("GET /", "yes").await, "credentials_missing", "all of those that are named must be there");
    let mut two = request("GET /", "yes");
    two.headers.append(AUTHORIZATION, HeaderValue::from_static("no"));
    two.headers.insert("x-tenant", HeaderValue::from_static("t1"));
    let refused = testkit::identify(&bench.auth, &mut two, &bench.world).await.expect_err("two");
    assert_eq!((refused.code(), bench.double.count()), ("credentials_invalid", 0));

    let nothing = service(Terms { forward_headers: Vec::new(), ..terms() });
    assert_eq!(nothing.code("GET /", "").await, "allowed", "where it is told of no field, it is always asked");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_not_kept_unless_the_config_says_so() {
    let bench = service(terms());
    for count in 1..=3 {
        assert_eq!((bench.code("GET /", "yes").await, bench.double.count()), ("allowed", count));
    }
}

#[tokio::test(start_paused = true)]
async fn a_yes_is_kept_for_its_time_and_a_no_for_five_seconds_at_most() {
    let bench = service(by_credential());
    for (credential, code, lasts) in
        [("yes", "allowed", 60), ("no", "credentials_invalid", 5), ("forbidden", "caller_forbidden", 5)]
    {
        let before = bench.double.count();
        assert_eq!(bench.code("GET /", credential).await, code);
        bench.pass(Duration::from_millis(lasts * 1_000 - 1));
        assert_eq!((bench.code("GET /", credential).await, bench.double.count()), (code, before + 1));
        bench.pass(Duration::from_millis(1));
        assert_eq!((bench.code("GET /", credential).await, bench.double.count()), (code, before + 2), "{credential}");
        bench.clock.0.store(NOON, Ordering::Relaxed);
        assert_eq!(bench.code("GET /", credential).await, code);
        assert_eq!(bench.double.count(), before + 3, "a clock that was set back makes nothing last longer");
    }
}

#[tokio::test(start_paused = true)]
async fn what_says_nothing_must_not_be_kept_or_is_large_is_not_kept() {
    let bench = service(by_credential());
    for (credential, code) in [
        ("broken", "credentials_unchecked"),
        ("slow", "credentials_unchecked"),
        ("yes no-store", "allowed"),
        ("yes large", "allowed"),
    ] {
        let before = bench.double.count();
        for count in 1..=2 {
            assert_eq!((bench.code("GET /", credential).await, bench.double.count()), (code, before + count));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_holds_for_one_route_and_method_unless_the_config_says_otherwise() {
    let calls = [
        ("one", "GET /a", "yes"),
        ("one", "GET /a/b?c", "yes"),
        ("one", "PUT /a", "yes"),
        ("two", "GET /a", "yes"),
        ("one", "GET /a", "yes 2"),
    ];
    for (terms, asked) in [
        (by_credential(), [1, 1, 2, 3, 4]),
        (Terms { by_route: false, ..by_credential() }, [1, 1, 1, 1, 2]),
        (Terms { by_route: false, ..cached() }, [1, 1, 1, 1, 2]),
        (cached(), [1, 2, 3, 4, 5]),
        (Terms { identity: Some(vec![Part::Header(AUTHORIZATION), Part::Path]), ..cached() }, [1, 2, 3, 4, 5]),
        (
            Terms { identity: Some(vec![Part::Header(AUTHORIZATION), Part::Host, Part::Ip]), ..cached() },
            [1, 1, 2, 3, 4],
        ),
    ] {
        let bench = service(terms);
        for ((route, line, credential), count) in calls.iter().zip(asked) {
            bench.ask_at(route, line, credential).await.expect("allowed");
            assert_eq!(bench.double.count(), count, "{route} {line} {credential}: {:?}", bench.auth);
        }
        for ((route, line, credential), _) in calls.iter().zip(asked) {
            bench.ask_at(route, line, credential).await.expect("allowed");
        }
        assert_eq!(bench.double.count(), asked[4], "all are known now");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_made_up_drive_no_good_one_out() {
    let bench = service(by_credential());
    bench.ask_at("r", "GET /", "alice").await.expect("allowed");
    for number in 0..2 * MOST {
        bench.ask_at("r", "GET /", &format!("no {number}")).await.expect_err("it says no");
    }
    let asked = bench.double.count();
    bench.ask_at("r", "GET /", "alice").await.expect("allowed");
    assert_eq!(bench.double.count(), asked, "she is known all the while");
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_otherwise_is_another_combination() {
    let two = [AUTHORIZATION, HeaderName::from_static("x-tenant")];
    let bench = service(Terms { identity: Some(two.map(Part::Header).to_vec()), ..cached() });
    for (count, (credential, tenant)) in [("ab", "c"), ("a", "bc"), ("ab", "c")].into_iter().enumerate() {
        let mut asked = request("GET /", credential);
        asked.headers.insert("x-tenant", HeaderValue::from_static(tenant));
        testkit::identify(&bench.auth, &mut asked, &bench.world).await.expect("allowed");
        assert_eq!(bench.double.count(), (count + 1).min(2));
    }
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_together_are_one_call_where_an_answer_may_be_kept() {
    for (terms, asked) in [(by_credential(), 1), (terms(), 3)] {
        let bench = service(terms);
        let (a, b, c) =
            tokio::join!(bench.code("GET /", "yes"), bench.code("GET /", "yes"), bench.code("GET /", "yes"));
        assert_eq!(([a, b, c], bench.double.count()), (["allowed"; 3], asked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_gets_the_event_of_its_format() {
    for (payload, expected) in [
        (
            Payload::V2,
            json!({
                "version": "2.0",
                "type": "REQUEST",
                "routeArn": "arn:aws:execute-api:eu-west-1:123456789012:abcdef/prod/GET/my/path",
                "identitySource": ["yes", "t1,t2"],
                "routeKey": "r",
                "rawPath": "/my/path",
                "rawQueryString": "a=1&a=%202&b",
                "cookies": ["c=1", "d=2"],
                "headers": {"authorization": "yes", "x-tenant": "t1,t2"},
                "queryStringParameters": {"a": "1, 2", "b": ""},
                "requestContext": {
                    "accountId": "123456789012",
                    "apiId": "abcdef",
                    "domainName": "api.example.com",
                    "domainPrefix": "api",
                    "http": {"method": "GET", "path": "/my/path", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": null},
                    "requestId": "id-1",
                    "routeKey": "r",
                    "stage": "prod",
                    "time": "12/Mar/2020:20:03:58 +0000",
                    "timeEpoch": NOON
                }
            }),
        ),
        (
            Payload::V1,
            json!({
                "version": "1.0",
                "type": "REQUEST",
                "methodArn": "arn:aws:execute-api:eu-west-1:123456789012:abcdef/prod/GET/my/path",
                "identitySource": "yes,t1,t2",
                "authorizationToken": "yes,t1,t2",
                "resource": "r",
                "path": "/my/path",
                "httpMethod": "GET",
                "headers": {"authorization": "yes", "x-tenant": "t1,t2", "cookie": "c=1; d=2"},
                "queryStringParameters": {"a": " 2", "b": ""},
                "multiValueQueryStringParameters": {"a": ["1", " 2"], "b": [""]},
                "requestContext": {
                    "accountId": "123456789012",
                    "apiId": "abcdef",
                    "domainName": "api.example.com",
                    "httpMethod": "GET",
                    "identity": {"sourceIp": "192.0.2.1", "userAgent": null},
                    "path": "/my/path",
                    "protocol": "HTTP/1.1",
                    "requestId": "id-1",
                    "requestTime": "12/Mar/2020:20:03:58 +0000",
                    "requestTimeEpoch": NOON,
                    "resourcePath": "r",
                    "stage": "prod"
                }
            }),
        ),
    ] {
        let [tenant, cookie] = ["x-tenant", "cookie"].map(HeaderName::from_static);
        let identity = Some(vec![Part::Header(AUTHORIZATION), Part::Header(tenant.clone())]);
        let bench =
            function(payload, Terms { forward_headers: vec![AUTHORIZATION, tenant, cookie], identity, ..terms() });
        *bench.double.answer.lock().unwrap() = Some(json!({"isAuthorized": true, "context": {"id": "ann"}}));
        let mut asked = request("GET /x/../my/path?a=1&a=%202&b", "yes");
        asked.headers.insert("cookie", HeaderValue::from_static("c=1; d=2"));
        asked.headers.insert("x-secret", HeaderValue::from_static("1"));
        asked.headers.insert("x-tenant", HeaderValue::from_static("t1,t2"));
        let caller = testkit::identify(&bench.auth, &mut asked, &bench.world).await.expect("allowed");
        assert_eq!(caller.id(), "ann");
        let (line, headers, body) = bench.double.last();
        let path =
            "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aauthz%3Alive/invocations";
        assert_eq!(line, format!("lambda.eu-west-1.amazonaws.com POST https://lambda.eu-west-1.amazonaws.com{path}"));
        assert_eq!(headers["content-length"].to_str().unwrap(), body.len().to_string());
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_function_answers_is_judged_and_what_it_throws_lets_nobody_in() {
    let policy = |effect: &str| {
        json!({"principalId": "ann", "policyDocument": {"Statement": [
            {"Action": "execute-api:Invoke", "Effect": effect, "Resource": "arn:aws:execute-api:*:*:abcdef/prod/*"}]}})
    };
    for (answer, code) in [
        (json!({"isAuthorized": true}), "allowed"),
        (json!({"isAuthorized": false}), "caller_forbidden"),
        (policy("Allow"), "allowed"),
        (policy("Deny"), "caller_forbidden"),
        (json!({"errorMessage": "Unauthorized"}), "credentials_invalid"),
        (json!({"errorMessage": "unauthorized", "errorType": "Error"}), "credentials_unchecked"),
        (json!({"errorMessage": "Task timed out", "isAuthorized": true}), "credentials_unchecked"),
        (json!({"isAuthorized": "true"}), "credentials_unchecked"),
    ] {
        let bench = function(Payload::V2, terms());
        *bench.double.answer.lock().unwrap() = Some(answer.clone());
        assert_eq!(bench.code("GET /", "yes").await, code, "{answer}");
    }
    let bench = function(Payload::V2, terms());
    for credential in ["no", "forbidden", "broken", "slow"] {
        assert_eq!(bench.code("GET /", credential).await, "credentials_unchecked", "{credential}: Lambda's own no");
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_is_kept_is_judged_anew_for_each_request_in_whatever_writing() {
    let bench = function(Payload::V1, Terms { by_route: false, ..by_credential() });
    let arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdef/prod";
    *bench.double.answer.lock().unwrap() = Some(json!({"principalId": "ann", "policyDocument": {"Statement": [
        {"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": [format!("{arn}/GET/*")]},
        {"Action": "execute-api:Invoke", "Effect": "Deny", "Resource": format!("{arn}/*/admin/*")}]}}));
    for (line, code) in [
        ("GET /orders", "allowed"),
        ("PUT /orders", "caller_forbidden"),
        ("GET /admin/users", "caller_forbidden"),
        ("GET /%61dmin/users", "caller_forbidden"),
        ("GET /x/../admin/users", "caller_forbidden"),
        ("GET //admin/users", "caller_forbidden"),
        ("GET /orders", "allowed"),
    ] {
        assert_eq!(bench.code(line, "yes").await, code, "{line}");
    }
    assert_eq!(bench.double.count(), 1);
}

#[test]
fn the_arn_of_a_function_is_whole_or_none() {
    for (text, url) in [
        (ARN, "https://lambda.eu-west-1.amazonaws.com/"),
        ("arn:aws-cn:lambda:cn-north-1:123456789012:function:f", "https://lambda.cn-north-1.amazonaws.com.cn/"),
        (
            "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:f:$LATEST",
            "https://lambda.us-gov-west-1.amazonaws.com/",
        ),
    ] {
        let arn = Arn::parse(text).expect(text);
        assert!(arn.url(None).starts_with(url), "{}", arn.url(None));
        assert!(arn.url(Some("http://127.0.0.1:9/")).starts_with("http://127.0.0.1:9/2015-03-31/functions/arn%3Aaws"));
    }
    for text in [
        "f",
        "arn:aws:lambda:eu-west-1:123456789012:function:",
        "arn:aws:lambda:eu-west-1:12345678901:function:f",
        "arn:aws:lambda:evil.example/:123456789012:function:f",
        "arn:aws:lambda::123456789012:function:f",
        "arn:aws:lambda:eu-west-1:123456789012:layer:f",
        "arn:aws:lambda:eu-west-1:123456789012:function:f:1:2",
        "arn:aws:lambda:eu-west-1:123456789012:function:a/b",
    ] {
        assert_eq!(Arn::parse(text), None, "{text}");
    }
}
