//! Secrets on a laptop: a file stands in for AWS.

use crate::cli::{Config, run};

const CONFIG: &str = r#"version: 1
upstreams:
  orders: {targets: "https://orders.internal", sign: {headers: {x-api-key: {secret: "ssm:/shop/key"}}}}
  functions: {targets: "https://lambda.eu-west-1.amazonaws.com", sign: {sigv4: {service: lambda, region: eu-west-1}}}
  tokens:
    targets: "https://orders.internal"
    sign: {oauth2: {token_url: "https://login.example.com/token", client: {id: gw, secret: "secretsmanager:shop#client"}}}
  missing: {targets: "https://orders.internal", sign: {bearer: "ssm:/shop/none"}}
defaults: {auth: none}
routes:
  - {name: a, match: {path: /a}, to: orders}
  - {name: b, match: {path: /b}, to: functions}
  - {name: c, match: {path: /c}, to: tokens}
  - {name: d, match: {path: /d}, to: missing}
"#;

#[tokio::test]
async fn a_file_of_secrets_stands_in_for_aws_and_what_it_holds_is_never_printed() {
    let config = Config::of(CONFIG);
    let secrets = "\"ssm:/shop/key\": the-value\n\"secretsmanager:shop#client\": the-value\n";
    config.add("secrets.yaml", secrets);
    let (path, secrets) = (config.path(), config.path().with_file_name("secrets.yaml"));
    let explain = async |target: &str| {
        let options = ["explain", "--config", path.to_str().unwrap(), "--secrets", secrets.to_str().unwrap()];
        let (code, out, err) = run(&[&options[..], &["GET", target, "-H", "x_api_key: theirs"]].concat()).await;
        assert_eq!(code, Some(0), "{err}");
        assert!(!out.contains("the-value") && !err.contains("the-value"), "{out}{err}");
        assert!(err.contains("warning: ssm:/shop/none is not resolved, the secrets file does not have it"), "{err}");
        out
    };
    let out = explain("/a").await;
    assert!(out.contains("x-api-key: (secret)\n") && !out.contains("theirs"), "{out}");
    let out = explain("/b").await;
    assert!(out.contains("signed with sigv4 for lambda in eu-west-1\n"), "{out}");
    let out = explain("/c").await;
    assert!(out.contains("POST https://login.example.com/token\n"), "{out}");
    assert!(out.contains("GET https://orders.internal/c\n") && out.contains("authorization: (secret)\n"), "{out}");
    let out = explain("/d").await;
    let why = "the secret ssm:/shop/none is not resolved, the secrets file does not have it";
    assert!(out.contains(&format!("  forward   stops here, secret_unavailable: {why}\n")), "{out}");
    assert!(out.contains("  status    503\n"), "{out}");
}

#[tokio::test]
async fn a_file_of_secrets_that_is_wrong_is_told_with_every_problem() {
    let config = Config::of(CONFIG);
    config.add("secrets.yaml", "\"env:KEY\": the-value\nplain: the-value\n\"ssm:/a\": [c]\n");
    let (path, secrets) = (config.path(), config.path().with_file_name("secrets.yaml"));
    let options = ["explain", "--config", path.to_str().unwrap(), "--secrets", secrets.to_str().unwrap(), "GET", "/a"];
    let (code, _, err) = run(&options).await;
    assert!(code == Some(1) && !err.contains("the-value"), "{err}");
    for told in [
        "secrets.yaml:1:1: \"env:KEY\" is not looked up here: set the variable, or write the file",
        "secrets.yaml:2:1: \"plain\" must be a reference as the config writes it, like ssm:/shop/edge",
        "secrets.yaml:3:11: a secret's value must be text, not a list",
    ] {
        assert!(err.contains(told), "{told} in {err}");
    }
    let absent = path.with_file_name("none.yaml");
    let options = ["explain", "--config", path.to_str().unwrap(), "--secrets", absent.to_str().unwrap(), "GET", "/a"];
    assert!(run(&options).await.2.contains("cannot be read"));
}
