//! How answers go out: streamed and buffered, too large, broken off, not taken.

use super::*;

#[tokio::test]
async fn a_streamed_answers_first_chunk_arrives_before_its_last_was_sent() {
    let (handler, mut senders) = by_hand();
    let mut gateway = Loop::start(ResponseMode::Stream, handler).await;
    let mut invocation = gateway.api.hand(&event("GET", "/", ""));
    let sender = soon("the request", senders.recv()).await.unwrap();
    // The head and the prelude do not wait for content.
    let (_, headers) = invocation.head().await;
    assert_eq!(headers["trailer"], "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body");
    assert!(invocation.chunk().await.unwrap().ends_with(&[0; 8]));
    for part in ["first", "second", "third"] {
        sender.send(Ok(part.into())).unwrap();
        assert_eq!(invocation.chunk().await.unwrap(), part);
    }
    drop(sender);
    assert_eq!(invocation.chunk().await, None);
}

#[tokio::test]
async fn a_small_streamed_answer_does_not_wait_for_an_acknowledgement() {
    let (handler, mut senders) = by_hand();
    let mut streaming = Loop::start(ResponseMode::Stream, handler).await;
    let mut buffered = Loop::start(ResponseMode::Buffered, mirror).await;
    let (mut streamed_times, mut buffered_times) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        // Prelude, content and end in writes of their own: with Nagle's algorithm the second waits for the peer's
        // delayed acknowledgement of the first, 40 ms and more.
        let started = tokio::time::Instant::now();
        let mut invocation = streaming.api.hand(&event("GET", "/", ""));
        let sender = soon("the request", senders.recv()).await.unwrap();
        invocation.head().await;
        invocation.chunk().await;
        sender.send(Ok("small".into())).unwrap();
        invocation.chunk().await;
        drop(sender);
        assert_eq!(invocation.chunk().await, None);
        streamed_times.push(started.elapsed());
        buffered_times.push(buffered.api.call(&event("GET", "/", "")).await.took);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (streamed, buffered) = (median(&mut streamed_times), median(&mut buffered_times));
    assert!(streamed < buffered + Duration::from_millis(20), "streamed {streamed:?}, buffered {buffered:?}");
}

#[tokio::test]
async fn a_streamed_answer_that_fails_under_way_ends_in_trailers_and_not_in_text() {
    let (handler, mut senders) = by_hand();
    let mut gateway = Loop::start(ResponseMode::Stream, handler).await;
    let invocation = gateway.api.hand(&event("GET", "/", ""));
    let sender = soon("the request", senders.recv()).await.unwrap();
    sender.send(Ok("half".into())).unwrap();
    sender.send(reset()).unwrap();
    let outcome = invocation.outcome().await;
    assert_eq!(outcome.streamed().1, b"half");
    let trailers = outcome.trailers.unwrap();
    assert_eq!(trailers["lambda-runtime-function-error-type"], "Tollgate.AnswerBrokeOff");
    let told = STANDARD.decode(trailers["lambda-runtime-function-error-body"].as_bytes()).unwrap();
    assert!(!String::from_utf8(told).unwrap().contains("10.0.0.7"));
    let log = gateway.log_after(1).await;
    assert_eq!((log[0].status.as_u16(), log[0].stopped_by), (200, Some("upstream_reset")));
    assert_eq!(log[0].detail.as_deref(), Some("upstream orders broke off: 10.0.0.7:8443 went away"));
}

#[tokio::test]
async fn a_buffered_answer_that_fails_under_way_is_a_502() {
    let (handler, mut senders) = by_hand();
    let mut gateway = Loop::start(ResponseMode::Buffered, handler).await;
    let invocation = gateway.api.hand(&event("GET", "/", ""));
    let sender = soon("the request", senders.recv()).await.unwrap();
    sender.send(Ok("half".into())).unwrap();
    sender.send(reset()).unwrap();
    let outcome = invocation.outcome().await;
    assert_eq!(outcome.status(), 502);
    let problem: Value = serde_json::from_slice(&outcome.body()).unwrap();
    assert_eq!(problem["code"], "upstream_reset");
    assert!(!String::from_utf8_lossy(&outcome.bytes).contains("10.0.0.7"));
    let log = gateway.log_after(1).await;
    assert_eq!((log[0].status.as_u16(), log[0].stopped_by), (502, Some("upstream_reset")));
}

#[tokio::test]
async fn content_that_stalls_is_given_up_when_the_invocations_time_is_over() {
    for mode in [ResponseMode::Buffered, ResponseMode::Stream] {
        let (handler, mut senders) = by_hand();
        let mut gateway = Loop::start(mode, handler).await;
        let deadline = deadline_in(Duration::from_millis(500));
        let invocation = gateway.api.hand(Handed { deadline, ..Handed::from(&event("GET", "/", "")) });
        let _sender = soon("the request", senders.recv()).await.unwrap();
        let outcome = invocation.outcome().await;
        match mode {
            ResponseMode::Buffered => assert_eq!(outcome.status(), 504),
            ResponseMode::Stream => assert!(outcome.trailers.is_some()),
        }
    }
}

