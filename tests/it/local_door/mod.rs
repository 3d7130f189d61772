//! The local door against clients of raw bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tollgate::clock::Timestamp;
use tollgate::exchange::{After, Body, Exchange, Request, Response, Served};
use tollgate::forward::BoxFuture;
use tollgate_adapters::LogSink;
use tollgate_adapters::door::local::{LocalSettings, serve_with};

use crate::wire::{Raw, data, frames, soon, trailers, whole};

mod forwarding;
mod http2;
mod patience;
mod smuggling;

/// A door that is open, with what it logs.
struct Opened {
    port: u16,
    log: mpsc::UnboundedReceiver<Exchange>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

fn open_with<H>(settings: LocalSettings, handle: H) -> Opened
where
    H: Fn(Request) -> BoxFuture<'static, Served> + Clone + Send + Sync + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (written, log) = mpsc::unbounded_channel();
    let sink: LogSink = Arc::new(move |exchange: &Exchange| {
        // A test that does not read its log lets go of it.
        let _ = written.send(exchange.clone());
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let stop = async { drop(stopped.await) };
        serve_with(listener, handle, settings, sink, stop).await;
    });
    Opened { port, log, stop: Some(stop), serving }
}

fn open<H>(handle: H) -> Opened
where
    H: Fn(Request) -> BoxFuture<'static, Served> + Clone + Send + Sync + 'static,
{
    open_with(LocalSettings::default(), handle)
}

impl Opened {
    async fn client(&self) -> Raw {
        Raw::connect(self.port).await
    }

    async fn logged(&mut self) -> Exchange {
        soon(self.log.recv()).await.unwrap()
    }

    /// Tells the door to stop.
    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until it has stopped.
    async fn stopped(self) {
        soon(self.serving).await.unwrap();
    }
}

fn served(exchange: Exchange, response: Response) -> Served {
    Served { response, exchange, after: After::default() }
}

fn text(status: u16, text: impl Into<String>) -> Response {
    Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Body::Full(Bytes::from(text.into())),
    }
}

/// Answers with what it was asked, in one line.
fn mirror(request: Request) -> BoxFuture<'static, Served> {
    Box::pin(async move {
        let exchange = Exchange::open(&request, Timestamp::default());
        let Request { method, path, query, origin, body, .. } = request;
        let line = match whole(body).await {
            Ok((body, _)) => format!(
                "{method} {path} {query:?} {} {} {} {} {body}",
                origin.host,
                origin.version,
                origin.ip,
                origin.scheme.as_str()
            ),
            Err(fault) => fault.to_string(),
        };
        served(exchange, text(200, line))
    })
}

/// Sends one request and reads its answer's head and body, by its `content-length`.
async fn ask(raw: &mut Raw, request: &str) -> (String, String) {
    raw.send(request).await;
    answer(raw).await
}

