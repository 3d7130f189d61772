//! Items read, put and deleted whole: their types, sizes and keys, and many writers at once.

use std::sync::Arc;

use bytes::Bytes;

use super::{Bench, cases, list, numbers, refused, set};
use crate::table::{Condition, Item, KEY, Reading, TableError, Terms, Update, Value, Which};

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
            .with("set", set(&["b", "a", ""]))
            .with("numbers", numbers(&[3, -1, 0]));
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
