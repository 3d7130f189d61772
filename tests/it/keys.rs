//! API keys as a user has them: made by one process, let in by another, taken back, on one embedded DynamoDB.

use serde_json::Value;

use crate::cli::{Config, Dev, run};
use crate::dynamo;

const CONFIG: &str = r#"version: 1
auth: {partners: {api_key: {header: x-api-key, pepper: "file:pepper.txt"}}}
routes:
  - name: who
    auth: partners
    match: {path: /}
    to: {respond: {body: "${caller.id} ${caller.tenant} ${caller.plan} ${caller.via}"}}
"#;

const PLANS: &str = r#"version: 1
auth: {partners: {api_key: {header: x-api-key, pepper: "file:pepper.txt"}}}
plans:
  free: {limits: [{rate: 4/day, by: caller.id, on_store_failure: closed}], quota: {limit: 6, per: month}}
  pro: {limits: [{rate: 8/day, by: caller.id, on_store_failure: closed}], quota: {limit: 12, per: month}}
limits: {plan: {plan: true}}
routes:
  - {name: who, auth: partners, limits: [plan], match: {path: /}, to: {respond: {body: "${caller.plan}"}}}
"#;

/// With a secret that is nobody's but an upstream's, where AWS is not.
const SIGNED: &str = r#"version: 1
auth: {partners: {api_key: {header: x-api-key, pepper: "file:pepper.txt"}}}
upstreams: {orders: {targets: "http://127.0.0.1:9", sign: {bearer: {secret: "ssm:/shop/token"}}}}
routes: [{name: orders, auth: partners, match: {path: /}, to: orders}]
"#;

struct Shop {
    config: Config,
    state: String,
}

impl Shop {
    fn new() -> Self {
        Self::of(CONFIG)
    }

    fn of(config: &str) -> Self {
        let config = Config::of(config);
        config.add("pepper.txt", "a pepper that is long enough");
        Self { config, state: format!("dynamodb:{}", dynamo::start()) }
    }

    async fn keys(&self, args: &[&str]) -> (Option<i32>, String, String) {
        self.keys_of("acme", args).await
    }

    async fn keys_of(&self, tenant: &str, args: &[&str]) -> (Option<i32>, String, String) {
        let path = self.config.path();
        let more = ["--config", path.to_str().unwrap(), "--state", &self.state, "--tenant", tenant];
        run(&[&["keys"], args, &more].concat()).await
    }

    /// A new key.
    async fn key(&self, tenant: &str, more: &[&str]) -> String {
        let (code, out, err) = self.keys_of(tenant, &[&["create"], more].concat()).await;
        assert_eq!(code, Some(0), "{err}");
        out.trim().to_owned()
    }

    async fn list(&self) -> Vec<Value> {
        let (code, out, err) = self.keys(&["list", "--format", "json"]).await;
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str(&out).unwrap()
    }

    async fn dev(&self) -> Dev {
        Dev::start(&self.config, &["--quiet", "--state", &self.state]).await
    }
}

/// What a key gets, once the table answers: on a machine that has other things to do it may be late for a request.
async fn ask(dev: &Dev, key: &str) -> (u16, String) {
    let field = format!("x-api-key: {key}");
    for _ in 0..50 {
        match dev.get_with("/", &field).await {
            (503, _) => {}
            answer => return answer,
        }
    }
    panic!("the table never answered");
}

