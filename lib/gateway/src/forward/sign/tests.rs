//! What upstreams are told of the gateway, and whose tokens those are.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::*;
use crate::call::Endpoint;
use crate::clock::{Clock, Timestamp};
use crate::exchange::{Body, Response};
use crate::forward::{BoxFuture, Outbound, Target, Upstream, UpstreamFault};
use crate::table::MemoryTable;
use crate::testkit::world_of;

#[derive(Debug)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A token endpoint: its answer, and what it was asked.
#[derive(Debug)]
struct Issuer {
    answer: Mutex<(StatusCode, String)>,
    asked: Mutex<Vec<(HeaderMap, String)>>,
}

impl Upstream for Issuer {
    fn send<'a>(&'a self, _: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        Box::pin(async move {
            let body = outbound.body.collect(1 << 20).await.unwrap();
            let number = {
                let mut asked = self.asked.lock().unwrap();
                asked.push((outbound.headers, String::from_utf8(body.to_vec()).unwrap()));
                asked.len()
            };
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (status, answer) = self.answer.lock().unwrap().clone();
            let body = Body::Full(Bytes::from(answer.replace("TOKEN", &format!("token-{number}"))));
            Ok(Response { body, ..Response::empty(status) })
        })
    }
}

struct Scene {
    issuer: Arc<Issuer>,
    clock: Arc<Hand>,
    world: World,
    sign: Sign,
}

const HOUR: &str = r#"{"access_token": "TOKEN", "token_type": "bearer", "expires_in": 3600}"#;

impl Scene {
    fn new(auth: ClientAuth) -> Self {
        let issuer = Issuer { answer: Mutex::new((StatusCode::OK, HOUR.to_owned())), asked: Mutex::default() };
        let (issuer, clock) = (Arc::new(issuer), Arc::new(Hand(AtomicU64::new(1_800_000_000))));
        let world = world_of(Arc::new(MemoryTable::default()), Arc::clone(&issuer) as _, Arc::clone(&clock) as _);
        let endpoint = Endpoint::parse("https://login.example.com/token", None).unwrap();
        let secret = Arc::new(Secret::new("env:CLIENT", Some("hush +%\n".into())));
        let scopes = vec!["orders:read".to_owned(), "orders:write".to_owned()];
        let credentials = ClientCredentials::new(
            endpoint,
            "gw one".to_owned(),
            secret,
            auth,
            scopes,
            Some("https://orders".to_owned()),
        );
        Self { issuer, clock, world, sign: Sign::Token(Arc::new(credentials)) }
    }

    fn answers(&self, status: StatusCode, answer: &str) {
        *self.issuer.answer.lock().unwrap() = (status, answer.to_owned());
    }

    fn pass(&self, secs: u64) {
        self.clock.0.fetch_add(secs, Ordering::Relaxed);
    }

    fn calls(&self) -> usize {
        self.issuer.asked.lock().unwrap().len()
    }

    /// The token that a request gets; its jobs run after it.
    async fn token(&self) -> Result<String, String> {
        let mut after = After::default();
        let signed = self.sign.signed(&self.world, &mut after).await;
        after.run(None).await;
        let mut headers = HeaderMap::new();
        signed?.put_on(&mut headers);
        assert!(headers[AUTHORIZATION].is_sensitive());
        Ok(headers[AUTHORIZATION].to_str().unwrap().to_owned())
    }
}

