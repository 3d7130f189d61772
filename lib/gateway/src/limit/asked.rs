//! One limit as it is asked for one request: what it answers from what is held and known, what is asked of its item,
//! and what the answer means (state.md §4.4).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::algorithm::{Ask, Meter, Seen};
use super::book::Moment;
use super::hold::World;
use super::key::Key;
use super::lease::Spent;
use super::{Accuracy, Algorithm, Limit, OnStoreFailure};
use crate::clock::Timestamp;
use crate::mode::Mode;
use crate::table::Item;

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

/// What looking at what is held comes to.
enum Look {
    /// It answers; or the table is to be asked, or the lease that is under way already.
    Done,
    Crowded(Timestamp),
    /// Another shard is to be asked.
    Strays,
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
    pub(super) ahead: bool,
    /// Whether its demand was counted.
    counted: bool,
    /// Whether what was given ended before it could be spent.
    pub(super) missed: bool,
    /// The era of the clock in which it was asked.
    era: u64,
    /// A lease that is under way for another request.
    pub(super) awaits: Option<OwnedNotified>,
    /// The lease that it asks for itself, of which others may be waiting.
    pub(super) flight: Option<Arc<Notify>>,
    pub(super) ask: Ask,
    pub(super) sure: bool,
    pub(super) seen: Seen,
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
            missed: false,
            era: 0,
            awaits: None,
            flight: None,
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

    /// How long the request has to queue, for all that this limit cares; never longer than its queue, whatever the clock
    /// does.
    pub(super) fn waits(&self, now: Timestamp) -> Duration {
        match (self.answer, self.limit.algorithm) {
            (
                Some(Answer::Admitted { seen, ask, given: given @ (Given::ByTable { .. } | Given::Locally) }),
                Algorithm::LeakyBucket { queue, .. },
            ) if self.mode == Mode::Enforce => self.meter_of(given).departs(&ask, &seen).since(now).min(queue),
            _ => Duration::ZERO,
        }
    }

