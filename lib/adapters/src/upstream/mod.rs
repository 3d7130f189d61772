//! Upstreams over HTTP: kept connections to each target, HTTP/1.1 and HTTP/2, in clear and over TLS.
//!
//! Built on hyper's connections with a pool of our own rather than on hyper-util's client. That one keeps connections by
//! the authority of the URI, so that `host: client` would open a connection for each name a client makes up; it does not
//! tell whether a connection had served before; and it spawns a task to put one back.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tollgate::clock::Clock;
use tollgate::exchange::Response;
use tollgate::forward::{BoxFuture, Outbound, Target, Upstream, UpstreamFault};

use self::fault::unsigned;
use self::pool::{Pool, Watch, draft};
use self::tls::Trust;
use crate::aws::Account;

mod body;
mod connect;
mod fault;
mod pool;
mod tls;

/// Bounds of the connections kept.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Idle HTTP/1.1 connections kept to one target; 128.
    pub max_idle: usize,
    /// How long an idle connection may be used again; 50 s, below the 60 s at which common load balancers close.
    pub idle_timeout: Duration,
    /// After no use for longer than this by the wall clock, no kept connection is trusted, since the environment may
    /// have been frozen while upstreams closed them; 4 s.
    pub thaw_after: Duration,
    /// Targets whose connections are kept; the one longest unused is given up for a new one; 1024.
    pub max_targets: usize,
    /// The size of an answer's head, in bytes; 64 KiB.
    pub max_head: u32,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            max_idle: 128,
            idle_timeout: Duration::from_secs(50),
            thaw_after: Duration::from_secs(4),
            max_targets: 1024,
            max_head: 64 * 1024,
        }
    }
}

/// Port [`Upstream`] over HTTP.
pub struct HttpUpstream {
    settings: UpstreamSettings,
    trust: Trust,
    watch: Arc<Watch>,
    pools: RwLock<HashMap<Arc<str>, Arc<Pool>>>,
    account: Option<Arc<Account>>,
}

impl HttpUpstream {
    /// Opens nothing and reads nothing yet: the system's roots are read when the first TLS target asks for them.
    pub fn new(settings: UpstreamSettings, clock: Arc<dyn Clock>) -> Arc<Self> {
        Self::make(settings, clock, None)
    }

    /// The same, and `account` signs what goes to targets that want a signature.
    pub fn signing(settings: UpstreamSettings, clock: Arc<dyn Clock>, account: Arc<Account>) -> Arc<Self> {
        Self::make(settings, clock, Some(account))
    }

    fn make(settings: UpstreamSettings, clock: Arc<dyn Clock>, account: Option<Arc<Account>>) -> Arc<Self> {
        let watch = Arc::new(Watch::new(clock));
        Arc::new(Self { settings, trust: Trust::default(), watch, pools: RwLock::default(), account })
    }

    async fn signed(&self, target: &Target, mut outbound: Outbound) -> Result<Outbound, UpstreamFault> {
        if let Some(scheme) = &target.sign {
            let account = self.account.as_ref().ok_or_else(|| unsigned("nothing here signs".to_owned()))?;
            account.sign(scheme, &mut outbound).await.map_err(unsigned)?;
        }
        Ok(outbound)
    }

    /// Reads what `target` needs (roots, certificates) ahead of its first request; opens no connection.
    ///
    /// # Errors
    /// [`tollgate::forward::FaultKind::Connect`] where its TLS settings are of no use.
    pub fn prepare(&self, target: &Target) -> Result<(), UpstreamFault> {
        self.pool(target).map(drop)
    }

    /// Gives up every kept connection; those in use finish what they carry.
    pub fn forget(&self) {
        for pool in self.pools.read().unwrap_or_else(PoisonError::into_inner).values() {
            pool.forget();
        }
    }

    fn pool(&self, target: &Target) -> Result<Arc<Pool>, UpstreamFault> {
        if let Some(pool) = self.pools.read().unwrap_or_else(PoisonError::into_inner).get(&target.key)
            && pool.shows() == shown(target)
        {
            return Ok(Arc::clone(pool));
        }
        // Made outside the lock: reading roots takes milliseconds. Of two made at once, the first one in stays.
        let made = Arc::new(Pool::new(target, &self.settings, &self.trust, &self.watch)?);
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.len() >= self.settings.max_targets && !pools.contains_key(&target.key) {
            let oldest = pools.iter().min_by_key(|(_, pool)| pool.last_use()).map(|(key, _)| Arc::clone(key));
            if let Some(oldest) = oldest {
                pools.remove(&oldest);
            }
        }
        let pool = pools.entry(Arc::clone(&target.key)).or_insert_with(|| Arc::clone(&made));
        if pool.shows() < made.shows() {
            // What the old one carries still ends over its own connections.
            *pool = made;
        }
        Ok(Arc::clone(pool))
    }
}

impl Upstream for HttpUpstream {
    fn send<'a>(&'a self, target: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        let (now, unused) = self.watch.touch();
        if unused > self.settings.thaw_after {
            self.forget();
        }
        match self.pool(target) {
            Ok(pool) if target.sign.is_some() => Box::pin(async move {
                let outbound = self.signed(target, outbound).await?;
                pool.send(draft(outbound), now).await
            }),
            Ok(pool) => Box::pin(pool.send(draft(outbound), now)),
            Err(fault) => Box::pin(std::future::ready(Err(fault))),
        }
    }
}

impl fmt::Debug for HttpUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpUpstream").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Which value of its client certificate a target shows now; 0 where it shows none.
fn shown(target: &Target) -> u64 {
    target.tls.as_ref().and_then(|tls| tls.identity.as_ref()).map_or(0, |identity| identity.version())
}

/// A lock whose holder panicked is taken all the same: what it guards is whole between any two statements.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
