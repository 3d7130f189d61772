//! The bulletin: one small item of the table for what changes seldom and must be known everywhere soon. Every
//! environment reads it at most once a second (state.md §8.1). So far it has the keys that were taken back.
//!
//! A request that needs it and finds it over a second old waits for it; where requests come often none does, since it is
//! read again after an answer once it is half a second old. What it says is only ever "forget what you know", so an
//! environment that cannot read it is no worse off than without one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::exchange::After;
use crate::gateway::World;
use crate::table::{Condition, Item, Operand, Path, Reading, Subject, Table, TableError, Terms, Update, Value, Which};

/// What is older is not gone by.
const FRESH: Duration = Duration::from_secs(1);

/// What is older is read again after an answer.
const DUE: Duration = Duration::from_millis(500);

/// For how long a request waits for it.
const BOUND: Duration = Duration::from_millis(150);

/// How many keys the ring holds; the oldest makes room, and is remembered as the floor.
/// The item stays within one read unit of 4 KiB, with room for what is to come.
const RING: u64 = 100;

/// An element past the end is appended.
const PAST_THE_RING: usize = RING as usize;

const RING_ATTRIBUTE: &str = "kr";
const FLOOR_ATTRIBUTE: &str = "kf";

/// The keys that were taken back lately, by the beginnings of their hashes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TakenBack {
    /// Changes when the ring lost one: nothing that was known before may be gone by.
    floor: i128,
    /// Mark and time, as they were written.
    ring: BTreeSet<(i128, i128)>,
}

/// A key in the ring: the first 8 bytes of its hash.
fn mark_of(hash: &[u8; 32]) -> i128 {
    hash.iter().take(8).fold(0, |mark, byte| (mark << 8) | i128::from(*byte))
}

impl TakenBack {
    /// `None` where the item is not one that this version writes.
    fn read(item: &Item) -> Option<Self> {
        let floor = item.number(FLOOR_ATTRIBUTE).unwrap_or_default();
        let entries = match item.get(RING_ATTRIBUTE) {
            None => &[][..],
            Some(Value::List(entries)) => entries,
            Some(Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Binary(_) | Value::Set(_)) => return None,
        };
        let entry = |entry: &Value| match entry {
            Value::List(parts) => match parts.as_slice() {
                [Value::Number(mark), Value::Number(at)] => Some((*mark, *at)),
                _ => None,
            },
            Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::Binary(_) | Value::Set(_) => None,
        };
        Some(Self { floor, ring: entries.iter().map(entry).collect::<Option<_>>()? })
    }

    /// Whether a key is among them.
    pub(crate) fn lists(&self, hash: &[u8; 32]) -> bool {
        let mark = mark_of(hash);
        self.ring.range((mark, i128::MIN)..=(mark, i128::MAX)).next().is_some()
    }

    /// Whether what was known of a key when `before` was the word must be forgotten.
    pub(crate) fn ends(&self, before: &Self, hash: &[u8; 32]) -> bool {
        let mark = mark_of(hash);
        self.floor != before.floor
            || self.ring.range((mark, i128::MIN)..=(mark, i128::MAX)).any(|entry| !before.ring.contains(entry))
    }
}

#[derive(Debug, Default)]
struct View {
    /// When the read of what is here began.
    read: Option<Timestamp>,
    /// When one failed last.
    failed: Option<Timestamp>,
    taken_back: Arc<TakenBack>,
}

/// What this environment knows of the bulletin.
#[derive(Debug)]
pub struct Bulletin {
    item: String,
    view: Mutex<View>,
    reading: tokio::sync::Mutex<()>,
}

