//! Rate limits: how many requests a key may make in a time, counted over all environments together.
//!
//! How a limit counts is its [`Algorithm`]; what is promised of each stands there. Who is asked is its [`Accuracy`]:
//! the shared table, by one conditional update a request, or what this environment holds a lease of. A key that is
//! known to be over its limit is refused without asking.
//!
//! Several limits are all or nothing: when one refuses, leases keep what they gave for the next request, and the rest
//! goes back once the answer is out ([`Taken::later`]), so that a refused request costs its client nothing elsewhere.

mod accuracy;
mod address;
mod algorithm;
mod asked;
mod book;
mod bucket;
mod calendar;
mod cost;
mod division;
mod fields;
mod hold;
mod key;
mod known;
mod lease;
mod log;
mod owed;
mod pair;
mod plan;
mod quota;
mod rate;
mod share;
mod sliding;
mod taken;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use division::share_items;

pub use accuracy::{Accuracy, Shards};
pub use algorithm::Algorithm;
pub use calendar::Zone;
pub use cost::Cost;
pub use fields::FieldSet;
pub use owed::Owed;
pub use plan::{ByPlan, Plan, Plans, Used};
pub use rate::{Per, Rate};
pub use taken::{Later, Taken};

use crate::auth::Caller;
use crate::clock::{Clock, Timestamp};
use crate::expression::{Expression, Facts, Part};
use crate::mode::Mode;
use crate::table::{Item, Table, Terms};
use algorithm::{Ask, Meter, Seen, Taking};
use asked::{Answer, Asked, Given};
use book::{Book, Moment};
use division::{Division, Items, nth};
use fields::Named;
use hold::{World, hold};
use key::Key;
use known::{Local, MOST};
use taken::conclude;

/// For how long a request waits for its limits, all of them together, at most. The table's adapter gives up before.
pub const BOUND: Duration = Duration::from_millis(150);

/// One limit of the config: a bucket a key, over all routes that use it.
pub struct Limit {
    /// Its name, unique in the config.
    pub name: Arc<str>,
    /// How many in what time.
    pub rate: Rate,
    /// How it counts.
    pub algorithm: Algorithm,
    /// What is counted together.
    pub by: LimitKey,
    /// How many a request takes.
    pub cost: Cost,
    /// What happens while the table does not answer.
    pub on_store_failure: OnStoreFailure,
    /// Who is asked before a request passes.
    pub accuracy: Accuracy,
    /// Over how many items each key's count is spread; of buckets without a queue.
    pub shards: Shards,
    /// Whether it is asked before the caller is known, so that it also counts who is then turned away.
    pub before_identify: bool,
    /// How many bits of an IPv6 address count; all where it is not said.
    pub ipv6_prefix: Option<u8>,
    /// In which fields its clients are told of it.
    pub headers: FieldSet,
    config: Arc<str>,
    /// What the keys of its items begin with.
    prefix: Arc<str>,
    division: OnceLock<Division>,
    /// For how many seconds what limits of the same key write may matter.
    horizon: AtomicU64,
    book: Book,
    local: Local,
    told: Named,
    /// What this environment draws from: its first request's seed.
    environment: OnceLock<u64>,
}

/// What a limit counts together.
#[derive(Debug)]
pub enum LimitKey {
    /// Everything.
    Global,
    /// Whatever has the same value. Where there is no value, or an empty one, the requests share one bucket.
    By(Expression),
    /// The caller's tenant, or the caller where there is no tenant.
    Caller,
}

/// What a limit does while the table does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnStoreFailure {
    /// Counts in this process alone, with the environment's share of the rate where the host says how many there are, and
    /// else with all of it.
    #[default]
    Local,
    /// Lets everything pass.
    Open,
    /// Refuses everything, with 503.
    Closed,
}

impl OnStoreFailure {
    /// What a limit of this accuracy does where nothing is written: who asks for exactness is refused rather than
    /// counted loosely.
    pub const fn usual(accuracy: Accuracy) -> Self {
        match accuracy {
            Accuracy::Exact => Self::Closed,
            Accuracy::Leased | Accuracy::Local => Self::Local,
        }
    }

