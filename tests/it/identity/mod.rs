//! Who calls, where others know it: token issuers and introspection endpoints, over real HTTP.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::oneshot;
use tollgate::config::{self, Host};
use tollgate::exchange::{Body, Origin, Request, Scheme};
use tollgate::gateway::{Current, Gateway, World};
use tollgate::secret::NoVault;
use tollgate::table::MemoryTable;
use tollgate_adapters::door::local::{LocalSettings, serve};
use tollgate_adapters::files::Disk;
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};

use crate::cli::Config;
use crate::upstream::Hand;
use crate::wire::{Raw, soon, whole};

mod introspection;
mod issuer;
mod keys;
mod lambda;
mod site;

/// A gateway whose clock is in the test's hands.
fn gateway(config: &Config) -> (Gateway, Hand) {
    let env = |name: &str| (name == "IDP_SECRET").then(|| "s3:cr+t".to_owned());
    let path = config.path();
    let compiled = config::compile(path.to_str().unwrap(), Host { files: &Disk, env: &env })
        .unwrap_or_else(|problems| panic!("{problems}"));
    let clock = Hand::new();
    let world = World {
        table: Arc::new(MemoryTable::default()),
        upstream: HttpUpstream::new(UpstreamSettings::default(), Arc::new(clock.clone())),
        clock: Arc::new(clock.clone()),
        environments: Some(NonZeroU32::MIN),
        vault: Arc::new(NoVault),
    };
    (Gateway::new(compiled.routes, world), clock)
}

/// One at its local door.
struct Shop {
    clock: Hand,
    gateway: Arc<Current>,
    port: u16,
    _stop: oneshot::Sender<()>,
    _config: Config,
}

impl Shop {
    async fn open(config: Config) -> Self {
        let (gateway, clock) = gateway(&config);
        let gateway = Arc::new(Current::new(gateway));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let log: tollgate_adapters::LogSink = Arc::new(|_| {});
        tokio::spawn(serve(listener, Arc::clone(&gateway), LocalSettings::default(), log, stopped));
        Self { clock, gateway, port, _stop: stop, _config: config }
    }

    fn pass(&self, seconds: u64) {
        self.clock.forward(Duration::from_secs(seconds));
    }

    /// What a token gets at the door: the status, and the body.
    async fn ask(&self, token: &str) -> (u16, String) {
        let mut raw = Raw::connect(self.port).await;
        raw.send(format!("GET / HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\n\r\n")).await;
        let head = raw.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        let body = String::from_utf8(raw.exactly(length.parse().unwrap()).await).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// The status alone.
    async fn status(&self, token: &str) -> u16 {
        self.ask(token).await.0
    }

    /// The same without a door, and with all done that is left to do after a response: the status, and the words for
    /// the log.
    async fn handle(&self, token: &str) -> (u16, String) {
        let served = soon(self.gateway.load().handle(request(token))).await;
        let detail = served.exchange.detail.unwrap_or_default();
        let status = served.response.status.as_u16();
        whole(served.response.body).await.unwrap();
        soon(served.after.run(None)).await;
        (status, detail)
    }
}

fn request(token: &str) -> Request {
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host: "shop".to_owned(),
        version: "1.1",
        id: "id-1".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    Request { method: Method::GET, path: "/".to_owned(), query: None, headers, body: Body::Empty, origin }
}