impl Bulletin {
    /// The bulletin of the config of this name.
    pub fn new(config: &str) -> Self {
        Self { item: format!("bl#{config}"), view: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The keys that were taken back, a second ago at the most; `None` where nobody can say.
    pub(crate) async fn taken_back(&self, table: &dyn Table, clock: &dyn Clock) -> Option<Arc<TakenBack>> {
        if let Some(known) = self.known(clock.now(), FRESH) {
            return Some(known);
        }
        if self.rests(clock.now()) {
            return None;
        }
        tokio::time::timeout(BOUND, self.renew(table, clock, FRESH)).await.ok().flatten()
    }

    /// The keys that were taken back when it was last read.
    pub(crate) fn last(&self) -> Arc<TakenBack> {
        Arc::clone(&self.view().taken_back)
    }

    /// Has it read after the answer, where it is no longer new.
    pub(crate) fn renew_later(self: &Arc<Self>, world: &World, after: &mut After) {
        let now = world.clock.now();
        if self.known(now, DUE).is_some() || self.rests(now) {
            return;
        }
        let (bulletin, table, clock) = (Arc::clone(self), Arc::clone(&world.table), Arc::clone(&world.clock));
        after.push(async move { drop(bulletin.renew(&*table, &*clock, DUE).await) });
    }

    /// Has every environment forget what it knows of a key. For the control plane.
    ///
    /// # Errors
    /// The table's.
    pub(crate) async fn take_back(&self, hash: &[u8; 32], table: &dyn Table, at: Timestamp) -> Result<(), TableError> {
        let entry = Value::List(vec![mark_of(hash).into(), at.secs().into()]);
        let size = || Subject::Size(RING_ATTRIBUTE.into());
        let longer =
            Operand::ListAppend(Box::new(Operand::at_or(RING_ATTRIBUTE, vec![])), Box::new(vec![entry.clone()].into()));
        let push = Update::new().set(RING_ATTRIBUTE, longer);
        let room = Condition::missing(RING_ATTRIBUTE).or(Condition::below(size(), RING));
        match table.update(Which::Hot, &self.item, &push, &Terms::when(room)).await {
            Err(TableError::Refused { .. }) => {}
            done => return done.map(drop),
        }
        let oldest = Path::element(RING_ATTRIBUTE, 0);
        let slide = Update::new()
            .set(FLOOR_ATTRIBUTE, Operand::At(oldest.clone().at(1)))
            .set(Path::element(RING_ATTRIBUTE, PAST_THE_RING), entry)
            .remove(oldest);
        let full = Condition::equal(size(), i128::from(RING));
        table.update(Which::Hot, &self.item, &slide, &Terms::when(full)).await.map(drop)
    }

    /// Reads it, unless somebody just did.
    async fn renew(&self, table: &dyn Table, clock: &dyn Clock, within: Duration) -> Option<Arc<TakenBack>> {
        let _one_at_a_time = self.reading.lock().await;
        let began = clock.now();
        if let Some(known) = self.known(began, within) {
            return Some(known);
        }
        // Nobody has it read for longer than a request would wait.
        let read = tokio::time::timeout(BOUND, table.get_many(Which::Hot, &[&self.item], Reading::Strong)).await;
        let item = read.ok().and_then(Result::ok).map(|items| items.into_iter().flatten().next().unwrap_or_default());
        let mut view = self.view();
        let Some(taken_back) = item.as_ref().and_then(TakenBack::read) else {
            view.failed = Some(clock.now());
            return None;
        };
        if *view.taken_back != taken_back {
            view.taken_back = Arc::new(taken_back);
        }
        (view.read, view.failed) = (Some(began), None);
        Some(Arc::clone(&view.taken_back))
    }

    fn known(&self, now: Timestamp, within: Duration) -> Option<Arc<TakenBack>> {
        let view = self.view();
        let read = view.read?;
        // A clock that was set back makes nothing newer.
        (read <= now && now.since(read) < within).then(|| Arc::clone(&view.taken_back))
    }

    /// A table that did not answer is left alone for as long as its answer would have been good.
    fn rests(&self, now: Timestamp) -> bool {
        self.view().failed.is_some_and(|failed| failed <= now && now.since(failed) < FRESH)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
