//! The shared table as environments meet it: far away, bounded for each item, at times faulty; and the negative
//! controls, which break what an update means on its way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tollgate::forward::BoxFuture;
use tollgate::table::{Item, MemoryTable, Reading, Table, TableError, Terms, ThrottleReason, Update, Which};

use crate::control::{Control, counts_from};
use crate::dice::Dice;
use crate::world::{Ice, TRACE, Truth, Wall};

/// After so long the adapter gives up (state.md §13.2).
const TIMEOUT: Duration = Duration::from_millis(130);

/// How many writes an item takes a second, and how many at once.
const CAPACITY: f64 = 1_000.0;

/// How often what goes wrong, for each update.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// It happens, and nobody hears of it.
    pub(crate) lost: f64,
    /// It is delivered a second time, later.
    pub(crate) twice: f64,
    /// It happens when the adapter has given up.
    pub(crate) late: f64,
    /// The environment is frozen for up to 3 s, before the update is sent or before its answer is seen.
    pub(crate) freeze: f64,
    /// For this share of each 2 s nothing answers.
    pub(crate) outage: f64,
}

/// One item's share of the table.
#[derive(Debug)]
struct Load {
    tokens: f64,
    at: u64,
    /// How many writes were sent, by tenth of a second.
    sent: Vec<u32>,
}

/// The table and the way to it, shared by all environments.
#[derive(Debug)]
pub(crate) struct Shared {
    table: MemoryTable,
    truth: Truth,
    faults: Faults,
    control: Control,
    /// From when on writes count as figures.
    from: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    dice: Dice,
    loads: HashMap<String, Load>,
    writes: u64,
}

impl Shared {
    pub(crate) fn new(truth: Truth, faults: Faults, control: Control, from: u64, dice: Dice) -> Arc<Self> {
        let table = MemoryTable::new(Arc::new(truth));
        let state = Mutex::new(State { dice, loads: HashMap::new(), writes: 0 });
        Arc::new(Self { table, truth, faults, control, from, state })
    }

    /// How many writes were carried out or refused, without warm-up.
    pub(crate) fn writes(&self) -> u64 {
        self.state().writes
    }

    /// The most writes that were sent to one item in any second, to a tenth of one, without warm-up.
    pub(crate) fn worst_second(&self) -> u32 {
        let most = |load: &Load| load.sent.windows(10).map(|tenths| tenths.iter().sum()).max().unwrap_or(0);
        self.state().loads.values().map(most).max().unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notes_sending(&self, key: &str) {
        let now = self.truth.now();
        let mut state = self.state();
        if !state.loads.contains_key(key) {
            state.loads.insert(key.to_owned(), Load { tokens: CAPACITY, at: now, sent: Vec::new() });
        }
        let Some(since) = now.checked_sub(self.from) else { return };
        let tenth = (since / 100_000_000) as usize;
        if let Some(load) = state.loads.get_mut(key) {
            load.sent.resize(load.sent.len().max(tenth + 1), 0);
            if let Some(sent) = load.sent.get_mut(tenth) {
                *sent += 1;
            }
        }
    }

    /// Carries the update out, if the item is not too hot.
    async fn commit(&self, which: Which, key: &str, update: &Update, terms: &Terms) -> Result<Item, TableError> {
        let now = self.truth.now();
        {
            let mut state = self.state();
            if let Some(load) = state.loads.get_mut(key) {
                load.tokens = CAPACITY.min(load.tokens + (now - load.at) as f64 * CAPACITY / 1e9);
                load.at = now;
                if load.tokens < 1.0 {
                    return Err(TableError::Throttled { reason: ThrottleReason::KeyRange });
                }
                load.tokens -= 1.0;
            }
            state.writes += u64::from(now >= self.from);
        }
        self.table.update(which, key, update, terms).await
    }

    /// One way, in whole milliseconds, as tokio's timers count.
    fn latency(&self) -> Duration {
        let dice = &mut self.state().dice;
        let tail = if dice.chance(0.005) { 6.0 } else { 1.0 };
        let millis = dice.lognormal(2.0, 0.45) * tail;
        Duration::from_millis(dice.rounded(millis))
    }

    fn draw(&self, probability: f64) -> bool {
        self.state().dice.chance(probability)
    }

    fn is_out(&self) -> bool {
        let into = self.truth.now() % 2_000_000_000;
        (into as f64) < self.faults.outage * 2e9
    }

    /// Carries it out once more, or at last, whatever became of the environment.
    fn later(self: &Arc<Self>, after: Duration, which: Which, key: &str, update: &Update, terms: &Terms) {
        let (shared, key, update, terms) = (Arc::clone(self), key.to_owned(), update.clone(), terms.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            _ = shared.commit(which, &key, &update, &terms).await;
        });
    }

