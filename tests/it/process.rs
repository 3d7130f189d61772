//! The loop and the gateway as processes of their own: what only a process shows.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use serde_json::Value;
use tokio::time::Instant;

use crate::program::{Program, Upstream, bare, echo, gateway};
use crate::runtime_api::{Handed, RuntimeApi, event, soon};

/// What is tested: the loop alone shows what is the loop's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject {
    Loop,
    Gateway,
}

const BOTH: [Subject; 2] = [Subject::Loop, Subject::Gateway];

/// A config that sends everything on.
pub(crate) const CONFIG: &str = r#"
version: 1
name: it
expose_env: {UPSTREAM: null}
upstreams: {upstream: {targets: "${env.UPSTREAM}"}}
defaults: {auth: none}
routes:
  - {name: hello, match: {path: "/hello/{name}"}, to: {respond: {body: {hello: "${params.name}"}}}}
  - {name: all, match: {path: /**}, to: upstream}
"#;

/// A process, the Runtime API over it and the upstream behind it, which also plays the table.
pub(crate) struct Running {
    pub(crate) api: RuntimeApi,
    pub(crate) upstream: Upstream,
    pub(crate) program: Program,
    pub(crate) _config: tempfile::TempDir,
}

impl Running {
    pub(crate) async fn start(subject: Subject, settings: &[(&str, &str)]) -> Self {
        let config = tempfile::tempdir().unwrap();
        let file = config.path().join("gateway.yaml");
        std::fs::write(&file, CONFIG).unwrap();
        let api = RuntimeApi::start().await;
        let upstream = Upstream::start(api.journal.clone()).await;
        let table = Upstream::start(crate::runtime_api::Journal::default()).await;
        let (url, table) = (format!("http://{}", upstream.address), format!("http://{}", table.address));
        let settings = [settings, &[("UPSTREAM", &url)], &gateway_settings(&file, &table)].concat();
        let binary = match subject {
            Subject::Loop => bare(),
            Subject::Gateway => gateway(),
        };
        let program = Program::start(&binary, &api, &settings);
        Self { api, upstream, program, _config: config }
    }
}

/// What the function's binary needs of its host, with the table at `table`.
pub(crate) fn gateway_settings<'a>(config: &'a Path, table: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("TOLLGATE_CONFIG", config.to_str().unwrap()),
        ("TOLLGATE_DYNAMODB_ENDPOINT", table),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "none"),
        ("AWS_SECRET_ACCESS_KEY", "none"),
    ]
}

/// Stops and continues the process while the upstream closes its idle connections; each POST that it wakes up with must
/// be answered.
async fn survives_freezes(subject: Subject, rounds: u64) {
    let Running { mut api, upstream, program, _config } = Running::start(subject, &[("TOLLGATE_LOG", "off")]).await;
    let mut post = event("POST", "/orders", "");
    post["body"] = "an order".into();
    let mut closed = 0;
    for round in 1..=rounds {
        assert_eq!(api.call(&post).await.status(), 200);
        // It has asked for the next event and sleeps.
        api.polled(2 * round).await;
        program.freeze().await;
        // Both are there when it wakes up: what it sees first depends on what came first.
        if round % 2 == 0 {
            closed += upstream.hang_up().await;
            program.has_seen_the_end(upstream.address).await;
        }
        let invocation = api.hand(&post);
        program.has_unread(api.address).await;
        if round % 2 == 1 {
            closed += upstream.hang_up().await;
            program.has_seen_the_end(upstream.address).await;
        }
        program.thaw().await;
        let outcome = invocation.outcome().await;
        let told = String::from_utf8(outcome.body()).unwrap();
        assert_eq!(outcome.status(), 200, "in round {round}: {told}");
        assert_eq!(serde_json::from_str::<Value>(&told).unwrap()["body"], "an order");
    }
    assert_eq!(closed as u64, rounds, "a connection was kept in every round");
}

#[tokio::test]
async fn a_post_after_a_freeze_does_not_go_out_on_a_connection_that_the_upstream_closed_meanwhile() {
    survives_freezes(Subject::Gateway, 60).await;
}

#[tokio::test]
async fn the_loop_alone_sees_closed_connections_before_it_serves() {
    survives_freezes(Subject::Loop, 40).await;
}

#[tokio::test]
async fn a_streamed_answers_first_chunk_arrives_before_the_upstream_has_sent_its_last() {
    for subject in BOTH {
        let mut running = Running::start(subject, &[("TOLLGATE_RESPONSE_MODE", "stream")]).await;
        let mut invocation = running.api.hand(&event("GET", "/by-hand", ""));
        let sender = soon("the request", running.upstream.by_hand.recv()).await.unwrap();
        invocation.head().await;
        assert!(invocation.chunk().await.unwrap().ends_with(&[0; 8]), "{subject:?}");
        for part in ["first", "last"] {
            sender.send(Ok(Frame::data(Bytes::from(part)))).unwrap();
            assert_eq!(invocation.chunk().await.unwrap(), part, "{subject:?}");
        }
        drop(sender);
        assert_eq!(invocation.chunk().await, None);
    }
}

#[tokio::test]
async fn a_streamed_answer_whose_upstream_breaks_off_ends_in_trailers() {
    for subject in BOTH {
        let mut running = Running::start(subject, &[("TOLLGATE_RESPONSE_MODE", "stream")]).await;
        let mut invocation = running.api.hand(&event("GET", "/by-hand", ""));
        let sender = soon("the request", running.upstream.by_hand.recv()).await.unwrap();
        sender.send(Ok(Frame::data(Bytes::from("half")))).unwrap();
        invocation.head().await;
        while !invocation.chunk().await.unwrap().ends_with(b"half") {}
        running.upstream.hang_up().await;
        let trailers = invocation.trailers().await;
        assert!(trailers.contains_key("lambda-runtime-function-error-type"), "{subject:?}");
        assert!(trailers.contains_key("lambda-runtime-function-error-body"), "{subject:?}");
    }
}

#[tokio::test]
async fn a_buffered_answer_whose_upstream_breaks_off_is_a_502() {
    let mut running = Running::start(Subject::Gateway, &[]).await;
    let invocation = running.api.hand(&event("GET", "/by-hand", ""));
    let sender = soon("the request", running.upstream.by_hand.recv()).await.unwrap();
    sender.send(Ok(Frame::data(Bytes::from("half")))).unwrap();
    running.upstream.hang_up().await;
    let outcome = invocation.outcome().await;
    assert_eq!(outcome.status(), 502);
    let line: Value = serde_json::from_str(&running.program.line().await).unwrap();
    assert_eq!((&line["status"], &line["stopped_by"]), (&502.into(), &"upstream_reset".into()));
}

#[tokio::test]
async fn what_a_request_left_to_do_is_done_before_the_process_asks_for_the_next_event() {
    let mut running = Running::start(Subject::Loop, &[]).await;
    let mut event = event("GET", "/orders", "");
    event["headers"]["x-after"] = "/afterwards".into();
    running.api.call(&event).await;
    running.api.polled(2).await;
    let expected = ["next", "upstream /orders", "answer i-1", "end i-1", "upstream /afterwards", "next"];
    assert_eq!(running.upstream.journal.read(), expected);
}

#[tokio::test]
async fn the_gateway_answers_logs_a_line_and_survives_what_is_no_request() {
    let Running { mut api, mut program, upstream: _upstream, _config } = Running::start(Subject::Gateway, &[]).await;
    let outcome = api.call(&event("GET", "/hello/\"<>", "a b\"<>\t")).await;
    assert_eq!((outcome.status(), outcome.body()), (200, br#"{"hello":"\"<>"}"#.to_vec()));
    let line: Value = serde_json::from_str(&program.line().await).unwrap();
    assert_eq!((&line["status"], &line["route"], &line["path"]), (&200.into(), &"hello".into(), &"/hello/\"<>".into()));

    assert!(api.call(Handed::raw(b"{}".to_vec())).await.error);
    let complaint: Value = serde_json::from_str(&program.complaint().await).unwrap();
    assert_eq!(
        complaint["message"],
        "the event is not an HTTP request of a function URL, an API Gateway or an Application Load Balancer: there is no `requestContext`"
    );
    assert_eq!(api.call(&event("GET", "/hello/ada", "")).await.status(), 200);
}

#[tokio::test]
async fn a_gateway_that_cannot_start_says_why_to_the_runtime_api_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("bad.yaml");
    std::fs::write(&config, "version: 1\nname: it\nroutes: nonsense\n").unwrap();
    let config = config.to_str().unwrap();
    for (setting, value, why) in [
        ("TOLLGATE_LOG", "loud", r#"TOLLGATE_LOG is "loud", expected one of all, errors, off"#),
        ("TOLLGATE_CONFIG", config, "bad.yaml:3:9: "),
        ("TOLLGATE_CONFIG", "no-such.yaml", "no-such.yaml"),
    ] {
        let mut api = RuntimeApi::start().await;
        let program = Program::start(&gateway(), &api, &[(setting, value)]);
        let (headers, told) = api.init_error().await;
        assert_eq!(headers["lambda-runtime-function-error-type"], "Tollgate.Init");
        assert!(told["errorMessage"].as_str().unwrap().contains(why), "{told}");
        let (code, errors) = program.end().await;
        assert_eq!(code, Some(1));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(!api.journal.read().contains(&"next".to_owned()));
    }
}

#[tokio::test]
async fn a_gateway_whose_runtime_api_is_gone_ends_with_a_failure() {
    let Running { api, program, upstream: _upstream, _config } = Running::start(Subject::Gateway, &[]).await;
    api.polled(1).await;
    api.stop();
    let (code, errors) = program.end().await;
    assert_eq!(code, Some(1));
    assert!(errors.len() == 1 && errors[0].contains("cannot be reached"), "{errors:?}");
}

/// A config of 100 routes as teams have them: captures, conditions in CEL, rewriting, a limit, five upstreams.
fn a_hundred_routes() -> String {
    let mut text = "version: 1\nupstreams:\n".to_owned();
    for n in 0..5 {
        text += &format!("  service{n}: {{targets: \"http://127.0.0.1:{}\", retry: {{}}}}\n", 9200 + n);
    }
    text += "limits: {per-ip: {rate: 1000000/min, by: request.ip}}\ndefaults: {auth: none}\nroutes:\n";
    text += "  - {name: hello, match: {path: \"/hello/{name}\"}, to: {respond: {body: {hello: \"${params.name}\"}}}}\n";
    for n in 1..100 {
        text += &format!(
            "  - name: route{n}\n    match: {{path: \"/service{n}/{{id}}/items/**\", methods: [GET, PUT], when: \"request.headers['x-region'] in ['eu', 'uk']\"}}\n    limits: per-ip\n    request: {{path: \"/v{n}/${{params.id}}\", headers: {{set: {{x-route: \"${{route.name}}\"}}}}}}\n    to: service{}\n",
            n % 5
        );
    }
    text
}

/// What one binary costs.
struct Cost {
    name: &'static str,
    binary: PathBuf,
    log: &'static str,
    start: Duration,
    invocation: Vec<u64>,
}

#[tokio::test]
async fn the_cost_of_a_start_and_of_an_invocation_stands_beside_a_bare_echos() {
    const STARTS: usize = 11;
    const ROUNDS: usize = 5;
    const CALLS: u64 = 400;
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("gateway.yaml");
    std::fs::write(&config, a_hundred_routes()).unwrap();
    let endpoint = crate::dynamo::start();
    let settings = gateway_settings(&config, &endpoint);
    let mut costs = [
        ("echo", echo(), "off"),
        ("the loop alone", bare(), "off"),
        ("gateway, no log", gateway(), "off"),
        ("gateway", gateway(), "all"),
    ]
    .map(|(name, binary, log)| Cost { name, binary, log, start: Duration::ZERO, invocation: Vec::new() });
    // Round by round, so that a slow spell of the machine falls on all of them.
    let mut starts = vec![Vec::new(); costs.len()];
    for _ in 0..STARTS {
        for (cost, starts) in costs.iter().zip(&mut starts) {
            let api = RuntimeApi::start().await;
            let started = Instant::now();
            let _program = Program::start(&cost.binary, &api, &settings);
            api.polled(1).await;
            starts.push(started.elapsed());
        }
    }
    for (cost, starts) in costs.iter_mut().zip(&mut starts) {
        starts.sort_unstable();
        cost.start = starts[STARTS / 2];
    }
    for _ in 0..ROUNDS {
        for cost in &mut costs {
            let mut api = RuntimeApi::start().await;
            let program = Program::start(&cost.binary, &api, &[&settings[..], &[("TOLLGATE_LOG", cost.log)]].concat());
            let event = event("GET", "/hello/ada", "greeting=short");
            for _ in 0..50 {
                api.call(&event).await;
            }
            let before = program.cpu();
            for _ in 0..CALLS {
                api.call(&event).await;
            }
            cost.invocation.push((program.cpu() - before) / CALLS);
        }
    }
    for cost in &mut costs {
        cost.invocation.sort_unstable();
        println!(
            "{:16} start {:6.2} ms, CPU an invocation {:6.1} µs",
            cost.name,
            cost.start.as_secs_f64() * 1e3,
            cost.invocation[ROUNDS / 2] as f64 / 1e3,
        );
    }
    assert!(costs.iter().all(|cost| cost.invocation[ROUNDS / 2] > 0));
}
