//! `tollgate dev` and clients that send what no client should.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Dice, REQUESTS, SEED, WARM_UP, flat, memory};
use crate::cli::{Config, Dev};
use crate::program::Upstream;
use crate::runtime_api::Journal;
use crate::wire::soon;

/// Clients at once.
const CLIENTS: u64 = 8;

const TEMPLATES: [&str; 7] = [
    "GET /hello/ada HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "HEAD /echo/a?b=c HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n",
    "POST /echo/a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\nContent-Type: text/plain\r\n\r\nhello world",
    "PUT /echo/b HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nx: y\r\n\r\n",
    "OPTIONS /echo/c HTTP/1.1\r\nHost: a.example\r\nOrigin: https://shop.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
    "POST /hello/x HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    "GET http://a.example/nowhere HTTP/1.0\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\nTE: trailers\r\n\r\n",
];

/// The start of a TLS connection: a ClientHello's head and whatever follows.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What one client sends.
fn hostile(dice: &mut Dice) -> Vec<u8> {
    let template = |dice: &mut Dice| dice.one_of(&TEMPLATES).as_bytes().to_vec();
    match dice.below(11) {
        0 => dice.bytes(600),
        1 => [HELLO.to_vec(), dice.bytes(512)].concat(),
        2 => [PREFACE.to_vec(), dice.bytes(300)].concat(),
        3 => frames(dice),
        4 => too_much(dice),
        5 => lengths(dice),
        6 => chunks(dice),
        7 => (0..dice.below(20)).flat_map(|_| template(dice)).collect(),
        8 => {
            let mut whole = template(dice);
            whole.truncate(dice.below(whole.len()));
            whole
        }
        _ => {
            let mut whole = template(dice);
            dice.damage(&mut whole);
            whole
        }
    }
}

/// HTTP/2 frames whose heads are in form and whose contents are not: no stream, flag or length fits another.
fn frames(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = [PREFACE, &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    for _ in 0..dice.below(30) {
        // GET / by HPACK's static table, or anything.
        let content = if dice.once_in(2) { b"\x82\x86\x84\x41\x01a".to_vec() } else { dice.bytes(60) };
        let length = if dice.once_in(10) { dice.below(70_000) } else { content.len() };
        bytes.extend(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
        bytes.extend([u8::try_from(dice.below(12)).unwrap(), dice.one_of(&[0, 1, 4, 5, 0x2d, 0xff])]);
        bytes.extend(u32::try_from(dice.below(12)).unwrap().to_be_bytes());
        bytes.extend(content);
    }
    bytes
}

/// Heads beyond every bound.
fn too_much(dice: &mut Dice) -> Vec<u8> {
    let size = dice.one_of(&[8_000, 17_000, 70_000, 140_000]);
    let head = match dice.below(5) {
        0 => format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(size)),
        1 => format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "é".repeat(size)),
        2 => format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(size / 80)),
        3 => format!("GET / HTTP/1.1\r\nHost: a\r\n{}: y\r\n\r\n", "x".repeat(size)),
        _ => format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "G".repeat(size)),
    };
    head.into_bytes()
}

/// Bodies that are not as long as is said.
fn lengths(dice: &mut Dice) -> Vec<u8> {
    let length = dice.one_of(&[
        "0",
        "1",
        "5",
        "70000",
        "-1",
        "0x5",
        "5, 5",
        "5\r\nContent-Length: 6",
        "18446744073709551615",
        "",
    ]);
    let body = dice.bytes(40);
    let head = format!("POST /echo/a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    [head.into_bytes(), body].concat()
}

/// Bodies whose chunks are not.
fn chunks(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = b"POST /echo/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..dice.below(8) {
        bytes.extend(dice.one_of(&[
            &b"3\r\nabc\r\n"[..],
            b"3\r\nabcd\r\n",
            b"ffffffffffffffff\r\na",
            b"fffffffffffffffff\r\n",
            b"0\r\n",
            b"0\r\n\r\n",
            b"\r\n",
            b"3;\xff=\0\r\nabc\r\n",
            b"3\nabc\n",
            b"-1\r\n",
            b"0\r\nhost: b\r\ncontent-length: 9\r\n\r\n",
        ]));
    }
    bytes
}

