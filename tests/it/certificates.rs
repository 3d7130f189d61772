//! Client certificates and IAM through the function's binary and the local door: what each front door proves of a
//! caller, and what clients write of themselves.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use serde_json::{Value, json};

use crate::cli::{Config, Dev};
use crate::process::gateway_settings;
use crate::program::{Program, Upstream, gateway};
use crate::runtime_api::{Journal, RuntimeApi, event};

const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/gateway/0123456789abcdef";

const CONFIG: &str = r#"version: 1
expose_env: {UPSTREAM: "http://127.0.0.1:1"}
upstreams: {upstream: {targets: "${env.UPSTREAM}"}}
edge: {secret: {header: x-edge-secret, value: "file:secret.txt"}, client_certificate: client-cert}
auth:
  gateway: {client_certificate: {ca: ca.pem, from: api_gateway, allow: ["uri:spiffe://shop/*"]}}
  verified: {client_certificate: {ca: ca.pem, from: {alb: GROUP}, allow: ["uri:spiffe://shop/*"]}}
  passed: {client_certificate: {ca: ca.pem, from: {alb: GROUP, mode: passthrough}, allow: ["uri:spiffe://shop/*"]}}
  fronted: {client_certificate: {ca: ca.pem, from: edge, allow: ["uri:spiffe://shop/*"]}}
  accounts: {iam: {allow: ["arn:aws:iam::123456789012:role/*"]}}
routes:
  - {name: gateway, auth: gateway, match: {path: /gateway}, to: upstream}
  - {name: verified, auth: verified, match: {path: /verified}, to: upstream}
  - {name: passed, auth: passed, match: {path: /passed}, to: upstream}
  - {name: fronted, auth: fronted, match: {path: /fronted}, to: upstream}
  - {name: accounts, auth: accounts, match: {path: /accounts}, to: upstream}
  - {name: open, auth: none, match: {path: /open}, to: upstream}
  - {name: who, auth: fronted, match: {path: /who}, to: {respond: {body: "${caller.id}"}}}
"#;

/// Every route that wants to know who calls.
const ASKING: [&str; 5] = ["/gateway", "/verified", "/passed", "/fronted", "/accounts"];

/// An authority, one between, and certificates of clients: by both, by the authority alone, and one that has ended.
struct Chain {
    root: CertifiedIssuer<'static, KeyPair>,
    between: CertifiedIssuer<'static, KeyPair>,
    client: Certificate,
    direct: Certificate,
    ended: Certificate,
}

impl Chain {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params, KeyPair::generate().unwrap())
        };
        let ((root, key), (between, key_between)) = (authority("root"), authority("between"));
        let root = CertifiedIssuer::self_signed(root, key).unwrap();
        let between = CertifiedIssuer::signed_by(between, key_between, &root).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI("spiffe://shop/orders".try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let client = params.signed_by(&key, &between).unwrap();
        let direct = params.signed_by(&key, &root).unwrap();
        params.not_after = date_time_ymd(2020, 1, 1);
        let ended = params.signed_by(&key, &root).unwrap();
        Self { root, between, client, direct, ended }
    }

    fn config(&self) -> Config {
        let config = Config::of(&CONFIG.replace("GROUP", &format!("\"{GROUP}\"")));
        config.add("ca.pem", &self.root.pem());
        config.add("secret.txt", "of the edge");
        config
    }
}

/// RFC 9440 §2.1.
fn item(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}

/// As load balancers encode it: `+`, `=` and `/` stay.
fn encoded(pem: &str) -> String {
    pem.replace('\n', "%0A").replace(' ', "%20")
}

/// A request at each front door, by its name, with these fields of the client's own.
fn at_each_door(path: &str, fields: &[(&str, String)]) -> Vec<(&'static str, Value)> {
    let mut url = event("GET", path, "");
    let mut map: serde_json::Map<_, _> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    map.insert("host".to_owned(), "api.example.com".into());
    url["headers"] = map.clone().into();
    let mut http_api = url.clone();
    http_api["requestContext"]["domainName"] = "api.example.com".into();
    let rest = json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": "GET", "headers": map,
        "requestContext": { "requestId": "r", "stage": "prod", "identity": { "sourceIp": "192.0.2.7" } }
    });
    let mut v1 = rest.clone();
    v1["version"] = "1.0".into();
    let alb = json!({
        "httpMethod": "GET", "path": path, "headers": map, "body": "", "isBase64Encoded": false,
        "requestContext": { "elb": { "targetGroupArn": GROUP } }
    });
    vec![("url", url), ("http-api", http_api), ("http-api-v1", v1), ("rest-api", rest), ("alb", alb)]
}

fn at(door: &str, path: &str, fields: &[(&str, String)]) -> Value {
    at_each_door(path, fields).into_iter().find(|(name, _)| *name == door).unwrap().1
}