async fn answer(raw: &mut Raw) -> (String, String) {
    let head = raw.head().await;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let body = raw.exactly(length.parse().unwrap()).await;
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test]
async fn path_query_and_host_come_in_as_they_were_sent() {
    let door = open(mirror);
    let mut raw = door.client().await;
    for (target, told) in [
        (r"/a%2e%2E/\b//c/./../it's", r"/a%2e%2E/\b//c/./../it's None"),
        ("/?", r#"/ Some("")"#),
        ("/a?b={c}&d=%2e&e=%zz+'", r#"/a Some("b={c}&d=%2e&e=%zz+'")"#),
        ("/a?b?c", r#"/a Some("b?c")"#),
        ("//x", "//x None"),
    ] {
        let (_, body) = ask(&mut raw, &format!("GET {target} HTTP/1.1\r\nHost: API.Example:8080\r\n\r\n")).await;
        assert_eq!(body, format!("GET {told} api.example:8080 1.1 127.0.0.1 http "));
    }
}

#[tokio::test]
async fn an_absolute_target_tells_the_host() {
    let door = open(mirror);
    let mut raw = door.client().await;
    let (_, body) = ask(&mut raw, "GET http://Shop.example/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n").await;
    assert_eq!(body, r#"GET /a Some("b") shop.example 1.1 127.0.0.1 http "#);
    let (_, body) = ask(&mut raw, "GET http://shop.example HTTP/1.1\r\nHost: shop.example\r\n\r\n").await;
    assert_eq!(body, "GET / None shop.example 1.1 127.0.0.1 http ");
}

#[tokio::test]
async fn the_asterisk_is_for_options() {
    let door = open(mirror);
    let mut raw = door.client().await;
    let (_, body) = ask(&mut raw, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(body, "OPTIONS * None a 1.1 127.0.0.1 http ");
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served_and_its_connection_closed() {
    let door = open(mirror);
    let mut raw = door.client().await;
    raw.send("GET /a HTTP/1.0\r\n\r\n").await;
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(&format!("\r\n\r\nGET /a None 127.0.0.1:{} 1.0 127.0.0.1 http ", door.port)), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let door = open(mirror);
    let mut raw = door.client().await;
    let post = "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let put = "PUT /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nyz";
    let (_, first) = ask(&mut raw, &format!("{post}{put}GET /3 HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert!(first.starts_with("POST /1 ") && first.ends_with(" x"), "{first}");
    let (_, second) = answer(&mut raw).await;
    assert!(second.starts_with("PUT /2 ") && second.ends_with(" yz"), "{second}");
    assert!(answer(&mut raw).await.1.starts_with("GET /3 "));
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_to_go_on() {
    let door = open(mirror);
    let mut raw = door.client().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    assert_eq!(raw.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(ask(&mut raw, "ab").await.1.ends_with(" ab"));
}

#[tokio::test]
async fn answers_without_content_keep_what_they_may_say_of_its_length() {
    let door = open(|request: Request| -> BoxFuture<'static, Served> {
        Box::pin(async move {
            let exchange = Exchange::open(&request, Timestamp::default());
            let status = request.path.trim_start_matches('/').parse().unwrap();
            let mut response = Response::empty(StatusCode::from_u16(status).unwrap());
            response.headers.insert("content-length", HeaderValue::from_static("1234"));
            served(exchange, response)
        })
    });
    let mut raw = door.client().await;
    let mut length = async |method: &str, status: u16| {
        raw.send(format!("{method} /{status} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned))
    };
    assert_eq!(length("HEAD", 200).await.as_deref(), Some("1234"));
    assert_eq!(length("GET", 200).await.as_deref(), Some("0"));
    assert_eq!(length("GET", 204).await, None);
    assert_eq!(length("GET", 304).await, None);
    assert_eq!(length("HEAD", 404).await.as_deref(), Some("1234"));
}

#[tokio::test]
async fn bodies_and_trailers_stream_both_ways() {
    let (sender, body) = frames();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let (arrived, mut pieces) = mpsc::channel(8);
    let door = open(move |request: Request| -> BoxFuture<'static, Served> {
        let mut response = Response::empty(StatusCode::OK);
        response.body = body.lock().unwrap().take().unwrap();
        response.headers.insert("trailer", HeaderValue::from_static("x-sum"));
        let exchange = Exchange::open(&request, Timestamp::default());
        let arrived = arrived.clone();
        tokio::spawn(async move {
            let Body::Stream(mut stream) = request.body else { panic!("the body is no stream") };
            while let Some(frame) = http_body_util::BodyExt::frame(&mut stream).await {
                arrived.send(format!("{:?}", frame.unwrap())).await.unwrap();
            }
        });
        Box::pin(async move { served(exchange, response) })
    });
    let mut raw = door.client().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-in\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let head = raw.head().await;
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    raw.send("3\r\none\r\n").await;
    assert!(soon(pieces.recv()).await.unwrap().contains("one"));
    sender.send(data("uno")).await.unwrap();
    assert_eq!(raw.until("uno\r\n").await, "3\r\nuno\r\n");
    raw.send("3\r\ntwo\r\n0\r\nx-in: 5\r\n\r\n").await;
    assert!(soon(pieces.recv()).await.unwrap().contains("two"));
    assert!(soon(pieces.recv()).await.unwrap().contains("x-in"));
    sender.send(trailers("x-sum", "7")).await.unwrap();
    drop(sender);
    assert_eq!(raw.head().await, "0\r\nx-sum: 7\r\n\r\n");
}

#[tokio::test]
async fn ids_and_seeds_are_made_anew_for_each_request() {
    let door = open(|request: Request| -> BoxFuture<'static, Served> {
        Box::pin(async move {
            let exchange = Exchange::open(&request, Timestamp::default());
            let line = format!("{} {} {:?}", request.origin.id, request.origin.seed, request.origin.deadline);
            served(exchange, text(200, line))
        })
    });
    let mut raw = door.client().await;
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\n\r\n";
    let (first, second) = (ask(&mut raw, request).await.1, ask(&mut raw, request).await.1);
    let words = first.split(' ').collect::<Vec<_>>();
    assert!(words[0].len() == 32 && words[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    assert_eq!(words[2], "None");
    for (one, other) in words.iter().zip(second.split(' ')).take(2) {
        assert_ne!(*one, other);
    }
}

#[tokio::test]
async fn a_panic_is_one_requests_500_and_the_connection_goes_on() {
    let mut door = open(|request: Request| -> BoxFuture<'static, Served> {
        assert_ne!(request.path, "/at-once", "a bad request");
        if request.path == "/later" {
            return Box::pin(async { panic!("a bad moment") });
        }
        mirror(request)
    });
    let mut raw = door.client().await;
    for (path, word) in [("/at-once", "a bad request"), ("/later", "a bad moment")] {
        let (head, body) = ask(&mut raw, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 500 "), "{head}");
        assert!(head.contains("content-type: application/problem+json\r\n"), "{head}");
        assert!(body.contains(r#""code":"internal""#) && !body.contains(word), "{body}");
        let exchange = door.logged().await;
        assert_eq!((exchange.status, exchange.stopped_by), (StatusCode::INTERNAL_SERVER_ERROR, Some("internal")));
        assert_eq!((exchange.path.as_str(), exchange.host.as_str()), (path, "a"));
        assert!(exchange.detail.unwrap().contains(word));
        assert!(head.contains(&format!("x-request-id: {}\r\n", exchange.id)), "{head}");
    }
    assert!(ask(&mut raw, "GET /fine HTTP/1.1\r\nHost: a\r\n\r\n").await.1.starts_with("GET /fine "));
}

#[tokio::test]
async fn the_record_is_written_once_when_the_answer_is_out_and_its_work_is_done() {
    let (sender, body) = frames();
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let mut door = open(move |request: Request| -> BoxFuture<'static, Served> {
        let exchange = Exchange::open(&request, Timestamp::default());
        let mut after = After::default();
        let counted = Arc::clone(&counted);
        after.push(async move {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let body = body.lock().unwrap().take().unwrap();
        let response = Response { status: StatusCode::ACCEPTED, headers: HeaderMap::new(), body };
        Box::pin(async move { Served { response, exchange, after } })
    });
    let mut raw = door.client().await;
    raw.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.head().await;
    sender.send(data("x")).await.unwrap();
    raw.until("x\r\n").await;
    assert!(door.log.is_empty());
    assert_eq!(done.load(Ordering::Relaxed), 0);
    drop(sender);
    raw.until("0\r\n\r\n").await;
    assert_eq!(door.logged().await.path, "/slow");
    assert_eq!(done.load(Ordering::Relaxed), 1);
    assert!(door.log.is_empty());
}

/// Tells when it is dropped.
struct Told(Option<oneshot::Sender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.take().unwrap().send(()).unwrap();
    }
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_request_with_it() {
    let (begun, mut begins) = mpsc::channel(1);
    let (told, gone) = oneshot::channel();
    let told = Arc::new(std::sync::Mutex::new(Some(Told(Some(told)))));
    let door = open(move |_| -> BoxFuture<'static, Served> {
        let (begun, told) = (begun.clone(), told.lock().unwrap().take());
        Box::pin(async move {
            let _told = told;
            begun.send(()).await.unwrap();
            std::future::pending().await
        })
    });
    let mut raw = door.client().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon(begins.recv()).await.unwrap();
    raw.reset();
    soon(gone).await.unwrap();
}
