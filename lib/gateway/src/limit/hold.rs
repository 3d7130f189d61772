//! How a request comes to its tokens (state.md §5): from each limit one, or from none. What is held is looked at first,
//! then the table is asked for what is missing; limits that share an item are asked in one write. Tokens are spent
//! together, at the end, by the clock's word of then: what ended while others were asked is asked for again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::algorithm::{Ask, KEPT, SKEW, Seen, Settled, Taking};
use super::book::Moment;
use super::key::Key;
use super::lease::Spent;
use super::{Accuracy, Around, Limit, LimitKey, OnStoreFailure};
use crate::clock::{Clock, Timestamp};
use crate::forward::BoxFuture;
use crate::mode::Mode;
use crate::table::{Condition, Item, Table, TableError, Terms, ThrottleReason, Update, Which};

/// What is still waited when the time is over. In a process that was itself stopped or starved, the time is over
/// before anyone looked at the answer that lies there; this is the look.
pub(super) const LAST_LOOK: Duration = Duration::from_millis(5);

/// How often one item is asked for one request. Each refusal says what the item is, so that the next attempt fails only
/// if others wrote meanwhile.
pub(super) const TRIES: usize = 8;

/// How often a request begins anew because what it held ended while it asked for more.
const ROUNDS: usize = 16;

/// What limits are asked with.
pub(super) struct World<'a> {
    pub(super) table: &'a dyn Table,
    pub(super) clock: &'a dyn Clock,
    pub(super) seed: u64,
    /// Until when the table is waited for.
    pub(super) bound: Instant,
    pub(super) deadline: Option<Instant>,
}

impl<'a> World<'a> {
    pub(super) fn of(around: Around<'a>, patience: Duration) -> Self {
        let Around { table, clock, seed, deadline, environments: _ } = around;
        Self { table, clock, seed, bound: Instant::now() + patience, deadline }
    }

    /// How long the request can wait.
    fn patience(&self) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// What one limit said.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Admitted { seen: Seen, ask: Ask, given: Given },
    Over { until: Timestamp, seen: Seen, ask: Ask },
    Unanswered,
}

/// Who gave a token, and so who takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// The table, for this request; by a clock that was `sure` of its window or not.
    ByTable {
        sure: bool,
    },
    /// A lease. `low`: it is time for the next.
    ByLease {
        spent: Spent,
        low: bool,
    },
    Locally,
    ByNobody,
}

/// One limit as it is asked for one request, or ahead of any.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) limit: &'a Arc<Limit>,
    pub(super) mode: Mode,
    /// Its key; that of the environment's own shard, where there are several.
    pub(super) home: Key,
    /// The item that is asked.
    pub(super) item: Key,
    pub(super) cost: u64,
    pub(super) answer: Option<Answer>,
    seed: u64,
    /// Whether the exchange has it already.
    pub(super) noted: bool,
    /// Whether no request needs it yet.
    ahead: bool,
    /// Whether its demand was counted.
    counted: bool,
    /// A lease that is under way for another request.
    awaits: Option<OwnedNotified>,
    ask: Ask,
    sure: bool,
    seen: Seen,
}

impl<'a> Asked<'a> {
    pub(super) fn new(limit: &'a Arc<Limit>, mode: Mode, item: Key, cost: u64) -> Self {
        Self {
            limit,
            mode,
            home: item,
            item,
            cost,
            answer: None,
            seed: 0,
            noted: false,
            ahead: false,
            counted: false,
            awaits: None,
            ask: Ask::default(),
            sure: true,
            seen: Seen::Nothing,
        }
    }

    /// A lease that is asked for before it is needed.
    pub(super) fn ahead(limit: &'a Arc<Limit>, item: Key, cost: u64) -> Self {
        Self { ahead: true, counted: true, ..Self::new(limit, Mode::Shadow, item, cost) }
    }

    pub(super) fn refuses(&self) -> bool {
        self.mode == Mode::Enforce && !matches!(self.answer, Some(Answer::Admitted { .. }) | None)
    }

    /// When the request may go on, for all that this limit cares.
    fn departs(&self) -> Option<Timestamp> {
        match self.answer? {
            Answer::Admitted { seen, ask, given: Given::ByTable { .. } | Given::Locally }
                if self.mode == Mode::Enforce =>
            {
                Some(self.limit.meter().departs(&ask, &seen))
            }
            Answer::Admitted { .. } | Answer::Over { .. } | Answer::Unanswered => None,
        }
    }