/// The function under a Runtime API, and the upstream behind it.
struct Function {
    api: RuntimeApi,
    upstream: Upstream,
    _program: Program,
    _config: Config,
}

impl Function {
    async fn start(chain: &Chain) -> Self {
        let (config, api) = (chain.config(), RuntimeApi::start().await);
        let upstream = Upstream::start(Journal::default()).await;
        let (url, path) = (format!("http://{}", upstream.address), config.path());
        let settings = gateway_settings(&path, "http://127.0.0.1:1");
        let settings = [&settings[..], &[("UPSTREAM", &url), ("TOLLGATE_LOG", "off")]].concat();
        let program = Program::start(&gateway(), &api, &settings);
        Self { api, upstream, _program: program, _config: config }
    }

    /// What the upstream was told of who calls, or the refusal's status and code.
    async fn ask(&mut self, event: &Value) -> Result<BTreeMap<String, String>, (u64, String)> {
        let outcome = self.api.call(event).await;
        let told: Value = serde_json::from_slice(&outcome.body()).unwrap();
        if outcome.status() != 200 {
            return Err((outcome.status(), told["code"].as_str().unwrap().to_owned()));
        }
        let about = |name: &str| ["client", "cert", "edge", "mtls"].iter().any(|part| name.contains(part));
        let headers = told["headers"].as_object().unwrap().iter();
        let headers = headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
        Ok(headers.filter(|(name, _)| about(name)).collect())
    }
}

fn refused(code: &str) -> Result<BTreeMap<String, String>, (u64, String)> {
    Err((401, code.to_owned()))
}

