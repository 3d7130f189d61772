//! Any bytes as an event: the Lambda door says that it is no HTTP request, or answers in one line of JSON that the
//! platform can make a response of.
#![no_main]

use http::StatusCode;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tollgate::clock::Timestamp;
use tollgate::exchange::{After, Exchange, Request, Response, Served};
use tollgate_adapters::door::lambda::invoke_with;

/// Reads all of the request and gives it back: its fields and its content pass through the answer's encoding too.
async fn echo(request: Request, sent: usize) -> Served {
    // A byte of the event is at most an escape of three characters in the path, and one more that stands in for it.
    let most = 3 * sent + 1;
    assert!(request.path == "*" || request.path.starts_with('/'), "{:?}", request.path);
    assert!(request.path.len() <= most && request.query.as_ref().is_none_or(|query| query.len() <= most));
    assert!(request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() <= 2 * most);
    let exchange = Exchange::open(&request, Timestamp::default());
    let Request { headers, body, .. } = request;
    let mut response = Response::empty(StatusCode::OK);
    response.headers = headers;
    response.body = tollgate::exchange::Body::Full(body.collect(sent as u64).await.expect("no longer than the event"));
    Served { response, exchange, after: After::default() }
}

fn check(answer: &str) {
    assert!(!answer.contains('\n'), "{answer}");
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    assert!(answer["statusCode"].as_u64().is_some_and(|status| (100..=599).contains(&status)), "{answer}");
    assert!(answer["body"].is_string(), "{answer}");
    // Payload format 1.0 has them in lists.
    for fields in [&answer["headers"], &answer["multiValueHeaders"]] {
        let text =
            |value: &Value| value.is_string() || value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
        assert!(fields.is_null() || fields.as_object().is_some_and(|fields| fields.values().all(text)), "{answer}");
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
}

fuzz_target!(|bytes: &[u8]| {
    let answered = RUNTIME.with(|runtime| runtime.block_on(invoke_with(|request| echo(request, bytes.len()), bytes)));
    if let Ok((answer, _)) = answered {
        check(&answer);
    }
});
