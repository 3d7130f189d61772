//! The quota (state.md §3.1, long windows; §11): so many in each period of a calendar, an item a period, one conditional
//! update a request, exact.
//!
//! A request counts in the period that this environment's clock is in: near a boundary two environments may not agree
//! on the period, and each period's count is exact all the same. Nothing here reads a clock or a table.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::algorithm::{Ask, Meter, Seen, Taking, count, expiry};
use super::calendar::{Calendar, Period, Zone};
use super::rate::Rate;
use crate::clock::Timestamp;
use crate::table::{Condition, Item, Terms, Update};

/// For how long an item that was seen full is believed to be. Others may have given back since, and what is left of a
/// month is long.
const BELIEVED: Duration = Duration::from_secs(10);

/// How long an item outlives its period: what was counted can still be read, and a clock that is behind finds it.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// The quota of a plan.
#[derive(Debug)]
pub(super) struct Quota {
    limit: u64,
    /// Whether what is beyond the limit is counted and passes.
    soft: bool,
    calendar: Calendar,
    /// The latest period asked for, so that a request does no arithmetic of time zones.
    current: Mutex<Option<Current>>,
}

/// A period, and the update that takes `cost` in it, which is the same for every key.
#[derive(Debug)]
struct Current {
    period: Period,
    usual: Option<(u64, Arc<Taking>)>,
}

impl Quota {
    pub(super) fn new(rate: Rate, zone: Zone, soft: bool) -> Self {
        Self { limit: rate.count, soft, calendar: Calendar::new(zone, rate.per), current: Mutex::new(None) }
    }

    fn period(&self, at: Timestamp) -> Period {
        self.with(at, |current| current.period)
    }

    fn with<T>(&self, at: Timestamp, read: impl FnOnce(&mut Current) -> T) -> T {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_mut()
            && current.period.contains(at)
        {
            return read(current);
        }
        let mut asked = Current { period: self.calendar.period(at), usual: None };
        let answer = read(&mut asked);
        if current.as_ref().is_none_or(|current| current.period.end <= asked.period.start) {
            *current = Some(asked);
        }
        answer
    }

    fn take(&self, period: &Period, cost: u64) -> Taking {
        let update = Update::new().add(USED, cost.into()).set("x", expiry(period.end.plus(KEPT)));
        if self.soft {
            return (update, Terms::default());
        }
        let room = i128::from(self.limit) - i128::from(cost);
        (update, Terms::when(Condition::missing(USED).or(Condition::at_most(USED, room))))
    }

    /// How many were used in the period asked for, as `seen` has it.
    fn used(&self, ask: &Ask, seen: &Seen) -> u64 {
        match seen {
            Seen::Quota { label, used, .. } if *label == self.period(ask.at).label => *used,
            Seen::Nothing
            | Seen::Bucket { .. }
            | Seen::Window { .. }
            | Seen::Pair { .. }
            | Seen::Ring { .. }
            | Seen::Log { .. }
            | Seen::Quota { .. } => 0,
        }
    }
}

/// The attribute that counts.
const USED: &str = "u";

impl Meter for Quota {
    fn keeps_its_moment(&self) -> bool {
        true
    }

    fn label(&self, ask: &Ask) -> Option<u64> {
        Some(self.period(ask.at).label)
    }

    fn window_secs(&self, now: Timestamp) -> Option<u64> {
        Some(self.period(now).secs())
    }

