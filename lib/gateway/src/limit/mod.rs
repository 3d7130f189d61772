//! Rate limits: how many requests a key may make in a time, counted over all environments together.
//!
//! Exact: one conditional update of the shared table a request, and none for a key that is known to be over its limit.
//! How a limit counts is its [`Algorithm`]; what is promised of each stands there.
//!
//! Several limits are all or nothing: when a later one refuses, what the earlier ones gave goes back
//! ([`Taken::returns`]), so that a refused request costs its client nothing elsewhere.

mod algorithm;
mod bucket;
mod calendar;
mod cost;
mod fields;
mod key;
mod known;
mod log;
mod pair;
mod plan;
mod quota;
mod rate;
mod sliding;
mod taken;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

pub use algorithm::Algorithm;
pub use calendar::Zone;
pub use cost::Cost;
pub use plan::{ByPlan, Plan, Plans, Used};
pub use rate::{Per, Rate};
pub use taken::{Returns, Taken};

use crate::auth::Caller;
use crate::clock::{Clock, Timestamp};
use crate::expression::{Expression, Facts};
use crate::forward::BoxFuture;
use crate::mode::Mode;
use crate::table::{Item, Table, TableError, Which};
use algorithm::{Ask, Meter, SKEW, Seen, Settled};
use fields::Named;
use key::{Key, Stem};
use known::{Known, Local};
use taken::{Answer, Asked, Given, conclude};

/// For how long a request waits for its limits, all of them together, at most. The table's adapter gives up before.
pub const BOUND: Duration = Duration::from_millis(150);

/// What is still waited when the time is over. In a process that was itself stopped or starved, the time is over
/// before anyone looked at the answer that lies there; this is the look.
const LAST_LOOK: Duration = Duration::from_millis(5);

/// How often one limit asks the table for one request. Each refusal says what the item is, so that the next attempt
/// fails only if others wrote meanwhile.
const TRIES: usize = 5;

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
    config: Arc<str>,
    stem: Stem,
    /// What the keys of its items begin with.
    prefix: Arc<str>,
    with_via: bool,
    meter: Box<dyn Meter>,
    known: Known,
    local: Local,
    told: Named,
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
    /// Counts in this process alone, with the whole rate. (The environment's fair share of it needs to know how many
    /// environments there are, which the shared signals will tell.)
    #[default]
    Local,
    /// Lets everything pass.
    Open,
    /// Refuses everything, with 503.
    Closed,
}

impl OnStoreFailure {
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
        Self::of(config, name, rate, by, on_store_failure, algorithm)
    }

    /// The same, counted by `algorithm`.
    #[must_use]
    pub fn counted_by(self, algorithm: Algorithm) -> Self {
        let Self { config, name, rate, by, on_store_failure, cost, .. } = self;
        Self::of(config, name, rate, by, on_store_failure, algorithm).costing(cost)
    }

    fn of(
        config: Arc<str>,
        name: Arc<str>,
        rate: Rate,
        by: LimitKey,
        on_store_failure: OnStoreFailure,
        algorithm: Algorithm,
    ) -> Self {
        let meter = algorithm.meter(rate);
        Self {
            with_via: matches!(&by, LimitKey::By(by) if reads_caller_id(by.source())),
            stem: Stem::new(&config, &name, &algorithm.kind(rate)),
            told: Named::new(&name, algorithm.most(rate), algorithm.window_secs(rate)),
            cost: Cost::Fixed(1),
            prefix: Arc::from("rl#"),
            known: Known::default(),
            local: Local::new(meter.values()),
            meter,
            config,
            name,
            rate,
            algorithm,
            by,
            on_store_failure,
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

    fn key(&self, facts: &Facts<'_>, caller: &Caller) -> Key {
        let subject = match &self.by {
            LimitKey::Global => None,
            LimitKey::By(by) => by.text(facts).ok().filter(|subject| !subject.is_empty()),
            LimitKey::Caller => return self.stem.key(subject_of(caller)),
        };
        let via = if self.with_via { caller.via() } else { "" };
        self.stem.key(subject.as_deref().map(|subject| (via, subject)))
    }

    async fn ask(&self, one: &Asked<'_>, world: &World<'_>) -> Answer {
        let mut seen = one.seen;
        let (at, mut sure) = self.settle(world.clock).await;
        let mut ask = Ask { at, cost: one.cost, patience: world.patience() };
        let item_key = self.item_key(&one.key, &ask);
        for attempt in 0..TRIES {
            if attempt > 0 && !self.meter.keeps_its_moment() {
                (ask.at, sure) = self.settle(world.clock).await;
            }
            if let Some(until) = self.meter.over(&ask, &seen) {
                return Answer::Over { until, seen, ask };
            }
            if Instant::now() >= world.bound {
                break;
            }
            let (update, terms) = &*self.meter.attempt(&ask, &seen);
            let (item, taken) =
                match within(world.bound, world.table.update(Which::Hot, &item_key, update, terms)).await {
                    Some(Ok(item)) => (Some(item), true),
                    Some(Err(TableError::Refused { old })) => (old, false),
                    Some(Err(
                        TableError::Throttled { .. } | TableError::Unavailable { .. } | TableError::Invalid { .. },
                    ))
                    | None => break,
                };
            match self.remember(&one.key, &ask, item.as_ref()) {
                Some(now) => seen = now,
                None => break,
            }
            // What ended while we asked may not be spent any more, and is lost.
            if taken && self.meter.spendable(&ask, world.clock.now(), sure) {
                return Answer::Admitted { seen, ask, given: Given::ByTable };
            }
        }
        self.without_table(&one.key, Ask { at: world.clock.now(), ..ask })
    }

    /// When a request is judged, and whether every clock agrees. Near the boundary of a window that takes a short wait;
    /// if the clock stands still meanwhile, its own word must do.
    async fn settle(&self, clock: &dyn Clock) -> (Timestamp, bool) {
        let wait = match self.meter.settle(clock.now()) {
            Settled::At(now) => return (now, true),
            Settled::In(wait) => wait,
        };
        tokio::time::sleep(wait).await;
        let now = clock.now();
        match self.meter.settle(now) {
            Settled::At(now) => (now, true),
            Settled::In(_) => (now.plus(SKEW), false),
        }
    }

    /// Keeps what `item` was when it was seen; `None` where it makes no sense.
    fn remember(&self, key: &Key, ask: &Ask, item: Option<&Item>) -> Option<Seen> {
        let seen = item.map_or(Some(Seen::Nothing), |item| self.meter.read(ask, item))?;
        self.known.keep(key, seen, self.meter.believed_until(ask, &seen), ask.at);
        Some(seen)
    }

    fn without_table(&self, key: &Key, ask: Ask) -> Answer {
        match self.on_store_failure {
            OnStoreFailure::Open => Answer::Admitted { seen: Seen::Nothing, ask, given: Given::ByNobody },
            OnStoreFailure::Closed => Answer::Unanswered,
            OnStoreFailure::Local => self.count_here(key, ask).unwrap_or(Answer::Unanswered),
        }
    }

    fn item_key(&self, key: &Key, ask: &Ask) -> String {
        key.item_under(&self.prefix, self.meter.label(ask))
    }

    /// The same updates, on an item of this process alone.
    fn count_here(&self, key: &Key, ask: Ask) -> Option<Answer> {
        let key = &key.labelled(self.meter.label(&ask));
        let seen = self.local.get(key, ask.at).map_or(Some(Seen::Nothing), |item| self.meter.read(&ask, &item))?;
        if let Some(until) = self.meter.over(&ask, &seen) {
            return Some(Answer::Over { until, seen, ask });
        }
        let taking = self.meter.attempt(&ask, &seen);
        let item = self.local.update(key, &taking, ask.at, |item| self.matters_until(&ask, item)).ok()?;
        Some(Answer::Admitted { seen: self.meter.read(&ask, &item)?, ask, given: Given::Locally })
    }

    fn matters_until(&self, ask: &Ask, item: &Item) -> Timestamp {
        self.meter.full_at(ask, &self.meter.read(ask, item).unwrap_or_default())
    }
}

/// What one request's limits are asked with.
struct World<'a> {
    table: &'a dyn Table,
    clock: &'a dyn Clock,
    bound: Instant,
    deadline: Option<Instant>,
}

