//! Clients that are slow or many, and the door's end.

use tollgate::refusal::Refusal;

use super::*;

const SHORT: Duration = Duration::from_millis(50);

fn impatient() -> LocalSettings {
    LocalSettings { header_timeout: SHORT, keep_alive: SHORT, body_stall: SHORT, ..LocalSettings::default() }
}

/// Answers as the pipeline does when the body does not arrive.
fn reading(request: Request) -> BoxFuture<'static, Served> {
    Box::pin(async move {
        let exchange = Exchange::open(&request, Timestamp::default());
        let response = match request.body.collect(1024).await {
            Ok(_) => text(200, "read"),
            Err(tollgate::exchange::BodyFault::Stalled(_)) => Refusal::BodyStalled.into_response("id"),
            Err(_) => Refusal::BodyBroken.into_response("id"),
        };
        served(exchange, response)
    })
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_let_go() {
    let door = open_with(LocalSettings { keep_alive: Duration::from_secs(600), ..impatient() }, mirror);
    for begun in ["", "G", "GET / HTTP/1.1\r\nHos", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut raw = door.client().await;
        raw.send(begun).await;
        assert_eq!(raw.rest().await, "", "{begun:?}");
    }
}

#[tokio::test]
async fn a_head_may_not_be_drawn_out_by_single_bytes() {
    let door = open_with(impatient(), mirror);
    let mut raw = door.client().await;
    raw.send("GET / HTTP/1.1\r\nx: ").await;
    let drip = async {
        while raw.takes("a").await {
            tokio::task::yield_now().await;
        }
    };
    soon(drip).await;
    assert_eq!(raw.rest().await, "");
}