    fn up_to(&self, millis: u64) -> Duration {
        Duration::from_millis(self.state().dice.below(millis + 1))
    }
}

/// What one environment sees of it.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) shared: Arc<Shared>,
    pub(crate) wall: Arc<Wall>,
    pub(crate) ice: Arc<Ice>,
    /// What one token is of an item, in nanoseconds.
    pub(crate) token: i128,
}

impl Way {
    async fn update(&self, which: Which, key: &str, update: &Update, terms: &Terms) -> Result<Item, TableError> {
        let told = self.wall.told();
        let distorted = self.shared.control.distort(update, terms, told);
        let (update, terms) = distorted.as_ref().map_or((update, terms), |(update, terms)| (update, terms));
        let counts = counts_from(update, terms, self.token).map(|from| self.wall.truly(from.min(told)));
        let answer = self.send(which, key, update, terms).await;
        if let Some(counts) = counts
            && answer.is_ok()
        {
            _ = TRACE.try_with(|trace| trace.took(counts));
        }
        answer
    }

    async fn send(&self, which: Which, key: &str, update: &Update, terms: &Terms) -> Result<Item, TableError> {
        let (shared, faults) = (&self.shared, self.shared.faults);
        self.freezes().await;
        let give_up = tokio::time::Instant::now() + TIMEOUT;
        shared.notes_sending(key);
        if shared.is_out() {
            tokio::time::sleep_until(give_up).await;
            return Err(unavailable(false));
        }
        tokio::time::sleep(shared.latency()).await;
        if shared.draw(faults.late) {
            shared.later(TIMEOUT + shared.up_to(400), which, key, update, terms);
            tokio::time::sleep_until(give_up).await;
            return Err(unavailable(true));
        }
        let answer = shared.commit(which, key, update, terms).await;
        if shared.draw(faults.twice) {
            shared.later(shared.up_to(400), which, key, update, terms);
        }
        if shared.draw(faults.lost) {
            tokio::time::sleep_until(give_up).await;
            return Err(unavailable(true));
        }
        self.freezes().await;
        tokio::time::sleep(shared.latency()).await;
        answer
    }

    /// Stands still for up to 3 s, with the whole environment.
    async fn freezes(&self) {
        if self.shared.draw(self.shared.faults.freeze) {
            let stands = self.shared.up_to(3_000);
            self.ice.freeze_until(self.shared.truth.now() + u64::try_from(stands.as_nanos()).unwrap_or(0));
            tokio::time::sleep(stands).await;
        }
    }
}

fn unavailable(maybe_done: bool) -> TableError {
    TableError::Unavailable { maybe_done, detail: "no answer in time".to_owned(), source: None }
}

impl Table for Way {
    fn get_many<'a>(
        &'a self,
        which: Which,
        keys: &'a [&'a str],
        reading: Reading,
    ) -> BoxFuture<'a, Result<Vec<Option<Item>>, TableError>> {
        self.shared.table.get_many(which, keys, reading)
    }

    fn put<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        item: Item,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<(), TableError>> {
        self.shared.table.put(which, key, item, terms)
    }

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        Box::pin(self.update(which, key, update, terms))
    }

    fn delete<'a>(&'a self, which: Which, key: &'a str, terms: &'a Terms) -> BoxFuture<'a, Result<(), TableError>> {
        self.shared.table.delete(which, key, terms)
    }
}
