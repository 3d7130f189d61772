//! What the gateway says of itself: secrets from AWS, signatures, tokens, over real HTTP.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tollgate::clock::{Clock, SystemClock};
use tollgate::config::{self, Files, Host};
use tollgate::exchange::{Body, Origin, Request, Scheme, Served};
use tollgate::gateway::{Gateway, World};
use tollgate::table::MemoryTable;
use tollgate_adapters::aws::{Account, AwsSecrets, Endpoints};
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};
use tollgate_adapters::vault::HostVault;

use self::aws::Aws;
use crate::program::{Program, gateway as binary};
use crate::runtime_api::{RuntimeApi, event};

mod aws;
mod laptop;

struct OneFile(String);

impl Files for OneFile {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        if path == "gateway.yaml" { Ok(self.0.clone().into_bytes()) } else { Err("no such file".to_owned()) }
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("no such directory".to_owned())
    }
}

fn secrets(aws: &Aws) -> (Arc<HttpUpstream>, AwsSecrets) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let account = Account::given(aws::credentials(), aws::REGION, Arc::clone(&clock));
    let upstream = HttpUpstream::signing(UpstreamSettings::default(), clock, Arc::clone(&account));
    let endpoints = Endpoints { ssm: Some(aws.url()), secretsmanager: Some(aws.url()) };
    (Arc::clone(&upstream), AwsSecrets::new(account, upstream, endpoints))
}

fn gateway(aws: &Aws, config: String) -> Gateway {
    let env = |name: &str| (name == "CLIENT_SECRET").then(|| "hush".to_owned());
    let compiled = config::compile("gateway.yaml", Host { files: &OneFile(config), env: &env });
    let (upstream, secrets) = secrets(aws);
    let world = World {
        table: Arc::new(MemoryTable::default()),
        upstream,
        clock: Arc::new(SystemClock),
        environments: Some(NonZeroU32::MIN),
        vault: Arc::new(HostVault::new(secrets)),
    };
    Gateway::new(compiled.unwrap_or_else(|problems| panic!("{problems}")).routes, world)
}

async fn ask(gateway: &Gateway, method: &str, path: &str, query: Option<&str>, body: Body) -> Served {
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "id".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    let mut headers = http::HeaderMap::new();
    for name in ["authorization", "x-amz-invocation-type", "x-amz-security-token", "content-type"] {
        headers.insert(http::HeaderName::from_static(name), http::HeaderValue::from_static("theirs"));
    }
    let (path, query) = (path.to_owned(), query.map(str::to_owned));
    gateway.handle(Request { method: method.parse().unwrap(), path, query, headers, body, origin }).await
}

