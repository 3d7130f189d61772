//! The gateway function's binary as a plain web server: `TOLLGATE_LISTEN`.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::process::{CONFIG, gateway_settings};
use crate::program::{Upstream, gateway};
use crate::runtime_api::{Journal, soon};
use crate::wire::Raw;

struct Server {
    child: Child,
    errors: Lines<BufReader<ChildStderr>>,
    port: u16,
    upstream: Upstream,
    _config: tempfile::TempDir,
}

impl Server {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let config = tempfile::tempdir().unwrap();
        let file = config.path().join("gateway.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let upstream = Upstream::start(Journal::default()).await;
        let table = Upstream::start(Journal::default()).await;
        let mut child = Command::new(gateway())
            .env_clear()
            .env("TOLLGATE_LISTEN", "127.0.0.1:0")
            .envs(gateway_settings(&file, &format!("http://{}", table.address)))
            .env("UPSTREAM", format!("http://{}", upstream.address))
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = soon("where it listens", errors.next_line()).await.unwrap().expect("the process has ended");
        let port = line.split("listening on http://127.0.0.1:").nth(1).and_then(|port| port.split('"').next());
        let port = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        Self { child, errors, port, upstream, _config: config }
    }

    async fn ask(&self, request: &str) -> String {
        let mut raw = Raw::connect(self.port).await;
        raw.send(request).await;
        let head = raw.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let body = String::from_utf8(raw.exactly(length.parse().unwrap()).await).unwrap();
        format!("{head}{body}")
    }

    async fn terminate(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    }
}

#[tokio::test]
async fn it_serves_the_same_routes_over_plain_http() {
    let server = Server::start(&[]).await;
    let answer = server.ask("GET /hello/ada HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(r#"{"hello":"ada"}"#), "{answer}");
    let forwarded = server.ask("GET /orders/1?a=b HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(forwarded.starts_with("HTTP/1.1 200 OK\r\n"), "{forwarded}");
    assert_eq!(server.upstream.journal.read(), ["upstream /orders/1"]);
}

#[tokio::test]
async fn the_health_path_answers_before_any_route_and_can_be_another_one() {
    let server = Server::start(&[]).await;
    let answer = server.ask("GET /.tollgate/health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(r#"{"status":"serving"}"#), "{answer}");
    let server = Server::start(&[("TOLLGATE_HEALTH_PATH", "/up")]).await;
    let answer = server.ask("GET /up HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.ends_with(r#"{"status":"serving"}"#), "{answer}");
    assert_eq!(server.upstream.journal.read(), [""; 0]);
}

#[tokio::test]
async fn told_to_end_it_finishes_what_is_under_way_takes_nothing_new_and_ends_well() {
    let mut server = Server::start(&[]).await;
    let mut raw = Raw::connect(server.port).await;
    raw.send("GET /by-hand HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let sender = soon("the request at the upstream", server.upstream.by_hand.recv()).await.unwrap();
    server.terminate().await;
    // The listener is closed while the request is still under way.
    soon("the listener's end", async {
        while tokio::net::TcpStream::connect(("127.0.0.1", server.port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    sender.send(Ok(http_body::Frame::data("late".into()))).unwrap();
    drop(sender);
    let answer = raw.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("late"), "{answer}");
    let status = soon("the end of the process", server.child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(server.errors.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_and_ends_it() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, "version: 1\nroutes: [{name: a, auth: none, match: {path: /}, to: {respond: {}}}]\n")
        .unwrap();
    let output = Command::new(gateway())
        .env_clear()
        .env("TOLLGATE_LISTEN", &address)
        .envs(gateway_settings(&config, &format!("http://{address}")))
        .output();
    let output = soon("its end", output).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&format!("cannot listen on {address}: ")), "{told}");
}