    /// As the config writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// One use of a limit by a route.
#[derive(Debug, Clone)]
pub struct Use {
    /// The limit, shared by all its uses, or those of the caller's plan.
    pub limit: Used,
    /// Whether it acts here.
    pub mode: Mode,
}

impl From<Arc<Limit>> for Use {
    fn from(limit: Arc<Limit>) -> Self {
        Self { limit: limit.into(), mode: Mode::Enforce }
    }
}

/// The limits of a route, in the order they are asked.
#[derive(Debug, Clone, Default)]
pub struct Limits(pub Vec<Use>);

impl Limit {
    /// A limit of the config named `config`; items of two configs never meet. A token bucket with a burst of the rate's
    /// count, in which each request costs 1.
    pub fn new(config: Arc<str>, name: Arc<str>, rate: Rate, by: LimitKey, on_store_failure: OnStoreFailure) -> Self {
        let algorithm = Algorithm::TokenBucket { burst: rate.count };
        Self {
            told: Named::new(&name, algorithm.most(rate), algorithm.window_secs(rate)),
            cost: Cost::Fixed(1),
            accuracy: Accuracy::default(),
            shards: Shards::default(),
            before_identify: false,
            ipv6_prefix: None,
            headers: FieldSet::default(),
            prefix: Arc::from("rl#"),
            division: OnceLock::new(),
            horizon: AtomicU64::new(algorithm.horizon(rate)),
            book: Book::new(MOST),
            local: Local::new(algorithm.meter(rate).values()),
            environment: OnceLock::new(),
            config,
            name,
            rate,
            algorithm,
            by,
            on_store_failure,
        }
    }

    /// The same, counted by `algorithm`.
    #[must_use]
    pub fn counted_by(self, algorithm: Algorithm) -> Self {
        let rate = self.rate;
        Self {
            told: Named::new(&self.name, algorithm.most(rate), algorithm.window_secs(rate)),
            horizon: AtomicU64::new(algorithm.horizon(rate)),
            local: Local::new(algorithm.meter(rate).values()),
            algorithm,
            ..self
        }
    }

    /// The same, whose items are kept as those of a plan's quota.
    #[must_use]
    pub fn of_plan(self, plan: &str) -> Self {
        Self { prefix: Arc::from(format!("q#{plan}#")), ..self }
    }

    /// The same, of which a request takes `cost`.
    #[must_use]
    pub fn costing(self, cost: Cost) -> Self {
        Self { cost, ..self }
    }

    /// The same, with so much asked of the table.
    #[must_use]
    pub fn accurate(self, accuracy: Accuracy) -> Self {
        Self { accuracy, ..self }
    }

    /// The same, spread over so many items.
    #[must_use]
    pub fn sharded(self, shards: Shards) -> Self {
        Self { shards, ..self }
    }

    /// The same, asked before the caller is known (or after).
    #[must_use]
    pub fn before_identify(self, before_identify: bool) -> Self {
        Self { before_identify, ..self }
    }

    /// The same, of which IPv6 addresses count by their networks of so many bits.
    #[must_use]
    pub fn counting_networks(self, ipv6_prefix: Option<u8>) -> Self {
        Self { ipv6_prefix, ..self }
    }

    /// The same, told of in these fields.
    #[must_use]
    pub fn told_in(self, headers: FieldSet) -> Self {
        Self { headers, ..self }
    }

    fn key(&self, facts: &Facts<'_>, caller: Option<&Caller>) -> Key {
        let masked = self.ipv6_prefix.map(|prefix| Facts { ip: address::masked(facts.ip, prefix), ..*facts });
        let facts = masked.as_ref().unwrap_or(facts);
        let subject = match &self.by {
            LimitKey::Global => None,
            LimitKey::By(by) => by.text(facts).ok().filter(|subject| !subject.is_empty()),
            LimitKey::Caller => return self.items().stem.key(caller.and_then(subject_of)),
        };
        let via = caller.filter(|_| self.items().with_via).map_or("", Caller::via);
        self.items().stem.key(subject.as_deref().map(|subject| (via, subject)))
    }

    /// How it is divided, decided by the first who says how many environments there may be.
    fn division(&self, environments: Option<NonZeroU32>) -> &Division {
        self.division.get_or_init(|| Division::of(self, environments))
    }

    fn meter(&self) -> &dyn Meter {
        &*self.division(None).meter
    }

    fn local_meter(&self) -> &dyn Meter {
        &*self.division(None).local_meter
    }

    fn items(&self) -> &Items {
        &self.division(None).items
    }

    fn quantum(&self) -> u64 {
        self.division(None).quantum
    }

    /// Whether its key can be told before the caller is known.
    pub(crate) fn is_known_early(&self) -> bool {
        let by = match &self.by {
            LimitKey::Global => false,
            LimitKey::By(by) => by.reads(Part::Caller),
            LimitKey::Caller => true,
        };
        let cost = matches!(&self.cost, Cost::Of(cost) if cost.reads(Part::Caller));
        !by && !cost
    }

    /// Whether some of it is ever leased.
    pub(crate) fn may_lease(&self) -> bool {
        self.accuracy == Accuracy::Leased && self.algorithm.may_be_leased(self.meter().most())
    }

