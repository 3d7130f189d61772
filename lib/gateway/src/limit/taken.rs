//! What the limits said of one request, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::Limit;
use super::algorithm::{Ask, Seen};
use super::fields::{Told, fields};
use super::key::Key;
use crate::auth::Caller;
use crate::clock::{Clock, Timestamp};
use crate::exchange::LimitVerdict;
use crate::expression::Facts;
use crate::mode::{Mode, Shadowed};
use crate::refusal::Refusal;
use crate::table::{Table, Which};

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
    /// What a refused request took and gives back, once the answer is out.
    pub returns: Returns,
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
    ByTable,
    Locally,
    ByNobody,
}

/// One limit as it is asked for one request.
pub(super) struct Asked<'a> {
    pub(super) limit: &'a Arc<Limit>,
    pub(super) mode: Mode,
    pub(super) key: Key,
    pub(super) cost: u64,
    /// What is known of the item before it is asked.
    pub(super) seen: Seen,
    pub(super) answer: Option<Answer>,
}

pub(super) fn conclude(asked: &[Asked<'_>], clock: &dyn Clock) -> Taken {
    let now = clock.now();
    let mut taken = Taken { refused: asked.iter().find_map(|one| one.refusal(now)), ..Taken::default() };
    let mut told = Vec::with_capacity(asked.len());
    for one in asked {
        let mut state = None;
        if let Some(answer) = one.answer {
            let admitted = matches!(answer, Answer::Admitted { .. });
            let returned = if taken.refused.is_some() { one.take_back(answer, &mut taken.returns) } else { 0 };
            state = one.state(answer, returned, now);
            let remaining = state.map_or(0, |(left, _)| left);
            taken.verdicts.push(LimitVerdict { name: Arc::clone(&one.limit.name), admitted, remaining });
            if !one.refuses()
                && let Some(refusal) = one.why_not(answer, now)
            {
                taken.shadowed.refusal(&refusal);
            }
        }
        if one.mode == Mode::Enforce {
            let window = one.limit.meter.window_secs(now);
            told.push(Told { limit: &one.limit.told, window, state });
        }
    }
    taken.fields = fields(told);
    taken
}

impl<'a> Asked<'a> {
    pub(super) fn new(limit: &'a Arc<Limit>, mode: Mode, facts: &Facts<'_>, caller: &Caller) -> Self {
        let key = limit.key(facts, caller);
        let cost = limit.cost.of(facts, limit.algorithm.most(limit.rate));
        Self { limit, mode, key, cost, seen: limit.known.get(&key), answer: None }
    }
}

impl Asked<'_> {
    pub(super) fn refuses(&self) -> bool {
        self.mode == Mode::Enforce && !matches!(self.answer, Some(Answer::Admitted { .. }) | None)
    }

    /// When the request may go on, for all that this limit cares.
    pub(super) fn departs(&self) -> Option<Timestamp> {
        match self.answer? {
            Answer::Admitted { seen, ask, .. } if self.mode == Mode::Enforce => {
                Some(self.limit.meter.departs(&ask, &seen))
            }
            Answer::Admitted { .. } | Answer::Over { .. } | Answer::Unanswered => None,
        }
    }

    fn refusal(&self, now: Timestamp) -> Option<Refusal> {
        if self.refuses() { self.why_not(self.answer?, now) } else { None }
    }

    fn why_not(&self, answer: Answer, now: Timestamp) -> Option<Refusal> {
        let over = |until: Timestamp| {
            let limit = Arc::clone(&self.limit.name);
            Refusal::OverLimit { limit, retry_after: until.since(now) }
        };
        match answer {
            Answer::Admitted { seen, ask, .. } => self.limit.meter.beyond(&ask, &seen).map(over),
            Answer::Over { until, .. } => Some(over(until)),
            Answer::Unanswered => Some(Refusal::StateUnavailable { policy: Arc::clone(&self.limit.name) }),
        }
    }

    /// What is left, and until when: until all is there again, or where nothing is left or the request is refused,
    /// until there is enough. `None` where it is not known.
    fn state(&self, answer: Answer, returned: u64, now: Timestamp) -> Option<(u64, Duration)> {
        let meter = &self.limit.meter;
        let (left, until) = match answer {
            Answer::Admitted { given: Given::ByNobody, .. } | Answer::Unanswered => return None,
            Answer::Over { until, seen, ask } => (meter.left(&ask, &seen), until),
            Answer::Admitted { seen, ask, .. } => {
                let left = meter.left(&ask, &seen).saturating_add(returned);
                let next =
                    if left == 0 { meter.over(&Ask { cost: 1, patience: Duration::ZERO, ..ask }, &seen) } else { None };
                (left, next.unwrap_or_else(|| meter.full_at(&ask, &seen)))
            }
        };
        Some((left, until.since(now)))
    }

    /// Takes back what was given to a request that is refused; how many that is.
    fn take_back(&self, answer: Answer, returns: &mut Returns) -> u64 {
        match answer {
            Answer::Admitted { seen, ask, given: Given::ByTable } => {
                returns.0.push(Return { limit: Arc::clone(self.limit), key: self.key, seen, ask });
                ask.cost
            }
            Answer::Admitted { seen, ask, given: Given::Locally } => {
                let limit = self.limit;
                let back = limit.meter.give_back(&ask, &seen);
                let until = |item: &_| limit.matters_until(&ask, item);
                let key = self.key.labelled(limit.meter.label(&ask));
                if limit.local.update(&key, &back, ask.at, until).is_ok() { ask.cost } else { 0 }
            }
            Answer::Admitted { given: Given::ByNobody, .. } | Answer::Over { .. } | Answer::Unanswered => 0,
        }
    }
}

/// What a refused request gives back to the limits that had let it pass.
#[derive(Debug, Default)]
pub struct Returns(Vec<Return>);

#[derive(Debug)]
struct Return {
    limit: Arc<Limit>,
    key: Key,
    seen: Seen,
    ask: Ask,
}

impl Returns {
    /// Whether there is nothing to give back.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives it back, each at most once: where the table does not answer, it is lost, which only admits fewer.
    pub async fn give(self, table: &dyn Table) {
        for Return { limit, key, seen, ask } in self.0 {
            let (update, terms) = limit.meter.give_back(&ask, &seen);
            if let Ok(item) = table.update(Which::Hot, &limit.item_key(&key, &ask), &update, &terms).await {
                limit.remember(&key, &ask, Some(&item));
            }
        }
    }
}
