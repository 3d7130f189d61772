//! The Lambda door's loop over the Runtime API, in this process, with handlers made for the test: every trap that AWS's
//! own runtime is known to have.

mod answers;

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tollgate::clock::{Clock, SystemClock};
use tollgate::exchange::{After, Body, BodyFault, Exchange, Request, Response, Served};
use tollgate::forward::BoxFuture;
use tollgate_adapters::door::health::HEALTH_PATH;
use tollgate_adapters::door::lambda::{LambdaSettings, ResponseMode, RuntimeFault, invoke_with, run_with};

use crate::runtime_api::{Handed, Journal, RuntimeApi, deadline_in, event, soon};

/// The loop, running.
struct Loop {
    api: RuntimeApi,
    log: Arc<Mutex<Vec<Exchange>>>,
    running: tokio::task::JoinHandle<RuntimeFault>,
}

fn settings(api: String, mode: ResponseMode) -> LambdaSettings {
    LambdaSettings { api, mode, concurrency: NonZeroUsize::MIN, health: HEALTH_PATH.to_owned() }
}

impl Loop {
    async fn start<H>(mode: ResponseMode, handler: H) -> Self
    where
        H: Fn(Request) -> BoxFuture<'static, Served> + Send + Sync + 'static,
    {
        let api = RuntimeApi::start().await;
        let address = api.address.to_string();
        Self::at(api, address, mode, handler)
    }

    fn at<H>(api: RuntimeApi, address: String, mode: ResponseMode, handler: H) -> Self
    where
        H: Fn(Request) -> BoxFuture<'static, Served> + Send + Sync + 'static,
    {
        let (log, journal) = (Arc::new(Mutex::new(Vec::new())), api.journal.clone());
        let sink: tollgate_adapters::LogSink = Arc::new({
            let log = Arc::clone(&log);
            move |exchange: &Exchange| {
                journal.note("log");
                log.lock().unwrap().push(exchange.clone());
            }
        });
        let settings = settings(address, mode);
        let running = tokio::spawn(async move {
            match run_with(handler, &settings, &sink).await {
                Ok(never) => match never {},
                Err(fault) => fault,
            }
        });
        Self { api, log, running }
    }

    /// The records so far, once the loop asked for the next event after `events` of them.
    async fn log_after(&self, events: u64) -> Vec<Exchange> {
        self.api.polled(events + 1).await;
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn served(request: &Request, response: Response) -> Served {
    let mut exchange = Exchange::open(request, SystemClock.now());
    exchange.status = response.status;
    exchange.upstream = Some("orders".into());
    Served { response, exchange, after: After::default() }
}

fn answer(kind: Option<&'static str>, body: Body) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(kind) = kind {
        headers.insert("content-type", HeaderValue::from_static(kind));
    }
    Response { status: StatusCode::OK, headers, body }
}

/// Tells the client what the core was given.
fn mirror(request: Request) -> BoxFuture<'static, Served> {
    Box::pin(async move {
        let told = json!({
            "method": request.method.as_str(), "path": request.path, "query": request.query,
            "host": request.origin.host, "ip": request.origin.ip.to_string(), "id": request.origin.id,
            "deadline": request.origin.deadline.is_some(),
            "cookie": request.headers.get("cookie").map(|cookie| cookie.to_str().unwrap_or("?")),
        });
        served(&request, answer(Some("application/json"), Body::Full(told.to_string().into())))
    })
}

/// Sends the request's content back under no type.
fn echo(request: Request) -> BoxFuture<'static, Served> {
    Box::pin(async move {
        let empty = Request { body: Body::Empty, ..request };
        served(&empty, answer(None, request.body))
    })
}

/// Content that a test sends by hand.
struct Hand(mpsc::UnboundedReceiver<Result<Bytes, BodyFault>>);

impl http_body::Body for Hand {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data)))
    }
}

type Sender = mpsc::UnboundedSender<Result<Bytes, BodyFault>>;

