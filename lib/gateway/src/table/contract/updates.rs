//! Updates: what each change does, to what, and what is invalid.

use super::{Bench, cases, list, numbers, refused, set};
use crate::table::{
    Assigned, Condition, Item, KEY, LARGEST_NUMBER, Operand, Path, TableError, Terms, Update, Value, Which,
};

cases! {
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
        assert_eq!(new.get("s"), Some(&set(&["a", "b", "c"]).into()));
        for (joined, is) in [(&[3, 1][..], &[1, 3][..]), (&[-2, 3], &[-2, 1, 3])] {
            let new = bench.change("k", &Update::new().join("n", numbers(joined))).await.unwrap();
            assert_eq!(new.get("n"), Some(&numbers(is).into()));
        }
    }

    async fn join_to_what_is_no_set_is_invalid(bench) {
        bench.put("k", Item::new().with("text", "a").with("n", 1).with("list", vec!["a".into()])).await;
        for name in ["text", "n", "list"] {
            bench.invalid("k", &Update::new().join(name, set(&["a"]))).await;
        }
        bench.invalid("k", &Update::new().join("new", set(&[]))).await;
    }

    async fn sets_of_texts_and_of_numbers_do_not_mix(bench) {
        bench.put("k", Item::new().with("texts", set(&["1"])).with("numbers", numbers(&[1]))).await;
        bench.invalid("k", &Update::new().join("texts", numbers(&[1]))).await;
        bench.invalid("k", &Update::new().join("numbers", set(&["1"]))).await;
        bench.invalid("k", &Update::new().join("new", numbers(&[]))).await;
        bench.invalid("k", &Update::new().join("new", numbers(&[LARGEST_NUMBER + 1]))).await;
        assert!(!bench.holds("k", Condition::equal("texts", numbers(&[1]))).await);
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

    async fn lists_in_lists_are_set_and_removed_by_their_old_places(bench) {
        let nested = |lists: &[&[i32]]| Value::List(lists.iter().map(|numbers| list(numbers)).collect());
        bench.put("k", Item::new().with("l", nested(&[&[0, 1], &[2, 3, 4]])).with("n", 1)).await;
        let inner = |index: usize, within: usize| Path::element("l", index).at(within);
        let update = Update::new().set(inner(0, 1), 9).set(inner(1, 80), 5).remove(inner(1, 1)).set("m", Operand::At(inner(1, 2)));
        let new = bench.change("k", &update).await.unwrap();
        assert_eq!((new.get("l"), new.number("m")), (Some(&nested(&[&[0, 9], &[2, 4, 5]])), Some(4)));
        let update = Update::new().remove(inner(1, 0)).remove(Path::element("l", 0)).set(Path::element("l", 7), list(&[]));
        assert_eq!(bench.change("k", &update).await.unwrap().get("l"), Some(&nested(&[&[4, 5], &[]])));
        for update in [
            Update::new().set(inner(5, 0), 1),
            Update::new().set(inner(0, 0).at(0), 1),
            Update::new().set(Path::element("n", 0).at(0), 1),
            Update::new().set(Path::element("l", 0), 1).set(inner(0, 0), 2),
            Update::new().remove("l").set(inner(0, 0), 2),
        ] {
            bench.invalid("k", &update).await;
        }
    }

    async fn a_path_is_31_lists_deep_at_most(bench) {
        let deep = |lists: usize| (1..lists).fold(Path::element("l", 0), |path, _| path.at(0));
        assert!(bench.holds("k", Condition::missing(deep(31))).await);
        let terms = Terms::when(Condition::missing(deep(32)));
        let answer = bench.update("k", &Update::new(), &terms).await;
        assert!(matches!(answer, Err(TableError::Invalid { .. })), "{answer:?}");
        bench.invalid("k", &Update::new().remove(deep(32))).await;
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
        bench.invalid("k", &Update::new().set("s", vec![Value::from(set(&[]))])).await;
        let put = bench.table.put(Which::Hot, &bench.key("k"), Item::new().with("s", set(&[])), &Terms::default()).await;
        assert!(matches!(put, Err(TableError::Invalid { .. })), "{put:?}");
    }
}
