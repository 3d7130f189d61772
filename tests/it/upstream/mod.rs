//! `HttpUpstream` against upstreams of raw bytes: what goes out, what comes in, and which connection carries it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tollgate::clock::{Clock, Timestamp};
use tollgate::exchange::{Body, Response};
use tollgate::forward::{Outbound, Protocol, Target, Tls, Upstream, UpstreamFault};
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};

use crate::wire::{Listening, data, frames, piece, soon, trailers, whole};

mod faults;
mod http2;
mod kept;
mod tls;

/// A clock that tests move.
#[derive(Debug, Clone)]
pub(crate) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000_000_000_000)))
    }

    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

fn upstream() -> Arc<HttpUpstream> {
    upstream_with(UpstreamSettings::default()).0
}

fn upstream_with(settings: UpstreamSettings) -> (Arc<HttpUpstream>, Hand) {
    let hand = Hand::new();
    (HttpUpstream::new(settings, Arc::new(hand.clone())), hand)
}

fn target(port: u16) -> Target {
    target_with(port, Protocol::Http1, None)
}

fn target_with(port: u16, protocol: Protocol, tls: Option<Tls>) -> Target {
    Target {
        key: format!("{port} {protocol:?} {tls:?}").into(),
        host: "127.0.0.1".to_owned(),
        port,
        tls,
        protocol,
        connect_timeout: Duration::from_secs(10),
        weight: 1,
        authority: "orders.internal".to_owned(),
        base_path: String::new(),
        sign: None,
    }
}

fn outbound(method: Method, target: &str, fields: &[(&'static str, &'static str)], body: Body) -> Outbound {
    let uri = Uri::builder().scheme("http").authority("orders.internal").path_and_query(target).build().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Outbound { method, uri, headers, body }
}

fn get(target: &str) -> Outbound {
    outbound(Method::GET, target, &[], Body::Empty)
}

fn post(body: Body) -> Outbound {
    outbound(Method::POST, "/", &[], body)
}

fn full(text: &'static str) -> Body {
    Body::Full(Bytes::from_static(text.as_bytes()))
}

async fn send(upstream: &HttpUpstream, target: &Target, outbound: Outbound) -> Result<Response, UpstreamFault> {
    soon(upstream.send(target, outbound)).await
}

/// Sends one request, answers it with `answer`, and gives what arrived up to the end of the head, and what came back.
async fn exchanged(outbound: Outbound, answer: &str) -> (String, Result<Response, UpstreamFault>) {
    let listening = Listening::open().await;
    let upstream = upstream();
    let target = target(listening.port);
    let (head, response) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            let head = raw.head().await;
            raw.send(answer).await;
            // Kept open until the answer has been read.
            (head, raw)
        },
        send(&upstream, &target, outbound),
    );
    (head.0, response)
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn path_and_query_arrive_byte_for_byte() {
    for target in [
        "/",
        "/a%2e%2E/b/%2f",
        r"/a\b",
        "/it's/{id}/[x]|~!$&()*+,;=:@",
        "/a?b={c}&d='e'&f=%2e&g=%20+&&==",
        "/a//b/./../c",
        "//x",
        "/?",
        "/a?b?c/d",
    ] {
        let (head, response) = exchanged(get(target), OK).await;
        assert_eq!(head, format!("GET {target} HTTP/1.1\r\nhost: orders.internal\r\n\r\n"));
        assert_eq!(response.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn the_host_sent_is_the_authority_of_the_uri_and_no_field_is_added() {
    let mut request = outbound(Method::GET, "/", &[("host", "forged"), ("x-a", "1"), ("x-a", "2")], Body::Empty);
    request.uri = "http://shop.example:8080/".parse().unwrap();
    let (head, _) = exchanged(request, OK).await;
    assert_eq!(head, "GET / HTTP/1.1\r\nx-a: 1\r\nx-a: 2\r\nhost: shop.example:8080\r\n\r\n");
}

#[tokio::test]
async fn the_framing_follows_from_the_body_alone() {
    let lied = [("content-length", "99"), ("transfer-encoding", "gzip"), ("connection", "upgrade"), ("upgrade", "x")];
    let framing = async |method, body| {
        let (head, response) = exchanged(outbound(method, "/", &lied, body), OK).await;
        response.unwrap();
        let lines = head.lines().skip(1).filter(|line| !line.is_empty() && !line.starts_with("host:"));
        lines.collect::<Vec<_>>().join(", ")
    };
    let endless = || {
        let (sender, body) = frames();
        sender.try_send(data("x")).unwrap();
        body
    };
    assert_eq!(framing(Method::GET, Body::Empty).await, "");
    assert_eq!(framing(Method::DELETE, Body::Empty).await, "");
    assert_eq!(framing(Method::POST, Body::Empty).await, "content-length: 0");
    assert_eq!(framing(Method::PUT, full("")).await, "content-length: 0");
    assert_eq!(framing(Method::POST, full("abc")).await, "content-length: 3");
    assert_eq!(framing(Method::GET, full("abc")).await, "content-length: 3");
    assert_eq!(framing(Method::POST, endless()).await, "transfer-encoding: chunked");
    assert_eq!(framing(Method::GET, endless()).await, "transfer-encoding: chunked");
    let known = Body::stream(http_body_util::BodyExt::map_err(
        http_body_util::Full::new(Bytes::from_static(b"abcd")),
        |never| match never {},
    ));
    assert_eq!(framing(Method::POST, known).await, "content-length: 4");
}

#[tokio::test]
async fn an_answer_without_content_is_empty_and_keeps_its_content_length() {
    for (method, answer) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\n\r\n"),
    ] {
        let (_, response) = exchanged(outbound(method, "/", &[], Body::Empty), answer).await;
        let response = response.unwrap();
        assert!(matches!(response.body, Body::Empty), "{:?}", response.body);
        assert_eq!(response.headers["content-length"], "1234");
    }
    for answer in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"] {
        let (_, response) = exchanged(get("/"), answer).await;
        assert!(matches!(response.unwrap().body, Body::Empty));
    }
}

#[tokio::test]
async fn a_small_answer_comes_whole() {
    let (_, response) = exchanged(get("/"), OK).await;
    let response = response.unwrap();
    assert!(matches!(&response.body, Body::Full(bytes) if bytes == "ok"), "{:?}", response.body);
}

#[tokio::test]
async fn interim_answers_are_passed_over() {
    let answer = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}");
    let (_, response) = exchanged(post(full("x")), &answer).await;
    let response = response.unwrap();
    assert_eq!(response.status, StatusCode::OK);
    assert!(!response.headers.contains_key("link"));
}

