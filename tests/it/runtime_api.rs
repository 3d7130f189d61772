//! A Runtime API in this process, for the loop in this process and for real binaries.
//!
//! It hands out the events it is given, one at a time, and tells each invocation's answer as it arrives: head, chunks,
//! trailers. Every call goes into a journal, so that order can be asserted. Its sockets are as the system makes them: no
//! quick acknowledgements, which would hide a client that waits for them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long a test waits for what should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is waited for, or a failed test that says what did not come.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// The order in which things happened, whoever saw them.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(crate) fn read(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// How the Runtime API behaves for one event.
pub(crate) struct Handed {
    pub(crate) event: Vec<u8>,
    /// Milliseconds since the epoch, as it is written.
    pub(crate) deadline: String,
    /// Fields beside the usual ones.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// What the posted answer is answered with.
    pub(crate) status: StatusCode,
    /// How many times the connection breaks when the answer is posted, before one is taken.
    pub(crate) breaks: u32,
    /// Acknowledge the answer before its content was read, as an emulator does.
    pub(crate) at_once: bool,
}

impl From<&Value> for Handed {
    fn from(event: &Value) -> Self {
        Self::raw(event.to_string().into_bytes())
    }
}

impl Handed {
    pub(crate) fn raw(event: Vec<u8>) -> Self {
        Self {
            event,
            deadline: deadline_in(Duration::from_secs(30)),
            fields: Vec::new(),
            status: StatusCode::ACCEPTED,
            breaks: 0,
            at_once: false,
        }
    }
}

/// A deadline as the Runtime API writes it.
pub(crate) fn deadline_in(left: Duration) -> String {
    use tollgate::clock::{Clock, SystemClock};
    SystemClock.now().plus(left).millis().to_string()
}

enum Told {
    Answer { error: bool, headers: HeaderMap },
    Chunk(Bytes),
    Trailers(HeaderMap),
    End,
}

struct Open {
    told: mpsc::UnboundedSender<Told>,
    status: StatusCode,
    breaks: u32,
    at_once: bool,
}

struct Shared {
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<(String, Handed)>>,
    open: Mutex<HashMap<String, Open>>,
    journal: Journal,
    polls: watch::Sender<u64>,
    init_errors: mpsc::UnboundedSender<(HeaderMap, Value)>,
}

/// The Runtime API.
pub(crate) struct RuntimeApi {
    /// As `AWS_LAMBDA_RUNTIME_API` has it.
    pub(crate) address: SocketAddr,
    pub(crate) journal: Journal,
    shared: Arc<Shared>,
    hand: mpsc::UnboundedSender<(String, Handed)>,
    init_errors: mpsc::UnboundedReceiver<(HeaderMap, Value)>,
    handed: u64,
    server: tokio::task::JoinHandle<()>,
}

impl RuntimeApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hand, waiting) = mpsc::unbounded_channel();
        let (told, init_errors) = mpsc::unbounded_channel();
        let journal = Journal::default();
        let shared = Arc::new(Shared {
            waiting: tokio::sync::Mutex::new(waiting),
            open: Mutex::default(),
            journal: journal.clone(),
            polls: watch::Sender::new(0),
            init_errors: told,
        });
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, journal, shared, hand, init_errors, handed: 0, server }
    }

    /// Hands an event over to whoever asks next.
    pub(crate) fn hand(&mut self, handed: impl Into<Handed>) -> Invocation {
        self.handed += 1;
        let handed = handed.into();
        let id = format!("i-{}", self.handed);
        let (told, tells) = mpsc::unbounded_channel();
        let open = Open { told, status: handed.status, breaks: handed.breaks, at_once: handed.at_once };
        self.shared.open.lock().unwrap().insert(id.clone(), open);
        let at = Instant::now();
        assert!(self.hand.send((id, handed)).is_ok(), "the Runtime API has ended");
        Invocation { tells, handed: at }
    }

    /// Hands an event over and waits for all of its answer.
    pub(crate) async fn call(&mut self, handed: impl Into<Handed>) -> Outcome {
        self.hand(handed).outcome().await
    }

    /// Waits until `next` was asked for `times` times in all.
    pub(crate) async fn polled(&self, times: u64) {
        let mut polls = self.shared.polls.subscribe();
        soon("`next`", polls.wait_for(|polls| *polls >= times)).await.unwrap();
    }

    /// The next report that the process cannot start.
    pub(crate) async fn init_error(&mut self) -> (HeaderMap, Value) {
        soon("an init error", self.init_errors.recv()).await.unwrap()
    }

    /// Ends, with every connection.
    pub(crate) fn stop(self) {
        self.server.abort();
    }
}

