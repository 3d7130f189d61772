//! The gateway: [`Gateway::handle`] and `serve`, the request's way. Read this first.
//!
//! `serve` reads top to bottom as what happens to a request, one line a stage. The order is the security property of a
//! gateway, so it is one screen and not a stack of layers: preflight comes before anything that asks who is calling,
//! since browsers send no credentials with it; the address, the sizes and the types are judged before any table is
//! asked; who is known is asked what it may do before it is counted; limits come after identification, since they are the
//! caller's. A stage returns what it proved (`Caller`), so that stages in another order do not compile.

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::asserted::Asserted;
use crate::auth::{About, ApiKeys, Assumed, Caller, Entry};
use crate::clock::{Clock, Timestamp};
use crate::edge::Edge;
use crate::exchange::{After, Body, Exchange, Origin, Request, Response, Served};
use crate::expression::{Facts, Params};
use crate::forward::flow::Watch;
use crate::forward::{Backend, Upstream};
use crate::limit::{Around, Plans, Taken};
use crate::refusal::Refusal;
use crate::route::{Outcome, Route, Router, normalise};
use crate::secret::{Secrets, Vault};
use crate::table::Table;

/// The gateway: compiled routes and the three ports. One of it serves any number of requests at once.
#[derive(Debug)]
pub struct Gateway {
    routes: Routes,
    world: World,
    assumed: Option<Assumed>,
}

/// What the gateway needs of the outside.
#[derive(Debug, Clone)]
pub struct World {
    /// Shared state.
    pub table: Arc<dyn Table>,
    /// The services behind.
    pub upstream: Arc<dyn Upstream>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// How many environments may count at once, this one included: among so many a limit is divided while the table that
    /// all count on does not answer. `None` where that is not known.
    pub environments: Option<NonZeroU32>,
    /// Secrets that live elsewhere.
    pub vault: Arc<dyn Vault>,
}

impl World {
    fn around(&self, origin: &Origin) -> Around<'_> {
        let Self { table, upstream: _, clock, environments, vault: _ } = self;
        Around {
            table: &**table,
            clock: &**clock,
            seed: origin.seed,
            deadline: origin.deadline,
            environments: *environments,
        }
    }
}

/// A compiled config. Only [`crate::config::compile`] makes one.
#[derive(Debug)]
pub struct Routes {
    /// The config's name.
    pub name: Arc<str>,
    /// Who is believed in front of the gateway.
    pub edge: Edge,
    /// All secrets.
    pub secrets: Secrets,
    /// The fields that no client may send.
    pub asserted: Asserted,
    pub(crate) router: Router,
    /// In file order.
    pub routes: Vec<Route>,
    /// By name.
    pub plans: Plans,
    /// By name.
    pub upstreams: Vec<Arc<Backend>>,
    /// By name.
    pub auth: Vec<Arc<Entry>>,
    /// Those of `auth` whose keys `tollgate keys` makes, by name.
    pub api_keys: Vec<Arc<ApiKeys>>,
}

/// Why a request does not reach the end of `serve`.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An early answer that is no refusal, with its reason code.
    Answered(&'static str, Box<Response>),
    Refused(Box<Refusal>),
}

impl<E: Into<Refusal>> From<E> for Stop {
    fn from(refusal: E) -> Self {
        Self::Refused(Box::new(refusal.into()))
    }
}

/// What belongs on the answer of a request whatever its end: kept outside `serve`, which may stop anywhere.
#[derive(Debug, Default)]
struct Trail<'g> {
    route: Option<&'g Route>,
    origin: Option<HeaderValue>,
    limits: HeaderMap,
    body: Option<Watch>,
    after: After,
}

impl Gateway {
    /// A gateway of compiled routes.
    pub const fn new(routes: Routes, world: World) -> Self {
        Self { routes, world, assumed: None }
    }

    /// The same, to whom everyone is this caller wherever somebody must be: to explain itself, never to serve.
    #[must_use]
    pub fn assuming(self, assumed: Assumed) -> Self {
        Self { assumed: Some(assumed), ..self }
    }

    /// The routes it serves.
    pub const fn routes(&self) -> &Routes {
        &self.routes
    }

    /// Reads the secrets that live elsewhere, all at once, for 1 s at most. What needs one that is not there then
    /// answers 503, and asks again from time to time.
    ///
    /// Returns which are missing and why, for the log.
    pub async fn resolve(&self) -> Vec<String> {
        self.routes.secrets.resolve(&*self.world.vault, &*self.world.clock, RESOLVE).await
    }

