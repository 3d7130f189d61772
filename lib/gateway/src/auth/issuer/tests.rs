//! Keys over a web of one issuer, whose clock and whose faults are in the test's hands.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicUsize;

use http::Uri;
use http::header::CACHE_CONTROL;

use super::*;
use crate::exchange::{Body, Response};
use crate::forward::{BoxFuture, FaultKind, Outbound, Target, UpstreamFault};
use crate::secret::NoVault;
use crate::table::MemoryTable;

const ISSUER: &str = "https://login.example.com/shop";
const KEYS: &str = "https://login.example.com/shop/keys";
const METADATA: &str = "https://login.example.com/shop/.well-known/openid-configuration";
const OLDER: &str = "https://login.example.com/.well-known/oauth-authorization-server/shop";

/// What the issuer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Answer,
    Hang,
    Break,
}

type Page = (u16, String);

struct Web {
    pages: Mutex<Vec<(String, Page)>>,
    does: Mutex<Does>,
    asked: AtomicUsize,
    now: AtomicU64,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web")
    }
}

impl Upstream for Web {
    fn send<'a>(&'a self, _: &'a Target, sent: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let does = *self.does.lock().unwrap();
            match does {
                Does::Answer => Ok(self.page(&sent.uri)),
                Does::Hang => std::future::pending().await,
                Does::Break => {
                    let detail = "the connection broke".to_owned();
                    Err(UpstreamFault { kind: FaultKind::Reset, stale_connection: false, detail })
                }
            }
        })
    }
}

impl Clock for Web {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.now.load(Ordering::Relaxed))
    }
}

impl Web {
    fn page(&self, uri: &Uri) -> Response {
        let pages = self.pages.lock().unwrap();
        let page = pages.iter().find(|(address, _)| *uri == *address.as_str());
        let (status, body) = page.map_or((404, String::new()), |(_, page)| page.clone());
        let mut response = Response::empty(StatusCode::from_u16(status).unwrap());
        response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=600"));
        response.body = Body::Full(body.into());
        response
    }
}

struct Scene {
    web: Arc<Web>,
    world: World,
    keys: Published,
}

impl Scene {
    fn new(keys: Published) -> Self {
        let web = Arc::new(Web {
            pages: Mutex::default(),
            does: Mutex::new(Does::Answer),
            asked: AtomicUsize::new(0),
            now: AtomicU64::new(1_800_000_000),
        });
        let (upstream, clock) = (Arc::clone(&web) as Arc<dyn Upstream>, Arc::clone(&web) as Arc<dyn Clock>);
        let table = Arc::new(MemoryTable::default());
        let world = World { table, upstream, clock, environments: Some(NonZeroU32::MIN), vault: Arc::new(NoVault) };
        Self { web, world, keys }
    }

    /// An issuer that publishes these keys.
    fn with(kids: &[&str]) -> Self {
        let scene = Self::new(Published::at(KEYS, None).unwrap());
        scene.serves(KEYS, 200, &set(kids));
        scene
    }

    fn serves(&self, address: &str, status: u16, body: &str) {
        let mut pages = self.web.pages.lock().unwrap();
        pages.retain(|(other, _)| other != address);
        pages.push((address.to_owned(), (status, body.to_owned())));
    }

    fn does(&self, does: Does) {
        *self.web.does.lock().unwrap() = does;
    }

    fn pass(&self, seconds: u64) {
        self.web.now.fetch_add(seconds, Ordering::Relaxed);
    }

    /// How often it was asked since that was last told.
    fn asked(&self) -> usize {
        self.web.asked.swap(0, Ordering::Relaxed)
    }

    /// The keys that a request gets, before anything is done after it.
    async fn get(&self, kid: &str, after: &mut After) -> Result<Arc<KeySet>, String> {
        self.keys.get(Some(kid), None, &self.world, after).await
    }

    /// Whether a request with a token of this key finds it among the keys, or why nobody can say.
    async fn finds(&self, kid: &str) -> Result<bool, String> {
        let mut after = After::default();
        let found = self.get(kid, &mut after).await.map(|keys| keys.has(kid));
        after.run(None).await;
        found
    }
}

/// RFC 7517, appendix A.1, under other names.
fn set(kids: &[&str]) -> String {
    let jwk = |kid: &&str| {
        serde_json::json!({
            "kty": "EC", "crv": "P-256", "kid": kid,
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        })
    };
    serde_json::json!({ "keys": kids.iter().map(jwk).collect::<Vec<_>>() }).to_string()
}