#[tokio::test(start_paused = true)]
async fn fifty_requests_at_once_ask_for_one_token_and_later_ones_for_none() {
    let scene = Arc::new(Scene::new(ClientAuth::Basic));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let scene = Arc::clone(&scene);
        asking.spawn(async move { scene.token().await });
    }
    for token in asking.join_all().await {
        assert_eq!(token.unwrap(), "Bearer token-1");
    }
    scene.pass(2_600);
    assert_eq!(scene.token().await.unwrap(), "Bearer token-1");
    assert_eq!(scene.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_client_says_who_it_is_as_rfc_6749_has_it_and_a_files_line_break_is_no_part_of_its_secret() {
    let scene = Scene::new(ClientAuth::Basic);
    scene.token().await.unwrap();
    let (headers, body) = scene.issuer.asked.lock().unwrap()[0].clone();
    assert_eq!(
        body,
        "grant_type=client_credentials&scope=orders%3Aread%20orders%3Awrite&audience=https%3A%2F%2Forders"
    );
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    let decoded = STANDARD.decode(headers[AUTHORIZATION].to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(decoded, b"gw%20one:hush%20%2B%25");
    let scene = Scene::new(ClientAuth::Post);
    scene.token().await.unwrap();
    let (headers, body) = scene.issuer.asked.lock().unwrap()[0].clone();
    assert!(body.ends_with("&client_id=gw%20one&client_secret=hush%20%2B%25"), "{body}");
    assert!(!headers.contains_key(AUTHORIZATION));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_behind_a_response_before_it_ends_and_one_that_ended_is_not_used() {
    let scene = Scene::new(ClientAuth::Basic);
    assert_eq!(scene.token().await.unwrap(), "Bearer token-1");
    scene.pass(2_700);
    assert_eq!(scene.token().await.unwrap(), "Bearer token-1");
    assert_eq!(scene.calls(), 2);
    assert_eq!(scene.token().await.unwrap(), "Bearer token-2");
    // While the server is down the token that there is serves to its end.
    scene.answers(StatusCode::SERVICE_UNAVAILABLE, "");
    scene.pass(3_500);
    assert_eq!(scene.token().await.unwrap(), "Bearer token-2");
    scene.pass(100);
    let why = scene.token().await.unwrap_err();
    assert!(why.contains("answered 503"), "{why}");
    let calls = scene.calls();
    scene.token().await.unwrap_err();
    assert_eq!(scene.calls(), calls, "a failure is shared for a second");
    scene.answers(StatusCode::OK, HOUR);
    scene.pass(1);
    assert!(scene.token().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_upstream_refuses_is_dropped_once_and_a_young_one_is_not() {
    let scene = Scene::new(ClientAuth::Basic);
    let mut after = After::default();
    let signed = scene.sign.signed(&scene.world, &mut after).await.unwrap();
    assert!(!scene.sign.refused(&signed, &scene.world), "it is young: another would be refused too");
    scene.pass(30);
    assert!(scene.sign.refused(&signed, &scene.world));
    assert_eq!(scene.token().await.unwrap(), "Bearer token-2");
    assert!(scene.sign.refused(&signed, &scene.world), "there is another one by now");
    assert_eq!(scene.token().await.unwrap(), "Bearer token-2");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_token_is_refused_in_words_that_hold_nothing_of_it() {
    for (status, answer, word) in [
        (200, "", "no access_token"),
        (200, r#"{"access_token": "a", "token_type": "mac"}"#, "none of type Bearer"),
        (200, r#"{"access_token": "a\nhush", "token_type": "Bearer"}"#, "cannot stand in a header"),
        (200, r#"{"access_token": "a", "token_type": "Bearer", "expires_in": -1}"#, "no number of seconds"),
        (400, r#"{"error": "invalid_scope", "error_description": "hush"}"#, "answered 400 invalid_scope"),
        (401, r#"{"error": "hush hush"}"#, "answered 401"),
        (302, "", "answered 302"),
    ] {
        let scene = Scene::new(ClientAuth::Basic);
        scene.answers(StatusCode::from_u16(status).unwrap(), answer);
        let why = scene.token().await.unwrap_err();
        assert!(why.contains(word) && !why.contains("hush"), "{why}");
    }
}

#[test]
fn fields_of_secrets_replace_the_clients_own_however_they_are_written_and_change_with_the_secret() {
    let secret = Arc::new(Secret::new("env:KEY", Some("one\n".into())));
    let field = Field::whole(HeaderName::from_static("x-api-key"), Arc::clone(&secret));
    let signed = |field: &Field| Signed { fields: vec![(field.name.clone(), (*field.value.get().unwrap()).clone())] };
    let mut headers = HeaderMap::new();
    for name in ["x-api-key", "x_api_key", "x-api_key", "x-other"] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("theirs"));
    }
    headers.append("x-api-key", HeaderValue::from_static("theirs too"));
    signed(&field).put_on(&mut headers);
    assert_eq!(headers.len(), 2);
    assert_eq!(headers["x-api-key"], "one");
    secret.set("two".into());
    signed(&field).put_on(&mut headers);
    assert_eq!(headers["x-api-key"], "two");
    assert_eq!(format!("{field:?}"), "Field(x-api-key env:KEY)");
    assert!(!format!("{headers:?}").contains("two"));
    secret.set("a\nb".into());
    assert_eq!(field.value.get().unwrap_err(), "env:KEY: it cannot stand in a header");
}

#[test]
fn bearer_and_basic_are_as_their_rfcs_write_them() {
    let secret = |text: &'static str| Arc::new(Secret::new("env:S", Some(text.into())));
    assert_eq!(*Field::bearer(secret("mF_9.B5f-4.1JqM")).value.get().unwrap(), "Bearer mF_9.B5f-4.1JqM");
    // RFC 7617 §2.
    let basic = Field::basic("Aladdin".to_owned(), secret("open sesame"));
    assert_eq!(*basic.value.get().unwrap(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    assert!(Field::bearer(secret("two words")).value.get().is_err());
}

#[test]
fn what_aws_would_obey_in_the_gateways_name_is_not_the_clients_to_say() {
    let mut headers = HeaderMap::new();
    for name in ["x-amz-invocation-type", "x_amz_acl", "x-amz-security-token", "x-amzn-trace-id", "x-b"] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
    }
    let mut untouched = headers.clone();
    Sign::SigV4(SigV4 { service: "lambda".into(), region: None }).clean(&mut headers);
    assert!(
        headers.len() == 2 && headers.contains_key("x-amzn-trace-id") && headers.contains_key("x-b"),
        "{headers:?}"
    );
    Sign::Nothing.clean(&mut untouched);
    assert_eq!(untouched.len(), 5);
}
