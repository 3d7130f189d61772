//! What this environment holds of an issuer's keys, and when it asks for them again. Nothing here waits or reads a
//! clock: time is passed in.
//!
//! Keys at hand are used at once and refreshed once a response is out, well before they expire. A request waits for the
//! issuer in three cases alone: there are no keys, its token names one that is not among them, or they are over an
//! hour old and nobody asked for a while, as in an environment that was frozen.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

/// For how long keys that came are fresh, whatever their issuer says.
const SHORTEST: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(3_600);

/// For how long they are fresh where it says nothing.
const USUAL: Duration = Duration::from_secs(600);

/// For how long keys are used while their issuer does not answer.
const STALE_AT_MOST: Duration = Duration::from_secs(24 * 3_600);

/// A token that names an unknown key makes the keys be fetched so seldom.
const SEEK: Duration = Duration::from_secs(30);

/// How long after a fetch the next may begin: doubled by each failure, while there are keys.
const REST: Duration = Duration::from_secs(1);
const REST_AT_MOST: Duration = Duration::from_secs(60);

/// Whoever last asked this long ago did so before the environment was frozen.
const FROZEN: Duration = Duration::from_secs(300);

/// The keys of one issuer, or none yet.
#[derive(Debug)]
pub(super) struct Held<K> {
    keys: Option<Keys<K>>,
    /// When a fetch last began.
    tried: Option<Timestamp>,
    /// The fetches that began since the last that brought keys.
    tries: u32,
    /// When a fetch for an unknown key last began.
    sought: Option<Timestamp>,
    /// What the last fetch failed of; for the log.
    why: Arc<str>,
}

#[derive(Debug)]
struct Keys<K> {
    set: Arc<K>,
    /// Of the bytes it was made from.
    digest: [u8; 32],
    got: Timestamp,
    /// When to ask for them again.
    refresh: Timestamp,
}

/// What a request is to do.
#[derive(Debug)]
pub(super) enum Next<K> {
    /// Use these.
    Use(Arc<K>),
    /// Use these, and fetch them again once the response is out.
    Refresh(Arc<K>),
    /// Fetch them first.
    Fetch,
    /// Nobody can say now: why.
    Unknown(Arc<str>),
}

impl<K> Default for Held<K> {
    fn default() -> Self {
        Self { keys: None, tried: None, tries: 0, sought: None, why: "the keys did not come in time".into() }
    }
}

impl<K> Held<K> {
    /// What a request at `now` is to do, whose token is signed by a key that `knows` tells of a set.
    pub(super) fn next(&self, now: Timestamp, knows: impl Fn(&K) -> bool) -> Next<K> {
        let Some(keys) = self.usable(now) else {
            return if self.rested(now, REST) { Next::Fetch } else { Next::Unknown(Arc::clone(&self.why)) };
        };
        if !knows(&keys.set) {
            return match self.sought {
                Some(sought) if sought <= now && now.since(sought) < SEEK => self.not_among(keys),
                _ => Next::Fetch,
            };
        }
        if now.since(keys.got) >= LONGEST && self.rested(now, FROZEN) {
            return Next::Fetch;
        }
        if self.is_due(keys, now) { Next::Refresh(Arc::clone(&keys.set)) } else { Next::Use(Arc::clone(&keys.set)) }
    }

    /// The same for whoever has the turn to fetch, and begins where that is to be done.
    pub(super) fn claim(&mut self, now: Timestamp, knows: impl Fn(&K) -> bool) -> Next<K> {
        let next = self.next(now, &knows);
        if matches!(next, Next::Fetch) {
            self.begins(now, knows);
        }
        next
    }

    /// What to do after a fetch of one's own that failed.
    pub(super) fn after_failure(&self, now: Timestamp, knows: impl Fn(&K) -> bool) -> Next<K> {
        match self.usable(now) {
            Some(keys) if knows(&keys.set) => Next::Use(Arc::clone(&keys.set)),
            _ => Next::Unknown(Arc::clone(&self.why)),
        }
    }

    /// A fetch begins, for a token that is signed by a key that `knows` tells of a set.
    pub(super) fn begins(&mut self, now: Timestamp, knows: impl Fn(&K) -> bool) {
        self.tried = Some(now);
        self.tries = self.tries.saturating_add(1);
        if self.usable(now).is_some_and(|keys| !knows(&keys.set)) {
            self.sought = Some(now);
        }
    }

    /// What to do after a fetch of one's own that brought keys.
    pub(super) fn fetched(&self) -> Next<K> {
        match &self.keys {
            Some(keys) => Next::Use(Arc::clone(&keys.set)),
            None => Next::Unknown(Arc::clone(&self.why)),
        }
    }

    /// A fetch brought nothing that can be used.
    pub(super) fn failed(&mut self, why: &str) {
        self.why = why.into();
    }

    /// Whoever fetched went away: the next in line may begin at once.
    pub(super) fn given_up(&mut self) {
        self.why = "whoever asked for the keys went away".into();
        if self.keys.is_none() {
            self.tried = None;
        }
    }

    /// A fetch at `now` brought the bytes of this digest, fresh for `fresh`; whether they are those at hand.
    pub(super) fn renewed(&mut self, digest: &[u8; 32], now: Timestamp, fresh: Option<Duration>) -> bool {
        let Some(keys) = self.keys.as_mut().filter(|keys| keys.digest == *digest) else { return false };
        (keys.got, keys.refresh) = (now, refresh_at(now, fresh));
        self.tries = 0;
        true
    }

    /// A fetch at `now` brought other keys.
    pub(super) fn keep(&mut self, set: Arc<K>, digest: [u8; 32], now: Timestamp, fresh: Option<Duration>) {
        self.keys = Some(Keys { set, digest, got: now, refresh: refresh_at(now, fresh) });
        self.tries = 0;
    }

    /// Whether keys came at or after `since`.
    pub(super) fn came_since(&self, since: Timestamp) -> bool {
        self.tries == 0 && self.keys.as_ref().is_some_and(|keys| keys.got >= since)
    }

    fn usable(&self, now: Timestamp) -> Option<&Keys<K>> {
        self.keys.as_ref().filter(|keys| now.since(keys.got) < STALE_AT_MOST)
    }

    /// A token may be signed by a key that came since: where the issuer could not be asked, nobody can say.
    fn not_among(&self, keys: &Keys<K>) -> Next<K> {
        if self.tries == 0 { Next::Use(Arc::clone(&keys.set)) } else { Next::Unknown(Arc::clone(&self.why)) }
    }

    /// A clock that was set back makes no keys last longer.
    fn is_due(&self, keys: &Keys<K>, now: Timestamp) -> bool {
        let old = now < keys.got || now >= keys.refresh || self.tries > 0;
        let doubled = REST.saturating_mul(1_u32.checked_shl(self.tries).unwrap_or(u32::MAX));
        old && self.rested(now, doubled.min(REST_AT_MOST))
    }

    fn rested(&self, now: Timestamp, rest: Duration) -> bool {
        self.tried.is_none_or(|tried| now < tried || now.since(tried) >= rest)
    }
}

/// Three quarters to nine tenths of the time that keys are fresh: environments that began together do not stay together.
fn refresh_at(now: Timestamp, fresh: Option<Duration>) -> Timestamp {
    let fresh = fresh.unwrap_or(USUAL).clamp(SHORTEST, LONGEST);
    let drawn = u32::try_from(now.nanos() % 1_000).unwrap_or_default();
    now.plus(fresh * 3 / 4 + fresh * 3 / 20 * drawn / 1_000)
}

#[cfg(test)]
mod tests;
