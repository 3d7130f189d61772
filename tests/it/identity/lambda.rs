//! The same through the Lambda door: what is left to do is done before the next event is asked for.

use std::num::NonZeroUsize;

use serde_json::Value;
use tollgate_adapters::door::health::HEALTH_PATH;
use tollgate_adapters::door::lambda::{LambdaSettings, ResponseMode, run};

use super::introspection::{Server, active, inactive};
use super::issuer::{Issuer, KEYS, METADATA};
use super::site::Answer;
use super::*;
use crate::runtime_api::{RuntimeApi, event};

/// A gateway that is handed events.
struct Function {
    api: RuntimeApi,
    clock: Hand,
    calls: u64,
    running: tokio::task::JoinHandle<()>,
}

impl Function {
    async fn start(config: &Config) -> Self {
        let api = RuntimeApi::start().await;
        let (gateway, clock) = gateway(config);
        let settings = LambdaSettings {
            api: api.address.to_string(),
            mode: ResponseMode::Buffered,
            concurrency: NonZeroUsize::MIN,
            health: HEALTH_PATH.to_owned(),
        };
        let log: tollgate_adapters::LogSink = Arc::new(|_| {});
        let running = tokio::spawn(async move {
            match run(Arc::new(gateway), settings, log).await {
                Ok(never) => match never {},
                Err(fault) => panic!("{fault}"),
            }
        });
        Self { api, clock, calls: 0, running }
    }

    /// What a token gets; all that is left to do after the response is done.
    async fn ask(&mut self, token: &str) -> u64 {
        let mut event: Value = event("GET", "/", "");
        event["headers"]["authorization"] = format!("Bearer {token}").into();
        let outcome = self.api.call(&event).await;
        self.calls += 1;
        self.api.polled(self.calls + 1).await;
        outcome.status()
    }
}

#[tokio::test]
async fn an_environment_keeps_an_issuers_keys_and_renews_them_between_events() {
    let issuer = Issuer::http().await;
    let url = &issuer.site.url;
    let config = Config::of(&format!(
        r#"version: 1
auth: {{customers: {{jwt: {{issuer: "{url}", audiences: [orders], keys: {{discover: true}}}}}}}}
routes: [{{name: who, auth: customers, match: {{path: /}}, to: {{respond: {{}}}}}}]
"#
    ));
    let mut function = Function::start(&config).await;
    let token = issuer.token("one");
    assert_eq!(
        (function.ask(&token).await, issuer.site.targets().as_slice()),
        (200, &[METADATA, KEYS].map(str::to_owned)[..])
    );
    assert_eq!((function.ask(&token).await, issuer.site.targets().len()), (200, 0));
    issuer.does(Some(Answer::Breaks));
    function.clock.forward(Duration::from_secs(550));
    for _ in 0..5 {
        assert_eq!(function.ask(&token).await, 200);
    }
    assert_eq!(issuer.site.targets(), [METADATA]);
    issuer.does(None);
    issuer.publish(&["two"]);
    function.clock.forward(Duration::from_secs(5));
    assert_eq!((function.ask(&token).await, issuer.site.targets().len()), (200, 2));
    assert_eq!((function.ask(&token).await, function.ask(&issuer.token("two")).await), (401, 200));
    assert_eq!(issuer.site.targets().len(), 2, "for the token of a key that is no more");
    function.running.abort();
}

#[tokio::test]
async fn an_environment_asks_about_a_token_once() {
    let server = Server::start().await;
    let mut function = Function::start(&server.config("")).await;
    for _ in 0..3 {
        assert_eq!(function.ask("token").await, 200);
    }
    assert_eq!(server.site.asked().len(), 1);
    server.says(inactive());
    function.clock.forward(Duration::from_secs(60));
    assert_eq!(function.ask("token").await, 401);
    server.says(Answer::Breaks);
    assert_eq!(function.ask("another").await, 503);
    server.says(active(&serde_json::json!({})));
    assert_eq!(function.ask("another").await, 200);
    function.running.abort();
}
