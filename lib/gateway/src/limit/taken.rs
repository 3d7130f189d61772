//! What the limits said of one request, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::algorithm::{Ask, Seen};
use super::asked::{Answer, Asked, Given};
use super::book::Moment;
use super::fields::{Told, fields};
use super::hold::{World, ask_ahead};
use super::key::Key;
use super::lease::Spent;
use super::owed::Owed;
use super::{Around, Limit};
use crate::clock::{Clock, Timestamp};
use crate::exchange::LimitVerdict;
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;
use crate::table::{Table, Which};

/// For how long what runs after the answer waits for the table (state.md §13.2).
const PATIENCE: Duration = Duration::from_millis(250);

/// What the limits said of one request.
#[derive(Debug, Default)]
pub struct Taken {
    /// Why the request is refused; `None` lets it pass.
    pub refused: Option<Refusal>,
    /// `RateLimit` and `RateLimit-Policy`, for every answer to the request, refusals included.
    pub fields: HeaderMap,
    /// What each limit said, in the order asked.
    pub verdicts: Vec<LimitVerdict>,
    /// The plan that the caller's limits come from, where a limit is by plan.
    pub plan: Option<Arc<str>>,
    /// What limits in shadow, and soft quotas, would have refused.
    pub shadowed: Shadowed,
    /// What is to do once the answer is out.
    pub later: Later,
    /// What the answer will tell the price of.
    pub owed: Owed,
}

/// What these said, as it is `now`; `refused` where the request is refused for another reason.
pub(super) fn conclude(asked: &[Asked<'_>], refused: Option<Refusal>, now: Timestamp, clock: &dyn Clock) -> Taken {
    let refused = refused.or_else(|| asked.iter().find_map(|one| one.refusal(now)));
    let mut taken = Taken { refused, ..Taken::default() };
    let mut told = Vec::with_capacity(asked.len());
    for one in asked {
        let mut state = None;
        if let Some(answer) = one.answer {
            let admitted = matches!(answer, Answer::Admitted { .. });
            let returned = if taken.refused.is_some() { one.take_back(answer, clock, &mut taken.later) } else { 0 };
            if taken.refused.is_none() {
                taken.owed.note(one);
            }
            if let Answer::Admitted { given: Given::ByLease { low: true, .. }, .. } = answer {
                taken.later.refills.push((Arc::clone(one.limit), one.home));
            }
            state = one.state(answer, returned, now);
            let remaining = state.map_or(0, |(left, _)| left);
            taken.verdicts.push(LimitVerdict { name: Arc::clone(&one.limit.name), admitted, remaining });
            if !one.refuses()
                && !one.noted
                && let Some(refusal) = one.why_not(answer, now)
            {
                taken.shadowed.refusal(&refusal);
            }
        }
        if one.mode == Mode::Enforce {
            let window = one.limit.meter().window_secs(now);
            told.push(Told { limit: &one.limit.told, set: one.limit.headers, window, state });
        }
    }
    taken.fields = fields(told);
    taken
}

impl Asked<'_> {
    fn refusal(&self, now: Timestamp) -> Option<Refusal> {
        if self.refuses() { self.why_not(self.answer?, now) } else { None }
    }

    fn why_not(&self, answer: Answer, now: Timestamp) -> Option<Refusal> {
        let over = |until: Timestamp| {
            let limit = Arc::clone(&self.limit.name);
            Refusal::OverLimit { limit, retry_after: until.since(now) }
        };
        match answer {
            Answer::Admitted { seen, ask, given } => self.meter_of(given).beyond(&ask, &seen).map(over),
            Answer::Over { until, .. } => Some(over(until)),
            Answer::Unanswered => Some(Refusal::StateUnavailable { policy: Arc::clone(&self.limit.name) }),
        }
    }

    /// What is left, and until when: until all is there again, or where nothing is left or the request is refused,
    /// until there is enough. `None` where it is not known. Others may have taken from it meanwhile.
    fn state(&self, answer: Answer, returned: u64, now: Timestamp) -> Option<(u64, Duration)> {
        let (left, until) = match answer {
            Answer::Admitted { given: Given::ByNobody, .. } | Answer::Unanswered => return None,
            Answer::Over { until, seen, ask } => {
                (self.limit.meter().left(&ask, &seen).min(self.cost.saturating_sub(1)), until)
            }
            Answer::Admitted { seen, ask, given } => {
                let meter = self.meter_of(given);
                let held = if let Given::ByLease { spent, .. } = given { spent.left } else { 0 };
                let left = meter.left(&ask, &seen).saturating_add(returned).saturating_add(held);
                let next =
                    if left == 0 { meter.over(&Ask { cost: 1, patience: Duration::ZERO, ..ask }, &seen) } else { None };
                (left.min(meter.most()), next.unwrap_or_else(|| meter.full_at(&ask, &seen)))
            }
        };
        Some((left, until.since(now)))
    }

    /// Takes back what was given to a request that is refused; how many that is.
    fn take_back(&self, answer: Answer, clock: &dyn Clock, later: &mut Later) -> u64 {
        match answer {
            Answer::Admitted { seen, ask, given: Given::ByTable { .. } } => {
                later.returns.push(Return {
                    limit: Arc::clone(self.limit),
                    home: self.home,
                    item: self.item,
                    seen,
                    ask,
                });
                ask.cost
            }
            Answer::Admitted { ask, given: Given::ByLease { spent, .. }, .. } => {
                put_back(self.limit, &self.home, spent, clock);
                ask.cost
            }
            Answer::Admitted { seen, ask, given: Given::Locally } => {
                let limit = self.limit;
                let back = limit.local_meter().give_back(&ask, &seen);
                let until = |item: &_| limit.matters_until(&ask, item);
                let key = self.home.labelled(limit.local_meter().label(&ask));
                if limit.local.update(&key, &back, ask.at, until).is_ok() { ask.cost } else { 0 }
            }
            Answer::Admitted { given: Given::ByNobody, .. } | Answer::Over { .. } | Answer::Unanswered => 0,
        }
    }
}