/// One event that was handed over.
pub(crate) struct Invocation {
    tells: mpsc::UnboundedReceiver<Told>,
    handed: Instant,
}

/// What came of one event.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether it was posted to `/error`.
    pub(crate) error: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// From handing over to the last byte.
    pub(crate) took: Duration,
}

impl Invocation {
    /// The fields that the answer was posted with.
    pub(crate) async fn head(&mut self) -> (bool, HeaderMap) {
        match soon("an answer", self.tells.recv()).await {
            Some(Told::Answer { error, headers }) => (error, headers),
            _ => panic!("an answer starts with its head"),
        }
    }

    /// The next part of the answer's content, as it arrived; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Option<Bytes> {
        match soon("content", self.tells.recv()).await {
            Some(Told::Chunk(chunk)) => Some(chunk),
            Some(Told::End) => None,
            _ => panic!("content or its end comes here"),
        }
    }

    /// The trailers, where nothing else comes before them.
    pub(crate) async fn trailers(&mut self) -> HeaderMap {
        match soon("trailers", self.tells.recv()).await {
            Some(Told::Trailers(trailers)) => trailers,
            Some(Told::Chunk(chunk)) => panic!("content came instead of trailers: {chunk:?}"),
            _ => panic!("the end came instead of trailers"),
        }
    }

    /// All of it.
    pub(crate) async fn outcome(mut self) -> Outcome {
        let (error, headers) = self.head().await;
        let (mut bytes, mut trailers) = (Vec::new(), None);
        loop {
            match soon("the answer's end", self.tells.recv()).await {
                Some(Told::Chunk(chunk)) => bytes.extend_from_slice(&chunk),
                Some(Told::Trailers(fields)) => trailers = Some(fields),
                Some(Told::End) => break,
                // A post that broke is posted again, from its beginning.
                Some(Told::Answer { .. }) => bytes.clear(),
                None => panic!("the answer broke off after {} bytes", bytes.len()),
            }
        }
        Outcome { error, headers, bytes, trailers, took: self.handed.elapsed() }
    }
}

impl Outcome {
    /// A buffered answer's JSON, or an error's.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|fault| panic!("{fault}: {:?}", self.bytes))
    }

    /// A buffered answer's status.
    pub(crate) fn status(&self) -> u64 {
        assert!(!self.error, "an error: {}", self.json());
        self.json()["statusCode"].as_u64().unwrap()
    }

    /// A buffered answer's content.
    pub(crate) fn body(&self) -> Vec<u8> {
        let json = self.json();
        let body = json["body"].as_str().unwrap();
        if json["isBase64Encoded"] == true { STANDARD.decode(body).unwrap() } else { body.as_bytes().to_vec() }
    }

    /// A streamed answer's prelude and content.
    pub(crate) fn streamed(&self) -> (Value, &[u8]) {
        assert_eq!(self.headers["lambda-runtime-function-response-mode"], "streaming");
        assert_eq!(self.headers["content-type"], "application/vnd.awslambda.http-integration-response");
        let end = self.bytes.windows(8).position(|window| window == [0; 8]).expect("eight NULs end the prelude");
        (serde_json::from_slice(&self.bytes[..end]).unwrap(), &self.bytes[end + 8..])
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| call(request, &shared));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// The connection breaks, as far as the client can see.
#[derive(Debug, thiserror::Error)]
#[error("the connection breaks here")]
struct Break;