#[tokio::test]
async fn a_key_that_is_made_is_let_in_listed_rotated_and_refused_once_it_is_revoked() {
    let shop = Shop::new();
    let create = ["create", "--auth", "partners", "--plan", "pro", "--scopes", "a,b", "--expires", "90d"];
    let (code, out, err) = shop.keys(&create).await;
    assert_eq!((code, out.trim().lines().count()), (Some(0), 1), "{err}");
    let key = out.trim();
    assert!(key.starts_with("gwk_live_") && !err.contains(key) && err.contains("shown this once"), "{err}");

    let listed = shop.list().await;
    let id = listed[0]["id"].as_str().unwrap();
    assert!(listed.len() == 1 && !format!("{listed:?}").contains(key), "{listed:?}");
    assert_eq!((&listed[0]["state"], &listed[0]["scopes"]), (&Value::from("active"), &Value::from(vec!["a", "b"])));

    let dev = shop.dev().await;
    assert_eq!(ask(&dev, key).await, (200, format!("{id} acme pro api_key")));
    assert!(dev.get("/").await.1.contains("credentials_missing"));
    assert!(ask(&dev, &key[..key.len() - 1]).await.1.contains("credentials_invalid"));

    let (code, out, err) = shop.keys(&["rotate", id, "--overlap", "1h", "--format", "json"]).await;
    assert_eq!(code, Some(0), "{err}");
    let rotated: Value = serde_json::from_str(&out).unwrap();
    let new = rotated["key"].as_str().unwrap();
    assert_eq!((&rotated["id"], &rotated["version"]), (&Value::from(id), &Value::from(2)));
    assert_eq!(ask(&dev, new).await, (200, format!("{id} acme pro api_key")));

    let (code, out, err) = shop.keys(&["revoke", id]).await;
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("refused everywhere within 2 s"), "{err}");
    let states: Vec<_> = shop.list().await.iter().map(|entry| entry["state"].clone()).collect();
    assert_eq!(states, ["revoked", "revoked"]);
    for key in [key, new] {
        let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        while ask(&dev, key).await.0 != 401 {
            assert!(tokio::time::Instant::now() < until, "who knew it is told");
        }
    }
    let other = shop.dev().await;
    for key in [key, new] {
        assert_eq!(ask(&other, key).await.0, 401, "who did not know it asks");
    }
    let (code, _, err) = shop.keys(&["revoke", id]).await;
    assert!(code == Some(1) && err.contains("no key"), "{err}");
}

#[tokio::test]
async fn explain_tells_who_calls_or_why_nobody() {
    let shop = Shop::new();
    let key = shop.key("acme", &["--scopes", "orders:read"]).await;
    let path = shop.config.path();
    let path = path.to_str().unwrap().to_owned();
    let explain = |field: String| {
        let args = ["explain", "--config", &path, "--state", &shop.state, "GET", "/", "-H", &field].map(str::to_owned);
        async move { run(&args.each_ref().map(String::as_str)).await.1 }
    };
    let told = explain(format!("x-api-key: {key}")).await;
    assert!(told.contains(", tenant acme, scopes orders:read, via api_key)\n"), "{told}");
    assert!(!told.contains(&key), "{told}");
    let told = explain("x-other: 1".to_owned()).await;
    let stage = "  identify  partners (api_key in x-api-key, pepper file:pepper.txt): stops here, ";
    assert!(told.contains(&format!("{stage}credentials_missing: there are no credentials\n")), "{told}");
    let told = explain(format!("x-api-key: {key}x")).await;
    assert!(told.contains(&format!("{stage}credentials_invalid: ")) && told.contains("checksum"), "{told}");
}

#[tokio::test]
async fn what_cannot_be_made_is_told_and_nothing_is_printed() {
    let shop = Shop::new();
    for (args, told) in [
        (&["create", "--auth", "partner"][..], "there is no `auth: partner`, there are partners"),
        (&["create", "--expires", "90"], "a duration with its unit is expected"),
        (&["create", "--env", "Live"], "lower-case letters or digits"),
        (&["create", "--scopes", "a b"], "without spaces"),
    ] {
        let (code, out, err) = shop.keys(args).await;
        assert!(code.is_some_and(|code| code != 0) && out.is_empty() && err.contains(told), "{args:?}: {err}");
    }
    let path = shop.config.path();
    let memory = ["keys", "list", "--tenant", "acme", "--state", "memory", "--config", path.to_str().unwrap()];
    let (code, _, err) = run(&memory).await;
    assert!(code == Some(1) && err.contains("name a table"), "{err}");
}

/// What came of asking until a limit refused.
struct Spent {
    passed: u64,
    /// The table did not answer in time, on a machine that has other things to do. It may have counted.
    unanswered: u64,
    /// The answer that refused.
    refusal: String,
}

impl Spent {
    async fn by(dev: &Dev, key: &str, plan: &str) -> Self {
        let (mut passed, mut unanswered) = (0, 0);
        for _ in 0..50 {
            let answer = dev.whole("/", &format!("x-api-key: {key}")).await;
            match answer.split(' ').nth(1).unwrap() {
                "200" if answer.ends_with(&format!("\r\n\r\n{plan}")) => passed += 1,
                "503" => unanswered += 1,
                "429" => return Self { passed, unanswered, refusal: answer },
                _ => panic!("{answer}"),
            }
        }
        panic!("never refused: {passed} passed, {unanswered} were not answered");
    }