impl World<'_> {
    /// How long the request can wait.
    fn patience(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

async fn within<T>(bound: Instant, mut asking: BoxFuture<'_, T>) -> Option<T> {
    // A table that answers at once needs no timer.
    if let Poll::Ready(answer) = std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await {
        return Some(answer);
    }
    match tokio::time::timeout_at(bound, &mut asking).await {
        Ok(answer) => Some(answer),
        Err(_) => tokio::time::timeout(LAST_LOOK, asking).await.ok(),
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

/// Whether a key may hold `caller.id`, which counts together with how the caller was identified.
fn reads_caller_id(source: &str) -> bool {
    let source: String = source.chars().filter(|letter| !letter.is_whitespace()).collect();
    source.contains("caller.id") || source.contains("caller[")
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
            .finish_non_exhaustive()
    }
}

impl Limits {
    /// No limit at all.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Takes one request from every limit, or from none.
    ///
    /// Waits for the table [`BOUND`] at most, and not at all for a key that is known to be over; and where a limit lets
    /// requests queue, for the request's turn, but never beyond its `deadline`.
    pub async fn take(
        &self,
        facts: &Facts<'_>,
        caller: &Caller,
        table: &dyn Table,
        clock: &dyn Clock,
        deadline: Option<Instant>,
    ) -> Taken {
        if self.0.is_empty() {
            return Taken::default();
        }
        let facts = Facts { caller: Some(caller), ..*facts };
        let in_force = match self.in_force(caller) {
            Ok(in_force) => in_force,
            Err(refusal) => return Taken { refused: Some(refusal), ..Taken::default() },
        };
        let mut asked: Vec<_> =
            in_force.limits.iter().map(|(limit, mode)| Asked::new(limit, *mode, &facts, caller)).collect();
        let world = World { table, clock, bound: Instant::now() + BOUND, deadline };
        if !known_to_be_over(&mut asked, &world) {
            for one in &mut asked {
                let answer = one.limit.ask(one, &world).await;
                one.answer = Some(answer);
                if one.refuses() {
                    break;
                }
            }
            wait_for_turn(&asked, clock).await;
        }
        let taken = conclude(&asked, clock);
        in_force.with(taken)
    }
}

/// Answers for a limit that is known to be over, so that nothing is taken only to be given back.
fn known_to_be_over(asked: &mut [Asked<'_>], world: &World<'_>) -> bool {
    let (at, patience) = (world.clock.now(), world.patience());
    for one in asked.iter_mut().filter(|one| one.mode == Mode::Enforce) {
        let ask = Ask { at, cost: one.cost, patience };
        if let Some(until) = one.limit.meter.over(&ask, &one.seen) {
            one.answer = Some(Answer::Over { until, seen: one.seen, ask });
            return true;
        }
    }
    false
}

/// Waits until what was taken conforms. The longest wait is its limit's queue.
async fn wait_for_turn(asked: &[Asked<'_>], clock: &dyn Clock) {
    if asked.iter().any(Asked::refuses) {
        return;
    }
    let Some(turn) = asked.iter().filter_map(Asked::departs).max() else { return };
    let wait = turn.since(clock.now());
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}
