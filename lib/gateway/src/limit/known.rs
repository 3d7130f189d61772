//! What is kept of keys in memory, bounded; and items of this process alone, for while the table does not answer and
//! for limits that never ask it. An item that finds no room is one that all such keys share, so that a flood of keys is
//! never unlimited.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::key::Key;
use crate::clock::Timestamp;
use crate::table::{Item, Name, TableError, Terms, Update, Value, written};

/// How many keys are known at most; one to two megabytes.
pub(super) const MOST: usize = 8_192;

/// How many values the items of our own may have, all of a limit together; about two megabytes.
const MOST_VALUES: usize = 32_768;

/// For how long a map that was found full is not looked through again.
const REST: Duration = Duration::from_secs(1);

/// A [`Key`] is a hash already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = self.0.rotate_left(8) ^ part;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What is known of keys, each until some moment.
#[derive(Debug)]
pub(super) struct Bounded<V> {
    by_key: HashMap<Key, (V, Timestamp), BuildHasherDefault<Hashed>>,
    most: usize,
    rests_until: Timestamp,
}

impl<V> Bounded<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { by_key: HashMap::default(), most, rests_until: Timestamp::default() }
    }

    fn get(&self, key: &Key) -> Option<&V> {
        self.by_key.get(key).map(|(value, _)| value)
    }

    /// Whether `key` has a place or can have one.
    fn has_room(&mut self, key: &Key, now: Timestamp) -> bool {
        if self.by_key.len() < self.most || self.by_key.contains_key(key) {
            return true;
        }
        if now < self.rests_until {
            return false;
        }
        self.by_key.retain(|_, (_, until)| *until > now);
        self.rests_until = now.plus(REST);
        self.by_key.len() < self.most
    }

    /// What is known of `key` and until when it matters; made where there is nothing, `None` where there is no room.
    pub(super) fn entry(&mut self, key: &Key, now: Timestamp) -> Option<&mut (V, Timestamp)>
    where
        V: Default,
    {
        self.has_room(key, now).then(|| self.by_key.entry(*key).or_insert_with(|| (V::default(), now)))
    }

    fn keep(&mut self, key: &Key, value: V, until: Timestamp, now: Timestamp) {
        if self.has_room(key, now) {
            self.by_key.insert(*key, (value, until));
        }
    }
}

/// A table of one limit in this process alone.
#[derive(Debug)]
pub(super) struct Local(Mutex<LocalItems>);

#[derive(Debug)]
struct LocalItems {
    own: Bounded<Packed>,
    shared: Option<Item>,
}

/// An item's attributes, which take a quarter of the room so.
type Packed = Box<[(Name, Value)]>;

impl LocalItems {
    /// The item of a key that has a place of its own, or else the shared one.
    fn get(&self, key: &Key, own: bool) -> Option<Item> {
        if own { self.own.get(key).map(|item| item.iter().cloned().collect()) } else { self.shared.clone() }
    }
}

impl Local {
    /// A table of items of so many values each.
    pub(super) fn new(values: usize) -> Self {
        let most = (MOST_VALUES / values.max(1)).clamp(1, MOST);
        Self(Mutex::new(LocalItems { own: Bounded::new(most), shared: None }))
    }

    /// The item of `key`.
    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Option<Item> {
        let mut items = self.lock();
        let own = items.own.has_room(key, now);
        items.get(key, own)
    }

    /// As [`crate::table::Table::update`]; the item matters until `until` says.
    pub(super) fn update(
        &self,
        key: &Key,
        (update, terms): &(Update, Terms),
        now: Timestamp,
        until: impl FnOnce(&Item) -> Timestamp,
    ) -> Result<Item, TableError> {
        let mut items = self.lock();
        let own = items.own.has_room(key, now);
        let new = written(update, terms, items.get(key, own).as_ref())?;
        if own {
            items.own.keep(key, new.clone().into_iter().collect(), until(&new), now);
        } else {
            items.shared = Some(new.clone());
        }
        Ok(new)
    }

    fn lock(&self) -> MutexGuard<'_, LocalItems> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::key::Stem;
    use crate::table::Condition;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn key(number: usize) -> Key {
        Stem::new("shop", "per-ip", "k").key(Some(("", &number.to_string())))
    }

    /// Whether one of two a key is counted.
    fn counts(local: &Local, number: usize, secs: u64) -> bool {
        let few = Condition::missing("n").or(Condition::at_most("n", 1));
        let one = (Update::new().add("n", 1), Terms::when(few));
        local.update(&key(number), &one, at(secs), |_| at(8)).is_ok()
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_than_the_bound_and_makes_room_when_what_is_known_is_over() {
        let mut known = Bounded::new(MOST);
        for number in 0..MOST + 100 {
            known.keep(&key(number), number, at(8), at(7));
        }
        assert_eq!(known.by_key.len(), MOST);
        assert_eq!(known.get(&key(3)), Some(&3));
        assert_eq!(known.get(&key(MOST + 1)), None, "forgotten, which is safe");
        known.keep(&key(MOST + 1), 1, at(9), at(8));
        assert_eq!(known.get(&key(MOST + 1)), Some(&1));
        assert_eq!(known.by_key.len(), 1);
    }

    #[test]
    fn a_full_map_is_looked_through_once_a_second_at_most() {
        let mut known = Bounded::new(MOST);
        for number in 0..MOST {
            let until = at(7).plus(Duration::from_millis(u64::try_from(number).unwrap()));
            known.keep(&key(number), (), until, at(6));
        }
        known.keep(&key(MOST), (), at(20), at(7));
        known.keep(&key(MOST + 1), (), at(20), at(7).plus(Duration::from_millis(999)));
        assert_eq!((known.get(&key(MOST)), known.get(&key(MOST + 1))), (Some(&()), None));
        known.keep(&key(MOST + 1), (), at(20), at(8));
        assert_eq!(known.get(&key(MOST + 1)), Some(&()));
    }

    #[test]
    fn large_items_are_fewer() {
        let local = Local::new(102);
        for number in 0..1_000 {
            counts(&local, number, 7);
        }
        assert_eq!(local.lock().own.by_key.len(), 321);
    }

    #[test]
    fn keys_that_find_no_room_share_one_item() {
        let local = Local::new(1);
        for number in 0..MOST {
            assert!(counts(&local, number, 6));
        }
        let admitted = (MOST..MOST + 50).filter(|number| counts(&local, *number, 7)).count();
        assert_eq!(admitted, 2);
        assert!(counts(&local, 3, 7) && !counts(&local, 3, 7), "known keys keep their own");
        assert!(counts(&local, MOST + 1, 8), "there is room again");
    }
}
