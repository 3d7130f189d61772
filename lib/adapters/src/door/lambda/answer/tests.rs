//! Answers whose bytes come out as they went in.

use std::collections::VecDeque;

use http_body_util::BodyExt;
use serde_json::Value;

use super::*;

mod doors;

const LIMIT: usize = Front::FunctionUrl.limit();

/// A body that gives these frames and then ends.
struct Frames(VecDeque<Result<Frame<Bytes>, BodyFault>>);

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn frames(frames: impl IntoIterator<Item = Result<Frame<Bytes>, BodyFault>>) -> Body {
    Body::stream(Frames(frames.into_iter().collect()))
}

fn data(bytes: &'static [u8]) -> Result<Frame<Bytes>, BodyFault> {
    Ok(Frame::data(Bytes::from_static(bytes)))
}

fn response(headers: &[(&'static str, &[u8])], body: Body) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    Response { status: StatusCode::OK, headers: map, body }
}

async fn buffered(response: Response, source: &Source) -> Result<String, Refusal> {
    super::buffered(response.status, &response.headers, response.body, source).await
}

async fn answer(response: Response) -> Value {
    serde_json::from_str(&buffered(response, &Source::default()).await.unwrap()).unwrap()
}

async fn refusal(response: Response) -> Refusal {
    let source = Source { upstream: "orders".into(), ..Source::default() };
    buffered(response, &source).await.unwrap_err()
}

fn bytes_of(answer: &Value) -> Vec<u8> {
    let body = answer["body"].as_str().unwrap();
    if answer["isBase64Encoded"].as_bool().unwrap() { STANDARD.decode(body).unwrap() } else { body.as_bytes().to_vec() }
}

#[tokio::test]
async fn a_text_goes_as_text_and_all_five_members_are_there() {
    let response = response(&[("content-type", b"application/json")], Body::Full("{\"a\":\"\u{e9}\"}".into()));
    assert_eq!(
        buffered(response, &Source::default()).await.unwrap(),
        r#"{"statusCode":200,"headers":{"content-type":"application/json"},"cookies":[],"body":"{\"a\":\"é\"}","isBase64Encoded":false}"#
    );
}

#[tokio::test]
async fn every_content_comes_back_byte_for_byte_and_only_certain_text_as_text() {
    type Case<'a> = (Option<&'a str>, Option<&'a str>, &'static [u8], bool);
    let cases: &[Case<'_>] = &[
        (None, None, &[0xff, 0xfe, 0x00, 0x61], true),
        (None, None, b"plain", true),
        (Some("application/json"), None, b"{\"a\":\"\xff\"}", true),
        (Some("text/plain; charset=iso-8859-1"), None, b"caf\xe9", true),
        (Some("text/plain; charset=iso-8859-1"), None, "café".as_bytes(), false),
        (Some("text/plain"), None, b"\x00\x01\x1f\x7f\r\n", false),
        (Some("text/html; charset=utf-8"), Some("gzip"), b"\x1f\x8b", true),
        (Some("text/html"), Some("br"), b"ascii", true),
        (Some("text/html"), Some("identity"), b"ascii", false),
        (Some("TEXT/HTML ;x=y"), None, b"ascii", false),
        (Some("application/problem+json"), None, b"{}", false),
        (Some("image/svg+xml"), None, b"<svg/>", false),
        (Some("image/png"), None, b"ascii", true),
        (Some("application/octet-stream"), None, b"ascii", true),
        (Some("application/grpc"), None, b"\x00\x00", true),
        (Some("nonsense"), None, b"ascii", true),
    ];
    for (kind, encoding, body, encoded) in cases {
        let mut headers = Vec::new();
        headers.extend(kind.map(|kind| ("content-type", kind.as_bytes())));
        headers.extend(encoding.map(|encoding| ("content-encoding", encoding.as_bytes())));
        for streamed in [false, true] {
            let body = Bytes::from_static(body);
            let content = if streamed { frames([Ok(Frame::data(body.clone()))]) } else { Body::Full(body.clone()) };
            let answer = answer(response(&headers, content)).await;
            assert_eq!(answer["isBase64Encoded"], *encoded, "{kind:?} {encoding:?}");
            assert_eq!(bytes_of(&answer), body, "{kind:?} {encoding:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_an_empty_text_whatever_its_type() {
    for body in [Body::Empty, Body::Full(Bytes::new()), frames([])] {
        let answer = answer(response(&[("content-type", b"image/png")], body)).await;
        assert_eq!((&answer["body"], &answer["isBase64Encoded"]), (&"".into(), &false.into()));
    }
}

#[tokio::test]
async fn cookies_stand_apart_and_other_fields_are_joined() {
    let answer = answer(response(
        &[
            ("set-cookie", b"a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
            ("vary", b"accept"),
            ("set-cookie", b"b=2"),
            ("vary", b"origin"),
            ("x-utf8", "grüße".as_bytes()),
            ("x-latin", b"caf\xe9"),
        ],
        Body::Empty,
    ))
    .await;
    assert_eq!(answer["cookies"], serde_json::json!(["a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2"]));
    assert_eq!(
        answer["headers"],
        serde_json::json!({ "vary": "accept, origin", "x-utf8": "grüße", "x-latin": "café" })
    );
}

#[tokio::test]
async fn an_answer_whose_json_passes_the_limit_is_refused_and_one_below_is_not() {
    let text = |n: usize| response(&[("content-type", b"text/plain")], Body::Full("a".repeat(n).into()));
    let frame = buffered(text(0), &Source::default()).await.unwrap().len();
    assert_eq!(buffered(text(LIMIT - frame), &Source::default()).await.unwrap().len(), LIMIT);
    assert_eq!(refusal(text(LIMIT - frame + 1)).await.code(), "answer_too_large");

    let quotes = response(&[("content-type", b"text/plain")], Body::Full("\"".repeat(LIMIT / 2).into()));
    assert_eq!(refusal(quotes).await.code(), "answer_too_large");

    let binary = |n: usize| response(&[], Body::Full(vec![0xff; n].into()));
    assert!(buffered(binary(LIMIT / 4 * 3 - 300), &Source::default()).await.is_ok());
    for n in [LIMIT / 4 * 3, LIMIT / 4 * 3 + 1, 2 * LIMIT] {
        assert_eq!(refusal(binary(n)).await.code(), "answer_too_large");
    }
}

/// Endless content that counts what was taken of it.
struct Endless(Arc<std::sync::atomic::AtomicUsize>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        self.0.fetch_add(1 << 16, std::sync::atomic::Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1 << 16])))))
    }
}

