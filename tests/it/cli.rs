//! The `tollgate` command as a user runs it: real processes, real sockets, one embedded DynamoDB between two of them.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStderr, Command};

use crate::dynamo;
use crate::program::binary;
use crate::wire::soon;

pub(crate) fn tollgate() -> Command {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new(binary("tollgate", "TOLLGATE_BIN"));
    command.current_dir(root).kill_on_drop(true).stdin(Stdio::null());
    command
}

pub(crate) async fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = soon(tollgate().args(args).output()).await.unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A config in a folder of its own.
pub(crate) struct Config {
    folder: TempDir,
}

impl Config {
    pub(crate) fn of(text: &str) -> Self {
        let config = Self { folder: tempfile::tempdir().unwrap() };
        config.write(text);
        config
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("gateway.yaml")
    }

    /// Another file in its folder.
    pub(crate) fn add(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Written whole before it takes the old one's place, as editors do.
    pub(crate) fn write(&self, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }
}

/// `tollgate dev`, listening.
pub(crate) struct Dev {
    pub(crate) child: Child,
    pub(crate) lines: Lines<BufReader<ChildStderr>>,
    pub(crate) port: u16,
}

impl Dev {
    pub(crate) async fn start(config: &Config, more: &[&str]) -> Self {
        Self::start_with(config, more, &[]).await
    }

    /// The same with these environment variables.
    pub(crate) async fn start_with(config: &Config, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let path = config.path();
        let args = ["dev", "--listen", "127.0.0.1:0", "--config", path.to_str().unwrap()];
        let mut command = tollgate();
        command.args(args).args(more).envs(environment.iter().copied());
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let port = loop {
            let line = soon(lines.next_line()).await.unwrap().expect("it listens");
            if let Some(rest) = line.strip_prefix("listening on http://127.0.0.1:") {
                break rest.split(' ').next().unwrap().parse().unwrap();
            }
        };
        Self { child, lines, port }
    }

    /// The next line that holds `word`.
    pub(crate) async fn line(&mut self, word: &str) -> String {
        loop {
            let line = soon(self.lines.next_line()).await.unwrap().expect("it still runs");
            if line.contains(word) {
                return line;
            }
        }
    }

    pub(crate) async fn get(&self, target: &str) -> (u16, String) {
        get(self.port, target).await
    }

    pub(crate) async fn get_with(&self, target: &str, field: &str) -> (u16, String) {
        get_with(self.port, target, field).await
    }

