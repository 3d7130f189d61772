//! The answer in the form that each door takes.

use super::*;

async fn through(front: Front, response: Response) -> Result<String, Refusal> {
    buffered(response, &Source { front, ..Source::default() }).await
}

fn with_repeated_fields() -> Response {
    response(
        &[
            ("content-type", b"text/plain"),
            ("vary", b"accept"),
            ("vary", b"origin"),
            ("set-cookie", b"a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT"),
            ("set-cookie", b"b=2"),
            ("set-cookie", b"c=3"),
        ],
        Body::Full("hi".into()),
    )
}

#[tokio::test]
async fn payload_format_2_joins_fields_and_has_cookies_apart() {
    for front in [Front::FunctionUrl, Front::HttpApi] {
        assert_eq!(
            through(front, with_repeated_fields()).await.unwrap(),
            r#"{"statusCode":200,"headers":{"content-type":"text/plain","vary":"accept, origin"},"cookies":["a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT","b=2","c=3"],"body":"hi","isBase64Encoded":false}"#
        );
    }
}

#[tokio::test]
async fn payload_format_1_lists_every_value() {
    for front in [Front::HttpApiV1, Front::RestApi] {
        assert_eq!(
            through(front, with_repeated_fields()).await.unwrap(),
            r#"{"statusCode":200,"multiValueHeaders":{"content-type":["text/plain"],"vary":["accept","origin"],"set-cookie":["a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT","b=2","c=3"]},"body":"hi","isBase64Encoded":false}"#
        );
    }
}

#[tokio::test]
async fn a_load_balancer_gets_the_status_in_words_and_lists_where_it_sent_lists() {
    assert_eq!(
        through(Front::LoadBalancer { lists: true }, with_repeated_fields()).await.unwrap(),
        r#"{"statusCode":200,"statusDescription":"200 OK","multiValueHeaders":{"content-type":["text/plain"],"vary":["accept","origin"],"set-cookie":["a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT","b=2","c=3"]},"body":"hi","isBase64Encoded":false}"#
    );
}

#[tokio::test]
async fn a_load_balancer_without_lists_gets_each_cookie_under_a_spelling_of_its_own() {
    assert_eq!(
        through(Front::LoadBalancer { lists: false }, with_repeated_fields()).await.unwrap(),
        r#"{"statusCode":200,"statusDescription":"200 OK","headers":{"content-type":"text/plain","vary":"accept, origin","set-cookie":"a=1; Expires=Wed, 09 Jun 2027 10:18:14 GMT","Set-cookie":"b=2","sEt-cookie":"c=3"},"body":"hi","isBase64Encoded":false}"#
    );
    let cookies: Vec<(&'static str, &[u8])> = vec![("set-cookie", b"a=1"); 512];
    let told = through(Front::LoadBalancer { lists: false }, response(&cookies, Body::Empty)).await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["headers"].as_object().unwrap().len(), 512);
}

#[tokio::test]
async fn a_status_without_a_name_still_has_words() {
    let mut odd = response(&[], Body::Empty);
    odd.status = StatusCode::from_u16(299).unwrap();
    let told = through(Front::LoadBalancer { lists: false }, odd).await.unwrap();
    assert_eq!(
        told,
        r#"{"statusCode":299,"statusDescription":"299 Unnamed","headers":{},"body":"","isBase64Encoded":false}"#
    );
}

#[tokio::test]
async fn bytes_go_as_base64_through_every_door() {
    for front in [
        Front::FunctionUrl,
        Front::HttpApi,
        Front::HttpApiV1,
        Front::RestApi,
        Front::LoadBalancer { lists: true },
        Front::LoadBalancer { lists: false },
    ] {
        let told = through(front, response(&[], Body::Full(Bytes::from_static(b"\xff\x00")))).await.unwrap();
        assert_eq!(bytes_of(&serde_json::from_str(&told).unwrap()), b"\xff\x00", "{front:?}");
    }
}

#[tokio::test]
async fn a_load_balancer_takes_a_megabyte_and_not_a_byte_more() {
    let front = Front::LoadBalancer { lists: false };
    let text = |len: usize| response(&[("content-type", b"text/plain")], Body::Full("a".repeat(len).into()));
    let frame = through(front, text(0)).await.unwrap().len();
    assert_eq!(through(front, text(1_000_000 - frame)).await.unwrap().len(), 1_000_000);
    for too_long in [text(1_000_000 - frame + 1), response(&[], Body::Full(vec![0; 750_001].into()))] {
        let refusal = through(front, too_long).await.unwrap_err();
        assert!(matches!(refusal, Refusal::AnswerTooLarge { limit: 1_000_000 }), "{refusal}");
    }
}
