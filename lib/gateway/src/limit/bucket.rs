//! Token bucket and leaky bucket: GCRA (state.md §3.5 and §3.6).
//!
//! An item holds `tat`, the moment at which its bucket is full again, and `gn`, how often it was written. A token of
//! [`Bucket::step`] moves `tat` on by as much; `tat` is at most [`Bucket::depth`] ahead of now. Where clocks agree, no
//! interval of length t sees more than the burst and the rate × t; where they differ by d, the rate × d more.

use std::sync::Arc;
use std::time::Duration;

use super::algorithm::{
    Ask, BOUNDLESS, FEWEST_LEASED, Meter, Seen, Taking, expiry, length, longest_lease, moment, nanos,
};
use super::rate::Rate;
use super::share::Share;
use crate::clock::Timestamp;
use crate::table::{Assigned, Condition, Item, Operand, Terms, Update};

/// A bucket is hot where three writes to it are no further apart than it may be taken late; or where they are under way
/// for as long as this.
const LEAST_SLACK: Duration = Duration::from_millis(15);

/// By how much a hot bucket is taken late: an eighth of its burst, and so much at most.
const MOST_SLACK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Bucket {
    /// The time in which one comes back, in nanoseconds, rounded up so that the rate is never exceeded.
    step: i128,
    /// The time in which the whole burst comes back.
    depth: i128,
    queue: i128,
    burst: u64,
    lease: Duration,
}

impl Bucket {
    pub(super) fn new(rate: Rate, burst: u64, queue: Duration) -> Self {
        let (per, count) = (rate.per.duration().as_nanos(), u128::from(rate.count.max(1)));
        let step = i128::try_from(per.div_ceil(count)).unwrap_or(i128::MAX);
        let depth = i128::from(burst) * step;
        let quarter = Duration::from_nanos(u64::try_from(depth / 4).unwrap_or(u64::MAX));
        let leased = burst >= FEWEST_LEASED && queue.is_zero();
        let lease = if leased { quarter.min(longest_lease(rate)) } else { Duration::ZERO };
        Self { step, depth, queue: length(queue), burst, lease }
    }

    /// The same, of which this is one of several shards: what the burst leaves over in the division is given up.
    pub(super) fn shard(rate: Rate, burst: u64, shards: u32) -> Self {
        let whole = Self::new(rate, burst / u64::from(shards), Duration::ZERO);
        let step = whole.step * i128::from(shards);
        let lease = whole.lease * shards;
        Self { step, depth: i128::from(whole.burst) * step, lease: lease.min(longest_lease(rate)), ..whole }
    }

    /// What one environment counts by alone.
    pub(super) fn local(share: &Share) -> Self {
        let (step, burst) = (share.step(), share.burst);
        Self { step, depth: i128::from(burst) * step, queue: 0, burst, lease: Duration::ZERO }
    }

    /// The moment as which what is asked counts (state.md §4.2): its last, by any clock.
    fn debited(ask: &Ask) -> i128 {
        let lease = if ask.lease.is_zero() { 0 } else { length(ask.lease) + 2 * length(ask.error) };
        nanos(ask.at) + lease
    }

    fn increment(&self, ask: &Ask) -> i128 {
        i128::from(ask.cost) * self.step
    }

    /// How far ahead of now the item may be before it is taken from.
    fn ahead(&self, ask: &Ask) -> i128 {
        if ask.debt {
            return BOUNDLESS;
        }
        self.depth + self.queue.min(length(ask.patience)) - self.increment(ask)
    }
}

const fn tat(seen: &Seen) -> Option<i128> {
    match seen {
        Seen::Bucket { tat, .. } => Some(*tat),
        Seen::Nothing
        | Seen::Window { .. }
        | Seen::Pair { .. }
        | Seen::Ring { .. }
        | Seen::Log { .. }
        | Seen::Quota { .. } => None,
    }
}

