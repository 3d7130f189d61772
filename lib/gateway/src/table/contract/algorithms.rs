//! The updates that the algorithms of state.md §3 and §4.6 are made of, as that page writes them.

use super::{Bench, Item, Value, cases, list, refused};
use crate::table::{Assigned, Condition, Operand, Path, Subject, Terms, Update};

fn at(name: &'static str) -> Operand {
    Operand::At(name.into())
}

cases! {
    async fn a_window_counts_to_its_limit_and_drops_older_ones(bench) {
        let take = |k: u64| {
            let name = |k: u64| format!("w{k}");
            let update = Update::new().add(name(k), 1).set("x", 99).remove(name(k - 2)).remove(name(k - 3));
            (update, Terms::when(Condition::missing(name(k)).or(Condition::at_most(name(k), 1))))
        };
        for (k, admitted) in [(10, true), (10, true), (10, false), (11, true), (12, true)] {
            let (update, terms) = take(k);
            let answer = bench.update("k", &update, &terms).await;
            match admitted {
                true => drop(answer.unwrap()),
                false => assert_eq!(refused(answer).unwrap().number("w10"), Some(2)),
            }
        }
        assert_eq!(bench.get("k").await, Some(Item::new().with("w11", 1).with("w12", 1).with("x", 99)));
    }

    async fn a_pair_of_windows_rolls_in_one_update(bench) {
        let reset = Terms::when(Condition::missing("w").or(Condition::below("w", 9)));
        bench.update("k", &Update::new().set("w", 10).set("c", 3).set("p", 0), &reset).await.unwrap();
        let same = Update::new().set("c", Assigned::Sum(at("c"), 1.into()));
        let in_it = Condition::equal("w", 10).and(Condition::at_most("p", 0)).and(Condition::at_most("c", 4));
        bench.update("k", &same, &Terms::when(in_it)).await.unwrap();
        let roll = Update::new().set("p", at("c")).set("c", 1).set("w", 11);
        let rolls = Terms::when(Condition::equal("w", 10).and(Condition::at_most("c", 5)));
        assert_eq!(bench.update("k", &roll, &rolls).await.unwrap(), Item::new().with("w", 11).with("c", 1).with("p", 4));
        refused(bench.update("k", &roll, &rolls).await);
    }

    async fn a_bucketed_window_keeps_its_running_sum(bench) {
        let reset = Terms::when(Condition::missing("j").or(Condition::below("j", 4)));
        bench.update("k", &Update::new().set("j", 5).set("s", 2).set("b5", 2).remove("b4"), &reset).await.unwrap();
        let same = Update::new()
            .set("s", Assigned::Sum(at("s"), 3.into()))
            .set("b5", Assigned::Sum(Operand::at_or("b5", 0), 3.into()));
        let in_it = Terms::when(Condition::equal("j", 5).and(Condition::at_most("s", 7)));
        bench.update("k", &same, &in_it).await.unwrap();
        let next = Update::new().set("s", Assigned::Sum(at("s"), (-1).into())).set("b6", 1).set("j", 6);
        let moved = Terms::when(Condition::equal("j", 5).and(Condition::equal("s", 5)));
        let new = bench.update("k", &next, &moved).await.unwrap();
        assert_eq!(new, Item::new().with("j", 6).with("s", 4).with("b5", 5).with("b6", 1));
    }

    async fn a_bucketed_window_takes_back_only_from_its_newest_bucket(bench) {
        bench.put("k", Item::new().with("j", 5).with("s", 6).with("b4", 3).with("b5", 3)).await;
        let less = |name: &'static str| Assigned::Difference(at(name), 2.into());
        let back = Update::new().set("s", less("s")).set("b5", less("b5"));
        let newest = Terms::when(Condition::equal("j", 5).and(Condition::at_least("b5", 2)));
        let new = bench.update("k", &back, &newest).await.unwrap();
        assert_eq!(new, Item::new().with("j", 5).with("s", 4).with("b4", 3).with("b5", 1));
        assert_eq!(refused(bench.update("k", &back, &newest).await), Some(new));
    }

    async fn a_log_that_is_too_long_drops_what_is_too_many(bench) {
        bench.put("k", Item::new().with("l", list(&[1, 2, 3, 4]))).await;
        let slide = (0..3).fold(Update::new().set(Path::element("l", 4), 9), |slide, index| {
            slide.remove(Path::element("l", index))
        });
        let when = |cut: i32| {
            let as_long = Condition::equal(Subject::Size("l".into()), 4);
            Terms::when(as_long.and(Condition::at_most(Path::element("l", 2), cut)))
        };
        refused(bench.update("k", &slide, &when(2)).await);
        assert_eq!(bench.update("k", &slide, &when(3)).await.unwrap().get("l"), Some(&list(&[4, 9])));
    }

    async fn a_log_takes_back_only_its_newest(bench) {
        bench.put("k", Item::new().with("l", list(&[1, 2]))).await;
        let back = |index: usize, time: i32| {
            let newest = Path::element("l", index);
            let mine = Condition::equal(Subject::Size("l".into()), i32::try_from(index).unwrap() + 1)
                .and(Condition::equal(newest.clone(), time));
            (Update::new().remove(newest), Terms::when(mine))
        };
        for (index, time) in [(0, 1), (1, 3)] {
            let (update, terms) = back(index, time);
            refused(bench.update("k", &update, &terms).await);
        }
        let (update, terms) = back(1, 2);
        assert_eq!(bench.update("k", &update, &terms).await.unwrap().get("l"), Some(&list(&[1])));
    }

    async fn a_log_slides_in_one_update(bench) {
        let push = |time: i32| Operand::ListAppend(Box::new(Operand::at_or("l", vec![])), Box::new(list(&[time]).into()));
        let room = || Condition::missing("l").or(Condition::below(Subject::Size("l".into()), 3));
        for time in [1, 2, 3] {
            bench.update("k", &Update::new().set("l", push(time)), &Terms::when(room())).await.unwrap();
        }
        refused(bench.update("k", &Update::new().set("l", push(4)), &Terms::when(room())).await);
        let slide = |time: i32, cut: i32| {
            let update = Update::new().set(Path::element("l", 3), time).remove(Path::element("l", 0));
            let full = Condition::equal(Subject::Size("l".into()), 3);
            (update, Terms::when(full.and(Condition::at_most(Path::element("l", 0), cut))))
        };
        let (update, terms) = slide(4, 1);
        assert_eq!(bench.update("k", &update, &terms).await.unwrap().get("l"), Some(&list(&[2, 3, 4])));
        let (update, terms) = slide(5, 1);
        assert_eq!(refused(bench.update("k", &update, &terms).await).unwrap().get("l"), Some(&list(&[2, 3, 4])));
    }

    async fn a_token_bucket_takes_both_branches(bench) {
        let count = || Assigned::Sum(Operand::at_or("gn", 0), 1.into());
        let idle = Update::new().set("tat", 1_700_000_000_000_000_000_u64).set("gn", count()).set("x", 1);
        let when_idle = Terms::when(Condition::missing("tat").or(Condition::at_most("tat", 5)));
        bench.update("k", &idle, &when_idle).await.unwrap();
        refused(bench.update("k", &idle, &when_idle).await);
        let busy = Update::new()
            .set("tat", Assigned::Sum(at("tat"), 1_000_000_007.into()))
            .set("gn", Assigned::Sum(at("gn"), 1.into()))
            .set("x", 2);
        let bounds = |low: u64, high: u64| Terms::when(Condition::between("tat", low, high));
        let new = bench.update("k", &busy, &bounds(1_700_000_000_000_000_000, 1_700_000_000_000_000_001)).await.unwrap();
        assert_eq!(new, Item::new().with("tat", 1_700_000_001_000_000_007_u64).with("gn", 2).with("x", 2));
        refused(bench.update("k", &busy, &bounds(1, 1_700_000_001_000_000_006)).await);
    }

    async fn a_token_bucket_takes_back_only_from_its_last_writer(bench) {
        bench.put("k", Item::new().with("tat", 100).with("gn", 7)).await;
        let back = Update::new()
            .set("tat", Assigned::Difference(at("tat"), 10.into()))
            .set("gn", Assigned::Sum(at("gn"), 1.into()));
        let mine = Terms::when(Condition::equal("gn", 7)).idempotent();
        assert_eq!(bench.update("k", &back, &mine).await.unwrap(), Item::new().with("tat", 90).with("gn", 8));
        assert_eq!(refused(bench.update("k", &back, &mine).await), Some(Item::new().with("tat", 90).with("gn", 8)));
    }

    async fn two_limits_of_one_key_are_all_or_nothing(bench) {
        let below = |name: &'static str, room: i32| Condition::missing(name).or(Condition::at_most(name, room));
        let take = Update::new().add("w5", 1).add("d1", 1);
        let terms = Terms::when(below("w5", 8).and(below("d1", 1)));
        for _ in 0..2 {
            bench.update("k", &take, &terms).await.unwrap();
        }
        let old = refused(bench.update("k", &take, &terms).await);
        assert_eq!(old, Some(Item::new().with("w5", 2).with("d1", 2)));
        assert_eq!(bench.get("k").await.unwrap().get("w5"), Some(&Value::from(2)));
    }
}
