//! What is not safe to be taken for a request is refused, and its connection is closed.

use super::*;

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\n";

/// Sends `bytes` and reads everything; says what the door answered and whether the gateway saw a request.
async fn sent(bytes: &str) -> (String, usize) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let door = open(move |request| -> BoxFuture<'static, Served> {
        count.fetch_add(1, Ordering::Relaxed);
        mirror(request)
    });
    let mut raw = door.client().await;
    raw.send(bytes).await;
    let answer = raw.rest().await;
    (answer, seen.load(Ordering::Relaxed))
}

async fn refused(bytes: &str, status: u16) {
    let (answer, seen) = sent(bytes).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:.120?}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{bytes:.120?}: {answer}");
    assert_eq!(seen, 0, "{bytes:.120?}");
}

#[tokio::test]
async fn two_framings_or_an_unclear_one_are_refused() {
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 3a\r\n",
        "Content-Length: \r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "x: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
    ] {
        refused(&format!("{POST}{fields}\r\n0\r\n\r\n"), 400).await;
    }
    refused("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400).await;
}

#[tokio::test]
async fn lines_and_fields_out_of_form_are_refused() {
    for bytes in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: y\nz: w\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\rx: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: y\0z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx y: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a<b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        refused(bytes, 400).await;
    }
}

#[tokio::test]
async fn a_request_without_one_clear_host_is_refused() {
    for bytes in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: :80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    ] {
        refused(bytes, 400).await;
    }
}

#[tokio::test]
async fn a_refusal_of_the_door_is_a_problem_and_is_logged() {
    let mut door = open(mirror);
    let mut raw = door.client().await;
    raw.send("GET /a HTTP/1.1\r\n\r\n").await;
    let answer = raw.rest().await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"malformed""#), "{answer}");
    let exchange = door.logged().await;
    assert_eq!((exchange.path.as_str(), exchange.stopped_by), ("/a", Some("malformed")));
    assert!(answer.contains(&format!("x-request-id: {}\r\n", exchange.id)), "{answer}");
}

#[tokio::test]
async fn what_follows_a_refused_request_is_not_taken_for_another() {
    refused(
        "POST / HTTP/1.1\r\nContent-Length: 44\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n",
        400,
    )
    .await;
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    refused(&format!("{POST}{both}\r\n0\r\n\r\nGET /inner HTTP/1.1\r\nHost: a\r\n\r\n"), 400).await;
}

#[tokio::test]
async fn a_second_request_out_of_form_does_not_harm_the_first() {
    let door = open(mirror);
    let mut raw = door.client().await;
    let (head, body) = ask(&mut raw, &format!("{POST}Content-Length: 2\r\n\r\nab")).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.ends_with(" ab"), "{head}{body}");
    raw.send("GET / HTTP/1.1\nHost: a\r\n\r\n").await;
    assert!(raw.rest().await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn bad_bytes_that_come_with_the_end_of_a_body_do_not_get_into_it() {
    let door = open(mirror);
    let mut raw = door.client().await;
    raw.send(format!("{POST}Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")).await;
    raw.head().await;
    raw.send("xGET / HTTP/1.1\n\n").await;
    let answer = raw.rest().await;
    assert!(!answer.contains('\0') && !answer.contains("HTTP/1.1 400"), "{answer:?}");
    assert!(answer.ends_with("the body broke off"), "{answer:?}");
}

#[tokio::test]
async fn chunks_out_of_form_break_the_body() {
    for chunks in
        ["1\nx\r\n0\r\n\r\n", "2\r\nx\r\n0\r\n\r\n", "x\r\n", "1;a\nb\r\nx\r\n0\r\n\r\n", "fffffffffffffffff\r\n"]
    {
        let head = format!("{POST}Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
        refused(&format!("{head}{chunks}"), 400).await;
        let door = open(mirror);
        let mut raw = door.client().await;
        raw.send(head).await;
        raw.head().await;
        raw.send(chunks).await;
        let answer = raw.rest().await;
        assert!(answer.ends_with("the body broke off"), "{chunks:?}: {answer}");
    }
}

#[tokio::test]
async fn heads_have_a_size() {
    let fields = |count: usize| "x: y\r\n".repeat(count);
    let large = format!("x: {}\r\n", "a".repeat(70_000));
    refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(100)), 431).await;
    refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{large}\r\n"), 431).await;
    refused(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(16 * 1024)), 414).await;

    let door = open(mirror);
    let mut raw = door.client().await;
    let (head, _) = ask(&mut raw, &format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(99))).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (head, _) = ask(&mut raw, &format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(16 * 1024 - 1))).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}