/// One client, from its first byte to its last. It fails where the gateway does not let go of it, or answers 500.
async fn client(port: u16, number: u64) {
    let mut dice = Dice::of(number);
    let bytes = hostile(&mut dice);
    let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port))).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // The gateway may close before it has taken all: that is an answer, too.
    let pieces = if dice.once_in(3) { 1 + bytes.len() / (1 + dice.below(8)) } else { bytes.len().max(1) };
    for piece in bytes.chunks(pieces) {
        if soon(stream.write_all(piece)).await.is_err() {
            break;
        }
    }
    match dice.below(6) {
        0 => stream.set_zero_linger().unwrap(),
        1 => drop(stream),
        2 if bytes.ends_with(b"\r\n\r\n") && bytes.starts_with(b"GET /hello/ada") => {
            assert_ne!(soon(stream.read(&mut [0; 4])).await.unwrap_or(1), 0, "a good request has an answer");
        }
        _ => {
            let (mut answer, what) = (Vec::new(), format!("request {number} of seed {SEED}"));
            // Its other half may be gone already.
            let _ = soon(stream.shutdown()).await;
            // So may this one, by a reset: what came before it counts.
            let _ = soon(stream.read_to_end(&mut answer)).await;
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.starts_with("HTTP/1.1 500 ") && !text.contains("\nHTTP/1.1 500 "), "{what}: {text}");
            let http2 = bytes.starts_with(b"PRI ") || answer.is_empty();
            assert!(http2 || text.starts_with("HTTP/1."), "{what}: {text}");
        }
    }
}

/// How many files and sockets a process has open.
fn open(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Waits until no client's connection is open any more: none but those to the upstream, which are kept.
async fn quiet(pid: u32, at_the_start: usize) {
    let kept = usize::try_from(CLIENTS).unwrap();
    let all = async {
        while open(pid) > at_the_start + kept {
            tokio::task::yield_now().await;
        }
    };
    soon(all).await;
}

#[tokio::test]
async fn ten_thousand_hostile_clients_leave_the_local_door_serving_its_memory_flat_and_no_connection_open() {
    let upstream = Upstream::start(Journal::default()).await;
    let config = Config::of(&format!(
        r#"
version: 1
upstreams: {{echo: {{targets: "http://{}"}}}}
defaults: {{auth: none, body: {{max: 64KiB}}}}
routes:
  - {{name: hello, match: {{path: "/hello/{{name}}"}}, to: {{respond: {{body: {{hello: "${{params.name}}"}}}}}}}}
  - {{name: echo, match: {{path: /echo/**}}, cors: {{origins: ["https://shop.example"]}}, to: echo}}
"#,
        upstream.address
    ));
    let mut dev = Dev::start(&config, &["--quiet"]).await;
    let pid = dev.child.id().unwrap();
    let (at_the_start, mut before) = (open(pid), 0);
    for first in (1..=REQUESTS).step_by(usize::try_from(CLIENTS).unwrap()) {
        let mut clients: JoinSet<()> = (first..first + CLIENTS).map(|number| client(dev.port, number)).collect();
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        let last = first + CLIENTS - 1;
        if last.is_multiple_of(80) {
            let good = (200, r#"{"hello":"ada"}"#.to_owned());
            assert_eq!(dev.get("/hello/ada").await, good, "after request {last} of seed {SEED}");
        }
        if last == WARM_UP {
            quiet(pid, at_the_start).await;
            before = memory(pid);
        }
    }
    quiet(pid, at_the_start).await;
    println!("{}", flat(pid, before));
    assert_eq!(dev.get("/echo/").await.0, 200);
    dev.signal("-TERM");
    assert_eq!(soon(dev.child.wait()).await.unwrap().code(), Some(0));
    // It has said nothing more: no panic, above all.
    assert_eq!(soon(dev.lines.next_line()).await.unwrap(), None);
}
