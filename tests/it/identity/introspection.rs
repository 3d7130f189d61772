//! Tokens that an authorization server is asked about.

use std::sync::{Mutex, MutexGuard};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::site::{Answer, Site};
use super::*;

/// An introspection endpoint, and what it says.
pub(super) struct Server {
    pub(super) site: Site,
    says: Arc<Mutex<Answer>>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let says = Arc::new(Mutex::new(active(&json!({}))));
        let saying = Arc::clone(&says);
        let site = Site::http(move |_| lock(&saying).clone()).await;
        Self { site, says }
    }

    pub(super) fn says(&self, answer: Answer) {
        *lock(&self.says) = answer;
    }

    /// A shop that asks it, with these settings more.
    pub(super) fn config(&self, more: &str) -> Config {
        Config::of(&self.text("basic", more))
    }

    fn text(&self, method: &str, more: &str) -> String {
        let url = &self.site.url;
        format!(
            r#"version: 1
auth:
  opaque:
    introspection:
      {{url: "{url}/introspect", client: {{id: "the gateway", secret: "env:IDP_SECRET", method: {method}}},
       audiences: [orders], {more}}}
routes:
  - name: who
    auth: opaque
    match: {{path: /}}
    to: {{respond: {{body: "${{caller.id}} ${{caller.tenant}} ${{caller.via}} ${{request.headers['authorization']}}"}}}}
"#
        )
    }

    async fn shop(&self, more: &str) -> Shop {
        Shop::open(self.config(more)).await
    }
}

fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap()
}

/// That a token is active, with these members more.
pub(super) fn active(more: &Value) -> Answer {
    let mut answer = json!({"active": true, "sub": "ada", "aud": "orders", "org": "acme"});
    answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Answer::Says(200, answer.to_string())
}

pub(super) fn inactive() -> Answer {
    Answer::Says(200, json!({"active": false}).to_string())
}

#[tokio::test]
async fn a_token_is_asked_about_once_and_then_known() {
    let server = Server::start().await;
    let shop = server.shop("caller: {id: claims.sub, tenant: claims.org}").await;
    for _ in 0..5 {
        assert_eq!(shop.ask("a+b/c==").await, (200, "ada acme introspection ".to_owned()));
    }
    let asked = server.site.asked();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/introspect"));
    assert_eq!(asked.body, "token=a%2Bb%2Fc%3D%3D&token_type_hint=access_token");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    let basic = format!("Basic {}", STANDARD.encode("the+gateway:s3%3Acr%2Bt"));
    assert_eq!(asked.headers["authorization"], basic);
}

