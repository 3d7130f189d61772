//! A table that hangs, throttles, breaks off or answers garbage, behind a whole gateway.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::Instant;
use tollgate::exchange::Body;

use super::{gateway, request};
use crate::table_faults::{Reaction, Server};

const THROTTLED: &str = r#"{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"m","throttlingReasons":[{"reason":"TableWriteKeyRangeThroughputExceeded","resource":"r"}]}"#;

/// What is no answer.
fn silent() -> Vec<Reaction> {
    vec![
        Reaction::Hang,
        Reaction::Trickle,
        Reaction::HalfAnswer,
        Reaction::BreakOff,
        Reaction::Nonsense,
        Reaction::Answer(400, THROTTLED),
        Reaction::Answer(400, r#"{"__type":"x#RequestLimitExceeded","message":"m"}"#),
        Reaction::Answer(400, r#"{"__type":"x#AccessDeniedException","message":"m"}"#),
        Reaction::Answer(400, r#"{"__type":"x#ResourceNotFoundException","message":"m"}"#),
        Reaction::Answer(400, ""),
        Reaction::Answer(500, "<html>"),
        Reaction::Answer(503, "{}"),
        Reaction::Answer(301, ""),
        Reaction::Answer(200, "no json"),
    ]
}

/// Answers in form, of another question.
fn senseless() -> Vec<Reaction> {
    let refused = r#"{"__type":"x#ConditionalCheckFailedException","message":"m"}"#;
    let odd_refusal =
        r#"{"__type":"x#ConditionalCheckFailedException","message":"m","Item":{"pk":{"S":"k"},"n":{"S":"x"}}}"#;
    let huge = r#"{"Attributes":{"pk":{"S":"k"},"n":{"N":"99999999999999999999999999999999999999"},"w":{"N":"-1"}}}"#;
    let bodies = [
        "",
        "{}",
        "[]",
        r#"{"Attributes":{}}"#,
        r#"{"Attributes":{"pk":{"N":"x"},"n":{"N":"one"}}}"#,
        r#"{"Attributes":{"pk":{"S":"k"},"n":{"N":"-7"}}}"#,
        r#"{"Attributes":[1,2,{"a":null}]}"#,
        huge,
    ];
    let refusals = [Reaction::Answer(400, refused), Reaction::Answer(400, odd_refusal)];
    bodies.into_iter().map(|body| Reaction::Answer(200, body)).chain(refusals).collect()
}

/// Twelve requests at once, three times in a row; each must be answered with one of `statuses`.
async fn answered(reaction: &Reaction, policy: &str, statuses: &[u16]) {
    let server = Server::start(vec![reaction.clone()]).await;
    let gateway = gateway(
        format!(
            "version: 1\nlimits: {{some: {{rate: 1000/min, by: request.ip, on_store_failure: {policy}}}}}\nroutes:\n  - {{name: a, auth: none, match: {{path: /}}, limits: some, to: {{respond: {{body: ok}}}}}}\n"
        ),
        server.table().await,
    );
    let gateway = Arc::new(gateway);
    for _ in 0..3 {
        let started = Instant::now();
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let gateway = Arc::clone(&gateway);
            asked.spawn(async move {
                let served = gateway.handle(request(Method::GET, "/", Body::Empty)).await;
                let status = served.response.status.as_u16();
                served.after.run(None).await;
                status
            });
        }
        for status in asked.join_all().await {
            assert!(statuses.contains(&status), "{reaction:?}, {policy}: {status}");
        }
        // The table has 130 ms a call; the rest is for a busy machine.
        assert!(started.elapsed() < Duration::from_secs(5), "{reaction:?}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn whatever_a_table_does_each_request_is_answered_in_time_by_its_limits_policy() {
    for reaction in silent() {
        answered(&reaction, "open", &[200]).await;
        answered(&reaction, "closed", &[503]).await;
        // A key that is too hot is refused: the table answers, and counting here would let more pass than the limit.
        let hot = matches!(&reaction, Reaction::Answer(400, body) if body.contains("KeyRange"));
        answered(&reaction, "local", if hot { &[429] } else { &[200] }).await;
    }
}

#[tokio::test]
async fn answers_of_a_table_that_make_no_sense_are_a_count_or_none_and_never_a_fault_of_the_request() {
    for reaction in senseless() {
        answered(&reaction, "open", &[200, 429]).await;
        answered(&reaction, "closed", &[200, 429, 503]).await;
        answered(&reaction, "local", &[200, 429]).await;
    }
}