/// A handler whose answers' content comes from the test, by the senders that come out of the receiver.
fn by_hand() -> (impl Fn(Request) -> BoxFuture<'static, Served> + Send + Sync, mpsc::UnboundedReceiver<Sender>) {
    let (senders, receiver) = mpsc::unbounded_channel();
    let handler = move |request: Request| -> BoxFuture<'static, Served> {
        let (sender, content) = mpsc::unbounded_channel();
        senders.send(sender).unwrap();
        Box::pin(async move { served(&request, answer(Some("text/plain"), Body::stream(Hand(content)))) })
    };
    (handler, receiver)
}

fn reset() -> Result<Bytes, BodyFault> {
    Err(BodyFault::Broken("10.0.0.7:8443 went away".into()))
}

#[tokio::test]
async fn what_a_request_left_to_do_is_done_after_its_answer_and_before_the_next_event() {
    for mode in [ResponseMode::Buffered, ResponseMode::Stream] {
        let api = RuntimeApi::start().await;
        let (address, journal) = (api.address.to_string(), api.journal.clone());
        let mut gateway = Loop::at(api, address, mode, move |request| {
            let journal = journal.clone();
            Box::pin(async move {
                journal.note("serve");
                let mut served = served(&request, answer(None, Body::Full("x".into())));
                served.after.push(async move {
                    tokio::task::yield_now().await;
                    journal.note("after");
                });
                served
            })
        });
        for _ in 0..2 {
            gateway.api.call(&event("GET", "/", "")).await;
        }
        gateway.api.polled(3).await;
        let round =
            |id: &str| ["serve".to_owned(), format!("answer {id}"), format!("end {id}"), "after".into(), "log".into()];
        let expected = [
            vec!["next".to_owned()],
            round("i-1").into(),
            vec!["next".into()],
            round("i-2").into(),
            vec!["next".into()],
        ];
        assert_eq!(gateway.api.journal.read(), expected.concat());
    }
}

#[tokio::test]
async fn work_that_never_ends_or_panics_holds_the_next_event_no_longer_than_the_deadline() {
    let mut gateway = Loop::start(ResponseMode::Buffered, |request| {
        Box::pin(async move {
            let mut served = served(&request, answer(None, Body::Empty));
            match request.path.as_str() {
                "/panics" => served.after.push(async { panic!("after the answer") }),
                _ => served.after.push(std::future::pending()),
            }
            served
        })
    })
    .await;
    let handed = Handed { deadline: deadline_in(Duration::from_millis(200)), ..Handed::from(&event("GET", "/", "")) };
    assert_eq!(gateway.api.call(handed).await.status(), 200);
    assert_eq!(gateway.api.call(&event("GET", "/panics", "")).await.status(), 200);
    assert_eq!(gateway.log_after(2).await.len(), 2);
}

#[tokio::test]
async fn a_panic_is_that_requests_500_and_the_loop_lives() {
    let mut gateway = Loop::start(ResponseMode::Buffered, |request| match request.path.as_str() {
        "/at-once" => panic!("10.0.0.7 secret"),
        "/later" => Box::pin(async {
            tokio::task::yield_now().await;
            panic!("10.0.0.7 secret")
        }),
        _ => mirror(request),
    })
    .await;
    for path in ["/at-once", "/later"] {
        let outcome = gateway.api.call(&event("GET", path, "")).await;
        assert_eq!(outcome.status(), 500);
        let json = outcome.json();
        assert_eq!(json["headers"]["content-type"], "application/problem+json");
        assert_eq!(json["headers"]["x-request-id"], "0b6c4d5e-0001");
        let problem: Value = serde_json::from_slice(&outcome.body()).unwrap();
        assert_eq!((&problem["code"], &problem["instance"]), (&"internal".into(), &"0b6c4d5e-0001".into()));
        assert!(!String::from_utf8_lossy(&outcome.bytes).contains("secret"));
    }
    assert_eq!(gateway.api.call(&event("GET", "/", "")).await.status(), 200);
    let log = gateway.log_after(3).await;
    assert_eq!((log[0].path.as_str(), log[0].stopped_by, log[0].status.as_u16()), ("/at-once", Some("internal"), 500));
}