#[tokio::test]
async fn a_server_that_wants_the_client_in_the_content_gets_it_there() {
    let server = Server::start().await;
    let shop = Shop::open(Config::of(&server.text("post", ""))).await;
    assert_eq!(shop.status("token").await, 200);
    let asked = server.site.asked();
    let wanted = "token=token&token_type_hint=access_token&client_id=the+gateway&client_secret=s3%3Acr%2Bt";
    assert_eq!(asked[0].body, wanted);
    assert!(!asked[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_upstream_is_told_what_the_server_says_and_neither_the_token_nor_what_a_client_claims() {
    let server = Server::start().await;
    let upstream = Site::http(|asked| {
        let told = |name| asked.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        let told = ["x-user-id", "x_user_id", "authorization"].map(told);
        Answer::Says(200, format!("{told:?}"))
    })
    .await;
    let text = server.text("basic", "forward: {sub: x-user-id}").replace("routes:", &format!(
        "upstreams: {{orders: {{targets: \"{}\"}}}}\nroutes:\n  - {{name: on, auth: opaque, match: {{path: /on}}, to: orders}}",
        upstream.url
    ));
    let shop = Shop::open(Config::of(&text)).await;
    let mut raw = Raw::connect(shop.port).await;
    raw.send(
        "GET /on HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer token\r\nx-user-id: eve\r\nX_User_Id: eve\r\n\r\n",
    )
    .await;
    raw.head().await;
    assert_eq!(raw.until("]]").await, r#"[["ada"], [], []]"#);
}

#[tokio::test]
async fn explain_asks_too_and_shows_no_secret() {
    let server = Server::start().await;
    let config = Config::of(&server.text("basic", "").replace("env:IDP_SECRET", "file:secret.txt"));
    config.add("secret.txt", "hush");
    let path = config.path();
    let field = "authorization: Bearer token";
    let args = ["explain", "--config", path.to_str().unwrap(), "GET", "http://shop/", "-H", field];
    let (code, told, complaint) = crate::cli::run(&args).await;
    assert_eq!(code, Some(0), "{complaint}");
    assert!(told.contains("ada") && told.contains("status    200"), "{told}");
    assert!(!told.contains("authorization: Basic") && !told.contains("hush"), "{told}");
    assert_eq!(server.site.asked().len(), 1);
}

#[tokio::test]
async fn fifty_requests_at_once_with_one_token_ask_once() {
    let server = Server::start().await;
    let shop = server.shop("").await;
    let gateway = shop.gateway.load();
    let mut requests: Vec<_> = (0..50).map(|_| Box::pin(gateway.handle(request("token")))).collect();
    let mut admitted = 0;
    // Each is polled before any answer can have come: all fifty are under way together.
    soon(std::future::poll_fn(|context| {
        requests.retain_mut(|request| match request.as_mut().poll(context) {
            std::task::Poll::Ready(served) => {
                assert_eq!(served.response.status, 200);
                admitted += 1;
                false
            }
            std::task::Poll::Pending => true,
        });
        if requests.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }))
    .await;
    assert_eq!((admitted, server.site.asked().len()), (50, 1));
}

#[tokio::test]
async fn a_revoked_token_is_let_in_for_the_caches_time_at_most() {
    let server = Server::start().await;
    let shop = server.shop("cache: 60s").await;
    assert_eq!(shop.status("token").await, 200);
    server.says(inactive());
    shop.pass(59);
    assert_eq!((shop.status("token").await, shop.status("another").await), (200, 401));
    shop.pass(1);
    assert_eq!(shop.status("token").await, 401);
    assert_eq!(server.site.asked().len(), 3);
}

#[tokio::test]
async fn a_token_is_not_known_beyond_its_end() {
    let server = Server::start().await;
    let shop = server.shop("cache: 60s").await;
    server.says(active(&json!({"exp": 1_800_000_010})));
    assert_eq!(shop.status("token").await, 200);
    shop.pass(9);
    assert_eq!((shop.status("token").await, server.site.asked().len()), (200, 1));
    shop.pass(1);
    assert_eq!((shop.status("token").await, server.site.asked().len()), (401, 1));
}

#[tokio::test]
async fn a_token_that_is_none_is_refused_unasked_for_ten_seconds() {
    let server = Server::start().await;
    let shop = server.shop("").await;
    server.says(inactive());
    for _ in 0..10 {
        assert_eq!(shop.status("token").await, 401);
        shop.pass(1);
    }
    assert_eq!(server.site.asked().len(), 1);
    server.says(active(&json!({})));
    assert_eq!(shop.status("token").await, 200);
}

#[tokio::test]
async fn what_does_not_say_that_a_token_is_good_lets_nobody_in_and_is_not_kept() {
    let server = Server::start().await;
    let shop = server.shop("timeout: 200ms").await;
    let twice = r#"{"active": false, "active": true, "sub": "ada", "aud": "orders"}"#;
    let large = json!({"active": true, "sub": "ada", "aud": "orders", "more": "x".repeat(70_000)}).to_string();
    for (answer, why) in [
        (Answer::Breaks, "the connection"),
        (Answer::Hangs, "no answer within 200ms"),
        (Answer::Says(500, String::new()), "500"),
        (Answer::Says(401, String::new()), "`client` is not one that may ask"),
        (Answer::Says(302, json!({"active": true, "sub": "ada", "aud": "orders"}).to_string()), "302"),
        (Answer::Says(200, "<html>".to_owned()), "its answer"),
        (Answer::Says(200, twice.to_owned()), "twice"),
        (Answer::Says(200, large), "larger than"),
    ] {
        server.says(answer.clone());
        server.site.asked();
        let (status, told) = shop.handle("token").await;
        assert_eq!(status, 503, "{answer:?}");
        assert!(why == "the connection" || told.contains(why), "{answer:?}: {told}");
        assert!(!told.contains("token\"") && !told.contains("s3"), "{told}");
        assert!(!server.site.asked().is_empty());
    }
    let address = format!("http://127.0.0.1:{}", crate::wire::Listening::nobody().await);
    let nobody = Config::of(&server.text("basic", "").replace(&server.site.url, &address));
    assert_eq!(Shop::open(nobody).await.status("token").await, 503);
    server.says(active(&json!({})));
    assert_eq!(shop.status("token").await, 200);
}

#[tokio::test]
async fn an_active_token_for_others_is_refused() {
    let server = Server::start().await;
    let shop = server.shop("issuer: \"https://login.example.com\", cache: 0s").await;
    let ours = json!({"iss": "https://login.example.com"});
    for (more, status) in [
        (json!({}), 401),
        (json!({"iss": "https://evil.example.com"}), 401),
        (json!({"iss": "https://login.example.com", "aud": "payments"}), 401),
        (json!({"iss": "https://login.example.com", "token_type": "DPoP"}), 401),
        (json!({"iss": "https://login.example.com", "nbf": 1_800_000_060}), 401),
        (ours, 200),
    ] {
        server.says(active(&more));
        assert_eq!(shop.status("token").await, status, "{more}");
    }
}

#[tokio::test]
async fn what_can_be_no_token_is_refused_and_nobody_is_asked() {
    let server = Server::start().await;
    let shop = server.shop("").await;
    for token in ["", "a b", "a,b", "{token}", "a&active=true", "a%00", &"a".repeat(8_193)] {
        assert_eq!(shop.status(token).await, 401, "{token}");
    }
    assert!(server.site.asked().is_empty());
}
