//! Upstreams that are slow, trickle, break off and do not listen, behind a whole gateway with real connections.

use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use tollgate::exchange::{Body, Served};
use tollgate::table::MemoryTable;

use super::{gateway, request};
use crate::wire::{Listening, Raw, soon, whole};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-a: b\r\ncontent-length: 5\r\n\r\nhello";

/// Sends one request by a gateway to an upstream that does as `upstream` says, under a route with these settings.
async fn through<F>(settings: &str, asked: (Method, Body), upstream: impl FnOnce(Raw) -> F) -> Served
where
    F: Future<Output = ()>,
{
    let listening = Listening::open().await;
    let config = format!(
        "version: 1\nupstreams: {{up: {{targets: \"http://127.0.0.1:{}\"}}}}\ndefaults: {{auth: none}}\nroutes:\n  - {{name: a, match: {{path: /}}, {settings}to: up}}\n",
        listening.port
    );
    let gateway = gateway(config, Arc::new(MemoryTable::default()));
    let serving = async {
        let Served { mut response, exchange, after } = gateway.handle(request(asked.0, "/", asked.1)).await;
        // The client takes all of it while the upstream still does what it does.
        response.body = match whole(response.body).await {
            Ok((text, _)) => Body::Full(text.into()),
            Err(fault) => Body::Full(format!("broken: {fault}").into()),
        };
        Served { response, exchange, after }
    };
    let answering = async { upstream(listening.accept().await).await };
    soon(Box::pin(async { tokio::join!(serving, answering).0 })).await
}

fn told(served: Served) -> (u16, String) {
    let Body::Full(bytes) = served.response.body else { panic!("no body") };
    (served.response.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
}

fn get() -> (Method, Body) {
    (Method::GET, Body::Empty)
}

/// Sends `part` again and again until the other end has had enough.
async fn drip(mut raw: Raw, part: &str) {
    while raw.takes(part).await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_byte_by_byte_is_whole() {
    let served = through("", get(), async |mut raw| {
        raw.head().await;
        for byte in OK.bytes() {
            raw.send([byte]).await;
            tokio::task::yield_now().await;
        }
    });
    let served = served.await;
    assert_eq!(served.response.headers["x-a"], "b");
    assert_eq!(told(served), (200, "hello".to_owned()));
}

#[tokio::test]
async fn a_head_that_does_not_end_in_time_is_a_504_whatever_keeps_coming() {
    let interim = ["HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"];
    for (begun, part) in [("", ""), (OK.split_at(20).0, ""), ("", interim[0]), ("", interim[1])] {
        let served = through("timeout: 100ms, ", get(), async |mut raw| {
            raw.head().await;
            raw.send(begun).await;
            if part.is_empty() {
                assert_eq!(raw.rest().await, "");
            } else {
                drip(raw, part).await;
            }
        });
        let (status, body) = told(served.await);
        assert!(status == 504 && body.contains("upstream_timeout"), "{begun:?} {part:?}: {status} {body}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_at_all_is_a_502() {
    for part in ["x", "x: y\r\n"] {
        let served = through("timeout: 10s, ", get(), async |mut raw| {
            raw.head().await;
            raw.send("HTTP/1.1 200 OK\r\na").await;
            drip(raw, &part.repeat(1_000)).await;
        });
        let (status, body) = told(served.await);
        assert!(status == 502 && body.contains("upstream_protocol"), "{part:?}: {status} {body}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_past_its_routes_time_is_cut_and_its_connection_closed() {
    for (framing, part) in
        [("content-length: 1000000000", "x"), ("transfer-encoding: chunked", "1\r\nx\r\n"), ("x-a: b", "x")]
    {
        let served = through("total_timeout: 100ms, ", get(), async |mut raw| {
            raw.head().await;
            raw.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n")).await;
            drip(raw, part).await;
        });
        let (status, body) = told(served.await);
        assert!(status == 200 && body.starts_with("broken: "), "{framing}: {status} {body:.100}");
    }
}

#[tokio::test]
async fn an_upstream_that_ends_its_half_before_its_answer_is_told_from_one_that_ends_it_after() {
    for (sent, status, word) in [
        ("", 502, "upstream_reset"),
        ("HTTP/1.1 200", 502, "upstream_reset"),
        ("HTTP/1.1 200 OK\r\nx-a: b\r\n", 502, "upstream_reset"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", 200, "broken: "),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", 200, "broken: "),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, "hello"),
        (OK, 200, "hello"),
        ("HTTP/1.1 200 OK\r\n\r\nhello", 200, "hello"),
    ] {
        let served = through("", get(), async |mut raw| {
            raw.head().await;
            raw.send(sent).await;
            raw.close_write().await;
            // It would still listen.
            assert_eq!(raw.rest().await, "");
        });
        let (found, body) = told(served.await);
        assert!(found == status && body.contains(word), "{sent:?}: {found} {body}");
    }
}

#[tokio::test]
async fn an_answer_to_a_body_that_the_upstream_does_not_read_is_passed_on() {
    let refusal = "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig";
    for resets in [false, true] {
        // More than the sockets between them hold.
        let body = Body::Full(Bytes::from(vec![b'x'; 16 << 20]));
        let served = through("body: {max: 32MiB}, ", (Method::POST, body), async |mut raw| {
            raw.head().await;
            raw.send(refusal).await;
            if resets {
                drop(raw);
            } else {
                raw.close_write().await;
                raw.rest().await;
            }
        });
        assert_eq!(told(served.await), (413, "big".to_owned()), "{resets}");
    }
}

#[tokio::test]
async fn an_upstream_that_reads_nothing_is_given_up_in_time() {
    let body = Body::Full(Bytes::from(vec![b'x'; 16 << 20]));
    let mut kept = None;
    let served = through("timeout: 100ms, body: {max: 32MiB}, ", (Method::POST, body), async |mut raw| {
        raw.head().await;
        kept = Some(raw);
    });
    let (status, body) = told(served.await);
    assert!(status == 504 && body.contains("upstream_timeout"), "{status} {body}");
    assert!(kept.is_some(), "its connection was open all the time");
}
