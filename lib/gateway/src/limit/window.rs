//! The fixed window (state.md §3.1): an attribute a window, one conditional update a request, exact.
//!
//! Windows are numbered from the epoch: window k of length W is [k·W, (k+1)·W). Nothing here reads a clock or a table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::algorithm::{Ask, FEWEST_LEASED, KEPT, Meter, SKEW, Seen, Settled, Taking, longest_lease};
use super::rate::{Per, Rate};
use crate::clock::Timestamp;
use crate::digits::push_number;
use crate::table::{Condition, Item, Terms, Update};

/// One window of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Window {
    index: u64,
    /// Its length in seconds.
    per: u64,
}

/// Where a moment is among the windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
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
    fn of(now: Timestamp, per: Per) -> Place {
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
    fn end(self) -> Timestamp {
        Timestamp::from_secs(self.index.saturating_add(1).saturating_mul(self.per))
    }

    /// Whether a token of it may be spent at `now`: a token of a window is spent in no other, by any clock.
    fn spendable(self, now: Timestamp) -> bool {
        let at = |moment: Timestamp| moment.secs() / self.per;
        at(now.minus(SKEW)) == self.index && at(now.plus(SKEW)) == self.index
    }

    /// The attribute that counts it.
    pub(super) fn attribute(self) -> String {
        attribute(self.index)
    }

    /// The update that takes `cost` of `limit`, and its terms. `stale` are windows known to be left over in the item.
    fn take(self, limit: u64, cost: u64, stale: &[u64]) -> Taking {
        let name = self.attribute();
        let expiry = self.end().secs().saturating_add(self.per).saturating_add(KEPT);
        let mut update = Update::new().add(name.clone(), cost.into()).set("x", expiry);
        let usual = [2, 3].into_iter().filter_map(|back| self.index.checked_sub(back));
        let older = stale.iter().copied().filter(|index| *index > 0 && self.index.saturating_sub(*index) > 3);
        for index in usual.chain(older) {
            update = update.remove(attribute(index));
        }
        let room = i128::from(limit) - i128::from(cost);
        (update, Terms::when(Condition::missing(name.clone()).or(Condition::at_most(name, room))))
    }

    /// How many were taken from it, as `item` has it.
    fn taken(self, item: &Item) -> Option<u64> {
        super::algorithm::count(item, &self.attribute())
    }

    /// Windows older than the usual removal reaches, left over from before an idle time.
    fn stale(self, item: &Item) -> [u64; 4] {
        let mut stale = [0; 4];
        let left = item
            .iter()
            .filter_map(|(name, _)| name.strip_prefix('w')?.parse().ok())
            .filter(|index| *index < self.index.saturating_sub(3));
        for (place, index) in stale.iter_mut().zip(left) {
            *place = index;
        }
        stale
    }
}

/// The attribute that counts the window of this number.
fn attribute(index: u64) -> String {
    let mut name = String::with_capacity(24);
    name.push('w');
    push_number(&mut name, index);
    name
}

/// The fixed window of a limit.
#[derive(Debug)]
pub(super) struct FixedWindow {
    rate: Rate,
    /// The update of a window with nothing stale, which is the same for every key: made once a window.
    usual: Mutex<Option<(Window, u64, Arc<Taking>)>>,
}

impl FixedWindow {
    pub(super) const fn new(rate: Rate) -> Self {
        Self { rate, usual: Mutex::new(None) }
    }

    fn window(&self, ask: &Ask) -> Window {
        Window::labelled(ask.at, self.rate.per)
    }

    /// How many were taken from the window asked for, and what is stale.
    fn standing(&self, ask: &Ask, seen: &Seen) -> (u64, [u64; 4]) {
        match seen {
            Seen::Window { window, taken, stale } if *window == self.window(ask) => (*taken, *stale),
            Seen::Window { stale, .. } => (0, *stale),
            Seen::Nothing
            | Seen::Bucket { .. }
            | Seen::Pair { .. }
            | Seen::Ring { .. }
            | Seen::Log { .. }
            | Seen::Quota { .. } => (0, [0; 4]),
        }
    }

