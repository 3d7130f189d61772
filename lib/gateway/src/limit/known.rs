//! What this environment knows of a limit's keys without asking: who is denied until when, and, while the table does
//! not answer, who took how many.
//!
//! Bounded. A denial that finds no room is forgotten, which costs a write; a count that finds no room goes to one
//! shared count, so that a flood of keys is never unlimited.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::key::Key;
use super::window::Window;

/// How many keys are known at most; about a megabyte.
const MOST: usize = 8_192;

#[derive(Debug, Default)]
pub(super) struct Known {
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    by_key: HashMap<Key, Entry>,
    /// Full of this window's keys: not worth looking through again before the next.
    full: Option<Window>,
    shared: Option<(Window, u64)>,
}

#[derive(Debug)]
struct Entry {
    window: Window,
    denied: bool,
    local: u64,
    stale: Vec<u64>,
}

impl Known {
    /// Whether `key` was denied in `window` already.
    pub(super) fn denied(&self, key: &Key, window: Window) -> bool {
        self.lock().by_key.get(key).is_some_and(|entry| entry.denied && entry.window == window)
    }

    /// Remembers that `key` is denied until the end of `window`.
    pub(super) fn deny(&self, key: &Key, window: Window) {
        if let Some(entry) = self.lock().entry(key, window) {
            entry.denied = true;
        }
    }

    /// Forgets that `key` is denied in `window`: something was given back.
    pub(super) fn allow(&self, key: &Key, window: Window) {
        if let Some(entry) = self.lock().by_key.get_mut(key)
            && entry.window == window
        {
            entry.denied = false;
        }
    }

    /// Remembers windows that the next write to `key` had better remove.
    pub(super) fn keep_stale(&self, key: &Key, window: Window, stale: Vec<u64>) {
        if !stale.is_empty()
            && let Some(entry) = self.lock().entry(key, window)
        {
            entry.stale = stale;
        }
    }

    /// Takes the windows that [`Self::keep_stale`] remembered for `key`.
    pub(super) fn take_stale(&self, key: &Key) -> Vec<u64> {
        self.lock().by_key.get_mut(key).map(|entry| std::mem::take(&mut entry.stale)).unwrap_or_default()
    }

    /// Counts one of `key` in `window` here; what is left of `limit` then, `None` where nothing was.
    pub(super) fn count(&self, key: &Key, window: Window, limit: u64) -> Option<u64> {
        let mut keys = self.lock();
        if let Some(entry) = keys.entry(key, window) {
            return one_more(&mut entry.local, limit);
        }
        let (shared, taken) = keys.shared.get_or_insert((window, 0));
        if *shared != window {
            (*shared, *taken) = (window, 0);
        }
        one_more(taken, limit)
    }

    /// Takes back one that [`Self::count`] counted.
    pub(super) fn uncount(&self, key: &Key, window: Window) {
        if let Some(entry) = self.lock().by_key.get_mut(key)
            && entry.window == window
        {
            entry.local = entry.local.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn one_more(taken: &mut u64, limit: u64) -> Option<u64> {
    if *taken >= limit {
        return None;
    }
    *taken += 1;
    Some(limit - *taken)
}

impl Keys {
    /// The entry of `key` for `window`, made where there is room for it.
    fn entry(&mut self, key: &Key, window: Window) -> Option<&mut Entry> {
        if !self.by_key.contains_key(key) && !self.has_room(window) {
            return None;
        }
        let new = || Entry { window, denied: false, local: 0, stale: Vec::new() };
        let entry = self.by_key.entry(*key).or_insert_with(new);
        if entry.window != window {
            *entry = Entry { stale: std::mem::take(&mut entry.stale), ..new() };
        }
        Some(entry)
    }

    fn has_room(&mut self, window: Window) -> bool {
        if self.by_key.len() < MOST {
            return true;
        }
        if self.full == Some(window) {
            return false;
        }
        self.by_key.retain(|_, entry| entry.window >= window);
        if self.by_key.len() < MOST {
            return true;
        }
        self.full = Some(window);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::limit::Per;

    fn window(secs: u64) -> Window {
        Window::labelled(Timestamp::from_secs(secs), Per::Second)
    }

    fn key(number: usize) -> Key {
        Key::of("shop", "per-ip", Some(("", &number.to_string())))
    }

    #[test]
    fn a_denial_holds_to_the_end_of_its_window() {
        let known = Known::default();
        known.deny(&key(1), window(7));
        assert!(known.denied(&key(1), window(7)));
        assert!(!known.denied(&key(1), window(8)));
        assert!(!known.denied(&key(2), window(7)));
        known.allow(&key(1), window(7));
        assert!(!known.denied(&key(1), window(7)));
    }

    #[test]
    fn a_flood_of_keys_takes_no_more_than_the_bound_and_makes_room_in_the_next_window() {
        let known = Known::default();
        for number in 0..MOST + 100 {
            known.deny(&key(number), window(7));
        }
        assert_eq!(known.lock().by_key.len(), MOST);
        assert!(!known.denied(&key(MOST + 1), window(7)), "forgotten, which is safe");
        known.deny(&key(MOST + 1), window(8));
        assert!(known.denied(&key(MOST + 1), window(8)));
        assert_eq!(known.lock().by_key.len(), 1);
    }

    #[test]
    fn keys_that_find_no_room_share_one_count() {
        let known = Known::default();
        for number in 0..MOST {
            assert_eq!(known.count(&key(number), window(7), 2), Some(1));
        }
        let admitted = (MOST..MOST + 50).filter(|number| known.count(&key(*number), window(7), 2).is_some()).count();
        assert_eq!(admitted, 2);
        assert_eq!(known.count(&key(3), window(7), 2), Some(0), "known keys keep their own");
        assert_eq!(known.count(&key(MOST + 1), window(8), 2), Some(1), "the next window has room");
    }
}
