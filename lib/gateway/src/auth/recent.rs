//! A bounded map that forgets what was not asked for lately.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::key::Hash;

/// Two generations: when the young one is half of all that may be, it becomes the old one and the old one is forgotten.
/// What is asked for is young again. Nothing is sorted and nothing is looked through.
#[derive(Debug)]
pub(super) struct Recent<V> {
    young: HashMap<Hash, V>,
    old: HashMap<Hash, V>,
    most: usize,
}

impl<V> Recent<V> {
    /// A map of at most so many, at least two.
    pub(super) fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    pub(super) fn get(&mut self, hash: &Hash) -> Option<&mut V> {
        if let Some(value) = self.old.remove(hash) {
            self.keep(*hash, value);
        }
        self.young.get_mut(hash)
    }

    pub(super) fn keep(&mut self, hash: Hash, value: V) {
        self.old.remove(&hash);
        if self.young.len() >= self.most / 2 && !self.young.contains_key(&hash) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash, value);
    }

    /// Forgets all for which `is_over` holds.
    pub(super) fn forget_where(&mut self, is_over: impl Fn(&V) -> bool) {
        self.young.retain(|_, value| !is_over(value));
        self.old.retain(|_, value| !is_over(value));
    }

    pub(super) fn forget(&mut self, hash: &Hash) {
        self.young.remove(hash);
        self.old.remove(hash);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// A map for one request at a time, and no longer than it takes to look into it.
pub(super) fn lock<V>(map: &Mutex<V>) -> MutexGuard<'_, V> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        hash
    }

    #[test]
    fn it_is_bounded_and_what_is_asked_for_stays() {
        let mut recent = Recent::new(100);
        recent.keep(hash(0), 0);
        for number in 1..10_000 {
            recent.keep(hash(number), number);
            assert!(recent.len() <= 100);
            assert_eq!(recent.get(&hash(0)), Some(&mut 0), "after {number}");
        }
        let stays = (1..10_000).filter(|number| recent.get(&hash(*number)).is_some()).count();
        assert!((49..100).contains(&stays), "{stays}");
    }

    #[test]
    fn a_key_has_one_value_the_last_and_none_once_forgotten() {
        let mut recent = Recent::new(4);
        for value in 0..9 {
            recent.keep(hash(value % 3), value);
        }
        assert_eq!(recent.get(&hash(2)), Some(&mut 8));
        assert_eq!(recent.len(), 3);
        recent.forget(&hash(2));
        assert_eq!(recent.get(&hash(2)), None);
        assert_eq!(recent.len(), 2);
    }
}
