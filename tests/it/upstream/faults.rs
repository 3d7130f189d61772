//! What goes wrong, and whose fault it is.

use tollgate::exchange::BodyFault;
use tollgate::forward::FaultKind;

use super::*;

async fn fault_of(answer: &str) -> UpstreamFault {
    let response = exchanged(get("/"), answer).await.1;
    response.err().unwrap_or_else(|| panic!("{answer:.60?} was taken"))
}

#[tokio::test]
async fn what_is_no_answer_is_out_of_protocol() {
    let large = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101));
    for answer in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "hello",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        &large,
        &many,
    ] {
        let fault = fault_of(answer).await;
        assert!(matches!(fault.kind, FaultKind::Protocol), "{answer:.60?}: {fault:.200}");
        assert!(!fault.stale_connection, "{answer:.60?}");
    }
}

#[tokio::test]
async fn a_new_connection_that_closes_without_an_answer_is_a_reset_and_not_stale() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let (_, fault) = tokio::join!(
        async {
            let mut raw = listening.accept().await;
            raw.head().await;
            raw.close().await;
        },
        async { send(&upstream, &target, get("/")).await.unwrap_err() },
    );
    assert!(matches!(fault.kind, FaultKind::Reset), "{fault}");
    assert!(!fault.stale_connection);
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_the_body() {
    for (head, part) in [("content-length: 10", "abc"), ("transfer-encoding: chunked", "3\r\nabc\r\n")] {
        let listening = Listening::open().await;
        let (upstream, target) = (upstream(), target(listening.port));
        let ((), fault) = tokio::join!(
            async {
                let mut raw = listening.accept().await;
                raw.head().await;
                raw.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{part}")).await;
                raw.close().await;
            },
            async {
                let response = send(&upstream, &target, get("/")).await.unwrap();
                whole(response.body).await.unwrap_err()
            },
        );
        assert!(matches!(fault, BodyFault::Broken(_)), "{head}: {fault}");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_at_cannot_be_reached() {
    let port = Listening::nobody().await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let fault = send(&upstream(), &target_with(port, protocol, None), get("/")).await.unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Connect), "{fault}");
        assert!(!fault.stale_connection);
    }
}

#[tokio::test]
async fn a_handshake_that_stands_still_ends_with_the_connect_timeout() {
    let listening = Listening::open().await;
    let tls = Tls { ca_pem: Some(tls::Authority::new().pem().into()), ..Tls::default() };
    let target = Target {
        connect_timeout: Duration::from_millis(50),
        ..target_with(listening.port, Protocol::Http1, Some(tls))
    };
    let upstream = upstream();
    let (_socket, fault) =
        tokio::join!(listening.socket(), async { send(&upstream, &target, get("/")).await.unwrap_err() });
    assert!(matches!(fault.kind, FaultKind::Connect), "{fault}");
    assert!(fault.detail.contains("50ms"), "{fault}");
}

#[tokio::test]
async fn giving_a_slow_answer_up_closes_its_connection() {
    let listening = Listening::open().await;
    let (upstream, target) = (upstream(), target(listening.port));
    let (arrived, gone) = tokio::sync::oneshot::channel();
    tokio::join!(
        async {
            let mut raw = listening.accept().await;
            raw.head().await;
            arrived.send(()).unwrap();
            assert_eq!(raw.rest().await, "");
        },
        async {
            tokio::select! {
                _ = send(&upstream, &target, get("/")) => panic!("nobody answered"),
                gone = gone => gone.unwrap(),
            }
        },
    );
}

#[tokio::test]
async fn a_body_of_the_clients_that_ends_early_is_the_clients_fault() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let listening = Listening::open().await;
        let upstream = upstream();
        let target = target_with(listening.port, protocol, None);
        let (sender, body) = frames();
        sender.send(data("abc")).await.unwrap();
        sender.send(Err(BodyFault::TooLarge { limit: 3 })).await.unwrap();
        let (_, fault) = tokio::join!(
            async {
                let mut raw = listening.accept().await;
                if protocol == Protocol::Http2 {
                    // An empty SETTINGS frame is all that a server must say.
                    raw.send([0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
                    http2::drained(raw).await;
                } else {
                    raw.rest().await;
                }
            },
            async {
                let fault = send(&upstream, &target, post(body)).await.unwrap_err();
                upstream.forget();
                fault
            },
        );
        let FaultKind::RequestBody(BodyFault::TooLarge { limit: 3 }) = fault.kind else {
            panic!("{protocol:?}: {fault}")
        };
        assert!(!fault.stale_connection);
    }
}

#[tokio::test]
async fn a_tunnel_is_not_opened() {
    let port = Listening::nobody().await;
    let request = outbound(Method::CONNECT, "/", &[], Body::Empty);
    let fault = send(&upstream(), &target(port), request).await.unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Protocol), "{fault}");
}
