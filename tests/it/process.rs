//! The loop and the gateway as processes of their own: what only a process shows.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use serde_json::Value;
use tokio::time::Instant;

use crate::program::{Program, Upstream, bare, echo, gateway};
use crate::runtime_api::{Handed, RuntimeApi, event, soon};

/// The loop with an upstream behind it.
async fn forwarding(settings: &[(&str, &str)]) -> (RuntimeApi, Upstream, Program) {
    let api = RuntimeApi::start().await;
    let upstream = Upstream::start(api.journal.clone()).await;
    let address = upstream.address.to_string();
    let settings = [settings, &[("UPSTREAM", &address)]].concat();
    let program = Program::start(&bare(), &api, &settings);
    (api, upstream, program)
}

/// Stops and continues the process `rounds` times while the upstream closes its idle connections; each POST that it
/// wakes up with must be answered.
async fn survives_freezes(api: &mut RuntimeApi, upstream: &Upstream, program: &Program, rounds: u64) {
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
        }
        let invocation = api.hand(&post);
        program.has_unread(api.address).await;
        if round % 2 == 1 {
            closed += upstream.hang_up().await;
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
    let (mut api, upstream, program) = forwarding(&[("TOLLGATE_LOG", "off")]).await;
    survives_freezes(&mut api, &upstream, &program, 60).await;
}

#[tokio::test]
async fn a_streamed_answers_first_chunk_arrives_before_the_upstream_has_sent_its_last() {
    let (mut api, mut upstream, _program) = forwarding(&[("TOLLGATE_RESPONSE_MODE", "stream")]).await;
    let mut invocation = api.hand(&event("GET", "/by-hand", ""));
    let sender = soon("the request", upstream.by_hand.recv()).await.unwrap();
    invocation.head().await;
    assert!(invocation.chunk().await.unwrap().ends_with(&[0; 8]));
    for part in ["first", "last"] {
        sender.send(Ok(Frame::data(Bytes::from(part)))).unwrap();
        assert_eq!(invocation.chunk().await.unwrap(), part);
    }
    drop(sender);
    assert_eq!(invocation.chunk().await, None);
}

#[tokio::test]
async fn a_streamed_answer_whose_upstream_breaks_off_ends_in_trailers() {
    let (mut api, mut upstream, _program) = forwarding(&[("TOLLGATE_RESPONSE_MODE", "stream")]).await;
    let mut invocation = api.hand(&event("GET", "/by-hand", ""));
    let sender = soon("the request", upstream.by_hand.recv()).await.unwrap();
    sender.send(Ok(Frame::data(Bytes::from("half")))).unwrap();
    invocation.head().await;
    while !invocation.chunk().await.unwrap().ends_with(b"half") {}
    upstream.hang_up().await;
    let trailers = invocation.trailers().await;
    assert!(trailers.contains_key("lambda-runtime-function-error-type"));
    assert!(trailers.contains_key("lambda-runtime-function-error-body"));
}

#[tokio::test]
async fn what_a_request_left_to_do_is_done_before_the_process_asks_for_the_next_event() {
    let (mut api, upstream, _program) = forwarding(&[]).await;
    let mut event = event("GET", "/orders", "");
    event["headers"]["x-after"] = "/afterwards".into();
    api.call(&event).await;
    api.polled(2).await;
    let expected = ["next", "upstream /orders", "answer i-1", "end i-1", "upstream /afterwards", "next"];
    assert_eq!(upstream.journal.read(), expected);
}

#[tokio::test]
async fn the_gateway_answers_logs_a_line_and_survives_what_is_no_request() {
    let mut api = RuntimeApi::start().await;
    let mut program = Program::start(&gateway(), &api, &[]);
    let outcome = api.call(&event("GET", "/nowhere/\"<>", "a b\"<>\t")).await;
    assert_eq!(outcome.status(), 404);
    let line: Value = serde_json::from_str(&program.line().await).unwrap();
    assert_eq!((&line["status"], &line["stopped_by"]), (&404.into(), &"route_not_found".into()));
    assert_eq!(line["path"], "/nowhere/\"<>");

    assert!(api.call(Handed::raw(b"{}".to_vec())).await.error);
    let complaint: Value = serde_json::from_str(&program.complaint().await).unwrap();
    assert_eq!(complaint["message"], "the event is not an HTTP request of payload format 2.0: `version` is not 2.0");
    assert_eq!(api.call(&event("GET", "/nowhere", "")).await.status(), 404);
}

#[tokio::test]
async fn a_gateway_that_cannot_start_says_why_to_the_runtime_api_and_ends() {
    let mut api = RuntimeApi::start().await;
    let program = Program::start(&gateway(), &api, &[("TOLLGATE_LOG", "loud")]);
    let (headers, told) = api.init_error().await;
    assert_eq!(headers["lambda-runtime-function-error-type"], "Tollgate.Init");
    assert_eq!(told["errorMessage"], r#"TOLLGATE_LOG is "loud", expected one of all, errors, off"#);
    let (code, errors) = program.end().await;
    assert_eq!(code, Some(1));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(!api.journal.read().contains(&"next".to_owned()));
}

#[tokio::test]
async fn a_gateway_whose_runtime_api_is_gone_ends_with_a_failure() {
    let api = RuntimeApi::start().await;
    let program = Program::start(&gateway(), &api, &[]);
    api.polled(1).await;
    api.stop();
    let (code, errors) = program.end().await;
    assert_eq!(code, Some(1));
    assert!(errors.len() == 1 && errors[0].contains("cannot be reached"), "{errors:?}");
}

/// What one binary costs.
struct Cost {
    name: &'static str,
    binary: PathBuf,
    start: Duration,
    invocation: Vec<u64>,
}

#[tokio::test]
async fn the_cost_of_a_start_and_of_an_invocation_stands_beside_a_bare_echos() {
    const STARTS: usize = 11;
    const ROUNDS: usize = 5;
    const CALLS: u64 = 400;
    let mut costs = [("echo", echo()), ("bare", bare()), ("gateway", gateway())].map(|(name, binary)| Cost {
        name,
        binary,
        start: Duration::ZERO,
        invocation: Vec::new(),
    });
    for cost in &mut costs {
        let mut starts = Vec::new();
        for _ in 0..STARTS {
            let api = RuntimeApi::start().await;
            let started = Instant::now();
            let _program = Program::start(&cost.binary, &api, &[]);
            api.polled(1).await;
            starts.push(started.elapsed());
        }
        starts.sort_unstable();
        cost.start = starts[STARTS / 2];
    }
    // Round by round, so that a slow spell of the machine falls on all of them.
    for _ in 0..ROUNDS {
        for cost in &mut costs {
            let mut api = RuntimeApi::start().await;
            let program = Program::start(&cost.binary, &api, &[]);
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
            "{:8} start {:6.2} ms, CPU an invocation {:6.1} µs ({})",
            cost.name,
            cost.start.as_secs_f64() * 1e3,
            cost.invocation[ROUNDS / 2] as f64 / 1e3,
            cost.binary.display()
        );
    }
    assert!(costs.iter().all(|cost| cost.invocation[ROUNDS / 2] > 0));
}