#[tokio::test]
async fn redirects_and_codings_are_handed_on_as_they_are() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\ncontent-encoding: gzip\r\n\
                  content-length: 3\r\n\r\nabc";
    let (_, response) = exchanged(get("/"), answer).await;
    let response = response.unwrap();
    assert_eq!(response.status, StatusCode::FOUND);
    assert_eq!(response.headers["location"], "http://elsewhere.example/");
    assert_eq!(response.headers["content-encoding"], "gzip");
    assert_eq!(whole(response.body).await.unwrap().0, "abc");
}

#[tokio::test]
async fn a_length_beside_chunks_is_void_and_not_handed_on() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (_, response) = exchanged(get("/"), answer).await;
    let response = response.unwrap();
    assert!(!response.headers.contains_key("content-length"));
    assert!(!response.headers.contains_key("transfer-encoding"));
    assert_eq!(whole(response.body).await.unwrap().0, "hello");
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let ((), response) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            raw.head().await;
            raw.send("HTTP/1.0 200 OK\r\n\r\nto the end").await;
            raw.close().await;
        },
        async {
            let response = send(&upstream, &target, get("/")).await.unwrap();
            whole(response.body).await.unwrap().0
        },
    );
    assert_eq!(response, "to the end");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let (sender, body) = frames();
    sender.send(data("abc")).await.unwrap();
    sender.send(trailers("x-sum", "6")).await.unwrap();
    drop(sender);
    let request = outbound(Method::POST, "/", &[("trailer", "x-sum"), ("te", "trailers")], body);
    let (sent, response) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            let head = raw.head().await;
            assert!(head.contains("te: trailers\r\n") && head.contains("connection: te\r\n"), "{head}");
            let body = raw.head().await;
            raw.send("HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n").await;
            raw.send("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n").await;
            (body, raw)
        },
        async {
            let response = send(&upstream, &target, request).await.unwrap();
            assert_eq!(response.headers["trailer"], "x-sum");
            whole(response.body).await.unwrap()
        },
    );
    assert_eq!(sent.0, "3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n");
    assert_eq!(response.0, "ok");
    assert_eq!(response.1.unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let (sender, body) = frames();
    let (mut raw, (response, sender)) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            raw.head().await;
            assert_eq!(raw.until("one\r\n").await, "3\r\none\r\n");
            raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nuno\r\n").await;
            raw
        },
        async {
            sender.send(data("one")).await.unwrap();
            (send(&upstream, &target, post(body)).await.unwrap(), sender)
        },
    );
    let mut body = response.body;
    assert_eq!(piece(&mut body).await, "uno");
    sender.send(data("two")).await.unwrap();
    assert_eq!(raw.until("two\r\n").await, "3\r\ntwo\r\n");
    raw.send("3\r\ndue\r\n0\r\n\r\n").await;
    assert_eq!(piece(&mut body).await, "due");
    drop(sender);
    assert_eq!(raw.until("0\r\n\r\n").await, "0\r\n\r\n");
    assert_eq!(whole(body).await.unwrap().0, "");
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let bytes = Bytes::from((0..8 * 1024 * 1024_u32).map(|at| at.to_le_bytes()[1]).collect::<Vec<_>>());
    let (_, response) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            raw.head().await;
            let sent = raw.exactly(bytes.len()).await;
            raw.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", sent.len())).await;
            raw.send(sent).await;
            raw
        },
        async {
            let response = send(&upstream, &target, post(Body::Full(bytes.clone()))).await.unwrap();
            soon(response.body.collect(bytes.len() as u64)).await.unwrap()
        },
    );
    assert!(response == bytes, "8 MiB came back changed");
}