impl Meter for Bucket {
    /// An attempt that was refused for its branch is sent with the other branch's condition for the same moment, which
    /// then holds or says that the bucket is empty: two at most.
    fn keeps_its_moment(&self) -> bool {
        true
    }

    fn over(&self, ask: &Ask, seen: &Seen) -> Option<Timestamp> {
        let until = tat(seen)? - self.ahead(ask);
        (until > nanos(ask.at)).then(|| moment(until))
    }

    fn attempt(&self, ask: &Ask, seen: &Seen) -> Arc<Taking> {
        let (now, increment) = (nanos(ask.at), self.increment(ask));
        let (debited, cap) = (Self::debited(ask), now + self.ahead(ask));
        let busy = tat(seen).is_some_and(|tat| tat > debited) || ask.guess && ask.slack.is_some();
        let ends = expiry(moment(now + self.depth + self.queue));
        let (update, condition) = if busy {
            let update = Update::new()
                .set("tat", Assigned::Sum(Operand::At("tat".into()), increment.into()))
                .set("gn", Assigned::Sum(Operand::At("gn".into()), 1.into()));
            (update, Condition::between("tat", debited, cap))
        } else {
            let from = cap.min(debited + ask.slack.map_or(0, length));
            let update =
                Update::new().set("tat", from + increment).set("gn", Assigned::Sum(Operand::at_or("gn", 0), 1.into()));
            (update, Condition::missing("tat").or(Condition::at_most("tat", from)))
        };
        Arc::new((update.set("x", ends), Terms::when(condition)))
    }

    fn read(&self, _: &Ask, item: &Item) -> Option<Seen> {
        if item.get("tat").is_none() {
            return Some(Seen::Nothing);
        }
        Some(Seen::Bucket { tat: item.number("tat")?, grants: item.number("gn")? })
    }

    fn departs(&self, ask: &Ask, seen: &Seen) -> Timestamp {
        tat(seen).map_or(ask.at, |tat| moment(tat - self.depth).max(ask.at))
    }

    /// Only while nobody wrote since: else the bucket may have been full meanwhile, and what is given back would undo
    /// another's token (state.md §4.6). Nobody is given it twice, however often it is sent.
    fn give_back(&self, ask: &Ask, seen: &Seen) -> Taking {
        let grants = if let Seen::Bucket { grants, .. } = seen { *grants } else { -1 };
        let update = Update::new()
            .set("tat", Assigned::Difference(Operand::At("tat".into()), self.increment(ask).into()))
            .set("gn", Assigned::Sum(Operand::At("gn".into()), 1.into()));
        (update, Terms::when(Condition::equal("gn", grants)).idempotent())
    }

    fn values(&self) -> usize {
        3
    }

    fn longest_lease(&self, _: Timestamp) -> Duration {
        self.lease
    }

    fn room(&self, ask: &Ask, seen: &Seen) -> u64 {
        let debited = Self::debited(ask);
        let room = nanos(ask.at) + self.depth - tat(seen).unwrap_or(debited).max(debited);
        u64::try_from((room / self.step).max(0)).unwrap_or(self.burst)
    }

    fn grants(&self, seen: &Seen) -> Option<i128> {
        if let Seen::Bucket { grants, .. } = seen { Some(*grants) } else { None }
    }

    fn is_scarce(&self, ask: &Ask, seen: &Seen) -> bool {
        tat(seen).is_some_and(|tat| 2 * (tat - nanos(ask.at)) > self.depth)
    }

    fn slack(&self, writes: f32) -> Option<Duration> {
        let most = Duration::from_nanos(u64::try_from(self.depth / 8).unwrap_or(u64::MAX)).min(MOST_SLACK);
        let least = Duration::from_secs_f32(3.0 / writes.max(0.001)).max(LEAST_SLACK);
        (least <= most).then_some(most)
    }

    fn most(&self) -> u64 {
        self.burst
    }

    fn left(&self, ask: &Ask, seen: &Seen) -> u64 {
        let now = nanos(ask.at);
        let room = now + self.depth - tat(seen).unwrap_or(now).max(now);
        u64::try_from((room / self.step).max(0)).unwrap_or(self.burst)
    }

