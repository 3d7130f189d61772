//! Sending one request to an upstream: targets in turn, the time there is, and what is sent again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;

use super::balance::UnderWay;
use super::destination::Branch;
use super::retry::{Attempt, safe_to_resend};
use super::sign::Signed;
use super::{Backend, FaultKind, HostPolicy, Outbound, Protocol, Target, UpstreamFault, hygiene};
use crate::exchange::{After, Body, Exchange, Response};
use crate::gateway::{Asked, World};
use crate::refusal::Refusal;
use crate::route::Route;

/// A request made ready for one upstream: all that is the same for each of its sendings.
pub(crate) struct Sending<'a> {
    world: &'a World,
    backend: &'a Backend,
    asked: &'a Asked,
    route: &'a Route,
    branch: &'a Branch,
    method: &'a Method,
    host: Option<&'a str>,
    path: String,
    query: Option<String>,
    until: Option<Instant>,
    given: Duration,
}

/// Keeps what a retry would need: a body that can be sent again, or the one stream that cannot.
enum Replay {
    Again(Bytes),
    Once(Option<Body>),
}

impl<'a> Sending<'a> {
    /// Applies the route's and the branch's request transforms.
    pub(crate) fn new(
        world: &'a World,
        route: &'a Route,
        branch: &'a Branch,
        asked: &'a Asked,
        started: Instant,
    ) -> Result<Self, Refusal> {
        let backend = &*branch.upstream;
        if let Some(why) = backend.secrets.missing() {
            return Err(Refusal::SecretUnavailable { why });
        }
        let facts = asked.facts(&route.name);
        let path = route.request.path.apply(&facts, &asked.path)?;
        let path = branch.request.path.apply(&facts, &path)?.into_owned();
        let query = route.request.query.apply(&facts, asked.query.as_deref());
        let query = branch.request.query.apply(&facts, query.as_deref()).map(|query| query.into_owned());
        let method = branch.request.method.as_ref().or(route.request.method.as_ref()).unwrap_or(&asked.method);
        let host = branch.request.host.as_deref().or(route.request.host.as_deref());
        let own = route.timeouts.headers.map(|timeout| started + timeout);
        let until = earlier(own, asked.origin.deadline);
        let given = until.map_or(Duration::MAX, |until| until.saturating_duration_since(started));
        Ok(Self { world, backend, asked, route, branch, method, host, path, query, until, given })
    }

    /// Sends until there is an answer, or nothing more may be sent.
    pub(crate) async fn send(
        &self,
        body: Body,
        exchange: &mut Exchange,
        after: &mut After,
    ) -> Result<Response, Refusal> {
        let mut signed = self.sign(after).await?;
        let mut replay = self.keep(body).await?;
        let mut tried = Vec::new();
        let (mut resent, mut signed_anew) = (false, false);
        self.backend.budget.request();
        loop {
            let (index, target) = self.pick(&tried)?;
            tried.push(index);
            exchange.attempts += 1;
            let under_way = self.backend.under_way.get(index).map(UnderWay::count);
            let sent = self.attempt(target, replay.next(), &signed).await?;
            drop(under_way);
            let stale = matches!(&sent, Sent::Fault(fault) if fault.stale_connection);
            if stale && !resent && replay.has_more() && safe_to_resend(self.method, &self.asked.headers) {
                resent = true;
                tried.pop();
                continue;
            }
            if !signed_anew && self.is_refused(&sent, &signed) && replay.has_more() {
                signed_anew = true;
                tried.pop();
                signed = self.sign(after).await?;
                continue;
            }
            let made = exchange.attempts - u32::from(resent) - u32::from(signed_anew);
            let Some(pause) = self.again(&sent, made, &replay) else {
                return self.conclude(sent);
            };
            drop(sent);
            tokio::time::sleep(pause).await;
        }
    }

