//! What one environment holds of a key, and how it comes to more (state.md §4).
//!
//! A lease is a number of tokens, taken by one write and valid until some moment after that was sent, by the wall clock
//! alone: an environment that is frozen, dies or loses the answer can only waste tokens. How many it asks for follows
//! its own demand and what is left; how often it asks, where it competes with others, follows success (AIMD).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::algorithm::{Ask, Meter, Seen};
use crate::clock::{DOUBTED, Timestamp};

/// Over how long demand is averaged, at least.
const MEMORY: Duration = Duration::from_millis(500);

/// Of what has just begun, so much is taken to have passed.
const LEAST_AGE: Duration = Duration::from_millis(100);

/// Attempts a second of an environment that does not know better yet, and the bounds.
const FIRST_PACE: f32 = 4.0;
const SLOWEST: f32 = 1.0;
const SLOWEST_THROTTLED: f32 = 0.5;
const FASTEST: f32 = 50.0;

/// So long after others wrote they are taken to write still.
const QUIET: Duration = Duration::from_secs(1);

/// How long a refill may take: for so long there should be enough.
const REFILLED_IN: Duration = Duration::from_millis(15);

/// So careful is an environment with its leases that does not know better yet (state.md §4.4).
const MOST_CAREFUL: f32 = 1.0;

/// Of a lease smaller than this nothing is asked for ahead.
const WORTH_REFILLING: u64 = 4;

/// Tokens held until some moment.
#[derive(Debug, Clone, Copy)]
struct Lease {
    left: u64,
    until: Timestamp,
    era: u64,
}

/// What an environment holds and knows of one key.
#[derive(Debug)]
pub(super) struct Holding {
    leases: Vec<Lease>,
    /// How many the last lease was of.
    last: u64,
    /// How many standard deviations of its demand it asks for less: less and less while all of what was leased is used.
    care: f32,
    wasted: bool,
    /// Tokens asked for a second.
    demand: f32,
    demanded: Timestamp,
    /// The first request of those that follow each other, and whether there was another.
    began: Timestamp,
    repeats: bool,
    /// Attempts a second, where others compete.
    pace: f32,
    rests_until: Timestamp,
    /// Until when its item is asked too much as it is.
    crowded_until: Timestamp,
    /// Until when other shards are taken to be as empty as its own.
    stays_until: Timestamp,
    /// Writes a second to the item, whoever makes them.
    writes: f32,
    /// How often the item was written, as last seen.
    grants: Option<(i128, Timestamp)>,
    has_others: bool,
    others_seen: Timestamp,
    /// How many of the writes since then are ours, and how many more may be.
    own: i128,
    under_way: u32,
    draws: u64,
    /// Told when the lease that is being asked for is there.
    pub(super) flight: Option<Arc<Notify>>,
}

/// What was taken of a holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) tokens: u64,
    /// Until when they may be spent.
    pub(super) until: Timestamp,
    pub(super) era: u64,
    /// How many are left besides.
    pub(super) left: u64,
}

