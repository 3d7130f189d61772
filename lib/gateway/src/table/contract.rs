//! What every [`Table`] must do, one case a function. [`table_contract!`](crate::table_contract) makes a test of each.
//!
//! Cases share a table and may run side by side: each has keys of its own, and nothing is wiped. Not `cfg(test)`, so
//! that the tests of other crates run it on their adapters.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a case of the contract fails by panicking"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Condition, Item, Reading, Table, TableError, Terms, Update, Value, Which};

mod algorithms;
mod conditions;
mod items;
mod state;
mod updates;

pub use algorithms::*;
pub use conditions::*;
pub use items::*;
pub use state::*;
pub use updates::*;

/// Makes one `#[tokio::test]` of each case of the contract. `$make` is an async function without arguments that gives
/// an `Arc<dyn Table>`.
#[macro_export]
macro_rules! table_contract {
    ($make:ident) => {
        $crate::table_contract! { @cases $make,
            a_missing_item_reads_as_none,
            many_items_come_in_the_order_of_their_keys,
            more_items_than_one_call_of_dynamodb_takes_are_read,
            a_strong_read_sees_the_write_before_it,
            every_type_comes_back_as_it_was_put,
            a_put_replaces_the_whole_item,
            a_refused_put_hands_back_the_old_item_and_changes_nothing,
            a_put_refused_for_want_of_an_item_hands_back_none,
            a_delete_of_a_missing_item_succeeds,
            a_refused_delete_hands_back_the_old_item,
            an_update_of_a_missing_item_makes_it,
            an_empty_update_makes_an_empty_item,
            add_counts_from_nothing_up_and_down,
            add_to_what_is_no_number_is_invalid,
            join_makes_and_extends_a_set,
            join_to_what_is_no_set_is_invalid,
            sets_of_texts_and_of_numbers_do_not_mix,
            right_hand_sides_read_the_old_item,
            sums_and_differences_are_of_numbers,
            if_not_exists_takes_the_first_that_is_there,
            list_append_joins_lists_in_order,
            an_element_of_a_list_can_be_set,
            elements_past_the_end_are_appended_in_their_order,
            an_element_of_what_is_no_list_is_invalid,
            removing_what_is_not_there_is_fine,
            elements_are_removed_by_their_old_places,
            overlapping_paths_are_invalid,
            two_elements_do_not_overlap,
            lists_in_lists_are_set_and_removed_by_their_old_places,
            a_path_is_31_lists_deep_at_most,
            the_key_cannot_be_changed,
            a_refused_update_hands_back_the_old_item_and_changes_nothing,
            an_invalid_update_changes_nothing,
            a_refusal_comes_before_what_the_item_makes_invalid,
            comparing_a_missing_attribute_does_not_hold,
            comparing_two_types_does_not_hold,
            texts_and_bytes_are_ordered_by_their_bytes,
            between_includes_its_bounds,
            bounds_that_make_no_sense_are_invalid,
            size_counts_elements_members_bytes_and_letters,
            and_needs_both_and_or_needs_one,
            conditions_see_elements_of_lists,
            equality_goes_deep,
            existence_of_the_key_is_existence_of_the_item,
            numbers_are_exact_to_38_digits,
            a_number_of_39_digits_is_invalid,
            an_empty_set_is_invalid,
            a_key_is_neither_empty_nor_over_2048_bytes,
            an_item_over_400_kb_is_invalid,
            names_of_any_sort_are_taken,
            the_two_tables_are_apart,
            concurrent_conditional_adds_never_pass_the_condition,
            of_concurrent_first_puts_one_wins,
            a_window_counts_to_its_limit_and_drops_older_ones,
            a_pair_of_windows_rolls_in_one_update,
            a_bucketed_window_keeps_its_running_sum,
            a_bucketed_window_takes_back_only_from_its_newest_bucket,
            a_log_slides_in_one_update,
            a_log_that_is_too_long_drops_what_is_too_many,
            a_log_takes_back_only_its_newest,
            a_token_bucket_takes_both_branches,
            a_token_bucket_takes_back_only_from_its_last_writer,
            two_limits_of_one_key_are_all_or_nothing,
            a_quota_is_taken_within_its_room_and_given_back_exactly,
            a_report_adds_many_counters_sets_some_and_drops_stale_ones,
            a_breaker_opens_is_probed_taken_over_and_closes,
            probers_are_counted_up_to_their_most,
            votes_are_counted_once_an_environment,
            a_lock_is_taken_when_free_or_over_and_released_by_its_owner,
            a_ring_keeps_its_newest_and_a_floor_what_it_dropped,
            generations_go_up_one_by_one_and_from_nothing,
            a_key_is_revoked_by_whoever_saw_its_latest_version,
            an_idempotency_key_is_put_once_until_it_is_over,
            what_must_not_be_there_is_deleted_only_where_it_is_not,
        }
    };
    (@cases $make:ident, $($case:ident,)+) => {
        mod contract {
            $(
                #[tokio::test]
                async fn $case() {
                    let table: std::sync::Arc<dyn $crate::table::Table> = super::$make().await;
                    $crate::table::contract::$case($crate::table::contract::Bench::new(table, stringify!($case))).await;
                }
            )+
        }
    };
}

