//! The gateway: `handle` and `serve`. Read this first.

use crate::exchange::{After, Exchange, Request, Served};
use crate::clock::Clock;
use crate::refusal::Refusal;
use std::sync::Arc;

/// The gateway: compiled routes and the three ports.
#[derive(Debug)]
pub struct Gateway {
    clock: Arc<dyn Clock>,
}

impl Gateway {
    /// A gateway without routes.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }

    /// Answers one request. Never fails: a refusal is an answer too.
    pub async fn handle(&self, request: Request) -> Served {
        let mut exchange = Exchange::open(&request, self.clock.now());
        let refusal = Refusal::RouteNotFound { method: request.method, path: request.path };
        exchange.stopped_by = Some(refusal.code());
        exchange.status = refusal.wire().status;
        Served { response: refusal.into_response(&exchange.id), exchange, after: After::default() }
    }
}