    /// What tells the upstream that the request is the gateway's.
    async fn sign(&self, after: &mut After) -> Result<Signed, Refusal> {
        let upstream = || Arc::clone(&self.backend.name);
        let signing = self.backend.sign.signed(self.world, after);
        let signed = match self.until {
            Some(until) => tokio::time::timeout_at(until, signing)
                .await
                .map_err(|_| Refusal::UpstreamTimeout { upstream: upstream(), after: self.given })?,
            None => signing.await,
        };
        signed.map_err(|why| Refusal::Unsigned { upstream: upstream(), why })
    }

    /// Whether the upstream refused what the request was signed with, and there may be something else to sign it with.
    fn is_refused(&self, sent: &Sent, signed: &Signed) -> bool {
        let refused = matches!(sent, Sent::Answer(response, _) if response.status.as_u16() == 401);
        refused && self.backend.sign.refused(signed, self.world)
    }

    /// When the answer must have ended, for a sending that began at `started`.
    pub(crate) fn ends(&self, started: Instant) -> Option<Instant> {
        let total = self.route.timeouts.total.map(|total| started + total);
        earlier(total, self.asked.origin.deadline)
    }

    /// Whether and when to send once more; spends the retry budget where it says so.
    fn again(&self, sent: &Sent, made: u32, replay: &Replay) -> Option<Duration> {
        if !replay.has_more() {
            return None;
        }
        let attempt = match sent {
            Sent::Answer(response, _) => Attempt::Answered(response.status, &response.headers),
            Sent::Fault(UpstreamFault { kind: FaultKind::Connect, .. }) => Attempt::NotConnected,
            Sent::Fault(UpstreamFault { kind: FaultKind::Reset, .. }) => Attempt::Reset,
            Sent::TimedOut(_) => Attempt::TimedOut,
            Sent::Fault(UpstreamFault {
                kind: FaultKind::Protocol | FaultKind::RequestBody(_) | FaultKind::Unsigned,
                ..
            }) => return None,
        };
        let pause =
            self.backend.retry.pause(self.method, &self.asked.headers, attempt, made, self.asked.origin.seed)?;
        let fits = self.until.is_none_or(|until| Instant::now() + pause < until);
        (fits && self.backend.budget.spend(self.world.clock.now())).then_some(pause)
    }

    fn conclude(&self, sent: Sent) -> Result<Response, Refusal> {
        let upstream = Arc::clone(&self.backend.name);
        match sent {
            Sent::Answer(mut response, protocol) => {
                hygiene::inbound(&mut response.headers, response.status, protocol);
                Ok(response)
            }
            Sent::TimedOut(after) => Err(Refusal::UpstreamTimeout { upstream, after }),
            Sent::Fault(UpstreamFault { kind, detail, .. }) => Err(match kind {
                FaultKind::Connect => Refusal::UpstreamUnreachable { upstream, detail },
                FaultKind::Reset => Refusal::UpstreamReset { upstream, detail },
                FaultKind::Protocol => Refusal::UpstreamProtocol { upstream, detail },
                FaultKind::Unsigned => Refusal::Unsigned { upstream, why: detail },
                FaultKind::RequestBody(fault) => fault.into(),
            }),
        }
    }

    async fn attempt(&self, target: &Target, body: Body, signed: &Signed) -> Result<Sent, Refusal> {
        let outbound = self.outbound(target, body, signed)?;
        let own = self.backend.timeout.filter(|timeout| !timeout.is_zero());
        let until = earlier(own.map(|own| Instant::now() + own), self.until);
        let call = self.world.upstream.send(target, outbound);
        let answer = match until {
            Some(until) => match tokio::time::timeout_at(until, call).await {
                Ok(answer) => answer,
                Err(_) => return Ok(Sent::TimedOut(own.map_or(self.given, |own| own.min(self.given)))),
            },
            None => call.await,
        };
        Ok(match answer {
            Ok(response) => Sent::Answer(response, target.protocol),
            Err(fault) => Sent::Fault(fault),
        })
    }