#[tokio::test]
async fn odd_paths_queries_hosts_and_fields_reach_the_core_untouched() {
    let mut gateway = Loop::start(ResponseMode::Buffered, mirror).await;
    let long = "x".repeat(70_000);
    for odd in ["a b", "a\tb", "a\"b", "a<b", "a>b", "q=a+b", "%zz", "{|}^[]`\\", "#x", "é", "\u{0}", &long] {
        let mut event = event("GET", &format!("/{odd}"), odd);
        event["headers"]["host"] = odd.into();
        event["headers"]["x-forwarded-proto"] = odd.into();
        event["cookies"] = json!(["a=1", "b=2"]);
        let outcome = gateway.api.call(&event).await;
        assert_eq!(outcome.status(), 200, "{odd}");
        let told: Value = serde_json::from_slice(&outcome.body()).unwrap();
        assert_eq!((&told["path"], &told["query"]), (&format!("/{odd}").into(), &odd.into()));
        assert_eq!(told["cookie"], "a=1; b=2");
        if odd != "\u{0}" {
            assert_eq!(told["host"], odd);
        }
    }
}

#[tokio::test]
async fn content_that_is_no_base64_is_answered_400() {
    let mut gateway = Loop::start(ResponseMode::Buffered, mirror).await;
    let mut event = event("POST", "/", "");
    event["body"] = "not base64!".into();
    event["isBase64Encoded"] = true.into();
    let outcome = gateway.api.call(&event).await;
    assert_eq!(outcome.status(), 400);
    assert_eq!(outcome.json()["headers"]["x-request-id"], "0b6c4d5e-0001");
    let log = gateway.log_after(1).await;
    assert_eq!((log[0].status.as_u16(), log[0].stopped_by), (400, Some("body_broken")));
}

#[tokio::test]
async fn content_passes_byte_for_byte_both_ways_in_both_modes() {
    let contents: [&[u8]; 5] =
        [&[0xff, 0xfe, 0x00, 0x61], b"{\"a\":\"\xff\"}", b"caf\xe9", "grüße 🦀".as_bytes(), &[0; 9]];
    for mode in [ResponseMode::Buffered, ResponseMode::Stream] {
        let mut gateway = Loop::start(mode, echo).await;
        for content in contents {
            let mut event = event("POST", "/", "");
            event["body"] = STANDARD.encode(content).into();
            event["isBase64Encoded"] = true.into();
            let outcome = gateway.api.call(&event).await;
            match mode {
                ResponseMode::Buffered => assert_eq!(outcome.body(), content),
                ResponseMode::Stream => assert_eq!(outcome.streamed().1, content),
            }
        }
    }
}

#[tokio::test]
async fn an_event_that_is_no_request_is_an_error_that_names_nothing_and_the_next_one_is_served() {
    let mut gateway = Loop::start(ResponseMode::Stream, mirror).await;
    let events: [&[u8]; 5] = [
        b"{}",
        b"\xff\xfe",
        b"",
        br#"{"Records":[{"eventSource":"aws:sqs"}]}"#,
        br#"{"version":"1.0","httpMethod":"GET"}"#,
    ];
    for event in events {
        let outcome = gateway.api.call(Handed::raw(event.to_vec())).await;
        assert!(outcome.error);
        assert_eq!(outcome.headers["lambda-runtime-function-error-type"], "Tollgate.NotHttp");
        assert_eq!(
            outcome.json(),
            json!({ "errorType": "Tollgate.NotHttp", "errorMessage": "the event is not an HTTP request" })
        );
    }
    let outcome = gateway.api.call(&event("GET", "/", "")).await;
    assert_eq!(outcome.streamed().0["statusCode"], 200);
    assert_eq!(gateway.log_after(6).await.len(), 1);
}

#[tokio::test]
async fn of_the_recorded_events_the_http_ones_are_served_and_the_others_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors/events");
    let Ok(index) = std::fs::read_to_string(format!("{folder}/INDEX.json")) else {
        println!("SKIPPED: the recorded events are not at {folder}");
        return;
    };
    let index: Value = serde_json::from_str(&index).unwrap();
    let mut gateway = Loop::start(ResponseMode::Buffered, mirror).await;
    let mut accepted = 0;
    for file in index["files"].as_array().unwrap() {
        let (name, kind) = (file["file"].as_str().unwrap(), file["kind"].as_str().unwrap());
        let outcome = gateway.api.call(Handed::raw(std::fs::read(format!("{folder}/{name}")).unwrap())).await;
        assert_eq!(outcome.error, !matches!(kind, "http-api-v2" | "rest-api-v1"), "{name}, which is {kind}");
        if !outcome.error {
            assert_eq!(outcome.status(), 200, "{name}");
            accepted += 1;
        }
    }
    assert!(accepted > 0);
}