    fn over(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp> {
        let Seen::Quota { at, .. } = seen else { return None };
        let over = self.used(ask, seen).saturating_add(ask.cost) > self.limit;
        (over && !self.soft && ask.at.since(*at) < BELIEVED).then(|| self.period(ask.at).end)
    }

    fn beyond(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp> {
        (self.used(ask, seen) > self.limit).then(|| self.period(ask.at).end)
    }

    fn attempt(&self, ask: &Ask, _: &Seen) -> Arc<Taking> {
        self.with(ask.at, |current| match &current.usual {
            Some((cost, taking)) if *cost == ask.cost => Arc::clone(taking),
            Some(_) | None => {
                let taking = Arc::new(self.take(&current.period, ask.cost));
                current.usual = Some((ask.cost, Arc::clone(&taking)));
                taking
            }
        })
    }

    fn read(&self, ask: &Ask, item: &Item) -> Option<Seen> {
        Some(Seen::Quota { label: self.period(ask.at).label, used: count(item, USED)?, at: ask.at })
    }

    /// Sent once, or it would count twice.
    fn give_back(&self, ask: &Ask, _: &Seen) -> Taking {
        let cost = i128::from(ask.cost);
        (Update::new().add(USED, -cost), Terms::when(Condition::at_least(USED, cost)))
    }

    fn most(&self) -> u64 {
        self.limit
    }

    fn left(&self, ask: &Ask, seen: &Seen) -> u64 {
        self.limit.saturating_sub(self.used(ask, seen))
    }

    fn values(&self) -> usize {
        2
    }

    fn full_at(&self, ask: &Ask, _: &Seen) -> Timestamp {
        self.period(ask.at).end
    }

    fn believed_until(&self, ask: &Ask, _: &Seen) -> Timestamp {
        ask.at.plus(BELIEVED)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate::Per;
    use super::*;

    const DAY: u64 = 86_400;

    fn ask(secs: u64, cost: u64) -> Ask {
        Ask { at: Timestamp::from_secs(secs), cost, patience: Duration::ZERO, ..Ask::default() }
    }

    #[test]
    fn the_updates_are_those_of_the_design() {
        let quota = Quota::new(Rate { count: 100, per: Per::Day }, Zone::UTC, false);
        let (update, terms) = &*quota.attempt(&ask(10 * DAY + 7, 2), &Seen::Nothing);
        assert_eq!(update, &Update::new().add("u", 2).set("x", 11 * DAY + 2 * DAY + 1 + 120));
        assert_eq!(terms, &Terms::when(Condition::missing("u").or(Condition::at_most("u", 98_i128))));
        let (update, terms) = quota.give_back(&ask(10 * DAY, 2), &Seen::Nothing);
        assert_eq!((update, terms), (Update::new().add("u", -2), Terms::when(Condition::at_least("u", 2_i128))));
    }

    #[test]
    fn a_soft_one_counts_on_and_says_that_it_is_passed() {
        let quota = Quota::new(Rate { count: 5, per: Per::Day }, Zone::UTC, true);
        assert_eq!(quota.attempt(&ask(DAY, 1), &Seen::Nothing).1, Terms::default());
        for (used, left, beyond) in [(4, 1, false), (5, 0, false), (6, 0, true)] {
            let seen = quota.read(&ask(DAY, 1), &Item::new().with("u", used)).expect("an item");
            assert_eq!((quota.left(&ask(DAY, 1), &seen), quota.over(&ask(DAY, 1), &seen)), (left, None));
            assert_eq!(quota.beyond(&ask(DAY, 1), &seen), beyond.then(|| Timestamp::from_secs(2 * DAY)));
        }
    }

    #[test]
    fn what_was_seen_counts_in_its_own_period_alone() {
        let quota = Quota::new(Rate { count: 5, per: Per::Day }, Zone::UTC, false);
        let seen = quota.read(&ask(DAY - 1, 1), &Item::new().with("u", 5)).expect("an item");
        assert_eq!(quota.over(&ask(DAY - 1, 1), &seen), Some(Timestamp::from_secs(DAY)));
        assert_eq!((quota.left(&ask(DAY - 1, 1), &seen), quota.left(&ask(DAY, 1), &seen)), (0, 5));
        assert_eq!(quota.over(&ask(DAY, 1), &seen), None);
    }

    #[test]
    fn what_was_full_is_believed_for_ten_seconds() {
        let quota = Quota::new(Rate { count: 5, per: Per::Month }, Zone::UTC, false);
        let seen = quota.read(&ask(100, 1), &Item::new().with("u", 5)).expect("an item");
        assert!(quota.over(&ask(109, 1), &seen).is_some());
        assert!(quota.over(&ask(110, 1), &seen).is_none());
    }

    #[test]
    fn the_update_of_a_period_is_made_once_and_never_used_in_another() {
        let quota = Quota::new(Rate { count: 5, per: Per::Day }, Zone::UTC, false);
        let first = quota.attempt(&ask(DAY, 1), &Seen::Nothing);
        assert!(Arc::ptr_eq(&first, &quota.attempt(&ask(2 * DAY - 1, 1), &Seen::Nothing)));
        assert_ne!(first, quota.attempt(&ask(DAY, 2), &Seen::Nothing));
        let next = quota.attempt(&ask(2 * DAY, 1), &Seen::Nothing);
        assert_ne!(first, next);
        assert_eq!(quota.attempt(&ask(DAY, 1), &Seen::Nothing), first, "a late one");
        assert!(Arc::ptr_eq(&next, &quota.attempt(&ask(2 * DAY, 1), &Seen::Nothing)));
    }
}
