//! The gateway: `handle` and `serve`. Read this first.

use crate::clock::Clock;
use crate::exchange::{After, Exchange, Request, Served};
use crate::refusal::Refusal;
use std::sync::{Arc, PoisonError, RwLock};

/// The gateway: compiled routes and the three ports.
#[derive(Debug)]
pub struct Gateway {
    clock: Arc<dyn Clock>,
}

impl Gateway {
    /// Answers one request. Never fails: a refusal is an answer too.
    pub async fn handle(&self, request: Request) -> Served {
        let mut exchange = Exchange::open(&request, self.clock.now());
        let refusal = Refusal::RouteNotFound { method: request.method, path: request.path };
        exchange.stopped_by = Some(refusal.code());
        Served { response: refusal.into_response(&exchange.id), exchange, after: After::default() }
    }
}

/// The gateway that serves now: `tollgate dev` replaces it when the config changes. Requests under way keep theirs.
#[derive(Debug)]
pub struct Current(RwLock<Arc<Gateway>>);

impl Current {
    /// Begins with `gateway`.
    pub fn new(gateway: Gateway) -> Self {
        Self(RwLock::new(Arc::new(gateway)))
    }

    /// The gateway of this moment.
    pub fn load(&self) -> Arc<Gateway> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves every later request by `gateway`.
    pub fn replace(&self, gateway: Gateway) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(gateway);
    }
}