    /// The whole answer, its head too.
    pub(crate) async fn whole(&self, target: &str, field: &str) -> String {
        whole(self.port, target, field).await
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

async fn get(port: u16, target: &str) -> (u16, String) {
    get_with(port, target, "x-nothing: 1").await
}

async fn get_with(port: u16, target: &str, field: &str) -> (u16, String) {
    let answer = whole(port, target, field).await;
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn whole(port: u16, target: &str, field: &str) -> String {
    let mut stream = soon(TcpStream::connect(("127.0.0.1", port))).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: a.example\r\n{field}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

fn respond(body: &str) -> String {
    format!("version: 1\nroutes:\n  - {{name: a, auth: none, match: {{path: /}}, to: {{respond: {{body: {body}}}}}}}\n")
}

#[tokio::test]
async fn check_prints_the_shipped_config_compiled_or_every_problem_of_another() {
    let (code, out, err) = run(&["check"]).await;
    assert_eq!((code, err.trim()), (Some(0), "ok: 12 routes, 3 upstreams"));
    assert!(out.contains("connect_timeout 1s"), "defaults are visible: {out}");

    let bad =
        Config::of("version: 1\nroutes:\n  - {name: a, auth: none, colour: red, match: {path: /}, to: nowhere}\n");
    let path = bad.path();
    let path = path.to_str().unwrap();
    let (code, out, err) = run(&["check", "--config", path]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains(&format!("{path}:3:27: unknown key `colour`")), "{err}");
    assert!(err.contains(&format!("{path}:3:62: unknown upstream \"nowhere\"")), "{err}");
    assert!(err.contains("^^^^^^"), "{err}");

    let (code, out, _) = run(&["check", "--config", path, "--format", "json"]).await;
    let problems: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, problems.as_array().map(Vec::len)), (Some(1), Some(2)));
    assert_eq!((&problems[0]["line"], &problems[0]["column"]), (&Value::from(3), &Value::from(27)));
}

#[tokio::test]
async fn warnings_fail_where_they_are_denied() {
    let config = Config::of(
        "version: 1\nedge: {secret: {header: x-edge, value: \"env:NO_SUCH_SECRET\"}}\nroutes:\n  - {name: a, auth: none, match: {path: /}, to: {respond: {}}}\n",
    );
    let path = config.path();
    let path = path.to_str().unwrap();
    let (code, _, err) = run(&["check", "--config", path]).await;
    assert!(
        code == Some(0) && err.contains("warning: the environment variable \"NO_SUCH_SECRET\" is not set"),
        "{err}"
    );
    assert_eq!(run(&["check", "--config", path, "--deny", "warnings"]).await.0, Some(1));
}

#[tokio::test]
async fn explain_tells_the_route_the_stages_and_what_would_be_sent() {
    let (code, out, _) = run(&["explain", "GET", "/users/7?x=1", "-H", "cookie: a=b"]).await;
    assert_eq!(code, Some(0));
    for told in ["route \"user\", declared at infra/routes/orders.yaml", "GET http://127.0.0.1:9102/7?x=1", "x-user: 7"]
    {
        assert!(out.contains(told), "{told} in {out}");
    }
    let (_, out, _) = run(&["explain", "POST", "/orders", "-d", "<a/>", "-H", "content-type: text/xml"]).await;
    assert!(out.contains("stops here, content_type_refused"), "{out}");
    let (_, out, _) = run(&["explain", "GET", "/nowhere"]).await;
    assert!(out.contains("no route: 404 route_not_found"), "{out}");
    assert_eq!(run(&["explain", "GET", "nowhere"]).await.0, Some(1));
}

#[tokio::test]
async fn explain_tells_what_policies_in_shadow_would_have_refused_and_where() {
    let config = Config::of(
        r#"version: 1
edge: {secret: {header: x-edge, value: "file:secret.txt"}, required: true, mode: shadow}
limits: {few: {rate: 1/min, by: global}}
defaults: {auth: none, mode: shadow, limits: [few]}
routes:
  - name: a
    match: {path: /a}
    address: {allow: [10.0.0.0/8]}
    body: {max: 4B, content_types: [image/*], mode: off}
    cors: {origins: ["https://shop.example.com"], mode: shadow}
    to: {respond: {body: hello}}
  - {name: b, match: {path: /b}, address: {deny: [127.0.0.1]}, body: {max: 4B}, mode: enforce, to: {respond: {}}}
"#,
    );
    config.add("secret.txt", "right");
    let path = config.path();
    let ask = |rest: &'static [&'static str]| {
        let config = ["explain", "--config", path.to_str().unwrap()].map(str::to_owned);
        async move {
            let args: Vec<&str> = config.iter().map(String::as_str).chain(rest.iter().copied()).collect();
            run(&args).await
        }
    };
    let (code, out, err) = ask(&["POST", "/a", "-d", "12345", "-H", "origin: https://evil.example"]).await;
    assert_eq!(code, Some(0), "{err}");
    for told in [
        "  edge      secret in x-edge, required (shadow): would refuse, edge_required: the edge's secret is missing or \
         wrong; passes\n",
        "origin_not_listed: the origin \"https://evil.example\" is not listed; passes\n",
        "  screen    addresses (shadow) allow 10.0.0.0/8, deny none, body (off) at most 4B and never over 6MiB, content \
         types image/*: would refuse, address_denied: the address 127.0.0.1 is not let in; passes\n",
        "  limit     few (shadow) 1/min by global, token_bucket burst 1, cost 1, exact, shards auto, \
         headers standard, on_store_failure local: passes (few admits, 0 \
         left)\n",
        "  status    200\n",
    ] {
        assert!(out.contains(told), "{told} in {out}");
    }
    let (_, out, _) = ask(&["POST", "/b", "-H", "x-edge: right"]).await;
    assert!(out.contains("required (shadow): passes\n"), "{out}");
    assert!(out.contains("any: stops here, address_denied: the address 127.0.0.1 is not let in\n"), "{out}");
    assert!(out.contains("  status    403\n") && !out.contains("  limit "), "{out}");
}

#[tokio::test]
async fn explain_tells_the_plan_that_was_taken_and_its_limits() {
    let config = Config::of(
        r#"version: 1
plans: {free: {limits: [{rate: 5/min, by: caller.id}], quota: {limit: 10, per: month}, time_zone: Europe/Berlin}}
limits: {plan: {plan: true, default: free}, proved: {plan: true}}
defaults: {auth: none}
routes:
  - {name: a, match: {path: /a}, limits: [plan], to: {respond: {body: hello}}}
  - {name: b, match: {path: /b}, limits: [proved], to: {respond: {body: hello}}}
"#,
    );
    let path = config.path();
    let path = path.to_str().unwrap();
    let ask = async |target| run(&["explain", "--config", path, "GET", target]).await;
    let (code, out, err) = ask("/a").await;
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("warning: with `auth: none` nobody has a plan"), "{err}");
    for told in [
        "  limit     plan the caller's plan, default free: passes (plan:free admits, 4 left; plan:free:quota admits, 9 left)\n",
        "  plan      free: plan:free 5/min by caller.id, token_bucket burst 5, cost 1, exact, shards auto, headers standard, on_store_failure local\n",
        "  plan      free: plan:free:quota 10/month by caller.tenant, or else caller.id, quota in Europe/Berlin, cost 1, \
         exact, headers standard, on_store_failure closed\n",
        "ratelimit-policy: \"plan:free\";q=5;w=60, \"plan:free:quota\";q=10;w=2",
    ] {
        assert!(out.contains(told), "{told} in {out}");
    }
    let (_, out, _) = ask("/b").await;
    assert!(out.contains("default none: stops here, plan_unknown: the caller has no plan\n"), "{out}");
    assert!(out.contains("  status    403\n") && !out.contains("  plan "), "{out}");
}

#[tokio::test]
async fn explain_tells_which_branch_of_a_split_a_request_takes_and_why() {
    let config = Config::of(
        r#"version: 1
upstreams: {old: {targets: "http://old.internal"}, new: {targets: "http://new.internal"}}
defaults: {auth: none}
routes:
  - name: checkout
    match: {path: /a}
    to: {split: [{upstream: old, weight: 95}, {upstream: new, weight: 5, request: {path: /n}}], sticky: "request.headers['x-user']"}
  - {name: drawn, match: {path: /b}, to: {split: [{upstream: old, weight: 1}, {upstream: new, weight: 0}]}}
  - {name: one, match: {path: /c}, to: old}
"#,
    );
    let path = config.path();
    let ask = |target: &'static str, user: &'static str| {
        let path = path.to_str().unwrap().to_owned();
        async move { run(&["explain", "--config", &path, "GET", target, "-H", user]).await.1 }
    };
    let subject = "the subject request.headers['x-user']";
    let out = ask("/a", "x-user: user-33").await;
    let told = format!("  split     entry 2 of 2, upstream new, weight 5 of 100: where \"user-33\" stays, {subject}\n");
    assert!(out.contains(&told) && out.contains("  forward   GET http://new.internal/n\n"), "{out}");
    let out = ask("/a", "x-other: 1").await;
    assert!(out.contains(&format!(": drawn by weight, since {subject} fails or is empty: another")), "{out}");
    let out = ask("/b", "x-user: ada").await;
    assert!(out.contains("  split     entry 1 of 2, upstream old, weight 1 of 1: drawn by weight: another"), "{out}");
    assert!(!ask("/c", "x-user: ada").await.contains("  split "));
}

#[tokio::test]
async fn explain_tells_that_the_edge_refused() {
    let config = Config::of(
        r#"version: 1
edge: {secret: {header: x-edge, value: "env:NO_SUCH_SECRET"}, required: true}
routes: [{name: a, auth: none, match: {path: /a}, to: {respond: {}}}]
"#,
    );
    let (code, out, _) = run(&["explain", "--config", config.path().to_str().unwrap(), "GET", "/a"]).await;
    assert_eq!(code, Some(0));
    let told = "  edge      secret in x-edge, required: stops here, secret_unavailable: ";
    assert!(out.contains(told) && !out.contains("  find "), "{out}");
}

#[tokio::test]
async fn invoke_prints_the_lambda_answer_in_one_line_and_refuses_what_is_no_http_event() {
    let (code, out, _) = run(&["invoke", "events/greeting.json"]).await;
    assert_eq!((code, out.trim().lines().count()), (Some(0), 1));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["statusCode"], 200);
    let event = Config::of("{\"Records\": []}");
    let (code, out, err) = run(&["invoke", event.path().to_str().unwrap()]).await;
    assert_eq!((code, out.as_str(), err.trim().lines().count()), (Some(1), "", 1), "{err}");
}

#[tokio::test]
async fn a_changed_config_is_taken_up_and_a_wrong_one_is_told_and_not_used() {
    let config = Config::of(&respond("one"));
    let mut dev = Dev::start(&config, &[]).await;
    assert_eq!(dev.get("/").await, (200, "one".to_owned()));
    config.write(&respond("two"));
    dev.line("reloaded").await;
    assert_eq!(dev.get("/").await, (200, "two".to_owned()));
    config.write("version: 1\nroutes: [");
    dev.line("not reloaded").await;
    assert_eq!(dev.get("/").await, (200, "two".to_owned()));
    config.write(&respond("three"));
    dev.line("reloaded").await;
    assert_eq!(dev.get("/").await, (200, "three".to_owned()));
}

#[tokio::test]
async fn a_reload_drops_no_request_and_a_stop_lets_those_under_way_end() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = |name: &str| {
        format!(
            "version: 1\nupstreams: {{slow: {{targets: \"http://{}\"}}}}\nroutes:\n  - {{name: {name}, auth: none, match: {{path: /}}, to: slow}}\n",
            upstream.local_addr().unwrap()
        )
    };
    let written = Config::of(&config("before"));
    let mut dev = Dev::start(&written, &[]).await;
    let asked = tokio::spawn(get(dev.port, "/"));
    let (mut waiting, _) = soon(upstream.accept()).await.unwrap();
    written.write(&config("after"));
    dev.line("reloaded").await;
    dev.signal("-TERM");
    // It is asked to stop while the upstream still thinks: the answer must come all the same.
    waiting.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").await.unwrap();
    assert_eq!(asked.await.unwrap(), (200, "late".to_owned()));
    assert_eq!(soon(dev.child.wait()).await.unwrap().code(), Some(0));
}

/// Two processes on one DynamoDB, with a limit of so many a day.
async fn two_processes(accuracy: &str, per_day: u64) -> [Dev; 2] {
    let state = format!("dynamodb:{}", dynamo::start());
    let config = Config::of(&format!(
        "version: 1\nlimits: {{daily: {{rate: {per_day}/day, by: request.ip, accuracy: {accuracy}, on_store_failure: closed}}}}\nroutes:\n  - {{name: a, auth: none, match: {{path: /}}, limits: daily, to: {{respond: {{body: ok}}}}}}\n",
    ));
    // Both make the tables where they are missing: one of them loses the race.
    let more = ["--quiet", "--state", &state];
    let (one, two) = tokio::join!(Dev::start(&config, &more), Dev::start(&config, &more));
    [one, two]
}

/// So many clients ask in turn, so often each; how many requests were admitted, and how many not answered: the table
/// may take longer than its 130 ms, on a machine that has other things to do, and have counted them.
async fn ask_both(processes: &[Dev; 2], clients: usize, each: usize) -> (u64, u64) {
    let ports = processes.each_ref().map(|process| process.port);
    let mut asked = tokio::task::JoinSet::new();
    for turn in 0..clients {
        asked.spawn(async move {
            let (mut admitted, mut unanswered) = (0, 0);
            for _ in 0..each {
                match get(ports[turn % 2], "/").await.0 {
                    200 => admitted += 1,
                    429 => {}
                    503 => unanswered += 1,
                    status => panic!("{status}"),
                }
            }
            (admitted, unanswered)
        });
    }
    asked.join_all().await.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[tokio::test]
async fn two_processes_on_one_dynamodb_share_a_limit_exactly() {
    let processes = two_processes("exact", 40).await;
    let (admitted, unanswered) = ask_both(&processes, 8, 12).await;
    assert!(admitted <= 40 && admitted + unanswered >= 40, "{admitted} of 96 were admitted, {unanswered} unanswered");
}

#[tokio::test]
async fn two_processes_on_one_dynamodb_lease_from_one_limit() {
    let processes = two_processes("leased", 400).await;
    let (mut admitted, mut unanswered) = (0, 0);
    // Who is refused may try again a little later: another may have held what was left.
    for _ in 0..40 {
        let (more, lost) = ask_both(&processes, 8, 30).await;
        (admitted, unanswered) = (admitted + more, unanswered + lost);
        if admitted + unanswered >= 380 {
            break;
        }
    }
    admitted += ask_both(&processes, 8, 30).await.0;
    assert!(admitted <= 400 && admitted + unanswered >= 380, "{admitted} were admitted, {unanswered} unanswered");
}