    fn full_at(&self, ask: &Ask, seen: &Seen) -> Timestamp {
        tat(seen).map_or(ask.at, moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Per;

    const NOW: i128 = 1_700_000_000_000_000_000;

    fn ask(cost: u64) -> Ask {
        Ask { at: moment(NOW), cost, patience: Duration::MAX, ..Ask::default() }
    }

    fn bucket(burst: u64, queue_ms: u64) -> Bucket {
        Bucket::new(Rate { count: 10, per: Per::Second }, burst, Duration::from_millis(queue_ms))
    }

    #[test]
    fn an_idle_bucket_is_taken_from_now_on() {
        for seen in [Seen::Nothing, Seen::Bucket { tat: NOW, grants: 4 }] {
            let (update, terms) = &*bucket(5, 0).attempt(&ask(2), &seen);
            let design = Update::new()
                .set("tat", NOW + 200_000_000)
                .set("gn", Assigned::Sum(Operand::at_or("gn", 0), 1.into()))
                .set("x", 1_700_000_000 + 1 + 120);
            assert_eq!(*update, design);
            assert_eq!(*terms, Terms::when(Condition::missing("tat").or(Condition::at_most("tat", NOW))));
        }
    }

    #[test]
    fn a_busy_bucket_is_taken_from_where_it_stands() {
        let (update, terms) = &*bucket(5, 0).attempt(&ask(2), &Seen::Bucket { tat: NOW + 1, grants: 4 });
        let design = Update::new()
            .set("tat", Assigned::Sum(Operand::At("tat".into()), 200_000_000.into()))
            .set("gn", Assigned::Sum(Operand::At("gn".into()), 1.into()))
            .set("x", 1_700_000_000 + 1 + 120);
        assert_eq!(*update, design);
        assert_eq!(*terms, Terms::when(Condition::between("tat", NOW, NOW + 300_000_000)));
    }

    #[test]
    fn a_queue_lets_in_what_conforms_a_little_later() {
        let (tat, at) = (NOW + 550_000_000, |ms: i128| moment(NOW + ms * 1_000_000));
        let seen = Seen::Bucket { tat, grants: 9 };
        assert_eq!(bucket(5, 0).over(&ask(1), &seen), Some(at(150)));
        assert_eq!(bucket(5, 100).over(&ask(1), &seen), Some(at(50)));
        assert_eq!(bucket(5, 150).over(&ask(1), &seen), None);
        let hasty = Ask { patience: Duration::from_millis(140), ..ask(1) };
        assert_eq!(bucket(5, 150).over(&hasty, &seen), Some(at(10)), "it cannot wait for so long");
        let taken = Seen::Bucket { tat: tat + 100_000_000, grants: 10 };
        assert_eq!(bucket(5, 150).departs(&ask(1), &taken), at(150));
        assert_eq!(bucket(5, 150).left(&ask(1), &taken), 0);
    }

    #[test]
    fn only_a_bucket_that_is_written_often_is_taken_late_and_never_by_long() {
        let daily = Bucket::new(Rate { count: 400, per: Per::Day }, 400, Duration::ZERO);
        assert_eq!(daily.slack(0.0), None, "nothing is known of it");
        assert_eq!(daily.slack(1.0), None);
        assert!(daily.slack(100.0).is_some_and(|slack| slack <= MOST_SLACK));
        assert_eq!(bucket(1, 0).slack(100.0), None, "an eighth of the burst is less");
    }

    #[test]
    fn a_token_never_takes_less_time_than_the_rate_says() {
        for (count, per, step) in
            [(3, Per::Second, 333_333_334), (7, Per::Day, 12_342_857_142_858), (u64::MAX, Per::Second, 1)]
        {
            assert_eq!(Bucket::new(Rate { count, per }, 1, Duration::ZERO).step, step);
        }
    }
}
