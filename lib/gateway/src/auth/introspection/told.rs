//! What this environment was told of tokens, for as long as that holds.

use std::sync::Mutex;
use std::time::Duration;

use crate::auth::caller::Caller;
use crate::auth::key::Hash;
use crate::auth::recent::{Recent, lock};
use crate::clock::Timestamp;

use super::answer::Word;

/// For how long a token that is none is refused unasked, at most.
const BAD_AT_MOST: Duration = Duration::from_secs(10);

/// How many tokens are known, of good ones and of others each.
const MOST: usize = 2_048;

/// A span of time, and what holds in it.
type Spanned<V> = (Timestamp, Timestamp, V);

/// Good tokens and others, apart: no flood of made-up ones drives a good one out.
#[derive(Debug)]
pub(super) struct Told {
    /// For how long it holds that a token is good.
    good_for: Duration,
    good: Mutex<Recent<Spanned<Caller>>>,
    bad: Mutex<Recent<Spanned<String>>>,
}

impl Told {
    pub(super) fn new(good_for: Duration) -> Self {
        Self { good_for, good: Mutex::new(Recent::new(MOST)), bad: Mutex::new(Recent::new(MOST)) }
    }

    /// What need not be asked. A clock that was set back makes nothing hold longer.
    pub(super) fn get(&self, hash: &Hash, now: Timestamp) -> Option<Result<Caller, String>> {
        if let Some((from, until, caller)) = lock(&self.good).get(hash)
            && (*from..*until).contains(&now)
        {
            return Some(Ok(caller.clone()));
        }
        let mut bad = lock(&self.bad);
        let (from, until, why) = bad.get(hash)?;
        (*from..*until).contains(&now).then(|| Err(why.clone()))
    }

    /// Keeps what was asked for at `now`: of a good token not beyond its end.
    pub(super) fn keep(&self, hash: Hash, word: &Word, now: Timestamp) {
        match word {
            Ok((caller, expires)) => {
                let until = now.plus(self.good_for);
                let until = expires.map_or(until, |expires| until.min(expires));
                lock(&self.good).keep(hash, (now, until, caller.clone()));
                lock(&self.bad).forget(&hash);
            }
            Err(why) => {
                lock(&self.good).forget(&hash);
                lock(&self.bad).keep(hash, (now, now.plus(self.good_for.min(BAD_AT_MOST)), why.clone()));
            }
        }
    }

    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        (lock(&self.good).len(), lock(&self.bad).len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_secs(NOON + seconds)
    }

    fn good(expires: Option<u64>) -> Word {
        Ok((Caller::of_test("ada", "", ""), expires.map(at)))
    }

    /// For how many seconds a word holds.
    fn holds(cache: u64, word: &Word) -> u64 {
        let told = Told::new(Duration::from_secs(cache));
        told.keep([1; 32], word, at(0));
        (0..).find(|second| told.get(&[1; 32], at(*second)).is_none()).unwrap()
    }

    #[test]
    fn a_good_token_is_known_for_the_caches_time_and_not_beyond_its_end() {
        assert_eq!((holds(60, &good(None)), holds(60, &good(Some(600))), holds(60, &good(Some(7)))), (60, 60, 7));
        assert_eq!(holds(0, &good(None)), 0);
    }

    #[test]
    fn a_token_that_is_none_is_known_as_such_for_ten_seconds_at_most() {
        let bad = Err("the token is not active".to_owned());
        assert_eq!((holds(60, &bad), holds(4, &bad), holds(0, &bad)), (10, 4, 0));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_nothing_hold_longer() {
        let told = Told::new(Duration::from_secs(60));
        told.keep([1; 32], &good(None), at(10));
        told.keep([2; 32], &Err("no".to_owned()), at(10));
        for hash in [[1; 32], [2; 32]] {
            assert!(told.get(&hash, at(9)).is_none() && told.get(&hash, at(10)).is_some());
        }
    }

    #[test]
    fn the_last_word_counts_and_a_flood_of_others_drives_no_good_token_out() {
        let told = Told::new(Duration::from_secs(60));
        told.keep([1; 32], &Err("no".to_owned()), at(0));
        told.keep([1; 32], &good(None), at(1));
        for number in 0..3 * MOST as u64 {
            let mut hash = [9; 32];
            hash[..8].copy_from_slice(&number.to_be_bytes());
            told.keep(hash, &Err("no".to_owned()), at(2));
        }
        let (known, others) = told.counts();
        assert!(known == 1 && others <= MOST, "{known} {others}");
        assert!(matches!(told.get(&[1; 32], at(3)), Some(Ok(_))));
        told.keep([1; 32], &Err("revoked".to_owned()), at(4));
        assert_eq!(told.get(&[1; 32], at(5)), Some(Err("revoked".to_owned())));
    }
}