async fn call(request: Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Break> {
    let path = request.uri().path().to_owned();
    // An emulator serves each function under a path of its own.
    let path = path.strip_prefix("/.rt/echo").unwrap_or(&path).strip_prefix("/2018-06-01/runtime").unwrap_or_default();
    let method = request.method().clone();
    match (method, path.split('/').collect::<Vec<_>>().as_slice()) {
        (Method::GET, ["", "invocation", "next"]) => Ok(next(shared).await),
        (Method::POST, ["", "invocation", id, kind @ ("response" | "error")]) => {
            posted(request, shared, id, *kind == "error").await
        }
        (Method::POST, ["", "init", "error"]) => {
            let (head, body) = request.into_parts();
            let told = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            shared.journal.note("init error");
            drop(shared.init_errors.send((head.headers, told)));
            Ok(plain(StatusCode::ACCEPTED))
        }
        _ => Ok(plain(StatusCode::NOT_FOUND)),
    }
}

async fn next(shared: &Shared) -> Response<Full<Bytes>> {
    shared.journal.note("next");
    shared.polls.send_modify(|polls| *polls += 1);
    let Some((id, handed)) = shared.waiting.lock().await.recv().await else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = Response::builder()
        .header("lambda-runtime-aws-request-id", &id)
        .header("lambda-runtime-deadline-ms", handed.deadline)
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:gateway")
        .header("lambda-runtime-trace-id", "Root=1-5e9f0c65-1de4d666d4dd26aced652b6c")
        .header("content-type", "application/json");
    for (name, value) in handed.fields {
        response = response.header(name, value);
    }
    response.body(Full::from(handed.event)).unwrap()
}

async fn posted(
    request: Request<Incoming>,
    shared: &Shared,
    id: &str,
    error: bool,
) -> Result<Response<Full<Bytes>>, Break> {
    let (told, status, breaks, at_once) = match shared.open.lock().unwrap().get_mut(id) {
        Some(open) => {
            let breaks = open.breaks > 0;
            open.breaks = open.breaks.saturating_sub(1);
            (open.told.clone(), open.status, breaks, open.at_once)
        }
        None => return Ok(plain(StatusCode::BAD_REQUEST)),
    };
    if breaks {
        return Err(Break);
    }
    let (head, body) = request.into_parts();
    shared.journal.note(format!("{} {id}", if error { "error" } else { "answer" }));
    drop(told.send(Told::Answer { error, headers: head.headers }));
    let rest = rest(body, told, shared.journal.clone(), id.to_owned());
    if at_once {
        tokio::spawn(rest);
    } else {
        rest.await;
        shared.open.lock().unwrap().remove(id);
    }
    Ok(plain(status))
}

async fn rest(mut body: Incoming, told: mpsc::UnboundedSender<Told>, journal: Journal, id: String) {
    while let Some(frame) = body.frame().await {
        // A broken post leaves without `End`, which the test sees.
        let Ok(frame) = frame else { return };
        let part = match frame.into_data() {
            Ok(data) => Told::Chunk(data),
            Err(frame) => Told::Trailers(frame.into_trailers().unwrap_or_default()),
        };
        drop(told.send(part));
    }
    journal.note(format!("end {id}"));
    drop(told.send(Told::End));
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// An event as a function URL makes it.
pub(crate) fn event(method: &str, path: &str, query: &str) -> Value {
    let domain = "abcdefghij.lambda-url.eu-west-1.on.aws";
    serde_json::json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
        "headers": {
            "host": domain, "accept": "*/*", "user-agent": "it", "x-forwarded-for": "192.0.2.7",
            "x-forwarded-proto": "https", "x-forwarded-port": "443"
        },
        "requestContext": {
            "accountId": "anonymous", "apiId": "abcdefghij", "domainName": domain, "domainPrefix": "abcdefghij",
            "http": {
                "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.7", "userAgent": "it"
            },
            "requestId": "0b6c4d5e-0001", "routeKey": "$default", "stage": "$default",
            "time": "24/Nov/2026:12:00:00 +0000", "timeEpoch": 1_795_521_600_000_u64
        },
        "isBase64Encoded": false
    })
}