impl Holding {
    /// Nothing held; `seed` makes its draws its own.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            leases: Vec::new(),
            last: 0,
            care: MOST_CAREFUL,
            wasted: false,
            demand: 0.0,
            demanded: Timestamp::from_nanos(0),
            began: Timestamp::from_nanos(0),
            repeats: false,
            pace: FIRST_PACE,
            rests_until: Timestamp::from_nanos(0),
            crowded_until: Timestamp::from_nanos(0),
            stays_until: Timestamp::from_nanos(0),
            writes: 0.0,
            grants: None,
            has_others: false,
            others_seen: Timestamp::from_nanos(0),
            own: 0,
            under_way: 0,
            draws: seed,
            flight: None,
        }
    }

    /// Takes note of a request for `cost`, of a key whose leases are this long.
    pub(super) fn demand(&mut self, cost: u64, lease: Duration, now: Timestamp) {
        let memory = MEMORY.max(lease);
        self.repeats = now.since(self.demanded) < 4 * memory;
        if !self.repeats {
            self.began = now;
        }
        let memory = memory.as_secs_f32();
        self.demand = self.demand * decay(now.since(self.demanded), memory) + whole(cost) / memory;
        self.demanded = now;
    }

    /// Takes note of a request that is refused without asking. It is no demand, or leases would be of more than can be
    /// spent; but neither is it a sign that there is less of it.
    pub(super) fn refuse(&mut self, now: Timestamp) {
        self.began = self.began.plus(now.since(self.demanded));
        self.demanded = now;
    }

    /// Takes `cost` of what is held; nothing where there is less.
    pub(super) fn spend(&mut self, cost: u64, now: Timestamp, era: u64) -> Option<Spent> {
        let wasted = &mut self.wasted;
        self.leases.retain(|lease| {
            let valid = lease.until > now && lease.era == era;
            *wasted |= lease.left > 0 && !valid;
            lease.left > 0 && valid
        });
        let held: u64 = self.leases.iter().map(|lease| lease.left).sum();
        let left = held.checked_sub(cost)?;
        let (mut missing, mut until) = (cost, Timestamp::from_nanos(u64::MAX));
        // The first to end are mostly the first that came.
        for lease in &mut self.leases {
            let taken = missing.min(lease.left);
            lease.left -= taken;
            missing -= taken;
            until = until.min(lease.until);
            if missing == 0 {
                break;
            }
        }
        Some(Spent { tokens: cost, until, era, left })
    }

    /// Puts back what was not used after all.
    pub(super) fn put_back(&mut self, spent: Spent) {
        let same = |lease: &&mut Lease| lease.until == spent.until && lease.era == spent.era;
        if let Some(lease) = self.leases.iter_mut().find(same) {
            lease.left += spent.tokens;
            return;
        }
        self.leases.push(Lease { left: spent.tokens, until: spent.until, era: spent.era });
    }

    /// Until when nothing more is asked for; `None` where it may be.
    pub(super) fn rests(&self, now: Timestamp) -> Option<Timestamp> {
        (self.rests_until > now).then_some(self.rests_until)
    }

    /// Whether to try another shard, where its own has nothing.
    pub(super) fn may_stray(&self, now: Timestamp) -> bool {
        self.flight.is_none() && self.stays_until <= now
    }

    /// Learns that another shard had nothing either: the rest are not asked at once.
    pub(super) fn stays(&mut self, now: Timestamp) {
        self.pace = SLOWEST.max(0.7 * self.pace);
        self.stays_until = now.plus(self.interval());
    }

    /// When all that it holds is over.
    pub(super) fn ends(&self) -> Timestamp {
        self.leases
            .iter()
            .map(|lease| lease.until)
            .max()
            .unwrap_or_default()
            .max(self.rests_until)
            .max(self.crowded_until)
    }

    /// What to ask the item for, for a request that needs `ask`: as many as will be spent with little waste, but never
    /// more than a quarter of what is left; or else `ask` itself.
    pub(super) fn want(&self, ask: Ask, meter: &dyn Meter, seen: &Seen, quantum: u64) -> Ask {
        let lease = meter.longest_lease(ask.at);
        // By a clock that is doubted nothing is held (state.md §2.4).
        if lease.is_zero() || ask.error >= DOUBTED {
            return ask;
        }
        // Alone, what was seen of the item still holds.
        let slack = if self.has_others { meter.slack(self.writes) } else { None };
        let ask = Ask { guess: true, slack, ..ask };
        let expected = self.expected(MEMORY.max(lease).as_secs_f32(), ask.at) * lease.as_secs_f32();
        let expected = (1.0 - 0.1 * self.care) * expected;
        let wanted = tokens(expected - self.care * expected.sqrt()).saturating_add(1);
        if wanted <= ask.cost {
            return ask;
        }
        let leased = Ask { cost: wanted, lease, ..ask };
        let room = meter.room(&leased, seen);
        let cost = wanted.min(quantum.max(room / 4)).min(room);
        if cost <= ask.cost { ask } else { Ask { cost, ..leased } }
    }

    /// Tokens asked for a second, as of `now`. An average that has just begun is of too little.
    fn expected(&self, memory: f32, now: Timestamp) -> f32 {
        let demand = self.demand * decay(now.since(self.demanded), memory);
        if !self.repeats {
            return demand;
        }
        demand / (1.0 - decay(now.since(self.began).max(LEAST_AGE), memory))
    }

    /// A write is sent.
    pub(super) fn sends(&mut self) {
        self.under_way += 1;
    }

    /// A write is answered, or given up.
    pub(super) fn lands(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Learns how often the item was written, just now by us or not. Whatever is under way besides may be among that.
    pub(super) fn sees(&mut self, grants: Option<i128>, by_us: bool, now: Timestamp) {
        let Some(grants) = grants else { return };
        let (before, then) = self.grants.unwrap_or((0, Timestamp::default()));
        // Answers may come in another order than they were given.
        let more = grants - before;
        if more < 0 {
            // Long after, it is another item: that one was over and is deleted.
            if now.since(then) > QUIET {
                (self.grants, self.own) = (Some((grants, now)), 0);
            }
            return;
        }
        self.own += i128::from(by_us);
        if more > self.own + i128::from(self.under_way.saturating_sub(1)) {
            self.others_seen = now;
            self.has_others = true;
        } else if now.since(self.others_seen) > QUIET {
            // That nobody else wrote within a moment says nothing.
            self.has_others = false;
        }
        let passed = now.since(then).as_secs_f32();
        if self.grants.is_some() && passed > 0.0 {
            let more = u16::try_from(more).map_or(f32::from(u16::MAX), f32::from);
            let weight = if self.writes == 0.0 { 1.0 } else { 1.0 - decay(now.since(then), 1.0) };
            self.writes += (more / passed - self.writes) * weight;
        }
        (self.grants, self.own) = (Some((grants, now)), 0);
    }

    /// Takes in what was granted for `ask`, and pays a request of it that needs `cost` (none for a refill).
    pub(super) fn granted(&mut self, ask: &Ask, cost: u64, scarce: bool, era: u64) -> Spent {
        let until = ask.at.plus(ask.lease);
        self.quickens(if scarce && self.has_others { 0.5 } else { 2.0 });
        if ask.lease.is_zero() {
            return Spent { tokens: cost, until, era, left: 0 };
        }
        if scarce && self.has_others {
            self.rests_until = ask.at.plus(self.interval());
        }
        self.last = ask.cost;
        let care = match std::mem::take(&mut self.wasted) {
            _ if scarce => MOST_CAREFUL,
            true => self.care + 0.25,
            false => self.care - 0.25,
        };
        self.care = care.clamp(0.0, MOST_CAREFUL);
        let left = ask.cost.saturating_sub(cost);
        self.leases.push(Lease { left, until, era });
        Spent { tokens: cost, until, era, left }
    }

    /// Learns that nothing is to be had before `until`; who knows of others does not return with all of them at once.
    pub(super) fn denied(&mut self, until: Timestamp, now: Timestamp) -> Timestamp {
        self.pace = SLOWEST.max(0.7 * self.pace);
        if !self.has_others {
            return until;
        }
        self.rests_until = until.max(now.plus(self.interval()));
        self.rests_until
    }

    /// Learns that the item is asked too much.
    pub(super) fn throttled(&mut self, now: Timestamp) -> Timestamp {
        self.pace = SLOWEST_THROTTLED.max(0.5 * self.pace);
        self.crowded_until = now.plus(self.interval());
        self.crowded_until
    }

    /// Until when the item is left alone, since it was asked too much.
    pub(super) fn crowded(&self, now: Timestamp) -> Option<Timestamp> {
        (self.crowded_until > now).then_some(self.crowded_until)
    }

    /// Whether more should be asked for before it is needed: in a moment there will be too little, spent or over.
    pub(super) fn is_low(&self, now: Timestamp, era: u64) -> bool {
        let rests = self.rests(now).or(self.crowded(now)).is_some();
        if self.last < WORTH_REFILLING || rests || self.flight.is_some() {
            return false;
        }
        let soon = tokens(self.demand * REFILLED_IN.as_secs_f32());
        self.left(now.plus(REFILLED_IN), era) <= soon.min(self.last / 4)
    }

    /// How many are held.
    pub(super) fn left(&self, now: Timestamp, era: u64) -> u64 {
        self.leases.iter().filter(|lease| lease.until > now && lease.era == era).map(|lease| lease.left).sum()
    }

    fn quickens(&mut self, by: f32) {
        self.pace = FASTEST.min(self.pace + by);
    }

    /// Until the next attempt: not everyone's at once.
    fn interval(&mut self) -> Duration {
        Duration::from_secs_f32((0.75 + 0.5 * self.draw()) / self.pace)
    }

    /// The next of its draws, from 0 to 1 (splitmix64).
    fn draw(&mut self) -> f32 {
        self.draws = self.draws.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut drawn = self.draws;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f32::from(u16::try_from(drawn >> 48).unwrap_or(0)) / f32::from(u16::MAX)
    }
}

/// What is left of something after `passed`, of which in `memory` seconds all but 1/e is forgotten.
fn decay(passed: Duration, memory: f32) -> f32 {
    (-passed.as_secs_f32() / memory).exp()
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
const fn whole(tokens: u64) -> f32 {
    tokens as f32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates: below 0 is 0")]
const fn tokens(expected: f32) -> u64 {
    expected as u64
}