    /// The meter that counted what was given.
    pub(super) fn meter_of(&self, given: Given) -> &'a dyn Meter {
        if given == Given::Locally { self.limit.local_meter() } else { self.limit.meter() }
    }

    /// What is asked for the request itself, and spent at once.
    pub(super) fn exactly(&self) -> Ask {
        Ask { cost: self.cost, lease: Duration::ZERO, slack: None, guess: false, ..self.ask }
    }

    /// Answers from what is held and known, where that is enough.
    pub(super) fn look(&mut self, world: &World<'_>, moment: Moment, patience: Duration) {
        self.seed = world.seed;
        self.ask = Ask { at: moment.at, cost: self.cost, patience, error: moment.error, ..Ask::default() };
        if self.limit.accuracy == Accuracy::Local {
            self.answer = Some(self.limit.count_here(&self.home, self.ask).unwrap_or(Answer::Unanswered));
            return;
        }
        self.look_at(world, moment);
    }

    fn look_at(&mut self, world: &World<'_>, moment: Moment) {
        let limit = self.limit;
        let ask = self.ask;
        let leased = limit.leases();
        self.item = self.home;
        // Answers are written where they stay: they are large.
        let look = limit.book.with(&self.home, moment, |standing, era| {
            let seen = standing.seen;
            self.seen = seen;
            if let Some(lease) = leased {
                let holding = standing.holding(world.seed);
                if let Some(spent) = holding.spend(self.cost, ask.at, era) {
                    if !self.counted {
                        holding.demand(self.cost, lease, ask.at);
                    }
                    let given = Given::ByLease { spent, low: holding.is_low(ask.at, era) };
                    self.answer = Some(Answer::Admitted { seen, ask, given });
                    return (Look::Done, None);
                }
            }
            let over = limit.meter().over(&ask, &seen);
            let Some(holding) = standing.held() else {
                self.answer = over.map(|until| Answer::Over { until, seen, ask });
                self.awaits = None;
                return (Look::Done, None);
            };
            if let Some(until) = over.max(holding.rests(ask.at)) {
                holding.refuse(ask.at);
                if limit.items().shards > 1 && !self.ahead && holding.may_stray(ask.at) {
                    return (Look::Strays, None);
                }
                self.answer = Some(Answer::Over { until, seen, ask });
                return (Look::Done, None);
            }
            if let Some(until) = holding.crowded(ask.at) {
                return (Look::Crowded(until), None);
            }
            if let Some(lease) = leased.filter(|_| !self.counted) {
                holding.demand(self.cost, lease, ask.at);
            }
            let flight = holding.flight.as_ref().filter(|_| !self.ahead);
            self.awaits = flight.map(|flight| Arc::clone(flight).notified_owned());
            (Look::Done, None)
        });
        self.counted = true;
        match look {
            Look::Done => {}
            Look::Crowded(until) => self.refused_by_crowd(until),
            // The environment's own shard is empty; another may not be (state.md §4.7).
            Look::Strays => {
                self.item = limit.other_shard(self.home, world.seed);
                self.seen = Seen::Nothing;
            }
        }
    }

    /// Whether another shard is asked than the environment's own. What it gives is held as if it were from there.
    fn is_astray(&self) -> bool {
        self.item != self.home
    }

    /// What to ask for: a lease where that is worth it.
    pub(super) fn want(&mut self, moment: Moment) {
        let limit = self.limit;
        let (exactly, astray) = (Ask { error: moment.error, ..self.exactly() }, self.is_astray());
        let (seed, missed, mut flight) = (self.seed, self.missed, None);
        (self.ask, self.seen, self.era) = limit.book.with(&self.home, moment, |standing, era| {
            let seen = if astray { Seen::Nothing } else { standing.seen };
            let want = |ask| ((ask, seen, era), None);
            if !limit.paces() {
                return want(exactly);
            }
            let holding = standing.holding(seed);
            holding.sends();
            if limit.accuracy != Accuracy::Leased || missed {
                return want(exactly);
            }
            let ask = holding.want(exactly, limit.meter(), &seen, limit.quantum());
            if ask.lease.is_zero() {
                return want(ask);
            }
            flight = holding.begins_flight();
            want(ask)
        });
        self.flight = flight;
    }

    /// Whether the item as it was seen has nothing for the request.
    pub(super) fn is_over(&mut self, moment: Moment, told: bool) -> bool {
        let ask = self.exactly();
        let Some(until) = self.limit.meter().over(&ask, &self.seen) else { return false };
        let until = if told { self.denied(until, moment) } else { until };
        self.answer = Some(Answer::Over { until, seen: self.seen, ask });
        true
    }

    /// Whether so little is left of a hot bucket that it is not worth a write (state.md §4.2): who asks for several then
    /// waits for more.
    pub(super) fn is_too_little(&mut self, moment: Moment) -> bool {
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
    pub(super) fn learn(&mut self, item: Option<&Item>, moment: Moment) -> bool {
        let Some(seen) = item.map_or(Some(Seen::Nothing), |item| self.limit.read(&self.ask, item)) else {
            self.away();
            return false;
        };
        self.remember(seen, false, moment);
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

    fn remember(&mut self, seen: Seen, by_us: bool, moment: Moment) {
        let limit = self.limit;
        self.seen = seen;
        if self.is_astray() {
            return;
        }
        limit.learn(&self.home, &self.ask, seen, by_us, moment);
    }

    /// Takes what was granted, where it may still be spent.
    pub(super) fn granted(&mut self, item: &Item, moment: Moment) {
        let limit = self.limit;
        let Some(seen) = limit.read(&self.ask, item) else { return self.away() };
        self.remember(seen, true, moment);
        let (ask, exactly) = (self.ask, self.exactly());
        let scarce = limit.meter().is_scarce(&ask, &seen);
        let era = self.era;
        let given = limit.book.with(&self.home, moment, |standing, _| {
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
    pub(super) fn away(&mut self) {
        let ask = Ask { slack: None, ..self.exactly() };
        self.answer = Some(match self.limit.on_store_failure {
            _ if self.ahead => Answer::Unanswered,
            OnStoreFailure::Open => Answer::Admitted { seen: Seen::Nothing, ask, given: Given::ByNobody },
            OnStoreFailure::Closed => Answer::Unanswered,
            OnStoreFailure::Local => self.limit.count_here(&self.home, ask).unwrap_or(Answer::Unanswered),
        });
    }

    /// The item is asked too much.
    pub(super) fn crowded(&mut self, moment: Moment) {
        let seed = self.seed;
        let until =
            self.limit.book.with(&self.home, moment, |standing, _| (standing.holding(seed).throttled(moment.at), None));
        self.refused_by_crowd(until);
    }

    /// The table answers, but its item has no time for us. To count here instead would let more pass than the limit
    /// says, so that is a refusal, for a moment.
    fn refused_by_crowd(&mut self, until: Timestamp) {
        match self.limit.on_store_failure {
            _ if self.ahead => self.answer = Some(Answer::Unanswered),
            OnStoreFailure::Local => self.answer = Some(Answer::Over { until, seen: self.seen, ask: self.exactly() }),
            OnStoreFailure::Open | OnStoreFailure::Closed => self.away(),
        }
    }

    /// Whether what was given may be spent at this moment.
    pub(super) fn is_spendable(&self, moment: Moment) -> bool {
        match self.answer {
            Some(Answer::Admitted { ask, given: Given::ByTable { sure }, .. }) => {
                self.limit.meter().spendable(&ask, moment.at, sure)
            }
            Some(Answer::Admitted { given: Given::ByLease { spent, .. }, .. }) => {
                let era = self.limit.book.with(&self.home, moment, |_, era| (era, None));
                spent.until > moment.at && spent.era == era
            }
            Some(
                Answer::Admitted { given: Given::Locally | Given::ByNobody, .. }
                | Answer::Over { .. }
                | Answer::Unanswered,
            )
            | None => true,
        }
    }
}