/// A table, and the keys of one case on it.
#[derive(Debug)]
pub struct Bench {
    table: Arc<dyn Table>,
    prefix: String,
}

impl Bench {
    /// Keys for `case` on `table` that no other run has.
    pub fn new(table: Arc<dyn Table>, case: &str) -> Self {
        use crate::clock::Clock;
        let started = crate::clock::SystemClock.now().nanos();
        Self { table, prefix: format!("{case}-{}-{started}", std::process::id()) }
    }

    /// The table.
    pub fn table(&self) -> &dyn Table {
        &*self.table
    }

    /// A key of this case.
    pub fn key(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    /// Reads one item, strongly.
    pub async fn get(&self, name: &str) -> Option<Item> {
        let key = self.key(name);
        self.table.get_many(Which::Hot, &[&key], Reading::Strong).await.unwrap().remove(0)
    }

    /// Puts an item, unconditionally.
    pub async fn put(&self, name: &str, item: Item) {
        self.table.put(Which::Hot, &self.key(name), item, &Terms::default()).await.unwrap();
    }

    /// Updates an item.
    pub async fn update(&self, name: &str, update: &Update, terms: &Terms) -> Result<Item, TableError> {
        self.table.update(Which::Hot, &self.key(name), update, terms).await
    }

    /// Updates an item unconditionally.
    pub async fn change(&self, name: &str, update: &Update) -> Result<Item, TableError> {
        self.update(name, update, &Terms::default()).await
    }

    async fn invalid(&self, name: &str, update: &Update) {
        let answer = self.change(name, update).await;
        assert!(matches!(answer, Err(TableError::Invalid { .. })), "{update:?}: {answer:?}");
    }

    /// Whether `condition` holds of an item, asked by an update that changes nothing else.
    async fn holds(&self, name: &str, condition: Condition) -> bool {
        match self.update(name, &Update::new().set("asked", true), &Terms::when(condition.clone())).await {
            Ok(_) => true,
            Err(TableError::Refused { .. }) => false,
            Err(error) => panic!("{condition:?}: {error:?}"),
        }
    }
}

/// The old item of a refusal.
fn refused<T: std::fmt::Debug>(answer: Result<T, TableError>) -> Option<Item> {
    match answer {
        Err(TableError::Refused { old }) => old,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn set(members: &[&str]) -> BTreeSet<String> {
    members.iter().map(|member| (*member).to_owned()).collect()
}

fn numbers(members: &[i128]) -> BTreeSet<i128> {
    members.iter().copied().collect()
}

fn list(numbers: &[i32]) -> Value {
    Value::List(numbers.iter().map(|number| (*number).into()).collect())
}

macro_rules! cases {
    ($($(#[$doc:meta])* async fn $case:ident($bench:ident) $body:block)+) => {
        $(
            #[doc = concat!("Contract: ", stringify!($case), ".")]
            $(#[$doc])*
            pub async fn $case($bench: Bench) $body
        )+
    };
}
use cases;