    /// The names in a field of the refusal, in its order.
    fn named(&self, field: &str) -> Vec<&str> {
        let lines = self.refusal.lines();
        let value = lines.filter_map(|line| line.strip_prefix(field)?.strip_prefix(": ")).next().unwrap();
        value.split(", ").map(|policy| policy.split(';').next().unwrap().trim_matches('"')).collect()
    }
}

#[tokio::test]
async fn every_caller_is_held_to_the_rate_and_the_quota_of_its_own_plan() {
    let shop = Shop::of(PLANS);
    let dev = shop.dev().await;
    let without = shop.key("acme", &[]).await;
    let (status, told) = ask(&dev, &without).await;
    assert!(status == 403 && told.contains("plan_unknown"), "{status} {told}");

    for (tenant, plan, rate, quota) in [("small", "free", 4, 6), ("acme", "pro", 8, 12)] {
        let (one, other) = (shop.key(tenant, &["--plan", plan]).await, shop.key(tenant, &["--plan", plan]).await);
        let (of_rate, of_quota) = (format!("plan:{plan}"), format!("plan:{plan}:quota"));
        // The rate is a key's, the quota the tenant's: what one key leaves of it is the other's.
        let first = Spent::by(&dev, &one, plan).await;
        let asked = first.passed + first.unanswered;
        assert!(first.passed <= rate && asked >= rate, "{} of {rate}, {} unanswered", first.passed, first.unanswered);
        assert_eq!(first.named("ratelimit-policy"), [of_rate.as_str(), &of_quota]);
        let second = Spent::by(&dev, &other, plan).await;
        let (passed, asked) = (first.passed + second.passed, asked + second.passed + second.unanswered);
        assert!(passed <= quota && asked >= quota, "{passed} of {quota}, {asked} asked");
        assert_eq!(second.named("ratelimit-policy"), [of_quota.as_str(), &of_rate]);
        for refusal in [&first.refusal, &second.refusal] {
            assert!(refusal.contains("over_limit") && refusal.contains("\r\nretry-after: "), "{refusal}");
        }
        assert!(second.refusal.contains(&format!("\r\nratelimit: \"{of_quota}\";r=0;t=")), "{}", second.refusal);
    }
}

#[tokio::test]
async fn a_key_is_made_or_rotated_with_a_plan_that_the_config_has_or_not_at_all() {
    let shop = Shop::of(PLANS);
    let (code, out, err) = shop.keys(&["create", "--plan", "fre"]).await;
    assert_eq!((code, out.as_str(), err.trim()), (Some(1), "", "unknown plan \"fre\", did you mean \"free\"?"));
    shop.key("acme", &["--plan", "free"]).await;
    let listed = shop.list().await;
    let id = listed[0]["id"].as_str().unwrap();
    let (code, out, err) = shop.keys(&["rotate", id, "--plan", "gold"]).await;
    assert_eq!((code, out.as_str(), err.trim()), (Some(1), "", "unknown plan \"gold\", there are free, pro"));
    let (code, _, err) = shop.keys(&["rotate", id, "--plan", "pro"]).await;
    assert!(code == Some(0) && err.contains("plan pro"), "{err}");
    shop.config.write(&PLANS.replace("  pro:", "  gold:"));
    let (code, out, err) = shop.keys(&["rotate", id]).await;
    assert_eq!((code, out.as_str(), err.trim()), (Some(1), "", "unknown plan \"pro\", there are free, gold"));
    let plans: Vec<_> = shop.list().await.iter().map(|entry| entry["plan"].clone()).collect();
    assert_eq!(plans, ["free", "pro"], "nothing more was made");
}

#[tokio::test]
async fn keys_are_made_without_asking_for_secrets_that_have_nothing_to_do_with_them() {
    let shop = Shop::of(SIGNED);
    let (code, out, err) = shop.keys(&["create"]).await;
    assert!(code == Some(0) && out.starts_with("gwk_") && !err.contains("ssm:"), "{err}");
    let (_, _, err) = shop.keys(&["list"]).await;
    assert_eq!(err, "1 key of acme\n");
}