/// What a request leaves to do once its answer is out: what it took and was refused by another limit goes back, and
/// leases that run low are followed by the next.
#[derive(Debug, Default)]
pub struct Later {
    returns: Vec<Return>,
    refills: Vec<(Arc<Limit>, Key)>,
}

#[derive(Debug)]
struct Return {
    limit: Arc<Limit>,
    home: Key,
    item: Key,
    seen: Seen,
    ask: Ask,
}

impl Later {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.returns.is_empty() && self.refills.is_empty()
    }

    /// Does it. What is given back is sent once: where the table does not answer it is lost, which only admits fewer.
    pub async fn run(self, table: &dyn Table, clock: &dyn Clock) {
        for one in self.returns {
            one.give(table, clock).await;
        }
        for (limit, item) in self.refills {
            refill(&limit, item, table, clock).await;
        }
    }
}

impl Return {
    async fn give(self, table: &dyn Table, clock: &dyn Clock) {
        let Self { limit, home, item, seen, ask } = self;
        let (update, terms) = limit.owned(limit.meter().give_back(&ask, &seen));
        if let Ok(new) = table.update(Which::Hot, &limit.item_key(&item, &ask), &update, &terms.behind()).await
            && let Some(seen) = limit.read(&ask, &new)
            && home == item
        {
            limit.learn(&home, &ask, seen, true, Moment::of(clock));
        }
    }
}

/// Asks for the next lease, where the last one still runs low.
async fn refill(limit: &Arc<Limit>, item: Key, table: &dyn Table, clock: &dyn Clock) {
    let moment = Moment::of(clock);
    let low = limit.book.with(&item, moment, |standing, era| {
        let low = standing.held().is_some_and(|holding| holding.is_low(moment.at, era));
        (low, None)
    });
    if low {
        let around = Around { table, clock, seed: item.seed(), deadline: None, environments: None };
        ask_for_lease(limit, item, 1, &World::of(around, PATIENCE)).await;
    }
}

/// Asks for a lease, where a request for `cost` will need one.
pub(super) async fn prepare(limit: &Arc<Limit>, item: Key, cost: u64, world: &World<'_>) {
    let moment = Moment::of(world.clock);
    let needs = limit.book.with(&item, moment, |standing, era| {
        let needs = standing.held().is_some_and(|holding| {
            holding.left(moment.at, era) < cost
                && holding.rests(moment.at).or(holding.crowded(moment.at)).is_none()
                && holding.flight.is_none()
        });
        (needs, None)
    });
    if needs {
        ask_for_lease(limit, item, cost, world).await;
    }
}

async fn ask_for_lease(limit: &Arc<Limit>, item: Key, cost: u64, world: &World<'_>) {
    let mut asked = Asked::ahead(limit, item, cost);
    ask_ahead(&mut asked, world).await;
    if let Some(Answer::Admitted { given: Given::ByLease { spent, .. }, .. }) = asked.answer {
        put_back(limit, &item, spent, world.clock);
    }
}

fn put_back(limit: &Limit, item: &Key, spent: Spent, clock: &dyn Clock) {
    limit.book.with(item, Moment::of(clock), |standing, _| {
        if let Some(holding) = standing.held() {
            holding.put_back(spent);
        }
        ((), None)
    });
}
