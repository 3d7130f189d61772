//! HTTP/2 to upstreams, in clear by prior knowledge.

use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tollgate::forward::FaultKind;

use super::*;
use crate::wire::Raw;

/// Reads until the peer closes.
pub(super) async fn drained(mut raw: Raw) {
    raw.rest().await;
}

type Answer = http::Response<http_body_util::combinators::BoxBody<Bytes, hyper::Error>>;

/// Serves HTTP/2 on one connection, each request echoed: its body and trailers come back, and what its head said stands
/// in `x-` fields.
pub(super) async fn echo(io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static) {
    let service = service_fn(|request: Request<Incoming>| async move {
        let host = request.headers().contains_key("host").to_string();
        let uri = request.uri().to_string();
        let te = request.headers().get("te").cloned();
        let length = request.headers().get("content-length").cloned();
        let mut answer: Answer = http::Response::new(request.into_body().boxed());
        let mut set = |name: &'static str, value: HeaderValue| answer.headers_mut().insert(name, value);
        set("x-host", host.parse().unwrap());
        set("x-uri", uri.parse().unwrap());
        set("x-te", te.unwrap_or(HeaderValue::from_static("none")));
        set("x-length", length.unwrap_or(HeaderValue::from_static("none")));
        Ok::<_, std::convert::Infallible>(answer)
    });
    // How it ends is the test's business.
    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await;
}

/// An upstream that echoes over HTTP/2; tells of each connection.
async fn echoing() -> (u16, mpsc::UnboundedReceiver<()>) {
    let listening = Listening::open().await;
    let port = listening.port;
    let (sender, accepted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let socket = listening.socket().await;
            sender.send(()).unwrap();
            tokio::spawn(echo(socket));
        }
    });
    (port, accepted)
}

#[tokio::test]
async fn the_authority_tells_the_host_and_no_host_field_goes_out() {
    let (port, _accepted) = echoing().await;
    let target = target_with(port, Protocol::Http2, None);
    let fields = [("host", "forged"), ("te", "trailers"), ("connection", "x"), ("transfer-encoding", "chunked")];
    let request = outbound(Method::POST, r"/a%2e\b?c={d}", &fields, full("abc"));
    let response = send(&upstream(), &target, request).await.unwrap();
    assert_eq!(response.headers["x-uri"], r"http://orders.internal/a%2e\b?c={d}");
    assert_eq!(response.headers["x-host"], "false");
    assert_eq!(response.headers["x-te"], "trailers");
    assert_eq!(response.headers["x-length"], "3");
    assert_eq!(whole(response.body).await.unwrap().0, "abc");
}

#[tokio::test]
async fn requests_at_once_share_one_connection() {
    let (port, mut accepted) = echoing().await;
    let (upstream, target) = (upstream(), target_with(port, Protocol::Http2, None));
    let one = || async {
        let response = send(&upstream, &target, post(full("x"))).await.unwrap();
        whole(response.body).await.unwrap().0
    };
    let answers = tokio::join!(one(), one(), one(), one());
    assert_eq!(answers, ("x".into(), "x".into(), "x".into(), "x".into()));
    assert_eq!(one().await, "x");
    accepted.recv().await.unwrap();
    assert!(accepted.is_empty(), "a second connection was opened");
}

#[tokio::test]
async fn trailers_and_streams_pass_both_ways() {
    let (port, _accepted) = echoing().await;
    let (upstream, target) = (upstream(), target_with(port, Protocol::Http2, None));
    let (sender, body) = frames();
    let mut response = send(&upstream, &target, post(body)).await.unwrap();
    sender.send(data("one")).await.unwrap();
    assert_eq!(piece(&mut response.body).await, "one");
    sender.send(data("two")).await.unwrap();
    assert_eq!(piece(&mut response.body).await, "two");
    sender.send(trailers("x-sum", "6")).await.unwrap();
    drop(sender);
    assert_eq!(whole(response.body).await.unwrap().1.unwrap()["x-sum"], "6");
}

#[tokio::test]
async fn requests_that_wait_for_one_dial_share_its_fault() {
    let port = Listening::nobody().await;
    let (upstream, target) = (upstream(), target_with(port, Protocol::Http2, None));
    let one = || async { send(&upstream, &target, get("/")).await.unwrap_err() };
    let (a, b) = tokio::join!(one(), one());
    assert!(matches!(a.kind, FaultKind::Connect) && matches!(b.kind, FaultKind::Connect), "{a} {b}");
}

#[tokio::test]
async fn an_upstream_that_speaks_something_else_is_out_of_protocol() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target_with(listening.port, Protocol::Http2, None));
    let (_, fault) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            raw.send("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
            drained(raw).await;
        },
        async { send(&upstream, &target, get("/")).await.unwrap_err() },
    );
    assert!(matches!(fault.kind, FaultKind::Protocol), "{fault}");
}

#[tokio::test]
async fn a_shared_connection_that_was_closed_is_not_used_again() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target_with(listening.port, Protocol::Http2, None));
    let port = listening.port;
    let first = tokio::spawn(async move {
        let serving = tokio::spawn(echo(listening.socket().await));
        (listening, serving)
    });
    send(&upstream, &target, get("/")).await.unwrap();
    let (listening, serving) = first.await.unwrap();
    assert_eq!(listening.port, port);
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    let ((), answered) = tokio::join!(async { drop(tokio::spawn(echo(listening.socket().await))) }, async {
        // Whether the close has been noticed yet is up to the kernel; a request that came too early is stale.
        match send(&upstream, &target, get("/")).await {
            Ok(response) => response,
            Err(fault) => {
                assert!(fault.stale_connection, "{fault}");
                send(&upstream, &target, get("/")).await.unwrap()
            }
        }
    },);
    assert_eq!(answered.status, StatusCode::OK);
}