#[tokio::test]
async fn an_answer_of_over_6_mb_is_a_502_buffered_and_goes_whole_streamed() {
    const SIZE: usize = 7 * 1024 * 1024;
    let handler = |request: Request| -> BoxFuture<'static, Served> {
        Box::pin(async move {
            let mut response = answer(Some("text/plain"), Body::Full(vec![b'a'; SIZE].into()));
            response.headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
            response.headers.insert("etag", HeaderValue::from_static("\"1\""));
            served(&request, response)
        })
    };
    let mut buffered = Loop::start(ResponseMode::Buffered, handler).await;
    let outcome = buffered.api.call(&event("GET", "/", "")).await;
    assert_eq!(outcome.status(), 502);
    let (json, problem) = (outcome.json(), serde_json::from_slice::<Value>(&outcome.body()).unwrap());
    assert_eq!(problem["code"], "answer_too_large");
    assert_eq!(json["headers"]["access-control-allow-origin"], "*");
    assert!(json["headers"].get("etag").is_none());
    assert_eq!(buffered.api.call(&event("GET", "/", "")).await.status(), 502);

    let mut streaming = Loop::start(ResponseMode::Stream, handler).await;
    assert_eq!(streaming.api.call(&event("GET", "/", "")).await.streamed().1.len(), SIZE);
}

#[tokio::test]
async fn only_a_function_urls_events_are_answered_streamed() {
    let mut gateway = Loop::start(ResponseMode::Stream, mirror).await;
    for (domain, streamed) in [
        ("abc.lambda-url.eu-west-1.on.aws", true),
        ("localhost", true),
        ("abc.execute-api.eu-west-1.amazonaws.com", false),
        ("api.example.com", false),
    ] {
        let mut event = event("GET", "/", "");
        event["requestContext"]["domainName"] = domain.into();
        let outcome = gateway.api.call(&event).await;
        let mode = outcome.headers.get("lambda-runtime-function-response-mode");
        assert_eq!(mode.is_some(), streamed, "{domain}");
        if !streamed {
            assert_eq!(outcome.status(), 200);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_taken_does_not_end_the_loop() {
    for mode in [ResponseMode::Buffered, ResponseMode::Stream] {
        let mut gateway = Loop::start(mode, mirror).await;
        for status in [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::GONE, StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN]
        {
            gateway.api.call(Handed { status, ..Handed::from(&event("GET", "/", "")) }).await;
        }
        gateway.api.call(&event("GET", "/", "")).await;
        assert_eq!(gateway.log_after(5).await.len(), 5);
    }
}

#[tokio::test]
async fn an_answer_whose_connection_breaks_is_posted_once_more_and_then_given_up() {
    let mut gateway = Loop::start(ResponseMode::Buffered, mirror).await;
    let handed = Handed { breaks: 1, ..Handed::from(&event("GET", "/", "")) };
    assert_eq!(gateway.api.call(handed).await.status(), 200);
    let lost = gateway.api.hand(Handed { breaks: 9, ..Handed::from(&event("GET", "/", "")) });
    assert_eq!(gateway.api.call(&event("GET", "/", "")).await.status(), 200);
    assert_eq!(gateway.log_after(3).await.len(), 3);
    drop(lost);
}

#[tokio::test]
async fn an_acknowledgement_before_the_contents_end_does_not_start_what_follows_the_answer() {
    let (senders, mut receiver) = mpsc::unbounded_channel();
    let journal = Arc::new(Mutex::new(None::<Journal>));
    let seen = Arc::clone(&journal);
    let mut gateway = Loop::start(ResponseMode::Stream, move |request| {
        let (sender, content) = mpsc::unbounded_channel();
        senders.send(sender).unwrap();
        let journal = seen.lock().unwrap().clone().unwrap();
        Box::pin(async move {
            let mut served = served(&request, answer(None, Body::stream(Hand(content))));
            served.after.push(async move { journal.note("after") });
            served
        })
    })
    .await;
    *journal.lock().unwrap() = Some(gateway.api.journal.clone());
    let mut invocation = gateway.api.hand(Handed { at_once: true, ..Handed::from(&event("GET", "/", "")) });
    let sender: Sender = soon("the request", receiver.recv()).await.unwrap();
    invocation.head().await;
    invocation.chunk().await;
    for part in ["first", "last"] {
        gateway.api.journal.note(part);
        sender.send(Ok(part.into())).unwrap();
        assert_eq!(invocation.chunk().await.unwrap(), part);
    }
    drop(sender);
    gateway.api.polled(2).await;
    let journal = gateway.api.journal.read();
    let at = |what: &str| journal.iter().position(|note| note == what).unwrap();
    assert!(at("last") < at("after"), "{journal:?}");
}