#[tokio::test]
async fn the_loop_ends_with_a_fault_when_the_runtime_api_is_gone() {
    let mut gateway = Loop::start(ResponseMode::Buffered, mirror).await;
    gateway.api.call(&event("GET", "/", "")).await;
    gateway.api.polled(2).await;
    let (api, other) = (RuntimeApi::start().await, std::mem::replace(&mut gateway.api, RuntimeApi::start().await));
    other.stop();
    let fault = soon("the fault", &mut gateway.running).await.unwrap();
    assert!(matches!(fault, RuntimeFault::Unreachable { .. }), "{fault}");
    api.stop();
    let nonsense = settings("/".to_owned(), ResponseMode::Buffered);
    let sink: tollgate_adapters::LogSink = Arc::new(|_| {});
    assert!(matches!(run_with(mirror, &nonsense, &sink).await, Err(RuntimeFault::Address { .. })));
}

#[tokio::test]
async fn the_invocations_id_goes_back_with_whatever_is_posted() {
    for mode in [ResponseMode::Buffered, ResponseMode::Stream] {
        let mut gateway = Loop::start(mode, mirror).await;
        for event in [event("GET", "/", "").to_string(), "{}".to_owned()] {
            let fields = vec![("lambda-runtime-invocation-id", "once-7".to_owned())];
            let outcome = gateway.api.call(Handed { fields, ..Handed::raw(event.into_bytes()) }).await;
            assert_eq!(outcome.headers["lambda-runtime-invocation-id"], "once-7");
        }
        let outcome = gateway.api.call(&event("GET", "/", "")).await;
        assert!(!outcome.headers.contains_key("lambda-runtime-invocation-id"));
    }
}

#[tokio::test]
async fn a_deadline_that_passed_is_unknown_to_the_core_and_one_to_come_is_told() {
    let mut gateway = Loop::start(ResponseMode::Buffered, mirror).await;
    for (deadline, known) in
        [("600000".to_owned(), false), (String::new(), false), (deadline_in(Duration::from_secs(9)), true)]
    {
        let outcome = gateway.api.call(Handed { deadline, ..Handed::from(&event("GET", "/", "")) }).await;
        let told: Value = serde_json::from_slice(&outcome.body()).unwrap();
        assert_eq!(told["deadline"], known);
    }
}

#[tokio::test]
async fn an_emulator_that_serves_the_runtime_api_under_a_path_is_found() {
    let api = RuntimeApi::start().await;
    let address = format!("http://{}/.rt/echo", api.address);
    let mut gateway = Loop::at(api, address, ResponseMode::Buffered, mirror);
    assert_eq!(gateway.api.call(&event("GET", "/", "")).await.status(), 200);
}

#[tokio::test]
async fn an_event_without_a_request_id_has_the_invocations() {
    let mut gateway = Loop::start(ResponseMode::Buffered, mirror).await;
    let mut event = event("GET", "/", "");
    event["requestContext"]["requestId"] = Value::Null;
    let told: Value = serde_json::from_slice(&gateway.api.call(&event).await.body()).unwrap();
    assert_eq!(told["id"], "i-1");
}

#[tokio::test]
async fn an_event_can_be_invoked_without_a_runtime_api() {
    let done = Journal::default();
    let handler = |request: Request| {
        let done = done.clone();
        async move {
            let mut served = mirror(request).await;
            served.after.push(async move { done.note("after") });
            served
        }
    };
    let (json, exchange) = invoke_with(handler, event("GET", "/x", "").to_string().as_bytes()).await.unwrap();
    assert!(!json.contains('\n'));
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["statusCode"], 200);
    assert_eq!((exchange.path.as_str(), exchange.id.as_str()), ("/x", "0b6c4d5e-0001"));
    assert_eq!(done.read(), ["after"]);

    let not_http = invoke_with(handler, b"{}").await.unwrap_err();
    assert_eq!(not_http.why, "there is no `requestContext`");
}
