//! The sliding window as two weighted windows (state.md §3.2): `w` is the window's number, `c` what was taken in it,
//! `p` what was taken in the one before, of which the part counts that a window ending now still sees.
//!
//! Approximate, since it takes the previous window's requests to be spread evenly: a window may see almost twice the
//! limit.

use std::sync::Arc;

use super::algorithm::{Ask, BOUNDLESS, Meter, SKEW, Seen, Taking, count, expiry, length, moment, nanos};
use super::rate::Rate;
use crate::clock::Timestamp;
use crate::table::{Assigned, Condition, Item, Operand, Terms, Update};

#[derive(Debug)]
pub(super) struct Pair {
    limit: i128,
    /// The window's length in nanoseconds.
    length: i128,
}

/// An item as it counts for one request.
struct Standing {
    index: i128,
    current: i128,
    previous: i128,
    /// How much of the previous window is still seen, in nanoseconds: its weight × its length.
    seen: i128,
}

impl Pair {
    pub(super) fn new(rate: Rate) -> Self {
        Self { limit: rate.count.into(), length: length(rate.per.duration()) }
    }

    /// The item as it is for whoever asks now: rolled on where its window is over. Where it is ahead of our clock, its
    /// window has just begun.
    fn standing(&self, ask: &Ask, seen: &Seen) -> Standing {
        let low = nanos(ask.at) - length(SKEW);
        let own = low.div_euclid(self.length);
        let (index, current, previous) = if let Seen::Pair { index, current, previous } = *seen {
            (index.into(), current.into(), previous.into())
        } else {
            (own - 2, 0, 0)
        };
        if index > own {
            return Standing { index, current, previous, seen: self.length };
        }
        let (current, previous) = match own - index {
            0 => (current, previous),
            1 => (0, current),
            _ => (0, 0),
        };
        Standing { index: own, current, previous, seen: self.length - low.rem_euclid(self.length) }
    }

    /// What of the previous window still counts, rounded up.
    fn weighted(&self, standing: &Standing) -> i128 {
        let product = standing.previous * standing.seen;
        product.div_euclid(self.length) + i128::from(product.rem_euclid(self.length) > 0)
    }

    /// How much of a previous window with `previous` may be seen while `room` is to be left by it.
    fn bearable(&self, previous: i128, room: i128) -> i128 {
        if previous == 0 { self.length } else { (room * self.length / previous).min(self.length) }
    }
}

