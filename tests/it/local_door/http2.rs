//! HTTP/2 by prior knowledge.

use http_body_util::{BodyExt, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::*;

type Sender<B> = hyper::client::conn::http2::SendRequest<B>;

async fn client<B>(door: &Opened) -> Sender<B>
where
    B: hyper::body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let socket = TcpStream::connect(("127.0.0.1", door.port)).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn requests_come_in_with_their_authority() {
    let door = open(mirror);
    let mut sender = client(&door).await;
    let request = http::Request::post("http://API.example/a%2e?b={c}").body(Full::from("xyz")).unwrap();
    let answer = soon(sender.send_request(request)).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, r#"POST /a%2e Some("b={c}") api.example 2.0 127.0.0.1 http xyz"#);
}

#[tokio::test]
async fn a_host_field_may_not_name_another_host() {
    let door = open(mirror);
    let mut sender = client(&door).await;
    for (host, status) in [("a.example", StatusCode::OK), ("b.example", StatusCode::BAD_REQUEST)] {
        let request = http::Request::get("http://a.example/").header("host", host);
        let answer = soon(sender.send_request(request.body(Empty::<Bytes>::new()).unwrap())).await.unwrap();
        assert_eq!(answer.status(), status);
    }
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let door = open(|request: Request| -> BoxFuture<'static, Served> {
        let exchange = Exchange::open(&request, Timestamp::default());
        let response = Response { status: StatusCode::OK, headers: HeaderMap::new(), body: request.body };
        Box::pin(async move { served(exchange, response) })
    });
    let mut sender = client(&door).await;
    let (frames, body) = frames();
    frames.send(data("abc")).await.unwrap();
    frames.send(trailers("x-sum", "6")).await.unwrap();
    drop(frames);
    let Body::Stream(body) = body else { panic!("no stream") };
    let request = http::Request::post("http://a.example/").body(body).unwrap();
    let answer = soon(sender.send_request(request)).await.unwrap();
    let collected = answer.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "6");
    assert_eq!(collected.to_bytes(), "abc");
}

#[tokio::test]
async fn a_panic_is_one_streams_500() {
    let door = open(|request: Request| -> BoxFuture<'static, Served> {
        assert_ne!(request.path, "/bad", "a bad request");
        mirror(request)
    });
    let mut sender = client(&door).await;
    for (path, status) in [("bad", 500), ("good", 200)] {
        let request = http::Request::get(format!("http://a.example/{path}")).body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(soon(sender.send_request(request)).await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn an_idle_connection_is_let_go() {
    let settings = LocalSettings { keep_alive: Duration::from_millis(50), ..LocalSettings::default() };
    let door = open_with(settings, mirror);
    let socket = TcpStream::connect(("127.0.0.1", door.port)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get("http://a.example/").body(Empty::<Bytes>::new()).unwrap();
    soon(sender.send_request(request)).await.unwrap();
    // However it ends.
    let _ = soon(connection).await.unwrap();
    assert!(sender.is_closed());
}

#[tokio::test]
async fn a_door_that_is_told_to_stop_lets_its_connections_go() {
    let mut door = open(mirror);
    let mut sender = client(&door).await;
    let request = http::Request::get("http://a.example/").body(Empty::<Bytes>::new()).unwrap();
    soon(sender.send_request(request)).await.unwrap();
    door.stop();
    door.stopped().await;
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    let door = open(|request: Request| -> BoxFuture<'static, Served> {
        let exchange = Exchange::open(&request, Timestamp::default());
        let response = Response { status: StatusCode::OK, headers: HeaderMap::new(), body: request.body };
        Box::pin(async move { served(exchange, response) })
    });
    let mut sender = client(&door).await;
    let bytes = Bytes::from((0..8 * 1024 * 1024_u32).map(|at| at.to_le_bytes()[1]).collect::<Vec<_>>());
    let request = http::Request::post("http://a.example/").body(Full::new(bytes.clone())).unwrap();
    let answer = soon(sender.send_request(request)).await.unwrap();
    let back = soon(answer.into_body().collect()).await.unwrap().to_bytes();
    assert!(back == bytes, "8 MiB came back changed");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_loses_that_stream_alone() {
    let settings = LocalSettings { body_stall: Duration::from_millis(50), ..LocalSettings::default() };
    let (ends, mut ended) = mpsc::channel(1);
    let mut door = open_with(settings, move |request: Request| -> BoxFuture<'static, Served> {
        if request.path == "/fine" {
            return mirror(request);
        }
        // An upstream that has more to say, as long as somebody listens.
        let (sender, body) = frames();
        let ends = ends.clone();
        tokio::spawn(async move {
            while sender.send(data("more")).await.is_ok() {}
            ends.send(()).await.unwrap();
        });
        let exchange = Exchange::open(&request, Timestamp::default());
        Box::pin(async move { served(exchange, Response { status: StatusCode::OK, headers: HeaderMap::new(), body }) })
    });
    let socket = TcpStream::connect(("127.0.0.1", door.port)).await.unwrap();
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) =
        client.initial_stream_window_size(10).handshake::<_, Empty<Bytes>>(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let mut get =
        |path| sender.send_request(http::Request::get(format!("http://a.example/{path}")).body(Empty::new()).unwrap());
    let untaken = soon(get("endless")).await.unwrap();
    assert_eq!(untaken.status(), StatusCode::OK);
    soon(ended.recv()).await.unwrap();
    assert_eq!(door.logged().await.path, "/endless");
    let fine = soon(get("fine")).await.unwrap().into_body().collect();
    assert!(soon(fine).await.unwrap().to_bytes().starts_with(b"GET /fine "));
    assert!(soon(untaken.into_body().collect()).await.is_err(), "it was reset");
}