    /// For how long a lease of it holds at most, where there are any.
    fn leases(&self) -> Option<Duration> {
        self.may_lease().then(|| algorithm::longest_lease(self.rate))
    }

    /// Whether its environments keep out of each other's way.
    fn paces(&self) -> bool {
        self.may_lease() || self.algorithm.can_be_sharded()
    }

    /// What of an item is this limit's; `None` where that makes no sense.
    fn read(&self, ask: &Ask, item: &Item) -> Option<Seen> {
        if self.items().suffix.is_empty() {
            return self.meter().read(ask, item);
        }
        self.meter().read(ask, &item.of_owner(&self.items().suffix))
    }

    /// A write under the names that this limit has in its item.
    fn owned(&self, (update, terms): Taking) -> Taking {
        let suffix = &self.items().suffix;
        if suffix.is_empty() {
            return (update, terms);
        }
        let condition = terms.condition.map(|condition| condition.owned(suffix));
        (update.owned(suffix), Terms { condition, ..terms })
    }

    /// Learns how the item of `key` was left, just now by us or by others.
    fn learn(&self, key: &Key, ask: &Ask, seen: Seen, by_us: bool, moment: Moment) {
        let until = self.meter().believed_until(ask, &seen);
        self.book.with(key, moment, |standing, _| {
            standing.seen = seen;
            if let Some(holding) = standing.held() {
                holding.sees(self.meter().grants(&seen), by_us, moment.at);
            }
            ((), Some(until))
        });
    }

    /// The item of this environment, where the count of `key` is divided.
    fn shard(&self, key: Key, seed: u64) -> Key {
        if self.items().shards == 1 {
            return key;
        }
        let environment = *self.environment.get_or_init(|| seed);
        key.shard(nth(environment ^ key.seed(), self.items().shards))
    }

    /// Another than `own`, the item of this environment, drawn by `seed`.
    fn other_shard(&self, own: Key, seed: u64) -> Key {
        let environment = *self.environment.get_or_init(|| seed);
        let home = nth(environment ^ own.seed(), self.items().shards);
        let ahead = 1 + nth(seed.rotate_left(17) ^ own.seed(), self.items().shards - 1);
        // A key is its own shard's shard: so its own is taken out, and the other put in.
        own.shard(home).shard((home + ahead) % self.items().shards)
    }

    fn item_key(&self, key: &Key, ask: &Ask) -> String {
        key.item_under(&self.prefix, self.meter().label(ask))
    }

    /// The same updates, on an item of this process alone.
    fn count_here(&self, key: &Key, ask: Ask) -> Option<Answer> {
        let meter = self.local_meter();
        // What costs more than this environment's part of the burst takes all of that.
        let ask = Ask { cost: ask.cost.min(meter.most()), ..ask };
        let key = &key.labelled(meter.label(&ask));
        let seen = self.local.get(key, ask.at).map_or(Some(Seen::Nothing), |item| meter.read(&ask, &item))?;
        if let Some(until) = meter.over(&ask, &seen).filter(|_| !ask.debt) {
            return Some(Answer::Over { until, seen, ask });
        }
        let taking = meter.attempt(&ask, &seen);
        let item = self.local.update(key, &taking, ask.at, |item| self.matters_until(&ask, item)).ok()?;
        Some(Answer::Admitted { seen: meter.read(&ask, &item)?, ask, given: Given::Locally })
    }