    /// What is asked for the request itself, and spent at once.
    fn exactly(&self) -> Ask {
        Ask { cost: self.cost, lease: Duration::ZERO, slack: None, guess: false, ..self.ask }
    }

    /// Answers from what is held and known, where that is enough.
    fn look(&mut self, world: &World<'_>, moment: Moment) {
        self.seed = world.seed;
        self.ask =
            Ask { at: moment.at, cost: self.cost, patience: world.patience(), error: moment.error, ..Ask::default() };
        if self.limit.accuracy == Accuracy::Local {
            self.answer = Some(self.limit.count_here(&self.home, self.ask).unwrap_or(Answer::Unanswered));
            return;
        }
        self.look_at(world, moment);
    }

    fn look_at(&mut self, world: &World<'_>, moment: Moment) {
        let limit = self.limit;
        let ask = self.ask;
        let (leased, shards) = (limit.leases(), limit.items().shards);
        self.item = self.home;
        let (answer, awaits) = limit.book.with(&self.home, moment, |standing, era| {
            self.seen = standing.seen;
            let seen = standing.seen;
            let over = |until| (Some(Answer::Over { until, seen, ask }), None);
            if let Some(lease) = leased {
                let holding = standing.holding(world.seed);
                if let Some(spent) = holding.spend(self.cost, ask.at, era) {
                    if !self.counted {
                        holding.demand(self.cost, lease, ask.at);
                    }
                    let given = Given::ByLease { spent, low: holding.is_low(ask.at, era) };
                    return ((Some(Answer::Admitted { seen, ask, given }), None), None);
                }
            }
            let until = limit.meter().over(&ask, &seen);
            let Some(holding) = standing.held() else { return (until.map_or((None, None), over), None) };
            if let Some(until) = until.or_else(|| holding.rests(ask.at)) {
                holding.refuse(ask.at);
                if shards == 1 || self.ahead || !holding.may_stray(ask.at) {
                    return (over(until), None);
                }
                // The environment's own shard is empty; another may not be (state.md §4.7).
                self.item = limit.other_shard(self.home, world.seed);
                self.seen = Seen::Nothing;
                return ((None, None), None);
            }
            if let Some(lease) = leased.filter(|_| !self.counted) {
                holding.demand(self.cost, lease, ask.at);
            }
            let awaits =
                holding.flight.as_ref().filter(|_| !self.ahead).map(|flight| Arc::clone(flight).notified_owned());
            ((None, awaits), None)
        });
        self.counted = true;
        (self.answer, self.awaits) = (answer, awaits);
    }

    /// Whether another shard is asked than the environment's own. What it gives is held as if it were from there.
    fn is_astray(&self) -> bool {
        self.item != self.home
    }

    /// What to ask for: a lease where that is worth it.
    fn want(&mut self, moment: Moment) {
        let limit = self.limit;
        let (exactly, astray) = (Ask { error: moment.error, ..self.exactly() }, self.is_astray());
        (self.ask, self.seen) = limit.book.with(&self.home, moment, |standing, _| {
            let seen = if astray { Seen::Nothing } else { standing.seen };
            let want = |ask| ((ask, seen), None);
            let Some(holding) = standing.held().filter(|_| limit.accuracy == Accuracy::Leased) else {
                return want(exactly);
            };
            let ask = holding.want(exactly, limit.meter(), &seen, limit.quantum());
            if ask.lease.is_zero() {
                return want(ask);
            }
            holding.flight.get_or_insert_with(|| Arc::new(Notify::new()));
            want(ask)
        });
    }

    /// Whether the item as it was seen has nothing for the request.
    fn is_over(&mut self, moment: Moment, told: bool) -> bool {
        let ask = self.exactly();
        let Some(until) = self.limit.meter().over(&ask, &self.seen) else { return false };
        let until = if told { self.denied(until, moment) } else { until };
        self.answer = Some(Answer::Over { until, seen: self.seen, ask });
        true
    }

    /// Whether so little is left of a hot bucket that it is not worth a write (state.md §4.2): who asks for several then
    /// waits for more.
    fn is_too_little(&mut self, moment: Moment) -> bool {
        let limit = self.limit;
        let least = limit.quantum().min(self.ask.cost);
        if least <= self.cost || self.ask.lease.is_zero() || !limit.meter().is_scarce(&self.ask, &self.seen) {
            return false;
        }
        let Some(until) = limit.meter().over(&Ask { cost: least, ..self.exactly() }, &self.seen) else { return false };
        let until = self.denied(until, moment);
        self.answer = Some(Answer::Over { until, seen: self.seen, ask: self.exactly() });
        true
    }

