//! Port `Table`: the shared state, a small conditional item store.
//!
//! Exactly the part of DynamoDB that the algorithms need, with updates and conditions as values, so that every
//! algorithm is written once and an adapter decides nothing. [`MemoryTable`] interprets the values; `DynamoTable`, in
//! the crate `tollgate-adapters`, renders them to expressions. What both must do is the suite in [`contract`].
//!
//! Refused: a port of the shape "read, then write what you decided". Between the two, others write; here the decision
//! is the update's condition, and a refused update hands back the item it met.

mod apply;
pub mod contract;
mod memory;
mod suffix;
mod value;
mod write;

use std::fmt::Debug;

pub(crate) use apply::written;
pub use memory::MemoryTable;
pub use value::{Item, LARGEST_NUMBER, Members, Name, Value};
pub use write::{Assigned, Change, Condition, Operand, Path, Subject, Update, check_item, check_key};

use crate::forward::BoxFuture;

/// The name of the key's attribute. Conditions may ask whether it exists; nothing may change it.
pub const KEY: &str = "pk";

/// The largest item, in bytes, names included (DynamoDB's 400 KB).
pub const LARGEST_ITEM: usize = 400 * 1024;

/// A conditional item store. All of it may be called from many tasks at once; writes to one item happen one after the
/// other.
///
/// An adapter bounds how long a call may take, by its [`Pace`], and answers [`TableError::Unavailable`] after that; what
/// to do then is the caller's policy.
pub trait Table: Send + Sync + Debug {
    /// Reads the items under `keys`, in their order; `None` where there is none. Items past their expiry may still be
    /// there: the reader checks times itself.
    ///
    /// # Errors
    /// Any [`TableError`] but `Refused`.
    fn get_many<'a>(
        &'a self,
        which: Which,
        keys: &'a [&'a str],
        reading: Reading,
    ) -> BoxFuture<'a, Result<Vec<Option<Item>>, TableError>>;

    /// Puts `item` in the place of whatever is under `key`.
    ///
    /// # Errors
    /// [`TableError::Refused`] where the condition does not hold, else what kept the table from doing it.
    fn put<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        item: Item,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<(), TableError>>;

    /// Changes the item under `key`, or makes one where there is none, and answers the item as it is then.
    ///
    /// # Errors
    /// [`TableError::Refused`] where the condition does not hold, else what kept the table from doing it.
    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>>;

    /// Deletes the item under `key`; deleting what is not there succeeds.
    ///
    /// # Errors
    /// [`TableError::Refused`] where the condition does not hold, else what kept the table from doing it.
    fn delete<'a>(&'a self, which: Which, key: &'a str, terms: &'a Terms) -> BoxFuture<'a, Result<(), TableError>>;
}

/// Which of the two tables (state.md §14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// Limits, quotas, breakers, cache, locks: may be lost at any time.
    Hot,
    /// Keys, plans, tenants: kept.
    Control,
}

/// How a read sees writes that were acknowledged before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reading {
    /// It sees all of them.
    Strong,
    /// It may miss the latest, for half the price.
    Eventual,
}

/// On what terms a write happens. The default: unconditionally, and sent once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terms {
    /// What must hold of the item before the write; `None` is nothing.
    pub condition: Option<Condition>,
    /// Whether the adapter may send it again when it cannot tell what became of the first sending.
    pub resend: Resend,
    /// Who waits for it.
    pub pace: Pace,
}

impl Terms {
    /// A write that happens only where `condition` holds.
    pub fn when(condition: Condition) -> Self {
        Self { condition: Some(condition), ..Self::default() }
    }

    /// The same, and it may be sent twice.
    pub fn idempotent(self) -> Self {
        Self { resend: Resend::Once, ..self }
    }

    /// The same after the response: with more patience, and sent once whatever else is said.
    pub fn behind(self) -> Self {
        Self { pace: Pace::Behind, ..self }
    }
}

/// Who waits for a write, and so how long (state.md §13.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pace {
    /// A request does.
    #[default]
    Request,
    /// Nobody does: it is made after the response, which may take longer, and is sent once.
    Behind,
}

/// Whether a write whose fate is unknown may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Resend {
    /// No: a second sending would count twice (an `add`).
    #[default]
    Never,
    /// Once: doing it twice is the same as doing it once, or the caller can tell from the refusal.
    Once,
}

/// Why the table did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The condition did not hold. Nothing was written.
    #[error("the condition did not hold")]
    Refused {
        /// The item as it was; `None` where there was none.
        old: Option<Item>,
    },
    /// Too much is asked of it. Nothing was written.
    #[error("throttled ({reason:?})")]
    Throttled {
        /// What was too much.
        reason: ThrottleReason,
    },
    /// It cannot be reached, does not answer in time, or failed.
    #[error("unavailable: {detail}")]
    Unavailable {
        /// Whether the write may have happened nevertheless, now or a little later.
        maybe_done: bool,
        /// What happened, for the log.
        detail: String,
        /// The error behind it, where there is one.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// What was asked makes no sense to it: paths that overlap, an operand of the wrong type, a value it cannot hold.
    /// Nothing was written.
    #[error("invalid: {detail}")]
    Invalid {
        /// What is wrong.
        detail: String,
    },
}

impl TableError {
    /// An [`TableError::Invalid`] that says `detail`.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid { detail: detail.into() }
    }
}

/// What was asked too much of (state.md §13.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleReason {
    /// One key is too hot: spread it, or ask it less.
    KeyRange,
    /// The table's own maximum.
    Table,
    /// The account's.
    Account,
    /// It did not say.
    Unknown,
}
