//! The door and an upstream together, with nothing but header hygiene between them.

use tollgate::clock::SystemClock;
use tollgate::forward::{Outbound, Protocol, Target, Upstream, hygiene};
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};

use super::*;
use crate::wire::Listening;

/// Forwards to `port`, a path and query as they came.
fn forwarding(port: u16) -> impl Fn(Request) -> BoxFuture<'static, Served> + Clone {
    let upstream = HttpUpstream::new(UpstreamSettings::default(), Arc::new(SystemClock));
    let target = Arc::new(Target {
        key: "a".into(),
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        protocol: Protocol::Http1,
        connect_timeout: Duration::from_secs(1),
        weight: 1,
        authority: "orders.internal".to_owned(),
        base_path: String::new(),
        sign: None,
    });
    move |request| {
        let (upstream, target) = (Arc::clone(&upstream), Arc::clone(&target));
        Box::pin(async move {
            let exchange = Exchange::open(&request, Timestamp::default());
            let Request { method, path, query, mut headers, body, origin } = request;
            hygiene::outbound(&mut headers, &origin, Some(Duration::from_secs(3)));
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            let uri = format!("http://{}{path}{query}", target.authority).parse().unwrap();
            let mut response = upstream.send(&target, Outbound { method, uri, headers, body }).await.unwrap();
            hygiene::inbound(&mut response.headers, response.status, target.protocol);
            served(exchange, response)
        })
    }
}

#[tokio::test]
async fn a_request_goes_through_with_its_hop_by_hop_fields_made_anew() {
    let listening = Listening::open().await;
    let mut door = open(forwarding(listening.port));
    let mut raw = door.client().await;
    let upstream = async {
        let mut raw = listening.accept().await;
        let head = raw.head().await;
        let body = raw.until("0\r\n\r\n").await;
        raw.send("HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nserver: up\r\n").await;
        raw.send("transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
        (head, body)
    };
    let client = async {
        raw.send("POST /a%2e/b?c HTTP/1.1\r\nHost: api.example\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n")
            .await;
        raw.send("X-Forwarded-For: 6.6.6.6\r\nX-Request-Id: forged\r\nAccept: */*\r\n").await;
        raw.send("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
        (raw.head().await, raw.until("0\r\n\r\n").await)
    };
    let ((sent, body), (head, answer)) = tokio::join!(upstream, client);
    let id = door.logged().await.id;
    let mut lines = sent.trim_end().split("\r\n").collect::<Vec<_>>();
    assert_eq!(lines.remove(0), "POST /a%2e/b?c HTTP/1.1");
    lines.sort_unstable();
    let id_line = format!("x-request-id: {id}");
    let expected = [
        "accept: */*",
        "forwarded: for=127.0.0.1;host=api.example;proto=http",
        "host: orders.internal",
        "transfer-encoding: chunked",
        "via: 1.1 tollgate",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: api.example",
        "x-forwarded-port: 80",
        "x-forwarded-proto: http",
        "x-request-deadline-ms: 3000",
        &id_line,
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, "3\r\nabc\r\n0\r\n\r\n");
    let head = head.lines().filter(|line| !line.starts_with("date: ")).collect::<Vec<_>>().join("\n");
    assert_eq!(head, "HTTP/1.1 200 OK\nserver: up\nvia: 1.1 tollgate\ntransfer-encoding: chunked\n");
    assert_eq!(answer, "2\r\nok\r\n0\r\n\r\n");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_upstream_request_with_it() {
    let listening = Listening::open().await;
    // An end may be that of one half: the door waits for a while whether the other is still there.
    let settings = LocalSettings { half_closed: Duration::from_millis(50), ..LocalSettings::default() };
    let door = open_with(settings, forwarding(listening.port));
    let mut raw = door.client().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut upstream = listening.accept().await;
    upstream.head().await;
    drop(raw);
    assert_eq!(upstream.rest().await, "");
}

#[tokio::test]
async fn an_answer_that_breaks_off_upstream_breaks_off_for_the_client() {
    let listening = Listening::open().await;
    let door = open(forwarding(listening.port));
    for (framing, part) in [("content-length: 9", "abc"), ("transfer-encoding: chunked", "3\r\nabc\r\n")] {
        let mut raw = door.client().await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut upstream = listening.accept().await;
        upstream.head().await;
        upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}")).await;
        let head = raw.head().await;
        assert!(head.contains(framing), "{head}");
        upstream.reset();
        let rest = raw.rest().await;
        assert!(part.starts_with(&rest), "{rest:?}");
    }
}