#[tokio::test]
async fn content_is_read_no_further_than_the_limit() {
    let taken = Arc::default();
    let refused = refusal(response(&[], Body::stream(Endless(Arc::clone(&taken))))).await;
    assert_eq!(refused.wire().status, StatusCode::BAD_GATEWAY);
    assert_eq!(refused.code(), "answer_too_large");
    assert!(taken.load(std::sync::atomic::Ordering::Relaxed) <= LIMIT / 4 * 3 + (1 << 16));
}

#[tokio::test]
async fn content_that_breaks_off_is_the_upstreams_fault_and_stalls_are_timeouts() {
    let broken = || Err(BodyFault::Broken("10.0.0.7 went away".into()));
    let reset = refusal(response(&[], frames([data(b"half"), broken()]))).await;
    assert_eq!((reset.wire().status, reset.code()), (StatusCode::BAD_GATEWAY, "upstream_reset"));
    assert_eq!(reset.to_string(), "upstream orders broke off: 10.0.0.7 went away");
    let stalled = refusal(response(&[], frames([Err(BodyFault::Stalled(std::time::Duration::from_secs(60)))]))).await;
    assert_eq!(stalled.code(), "upstream_timeout");
}

struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn content_that_never_ends_is_given_up_at_the_deadline() {
    let answer_by = Some(Instant::now() + std::time::Duration::from_secs(3));
    let source = Source { upstream: "orders".into(), answer_by, ..Source::default() };
    let refused = buffered(response(&[], Body::stream(Never)), &source).await.unwrap_err();
    assert_eq!(refused.code(), "deadline_passed");

    let (streamed, ending) = Streamed::new(response(&[], Body::stream(Never)), answer_by);
    let whole = streamed.collect().await.unwrap();
    assert!(whole.trailers().unwrap().contains_key("lambda-runtime-function-error-type"));
    assert!(matches!(ending.await, Ok(Ending::Failed(BodyFault::Stalled(_)))));
}