    fn matters_until(&self, ask: &Ask, item: &Item) -> Timestamp {
        self.local_meter().full_at(ask, &self.local_meter().read(ask, item).unwrap_or_default())
    }
}

/// Who counts together where nothing else is said: a tenant however it was identified, or one caller.
fn subject_of(caller: &Caller) -> Option<(&str, &str)> {
    match (caller.tenant(), caller.id()) {
        ("", "") => None,
        ("", id) => Some((caller.via(), id)),
        (tenant, _) => Some(("", tenant)),
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .field("rate", &self.rate)
            .field("algorithm", &self.algorithm)
            .field("by", &self.by)
            .field("cost", &self.cost)
            .field("on_store_failure", &self.on_store_failure)
            .field("accuracy", &self.accuracy)
            .field("shards", &self.shards)
            .field("before_identify", &self.before_identify)
            .field("ipv6_prefix", &self.ipv6_prefix)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl Limits {
    /// No limit at all.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Takes one request from the limits that stand before identification (`before: identify`), or from none. Where one
    /// refuses, the rest of the request is not even looked at; else [`Self::take`] goes on with what is held.
    pub async fn take_before(&self, facts: &Facts<'_>, around: Around<'_>) -> (Taken, Held<'_>) {
        let early = self.named().filter(|(limit, _)| limit.before_identify);
        let asked = early.map(|(limit, mode)| asked_of(limit, mode, facts, None, around)).collect();
        let mut held = Held { asked, left: BOUND };
        if held.asked.is_empty() {
            return (Taken::default(), held);
        }
        let world = World::of(around, held.left);
        let now = Box::pin(hold(&mut held.asked, &world)).await;
        held.left = world.bound.saturating_duration_since(Instant::now());
        let taken = conclude(&held.asked, None, now, around.clock);
        held.asked.iter_mut().for_each(|one| one.noted = true);
        (taken, held)
    }

    /// Sees to it that leases which are known to be needed are there or under way, while the caller is identified
    /// (state.md §5). Only leases: whoever is turned away next leaves them to others, and so takes nothing from anyone.
    /// Nothing where that does not take any time. Says for how long the table may still be waited for.
    pub fn prepare<'a>(
        &'a self,
        takes_time: bool,
        facts: &Facts<'_>,
        around: Around<'a>,
        held: &Held<'_>,
    ) -> impl Future<Output = Duration> + use<'a> {
        let early = self.named().filter(|(limit, _)| takes_time && limit.may_lease() && limit.is_known_early());
        let needed: Vec<_> = early.map(|(limit, mode)| asked_of(limit, mode, facts, None, around)).collect();
        let left = held.left;
        async move {
            if needed.is_empty() {
                return left;
            }
            let world = World::of(around, left);
            for one in needed {
                Box::pin(taken::prepare(one.limit, one.item, one.cost, &world)).await;
            }
            world.bound.saturating_duration_since(Instant::now())
        }
    }

    /// Takes one request from every limit, or from none; `held` is what stands before identification gave.
    ///
    /// Waits for the table [`BOUND`] at most, and not at all for what is leased or a key that is known to be over; and
    /// where a limit lets requests queue, for the request's turn, but never beyond its deadline.
    pub async fn take<'a>(&'a self, held: Held<'a>, facts: &Facts<'_>, caller: &Caller, around: Around<'_>) -> Taken {
        if self.0.is_empty() {
            return Taken::default();
        }
        let facts = Facts { caller: Some(caller), ..*facts };
        let in_force = match self.in_force(caller) {
            Ok(in_force) => in_force,
            Err(refusal) => return conclude(&held.asked, Some(refusal), around.clock.now(), around.clock),
        };
        let Held { mut asked, left } = held;
        let late = in_force.limits.iter().filter(|(limit, _)| !limit.before_identify);
        asked.extend(late.map(|(limit, mode)| asked_of(limit, *mode, &facts, Some(caller), around)));
        let now = hold(&mut asked, &World::of(around, left)).await;
        let taken = conclude(&asked, None, now, around.clock);
        in_force.with(taken)
    }

    /// Those whose name is in the config, each with its mode; not those that come with a plan.
    fn named(&self) -> impl Iterator<Item = (&Arc<Limit>, Mode)> {
        self.0.iter().filter(|used| used.mode != Mode::Off).filter_map(|used| match &used.limit {
            Used::Limit(limit) => Some((limit, used.mode)),
            Used::Plan(_) => None,
        })
    }
}

/// What limits gave to a request whose caller is not known yet.
#[derive(Debug)]
pub struct Held<'a> {
    asked: Vec<Asked<'a>>,
    /// For how long the table may still be waited for.
    left: Duration,
}

impl Held<'_> {
    /// The same, where the table may still be waited for so long.
    #[must_use]
    pub fn with_left(self, left: Duration) -> Self {
        Self { left, ..self }
    }
}

impl Default for Held<'_> {
    fn default() -> Self {
        Self { asked: Vec::new(), left: BOUND }
    }
}

fn asked_of<'a>(
    limit: &'a Arc<Limit>,
    mode: Mode,
    facts: &Facts<'_>,
    caller: Option<&Caller>,
    around: Around<'_>,
) -> Asked<'a> {
    limit.division(around.environments);
    let item = limit.shard(limit.key(facts, caller), around.seed);
    Asked::new(limit, mode, item, limit.cost.of(facts, limit.meter().most()))
}

/// What a request's limits are asked with.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// The shared state.
    pub table: &'a dyn Table,
    /// Wall time.
    pub clock: &'a dyn Clock,
    /// The request's seed.
    pub seed: u64,
    /// When the request's time is over.
    pub deadline: Option<Instant>,
    /// How many environments may count at once, this one included; `None` where that is not known.
    pub environments: Option<NonZeroU32>,
}