    /// Answers one request. Never fails: a refusal is an answer too.
    pub async fn handle(&self, request: Request) -> Served {
        let started = tokio::time::Instant::now();
        if let Some(at) = request.origin.front_time {
            self.world.clock.saw_front(at);
        }
        let mut exchange = Exchange::open(&request, self.world.clock.now());
        let mut trail = Trail { origin: request.headers.get(ORIGIN).cloned(), ..Trail::default() };
        let head = request.method == Method::HEAD;
        let mut response = match self.serve(&mut exchange, &mut trail, request).await {
            Ok(response) => response,
            Err(Stop::Answered(code, response)) => {
                exchange.stopped_by = Some(code);
                *response
            }
            Err(Stop::Refused(refusal)) => {
                exchange.stopped_by = Some(refusal.code());
                exchange.detail = Some(refusal.to_string());
                refusal.into_response(&exchange.id)
            }
        };
        if let Some(limit) = trail.body.as_ref().and_then(Watch::passed) {
            exchange.shadowed.refusal(&Refusal::BodyTooLarge { limit });
        }
        if !exchange.owed.is_empty() {
            let owed = std::mem::take(&mut exchange.owed);
            let (table, clock) = (Arc::clone(&self.world.table), Arc::clone(&self.world.clock));
            trail.after.push(async move { owed.charge(&*table, &*clock).await });
        }
        exchange.took = started.elapsed();
        trail.close(&exchange, &mut response);
        if head {
            without_content(&mut response);
        }
        exchange.status = response.status;
        Served { response, exchange, after: trail.after }
    }

    /// The request's way, in order. Each line may stop it; the comment says how.
    async fn serve<'g>(
        &'g self,
        exchange: &mut Exchange,
        trail: &mut Trail<'g>,
        mut request: Request,
    ) -> Result<Response, Stop> {
        let now = exchange.opened; // One request, one now.
        self.routes.edge.secrets.fresh(&self.world, &mut trail.after).await;
        self.routes.edge.admit(&mut request, &mut exchange.shadowed)?; // 403 503
        exchange.believe(&request.origin);
        self.routes.asserted.strip(&mut request);
        let (route, path, params) = self.find(&request, now)?; // 400 404 405
        exchange.route = Some(Arc::clone(&route.name));
        trail.route = Some(route);
        route.preflight(&request, &mut exchange.shadowed)?; // 204
        route.screen.check(&request, &mut exchange.shadowed)?; // 403 413 415
        route.secrets.fresh(&self.world, &mut trail.after).await;
        (request.body, trail.body) = route.screen.limit_body(request.body);
        let around = self.world.around(&request.origin);
        let early = facts(&request, &path, &params, None, &route.name, now);
        let (taken, held) = route.limits.take_before(&early, around).await;
        trail.take(exchange, taken, &self.world)?; // 429 503
        let leases = route.limits.prepare(route.auth.takes_time(), &early, around, &held);
        let (most, assumed) = (route.screen.bodies.most(), self.assumed.as_ref());
        let about = About { route: &route.name, now, most, assumed };
        let identified =
            route.auth.identify(&mut request, about, &self.world, &mut exchange.shadowed, &mut trail.after);
        let (caller, left) = tokio::join!(identified, leases);
        let caller = caller?; // 401 503
        exchange.caller = Some(caller.clone());
        let facts = facts(&request, &path, &params, Some(&caller), &route.name, now);
        route.access.check(&caller, &facts, &mut exchange.shadowed)?; // 403
        let taken = route.limits.take(held.with_left(left), &facts, &caller, around).await;
        trail.take(exchange, taken, &self.world)?; // 403 429 503
        let (asked, body) = Asked::new(request, path, params, caller, now);
        route.to.answer(&self.world, route, exchange, &mut trail.after, &asked, body).await // 400 502 503 504
    }

    /// The route of a request, its normalised path, and what the path captured.
    fn find(&self, request: &Request, now: Timestamp) -> Result<(&Route, String, Params), Refusal> {
        let bad = |why| Refusal::BadPath { path: request.path.clone(), why };
        let normal = normalise(&request.path).map_err(bad)?;
        let none = Params::default();
        let mut facts = facts(request, &normal.path, &none, None, "", now);
        // A preflight is matched as the method it asks for, so that a route for GET answers it; where none does, a
        // route for OPTIONS may.
        let asked = crate::cors::is_preflight(&request.method, &request.headers);
        if let Some(asked) = &asked {
            facts.method = asked;
        }
        let found = match self.routes.router.find(&facts) {
            Outcome::NotFound | Outcome::MethodNotAllowed { .. } if asked.is_some() => {
                facts.method = &request.method;
                self.routes.router.find(&facts)
            }
            found @ (Outcome::Found { .. } | Outcome::NotFound | Outcome::MethodNotAllowed { .. }) => found,
        };
        match found {
            Outcome::Found { route, params } => {
                let not_found =
                    || Refusal::RouteNotFound { method: request.method.clone(), path: request.path.clone() };
                let route = self.routes.routes.get(route).ok_or_else(not_found)?;
                if normal.encoded_slash && !route.keeps_encoded_slashes {
                    return Err(bad("an encoded slash"));
                }
                Ok((route, normal.path.into_owned(), params))
            }
            Outcome::NotFound => {
                Err(Refusal::RouteNotFound { method: request.method.clone(), path: request.path.clone() })
            }
            Outcome::MethodNotAllowed { allow } => {
                Err(Refusal::MethodNotAllowed { method: request.method.clone(), allow })
            }
        }
    }
}

