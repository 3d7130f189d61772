//! How secrets stay fresh: read at the start, and from time to time anew, so that what is rotated is taken up without a
//! deployment.
//!
//! A value older than [`SOON`] is read again behind the response; one older than [`NOW`], which only an environment that
//! stood still has, before it is used. While the source does not answer, the old value stays.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use super::{Secret, Vault};
use crate::clock::{Clock, Timestamp};
use crate::exchange::After;
use crate::gateway::World;

/// A value older than this is read again behind the response.
const SOON: Duration = Duration::from_secs(5 * 60);

/// A value older than this is read again before it is used.
const NOW: Duration = Duration::from_secs(15 * 60);

/// For how long a request waits for that.
const WAIT: Duration = Duration::from_millis(500);

/// For one reading.
const BOUND: Duration = Duration::from_secs(1);

/// After a failure a value that is there is not asked for this long, …
const PAUSE: Duration = Duration::from_secs(30);

/// … and one that is not there for this long, in which what needs it is refused at once.
const SHORT_PAUSE: Duration = Duration::from_secs(5);

/// How a secret's readings went.
#[derive(Default)]
pub(super) struct Reads {
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When its value was last heard of.
    read: Timestamp,
    /// When that was last tried.
    tried: Timestamp,
    /// Whether that is under way: then whoever needs it waits along.
    reading: bool,
    /// How many readings came to an end.
    ended: u64,
    failure: Option<String>,
}

/// When a secret must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    Nothing,
    Soon,
    Now,
}

impl Reads {
    pub(super) fn last_failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Secret {
    fn need(&self, now: Timestamp) -> Need {
        let has_value = self.get().is_some();
        let state = self.reads.state();
        // A clock that was set back makes nothing last longer.
        let since = |at| if now < at { Duration::MAX } else { now.since(at) };
        let (age, idle) = (since(state.read), since(state.tried));
        match has_value {
            false if state.reading || idle >= SHORT_PAUSE => Need::Now,
            true if age >= NOW && (state.reading || idle >= PAUSE) => Need::Now,
            true if idle >= PAUSE && age >= SOON => Need::Soon,
            true | false => Need::Nothing,
        }
    }

    /// Reads it, unless a reading ended since `ended` were: then that one will do.
    async fn read(&self, ended: u64, vault: &dyn Vault, clock: &dyn Clock) {
        let Some(source) = &self.source else { return };
        let _turn = self.reads.turn.lock().await;
        if self.reads.state().ended != ended {
            return;
        }
        let started = clock.now();
        let _reading = Reading::begin(&self.reads, started);
        let read = match tokio::time::timeout(BOUND, vault.read(source)).await {
            Ok(Ok(value)) if value.is_empty() => Err("it is empty".to_owned()),
            Ok(read) => read,
            Err(_) => Err(format!("no answer within {BOUND:?}")),
        };
        let mut state = self.reads.state();
        state.ended += 1;
        match read {
            Ok(value) => {
                (state.read, state.failure) = (started, None);
                self.set(value);
            }
            Err(why) => state.failure = Some(why),
        }
    }
}

/// A reading under way, until it ended or was given up.
struct Reading<'r>(&'r Reads);

impl<'r> Reading<'r> {
    fn begin(reads: &'r Reads, now: Timestamp) -> Self {
        let mut state = reads.state();
        (state.tried, state.reading) = (now, true);
        Self(reads)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.state().reading = false;
    }
}

/// The secrets that something needs.
#[derive(Clone, Default)]
pub struct Secrets {
    all: Arc<[Arc<Secret>]>,
    /// Those that may change.
    live: Arc<[Arc<Secret>]>,
}

impl Secrets {
    /// These, each once.
    pub(crate) fn new(secrets: impl IntoIterator<Item = Arc<Secret>>) -> Self {
        let mut all: Vec<Arc<Secret>> = Vec::new();
        for secret in secrets {
            if !all.iter().any(|known| Arc::ptr_eq(known, &secret)) {
                all.push(secret);
            }
        }
        let live = all.iter().filter(|secret| secret.source.is_some()).cloned().collect();
        Self { all: all.into(), live }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.all.iter()
    }

    /// Why one of them has no value, for the log.
    pub(crate) fn missing(&self) -> Option<String> {
        self.all.iter().find_map(|secret| secret.missing())
    }

    /// Reads all that may change, for the first time. Waits for `bound` at most; what is not there by then is missing.
    ///
    /// Returns which are missing and why, for the log.
    pub async fn resolve(&self, vault: &dyn Vault, clock: &dyn Clock, bound: Duration) -> Vec<String> {
        if self.live.is_empty() {
            return Vec::new();
        }
        let reading = read_all(self.asked(), vault, clock);
        // Whatever comes of it is told of each secret below.
        _ = tokio::time::timeout(bound, reading).await;
        self.live.iter().filter_map(|secret| secret.missing()).collect()
    }

    /// Makes sure that none of them is older than it may be, as far as the source answers in time.
    pub(crate) async fn fresh(&self, world: &World, after: &mut After) {
        if self.live.is_empty() {
            return;
        }
        let now = world.clock.now();
        let need = self.live.iter().map(|secret| secret.need(now)).max().unwrap_or(Need::Nothing);
        if need == Need::Nothing {
            return;
        }
        let asked: Vec<_> = self.asked().into_iter().filter(|(secret, _)| secret.need(now) > Need::Nothing).collect();
        if need == Need::Now {
            let reading = read_all(asked.clone(), &*world.vault, &*world.clock);
            if tokio::time::timeout(WAIT, Box::pin(reading)).await.is_ok() {
                return;
            }
        }
        let (vault, clock) = (Arc::clone(&world.vault), Arc::clone(&world.clock));
        after.push(async move { read_all(asked, &*vault, &*clock).await });
    }

    /// Those that may change, with how many readings of each have ended.
    fn asked(&self) -> Vec<(Arc<Secret>, u64)> {
        self.live.iter().map(|secret| (Arc::clone(secret), secret.reads.state().ended)).collect()
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.all.iter()).finish()
    }
}

/// Reads them at once; each reading has its own bound.
async fn read_all(asked: Vec<(Arc<Secret>, u64)>, vault: &dyn Vault, clock: &dyn Clock) {
    let mut reading: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::with_capacity(asked.len());
    for (secret, ended) in &asked {
        reading.push(Box::pin(secret.read(*ended, vault, clock)));
    }
    poll_fn(|context| {
        reading.retain_mut(|reading| reading.as_mut().poll(context).is_pending());
        if reading.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[cfg(test)]
mod tests;