#[tokio::test]
async fn an_idle_connection_is_let_go() {
    let door = open_with(LocalSettings { header_timeout: Duration::from_secs(600), ..impatient() }, mirror);
    let mut raw = door.client().await;
    ask(&mut raw, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(raw.rest().await, "");
}

#[tokio::test]
async fn a_connection_that_is_idle_after_a_slow_answer_is_let_go() {
    let settings = LocalSettings { keep_alive: SHORT, ..LocalSettings::default() };
    let (handle, mut begins, go) = held();
    let door = open_with(settings, handle);
    let mut raw = door.client().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon(begins.recv()).await.unwrap();
    go.send(()).unwrap();
    answer(&mut raw).await;
    assert_eq!(raw.rest().await, "");
}

#[tokio::test]
async fn an_answer_may_take_longer_than_a_client_may() {
    let door = open_with(impatient(), |request: Request| -> BoxFuture<'static, Served> {
        Box::pin(async move {
            let exchange = Exchange::open(&request, Timestamp::default());
            tokio::time::sleep(SHORT * 3).await;
            served(exchange, text(200, "late"))
        })
    });
    let mut raw = door.client().await;
    for _ in 0..2 {
        assert_eq!(ask(&mut raw, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.1, "late");
    }
}

#[tokio::test]
async fn a_body_that_stands_still_is_a_408() {
    let door = open_with(impatient(), reading);
    for framing in ["Content-Length: 5\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n5\r\nab"] {
        let mut raw = door.client().await;
        let (head, body) = ask(&mut raw, &format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}")).await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        assert!(body.contains("body_stalled"), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_told_from_one_that_stands_still() {
    let mut door = open(|request: Request| -> BoxFuture<'static, Served> {
        Box::pin(async move {
            let mut exchange = Exchange::open(&request, Timestamp::default());
            exchange.detail = request.body.collect(1024).await.err().map(|fault| fault.to_string());
            served(exchange, text(400, ""))
        })
    });
    let mut raw = door.client().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab").await;
    raw.close_write().await;
    assert_eq!(door.logged().await.detail.as_deref(), Some("the body broke off"));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go() {
    let mut door = open_with(impatient(), |request: Request| -> BoxFuture<'static, Served> {
        let exchange = Exchange::open(&request, Timestamp::default());
        let response = text(200, "x".repeat(64 * 1024 * 1024));
        Box::pin(async move { served(exchange, response) })
    });
    let mut raw = door.client().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(door.logged().await.path, "/");
    door.stop();
    door.stopped().await;
}

#[tokio::test]
async fn a_client_that_has_ended_its_half_still_gets_its_answers() {
    let (handle, mut begins, go) = held();
    let door = open(handle);
    let mut raw = door.client().await;
    raw.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\nGET /cut-off HTT").await;
    raw.close_write().await;
    soon(begins.recv()).await.unwrap();
    go.send(()).unwrap();
    let (_, body) = answer(&mut raw).await;
    assert!(body.starts_with("GET /first "), "{body}");
    assert_eq!(raw.rest().await, "");

    let door = open(mirror);
    let mut raw = door.client().await;
    let get = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    raw.send(format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab{}", get.repeat(20))).await;
    raw.close_write().await;
    assert_eq!(raw.rest().await.matches("HTTP/1.1 200 OK\r\n").count(), 21);
}

#[tokio::test]
async fn a_client_that_has_ended_its_half_is_not_waited_for_without_end() {
    let settings = LocalSettings { half_closed: SHORT, ..LocalSettings::default() };
    let (handle, mut begins, go) = held();
    let door = open_with(settings, handle);
    let mut raw = door.client().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.close_write().await;
    soon(begins.recv()).await.unwrap();
    assert_eq!(raw.rest().await, "");
    assert!(go.is_closed(), "the request went with it");
}

#[tokio::test]
async fn a_client_may_take_its_answer_byte_by_byte() {
    let door = open(mirror);
    let mut raw = door.client().await;
    for byte in "POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".bytes() {
        raw.send([byte]).await;
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b" ab") {
        answer.extend(raw.exactly(1).await);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_their_turn() {
    let door = open_with(LocalSettings { max_connections: 1, ..LocalSettings::default() }, mirror);
    let mut first = door.client().await;
    ask(&mut first, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut second = door.client().await;
    second.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    ask(&mut first, "GET /3 HTTP/1.1\r\nHost: a\r\n\r\n").await;
    tokio::select! {
        biased;
        _ = answer(&mut second) => panic!("the second connection was served beside the first"),
        () = std::future::ready(()) => {}
    }
    drop(first);
    assert!(answer(&mut second).await.1.starts_with("GET /2 "));
}

/// A handler that says when it has begun and goes on when it is told to.
fn held() -> (impl Fn(Request) -> BoxFuture<'static, Served> + Clone, mpsc::Receiver<()>, oneshot::Sender<()>) {
    let (begun, begins) = mpsc::channel(1);
    let (go, gone) = oneshot::channel();
    let gone = Arc::new(std::sync::Mutex::new(Some(gone)));
    let handle = move |request: Request| -> BoxFuture<'static, Served> {
        let (begun, gone) = (begun.clone(), gone.lock().unwrap().take());
        Box::pin(async move {
            begun.send(()).await.unwrap();
            // A sender that was dropped means: never.
            if gone.unwrap().await.is_err() {
                std::future::pending::<()>().await;
            }
            mirror(request).await
        })
    };
    (handle, begins, go)
}

#[tokio::test]
async fn a_door_that_is_told_to_stop_finishes_what_is_under_way() {
    let (handle, mut begins, go) = held();
    let mut door = open(handle);
    let mut idle = door.client().await;
    let mut raw = door.client().await;
    raw.send("GET /last HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon(begins.recv()).await.unwrap();
    door.stop();
    assert_eq!(idle.rest().await, "");
    go.send(()).unwrap();
    let (head, body) = answer(&mut raw).await;
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert!(body.starts_with("GET /last "), "{body}");
    assert_eq!(raw.rest().await, "");
    assert_eq!(door.logged().await.path, "/last");
    let port = door.port;
    door.stopped().await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn what_is_not_done_in_time_is_cut_off() {
    let (handle, mut begins, go) = held();
    let mut door = open_with(LocalSettings { drain: SHORT, ..LocalSettings::default() }, handle);
    let mut raw = door.client().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    soon(begins.recv()).await.unwrap();
    drop(go);
    door.stop();
    assert_eq!(raw.rest().await, "");
    door.stopped().await;
}

#[tokio::test]
async fn work_after_answers_is_waited_for() {
    let (go, gone) = oneshot::channel::<()>();
    let gone = Arc::new(std::sync::Mutex::new(Some(gone)));
    let mut door = open(move |request: Request| -> BoxFuture<'static, Served> {
        let exchange = Exchange::open(&request, Timestamp::default());
        let gone = gone.lock().unwrap().take().unwrap();
        let mut after = After::default();
        after.push(async move { gone.await.unwrap() });
        after.push(async { panic!("a bad job") });
        Box::pin(async move { Served { response: text(200, ""), exchange, after } })
    });
    let mut raw = door.client().await;
    ask(&mut raw, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    door.stop();
    assert_eq!(raw.rest().await, "");
    assert!(!door.serving.is_finished() && door.log.is_empty());
    go.send(()).unwrap();
    assert_eq!(door.logged().await.path, "/");
    door.stopped().await;
}