/// A request that passed every check, on its way to an upstream or an answer of ours. Its body goes beside it, since
/// that is used up on the way.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    /// Normalised.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) origin: Origin,
    pub(crate) params: Params,
    pub(crate) caller: Caller,
    pub(crate) now: Timestamp,
}

impl Asked {
    pub(crate) fn new(request: Request, path: String, params: Params, caller: Caller, now: Timestamp) -> (Self, Body) {
        let Request { method, path: _, query, headers, body, origin } = request;
        (Self { method, path, query, headers, origin, params, caller, now }, body)
    }

    pub(crate) fn facts<'a>(&'a self, route: &'a str) -> Facts<'a> {
        let Self { method, path, query, headers, origin, params, caller, now } = self;
        Facts {
            method,
            path,
            query: query.as_deref(),
            headers,
            host: &origin.host,
            id: &origin.id,
            ip: origin.ip,
            scheme: origin.scheme,
            params,
            caller: Some(caller),
            route,
            response: None,
            now: *now,
        }
    }
}

fn facts<'a>(
    request: &'a Request,
    path: &'a str,
    params: &'a Params,
    caller: Option<&'a Caller>,
    route: &'a str,
    now: Timestamp,
) -> Facts<'a> {
    let origin: &Origin = &request.origin;
    Facts {
        method: &request.method,
        path,
        query: request.query.as_deref(),
        headers: &request.headers,
        host: &origin.host,
        id: &origin.id,
        ip: origin.ip,
        scheme: origin.scheme,
        params,
        caller,
        route,
        response: None,
        now,
    }
}

impl Exchange {
    /// Takes over what the edge changed of the origin.
    fn believe(&mut self, origin: &Origin) {
        if self.id != origin.id {
            self.id.clone_from(&origin.id);
        }
        if self.host != origin.host {
            self.host.clone_from(&origin.host);
        }
        self.ip = origin.ip;
    }
}

impl Trail<'_> {
    /// Takes down what the limits said.
    fn take(&mut self, exchange: &mut Exchange, taken: Taken, world: &World) -> Result<(), Refusal> {
        self.limits = taken.fields;
        exchange.owed = taken.owed;
        exchange.plan = taken.plan;
        exchange.limits = taken.verdicts;
        exchange.shadowed.append(taken.shadowed);
        if !taken.later.is_empty() {
            let (table, clock) = (Arc::clone(&world.table), Arc::clone(&world.clock));
            self.after.push(async move { taken.later.run(&*table, &*clock).await });
        }
        match taken.refused {
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// What every answer carries: the request's id, and its route's CORS and limit fields.
    fn close(&mut self, exchange: &Exchange, response: &mut Response) {
        if let Ok(id) = HeaderValue::from_str(&exchange.id) {
            response.headers.insert(X_REQUEST_ID, id);
        }
        for (name, value) in self.limits.drain() {
            if let Some(name) = name {
                response.headers.insert(name, value);
            }
        }
        let Some(route) = self.route else { return };
        if exchange.stopped_by != Some("preflight") {
            route.cors.fields(self.origin.as_ref(), &mut response.headers);
        }
        if route.timing {
            let total = millis(exchange.took);
            let timing = match exchange.upstream_time {
                Some(upstream) => format!("gateway;dur={total}, upstream;dur={}", millis(upstream)),
                None => format!("gateway;dur={total}"),
            };
            if let Ok(timing) = HeaderValue::from_str(&timing) {
                response.headers.append(SERVER_TIMING, timing);
            }
        }
    }
}

fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// The answer to HEAD: the fields of the GET, its length included where it is known, and no content (RFC 9110 §9.3.2).
fn without_content(response: &mut Response) {
    if let Body::Full(bytes) = &response.body
        && !response.headers.contains_key(http::header::CONTENT_LENGTH)
        && response.status != StatusCode::NO_CONTENT
    {
        response.headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    response.body = Body::Empty;
}

/// The gateway in use, replaced as a whole when its config changes: requests under way keep the one they began with.
#[derive(Debug)]
pub struct Current(RwLock<Arc<Gateway>>);

impl Current {
    /// Begins with this one.
    pub fn new(gateway: Gateway) -> Self {
        Self(RwLock::new(Arc::new(gateway)))
    }

    /// The one in use.
    pub fn load(&self) -> Arc<Gateway> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Uses this one from now on.
    pub fn replace(&self, gateway: Gateway) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(gateway);
    }
}

/// For reading all secrets at the start.
const RESOLVE: Duration = Duration::from_secs(1);

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
