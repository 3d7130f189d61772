//! What the tests of several modules share.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::auth::{About, Auth, Caller, Entry, Method, Use, Way, Ways};
use crate::clock::{Clock, Timestamp};
use crate::exchange::{After, Body, Origin, Request, Response, Scheme};
use crate::expression::{Expression, Params, Place, Scope, Template};
use crate::forward::{BoxFuture, FaultKind, Outbound, Protocol, Target, Upstream, UpstreamFault};
use crate::gateway::{Asked, World};
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;
use crate::secret::NoVault;
use crate::table::{MemoryTable, Table};

/// Calls of a table that go on, as they are, to the table in its field `inner`.
macro_rules! passed_on {
    (get_many) => {
        fn get_many<'a>(
            &'a self,
            which: crate::table::Which,
            keys: &'a [&'a str],
            reading: crate::table::Reading,
        ) -> crate::forward::BoxFuture<'a, Result<Vec<Option<crate::table::Item>>, crate::table::TableError>> {
            self.inner.get_many(which, keys, reading)
        }
    };
    (put) => {
        fn put<'a>(
            &'a self,
            which: crate::table::Which,
            key: &'a str,
            item: crate::table::Item,
            terms: &'a crate::table::Terms,
        ) -> crate::forward::BoxFuture<'a, Result<(), crate::table::TableError>> {
            self.inner.put(which, key, item, terms)
        }
    };
    (update) => {
        fn update<'a>(
            &'a self,
            which: crate::table::Which,
            key: &'a str,
            update: &'a crate::table::Update,
            terms: &'a crate::table::Terms,
        ) -> crate::forward::BoxFuture<'a, Result<crate::table::Item, crate::table::TableError>> {
            self.inner.update(which, key, update, terms)
        }
    };
    (delete) => {
        fn delete<'a>(
            &'a self,
            which: crate::table::Which,
            key: &'a str,
            terms: &'a crate::table::Terms,
        ) -> crate::forward::BoxFuture<'a, Result<(), crate::table::TableError>> {
            self.inner.delete(which, key, terms)
        }
    };
}
pub(crate) use passed_on;

/// A request as `METHOD /path?query`.
pub(crate) fn request(line: &str) -> Request {
    let (method, target) = line.split_once(' ').expect("METHOD TARGET");
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    let origin = Origin {
        ip: IpAddr::from([192, 0, 2, 1]),
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
    Request {
        method: method.parse().expect("a method"),
        path: path.to_owned(),
        query,
        headers: HeaderMap::new(),
        body: Body::Empty,
        origin,
    }
}

/// A request that passed every check.
pub(crate) fn asked(line: &str) -> Asked {
    asked_with_params(line, &[])
}

/// The same with what its path captured.
pub(crate) fn asked_with_params(line: &str, captured: &[(&str, &str)]) -> Asked {
    let mut params = Params::default();
    for (name, value) in captured {
        params.push(Arc::from(*name), (*value).to_owned());
    }
    let request = request(line);
    let path = request.path.clone();
    Asked::new(request, path, params, Caller::of_test("", "", ""), Timestamp::from_secs(1_000_000)).0
}

/// A template that names nothing captured.
pub(crate) fn template(text: &str) -> Template {
    template_of(text, &[])
}

/// A template of a path that captures these.
pub(crate) fn template_of(text: &str, params: &[&str]) -> Template {
    let params: Vec<Arc<str>> = params.iter().map(|name| Arc::from(*name)).collect();
    let scope = Scope { place: Place::Request, params: &params, env: &BTreeMap::new() };
    Template::compile(text, &scope).expect("a template")
}

/// An expression of a path that captures these.
pub(crate) fn expression_of(text: &str, params: &[&str]) -> Expression {
    let params: Vec<Arc<str>> = params.iter().map(|name| Arc::from(*name)).collect();
    let scope = Scope { place: Place::Sticky, params: &params, env: &BTreeMap::new() };
    Expression::compile(text, &scope).expect("an expression")
}

/// A target of this weight.
pub(crate) fn target(weight: u32) -> Target {
    Target {
        key: Arc::from("k"),
        host: "127.0.0.1".to_owned(),
        port: 1,
        tls: None,
        protocol: Protocol::Http1,
        connect_timeout: Duration::from_secs(1),
        weight,
        authority: "127.0.0.1:1".to_owned(),
        base_path: String::new(),
        sign: None,
    }
}

/// An upstream that nothing reaches.
#[derive(Debug)]
pub(crate) struct Nowhere;

impl Upstream for Nowhere {
    fn send<'a>(&'a self, _: &'a Target, _: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        let fault =
            UpstreamFault { kind: FaultKind::Connect, stale_connection: false, detail: "nothing is there".to_owned() };
        Box::pin(std::future::ready(Err(fault)))
    }
}

/// A world with nothing behind.
pub(crate) fn world(clock: Arc<dyn Clock>) -> World {
    world_of(Arc::new(MemoryTable::default()), Arc::new(Nowhere), clock)
}

/// A world of these.
pub(crate) fn world_of(table: Arc<dyn Table>, upstream: Arc<dyn Upstream>, clock: Arc<dyn Clock>) -> World {
    World { table, upstream, clock, environments: None, vault: Arc::new(NoVault) }
}

/// A route's `auth` that takes any of these.
pub(crate) fn any_of(methods: &[(&str, Arc<dyn Method>, bool)]) -> Auth {
    let one = |(name, method, keep): &(&str, Arc<dyn Method>, bool)| {
        let entry = Entry { name: Arc::from(*name), method: Arc::clone(method) };
        Way::One(Use { entry: Arc::new(entry), keep: *keep })
    };
    Auth::Any(Ways::new(methods.iter().map(one).collect(), Mode::Enforce))
}

/// Identifies the caller of a request to the route `r`, now by the world's clock.
pub(crate) async fn identify(auth: &Auth, request: &mut Request, world: &World) -> Result<Caller, Refusal> {
    let route = Arc::from("r");
    let about = About { route: &route, now: world.clock.now(), most: 1 << 20, assumed: None };
    auth.identify(request, about, world, &mut Shadowed::default(), &mut After::default()).await
}