    fn usual(&self, window: Window, cost: u64) -> Arc<Taking> {
        let mut made = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some((its, its_cost, taking)) if *its == window && *its_cost == cost => Arc::clone(taking),
            _ => {
                let taking = Arc::new(window.take(self.rate.count, cost, &[]));
                *made = Some((window, cost, Arc::clone(&taking)));
                taking
            }
        }
    }
}

impl Meter for FixedWindow {
    /// Near a boundary, where clocks may not agree on the window, that takes a wait of twice the skew at most.
    fn settle(&self, now: Timestamp) -> Settled {
        match Window::of(now, self.rate.per) {
            Place::In(_) => Settled::At(now),
            Place::Between(wait) => Settled::In(wait),
        }
    }

    fn over(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp> {
        let (taken, _) = self.standing(ask, seen);
        (taken.saturating_add(ask.cost) > self.rate.count).then(|| self.window(ask).end())
    }

    fn attempt(&self, ask: &Ask, seen: &Seen) -> Arc<Taking> {
        let (_, stale) = self.standing(ask, seen);
        if ask.debt {
            return Arc::new(self.window(ask).take(u64::MAX, ask.cost, &stale));
        }
        if stale == [0; 4] {
            return self.usual(self.window(ask), ask.cost);
        }
        Arc::new(self.window(ask).take(self.rate.count, ask.cost, &stale))
    }

    fn read(&self, ask: &Ask, item: &Item) -> Option<Seen> {
        let window = self.window(ask);
        Some(Seen::Window { window, taken: window.taken(item)?, stale: window.stale(item) })
    }

    fn spendable(&self, ask: &Ask, now: Timestamp, sure: bool) -> bool {
        let window = self.window(ask);
        window.spendable(now) || !sure && Window::labelled(now.plus(SKEW), self.rate.per) == window
    }

    /// Sent once, or it would count twice.
    fn give_back(&self, ask: &Ask, seen: &Seen) -> Taking {
        let window = if let Seen::Window { window, .. } = seen { *window } else { self.window(ask) };
        let (name, cost) = (window.attribute(), i128::from(ask.cost));
        (Update::new().add(name.clone(), -cost), Terms::when(Condition::at_least(name, cost)))
    }

    /// Never beyond the window, by any clock.
    fn longest_lease(&self, at: Timestamp) -> Duration {
        if self.rate.count < FEWEST_LEASED {
            return Duration::ZERO;
        }
        let end = Window::labelled(at, self.rate.per).end();
        longest_lease(self.rate).min(end.minus(SKEW).since(at))
    }

    fn most(&self) -> u64 {
        self.rate.count
    }

    fn left(&self, ask: &Ask, seen: &Seen) -> u64 {
        self.rate.count.saturating_sub(self.standing(ask, seen).0)
    }

    fn full_at(&self, ask: &Ask, _: &Seen) -> Timestamp {
        self.window(ask).end()
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
        let (update, terms) = Window { index: 100, per: 60 }.take(5, 2, &[]);
        assert_eq!(update, Update::new().add("w100", 2).set("x", 101 * 60 + 60 + 120).remove("w98").remove("w97"));
        let condition = Condition::missing("w100".to_owned()).or(Condition::at_most("w100".to_owned(), 3_i128));
        assert_eq!(terms, Terms::when(condition));
        let (update, _) = Window { index: 1, per: 60 }.take(5, 1, &[]);
        assert_eq!(update, Update::new().add("w1", 1).set("x", 2 * 60 + 60 + 120));
    }

    #[test]
    fn what_an_idle_time_left_over_is_removed_and_nothing_else() {
        let window = Window { index: 100, per: 60 };
        let mut item = Item::new().with("x", 1).with("other", 2);
        for index in [3, 51, 60, 96, 97, 98, 99, 100] {
            item.insert(format!("w{index}"), 1);
        }
        let mut stale = window.stale(&item);
        stale.sort_unstable();
        assert_eq!(stale, [3, 51, 60, 96]);
        let (update, _) = Window { index: 101, per: 60 }.take(5, 1, &[60, 99, 0, 0]);
        let plain = Update::new().add("w101", 1).set("x", 102 * 60 + 60 + 120).remove("w99").remove("w98");
        assert_eq!(update, plain.remove("w60"), "w99 is removed once");
        assert!(update.check().is_ok());
    }
}
