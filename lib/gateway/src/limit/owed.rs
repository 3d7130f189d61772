//! What a request costs by its answer (`cost: response…`): it is let in for 1, and the rest is charged once the answer
//! is out. That rest is taken whatever is left, so a bucket may go into debt and a window beyond its limit, by what the
//! requests under way at that moment cost; nobody is let in before the debt is paid.

use std::sync::Arc;

use super::Limit;
use super::algorithm::Ask;
use super::asked::{Answer, Asked, Given};
use super::book::Moment;
use super::hold::{TRIES, alone};
use super::key::Key;
use crate::clock::Clock;
use crate::expression::Facts;
use crate::table::{Table, TableError, Which};

/// What one request owes.
#[derive(Debug, Clone, Default)]
pub struct Owed(Vec<Debt>);

#[derive(Debug, Clone)]
struct Debt {
    limit: Arc<Limit>,
    home: Key,
    given: Given,
    /// Beside what was taken when it was let in; nothing until its answer is there.
    rest: u64,
}

impl Owed {
    pub(super) fn note(&mut self, one: &Asked<'_>) {
        if let Some(Answer::Admitted { given, .. }) = one.answer
            && one.limit.cost.is_of_response()
        {
            self.0.push(Debt { limit: Arc::clone(one.limit), home: one.home, given, rest: 0 });
        }
    }

    /// Reads the price from the answer. One answer costs as much as the limit ever has at once, at most: an upstream's
    /// slip is not to shut a client out for ever.
    pub(crate) fn price(&mut self, with_response: &Facts<'_>) {
        for debt in &mut self.0 {
            let most = debt.limit.algorithm.most(debt.limit.rate);
            debt.rest = debt.limit.cost.after(with_response).map_or(0, |cost| cost.min(most).saturating_sub(1));
        }
    }

    /// Whether nothing is owed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|debt| debt.rest == 0)
    }

    /// Charges it. Each is sent until it fits what the item is, and once where the table does not tell: what is lost then
    /// admits more, by so much.
    pub(crate) async fn charge(self, table: &dyn Table, clock: &dyn Clock) {
        for debt in self.0.into_iter().filter(|debt| debt.rest > 0) {
            debt.charge(table, clock).await;
        }
    }
}

impl Debt {
    async fn charge(self, table: &dyn Table, clock: &dyn Clock) {
        let Self { limit, home, given, rest } = self;
        let moment = Moment::of(clock);
        let mut ask = Ask { at: moment.at, cost: rest, debt: true, ..Ask::default() };
        match given {
            Given::ByNobody => return,
            Given::Locally => {
                limit.count_here(&home, ask);
                return;
            }
            Given::ByTable { .. } | Given::ByLease { .. } => {}
        }
        // What this environment holds pays first, so that it lets nobody in from before the debt.
        let (paid, mut seen) = limit.book.with(&home, moment, |standing, era| {
            let seen = standing.seen;
            let Some((lease, holding)) = limit.leases().zip(standing.held()) else { return ((0, seen), None) };
            holding.demand(rest, lease, moment.at);
            let paid = holding.left(moment.at, era).min(rest);
            holding.spend(paid, moment.at, era);
            ((paid, seen), None)
        });
        if paid == rest {
            return;
        }
        ask.cost = rest - paid;
        let key = limit.item_key(&home, &ask);
        for _ in 0..TRIES {
            let (update, terms) = alone(&limit, &ask, &seen);
            let item = match table.update(Which::Hot, &key, &update, &terms.behind()).await {
                Ok(item) => Some(item),
                Err(TableError::Refused { old }) => {
                    seen = old.and_then(|old| limit.read(&ask, &old)).unwrap_or_default();
                    ask.at = clock.now();
                    continue;
                }
                Err(TableError::Throttled { .. } | TableError::Unavailable { .. } | TableError::Invalid { .. }) => None,
            };
            if let Some(seen) = item.and_then(|item| limit.read(&ask, &item)) {
                limit.learn(&home, &ask, seen, true, Moment::of(clock));
            }
            return;
        }
    }
}