impl Meter for Pair {
    fn over(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp> {
        let standing = self.standing(ask, seen);
        let room = self.limit - i128::from(ask.cost) - standing.current;
        if self.weighted(&standing) <= room {
            return None;
        }
        let bearable = if room > 0 { self.bearable(standing.previous, room) } else { 0 };
        let low = if bearable > 0 {
            (standing.index + 1) * self.length - bearable
        } else {
            let room = self.limit - i128::from(ask.cost);
            (standing.index + 2) * self.length - self.bearable(standing.current, room)
        };
        Some(moment(low + length(SKEW)))
    }

    fn attempt(&self, ask: &Ask, seen: &Seen) -> Arc<Taking> {
        let standing = self.standing(ask, seen);
        let (index, cost) = (standing.index, i128::from(ask.cost));
        let limit = if ask.debt { BOUNDLESS } else { self.limit };
        let ends = expiry(moment((index + 2) * self.length));
        let before = if let Seen::Pair { index, .. } = seen { Some(i128::from(*index)) } else { None };
        Arc::new(match before.map(|before| index - before) {
            Some(0) => {
                let room = limit - self.weighted(&standing) - cost;
                let in_it = Condition::equal("w", index)
                    .and(Condition::at_most("p", standing.previous))
                    .and(Condition::at_most("c", room));
                let same = Update::new().set("c", Assigned::Sum(Operand::At("c".into()), cost.into())).set("x", ends);
                (same, Terms::when(in_it))
            }
            Some(1) => {
                let most = (limit - cost) * self.length / standing.seen;
                let roll =
                    Update::new().set("p", Operand::At("c".into())).set("c", cost).set("w", index).set("x", ends);
                (roll, Terms::when(Condition::equal("w", index - 1).and(Condition::at_most("c", most))))
            }
            _ => {
                let reset = Update::new().set("w", index).set("c", cost).set("p", 0).set("x", ends);
                (reset, Terms::when(Condition::missing("w").or(Condition::below("w", index - 1))))
            }
        })
    }

    fn read(&self, _: &Ask, item: &Item) -> Option<Seen> {
        if item.get("w").is_none() {
            return Some(Seen::Nothing);
        }
        Some(Seen::Pair { index: count(item, "w")?, current: count(item, "c")?, previous: count(item, "p")? })
    }

    /// Only in its own window: in the next it is part of what is rolled on.
    fn give_back(&self, ask: &Ask, seen: &Seen) -> Taking {
        let index = self.standing(ask, seen).index;
        let update = Update::new().set("c", Assigned::Difference(Operand::At("c".into()), i128::from(ask.cost).into()));
        let there = Condition::equal("w", index).and(Condition::at_least("c", i128::from(ask.cost)));
        (update, Terms::when(there))
    }

    fn most(&self) -> u64 {
        u64::try_from(self.limit).unwrap_or(u64::MAX)
    }

    fn left(&self, ask: &Ask, seen: &Seen) -> u64 {
        let standing = self.standing(ask, seen);
        u64::try_from((self.limit - self.weighted(&standing) - standing.current).max(0)).unwrap_or(u64::MAX)
    }

    fn full_at(&self, ask: &Ask, seen: &Seen) -> Timestamp {
        let standing = self.standing(ask, seen);
        moment((standing.index + 2) * self.length).plus(SKEW)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limit::Per;

    fn pair() -> Pair {
        Pair::new(Rate { count: 10, per: Per::Minute })
    }

    /// `ms` into window 100.
    fn ask(ms: u64, cost: u64) -> Ask {
        Ask {
            at: Timestamp::from_millis(100 * 60_000 + ms).plus(SKEW),
            cost,
            patience: Duration::ZERO,
            ..Ask::default()
        }
    }

    const fn seen(index: u64, current: u64, previous: u64) -> Seen {
        Seen::Pair { index, current, previous }
    }

    #[test]
    fn the_updates_are_those_of_the_design() {
        let ends = 102 * 60 + 1 + 120;
        let (reset, terms) = &*pair().attempt(&ask(15_000, 2), &seen(98, 9, 9));
        assert_eq!(*reset, Update::new().set("w", 100).set("c", 2).set("p", 0).set("x", ends));
        assert_eq!(*terms, Terms::when(Condition::missing("w").or(Condition::below("w", 99))));

        let (roll, terms) = &*pair().attempt(&ask(15_000, 2), &seen(99, 9, 7));
        assert_eq!(*roll, Update::new().set("p", Operand::At("c".into())).set("c", 2).set("w", 100).set("x", ends));
        assert_eq!(*terms, Terms::when(Condition::equal("w", 99).and(Condition::at_most("c", 10))), "8 / 0.75");

        let (same, terms) = &*pair().attempt(&ask(15_000, 2), &seen(100, 1, 7));
        assert_eq!(*same, Update::new().set("c", Assigned::Sum(Operand::At("c".into()), 2.into())).set("x", ends));
        let room = 10 - 6 - 2;
        let in_it = Condition::equal("w", 100).and(Condition::at_most("p", 7)).and(Condition::at_most("c", room));
        assert_eq!(*terms, Terms::when(in_it));
    }

    #[test]
    fn the_end_of_a_refusal_is_the_first_moment_that_lets_in() {
        for (seen, cost) in [
            (seen(100, 4, 10), 1),
            (seen(100, 10, 0), 1),
            (seen(100, 10, 3), 10),
            (seen(100, 3, 9), 7),
            (seen(100, 10, 10), 4),
            (seen(99, 10, 2), 5),
            (seen(103, 10, 0), 1),
        ] {
            let until = pair().over(&ask(1_000, cost), &seen).unwrap();
            let at = |at| pair().over(&Ask { at, ..ask(0, cost) }, &seen);
            assert_eq!(at(until), None, "{seen:?}");
            assert!(at(until.minus(Duration::from_nanos(1))).is_some(), "{seen:?}");
        }
    }

    #[test]
    fn an_item_ahead_of_our_clock_is_taken_at_its_word() {
        assert_eq!(pair().left(&ask(59_999, 1), &seen(101, 0, 4)), 6);
        let (_, terms) = &*pair().attempt(&ask(59_999, 1), &seen(101, 0, 4));
        let in_it = Condition::equal("w", 101).and(Condition::at_most("p", 4)).and(Condition::at_most("c", 5));
        assert_eq!(*terms, Terms::when(in_it));
    }
}
