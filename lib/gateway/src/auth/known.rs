//! What this environment knows of keys without asking: who they are, and which are none.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::caller::Caller;
use super::key::Hash;
use super::recent::{Recent, lock};
use crate::bulletin::TakenBack;
use crate::clock::Timestamp;

/// For how long what was read of a good key holds, give or take a fifth: that is what a revocation takes at most.
const GOOD: Duration = Duration::from_secs(45);

/// For how long it holds at most while the table does not answer (state.md §13.1).
pub(super) const GOOD_AT_MOST: Duration = Duration::from_secs(300);

/// For how long a key that is none is refused unasked: what a new key may take until it is let in.
pub(super) const BAD: Duration = Duration::from_secs(5);

/// While the table does not answer, a good key is asked for so seldom.
const REST: Duration = Duration::from_secs(1);

/// How many keys are known, of good ones and of others; a few hundred bytes each.
pub(super) const MOST: usize = 4_096;

/// What a key that is known is worth.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) caller: Caller,
    /// What the key is stored and taken back as: its hash under the pepper it was made with, the newest or not.
    pub(super) stored: Hash,
    /// Seconds since the epoch.
    pub(super) expires: Option<u64>,
}

/// What the table said: who it is, or why it is nobody.
pub(super) type Word = Result<Grant, Arc<str>>;

#[derive(Debug)]
struct Good {
    grant: Grant,
    read: Timestamp,
    /// When to ask again.
    ask: Timestamp,
}

#[derive(Debug)]
pub(super) struct Known {
    /// The bulletin that was gone by last.
    taken_back: Mutex<Arc<TakenBack>>,
    good: Mutex<Recent<Good>>,
    bad: Mutex<Recent<(Arc<str>, Timestamp)>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { taken_back: Mutex::default(), good: Mutex::new(Recent::new(MOST)), bad: Mutex::new(Recent::new(MOST)) }
    }
}

impl Known {
    /// What need not be asked. A clock that was set back makes no word last longer.
    pub(super) fn get(&self, hash: &Hash, now: Timestamp) -> Option<Word> {
        if let Some(Good { grant, read, ask }) = lock(&self.good).get(hash)
            && (*read..*ask).contains(&now)
            && now.since(*read) < GOOD_AT_MOST
        {
            return Some(Ok(grant.clone()));
        }
        let mut bad = lock(&self.bad);
        let (why, read) = bad.get(hash)?;
        (*read <= now && now.since(*read) < BAD).then(|| Err(Arc::clone(why)))
    }

    /// Forgets the good keys that the bulletin lists and did not list before.
    pub(super) fn take_back(&self, taken_back: &Arc<TakenBack>) {
        let mut last = lock(&self.taken_back);
        if Arc::ptr_eq(&last, taken_back) {
            return;
        }
        lock(&self.good).forget_where(|good| taken_back.ends(&last, &good.grant.stored));
        *last = Arc::clone(taken_back);
    }

    /// Keeps what the table said at `now`.
    pub(super) fn keep(&self, hash: Hash, word: &Word, now: Timestamp) {
        match word {
            Ok(grant) => {
                let good = Good { grant: grant.clone(), read: now, ask: now.plus(holds(&hash)) };
                lock(&self.good).keep(hash, good);
                lock(&self.bad).forget(&hash);
            }
            Err(why) => {
                lock(&self.good).forget(&hash);
                lock(&self.bad).keep(hash, (Arc::clone(why), now));
            }
        }
    }

    /// What is still good enough when the table does not answer. It is not asked again for a moment.
    pub(super) fn outlasts(&self, hash: &Hash, now: Timestamp) -> Option<Grant> {
        let mut good = lock(&self.good);
        let known = good.get(hash).filter(|known| known.read <= now && now.since(known.read) < GOOD_AT_MOST)?;
        known.ask = now.plus(REST);
        Some(known.grant.clone())
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (lock(&self.good).len(), lock(&self.bad).len())
    }
}

/// For how long the word on a good key holds: 36 to 54 s, drawn from its hash so that keys that came together do not
/// stay together.
fn holds(hash: &Hash) -> Duration {
    let drawn = hash.iter().take(2).fold(0_u32, |drawn, byte| (drawn << 8) | u32::from(*byte));
    (GOOD * 4 / 5) + (GOOD * 2 / 5) * drawn / u32::from(u16::MAX)
}

/// The longest that a revoked key may still be let in while the table answers: the bulletin is a second old at most, and
/// takes a moment to read.
pub const REVOKED_WITHIN: Duration = Duration::from_millis(1_150);

/// The same where the bulletin could not be written or is not read: the longest that the word on a key holds, and a
/// second, since reads may miss the latest.
pub const REVOKED_AT_LAST: Duration = Duration::from_secs(55);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_on_a_good_key_holds_for_36_to_54_seconds() {
        assert_eq!((holds(&[0; 32]), holds(&[255; 32])), (Duration::from_secs(36), Duration::from_secs(54)));
        assert!(holds(&[255; 32]) < REVOKED_AT_LAST);
        assert_eq!(holds(&[128; 32]).as_secs(), 45);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_word_last_longer() {
        let grant = Grant { caller: Caller::of_test("k", "t", "p"), stored: [1; 32], expires: None };
        let known = Known::default();
        known.keep([1; 32], &Ok(grant), Timestamp::from_secs(1_000));
        known.keep([2; 32], &Err("no such key".into()), Timestamp::from_secs(1_000));
        for (now, knows) in [(999, false), (1_000, true), (1_004, true)] {
            for hash in [[1; 32], [2; 32]] {
                assert_eq!(known.get(&hash, Timestamp::from_secs(now)).is_some(), knows, "at {now}");
            }
        }
        assert!(known.outlasts(&[1; 32], Timestamp::from_secs(999)).is_none());
    }
}
