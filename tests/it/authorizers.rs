//! External authorizers as a user has them: `tollgate dev` in front, an authorizer over real HTTP on loopback beside it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::cli::{Config, Dev, run};
use crate::wire::soon;

/// One request that the authorizer got.
#[derive(Debug, Clone)]
struct Asked {
    line: String,
    fields: BTreeMap<String, String>,
    body: String,
}

/// An authorizer: the credential says how it goes.
#[derive(Debug, Default)]
struct Authorizer {
    asked: Mutex<Vec<Asked>>,
    arrived: Notify,
    /// Lets one go that asked with `held`.
    release: Notify,
}

impl Authorizer {
    async fn start() -> (Arc<Self>, u16) {
        let authorizer = Arc::new(Self::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = Arc::clone(&authorizer);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let authorizer = Arc::clone(&served);
                let service = service_fn(move |request| Arc::clone(&authorizer).answer(request));
                tokio::spawn(Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (authorizer, port)
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
        let fields: BTreeMap<_, _> =
            head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).unwrap();
        let event: Value = serde_json::from_str(&body).unwrap_or_default();
        let said = fields.get("authorization").filter(|_| event.is_null()).map(String::as_str);
        let said = said.or(event["headers"]["authorization"].as_str()).unwrap_or_default().to_owned();
        self.asked.lock().unwrap().push(Asked { line: format!("{} {}", head.method, head.uri), fields, body });
        self.arrived.notify_one();
        let answer = Response::builder();
        Ok(match said.as_str() {
            "Bearer no" => answer.status(403).body(Full::from("you are on the list")).unwrap(),
            "Bearer slow" => std::future::pending().await,
            "Bearer lambda" => {
                let id = event["requestContext"]["http"]["sourceIp"].as_str().unwrap();
                let allowed = json!({"isAuthorized": true, "context": {"id": id, "tenant": "acme"}});
                answer.body(Full::from(allowed.to_string())).unwrap()
            }
            said => {
                if said == "Bearer held" {
                    self.release.notified().await;
                }
                answer.header("x-tollgate-id", said.replace("Bearer ", "")).body(Full::default()).unwrap()
            }
        })
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn last(&self) -> Asked {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

/// `/a` and `/b` are two routes with the same authorizer, kept for the credential; `/each` asks it each time, and waits
/// for a moment only; `/lambda` asks a function at the same place.
async fn bench() -> (Dev, Arc<Authorizer>) {
    let (authorizer, port) = Authorizer::start().await;
    let config = Config::of(&format!(
        r#"version: 1
auth:
  kept: {{external: {{url: "http://127.0.0.1:{port}/check", timeout: 10s, cache: 1h, identity: [authorization]}}}}
  each: {{external: {{url: "http://127.0.0.1:{port}/each", timeout: 300ms}}}}
  lambda:
    external:
      timeout: 10s
      lambda: {{function: "arn:aws:lambda:eu-west-1:123456789012:function:authz", endpoint: "http://127.0.0.1:{port}"}}
routes:
  - {{name: a, auth: kept, match: {{path: "/a/{{id}}"}}, to: {{respond: {{body: "a ${{caller.id}} ${{caller.via}}"}}}}}}
  - {{name: b, auth: kept, match: {{path: "/b"}}, to: {{respond: {{body: "b ${{caller.id}}"}}}}}}
  - {{name: each, auth: each, match: {{path: /each}}, to: {{respond: {{body: "each ${{caller.id}}"}}}}}}
  - {{name: lambda, auth: lambda, match: {{path: /lambda}}, to: {{respond: {{body: "${{caller.id}} ${{caller.tenant}}"}}}}}}
"#
    ));
    let account = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_SESSION_TOKEN", "token")];
    (Dev::start_with(&config, &["--quiet"], &account).await, authorizer)
}

#[tokio::test]
async fn an_authorizer_is_asked_once_for_a_credential_and_route_and_told_nothing_but_what_is_named() {
    let (dev, authorizer) = bench().await;
    let ann = "cookie: secret=1\r\nauthorization: Bearer ann";
    for (target, answer, asked) in
        [("/a/1", "a ann external", 1), ("/a/2?x=y", "a ann external", 1), ("/b", "b ann", 2), ("/b", "b ann", 2)]
    {
        assert_eq!(dev.get_with(target, ann).await, (200, answer.to_owned()), "{target}");
        assert_eq!(authorizer.count(), asked, "{target}");
    }
    let Asked { line, fields, body } = authorizer.last();
    assert_eq!((line.as_str(), body.as_str()), ("GET /check", ""));
    assert_eq!((fields["x-forwarded-uri"].as_str(), fields["x-tollgate-route"].as_str()), ("/b", "b"));
    assert_eq!((fields["x-forwarded-host"].as_str(), fields["authorization"].as_str()), ("a.example", "Bearer ann"));
    assert!(!fields.contains_key("cookie"), "{fields:?}");
}

#[tokio::test]
async fn who_is_denied_learns_no_more_and_who_shows_nothing_is_not_asked_about() {
    let (dev, authorizer) = bench().await;
    let (status, body) = dev.get_with("/each", "authorization: Bearer no").await;
    assert!(status == 403 && body.contains("caller_forbidden") && !body.contains("list"), "{body}");
    let (status, body) = dev.get("/each").await;
    assert!(status == 401 && body.contains("credentials_missing"), "{body}");
    assert_eq!(authorizer.count(), 1);
}

#[tokio::test]
async fn an_authorizer_that_does_not_answer_in_time_lets_nobody_in() {
    let (dev, authorizer) = bench().await;
    let (status, body) = dev.get_with("/each", "authorization: Bearer slow").await;
    assert!(status == 503 && body.contains("credentials_unchecked"), "{body}");
    assert_eq!(dev.get_with("/each", "authorization: Bearer ann").await, (200, "each ann".to_owned()));
    assert_eq!(authorizer.count(), 2);
}

#[tokio::test]
async fn those_who_ask_together_are_one_call() {
    let (dev, authorizer) = bench().await;
    let ask = || dev.get_with("/b", "authorization: Bearer held");
    let release = async {
        soon(authorizer.arrived.notified()).await;
        authorizer.release.notify_one();
    };
    let (a, b, c, ()) = tokio::join!(ask(), ask(), ask(), release);
    assert_eq!([a, b, c], [(); 3].map(|()| (200, "b held".to_owned())));
    assert_eq!(authorizer.count(), 1);
}

#[tokio::test]
async fn a_function_is_invoked_with_the_event_of_its_format_and_the_environments_signature() {
    let (dev, authorizer) = bench().await;
    assert_eq!(dev.get_with("/lambda?a=b", "authorization: Bearer lambda").await, (200, "127.0.0.1 acme".to_owned()));
    let Asked { line, fields, body } = authorizer.last();
    let arn = "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Aauthz";
    assert_eq!(line, format!("POST /2015-03-31/functions/{arn}/invocations"));
    let signature = &fields["authorization"];
    assert!(signature.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{signature}");
    assert!(
        signature.contains("/eu-west-1/lambda/aws4_request, SignedHeaders=content-type;host;x-amz-"),
        "{signature}"
    );
    assert_eq!(fields["x-amz-security-token"], "token");
    let event: Value = serde_json::from_str(&body).unwrap();
    let route = "arn:aws:execute-api:eu-west-1:123456789012:tollgate/$default/GET/lambda";
    assert_eq!((&event["version"], &event["routeArn"]), (&json!("2.0"), &json!(route)));
    assert_eq!(event["identitySource"], json!(["Bearer lambda"]));
}

#[tokio::test]
async fn a_name_and_its_password_let_in_and_a_browser_is_asked_for_them() {
    let config = Config::of(
        "version: 1\nauth: {staff: {basic: {users: \"file:staff.htpasswd\", groups: {admins: [ann]}}}}\nroutes:\n  \
         - {name: a, auth: staff, match: {path: /}, to: {respond: {body: \"${caller.id} of ${caller.groups[0]}\"}}}\n",
    );
    config.add("staff.htpasswd", "ann:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2\n");
    let dev = Dev::start(&config, &["--quiet"]).await;
    let asked = dev.whole("/", "x-nothing: 1").await.to_lowercase();
    assert!(asked.contains("www-authenticate: basic realm=\"staff\", charset=\"utf-8\"\r\n"), "{asked}");
    for _ in 0..2 {
        let right = dev.get_with("/", "authorization: Basic YW5uOmNvcnJlY3QgaG9yc2U=").await;
        assert_eq!(right, (200, "ann of admins".to_owned()));
    }
    let wrong = dev.get_with("/", "authorization: Basic YW5uOndyb25n").await;
    assert!(wrong.0 == 401 && wrong.1.contains("credentials_invalid"), "{wrong:?}");
}

#[tokio::test]
async fn the_words_for_a_refusal_name_the_entry_that_refused() {
    let config = Config::of(
        r#"version: 1
auth:
  staff: {basic: {users: "file:users"}}
  signed: {hmac: {clients: {ann: {secret: "file:secret"}}}}
  policy: {external: {url: "http://127.0.0.1:9", forward_headers: [x-ticket]}}
routes: [{name: r, auth: [staff, signed, policy], match: {path: /}, to: {respond: {}}}]
"#,
    );
    config.add("users", "ann:$2y$10$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2");
    config.add("secret", "a secret that is long enough");
    let path = config.path();
    for (field, why) in [
        (
            "authorization: Basic ?",
            "credentials_invalid: the credentials are no good: staff: what follows `Basic` is no base64",
        ),
        ("authorization: Hmac ?", "credentials_invalid: the credentials are no good: signed: "),
        ("x-ticket: 1", "credentials_unchecked: the credentials cannot be checked: policy: "),
    ] {
        let (_, out, _) = run(&["explain", "--config", path.to_str().unwrap(), "GET", "/", "-H", field]).await;
        assert!(out.contains(why), "{why} in {out}");
    }
}
