//! Any text as a config, with a second file that it may include: either it is refused, with the place of everything that
//! is wrong, or a gateway serves by it.
#![no_main]

use std::num::NonZeroU32;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use tollgate::clock::{Clock, Timestamp};
use tollgate::config::{self, Compiled, Files, Host, Problems};
use tollgate::exchange::{Body, Origin, Request, Response, Scheme};
use tollgate::forward::{BoxFuture, Outbound, Target, Upstream, UpstreamFault};
use tollgate::gateway::{Gateway, World};
use tollgate::table::MemoryTable;

/// The bytes before the first NUL are the config, those after it are every other file.
struct Halves<'a>(&'a [u8], &'a [u8]);

impl Files for Halves<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(if path == "gateway.yaml" { self.0 } else { self.1 }.to_vec())
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(vec!["a.yaml".to_owned()])
    }
}

/// Answers with the request's fields and body, or with its own failure.
#[derive(Debug)]
struct Mirror;

impl Upstream for Mirror {
    fn send<'a>(&'a self, _: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        Box::pin(async move { Ok(Response { status: StatusCode::OK, headers: outbound.headers, body: outbound.body }) })
    }
}

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_795_521_600)
    }
}

fn request(method: Method, path: &str, query: Option<&str>) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in [("cookie", "a=b; c"), ("origin", "https://shop.example.com"), ("x-a", "b"), ("x-tenant", "é")]
    {
        headers.insert(name, HeaderValue::from_str(value).expect("a value"));
    }
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "id-1".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    let body = Body::Full("{\"a\":1}".into());
    Request { method, path: path.to_owned(), query: query.map(str::to_owned), headers, body, origin }
}

fn check(problems: &Problems) {
    assert!(!problems.list.is_empty() && !problems.summary().is_empty());
    for problem in &problems.list {
        let file = problems.files.get(problem.place.file);
        assert!(file.is_some() || problem.place.line == 0, "{problem:?}");
        // One beyond the last: what is missing at the end.
        assert!(file.is_none_or(|file| problem.place.line <= file.lines().count() + 1), "{problem:?}");
        assert!(problem.place.line == 0 || problem.place.column > 0, "{problem:?}");
        assert!(!problem.message.is_empty());
    }
    assert!(!problems.to_string().is_empty() && problems.to_json().is_array());
}

async fn serve(compiled: Compiled) {
    assert!(!compiled.routes.print().is_empty());
    assert!(compiled.routes.routes.iter().all(|route| !compiled.routes.stages(route).is_empty()));
    let world = World {
        table: Arc::new(MemoryTable::default()),
        upstream: Arc::new(Mirror),
        clock: Arc::new(Noon),
        environments: Some(NonZeroU32::MIN),
        vault: Arc::new(tollgate::secret::NoVault),
    };
    let gateway = Gateway::new(compiled.routes, world);
    for (method, path, query) in [
        (Method::GET, "/", None),
        (Method::POST, "/orders/7%2e/items", Some("a=b&c&%zz=%00")),
        (Method::GET, "/old/x", Some("")),
        (Method::OPTIONS, "/hello/%C3%A9", None),
    ] {
        let served = gateway.handle(request(method, path, query)).await;
        assert_eq!(served.exchange.status, served.response.status);
        // However it goes: a body may be refused half-way.
        let _ = served.response.body.collect(1 << 20).await;
        served.after.run(None).await;
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
}

fuzz_target!(|bytes: &[u8]| {
    let cut = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let files = Halves(&bytes[..cut], bytes.get(cut + 1..).unwrap_or_default());
    let env = |name: &str| name.len().is_multiple_of(2).then(|| "http://127.0.0.1:9101".to_owned());
    match config::compile("gateway.yaml", Host { files: &files, env: &env }) {
        Ok(compiled) => RUNTIME.with(|runtime| runtime.block_on(serve(compiled))),
        Err(problems) => check(&problems),
    }
});
