//! The fixed window (state.md §3.1): an attribute a window, one conditional update a request, exact.
//!
//! Windows are numbered from the epoch: window k of length W is [k·W, (k+1)·W). Nothing here reads a clock or a table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::rate::{Per, Rate};
use crate::clock::Timestamp;
use crate::digits::push_number;
use crate::table::{Condition, Item, Terms, Update};

/// How far an environment's clock may be off.
pub(super) const SKEW: Duration = Duration::from_millis(5);

/// How long an item outlives its last window, in seconds.
const KEPT: u64 = 120;

/// One window of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Window {
    index: u64,
    /// Its length in seconds.
    per: u64,
}

/// Where a moment is among the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In this one, by every clock.
    In(Window),
    /// So near a boundary that another's clock may say otherwise, until this long from now.
    Between(Duration),
}

impl Window {
    /// The window that `now` is in by this clock alone.
    pub(super) fn labelled(now: Timestamp, per: Per) -> Self {
        let secs = per.secs();
        Self { index: now.secs() / secs, per: secs }
    }

    /// The window that `now` is in by every clock that is off by [`SKEW`] at most.
    pub(super) fn of(now: Timestamp, per: Per) -> Place {
        let low = Self::labelled(now.minus(SKEW), per);
        let high = Self::labelled(now.plus(SKEW), per);
        if low == high {
            return Place::In(low);
        }
        Place::Between(high.start().plus(SKEW).since(now))
    }

    fn start(self) -> Timestamp {
        Timestamp::from_secs(self.index.saturating_mul(self.per))
    }

    /// When it is over.
    pub(super) fn end(self) -> Timestamp {
        Timestamp::from_secs(self.index.saturating_add(1).saturating_mul(self.per))
    }

    /// Whether a token of it may be spent at `now`: a token of a window is spent in no other, by any clock.
    pub(super) fn spendable(self, now: Timestamp) -> bool {
        let at = |moment: Timestamp| moment.secs() / self.per;
        at(now.minus(SKEW)) == self.index && at(now.plus(SKEW)) == self.index
    }

    /// The attribute that counts it.
    pub(super) fn attribute(self) -> String {
        attribute(self.index)
    }

    /// The update that takes one of `rate`, and its terms. `stale` are windows known to be left over in the item.
    pub(super) fn take(self, rate: Rate, stale: &[u64]) -> (Update, Terms) {
        let name = self.attribute();
        let expiry = self.end().secs().saturating_add(self.per).saturating_add(KEPT);
        let mut update = Update::new().add(name.clone(), 1).set("x", expiry);
        let usual = [2, 3].into_iter().filter_map(|back| self.index.checked_sub(back));
        let older = stale.iter().copied().filter(|index| self.index.saturating_sub(*index) > 3);
        for index in usual.chain(older) {
            update = update.remove(attribute(index));
        }
        let room = i128::from(rate.count) - 1;
        (update, Terms::when(Condition::missing(name.clone()).or(Condition::at_most(name, room))))
    }

    /// The update that gives one back, and its terms. Sent once, or it would count twice.
    pub(super) fn give_back(self) -> (Update, Terms) {
        let name = self.attribute();
        (Update::new().add(name.clone(), -1), Terms::when(Condition::at_least(name, 1)))
    }

    /// How many were taken from it, as `item` has it.
    pub(super) fn taken(self, item: &Item) -> Option<u64> {
        item.number(&self.attribute()).and_then(|count| u64::try_from(count.max(0)).ok())
    }

    /// Windows older than the usual removal reaches, left over from before an idle time. Those of a limit that once had
    /// another length are not told from these but by their size, which differs by 24 times at least: another version
    /// of the config may still count with them.
    pub(super) fn stale(self, item: &Item) -> Vec<u64> {
        item.iter()
            .filter_map(|(name, _)| name.strip_prefix('w')?.parse().ok())
            .filter(|index| *index > self.index / 2 && *index < self.index.saturating_sub(3))
            .take(8)
            .collect()
    }
}

/// The attribute that counts the window of this number.
fn attribute(index: u64) -> String {
    let mut name = String::with_capacity(24);
    name.push('w');
    push_number(&mut name, index);
    name
}

/// The update of a window with nothing stale, which is the same for every key: made once a window.
#[derive(Debug, Default)]
pub(super) struct Usual(Mutex<Option<(Window, Arc<Taking>)>>);

/// An update and its terms.
pub(super) type Taking = (Update, Terms);

impl Usual {
    /// [`Window::take`] with nothing stale.
    pub(super) fn take(&self, window: Window, rate: Rate) -> Arc<Taking> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((its, taking)) if *its == window => Arc::clone(taking),
            _ => {
                let taking = Arc::new(window.take(rate, &[]));
                *made = Some((window, Arc::clone(&taking)));
                taking
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_moment_is_in_a_window_when_every_clock_says_so() {
        for (millis, place) in [
            (60_005, Place::In(Window { index: 1, per: 60 })),
            (60_004, Place::Between(Duration::from_millis(1))),
            (60_000, Place::Between(Duration::from_millis(5))),
            (59_995, Place::Between(Duration::from_millis(10))),
            (59_994, Place::In(Window { index: 0, per: 60 })),
            (119_994, Place::In(Window { index: 1, per: 60 })),
        ] {
            assert_eq!(Window::of(at(millis), Per::Minute), place, "{millis}");
        }
    }

    #[test]
    fn a_token_is_spent_in_its_own_window_alone() {
        let window = Window { index: 1, per: 60 };
        for (millis, may) in [(60_004, false), (60_005, true), (119_994, true), (119_995, false), (180_100, false)] {
            assert_eq!(window.spendable(at(millis)), may, "{millis}");
        }
    }

    #[test]
    fn the_update_is_the_one_of_the_design() {
        let (update, terms) = Window { index: 100, per: 60 }.take(Rate { count: 5, per: Per::Minute }, &[]);
        assert_eq!(update, Update::new().add("w100", 1).set("x", 101 * 60 + 60 + 120).remove("w98").remove("w97"));
        let condition = Condition::missing("w100".to_owned()).or(Condition::at_most("w100".to_owned(), 4_i128));
        assert_eq!(terms, Terms::when(condition));
        let (update, _) = Window { index: 1, per: 60 }.take(Rate { count: 5, per: Per::Minute }, &[]);
        assert_eq!(update, Update::new().add("w1", 1).set("x", 2 * 60 + 60 + 120));
    }

    #[test]
    fn what_an_idle_time_left_over_is_removed_and_nothing_else() {
        let window = Window { index: 100, per: 60 };
        let mut item = Item::new().with("x", 1).with("other", 2);
        for index in [3, 50, 51, 60, 96, 97, 98, 99, 100, 6000] {
            item.insert(format!("w{index}"), 1);
        }
        let mut stale = window.stale(&item);
        stale.sort_unstable();
        assert_eq!(stale, [51, 60, 96]);
        let (update, _) = Window { index: 101, per: 60 }.take(Rate { count: 5, per: Per::Minute }, &[60, 99]);
        let plain = Update::new().add("w101", 1).set("x", 102 * 60 + 60 + 120).remove("w99").remove("w98");
        assert_eq!(update, plain.remove("w60"), "w99 is removed once");
        assert!(update.check().is_ok());
    }
}