#[tokio::test]
async fn each_front_door_hands_its_certificate_over_and_the_upstream_gets_it_as_rfc_9440_has_it() {
    let chain = Chain::new();
    let mut function = Function::start(&chain).await;
    let direct = BTreeMap::from([("client-cert".to_owned(), item(chain.direct.der()))]);
    let mut whole = BTreeMap::from([("client-cert".to_owned(), item(chain.client.der()))]);
    whole.insert("client-cert-chain".to_owned(), item(chain.between.der()));

    let said = json!({ "clientCert": { "clientCertPem": chain.direct.pem() } });
    let mut http_api = at("http-api", "/gateway", &[]);
    http_api["requestContext"]["authentication"] = said.clone();
    let mut v1 = at("http-api-v1", "/gateway", &[]);
    v1["requestContext"]["identity"]["clientCert"] = said["clientCert"].clone();
    let mut rest = at("rest-api", "/gateway", &[]);
    rest["requestContext"]["identity"]["clientCert"] = said["clientCert"].clone();
    let leaf = [("x-amzn-mtls-clientcert-leaf", encoded(&chain.direct.pem()))];
    let passed = [("x-amzn-mtls-clientcert", encoded(&(chain.client.pem() + &chain.between.pem())))];
    let secret = ("x-edge-secret", "of the edge".to_owned());
    let own = [secret.clone(), ("client-cert", item(chain.direct.der()))];
    let both = [secret, ("client-cert", item(chain.client.der())), ("client-cert-chain", item(chain.between.der()))];
    for (what, event, expected) in [
        ("HTTP API", http_api, &direct),
        ("HTTP API, format 1.0", v1, &direct),
        ("REST API", rest, &direct),
        ("load balancer that verifies", at("alb", "/verified", &leaf), &direct),
        ("load balancer that passes through", at("alb", "/passed", &passed), &whole),
        ("edge", at("url", "/fronted", &own), &direct),
        ("edge with a chain", at("url", "/fronted", &both), &whole),
    ] {
        for _ in 0..2 {
            assert_eq!(function.ask(&event).await.as_ref(), Ok(expected), "{what}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_ended_or_is_anothers_or_whose_chain_is_not_there_is_refused() {
    let (chain, other) = (Chain::new(), Chain::new());
    let mut function = Function::start(&chain).await;
    for (what, pem) in [
        ("ended", chain.ended.pem()),
        ("another authority's", other.direct.pem()),
        ("without what is between", chain.client.pem()),
        ("an authority's own", chain.root.pem()),
        ("none", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
    ] {
        let mut event = at("http-api", "/gateway", &[]);
        event["requestContext"]["authentication"] = json!({ "clientCert": { "clientCertPem": pem } });
        assert_eq!(function.ask(&event).await, refused("credentials_invalid"), "{what}");
        let event = at("alb", "/passed", &[("x-amzn-mtls-clientcert", encoded(&pem))]);
        assert_eq!(function.ask(&event).await, refused("credentials_invalid"), "{what}");
    }
    assert!(function.upstream.journal.read().is_empty(), "nothing went through");
}

#[tokio::test]
async fn what_clients_write_themselves_is_believed_at_no_door_and_reaches_no_upstream() {
    let chain = Chain::new();
    let mut function = Function::start(&chain).await;
    let (pem, item) = (chain.direct.pem(), item(chain.direct.der()));
    let forged = [
        ("client-cert", item.clone()),
        ("Client_Cert", item),
        ("x-amzn-mtls-clientcert", encoded(&pem)),
        ("X-Amzn-Mtls-Clientcert-Leaf", encoded(&pem)),
        ("x-amzn-mtls-clientcert-subject", "CN=ada".to_owned()),
        ("x-forwarded-client-cert", format!("Cert=\"{}\"", encoded(&pem))),
        ("x-edge-secret", "guessed".to_owned()),
    ];
    for path in ASKING {
        for (door, event) in at_each_door(path, &forged) {
            assert_eq!(function.ask(&event).await, refused("credentials_missing"), "{path} at {door}");
        }
    }
    assert!(function.upstream.journal.read().is_empty(), "nothing went through");
    for (door, event) in at_each_door("/open", &forged) {
        assert_eq!(function.ask(&event).await, Ok(BTreeMap::new()), "{door}");
    }
}

#[tokio::test]
async fn a_certificate_of_one_front_door_opens_no_route_of_another_and_no_other_target_groups() {
    let chain = Chain::new();
    let mut function = Function::start(&chain).await;
    let pem = chain.direct.pem();
    let leaf = [("x-amzn-mtls-clientcert-leaf", encoded(&pem))];
    for path in ASKING.into_iter().filter(|path| *path != "/gateway") {
        let mut event = at("http-api", path, &[]);
        event["requestContext"]["authentication"] = json!({ "clientCert": { "clientCertPem": pem } });
        assert_eq!(function.ask(&event).await, refused("credentials_missing"), "{path}");
    }
    for path in ASKING.into_iter().filter(|path| *path != "/verified") {
        assert_eq!(function.ask(&at("alb", path, &leaf)).await, refused("credentials_missing"), "{path}");
    }
    let mut event = at("alb", "/verified", &leaf);
    event["requestContext"]["elb"]["targetGroupArn"] = format!("{GROUP}0").into();
    assert_eq!(function.ask(&event).await, refused("credentials_missing"));
}

#[tokio::test]
async fn whose_signature_aws_checked_is_the_caller_at_every_door_that_checks() {
    let mut function = Function::start(&Chain::new()).await;
    let iam = |arn: &str| json!({ "iam": { "userArn": arn, "accountId": "123456789012", "userId": "AROA:x" } });
    let role = "arn:aws:sts::123456789012:assumed-role/orders/i-0abc";
    for (arn, expected) in [
        (role, Ok(BTreeMap::new())),
        ("arn:aws:iam::123456789012:user/ada", refused("credentials_invalid")),
        ("arn:aws:sts::210987654321:assumed-role/orders/i-0abc", refused("credentials_invalid")),
    ] {
        for door in ["url", "http-api"] {
            let mut event = at(door, "/accounts", &[]);
            event["requestContext"]["authorizer"] = iam(arn);
            assert_eq!(function.ask(&event).await, expected, "{arn} at {door}");
        }
        let mut event = at("rest-api", "/accounts", &[]);
        event["requestContext"]["identity"]["userArn"] = arn.into();
        assert_eq!(function.ask(&event).await, expected, "{arn}");
    }
    // There, an authorizer of the user's own says what it likes.
    let mut event = at("rest-api", "/accounts", &[]);
    event["requestContext"]["authorizer"] = iam(role);
    assert_eq!(function.ask(&event).await, refused("credentials_missing"));
}

#[tokio::test]
async fn the_local_door_believes_a_certificate_beside_the_edges_secret_alone() {
    let chain = Chain::new();
    let dev = Dev::start(&chain.config(), &["--quiet", "--state", "memory"]).await;
    let own = format!("client-cert: {}", item(chain.direct.der()));
    assert_eq!(dev.get_with("/who", &own).await.0, 401);
    assert_eq!(dev.get_with("/who", &format!("{own}\r\nx-edge-secret: guessed")).await.0, 401);
    let beside = format!("{own}\r\nx-edge-secret: of the edge");
    assert_eq!(dev.get_with("/who", &beside).await, (200, "uri:spiffe://shop/orders".to_owned()));
    let encoded = format!("client-cert: {}\r\nx-edge-secret: of the edge", encoded(&chain.direct.pem()));
    assert_eq!(dev.get_with("/who", &encoded).await, (200, "uri:spiffe://shop/orders".to_owned()));
    assert_eq!(dev.get_with("/who", &format!("{beside}\r\n{own}")).await.0, 401, "two");
}
