//! The sliding window of buckets (state.md §3.3): `j` is the newest bucket's number, `b0`… a ring of what each took,
//! `s` their sum. Ten buckets make a window; the eleventh is the one that has just begun. So whatever window one
//! chooses, the sum covers it, and it never sees more than the limit.
//!
//! A bucket is a tenth of the window and twice the skew, so that this holds whatever the clocks (within the skew). At
//! most a tenth less than the limit passes in return.

use std::borrow::Cow;
use std::sync::Arc;

use super::algorithm::{Ask, BOUNDLESS, Meter, SKEW, Seen, Taking, count, expiry, length, moment, nanos};
use super::rate::Rate;
use crate::clock::Timestamp;
use crate::table::{Assigned, Condition, Item, Name, Operand, Terms, Update};

/// How many buckets make a window.
const BUCKETS: i128 = 10;

/// How many are kept: a window of them, and the one that is being filled.
pub(super) const RING: usize = 11;

/// Their names in an item.
const NAMES: [&str; RING] = ["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "b10"];

#[derive(Debug)]
pub(super) struct Sliding {
    limit: i128,
    /// A bucket's length in nanoseconds.
    bucket: i128,
}

/// An item as it counts for one request: moved on to bucket `index`.
#[derive(Debug)]
struct Moved {
    index: i128,
    /// Of the buckets that a window ending in `index` still sees.
    sum: i128,
    /// Of those it no longer sees.
    dropped: i128,
    /// How many buckets it was moved; all of them where the item is too old to matter.
    by: i128,
}

impl Sliding {
    pub(super) fn new(rate: Rate) -> Self {
        let whole = length(rate.per.duration() + 2 * SKEW);
        Self { limit: rate.count.into(), bucket: (whole + BUCKETS - 1) / BUCKETS }
    }

    fn own(&self, ask: &Ask) -> i128 {
        (nanos(ask.at) - length(SKEW)).div_euclid(self.bucket)
    }

    /// The item as it is for whoever asks now. One ahead of our clock is taken at its word.
    fn moved(&self, ask: &Ask, seen: &Seen) -> Moved {
        let own = self.own(ask);
        let index = if let Seen::Ring { index, .. } = seen { own.max((*index).into()) } else { own };
        self.moved_to(index, seen)
    }

    fn moved_to(&self, index: i128, seen: &Seen) -> Moved {
        let Seen::Ring { index: at, sum, buckets } = seen else {
            return Moved { index, sum: 0, dropped: 0, by: BUCKETS + 1 };
        };
        let by = (index - i128::from(*at)).min(BUCKETS + 1);
        let dropped: i128 = (1..=by).map(|ahead| bucket_of(buckets, i128::from(*at) + ahead)).sum();
        // Where all is dropped, so is what the sum had too much of.
        let sum = if by > BUCKETS { 0 } else { i128::from(*sum) - dropped };
        Moved { index, sum, dropped, by }
    }

    fn ends(&self, index: i128) -> Timestamp {
        moment((index + BUCKETS + 1) * self.bucket).plus(SKEW)
    }
}

/// What the ring has at the place of this bucket.
fn bucket_of(buckets: &[u64; RING], index: i128) -> i128 {
    place(index).and_then(|place| buckets.get(place)).copied().unwrap_or(0).into()
}

fn place(index: i128) -> Option<usize> {
    usize::try_from(index.rem_euclid(BUCKETS + 1)).ok()
}

fn name(index: i128) -> Name {
    Cow::Borrowed(place(index).and_then(|place| NAMES.get(place)).copied().unwrap_or("b0"))
}

impl Meter for Sliding {
    fn over(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp> {
        let room = self.limit - i128::from(ask.cost);
        let now = self.moved(ask, seen);
        if now.sum <= room {
            return None;
        }
        let later = (1..=BUCKETS + 1).map(|ahead| now.index + ahead);
        let free = later.into_iter().find(|index| self.moved_to(*index, seen).sum <= room);
        Some(moment(free.unwrap_or(now.index + BUCKETS + 1) * self.bucket).plus(SKEW))
    }

    fn attempt(&self, ask: &Ask, seen: &Seen) -> Arc<Taking> {
        let cost = i128::from(ask.cost);
        let limit = if ask.debt { BOUNDLESS } else { self.limit };
        let moved = self.moved(ask, seen);
        let own = name(moved.index);
        let update = Update::new().set("x", expiry(self.ends(moved.index)));
        Arc::new(match (moved.by, seen) {
            (0, _) => {
                let bucket = Assigned::Sum(Operand::at_or(own.clone().into_owned(), 0), cost.into());
                let same =
                    update.set("s", Assigned::Sum(Operand::At("s".into()), cost.into())).set(own.into_owned(), bucket);
                let in_it = Condition::equal("j", moved.index).and(Condition::at_most("s", limit - cost));
                (same, Terms::when(in_it))
            }
            (by @ 1..=BUCKETS, Seen::Ring { index, sum, .. }) => {
                let delta = Assigned::Sum(Operand::At("s".into()), (cost - moved.dropped).into());
                let next = update.set("s", delta).set(own.into_owned(), cost).set("j", moved.index);
                let skipped = (1..by).map(|back| name(moved.index - back).into_owned());
                let next = skipped.fold(next, |next, name| next.set(name, 0));
                let was = Condition::equal("j", *index).and(Condition::equal("s", *sum));
                (next, Terms::when(was))
            }
            _ => {
                let reset = update.set("j", moved.index).set("s", cost).set(own.into_owned(), cost);
                let others = (1..=BUCKETS).map(|ahead| name(moved.index + ahead).into_owned());
                let reset = others.fold(reset, Update::remove);
                let old = Condition::missing("j").or(Condition::below("j", moved.index - BUCKETS));
                (reset, Terms::when(old))
            }
        })
    }

    fn read(&self, _: &Ask, item: &Item) -> Option<Seen> {
        if item.get("j").is_none() {
            return Some(Seen::Nothing);
        }
        let mut buckets = [0; RING];
        for (bucket, name) in buckets.iter_mut().zip(NAMES) {
            *bucket = count(item, name)?;
        }
        Some(Seen::Ring { index: count(item, "j")?, sum: count(item, "s")?, buckets })
    }

    /// Only while the bucket it was taken in is the newest: then `s` tells all that the ring holds, and a move to the
    /// next bucket cannot take it for another.
    fn give_back(&self, ask: &Ask, seen: &Seen) -> Taking {
        let cost = i128::from(ask.cost);
        let index = if let Seen::Ring { index, .. } = seen { i128::from(*index) } else { self.own(ask) };
        let own = name(index).into_owned();
        let less = |path: String| Assigned::Difference(Operand::At(path.into()), cost.into());
        let update = Update::new().set("s", less("s".to_owned())).set(own.clone(), less(own.clone()));
        let newest = Condition::equal("j", index).and(Condition::at_least(own, cost));
        (update, Terms::when(newest))
    }

    fn values(&self) -> usize {
        RING + 3
    }

    fn most(&self) -> u64 {
        u64::try_from(self.limit).unwrap_or(u64::MAX)
    }

    fn left(&self, ask: &Ask, seen: &Seen) -> u64 {
        u64::try_from((self.limit - self.moved(ask, seen).sum).max(0)).unwrap_or(u64::MAX)
    }

    fn full_at(&self, ask: &Ask, seen: &Seen) -> Timestamp {
        if let Seen::Ring { index, .. } = seen { self.ends((*index).into()) } else { ask.at }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limit::Per;

    fn sliding() -> Sliding {
        Sliding::new(Rate { count: 10, per: Per::Second })
    }

    /// In the middle of bucket `index`.
    fn ask(index: u64, cost: u64) -> Ask {
        let at = moment(i128::from(index) * sliding().bucket + sliding().bucket / 2).plus(SKEW);
        Ask { at, cost, patience: Duration::ZERO, ..Ask::default() }
    }

    fn seen(index: u64, buckets: [u64; RING]) -> Seen {
        Seen::Ring { index, sum: buckets.iter().sum(), buckets }
    }

    fn plus(name: &'static str, by: i128) -> Assigned {
        Assigned::Sum(Operand::At(name.into()), by.into())
    }

    #[test]
    fn the_updates_are_those_of_the_design() {
        let all = [1, 0, 2, 1, 0, 0, 0, 0, 0, 3, 0];
        let ends = |index| expiry(sliding().ends(index));
        // 110 is a multiple of 11: bucket 110 is b0.
        let (same, terms) = &*sliding().attempt(&ask(110, 2), &seen(110, all));
        let bucket = Assigned::Sum(Operand::at_or("b0".to_owned(), 0), 2.into());
        assert_eq!(*same, Update::new().set("x", ends(110)).set("s", plus("s", 2)).set("b0", bucket));
        assert_eq!(*terms, Terms::when(Condition::equal("j", 110).and(Condition::at_most("s", 8))));

        let (next, terms) = &*sliding().attempt(&ask(112, 2), &seen(110, all));
        let design = Update::new().set("x", ends(112)).set("s", plus("s", 0)).set("b2", 2).set("j", 112).set("b1", 0);
        assert_eq!(*next, design, "b1 and b2 fall out of the window");
        assert_eq!(*terms, Terms::when(Condition::equal("j", 110).and(Condition::equal("s", 7))));

        let (reset, terms) = &*sliding().attempt(&ask(121, 2), &seen(110, all));
        let design = Update::new().set("x", ends(121)).set("j", 121).set("s", 2).set("b0", 2);
        let others = ["b1", "b2", "b3", "b4", "b5", "b6", "b7", "b8", "b9", "b10"];
        assert_eq!(*reset, others.into_iter().fold(design, Update::remove));
        assert_eq!(*terms, Terms::when(Condition::missing("j").or(Condition::below("j", 111))));
    }

    #[test]
    fn what_is_refused_is_let_in_when_enough_buckets_are_out() {
        // Buckets 100 to 110; b1 is 100, b2 is 101, b0 is 110.
        let full = seen(110, [2, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0]);
        for (cost, free) in [(1, 112), (3, 112), (4, 116), (8, 116), (9, 121)] {
            let until = sliding().over(&ask(110, cost), &full).unwrap();
            assert_eq!(until, moment(free * sliding().bucket).plus(SKEW), "{cost}");
            let at = |at| sliding().over(&Ask { at, ..ask(0, cost) }, &full);
            assert_eq!(at(until), None);
            assert_eq!(at(until.minus(Duration::from_nanos(1))), Some(until));
        }
    }

    #[test]
    fn an_item_ahead_of_our_clock_is_counted_in() {
        let ahead = seen(111, [0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sliding().left(&ask(110, 1), &ahead), 1);
        let (_, terms) = &*sliding().attempt(&ask(110, 1), &ahead);
        assert_eq!(*terms, Terms::when(Condition::equal("j", 111).and(Condition::at_most("s", 9))));
    }

    #[test]
    fn a_bucket_covers_the_skew_too() {
        assert!(sliding().bucket * BUCKETS >= length(Duration::from_secs(1) + 2 * SKEW));
    }
}
