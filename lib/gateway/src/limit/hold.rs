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
use super::asked::Asked;
use super::book::Moment;
use super::key::Key;
use super::{Around, Limit, LimitKey};
use crate::clock::{Clock, Timestamp};
use crate::forward::BoxFuture;
use crate::mode::Mode;
use crate::table::{Condition, Table, TableError, Terms, ThrottleReason, Update, Which};

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
    /// When the limits began to be asked.
    began: Instant,
    /// Until when the table is waited for.
    pub(super) bound: Instant,
    pub(super) deadline: Option<Instant>,
}

impl<'a> World<'a> {
    pub(super) fn of(around: Around<'a>, patience: Duration) -> Self {
        let Around { table, clock, seed, deadline, environments: _ } = around;
        let began = Instant::now();
        Self { table, clock, seed, began, bound: began + patience, deadline }
    }

    /// How long the request can wait from `now` on.
    fn patience(&self, now: Instant) -> Duration {
        self.deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(now))
    }
}

/// Comes to an answer of every limit, or to the first refusal; when that was. Clocks are read again only after a wait.
pub(super) async fn hold(asked: &mut [Asked<'_>], world: &World<'_>) -> Timestamp {
    // What was given before the caller was known may have ended meanwhile.
    let mut waited = asked.iter().any(|one| one.answer.is_some());
    let mut patience = world.patience(world.began);
    let mut ended = 0;
    while ended < ROUNDS {
        let moment = Moment::of(world.clock);
        for one in asked.iter_mut().filter(|one| one.answer.is_none()) {
            one.look(world, moment, patience);
            if one.refuses() {
                return moment.at;
            }
        }
        match next(asked) {
            Some(item) => {
                // Apart, so that requests which are served from leases are small.
                Box::pin(ask(asked, item, world)).await;
                waited = true;
            }
            None => {
                waited |= wait_for_turn(asked, world.clock).await;
                if !waited {
                    return moment.at;
                }
                let moment = Moment::of(world.clock);
                if all_spendable(asked, moment) {
                    return moment.at;
                }
                (waited, ended) = (false, ended + 1);
            }
        }
        if asked.iter().any(Asked::refuses) {
            return world.clock.now();
        }
        patience = world.patience(Instant::now());
    }
    // A clock that jumps about, or a table that takes longer than anything it gives.
    asked.iter_mut().filter(|one| one.answer.is_none()).for_each(Asked::away);
    world.clock.now()
}

/// Forgets what ended while others were asked; whether there was none.
fn all_spendable(asked: &mut [Asked<'_>], moment: Moment) -> bool {
    let mut all = true;
    for one in asked {
        if !one.is_spendable(moment) {
            one.answer = None;
            one.missed = true;
            all = false;
        }
    }
    all
}

/// The item to ask next: what binds before what is only watched, leases before what would have to go back if another
/// refused, narrow keys before broad ones.
fn next(asked: &[Asked<'_>]) -> Option<Key> {
    let missing = asked.iter().filter(|one| one.answer.is_none());
    let first = missing.min_by_key(|one| {
        (one.mode != Mode::Enforce, !one.limit.may_lease(), matches!(one.limit.by, LimitKey::Global))
    });
    first.map(|one| one.item)
}

/// Asks for a lease that no request needs yet.
pub(super) async fn ask_ahead(one: &mut Asked<'_>, world: &World<'_>) {
    let (moment, item) = (Moment::of(world.clock), one.item);
    one.ask = Ask { at: moment.at, cost: one.cost, error: moment.error, ..Ask::default() };
    one.seen = one.limit.book.with(&item, moment, |standing, _| (standing.seen, None));
    ask(std::slice::from_mut(one), item, world).await;
}

/// Asks one item for all that is missing of it.
async fn ask(asked: &mut [Asked<'_>], item: Key, world: &World<'_>) {
    let mut members: Vec<_> = asked.iter_mut().filter(|one| one.answer.is_none() && one.item == item).collect();
    if let Some(flight) = members.iter_mut().find_map(|one| one.awaits.take()) {
        return wait_for_lease(flight, &mut members, world).await;
    }
    settle(&mut members, 0, world.clock).await;
    let moment = Moment::of(world.clock);
    if ends(&mut members, |one| one.is_over(moment, false)) {
        return;
    }
    members.iter_mut().for_each(|one| one.want(moment));
    let sent = members.iter_mut().filter(|one| one.limit.paces());
    let sent = sent.map(|one| UnderWay { limit: one.limit, home: one.home, flight: one.flight.take() });
    let _landing = Landing(sent.collect(), world);
    if ends(&mut members, |one| one.is_too_little(moment)) {
        return;
    }
    for attempt in 0..TRIES {
        if attempt > 0 {
            settle(&mut members, attempt, world.clock).await;
            let moment = Moment::of(world.clock);
            if ends(&mut members, |one| one.is_over(moment, true)) {
                return;
            }
        }
        if Instant::now() >= world.bound {
            break;
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
            Some(Err(TableError::Refused { old })) => {
                if ends(&mut members, |one| !one.learn(old.as_ref(), moment)) {
                    return;
                }
            }
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

/// Leaves out those that are answered, which `answered` tells; whether there is nothing more to ask.
fn ends(members: &mut Vec<&mut Asked<'_>>, mut answered: impl FnMut(&mut Asked<'_>) -> bool) -> bool {
    let mut refused = false;
    members.retain_mut(|one| {
        let answered = answered(one);
        refused |= one.refuses();
        !answered
    });
    refused || members.is_empty()
}

/// A lease is on its way for another request of this environment: there will be some for this one as well.
async fn wait_for_lease(flight: OwnedNotified, members: &mut [&mut Asked<'_>], world: &World<'_>) {
    if tokio::time::timeout_at(world.bound, flight).await.is_err() {
        members.iter_mut().for_each(|one| one.away());
    }
}

/// Ends what these have under way, however that comes about, and tells who waits.
struct Landing<'a, 'w>(Vec<UnderWay<'a>>, &'w World<'w>);

struct UnderWay<'a> {
    limit: &'a Arc<Limit>,
    home: Key,
    flight: Option<Arc<Notify>>,
}

impl Drop for Landing<'_, '_> {
    fn drop(&mut self) {
        let moment = Moment::of(self.1.clock);
        for UnderWay { limit, home, flight } in &self.0 {
            limit.book.with(home, moment, |standing, _| {
                if let Some(holding) = standing.held() {
                    holding.lands(flight.as_ref());
                }
                ((), None)
            });
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
        // What is asked for later may not be held for as long.
        if !one.ask.lease.is_zero() {
            one.ask.lease = one.ask.lease.min(one.limit.meter().longest_lease(one.ask.at));
        }
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
    if limit.items().suffix.is_empty() {
        return (update, terms);
    }
    let (update, own) = update.without("x");
    let horizon = ask.at.secs().saturating_add(limit.horizon.load(Ordering::Relaxed)).saturating_add(KEPT);
    let (update, terms) = limit.owned((update, terms));
    (update.set("x", own.unwrap_or(0).max(horizon.into())), terms)
}

/// Waits until what was taken conforms; whether that took any time. The longest wait is its limit's queue.
async fn wait_for_turn(asked: &[Asked<'_>], clock: &dyn Clock) -> bool {
    let now = clock.now();
    let wait = asked.iter().map(|one| one.waits(now)).max().unwrap_or_default();
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
