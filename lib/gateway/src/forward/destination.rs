//! Where a route goes: an upstream, a split of several, a fixed answer or a redirect; and the sending itself, with its
//! deadline and its retries.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempts::Sending;
use super::split::Split;
use super::{Backend, flow};
use crate::exchange::{After, Body, Exchange, Response};
use crate::expression::{AnswerFacts, Facts};
use crate::gateway::{Asked, Stop, World};
use crate::refusal::Refusal;
use crate::respond::{Redirect, Respond};
use crate::route::Route;
use crate::transform::{RequestTransform, ResponseTransform};

/// `to:` of a route, compiled.
#[derive(Debug)]
pub enum Destination {
    /// One upstream, or several by weight.
    Forward {
        /// How one of `branches` is drawn.
        split: Split,
        /// At least one.
        branches: Vec<Branch>,
    },
    /// A fixed answer.
    Respond(Respond),
    /// A redirect.
    Redirect(Redirect),
}

/// One entry of a split.
#[derive(Debug)]
pub struct Branch {
    /// The upstream.
    pub upstream: Arc<Backend>,
    /// What changes on the way in, after the route's own.
    pub request: RequestTransform,
    /// What changes on the way out, before the route's own.
    pub response: ResponseTransform,
}

impl Destination {
    /// The upstreams that it may go to.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Backend> {
        let branches: &[Branch] = match self {
            Self::Forward { branches, .. } => branches,
            Self::Respond(_) | Self::Redirect(_) => &[],
        };
        branches.iter().map(|branch| &*branch.upstream)
    }

    /// The answer to a request that passed every check.
    pub(crate) async fn answer(
        &self,
        world: &World,
        route: &Route,
        exchange: &mut Exchange,
        after: &mut After,
        asked: &Asked,
        body: Body,
    ) -> Result<Response, Stop> {
        let facts = asked.facts(&route.name);
        match self {
            Self::Respond(respond) => {
                let mut response = respond.answer(&facts)?;
                route.response.apply(&facts, &mut response)?;
                Ok(response)
            }
            Self::Redirect(redirect) => {
                let mut response = redirect.answer(&facts)?;
                route.response.apply(&facts, &mut response)?;
                Err(Stop::Answered("redirect", Box::new(response)))
            }
            Self::Forward { split, branches } => {
                let empty = || Refusal::UpstreamEmpty { upstream: Arc::clone(&route.name) };
                let drawn = split.pick(&facts, asked.origin.seed).ok_or_else(empty)?;
                let branch = branches.get(drawn.branch).ok_or_else(empty)?;
                exchange.drawn = (branches.len() > 1).then_some(drawn);
                exchange.upstream = Some(Arc::clone(&branch.upstream.name));
                let started = Instant::now();
                let sending = Sending::new(world, route, branch, asked, started)?;
                let answer = sending.send(body, exchange, after).await;
                exchange.upstream_time = Some(started.elapsed());
                let mut response = answer?;
                let said = AnswerFacts { status: response.status, headers: &response.headers };
                exchange.owed.price(&Facts { response: Some(said), ..facts });
                branch.response.apply(&facts, &mut response)?;
                route.response.apply(&facts, &mut response)?;
                response.body = flow::timed(response.body, route.timeouts.idle, sending.ends(started));
                Ok(response)
            }
        }
    }
}