    fn outbound(&self, target: &Target, body: Body, signed: &Signed) -> Result<Outbound, Refusal> {
        let uri = self.uri(target)?;
        let mut headers = self.headers()?;
        signed.put_on(&mut headers);
        Ok(Outbound { method: self.method.clone(), uri, headers, body })
    }

    fn uri(&self, target: &Target) -> Result<Uri, Refusal> {
        let authority = match (self.host, &self.backend.host) {
            (Some(host), _) => host,
            (None, HostPolicy::Literal(host)) => host,
            (None, HostPolicy::Upstream) => &target.authority,
            (None, HostPolicy::Client) => &self.asked.origin.host,
        };
        let scheme = if target.tls.is_some() { "https" } else { "http" };
        let query = self.query.as_deref();
        let parts = [scheme, "://", authority, &target.base_path, &self.path];
        let length = parts.iter().map(|part| part.len()).sum::<usize>() + query.map_or(0, str::len) + 1;
        let mut uri = String::with_capacity(length);
        parts.iter().for_each(|part| uri.push_str(part));
        if let Some(query) = query {
            uri.push('?');
            uri.extend(utf8_percent_encode(query, REFUSED_IN_QUERY));
        }
        Uri::from_maybe_shared(Bytes::from(uri))
            .map_err(|_| Refusal::Unforwardable { why: "its host or its path is none that can be sent on" })
    }

    /// The fields as they go out. Made for each sending, since one is enough for nearly every request.
    fn headers(&self) -> Result<HeaderMap, Refusal> {
        let Self { asked, route, branch, .. } = self;
        let mut headers = asked.headers.clone();
        self.backend.sign.clean(&mut headers);
        let remaining = asked.origin.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        hygiene::outbound(&mut headers, &asked.origin, remaining);
        asked.caller.tell(&mut headers);
        let facts = asked.facts(&route.name);
        for rewrite in [&route.request.headers, &branch.request.headers] {
            if !rewrite.is_empty() {
                rewrite.apply(rewrite.values(&facts)?, &mut headers);
            }
        }
        Ok(headers)
    }

    fn pick(&self, tried: &[usize]) -> Result<(usize, &'a Target), Refusal> {
        let facts = self.asked.facts(&self.route.name);
        let empty = || Refusal::UpstreamEmpty { upstream: Arc::clone(&self.backend.name) };
        let targets = &self.backend.targets;
        let seed = self.asked.origin.seed;
        let index =
            self.backend.balance.pick(targets, &self.backend.under_way, seed, &facts, tried).ok_or_else(empty)?;
        Ok((index, targets.get(index).ok_or_else(empty)?))
    }

    /// Keeps the body where it may be needed again; a stream is read into memory only under a retry policy, and where
    /// the signature covers it.
    async fn keep(&self, body: Body) -> Result<Replay, Refusal> {
        match body {
            Body::Empty => Ok(Replay::Again(Bytes::new())),
            Body::Full(bytes) => Ok(Replay::Again(bytes)),
            stream @ Body::Stream(_) if self.backend.retry.attempts == 0 && self.backend.sign.sigv4().is_none() => {
                Ok(Replay::Once(Some(stream)))
            }
            stream @ Body::Stream(_) => Ok(Replay::Again(stream.collect(self.route.screen.bodies.most()).await?)),
        }
    }
}

/// How one sending ended.
enum Sent {
    Answer(Response, Protocol),
    Fault(UpstreamFault),
    TimedOut(Duration),
}

impl Replay {
    fn next(&mut self) -> Body {
        match self {
            Self::Again(bytes) if bytes.is_empty() => Body::Empty,
            Self::Again(bytes) => Body::Full(bytes.clone()),
            Self::Once(body) => body.take().unwrap_or_default(),
        }
    }

    fn has_more(&self) -> bool {
        match self {
            Self::Again(_) => true,
            Self::Once(body) => body.is_some(),
        }
    }
}

/// The earlier of two moments, where one or neither may be set.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// Every byte of the query is kept; the few that a request target may not hold are encoded (RFC 3986 §3.4).
const REFUSED_IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'^').add(b'`');