    fn denied(&self, until: Timestamp, moment: Moment) -> Timestamp {
        if !self.limit.paces() {
            return until;
        }
        let (astray, seed) = (self.is_astray(), self.seed);
        self.limit.book.with(&self.home, moment, |standing, _| {
            let holding = standing.holding(seed);
            if astray {
                holding.stays(moment.at);
                return (until, None);
            }
            (holding.denied(until, moment.at), None)
        })
    }

    /// Learns from the item as another left it; whether that makes sense.
    fn learn(&mut self, item: Option<&Item>, moment: Moment) -> bool {
        let Some(seen) = item.map_or(Some(Seen::Nothing), |item| self.limit.read(&self.ask, item)) else {
            self.away();
            return false;
        };
        self.remember(seen, 0, moment);
        self.ask.guess = false;
        if !self.ask.lease.is_zero() {
            if self.is_too_little(moment) {
                return false;
            }
            let room = self.limit.meter().room(&self.ask, &seen);
            if room < self.ask.cost {
                self.ask.cost = self.cost.max(room / 2);
            }
            if room < self.ask.cost || self.ask.cost <= self.cost {
                self.ask = Ask { slack: self.ask.slack, ..self.exactly() };
            }
        }
        true
    }

    fn remember(&mut self, seen: Seen, own: i128, moment: Moment) {
        let limit = self.limit;
        self.seen = seen;
        if self.is_astray() {
            return;
        }
        let until = limit.meter().believed_until(&self.ask, &seen);
        limit.book.with(&self.home, moment, |standing, _| {
            standing.seen = seen;
            if limit.paces() {
                standing.holding(self.seed).sees(limit.meter().grants(&seen), own, moment.at);
            }
            ((), Some(until))
        });
    }

    /// Takes what was granted, where it may still be spent.
    fn granted(&mut self, item: &Item, moment: Moment) {
        let limit = self.limit;
        let Some(seen) = limit.read(&self.ask, item) else { return self.away() };
        self.remember(seen, 1, moment);
        let (ask, exactly) = (self.ask, self.exactly());
        let scarce = limit.meter().is_scarce(&ask, &seen);
        let given = limit.book.with(&self.home, moment, |standing, era| {
            let until = Some(limit.meter().believed_until(&ask, &seen));
            let Some(holding) = standing.held() else { return (Given::ByTable { sure: self.sure }, until) };
            let spent = holding.granted(&ask, self.cost, scarce, era);
            let given = if ask.lease.is_zero() {
                Given::ByTable { sure: self.sure }
            } else {
                Given::ByLease { spent, low: false }
            };
            (given, until)
        });
        self.answer = Some(Answer::Admitted { seen, ask: exactly, given });
    }

    /// The table does not answer: what happens then is the config's to say.
    fn away(&mut self) {
        let ask = Ask { slack: None, ..self.exactly() };
        self.answer = Some(match self.limit.on_store_failure {
            _ if self.ahead => Answer::Unanswered,
            OnStoreFailure::Open => Answer::Admitted { seen: Seen::Nothing, ask, given: Given::ByNobody },
            OnStoreFailure::Closed => Answer::Unanswered,
            OnStoreFailure::Local => self.limit.count_here(&self.home, ask).unwrap_or(Answer::Unanswered),
        });
    }

    /// The table answers, but its item has no time for us. To count here instead would let more pass than the limit
    /// says, so that is a refusal, for a moment.
    fn crowded(&mut self, moment: Moment) {
        let until = self
            .limit
            .book
            .with(&self.home, moment, |standing, _| (standing.holding(self.seed).throttled(moment.at), None));
        match self.limit.on_store_failure {
            OnStoreFailure::Local => self.answer = Some(Answer::Over { until, seen: self.seen, ask: self.exactly() }),
            OnStoreFailure::Open | OnStoreFailure::Closed => self.away(),
        }
    }

    /// Whether what was given may be spent at `now`.
    fn is_spendable(&self, now: Timestamp) -> bool {
        match self.answer {
            Some(Answer::Admitted { ask, given: Given::ByTable { sure }, .. }) => {
                self.limit.meter().spendable(&ask, now, sure)
            }
            Some(Answer::Admitted { given: Given::ByLease { spent, .. }, .. }) => spent.until > now,
            Some(
                Answer::Admitted { given: Given::Locally | Given::ByNobody, .. }
                | Answer::Over { .. }
                | Answer::Unanswered,
            )
            | None => true,
        }
    }
}

