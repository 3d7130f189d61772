//! A table of which one half is elsewhere: what `explain` reads, it reads where keys are; what it counts, it counts here.

use std::sync::Arc;

use tollgate::forward::BoxFuture;
use tollgate::table::{Item, MemoryTable, Reading, Table, TableError, Terms, Update, Which};

/// Keys of a table that others use, and counters of nobody else.
#[derive(Debug)]
pub(crate) struct Mixed {
    hot: MemoryTable,
    control: Arc<dyn Table>,
}

impl Mixed {
    pub(crate) fn new(control: Arc<dyn Table>) -> Self {
        Self { hot: MemoryTable::default(), control }
    }

    fn of(&self, which: Which) -> &dyn Table {
        match which {
            Which::Hot => &self.hot,
            Which::Control => &*self.control,
        }
    }
}

impl Table for Mixed {
    fn get_many<'a>(
        &'a self,
        which: Which,
        keys: &'a [&'a str],
        reading: Reading,
    ) -> BoxFuture<'a, Result<Vec<Option<Item>>, TableError>> {
        self.of(which).get_many(which, keys, reading)
    }

    fn put<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        item: Item,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<(), TableError>> {
        self.of(which).put(which, key, item, terms)
    }

    fn update<'a>(
        &'a self,
        which: Which,
        key: &'a str,
        update: &'a Update,
        terms: &'a Terms,
    ) -> BoxFuture<'a, Result<Item, TableError>> {
        self.of(which).update(which, key, update, terms)
    }

    fn delete<'a>(&'a self, which: Which, key: &'a str, terms: &'a Terms) -> BoxFuture<'a, Result<(), TableError>> {
        self.of(which).delete(which, key, terms)
    }
}
