//! The fixed window on the table (state.md §3.1): an attribute a window, one conditional update, no guess to be wrong.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::Rate;
use crate::forward::BoxFuture;
use crate::table::{Condition, Item, Table, TableError, Terms, Update, Which};

/// One token asked for: of which item, in which window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub(super) key: String,
    pub(super) window: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The table counted it.
    Admitted { remaining: u64 },
    /// This environment counted it, while the table does not answer.
    AdmittedHere { remaining: u64 },
    /// The window is used up.
    Denied,
    /// The table does not answer.
    Unknown,
}

impl Verdict {
    /// What is left; `None` where nobody knows.
    pub(super) fn remaining(self) -> Option<u64> {
        match self {
            Self::Admitted { remaining } | Self::AdmittedHere { remaining } => Some(remaining),
            Self::Denied => Some(0),
            Self::Unknown => None,
        }
    }
}

/// The key of a limit's item: `rl#` and 128 bits of a hash over the length-prefixed parts (state.md §3).
pub(super) fn item_key(space: &str, limit: &str, by: &str) -> String {
    let mut hash = Sha256::new();
    for part in [space, limit, by] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    format!("rl#{}", URL_SAFE_NO_PAD.encode(hash.get(..16).unwrap_or_default()))
}

/// Counts one, if the window has room. An answer that got lost counts as taken: never more than the limit passes.
pub(super) async fn take(rate: Rate, asked: &Asked, table: &dyn Table) -> Verdict {
    let name = attribute(asked.window);
    let mut update =
        Update::new().add(name.clone(), 1).set("x", i128::from(rate.end(asked.window).secs() + KEPT_AFTER));
    for past in [2, 3].into_iter().filter_map(|back| asked.window.checked_sub(back)) {
        update = update.remove(attribute(past));
    }
    let room = Condition::missing(name.clone()).or(Condition::at_most(name.clone(), i128::from(rate.count()) - 1));
    match table.update(Which::Hot, &asked.key, &update, &Terms::when(room)).await {
        Ok(item) => Verdict::Admitted { remaining: rate.count().saturating_sub(used(&item, &name)) },
        Err(TableError::Refused { .. }) => Verdict::Denied,
        Err(TableError::Throttled { .. } | TableError::Unavailable { .. } | TableError::Invalid { .. }) => Verdict::Unknown,
    }
}

/// Gives one back, once: exact for a window (state.md §4.6). Lost, it only lets less through.
pub(super) fn give_back(table: &Arc<dyn Table>, asked: Asked) -> BoxFuture<'static, ()> {
    let table = Arc::clone(table);
    Box::pin(async move {
        let name = attribute(asked.window);
        let update = Update::new().add(name.clone(), -1);
        let _ = table.update(Which::Hot, &asked.key, &update, &Terms::when(Condition::at_least(name, 1))).await;
    })
}

fn used(item: &Item, name: &str) -> u64 {
    item.number(name).and_then(|used| u64::try_from(used).ok()).unwrap_or(u64::MAX)
}

fn attribute(window: u64) -> String {
    format!("w{window}")
}

/// Seconds that an item outlives its window, so that clocks that differ do not lose it.
const KEPT_AFTER: u64 = 120;
