//! One environment: a gateway of its own, compiled from a config, with a clock of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use tollgate::config::{Files, Host, compile};
use tollgate::exchange::{After, Body, Origin, Request, Response, Scheme};
use tollgate::forward::{BoxFuture, Outbound, Target, Upstream, UpstreamFault};
use tollgate::gateway::{Gateway, World};

use crate::dice::Dice;
use crate::table::{Shared, Way};
use crate::world::{Freezable, Ice, Ledger, TRACE, Trace, Truth, Wall};

/// A config that is one text.
struct Text<'a>(&'a str);

impl Files for Text<'_> {
    fn read(&self, _: &str) -> Result<Vec<u8>, String> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Err("there is no folder".to_owned())
    }
}

/// A service that thinks for 20 to 50 ms.
#[derive(Debug)]
pub(crate) struct Service(pub(crate) Mutex<Dice>);

impl Upstream for Service {
    fn send<'a>(&'a self, _: &'a Target, _: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        _ = TRACE.try_with(|trace| trace.decided(true));
        let thinks = 20 + self.0.lock().unwrap_or_else(PoisonError::into_inner).below(31);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(thinks)).await;
            Ok(Response::empty(StatusCode::OK))
        })
    }
}

/// One request to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// The last byte of the client's address.
    pub(crate) client: u8,
    pub(crate) seed: u64,
}

/// One environment.
#[derive(Debug)]
pub(crate) struct Environment {
    gateway: Gateway,
    wall: Arc<Wall>,
    ice: Arc<Ice>,
    truth: Truth,
}

impl Environment {
    /// A fresh one, its clock off by so many nanoseconds.
    ///
    /// # Errors
    /// What is wrong with the config.
    pub(crate) fn start(
        config: &str,
        shared: &Arc<Shared>,
        service: &Arc<Service>,
        truth: Truth,
        off: i64,
        token: i128,
    ) -> Result<Arc<Self>, String> {
        let compiled = compile("gateway.yaml", Host { files: &Text(config), env: &|_| None });
        let routes = compiled.map_err(|problems| problems.to_string())?.routes;
        let (wall, ice) = (Arc::new(Wall::new(truth, off)), Arc::new(Ice::default()));
        let way = Way { shared: Arc::clone(shared), wall: Arc::clone(&wall), ice: Arc::clone(&ice), token };
        let (upstream, clock) = (Arc::clone(service) as _, Arc::clone(&wall) as _);
        let world = World {
            table: Arc::new(way),
            upstream,
            clock,
            environments: None,
            vault: Arc::new(tollgate::secret::NoVault),
        };
        Ok(Arc::new(Self { gateway: Gateway::new(routes, world), wall, ice, truth }))
    }

    /// Sets its clock.
    pub(crate) fn step(&self, off: i64) {
        self.wall.step(off);
    }

    /// Answers one request; what is left to do after it.
    pub(crate) async fn answer(&self, call: Call, ledger: &Arc<Ledger>) -> After {
        let answering = async {
            let served = self.gateway.handle(request(call)).await;
            TRACE.with(|trace| trace.decided(served.response.status.is_success()));
            served.after
        };
        let trace = Trace::open(ledger, self.truth);
        Freezable::new(&self.ice, self.truth, TRACE.scope(trace, answering)).await
    }

    /// Does what is left to do.
    pub(crate) async fn finish(&self, after: After) {
        if !after.is_empty() {
            Freezable::new(&self.ice, self.truth, after.run(None)).await;
        }
    }
}

fn request(call: Call) -> Request {
    let origin = Origin {
        ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, call.client)),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "id".to_owned(),
        seed: call.seed,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    Request {
        method: Method::GET,
        path: "/".to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: Body::Empty,
        origin,
    }
}
