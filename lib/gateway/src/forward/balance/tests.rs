//! Which target is next: by weight, by load, by subject, and what is kept when targets change.

use proptest::prelude::*;

use super::*;
use crate::testkit::{asked, asked_with_params, expression_of, target};

fn targets(weights: &[u32]) -> Vec<Target> {
    let named = |(nth, weight): (usize, &u32)| Target { authority: format!("10.0.0.{nth}:80"), ..target(*weight) };
    weights.iter().enumerate().map(named).collect()
}

fn idle(targets: &[Target]) -> Vec<UnderWay> {
    targets.iter().map(|_| UnderWay::default()).collect()
}

fn picks(balance: &Balance, weights: &[u32], requests: u64) -> Vec<usize> {
    let targets = targets(weights);
    let asked = asked("GET /");
    (0..requests).map(|seed| balance.pick(&targets, &[], seed, &asked.facts("r"), &[]).expect("a target")).collect()
}

fn counts(picks: &[usize], of: usize) -> Vec<usize> {
    (0..of).map(|target| picks.iter().filter(|pick| **pick == target).count()).collect()
}

#[test]
fn targets_take_turns_as_often_as_their_weights_say() {
    for (weights, requests, expected) in [
        (vec![3, 1], 8, vec![6, 2]),
        (vec![1, 1, 1], 9, vec![3, 3, 3]),
        (vec![5, 0, 2], 70, vec![50, 0, 20]),
        (vec![50_000, 1], 50_001, vec![50_000, 1]),
    ] {
        assert_eq!(counts(&picks(&Balance::round_robin(), &weights, requests), weights.len()), expected);
    }
}

#[test]
fn targets_of_one_weight_alternate() {
    let picks = picks(&Balance::round_robin(), &[1, 1], 10);
    assert!(picks.windows(2).all(|pair| pair[0] != pair[1]), "{picks:?}");
}

#[test]
fn environments_do_not_all_begin_with_the_first_target() {
    let targets = targets(&[1, 1, 1, 1]);
    let asked = asked("GET /");
    let first = |seed| Balance::round_robin().pick(&targets, &[], seed, &asked.facts("r"), &[]).expect("a target");
    let counts = counts(&(0..400).map(first).collect::<Vec<_>>(), 4);
    assert!(counts.iter().all(|count| (60..140).contains(count)), "{counts:?}");
}

proptest! {
    #[test]
    fn any_run_of_turns_is_near_the_weights(weights in proptest::collection::vec(0u32..20, 2..6), from in 0usize..50) {
        let total: u32 = weights.iter().sum();
        prop_assume!(total > 0);
        let rounds = picks(&Balance::round_robin(), &weights, u64::from(total) * 3 + 50);
        let window = &rounds[from..from + total as usize];
        for (count, weight) in counts(window, weights.len()).iter().zip(&weights) {
            prop_assert_eq!(*count, *weight as usize, "as many turns as the weights come to are a whole round");
        }
    }

    #[test]
    fn a_retry_goes_to_another_target_where_there_is_one(seed: u64, weights in proptest::collection::vec(1u32..9, 2..6)) {
        let targets = targets(&weights);
        let asked = asked_with_params("GET /", &[("user", "ada")]);
        let hash = Balance::Hash(expression_of("params.user", &["user"]));
        for balance in [Balance::round_robin(), Balance::LeastRequests, hash] {
            let mut tried = Vec::new();
            for _ in &weights {
                tried.push(balance.pick(&targets, &[], seed, &asked.facts("r"), &tried).expect("a target"));
            }
            let mut distinct = tried.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), weights.len(), "{:?}", tried);
            prop_assert!(balance.pick(&targets, &[], seed, &asked.facts("r"), &tried).is_some(), "then any of them again");
        }
    }
}

#[test]
fn retries_leave_the_turns_of_other_requests_even() {
    let targets = targets(&[1, 1]);
    let asked = asked("GET /");
    let balance = Balance::round_robin();
    let firsts: Vec<usize> = (0..10)
        .map(|seed| {
            let first = balance.pick(&targets, &[], seed, &asked.facts("r"), &[]).expect("a target");
            assert_eq!(balance.pick(&targets, &[], seed, &asked.facts("r"), &[first]), Some(1 - first));
            first
        })
        .collect();
    assert_eq!(counts(&firsts, 2), [5, 5]);
}

#[test]
fn the_target_with_fewer_requests_under_way_is_preferred_until_they_end() {
    let targets = targets(&[1, 1]);
    let under_way = idle(&targets);
    let asked = asked("GET /");
    let pick = |seed| Balance::LeastRequests.pick(&targets, &under_way, seed, &asked.facts("r"), &[]);
    let busy = under_way[0].count();
    assert!((0..100).all(|seed| pick(seed) == Some(1)));
    drop(busy);
    assert!((0..100).any(|seed| pick(seed) == Some(0)));
}

#[test]
fn a_target_of_three_times_the_weight_bears_three_times_the_requests() {
    let targets = targets(&[3, 1]);
    let under_way = idle(&targets);
    let asked = asked("GET /");
    let mut counted = Vec::new();
    let mut picks = Vec::new();
    for seed in 0..40 {
        let pick = Balance::LeastRequests.pick(&targets, &under_way, seed, &asked.facts("r"), &[]).expect("a target");
        counted.push(under_way[pick].count());
        picks.push(pick);
    }
    let counts = counts(&picks, 2);
    assert!((28..=32).contains(&counts[0]), "{counts:?}");
}

#[test]
fn a_subject_keeps_its_target_and_moves_only_with_it() {
    let balance = Balance::Hash(expression_of("params.user", &["user"]));
    let four = targets(&[1, 1, 1, 1]);
    let three = &four[..3];
    let mut counts = [0; 4];
    for user in 0..2_000 {
        let asked = asked_with_params("GET /", &[("user", &format!("user-{user}"))]);
        let pick =
            |targets: &[Target], seed| balance.pick(targets, &[], seed, &asked.facts("r"), &[]).expect("a target");
        let of_four = pick(&four, 1);
        assert_eq!(of_four, pick(&four, 2));
        assert!(of_four == 3 || pick(three, 1) == of_four);
        counts[of_four] += 1;
    }
    assert!(counts.iter().all(|count| (400..600).contains(count)), "{counts:?}");
}

#[test]
fn hashed_shares_come_near_the_weights() {
    let balance = Balance::Hash(expression_of("params.user", &["user"]));
    let targets = targets(&[3, 1, 0]);
    let mut counts = [0; 3];
    for user in 0..2_000 {
        let asked = asked_with_params("GET /", &[("user", &format!("user-{user}"))]);
        counts[balance.pick(&targets, &[], 1, &asked.facts("r"), &[]).expect("a target")] += 1;
    }
    assert_eq!(counts[2], 0);
    assert!((1_400..1_600).contains(&counts[0]), "{counts:?}");
}

#[test]
fn targets_of_weight_zero_take_nothing() {
    let asked = asked("GET /");
    for weights in [vec![], vec![0], vec![0, 0]] {
        assert_eq!(Balance::round_robin().pick(&targets(&weights), &[], 1, &asked.facts("r"), &[]), None);
    }
    assert_eq!(Balance::round_robin().pick(&targets(&[1]), &[], 1, &asked.facts("r"), &[0]), Some(0));
}
