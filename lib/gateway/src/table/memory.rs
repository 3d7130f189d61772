//! A table in this process's memory: the default of local runs, and what tests and simulations share.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::apply::{applied, holds};
use super::write::{check_item, check_key};
use super::{Item, Reading, Table, TableError, Terms, Update, Which};
use crate::clock::{Clock, SystemClock};
use crate::forward::BoxFuture;

/// The attribute that says when an item of the hot table is over, in seconds since the epoch.
const EXPIRY: &str = "x";

/// Below this many items nothing is looked through for what is over.
const SMALL: usize = 10_000;

/// A table in memory. Items whose expiry has passed are dropped when the table has doubled since it was last looked
/// through, so it stays within about twice what is alive; as in DynamoDB, until then they can still be read.
pub struct MemoryTable {
    hot: Mutex<Items>,
    control: Mutex<Items>,
    clock: Arc<dyn Clock>,
}

struct Items {
    by_key: HashMap<String, Item>,
    look_at: usize,
}

impl Default for MemoryTable {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl MemoryTable {
    /// An empty table that judges expiry by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let empty = || Mutex::new(Items { by_key: HashMap::new(), look_at: SMALL });
        Self { hot: empty(), control: empty(), clock }
    }

    fn items(&self, which: Which) -> MutexGuard<'_, Items> {
        let items = match which {
            Which::Hot => &self.hot,
            Which::Control => &self.control,
        };
        // A panic in the midst of an operation leaves whole items: each is replaced at once.
        items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(
        &self,
        which: Which,
        key: &str,
        terms: &Terms,
        change: impl FnOnce(Option<&Item>) -> Result<Option<Item>, TableError>,
    ) -> Result<(), TableError> {
        check_key(key)?;
        if let Some(condition) = &terms.condition {
            condition.check()?;
        }
        let mut items = self.items(which);
        let old = items.by_key.get_mut(key);
        if let Some(condition) = &terms.condition
            && !holds(condition, key, old.as_deref())
        {
            return Err(TableError::Refused { old: old.as_deref().cloned() });
        }
        match (change(old.as_deref())?, old) {
            (None, None) => {}
            (None, Some(_)) => drop(items.by_key.remove(key)),
            (Some(new), Some(place)) => *place = new,
            (Some(new), None) => {
                if which == Which::Hot {
                    items.make_room(self.clock.now().secs());
                }
                items.by_key.insert(key.to_owned(), new);
            }
        }
        Ok(())
    }
}

impl Items {
    fn make_room(&mut self, now: u64) {
        if self.by_key.len() < self.look_at {
            return;
        }
        self.by_key.retain(|_, item| item.number(EXPIRY).is_none_or(|expiry| expiry >= i128::from(now)));
        self.look_at = SMALL.max(self.by_key.len().saturating_mul(2));
    }
}

impl fmt::Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = |which| self.items(which).by_key.len();
        write!(f, "MemoryTable({} hot, {} control)", len(Which::Hot), len(Which::Control))
    }
}

impl Table for MemoryTable {
    fn get_many<'a>(
        &'a self,
        which: Which,
        keys: &'a [&'a str],
        _: Reading,
    ) -> BoxFuture<'a, Result<Vec<Option<Item>>, TableError>> {
        Box::pin(async move {
            keys.iter().try_for_each(|key| check_key(key))?;
            let items = self.items(which);
            Ok(keys.iter().map(|key| items.by_key.get(*key).cloned()).collect())
        })
    }

    fn put<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        item: Item,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<(), TableError>> {
        Box::pin(async move {
            check_item(key, &item)?;
            self.write(which, key, terms, |_| Ok(Some(item)))
        })
    }

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        Box::pin(async move {
            update.check()?;
            let mut answer = Item::new();
            self.write(which, key, terms, |old| {
                let new = applied(update, key, old)?;
                answer = new.clone();
                Ok(Some(new))
            })?;
            Ok(answer)
        })
    }

    fn delete<'a>(&'a self, which: Which, key: &'a str, terms: &'a Terms) -> BoxFuture<'a, Result<(), TableError>> {
        Box::pin(async move { self.write(which, key, terms, |_| Ok(None)) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;

    async fn memory() -> Arc<dyn Table> {
        Arc::new(MemoryTable::default())
    }

    crate::table_contract!(memory);

    #[derive(Debug)]
    struct At(u64);

    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp::from_secs(self.0)
        }
    }

    #[tokio::test]
    async fn a_large_table_drops_what_is_over_and_keeps_the_rest() {
        let table = MemoryTable::new(Arc::new(At(1000)));
        for number in 0..SMALL {
            let expiry = if number % 2 == 0 { 999 } else { 1000 };
            let item = Item::new().with(EXPIRY, expiry);
            table.put(Which::Hot, &format!("k{number}"), item, &Terms::default()).await.unwrap();
        }
        table.put(Which::Hot, "one more", Item::new(), &Terms::default()).await.unwrap();
        assert_eq!(table.items(Which::Hot).by_key.len(), SMALL / 2 + 1);
        let items = table.get_many(Which::Hot, &["k0", "k1", "one more"], Reading::Strong).await.unwrap();
        assert_eq!(items.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    }

    #[tokio::test]
    async fn a_small_table_still_shows_what_is_over_as_dynamodb_does() {
        let table = MemoryTable::new(Arc::new(At(1000)));
        table.put(Which::Hot, "k", Item::new().with(EXPIRY, 1), &Terms::default()).await.unwrap();
        table.put(Which::Hot, "l", Item::new(), &Terms::default()).await.unwrap();
        assert!(table.get_many(Which::Hot, &["k"], Reading::Strong).await.unwrap()[0].is_some());
    }
}