/// Comes to an answer of every limit, or to the first refusal.
pub(super) async fn hold(asked: &mut [Asked<'_>], world: &World<'_>) {
    // What was given before the caller was known may have ended meanwhile.
    let mut waited = asked.iter().any(|one| one.answer.is_some());
    for _ in 0..ROUNDS {
        let moment = Moment::of(world.clock);
        for one in asked.iter_mut().filter(|one| one.answer.is_none()) {
            one.look(world, moment);
            if one.refuses() {
                return;
            }
        }
        match next(asked) {
            Some(item) => {
                ask(asked, item, world).await;
                waited = true;
            }
            None => {
                waited |= wait_for_turn(asked, world.clock).await;
                if !waited || all_spendable(asked, world.clock.now()) {
                    return;
                }
                waited = false;
            }
        }
        if asked.iter().any(Asked::refuses) {
            return;
        }
    }
    // A clock that jumps about: what it says is worth nothing.
    for one in asked.iter_mut().filter(|one| one.answer.is_none()) {
        one.answer = Some(Answer::Unanswered);
    }
}

/// Forgets what ended while others were asked; whether there was none.
fn all_spendable(asked: &mut [Asked<'_>], now: Timestamp) -> bool {
    let mut all = true;
    for one in asked {
        if !one.is_spendable(now) {
            one.answer = None;
            all = false;
        }
    }
    all
}

/// The item to ask next: leases before what would have to go back if another refused, narrow keys before broad ones.
fn next(asked: &[Asked<'_>]) -> Option<Key> {
    let missing = asked.iter().filter(|one| one.answer.is_none());
    let first = missing.min_by_key(|one| (!one.limit.may_lease(), matches!(one.limit.by, LimitKey::Global)));
    first.map(|one| one.item)
}

/// Asks for a lease that no request needs yet.
pub(super) async fn ask_ahead(one: &mut [Asked<'_>], item: Key, world: &World<'_>) {
    for one in one.iter_mut() {
        let moment = Moment::of(world.clock);
        one.ask = Ask { at: moment.at, cost: one.cost, error: moment.error, ..Ask::default() };
        one.seen = one.limit.book.with(&item, moment, |standing, _| (standing.seen, None));
    }
    ask(one, item, world).await;
}

/// Asks one item for all that is missing of it.
async fn ask(asked: &mut [Asked<'_>], item: Key, world: &World<'_>) {
    let mut members: Vec<_> = asked.iter_mut().filter(|one| one.answer.is_none() && one.item == item).collect();
    if let Some(flight) = members.iter_mut().find_map(|one| one.awaits.take()) {
        return wait_for_lease(flight, &mut members, world).await;
    }
    let _landing = Landing(members.iter().map(|one| (one.limit, one.home)).collect(), world);
    for attempt in 0..TRIES {
        settle(&mut members, attempt, world.clock).await;
        let moment = Moment::of(world.clock);
        let mut refused = false;
        members.retain_mut(|one| {
            let over = one.is_over(moment, attempt > 0);
            refused |= one.refuses();
            !over
        });
        if refused || members.is_empty() {
            return;
        }
        if Instant::now() >= world.bound {
            break;
        }
        if attempt == 0 {
            members.iter_mut().for_each(|one| one.want(moment));
            members.retain_mut(|one| !one.is_too_little(moment));
            if members.is_empty() || members.iter().any(|one| one.refuses()) {
                return;
            }
        }
        if members.iter().any(|one| one.ahead && one.ask.lease.is_zero()) {
            return;
        }
        let Some(key) = members.first().map(|one| one.limit.item_key(&item, &one.ask)) else { return };
        let mut taking = together(&members);
        if members.iter().any(|one| one.ahead) {
            taking.1 = taking.1.behind();
        }
        let answer = within(world.bound, world.table.update(Which::Hot, &key, &taking.0, &taking.1)).await;
        let moment = Moment::of(world.clock);
        match answer {
            Some(Ok(item)) => return members.iter_mut().for_each(|one| one.granted(&item, moment)),
            Some(Err(TableError::Refused { old })) => members.retain_mut(|one| one.learn(old.as_ref(), moment)),
            Some(Err(TableError::Throttled { reason: ThrottleReason::KeyRange })) => {
                return members.iter_mut().for_each(|one| one.crowded(moment));
            }
            Some(Err(TableError::Throttled { .. } | TableError::Unavailable { .. } | TableError::Invalid { .. }))
            | None => return members.iter_mut().for_each(|one| one.away()),
        }
    }
    let moment = Moment::of(world.clock);
    let late = Instant::now() >= world.bound;
    members.iter_mut().for_each(|one| if late { one.away() } else { one.crowded(moment) });
}

/// A lease is on its way for another request of this environment: there will be some for this one as well.
async fn wait_for_lease(flight: OwnedNotified, members: &mut [&mut Asked<'_>], world: &World<'_>) {
    if tokio::time::timeout_at(world.bound, flight).await.is_err() {
        members.iter_mut().for_each(|one| one.away());
    }
}

/// Ends the flights of these, however that comes about, and tells who waits.
struct Landing<'a, 'w>(Vec<(&'a Arc<Limit>, Key)>, &'w World<'w>);

impl Drop for Landing<'_, '_> {
    fn drop(&mut self) {
        let moment = Moment::of(self.1.clock);
        for (limit, item) in self.0.iter().filter(|(limit, _)| limit.may_lease()) {
            let flight = limit
                .book
                .with(item, moment, |standing, _| (standing.held().and_then(|holding| holding.flight.take()), None));
            if let Some(flight) = flight {
                flight.notify_waiters();
            }
        }
    }
}

/// Decides at which moment each is judged. Near the boundary of a window that takes a short wait; if the clock stands
/// still meanwhile, its own word must do.
async fn settle(members: &mut [&mut Asked<'_>], attempt: usize, clock: &dyn Clock) {
    let stays = |one: &Asked<'_>| attempt > 0 && one.limit.meter().keeps_its_moment();
    let mut now = clock.now();
    let waits = members.iter().filter(|one| !stays(one)).filter_map(|one| match one.limit.meter().settle(now) {
        Settled::At(_) => None,
        Settled::In(wait) => Some(wait),
    });
    if let Some(wait) = waits.max() {
        tokio::time::sleep(wait).await;
        now = clock.now();
    }
    for one in members.iter_mut().filter(|one| !stays(one)) {
        (one.ask.at, one.sure) = match one.limit.meter().settle(now) {
            Settled::At(now) => (now, true),
            Settled::In(_) => (now.plus(SKEW), false),
        };
    }
}

/// One update for all of them, which happens for all or for none (state.md §3.7).
fn together(members: &[&mut Asked<'_>]) -> Taking {
    if let [one] = members {
        return alone(one.limit, &one.ask, &one.seen);
    }
    let (mut all, mut when, mut expiry) = (Update::new(), None::<Condition>, 0);
    for one in members {
        let (update, terms) = alone(one.limit, &one.ask, &one.seen);
        let (update, own) = update.without("x");
        expiry = expiry.max(own.unwrap_or(0));
        all = all.with_those_of(update);
        when = match (when, terms.condition) {
            (Some(when), Some(condition)) => Some(when.and(condition)),
            (when, condition) => when.or(condition),
        };
    }
    (all.set("x", expiry), Terms { condition: when, ..Terms::default() })
}

/// The update of one limit. An item that several share is kept for as long as any of them needs it.
pub(super) fn alone(limit: &Limit, ask: &Ask, seen: &Seen) -> Taking {
    let (update, terms) = (*limit.meter().attempt(ask, seen)).clone();
    let suffix = &limit.items().suffix;
    if suffix.is_empty() {
        return (update, terms);
    }
    let (update, own) = update.without("x");
    let horizon = ask.at.secs().saturating_add(limit.horizon.load(Ordering::Relaxed)).saturating_add(KEPT);
    let condition = terms.condition.map(|condition| condition.owned(suffix));
    (update.owned(suffix).set("x", own.unwrap_or(0).max(horizon.into())), Terms { condition, ..terms })
}

/// Waits until what was taken conforms; whether that took any time. The longest wait is its limit's queue.
async fn wait_for_turn(asked: &[Asked<'_>], clock: &dyn Clock) -> bool {
    if asked.iter().any(Asked::refuses) {
        return false;
    }
    let Some(turn) = asked.iter().filter_map(Asked::departs).max() else { return false };
    let wait = turn.since(clock.now());
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    !wait.is_zero()
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
