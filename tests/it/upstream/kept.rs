//! Connections that are kept: when they serve again, and when they must not.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::wire::Raw;

/// Answers one request on `raw`.
async fn answer(raw: &mut Raw) {
    raw.head().await;
    raw.send(OK).await;
}

async fn fetch(upstream: &HttpUpstream, target: &Target) -> String {
    whole(send(upstream, target, get("/")).await.unwrap().body).await.unwrap().0
}

#[tokio::test]
async fn one_connection_serves_request_after_request_whatever_their_host() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    tokio::join!(
        async {
            let mut raw = listening.accept().await;
            for host in ["a.example", "b.example", "c.example"] {
                let head = raw.head().await;
                assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
                raw.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
            }
        },
        async {
            for host in ["a.example", "b.example", "c.example"] {
                let mut request = get("/");
                request.uri = format!("http://{host}/").parse().unwrap();
                let response = send(&upstream, &target, request).await.unwrap();
                assert_eq!(whole(response.body).await.unwrap().0, "ok");
            }
        },
    );
}

#[tokio::test]
async fn a_connection_is_kept_after_answers_without_content() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    tokio::join!(
        async {
            let mut raw = listening.accept().await;
            for answer in [
                "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n",
                "HTTP/1.1 204 No Content\r\n\r\n",
                "HTTP/1.1 304 Not Modified\r\n\r\n",
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            ] {
                raw.head().await;
                raw.send(answer).await;
            }
        },
        async {
            for _ in 0..4 {
                send(&upstream, &target, outbound(Method::HEAD, "/", &[], Body::Empty)).await.unwrap();
            }
        },
    );
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_is_not_used_again() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    tokio::join!(
        async {
            let mut first = listening.accept().await;
            answer(&mut first).await;
            first.close().await;
            answer(&mut listening.accept().await).await;
        },
        async {
            fetch(&upstream, &target).await;
            fetch(&upstream, &target).await;
        },
    );
}

#[tokio::test]
async fn connection_close_is_obeyed() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    tokio::join!(
        async {
            let mut first = listening.accept().await;
            first.head().await;
            first.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
            answer(&mut listening.accept().await).await;
        },
        async {
            fetch(&upstream, &target).await;
            fetch(&upstream, &target).await;
        },
    );
}

#[tokio::test]
async fn a_kept_connection_that_dies_without_an_answer_is_told_as_stale() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let ((), fault) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            answer(&mut raw).await;
            raw.head().await;
            raw.reset();
        },
        async {
            fetch(&upstream, &target).await;
            send(&upstream, &target, post(full("x"))).await.unwrap_err()
        },
    );
    assert!(matches!(fault.kind, tollgate::forward::FaultKind::Reset), "{fault}");
    assert!(fault.stale_connection, "{fault}");
}

#[tokio::test]
async fn a_kept_connection_that_dies_within_an_answer_is_not_stale() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let ((), fault) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            answer(&mut raw).await;
            raw.until("\r\n\r\nx").await;
            raw.send("HTTP/1.1 20").await;
            raw.close().await;
        },
        async {
            fetch(&upstream, &target).await;
            send(&upstream, &target, post(full("x"))).await.unwrap_err()
        },
    );
    assert!(matches!(fault.kind, tollgate::forward::FaultKind::Reset), "{fault}");
    assert!(!fault.stale_connection, "{fault}");
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_costs_its_connection() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    tokio::join!(
        async {
            let mut first = listening.accept().await;
            first.head().await;
            first.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx").await;
            assert_eq!(first.rest().await, "");
            answer(&mut listening.accept().await).await;
        },
        async {
            drop(send(&upstream, &target, get("/")).await.unwrap());
            fetch(&upstream, &target).await;
        },
    );
}

/// How many connections two requests take when the clock moves `between` them.
async fn connections(settings: UpstreamSettings, between: Duration) -> usize {
    let listening = Listening::open().await;
    let (upstream, hand) = upstream_with(settings);
    let target = target(listening.port);
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        loop {
            let mut raw = listening.accept().await;
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                loop {
                    answer(&mut raw).await;
                }
            });
        }
    });
    fetch(&upstream, &target).await;
    hand.forward(between);
    fetch(&upstream, &target).await;
    accepted.load(Ordering::Relaxed)
}

#[tokio::test]
async fn after_a_freeze_no_kept_connection_is_trusted() {
    assert_eq!(connections(UpstreamSettings::default(), Duration::from_millis(3_900)).await, 1);
    assert_eq!(connections(UpstreamSettings::default(), Duration::from_millis(4_100)).await, 2);
}

#[tokio::test]
async fn an_idle_connection_is_given_up_after_its_time() {
    let settings = UpstreamSettings { thaw_after: Duration::MAX, ..UpstreamSettings::default() };
    assert_eq!(connections(settings.clone(), Duration::from_secs(50)).await, 1);
    assert_eq!(connections(settings, Duration::from_secs(51)).await, 2);
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_allowed() {
    let listening = Listening::open().await;
    let (upstream, _) = upstream_with(UpstreamSettings { max_idle: 1, ..UpstreamSettings::default() });
    let target = target(listening.port);
    tokio::join!(
        async {
            let (mut one, mut two) = (listening.accept().await, listening.accept().await);
            tokio::join!(one.head(), two.head());
            one.send(OK).await;
            two.send(OK).await;
            // One of the two is closed, the other one kept.
            tokio::select! {
                rest = one.rest() => assert_eq!(rest, ""),
                rest = two.rest() => assert_eq!(rest, ""),
            }
        },
        async {
            tokio::join!(fetch(&upstream, &target), fetch(&upstream, &target));
        },
    );
}

#[tokio::test]
async fn the_target_longest_unused_makes_room_for_a_new_one() {
    let (first, second) = (Listening::open().await, Listening::open().await);
    let (upstream, _) = upstream_with(UpstreamSettings { max_targets: 1, ..UpstreamSettings::default() });
    tokio::join!(
        async {
            let mut raw = first.accept().await;
            answer(&mut raw).await;
            assert_eq!(raw.rest().await, "");
        },
        async { answer(&mut second.accept().await).await },
        async {
            fetch(&upstream, &target(first.port)).await;
            fetch(&upstream, &target(second.port)).await;
        },
    );
}
