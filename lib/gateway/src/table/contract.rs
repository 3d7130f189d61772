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

use bytes::Bytes;

use super::{
    Assigned, Condition, Item, KEY, LARGEST_NUMBER, Operand, Path, Reading, Subject, Table, TableError, Terms, Update,
    Value, Which,
};

mod algorithms;

pub use algorithms::*;

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

cases! {
    async fn a_missing_item_reads_as_none(bench) {
        assert_eq!(bench.get("never written").await, None);
    }

    async fn many_items_come_in_the_order_of_their_keys(bench) {
        bench.put("a", Item::new().with("n", 1)).await;
        bench.put("b", Item::new().with("n", 2)).await;
        let (a, b, c) = (bench.key("a"), bench.key("b"), bench.key("c"));
        let read = bench.table.get_many(Which::Hot, &[&b, &c, &a, &b], Reading::Eventual).await.unwrap();
        let numbers: Vec<_> = read.iter().map(|item| item.as_ref().and_then(|item| item.number("n"))).collect();
        assert_eq!(numbers, [Some(2), None, Some(1), Some(2)]);
        assert!(bench.table.get_many(Which::Hot, &[], Reading::Strong).await.unwrap().is_empty());
    }

    async fn more_items_than_one_call_of_dynamodb_takes_are_read(bench) {
        let keys: Vec<_> = (0..230).map(|number| bench.key(&number.to_string())).collect();
        for number in [0, 99, 100, 229] {
            bench.put(&number.to_string(), Item::new().with("n", number)).await;
        }
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let read = bench.table.get_many(Which::Hot, &keys, Reading::Strong).await.unwrap();
        let there: Vec<_> = read.iter().enumerate().filter(|(_, item)| item.is_some()).map(|(place, _)| place).collect();
        assert_eq!((read.len(), there), (230, vec![0, 99, 100, 229]));
    }

    async fn a_strong_read_sees_the_write_before_it(bench) {
        for number in 0..20 {
            bench.put("k", Item::new().with("n", number)).await;
            assert_eq!(bench.get("k").await.unwrap().number("n"), Some(number.into()));
        }
    }

    async fn every_type_comes_back_as_it_was_put(bench) {
        let item = Item::new()
            .with("text", "grüße, 世界 🦀")
            .with("empty", "")
            .with("number", -12)
            .with("zero", 0)
            .with("bytes", Bytes::from_static(&[0, 255, 128]))
            .with("no bytes", Bytes::new())
            .with("true", true)
            .with("false", false)
            .with("list", vec![Value::from(1), "two".into(), list(&[3])])
            .with("empty list", vec![])
            .with("set", set(&["b", "a", ""]));
        bench.put("k", item.clone()).await;
        assert_eq!(bench.get("k").await, Some(item));
    }

    async fn a_put_replaces_the_whole_item(bench) {
        bench.put("k", Item::new().with("a", 1).with("b", 2)).await;
        bench.put("k", Item::new().with("b", 3)).await;
        assert_eq!(bench.get("k").await, Some(Item::new().with("b", 3)));
    }

    async fn a_refused_put_hands_back_the_old_item_and_changes_nothing(bench) {
        let old = Item::new().with("a", 1);
        let terms = Terms::when(Condition::missing(KEY));
        bench.table.put(Which::Hot, &bench.key("k"), old.clone(), &terms).await.unwrap();
        let again = bench.table.put(Which::Hot, &bench.key("k"), Item::new().with("a", 2), &terms).await;
        assert_eq!(refused(again), Some(old.clone()));
        assert_eq!(bench.get("k").await, Some(old));
    }

    async fn a_put_refused_for_want_of_an_item_hands_back_none(bench) {
        let terms = Terms::when(Condition::exists(KEY));
        assert_eq!(refused(bench.table.put(Which::Hot, &bench.key("k"), Item::new(), &terms).await), None);
        assert_eq!(bench.get("k").await, None);
    }

    async fn a_delete_of_a_missing_item_succeeds(bench) {
        bench.table.delete(Which::Hot, &bench.key("k"), &Terms::default()).await.unwrap();
        bench.put("k", Item::new().with("a", 1)).await;
        bench.table.delete(Which::Hot, &bench.key("k"), &Terms::default()).await.unwrap();
        assert_eq!(bench.get("k").await, None);
    }

    async fn a_refused_delete_hands_back_the_old_item(bench) {
        let terms = Terms::when(Condition::equal("owner", "me"));
        assert_eq!(refused(bench.table.delete(Which::Hot, &bench.key("k"), &terms).await), None);
        bench.put("k", Item::new().with("owner", "you")).await;
        let old = refused(bench.table.delete(Which::Hot, &bench.key("k"), &terms).await);
        assert_eq!(old, Some(Item::new().with("owner", "you")));
        bench.put("k", Item::new().with("owner", "me")).await;
        bench.table.delete(Which::Hot, &bench.key("k"), &terms).await.unwrap();
        assert_eq!(bench.get("k").await, None);
    }

    async fn an_update_of_a_missing_item_makes_it(bench) {
        let new = bench.change("k", &Update::new().set("a", "x").add("n", 2)).await.unwrap();
        assert_eq!(new, Item::new().with("a", "x").with("n", 2));
        assert_eq!(bench.get("k").await, Some(new));
    }

    async fn an_empty_update_makes_an_empty_item(bench) {
        assert_eq!(bench.change("k", &Update::new()).await.unwrap(), Item::new());
        assert_eq!(bench.get("k").await, Some(Item::new()));
        bench.put("k", Item::new().with("a", 1)).await;
        assert_eq!(bench.change("k", &Update::new()).await.unwrap(), Item::new().with("a", 1));
        let refusal = bench.update("k", &Update::new(), &Terms::when(Condition::missing("a"))).await;
        assert_eq!(refused(refusal), Some(Item::new().with("a", 1)));
    }

    async fn add_counts_from_nothing_up_and_down(bench) {
        for (by, sum) in [(5, 5), (-7, -2), (0, -2), (2, 0)] {
            assert_eq!(bench.change("k", &Update::new().add("n", by)).await.unwrap().number("n"), Some(sum));
        }
    }

    async fn add_to_what_is_no_number_is_invalid(bench) {
        bench.put("k", Item::new().with("text", "1").with("list", list(&[1])).with("set", set(&["a"]))).await;
        for name in ["text", "list", "set"] {
            bench.invalid("k", &Update::new().add(name, 1)).await;
        }
    }

    async fn join_makes_and_extends_a_set(bench) {
        let join = |members: &[&str]| Update::new().join("s", set(members));
        bench.change("k", &join(&["b", "a"])).await.unwrap();
        let new = bench.change("k", &join(&["b", "c"])).await.unwrap();
        assert_eq!(new.get("s"), Some(&Value::Set(set(&["a", "b", "c"]))));
    }

    async fn join_to_what_is_no_set_is_invalid(bench) {
        bench.put("k", Item::new().with("text", "a").with("n", 1).with("list", vec!["a".into()])).await;
        for name in ["text", "n", "list"] {
            bench.invalid("k", &Update::new().join(name, set(&["a"]))).await;
        }
        bench.invalid("k", &Update::new().join("new", set(&[]))).await;
    }

    async fn right_hand_sides_read_the_old_item(bench) {
        bench.put("k", Item::new().with("a", 1).with("b", 2)).await;
        let swap = Update::new().set("a", Operand::At("b".into())).set("b", Operand::At("a".into()));
        assert_eq!(bench.change("k", &swap).await.unwrap(), Item::new().with("a", 2).with("b", 1));
        let mixed = Update::new().add("a", 10).set("c", Operand::At("a".into())).remove("b").set("d", Operand::At("b".into()));
        assert_eq!(bench.change("k", &mixed).await.unwrap(), Item::new().with("a", 12).with("c", 2).with("d", 1));
    }

    async fn sums_and_differences_are_of_numbers(bench) {
        bench.put("k", Item::new().with("a", 5).with("text", "5")).await;
        let at = |name: &'static str| Operand::At(name.into());
        let sum = Update::new().set("s", Assigned::Sum(at("a"), 3.into())).set("d", Assigned::Difference(3.into(), at("a")));
        let new = bench.change("k", &sum).await.unwrap();
        assert_eq!((new.number("s"), new.number("d")), (Some(8), Some(-2)));
        for wrong in [
            Assigned::Sum(at("text"), 1.into()),
            Assigned::Sum(1.into(), at("missing")),
            Assigned::Difference(at("a"), "1".into()),
            Assigned::Is(at("missing")),
        ] {
            bench.invalid("k", &Update::new().set("x", wrong)).await;
        }
    }

    async fn if_not_exists_takes_the_first_that_is_there(bench) {
        let counted = Update::new().set("n", Assigned::Sum(Operand::at_or("n", 10), 1.into()));
        assert_eq!(bench.change("k", &counted).await.unwrap().number("n"), Some(11));
        assert_eq!(bench.change("k", &counted).await.unwrap().number("n"), Some(12));
        let chosen = Update::new().set("m", Operand::IfNotExists("x".into(), Box::new(Operand::at_or("n", 0))));
        assert_eq!(bench.change("k", &chosen).await.unwrap().number("m"), Some(12));
        bench.invalid("k", &Update::new().set("m", Operand::IfNotExists("x".into(), Box::new(Operand::At("y".into()))))).await;
    }

    async fn list_append_joins_lists_in_order(bench) {
        let append = |first: Operand, second: Operand| Operand::ListAppend(Box::new(first), Box::new(second));
        let push = Update::new().set("l", append(Operand::at_or("l", vec![]), list(&[1, 2]).into()));
        bench.change("k", &push).await.unwrap();
        assert_eq!(bench.change("k", &push).await.unwrap().get("l"), Some(&list(&[1, 2, 1, 2])));
        let front = Update::new().set("l", append(list(&[0]).into(), Operand::At("l".into()))).set("n", 1);
        assert_eq!(bench.change("k", &front).await.unwrap().get("l"), Some(&list(&[0, 1, 2, 1, 2])));
        bench.invalid("k", &Update::new().set("l", append(Operand::At("n".into()), list(&[1]).into()))).await;
        bench.invalid("k", &Update::new().set("l", append(1.into(), list(&[1]).into()))).await;
        bench.invalid("k", &Update::new().set("l", append(Operand::At("none".into()), list(&[1]).into()))).await;
    }

    async fn an_element_of_a_list_can_be_set(bench) {
        bench.put("k", Item::new().with("l", list(&[1, 2, 3]))).await;
        let set = Update::new().set(Path::element("l", 1), "two").set("copy", Operand::At(Path::element("l", 2)));
        let new = bench.change("k", &set).await.unwrap();
        assert_eq!(new.get("l"), Some(&Value::List(vec![1.into(), "two".into(), 3.into()])));
        assert_eq!(new.number("copy"), Some(3));
    }

    async fn elements_past_the_end_are_appended_in_their_order(bench) {
        bench.put("k", Item::new().with("l", list(&[1]))).await;
        let set = Update::new().set(Path::element("l", 90), 3).set(Path::element("l", 7), 2);
        assert_eq!(bench.change("k", &set).await.unwrap().get("l"), Some(&list(&[1, 2, 3])));
    }

    async fn an_element_of_what_is_no_list_is_invalid(bench) {
        bench.put("k", Item::new().with("n", 1).with("s", set(&["a"]))).await;
        for name in ["n", "s", "missing"] {
            bench.invalid("k", &Update::new().set(Path::element(name, 0), 1)).await;
            bench.invalid("k", &Update::new().remove(Path::element(name, 0))).await;
        }
    }

    async fn removing_what_is_not_there_is_fine(bench) {
        bench.put("k", Item::new().with("l", list(&[1])).with("a", 1)).await;
        let remove = Update::new().remove("missing").remove(Path::element("l", 5)).remove("a");
        assert_eq!(bench.change("k", &remove).await.unwrap(), Item::new().with("l", list(&[1])));
    }

    async fn elements_are_removed_by_their_old_places(bench) {
        bench.put("k", Item::new().with("l", list(&[0, 1, 2, 3, 4]))).await;
        let remove = Update::new().remove(Path::element("l", 1)).remove(Path::element("l", 3)).set(Path::element("l", 4), 9);
        assert_eq!(bench.change("k", &remove).await.unwrap().get("l"), Some(&list(&[0, 2, 9])));
        let slide = Update::new().set(Path::element("l", 100), 7).remove(Path::element("l", 0));
        assert_eq!(bench.change("k", &slide).await.unwrap().get("l"), Some(&list(&[2, 9, 7])));
    }

    async fn overlapping_paths_are_invalid(bench) {
        bench.put("k", Item::new().with("l", list(&[1, 2])).with("n", 1).with("s", set(&["a"]))).await;
        for update in [
            Update::new().set("n", 1).set("n", 2),
            Update::new().set("n", 1).remove("n"),
            Update::new().set("n", 1).add("n", 1),
            Update::new().add("n", 1).add("n", 1),
            Update::new().join("s", set(&["b"])).remove("s"),
            Update::new().set("l", list(&[])).remove(Path::element("l", 0)),
            Update::new().set(Path::element("l", 0), 1).remove(Path::element("l", 0)),
        ] {
            bench.invalid("k", &update).await;
        }
    }

    async fn two_elements_do_not_overlap(bench) {
        bench.put("k", Item::new().with("l", list(&[1, 2]))).await;
        let update = Update::new().set(Path::element("l", 0), 5).remove(Path::element("l", 1));
        assert_eq!(bench.change("k", &update).await.unwrap().get("l"), Some(&list(&[5])));
    }

    async fn the_key_cannot_be_changed(bench) {
        for update in [Update::new().set(KEY, "x"), Update::new().remove(KEY), Update::new().add(KEY, 1)] {
            bench.invalid("k", &update).await;
        }
        let put = bench.table.put(Which::Hot, &bench.key("k"), Item::new().with(KEY, "x"), &Terms::default()).await;
        assert!(matches!(put, Err(TableError::Invalid { .. })), "{put:?}");
        assert_eq!(bench.get("k").await, None);
    }

    async fn a_refused_update_hands_back_the_old_item_and_changes_nothing(bench) {
        let terms = Terms::when(Condition::at_least("n", 3));
        assert_eq!(refused(bench.update("k", &Update::new().add("n", 1), &terms).await), None);
        assert_eq!(bench.get("k").await, None);
        let old = Item::new().with("n", 2).with("other", "x");
        bench.put("k", old.clone()).await;
        assert_eq!(refused(bench.update("k", &Update::new().add("n", 1), &terms).await), Some(old.clone()));
        assert_eq!(bench.get("k").await, Some(old));
    }

    async fn an_invalid_update_changes_nothing(bench) {
        let old = Item::new().with("n", 2).with("text", "x");
        bench.put("k", old.clone()).await;
        bench.invalid("k", &Update::new().add("n", 1).add("text", 1)).await;
        assert_eq!(bench.get("k").await, Some(old));
    }

    async fn a_refusal_comes_before_what_the_item_makes_invalid(bench) {
        bench.put("k", Item::new().with("text", "x")).await;
        let update = Update::new().add("text", 1);
        refused(bench.update("k", &update, &Terms::when(Condition::missing("text"))).await);
        let overlapping = Update::new().set("a", 1).remove("a");
        let answer = bench.update("k", &overlapping, &Terms::when(Condition::missing("text"))).await;
        assert!(matches!(answer, Err(TableError::Invalid { .. })), "{answer:?}");
    }

    async fn comparing_a_missing_attribute_does_not_hold(bench) {
        for there in [false, true] {
            if there {
                bench.put("k", Item::new().with("l", list(&[1]))).await;
            }
            for subject in [Subject::At("m".into()), Subject::At(Path::element("l", 3)), Subject::Size("m".into())] {
                for condition in [
                    Condition::equal(subject.clone(), 0),
                    Condition::below(subject.clone(), 1),
                    Condition::at_most(subject.clone(), 1),
                    Condition::at_least(subject.clone(), 0),
                    Condition::between(subject.clone(), 0, 1),
                ] {
                    assert!(!bench.holds("k", condition).await, "{subject:?}");
                }
            }
            if !there {
                assert_eq!(bench.get("k").await, None);
            }
        }
    }

    async fn comparing_two_types_does_not_hold(bench) {
        bench.put("k", Item::new().with("n", 5).with("t", "5").with("b", Bytes::from_static(b"5")).with("f", true)).await;
        let values: [Value; 3] = [5.into(), "5".into(), Bytes::from_static(b"5").into()];
        for (place, name) in ["n", "t", "b", "f"].into_iter().enumerate() {
            for (other, value) in values.iter().enumerate() {
                let same = place == other;
                assert_eq!(bench.holds("k", Condition::equal(name, value.clone())).await, same, "{name} {value:?}");
                assert_eq!(bench.holds("k", Condition::at_most(name, value.clone())).await, same, "{name} {value:?}");
                assert_eq!(bench.holds("k", Condition::at_least(name, value.clone())).await, same, "{name} {value:?}");
                assert!(!bench.holds("k", Condition::below(name, value.clone())).await, "{name} {value:?}");
            }
        }
    }

    async fn texts_and_bytes_are_ordered_by_their_bytes(bench) {
        bench.put("k", Item::new().with("t", "b").with("b", Bytes::from_static(&[0x80]))).await;
        for (low, high) in [("a", "c"), ("B", "b0"), ("", "ä"), ("ab", "ba")] {
            assert!(bench.holds("k", Condition::between("t", low, high)).await, "{low} {high}");
            assert!(!bench.holds("k", Condition::below("t", low)).await, "{low}");
        }
        let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
        assert!(bench.holds("k", Condition::at_least("b", bytes(&[0x7f, 0xff]))).await);
        assert!(bench.holds("k", Condition::below("b", bytes(&[0x80, 0]))).await);
    }

    async fn between_includes_its_bounds(bench) {
        bench.put("k", Item::new().with("n", 5)).await;
        for (low, high, holds) in [(5, 9, true), (1, 5, true), (5, 5, true), (6, 9, false), (-9, 4, false)] {
            assert_eq!(bench.holds("k", Condition::between("n", low, high)).await, holds, "{low} {high}");
        }
    }

    async fn bounds_that_make_no_sense_are_invalid(bench) {
        bench.put("k", Item::new().with("n", 5)).await;
        for condition in [
            Condition::between("n", 6, 5),
            Condition::between("n", 1, "9"),
            Condition::below("n", true),
            Condition::at_most("n", list(&[1])),
        ] {
            let answer = bench.update("k", &Update::new(), &Terms::when(condition.clone())).await;
            assert!(matches!(answer, Err(TableError::Invalid { .. })), "{condition:?}: {answer:?}");
        }
    }

    async fn size_counts_elements_members_bytes_and_letters(bench) {
        let item = Item::new()
            .with("list", list(&[1, 2, 3]))
            .with("set", set(&["a", "b"]))
            .with("bytes", Bytes::from_static(&[1, 2, 3, 4]))
            .with("text", "ä🦀")
            .with("n", 123)
            .with("f", true);
        bench.put("k", item).await;
        let size = |name: &'static str| Subject::Size(name.into());
        for (name, is) in [("list", 3), ("set", 2), ("bytes", 4), ("text", 3)] {
            assert!(bench.holds("k", Condition::equal(size(name), is)).await, "{name}");
            assert!(bench.holds("k", Condition::below(size(name), is + 1)).await, "{name}");
            assert!(!bench.holds("k", Condition::below(size(name), is)).await, "{name}");
        }
        for name in ["n", "f"] {
            assert!(!bench.holds("k", Condition::at_least(size(name), 0)).await, "{name}");
        }
    }

    async fn and_needs_both_and_or_needs_one(bench) {
        bench.put("k", Item::new().with("n", 5)).await;
        let (yes, no) = (Condition::exists("n"), Condition::missing("n"));
        for (left, right) in [(true, true), (true, false), (false, true), (false, false)] {
            let of = |truth| if truth { yes.clone() } else { no.clone() };
            assert_eq!(bench.holds("k", of(left).and(of(right))).await, left && right);
            assert_eq!(bench.holds("k", of(left).or(of(right))).await, left || right);
        }
        // Grouping is kept: (no and no) or yes is not no and (no or yes).
        assert!(bench.holds("k", no.clone().and(no.clone()).or(yes.clone())).await);
        assert!(!bench.holds("k", no.clone().and(no.clone().or(yes.clone()))).await);
    }

    async fn conditions_see_elements_of_lists(bench) {
        bench.put("k", Item::new().with("l", vec![Value::from(5), "x".into(), list(&[1, 2])]).with("n", 1)).await;
        assert!(bench.holds("k", Condition::at_most(Path::element("l", 0), 5)).await);
        assert!(bench.holds("k", Condition::equal(Path::element("l", 1), "x")).await);
        assert!(bench.holds("k", Condition::equal(Subject::Size(Path::element("l", 2)), 2)).await);
        assert!(bench.holds("k", Condition::exists(Path::element("l", 2))).await);
        assert!(bench.holds("k", Condition::missing(Path::element("l", 3))).await);
        assert!(bench.holds("k", Condition::missing(Path::element("n", 0))).await);
    }

    async fn equality_goes_deep(bench) {
        bench.put("k", Item::new().with("l", vec![list(&[1]), true.into()]).with("s", set(&["a", "b"])).with("f", false)).await;
        assert!(bench.holds("k", Condition::equal("l", vec![list(&[1]), true.into()])).await);
        assert!(!bench.holds("k", Condition::equal("l", vec![true.into(), list(&[1])])).await);
        assert!(bench.holds("k", Condition::equal("s", set(&["b", "a"]))).await);
        assert!(!bench.holds("k", Condition::equal("s", set(&["a"]))).await);
        assert!(bench.holds("k", Condition::equal("f", false)).await);
        assert!(!bench.holds("k", Condition::equal("f", true)).await);
    }

    async fn existence_of_the_key_is_existence_of_the_item(bench) {
        assert!(!bench.holds("k", Condition::exists(KEY)).await);
        assert!(bench.holds("k", Condition::missing(KEY)).await);
        assert!(bench.holds("k", Condition::exists(KEY)).await);
        assert!(bench.holds("k", Condition::equal(KEY, bench.key("k"))).await);
        assert!(!bench.holds("k", Condition::equal(KEY, "other")).await);
    }

    async fn numbers_are_exact_to_38_digits(bench) {
        let item = Item::new().with("high", LARGEST_NUMBER).with("low", -LARGEST_NUMBER);
        bench.put("k", item.clone()).await;
        assert_eq!(bench.get("k").await, Some(item));
        let new = bench.change("k", &Update::new().add("high", -1).add("low", 1)).await.unwrap();
        assert_eq!((new.number("high"), new.number("low")), (Some(LARGEST_NUMBER - 1), Some(1 - LARGEST_NUMBER)));
        assert!(bench.holds("k", Condition::below("high", LARGEST_NUMBER)).await);
        assert!(!bench.holds("k", Condition::below("high", LARGEST_NUMBER - 1)).await);
    }

    async fn a_number_of_39_digits_is_invalid(bench) {
        bench.invalid("k", &Update::new().set("n", LARGEST_NUMBER + 1)).await;
        bench.invalid("k", &Update::new().add("n", i128::MIN)).await;
        bench.invalid("k", &Update::new().set("n", vec![Value::from(i128::MAX)])).await;
    }

    async fn an_empty_set_is_invalid(bench) {
        bench.invalid("k", &Update::new().set("s", set(&[]))).await;
        bench.invalid("k", &Update::new().set("s", vec![Value::Set(set(&[]))])).await;
        let put = bench.table.put(Which::Hot, &bench.key("k"), Item::new().with("s", set(&[])), &Terms::default()).await;
        assert!(matches!(put, Err(TableError::Invalid { .. })), "{put:?}");
    }

    async fn a_key_is_neither_empty_nor_over_2048_bytes(bench) {
        let longest = bench.key("k") + &"ä".repeat(1024);
        let longest = &longest[longest.len() % 2..][..2048];
        bench.table.update(Which::Hot, longest, &Update::new().add("n", 1), &Terms::default()).await.unwrap();
        let read = bench.table.get_many(Which::Hot, &[longest], Reading::Strong).await.unwrap();
        assert!(read[0].is_some());
        for key in ["", &format!("{longest}x")] {
            let terms = Terms::default();
            let update = bench.table.update(Which::Hot, key, &Update::new(), &terms).await;
            assert!(matches!(update, Err(TableError::Invalid { .. })), "{update:?}");
            let put = bench.table.put(Which::Hot, key, Item::new(), &terms).await;
            assert!(matches!(put, Err(TableError::Invalid { .. })), "{put:?}");
            let read = bench.table.get_many(Which::Hot, &[key], Reading::Strong).await;
            assert!(matches!(read, Err(TableError::Invalid { .. })), "{read:?}");
            let delete = bench.table.delete(Which::Hot, key, &terms).await;
            assert!(matches!(delete, Err(TableError::Invalid { .. })), "{delete:?}");
        }
    }

    async fn an_item_over_400_kb_is_invalid(bench) {
        let bytes = |len: usize| Bytes::from(vec![7; len]);
        bench.put("k", Item::new().with("b", bytes(300_000))).await;
        let put = bench.table.put(Which::Hot, &bench.key("k"), Item::new().with("b", bytes(410_000)), &Terms::default()).await;
        assert!(matches!(put, Err(TableError::Invalid { .. })), "{put:?}");
        bench.invalid("k", &Update::new().set("c", bytes(200_000))).await;
        assert_eq!(bench.get("k").await, Some(Item::new().with("b", bytes(300_000))));
    }

    async fn names_of_any_sort_are_taken(bench) {
        let names = ["size", "SET", "a.b", "a[0]", "#n0", ":v0", "with space", "ünï", "w28333333", "-"];
        let mut update = Update::new();
        for name in names {
            update = update.set(name, name);
        }
        let new = bench.change("k", &update).await.unwrap();
        for name in names {
            assert_eq!(new.text(name), Some(name));
            assert!(bench.holds("k", Condition::equal(name, name)).await, "{name}");
        }
        bench.invalid("k", &Update::new().set("", 1)).await;
    }

    async fn the_two_tables_are_apart(bench) {
        let key = bench.key("k");
        bench.table.put(Which::Control, &key, Item::new().with("a", 1), &Terms::default()).await.unwrap();
        assert_eq!(bench.get("k").await, None);
        let read = bench.table.get_many(Which::Control, &[&key], Reading::Strong).await.unwrap();
        assert_eq!(read, [Some(Item::new().with("a", 1))]);
    }

    async fn concurrent_conditional_adds_never_pass_the_condition(bench) {
        let key = bench.key("k");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..40 {
            let (table, key) = (Arc::clone(&bench.table), key.clone());
            tasks.spawn(async move {
                let terms = Terms::when(Condition::missing("n").or(Condition::at_most("n", 12)));
                match table.update(Which::Hot, &key, &Update::new().add("n", 1), &terms).await {
                    Ok(_) => 1,
                    Err(TableError::Refused { old }) => {
                        assert_eq!(old.unwrap().number("n"), Some(13));
                        0
                    }
                    Err(error) => panic!("{error:?}"),
                }
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().sum::<i32>(), 13);
        assert_eq!(bench.get("k").await.unwrap().number("n"), Some(13));
    }

    async fn of_concurrent_first_puts_one_wins(bench) {
        let key = bench.key("k");
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..20 {
            let (table, key) = (Arc::clone(&bench.table), key.clone());
            tasks.spawn(async move {
                let item = Item::new().with("writer", writer);
                table.put(Which::Hot, &key, item, &Terms::when(Condition::missing(KEY))).await.is_ok()
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
    }
}