#[tokio::test]
async fn a_streamed_answer_is_its_prelude_eight_nuls_and_the_content() {
    for body in [Body::Full("whole".into()), frames([data(b"wh"), data(b""), data(b"ole")])] {
        let response = response(&[("content-type", b"text/plain"), ("set-cookie", b"a=1")], body);
        let (streamed, ending) = Streamed::new(response, None);
        let whole = streamed.collect().await.unwrap();
        assert!(whole.trailers().is_none());
        let expected = b"{\"statusCode\":200,\"headers\":{\"content-type\":\"text/plain\"},\"cookies\":[\"a=1\"]}\0\0\0\0\0\0\0\0whole";
        assert_eq!(whole.to_bytes(), &expected[..]);
        assert!(matches!(ending.await, Ok(Ending::Whole)));
    }
}

#[tokio::test]
async fn content_that_fails_under_way_ends_in_trailers_and_not_in_text() {
    let broken = Err(BodyFault::Broken("10.0.0.7 went away".into()));
    let (streamed, ending) = Streamed::new(response(&[], frames([data(b"half"), broken, data(b"more")])), None);
    let whole = streamed.collect().await.unwrap();
    let trailers = whole.trailers().unwrap().clone();
    assert!(whole.to_bytes().ends_with(b"\0\0\0\0\0\0\0\0half"));
    assert_eq!(trailers["lambda-runtime-function-error-type"], "Tollgate.AnswerBrokeOff");
    let told = STANDARD.decode(trailers["lambda-runtime-function-error-body"].as_bytes()).unwrap();
    assert_eq!(
        String::from_utf8(told).unwrap(),
        r#"{"errorType":"Tollgate.AnswerBrokeOff","errorMessage":"the answer broke off"}"#
    );
    for name in trailers.keys() {
        assert!(ERROR_TRAILERS.to_ascii_lowercase().contains(name.as_str()));
    }
    assert!(matches!(ending.await, Ok(Ending::Failed(BodyFault::Broken(_)))));
}

#[tokio::test]
async fn an_upstreams_trailers_are_not_taken_for_the_runtimes() {
    let mut trailers = HeaderMap::new();
    trailers.insert("lambda-runtime-function-error-type", HeaderValue::from_static("Forged"));
    let (streamed, ending) = Streamed::new(response(&[], frames([data(b"x"), Ok(Frame::trailers(trailers))])), None);
    assert!(streamed.collect().await.unwrap().trailers().is_none());
    assert!(matches!(ending.await, Ok(Ending::Whole)));
}

struct Panics;

impl http_body::Body for Panics {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        panic!("in the content")
    }
}

#[tokio::test]
async fn a_panic_in_the_content_ends_that_answer_alone() {
    let (streamed, ending) = Streamed::new(response(&[], Body::stream(Panics)), None);
    assert!(streamed.collect().await.unwrap().trailers().is_some());
    assert!(matches!(ending.await, Ok(Ending::Failed(_))));
}

#[tokio::test]
async fn content_that_nobody_takes_to_its_end_is_told_so() {
    let (streamed, ending) = Streamed::new(response(&[], Body::stream(Never)), None);
    drop(streamed);
    assert!(matches!(ending.await, Ok(Ending::Cut)));
}

#[test]
fn of_an_answer_replaced_by_a_refusal_only_the_gateways_fields_stay() {
    let mut from = HeaderMap::new();
    for name in
        ["x-request-id", "access-control-allow-origin", "ratelimit", "vary", "content-type", "set-cookie", "etag"]
    {
        from.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
    }
    let mut to = HeaderMap::new();
    keep_gateway_fields(&from, &mut to);
    let mut names: Vec<&str> = to.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["access-control-allow-origin", "ratelimit", "vary", "x-request-id"]);
}