fn metadata(issuer: &str, keys: &str) -> String {
    serde_json::json!({ "issuer": issuer, "jwks_uri": keys, "response_types_supported": ["code"] }).to_string()
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_fetch_once_and_later_ones_not_at_all() {
    let scene = Scene::with(&["a"]);
    let (one, other, third) = tokio::join!(scene.finds("a"), scene.finds("a"), scene.finds("a"));
    assert_eq!((one, other, third, scene.asked()), (Ok(true), Ok(true), Ok(true), 1));
    for _ in 0..400 {
        scene.pass(1);
        assert_eq!(scene.finds("a").await, Ok(true));
    }
    assert_eq!(scene.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn keys_are_refreshed_after_a_response_and_never_before_it() {
    let scene = Scene::with(&["a"]);
    scene.finds("a").await.unwrap();
    scene.serves(KEYS, 200, &set(&["b"]));
    scene.pass(550);
    scene.asked();
    let mut after = After::default();
    let keys = scene.get("a", &mut after).await.unwrap();
    assert!(keys.has("a") && !after.is_empty() && scene.asked() == 0);
    // Whoever comes meanwhile has nothing to do after it.
    let mut none = After::default();
    scene.get("a", &mut none).await.unwrap();
    assert!(none.is_empty());
    after.run(None).await;
    assert_eq!(scene.asked(), 1);
    let renewed = scene.get("b", &mut none).await.unwrap();
    assert!(renewed.has("b") && !renewed.has("a") && renewed.generation > keys.generation && scene.asked() == 0);
}

#[tokio::test(start_paused = true)]
async fn the_same_keys_stay_of_one_generation() {
    let scene = Scene::with(&["a"]);
    let first = scene.get("a", &mut After::default()).await.unwrap();
    scene.pass(550);
    scene.finds("a").await.unwrap();
    assert_eq!(scene.asked(), 2);
    assert!(Arc::ptr_eq(&first, &scene.get("a", &mut After::default()).await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_taken_up_by_the_request_that_brings_it_and_made_up_ones_cost_a_fetch_in_30_s() {
    let scene = Scene::with(&["a"]);
    scene.finds("a").await.unwrap();
    scene.serves(KEYS, 200, &set(&["a", "b"]));
    assert_eq!((scene.finds("b").await, scene.asked()), (Ok(true), 2));
    for second in 0..90 {
        assert_eq!(scene.finds(&format!("made-up-{second}")).await, Ok(false));
        assert_eq!(scene.finds("a").await, Ok(true));
        scene.pass(1);
    }
    assert_eq!(scene.asked(), 2, "at 30 and at 60 s");
}

#[tokio::test(start_paused = true)]
async fn without_keys_nobody_can_say_and_the_issuer_is_asked_once_a_second() {
    let scene = Scene::with(&["a"]);
    scene.does(Does::Break);
    for _ in 0..5 {
        let (one, other) = tokio::join!(scene.finds("a"), scene.finds("a"));
        assert!(one.unwrap_err().contains("the connection broke") && other.is_err());
        assert_eq!(scene.asked(), 1);
        scene.pass(1);
    }
    scene.does(Does::Answer);
    assert_eq!(scene.finds("a").await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_hangs_is_waited_for_a_second_and_a_half_by_all_together_and_less_by_who_has_less() {
    let scene = Scene::with(&["a"]);
    scene.does(Does::Hang);
    let began = Instant::now();
    let deadline = Some(began + Duration::from_millis(300));
    let short = scene.keys.get(Some("a"), deadline, &scene.world, &mut After::default()).await;
    assert!(short.unwrap_err().contains("no answer within 300ms"));
    assert_eq!(began.elapsed().as_millis(), 300);
    scene.pass(1);
    let began = Instant::now();
    let (one, other, third) = tokio::join!(scene.finds("a"), scene.finds("a"), scene.finds("a"));
    assert!(one.is_err() && other.is_err() && third.is_err());
    assert!((1_500..1_510).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(scene.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_the_issuer_hangs_no_request_with_a_known_key_waits_or_fails() {
    let scene = Scene::with(&["a"]);
    scene.finds("a").await.unwrap();
    scene.does(Does::Hang);
    scene.asked();
    let waited = Instant::now();
    let mut jobs = 0;
    for _ in 0..2_000 {
        scene.pass(7);
        let mut after = After::default();
        assert!(scene.get("a", &mut after).await.unwrap().has("a"));
        if !after.is_empty() {
            jobs += 1;
            let before = Instant::now();
            after.run(None).await;
            assert_eq!(before.elapsed(), BOUND);
        }
    }
    assert!((200..260).contains(&jobs), "{jobs} in 14,000 s");
    assert_eq!(waited.elapsed(), BOUND * jobs, "all of it was waited for after responses");
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_together_for_keys_that_lay_frozen_go_on_together_with_these_where_none_come() {
    let scene = Scene::with(&["a"]);
    scene.finds("a").await.unwrap();
    scene.does(Does::Hang);
    scene.pass(7_200);
    let began = Instant::now();
    let deadline = Some(began + Duration::from_millis(200));
    let mut after = After::default();
    let hasty = scene.keys.get(Some("a"), deadline, &scene.world, &mut after);
    let found = tokio::join!(scene.finds("a"), scene.finds("a"), scene.finds("a"), hasty);
    assert!(matches!(found, (Ok(true), Ok(true), Ok(true), Ok(_))), "{found:?}");
    assert!((1_500..1_510).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert_eq!(scene.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_away_leaves_the_fetch_to_the_next_in_line() {
    let scene = Scene::with(&["a"]);
    let hasty = tokio::time::timeout(Duration::from_millis(5), scene.finds("a"));
    let (hasty, patient) = tokio::join!(hasty, scene.finds("a"));
    assert!(hasty.is_err());
    assert_eq!((patient, scene.asked()), (Ok(true), 2));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_set_or_has_no_key_of_use_leaves_the_old_keys() {
    let encryption = set(&["a"]).replace(r#""kty":"EC""#, r#""kty":"EC","use":"enc""#);
    assert!(encryption.contains("enc"));
    for (status, answer, why) in [
        (500, set(&["b"]), "500"),
        (302, set(&["b"]), "302"),
        (200, "<html>down for maintenance</html>".to_owned(), "no JWK set"),
        (200, String::new(), "no JWK set"),
        (200, r#"{"keys": []}"#.to_owned(), "no key of the set can be used"),
        (200, encryption, "no key of the set can be used"),
        (200, format!("{{\"keys\": [], \"more\": \"{}\"}}", "x".repeat(LARGEST)), "larger than"),
    ] {
        let fresh = Scene::with(&["a"]);
        fresh.serves(KEYS, status, &answer);
        let told = fresh.finds("a").await.unwrap_err();
        assert!(told.contains(why), "{told}");
        let scene = Scene::with(&["a"]);
        scene.finds("a").await.unwrap();
        scene.serves(KEYS, status, &answer);
        scene.pass(550);
        for _ in 0..3 {
            assert_eq!(scene.finds("a").await, Ok(true));
        }
        assert_eq!(scene.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_metadata_says_where_the_keys_are_wherever_it_is_itself() {
    for (place, asks) in [(METADATA, 2), (OLDER, 3)] {
        let scene = Scene::new(Published::of(ISSUER, None).unwrap());
        scene.serves(place, 200, &metadata(ISSUER, "https://keys.example.net/shop?v=2"));
        scene.serves("https://keys.example.net/shop?v=2", 200, &set(&["a"]));
        assert_eq!((scene.finds("a").await, scene.asked()), (Ok(true), asks));
    }
}

#[tokio::test(start_paused = true)]
async fn metadata_that_is_another_issuers_or_cannot_be_read_names_no_keys() {
    let twice = metadata(ISSUER, KEYS).replace("\"jwks_uri\"", "\"jwks_uri\":\"https://evil.example/\",\"jwks_uri\"");
    for (status, text, why) in [
        (200, metadata("https://login.example.com/shop/", KEYS), "not byte for byte"),
        (200, metadata("https://evil.example", KEYS), "not byte for byte"),
        (200, metadata(ISSUER, "http://login.example.com/keys"), "must be https"),
        (200, metadata(ISSUER, "http://127.0.0.1:9400/keys"), "must be https"),
        (200, metadata(ISSUER, "keys"), "its jwks_uri must be"),
        (200, twice, "twice"),
        (200, "[]".to_owned(), "no object"),
        (500, metadata(ISSUER, KEYS), "500"),
        (301, metadata(ISSUER, KEYS), "301"),
    ] {
        let scene = Scene::new(Published::of(ISSUER, None).unwrap());
        scene.serves(METADATA, status, &text);
        scene.serves(KEYS, 200, &set(&["a"]));
        let told = scene.finds("a").await.unwrap_err();
        assert!(told.contains(why), "{text}: {told}");
        assert_eq!(scene.asked(), 1, "{text}");
    }
}

#[test]
fn keys_come_over_tls_or_from_this_machine() {
    assert!(Published::at("http://login.example.com/keys", None).is_err());
    assert!(Published::of("http://login.example.com/", None).is_err());
    assert!(Published::of("https://login.example.com/?tenant=1", None).is_err());
    assert!(Published::of("http://localhost:9400", None).is_ok());
}
