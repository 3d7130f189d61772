//! Conditions: what holds of what.

use bytes::Bytes;

use super::{Bench, cases, list, set};
use crate::table::{Condition, Item, KEY, Path, Subject, TableError, Terms, Update, Value};

cases! {
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
        assert!(bench.holds("k", Condition::between(Path::element("l", 2).at(1), 2, 3)).await);
        assert!(bench.holds("k", Condition::missing(Path::element("l", 2).at(2))).await);
        assert!(bench.holds("k", Condition::missing(Path::element("l", 0).at(0))).await);
    }

    async fn equality_goes_deep(bench) {
        bench.put("k", Item::new().with("l", vec![list(&[1]), true.into()]).with("s", set(&["a", "b"])).with("f", false)).await;
        assert!(bench.holds("k", Condition::equal("l", vec![list(&[1]), true.into()])).await);
        assert!(!bench.holds("k", Condition::equal("l", vec![true.into(), list(&[1])])).await);
        assert!(bench.holds("k", Condition::equal("s", set(&["b", "a"]))).await);
        assert!(!bench.holds("k", Condition::equal("s", list(&[1]))).await);
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
}