async fn text(served: Served) -> (u16, String) {
    let status = served.response.status.as_u16();
    (status, String::from_utf8(served.response.body.collect(1 << 20).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn secrets_of_both_kinds_are_read_with_signatures_that_aws_takes() {
    let aws = Aws::start().await;
    aws.parameter("/shop/edge", "parameter value");
    aws.answers("shop", 200, json!({"SecretString": "{\"user\": \"gw\", \"password\": \"hush\"}"}));
    aws.answers("binary", 200, json!({"SecretBinary": "AAH/"}));
    aws.answers("denied", 400, json!({"__type": "AccessDeniedException", "Message": "User is not authorized"}));
    let (_, secrets) = secrets(&aws);
    assert_eq!(secrets.parameter("/shop/edge").await.unwrap(), "parameter value");
    assert_eq!(secrets.secret("shop", Some("password")).await.unwrap(), "hush");
    assert_eq!(secrets.secret("shop", None).await.unwrap(), "{\"user\": \"gw\", \"password\": \"hush\"}");
    assert_eq!(secrets.secret("binary", None).await.unwrap(), &[0, 1, 255][..]);
    let denied = secrets.secret("denied", None).await.unwrap_err();
    assert_eq!(denied, "AWS answered 400 AccessDeniedException: User is not authorized");
    assert_eq!(secrets.parameter("/none").await.unwrap_err(), "AWS answered 400 ParameterNotFound");
}

#[tokio::test]
async fn a_request_to_an_aws_service_is_signed_as_it_is_sent_and_the_client_signs_nothing_of_it() {
    let aws = Aws::start().await;
    let config = format!(
        "version: 1
upstreams: {{functions: {{targets: \"{}2015-03-31\", sign: {{sigv4: {{service: lambda, region: eu-central-1}}}}}}}}
routes: [{{name: a, auth: none, match: {{path: /**}}, to: functions}}]",
        aws.url()
    );
    let gateway = gateway(&aws, config);
    for (path, query) in [
        ("/functions/a/invocations", None),
        ("/a%20b/(c)$/%C3%A9;d=1/@x", Some("b=2&a=%20x&a=1&empty=&flag")),
        ("/", Some("q=%2F%3D")),
    ] {
        let stream = Full::new(Bytes::from_static(b"{\"a\": 1}")).map_err(|never| match never {});
        let served = ask(&gateway, "POST", path, query, Body::stream(stream)).await;
        let (status, answer) = text(served).await;
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let sent = query.map_or_else(|| format!("/2015-03-31{path}"), |query| format!("/2015-03-31{path}?{query}"));
        assert_eq!((answer["path"].as_str(), answer["body"].as_str()), (Some(sent.as_str()), Some("{\"a\": 1}")));
    }
    for headers in aws.called() {
        assert!(!headers.contains_key("x-amz-invocation-type"));
        let authorization = headers["authorization"].to_str().unwrap();
        assert!(
            authorization.contains("/eu-central-1/lambda/aws4_request, SignedHeaders=content-type;host;"),
            "{authorization}"
        );
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_at_the_start_is_503_for_what_needs_it_alone_and_nobody_sees_another() {
    let aws = Aws::start().await;
    aws.parameter("/there", "the-value");
    aws.answers("/down", 500, json!({"__type": "InternalServerError"}));
    let config = format!(
        "version: 1
upstreams:
  there: {{targets: \"http://{0}\", sign: {{headers: {{x-api-key: {{secret: \"ssm:/there\"}}}}}}}}
  down: {{targets: \"http://{0}\", sign: {{bearer: \"ssm:/down\"}}}}
defaults: {{auth: none}}
routes:
  - {{name: there, match: {{path: /there}}, to: there}}
  - {{name: down, match: {{path: /down}}, to: down}}
  - {{name: own, match: {{path: /own}}, to: {{respond: {{status: 200}}}}}}",
        echo().await
    );
    let gateway = gateway(&aws, config);
    let missing = gateway.resolve().await;
    assert_eq!(missing, ["ssm:/down is not resolved, AWS answered 500 InternalServerError"]);
    let (status, answer) = text(ask(&gateway, "GET", "/there", None, Body::Empty).await).await;
    assert!(status == 200 && answer.contains("x-api-key: the-value"), "{answer}");
    assert_eq!(text(ask(&gateway, "GET", "/own", None, Body::Empty).await).await.0, 200);
    let served = ask(&gateway, "GET", "/down", None, Body::Empty).await;
    assert_eq!(served.exchange.stopped_by, Some("secret_unavailable"));
    assert_eq!(served.response.status, 503);
    let shown = format!("{gateway:?}{:?}{}", served.exchange, gateway.routes().print());
    assert!(shown.contains("ssm:/there") && !shown.contains("the-value"));
    aws.asked();
    text(ask(&gateway, "GET", "/there", None, Body::Empty).await).await;
    assert!(aws.asked().is_empty(), "it is known");
}

#[tokio::test]
async fn the_function_reads_its_secrets_at_init_and_asks_for_none_where_there_are_none() {
    let aws = Aws::start().await;
    aws.parameter("/there", "the-value");
    let echo = echo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.yaml");
    let credentials = aws::credentials();
    let (url, token) = (aws.url(), credentials.session_token.unwrap());
    let settings = [
        ("TOLLGATE_CONFIG", path.to_str().unwrap()),
        ("TOLLGATE_DYNAMODB_ENDPOINT", "http://127.0.0.1:1"),
        ("TOLLGATE_LOG", "off"),
        ("AWS_REGION", aws::REGION),
        ("AWS_ACCESS_KEY_ID", &credentials.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key),
        ("AWS_SESSION_TOKEN", &token),
        ("AWS_ENDPOINT_URL_SSM", &url),
    ];
    for (sign, asked, told) in [
        ("sign: {bearer: \"ssm:/there\"}", &["/there", "/none"][..], "authorization: Bearer the-value"),
        ("", &[], "x-amz-invocation-type: theirs"),
    ] {
        let other = if asked.is_empty() { "env:NONE" } else { "ssm:/none" };
        let config = format!(
            "version: 1
upstreams:
  echo: {{targets: \"http://{echo}\", {sign}}}
  other: {{targets: \"http://{echo}\", sign: {{bearer: \"{other}\"}}}}
defaults: {{auth: none}}
routes:
  - {{name: a, match: {{path: /a}}, to: echo}}
  - {{name: b, match: {{path: /b}}, to: other}}"
        );
        std::fs::write(&path, config).unwrap();
        let mut api = RuntimeApi::start().await;
        let mut program = Program::start(&binary(), &api, &settings);
        let mut with = event("GET", "/a", "");
        with["headers"]["x-amz-invocation-type"] = "theirs".into();
        let outcome = api.call(&with).await;
        let body = String::from_utf8(outcome.body()).unwrap();
        assert!(outcome.status() == 200 && body.contains(told), "{body}");
        assert_eq!(api.call(&event("GET", "/b", "")).await.status(), 503);
        let mut names = aws.asked();
        names.sort();
        let mut asked = asked.to_vec();
        asked.sort_unstable();
        assert_eq!(names, asked);
        if !asked.is_empty() {
            let complaint = program.complaint().await;
            assert!(complaint.contains("ssm:/none is not resolved, AWS answered 400 ParameterNotFound"), "{complaint}");
        }
    }
}

/// An upstream that answers with the fields that it was sent.
async fn echo() -> std::net::SocketAddr {
    serve(|headers| {
        let lines = headers.iter().map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap_or_default()));
        (200, lines.collect())
    })
    .await
}

async fn serve(answer: impl Fn(&http::HeaderMap) -> (u16, String) + Send + Sync + 'static) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request: http::Request<Incoming>| {
                let answer = Arc::clone(&answer);
                async move {
                    let (head, body) = request.into_parts();
                    body.collect().await?;
                    let (status, text) = answer(&head.headers);
                    Ok::<_, hyper::Error>(
                        http::Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap(),
                    )
                }
            });
            tokio::spawn(Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

#[tokio::test]
async fn fifty_requests_share_one_token_and_one_that_the_upstream_refuses_is_not_sent_for_ever() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let issuer = serve(move |headers| {
        // `gw:hush`.
        if headers["authorization"] != "Basic Z3c6aHVzaA==" {
            return (401, r#"{"error": "invalid_client"}"#.to_owned());
        }
        let number = counting.fetch_add(1, Ordering::Relaxed) + 1;
        (200, json!({"access_token": format!("token-{number}"), "token_type": "Bearer", "expires_in": 600}).to_string())
    })
    .await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noting, refusing) = (Arc::clone(&seen), Arc::new(AtomicUsize::new(0)));
    let refuse = Arc::clone(&refusing);
    let orders = serve(move |headers| {
        noting.lock().unwrap().push(headers["authorization"].to_str().unwrap().to_owned());
        (if refuse.load(Ordering::Relaxed) > 0 { 401 } else { 200 }, String::new())
    })
    .await;
    let config = format!(
        "version: 1
upstreams:
  orders:
    targets: \"http://{orders}\"
    sign: {{oauth2: {{token_url: \"http://{issuer}/token\", client: {{id: gw, secret: \"env:CLIENT_SECRET\"}}}}}}
  wrong:
    targets: \"http://{orders}\"
    sign: {{oauth2: {{token_url: \"http://{issuer}/token\", client: {{id: other, secret: \"env:CLIENT_SECRET\"}}}}}}
defaults: {{auth: none}}
routes:
  - {{name: a, match: {{path: /a}}, to: orders}}
  - {{name: b, match: {{path: /b}}, to: wrong}}"
    );
    let gateway = Arc::new(gateway(&Aws::start().await, config));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let gateway = Arc::clone(&gateway);
        asking.spawn(async move { ask(&gateway, "GET", "/a", None, Body::Empty).await.response.status });
    }
    assert!(asking.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let tokens = std::mem::take(&mut *seen.lock().unwrap());
    assert!(tokens.len() == 50 && tokens.iter().all(|token| token == "Bearer token-1"), "{tokens:?}");

    refusing.store(1, Ordering::Relaxed);
    assert_eq!(ask(&gateway, "GET", "/a", None, Body::Empty).await.response.status, 401);
    assert_eq!((seen.lock().unwrap().len(), asked.load(Ordering::Relaxed)), (1, 1), "the token is young");

    let served = ask(&gateway, "GET", "/b", None, Body::Empty).await;
    assert_eq!((served.response.status.as_u16(), served.exchange.stopped_by), (503, Some("upstream_unsigned")));
    let detail = served.exchange.detail.unwrap();
    assert!(detail.contains("answered 401 invalid_client") && !detail.contains("hush"), "{detail}");
}
