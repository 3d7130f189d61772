//! The writes that quotas, signals, breakers, cache, keys and idempotency are made of, as state.md §8 to §13 write them.

use super::{Bench, cases, list, refused, set};
use crate::table::{Assigned, Condition, Item, KEY, Operand, Path, Subject, Terms, Update, Value, Which};

fn at(path: impl Into<Path>) -> Operand {
    Operand::At(path.into())
}

fn one_more(name: &'static str) -> Assigned {
    Assigned::Sum(at(name), 1.into())
}

cases! {
    async fn a_quota_is_taken_within_its_room_and_given_back_exactly(bench) {
        let take = |n: i128, room: i128| {
            (Update::new().add("u", n).set("x", 99), Terms::when(Condition::missing("u").or(Condition::at_most("u", room))))
        };
        for (n, room, taken) in [(4, 6, Some(4)), (6, 4, Some(10)), (1, 9, None)] {
            let (update, terms) = take(n, room);
            let answer = bench.update("k", &update, &terms).await;
            match taken {
                Some(taken) => assert_eq!(answer.unwrap().number("u"), Some(taken)),
                None => assert_eq!(refused(answer).unwrap().number("u"), Some(10)),
            }
        }
        let back = Terms::when(Condition::at_least("u", 7));
        assert_eq!(bench.update("k", &Update::new().add("u", -7), &back).await.unwrap().number("u"), Some(3));
        assert_eq!(refused(bench.update("k", &Update::new().add("u", -7), &back).await).unwrap().number("u"), Some(3));
    }

    async fn a_report_adds_many_counters_sets_some_and_drops_stale_ones(bench) {
        let counters = ["off0_b", "off1_b", "off2_b", "fin_b", "err_b", "bz_b", "lt_b", "h0_b", "h15_b", "n_u_7_b", "f_u_7_b"];
        let stale = ["off0_7", "fin_7", "off0_8", "fin_8", "off0_6", "never there"];
        let old = stale[..5].iter().fold(Item::new().with("off0_a", 1), |item, name| item.with(*name, 5));
        bench.put("k", old).await;
        let report = counters.iter().zip(1..).fold(Update::new(), |report, (name, n)| report.add(*name, n));
        let report = report.set("lim", 120).set("base", 34).set("cut", 384).set("ck", "b").set("x", 99);
        let report = stale.iter().fold(report, |report, name| report.remove(*name));
        bench.change("k", &report).await.unwrap();
        let all = bench.change("k", &report).await.unwrap();
        let expected = counters.iter().zip(1..).fold(Item::new().with("off0_a", 1), |item, (name, n)| item.with(*name, 2 * n));
        assert_eq!(all, expected.with("lim", 120).with("base", 34).with("cut", 384).with("ck", "b").with("x", 99));
    }

    async fn a_breaker_opens_is_probed_taken_over_and_closes(bench) {
        let epoch = |state: &'static str, epoch: i32| Condition::equal("st", state).and(Condition::equal("ep", epoch));
        let mine = |me: &'static str, at: i32| Terms::when(epoch("H", at).and(Condition::equal("po", me)));
        let open = Update::new().set("st", "O").set("ep", 1).set("ru", 100).set("bo", 0);
        let closed = Terms::when(Condition::missing("st").or(epoch("C", 0)));
        bench.update("k", &open, &closed).await.unwrap();
        refused(bench.update("k", &open, &closed).await);
        let probe = |me: &'static str, now: i32| {
            let due = Condition::equal("st", "O").and(Condition::at_most("ru", now));
            let left = Condition::equal("st", "H").and(Condition::below("pe", now));
            let update = Update::new().set("st", "H").set("po", me).set("pe", now + 10).set("ep", one_more("ep"));
            (update, Terms::when(due.or(left)))
        };
        for (me, now, probes) in [("a", 99, false), ("a", 100, true), ("b", 100, false), ("b", 110, false), ("b", 111, true)] {
            let (update, terms) = probe(me, now);
            let answer = bench.update("k", &update, &terms).await;
            assert_eq!(answer.is_ok(), probes, "{me} {now}: {answer:?}");
        }
        let success = Update::new().set("ps", Assigned::Sum(Operand::at_or("ps", 0), 1.into())).set("pe", 130);
        let late = refused(bench.update("k", &success, &mine("a", 2)).await).unwrap();
        assert_eq!((late.text("po"), late.number("ep")), (Some("b"), Some(3)), "the loser learns the state");
        bench.update("k", &success, &mine("b", 3)).await.unwrap();
        let close = Update::new().set("st", "C").set("ep", one_more("ep")).set("ca", 125).set("bo", 0).remove("po").remove("pe");
        let closed = Item::new().with("st", "C").with("ep", 4).with("ca", 125).with("bo", 0).with("ru", 100).with("ps", 1);
        assert_eq!(bench.update("k", &close, &mine("b", 3)).await.unwrap(), closed);
        refused(bench.update("k", &close, &mine("b", 3)).await);
    }

    async fn probers_are_counted_up_to_their_most(bench) {
        bench.put("k", Item::new().with("st", "H").with("pn", 0)).await;
        let terms = Terms::when(Condition::equal("st", "H").and(Condition::below("pn", 2)));
        for probes in [true, true, false] {
            assert_eq!(bench.update("k", &Update::new().add("pn", 1), &terms).await.is_ok(), probes);
        }
    }

    async fn votes_are_counted_once_an_environment(bench) {
        for (environment, votes) in [("a", 1), ("b", 2), ("a", 2), ("c", 3)] {
            bench.change("k", &Update::new().join("vt", set(&[environment]))).await.unwrap();
            assert!(bench.holds("k", Condition::equal(Subject::Size("vt".into()), votes)).await, "{environment}");
        }
    }

    async fn a_lock_is_taken_when_free_or_over_and_released_by_its_owner(bench) {
        let acquire = |me: &'static str, now: i32| {
            let update = Update::new().set("ow", me).set("lx", now + 10).set("x", 99);
            (update, Terms::when(Condition::missing(KEY).or(Condition::below("lx", now))))
        };
        for (me, now, owner) in [("a", 1, "a"), ("b", 2, "a"), ("b", 11, "a"), ("b", 12, "b"), ("a", 13, "b")] {
            let (update, terms) = acquire(me, now);
            let item = match bench.update("k", &update, &terms).await {
                Ok(item) => item,
                other => refused(other).unwrap(),
            };
            assert_eq!(item.text("ow"), Some(owner), "{me} {now}");
        }
        let release = |me: &'static str| Terms::when(Condition::equal("ow", me)).idempotent();
        refused(bench.table().delete(Which::Hot, &bench.key("k"), &release("a")).await);
        bench.table().delete(Which::Hot, &bench.key("k"), &release("b")).await.unwrap();
        assert_eq!(refused(bench.table().delete(Which::Hot, &bench.key("k"), &release("b")).await), None);
    }

    async fn a_ring_keeps_its_newest_and_a_floor_what_it_dropped(bench) {
        let entry = |number: i32| list(&[number, number * 10]);
        let push = |number: i32| {
            let longer = Operand::ListAppend(Box::new(Operand::at_or("pg", vec![])), Box::new(vec![entry(number)].into()));
            (Update::new().set("pg", longer), Terms::when(Condition::missing("pg").or(Condition::below(Subject::Size("pg".into()), 3))))
        };
        let slide = |number: i32| {
            let oldest = Path::element("pg", 0);
            let update = Update::new()
                .set("floor", at(oldest.clone().at(1)))
                .set(Path::element("pg", 3), entry(number))
                .remove(oldest);
            (update, Terms::when(Condition::equal(Subject::Size("pg".into()), 3)))
        };
        for number in 1..=3 {
            let (update, terms) = push(number);
            bench.update("k", &update, &terms).await.unwrap();
            let (update, terms) = slide(9);
            assert_eq!(refused(bench.update("other", &update, &terms).await), None, "there is none to slide");
        }
        let (update, terms) = push(4);
        refused(bench.update("k", &update, &terms).await);
        for (number, floor) in [(4, 10), (5, 20)] {
            let (update, terms) = slide(number);
            assert_eq!(bench.update("k", &update, &terms).await.unwrap().number("floor"), Some(floor));
        }
        assert_eq!(bench.get("k").await.unwrap().get("pg"), Some(&vec![entry(3), entry(4), entry(5)].into()));
        assert!(bench.holds("k", Condition::at_most(Path::element("pg", 0).at(1), 30)).await);
    }

    async fn generations_go_up_one_by_one_and_from_nothing(bench) {
        bench.change("k", &Update::new().add("gg", 1)).await.unwrap();
        let new = bench.change("k", &Update::new().add("gg", 1).add("g_orders", 1).add("keys_floor", 5)).await.unwrap();
        assert_eq!(new, Item::new().with("gg", 2).with("g_orders", 1).with("keys_floor", 5));
    }

    async fn a_key_is_revoked_by_whoever_saw_its_latest_version(bench) {
        let key = Item::new().with("st", "active").with("v", 3).with("sc", set(&["read", "write"])).with("tn", "acme");
        let key = key.with("pl", "gold").with("ex", 0).with("nm", "gwk_live_abcd");
        bench.put("k", key.clone()).await;
        let revoke = Update::new().set("st", "revoked").set("v", one_more("v"));
        let latest = |version: i32| Terms::when(Condition::equal("st", "active").and(Condition::equal("v", version)));
        assert_eq!(refused(bench.update("k", &revoke, &latest(2)).await), Some(key));
        assert_eq!(bench.update("k", &revoke, &latest(3)).await.unwrap().number("v"), Some(4));
    }

    async fn an_idempotency_key_is_put_once_until_it_is_over(bench) {
        let put = |owner: &'static str, now: i32| {
            let item = Item::new().with("st", "running").with("ow", owner).with("x", now + 10);
            (item, Terms::when(Condition::missing(KEY).or(Condition::below("x", now))))
        };
        for (owner, now, won) in [("a", 1, true), ("b", 5, false), ("b", 11, false), ("b", 12, true)] {
            let (item, terms) = put(owner, now);
            let answer = bench.table().put(Which::Hot, &bench.key("k"), item, &terms).await;
            assert_eq!(answer.is_ok(), won, "{owner} {now}: {answer:?}");
        }
        let done = Update::new().set("st", "done").set("b", "body");
        let mine = |me: &'static str| Terms::when(Condition::equal("ow", me).and(Condition::equal("st", "running")));
        refused(bench.update("k", &done, &mine("a")).await);
        assert_eq!(bench.update("k", &done, &mine("b")).await.unwrap().get("st"), Some(&Value::from("done")));
    }

    async fn what_must_not_be_there_is_deleted_only_where_it_is_not(bench) {
        let none = Terms::when(Condition::missing(KEY));
        bench.table().delete(Which::Hot, &bench.key("k"), &none).await.unwrap();
        bench.put("k", Item::new().with("a", 1)).await;
        let old = refused(bench.table().delete(Which::Hot, &bench.key("k"), &none).await);
        assert_eq!(old, Some(Item::new().with("a", 1)));
    }
}
