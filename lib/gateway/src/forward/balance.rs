//! Which target of an upstream is next.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Target;
use super::split::{hash, mixed, pick_weighted};
use crate::expression::{Expression, Facts};

/// How targets take turns, compiled; shared by all requests of this environment.
#[derive(Debug)]
pub enum Balance {
    /// One after the other, as often as their weights say.
    RoundRobin {
        /// Turns taken so far.
        turns: AtomicU64,
    },
    /// Of two drawn targets the one with fewer requests under way for its weight.
    LeastRequests,
    /// The same subject always to the same target.
    Hash(Expression),
}

/// Requests under way at one target.
#[derive(Debug, Default)]
pub struct UnderWay(AtomicUsize);

/// Counts one request at a target until it is dropped.
#[derive(Debug)]
pub struct Counted<'a>(&'a UnderWay);

impl UnderWay {
    /// Counts one more.
    pub fn count(&self) -> Counted<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self)
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Balance {
    /// `round_robin`.
    pub const fn round_robin() -> Self {
        Self::RoundRobin { turns: AtomicU64::new(0) }
    }

    /// The target for a request, by index; one that was tried already only where there is no other. `None` where none
    /// takes traffic.
    pub fn pick(
        &self,
        targets: &[Target],
        under_way: &[UnderWay],
        seed: u64,
        facts: &Facts<'_>,
        tried: &[usize],
    ) -> Option<usize> {
        if let [only] = targets {
            return (only.weight > 0).then_some(0);
        }
        let fresh = |index: &usize| !tried.contains(index);
        let weights: Vec<u32> =
            targets.iter().enumerate().map(|(index, target)| if fresh(&index) { target.weight } else { 0 }).collect();
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        if total == 0 {
            return if tried.is_empty() { None } else { self.pick(targets, under_way, seed, facts, &[]) };
        }
        match self {
            Self::RoundRobin { turns } => {
                // Turns are spread over the weights by a stride that shares no factor with them.
                let turn = turns.fetch_add(1, Ordering::Relaxed) % total;
                let mut at = (u128::from(turn) * u128::from(stride(total)) % u128::from(total)) as u64;
                for (index, weight) in weights.iter().enumerate() {
                    match at.checked_sub(u64::from(*weight)) {
                        Some(rest) => at = rest,
                        None => return Some(index),
                    }
                }
                None
            }
            Self::LeastRequests => {
                let first = pick_weighted(&weights, total, mixed(seed ^ 1))?;
                let second = pick_weighted(&weights, total, mixed(seed ^ 2))?;
                let load = |index: usize| {
                    let now = under_way.get(index).map_or(0, UnderWay::now) as u64 + 1;
                    now * 1_000_000 / u64::from(weights.get(index).copied().unwrap_or(1).max(1))
                };
                Some(if load(second) < load(first) { second } else { first })
            }
            Self::Hash(subject) => {
                let drawn = match subject.text(facts) {
                    Ok(subject) if !subject.is_empty() => hash(&[&subject]),
                    _ => mixed(seed),
                };
                pick_weighted(&weights, total, drawn)
            }
        }
    }
}

/// A stride near the golden ratio of `total` and coprime to it, so that successive turns lie far apart.
fn stride(total: u64) -> u64 {
    let mut stride = (total as f64 * 0.618_033_988_75) as u64 | 1;
    while gcd(stride, total) != 1 {
        stride += 1;
    }
    stride
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{asked, target};

    fn counts(balance: &Balance, weights: &[u32], requests: u64) -> Vec<usize> {
        let targets: Vec<_> = weights.iter().map(|weight| target(*weight)).collect();
        let under_way: Vec<_> = weights.iter().map(|_| UnderWay::default()).collect();
        let asked = asked("GET /");
        let mut counts = vec![0; weights.len()];
        for seed in 0..requests {
            counts[balance.pick(&targets, &under_way, seed, &asked.facts("r"), &[]).expect("a target")] += 1;
        }
        counts
    }

    #[test]
    fn targets_take_turns_as_often_as_their_weights_say() {
        assert_eq!(counts(&Balance::round_robin(), &[3, 1], 8), [6, 2]);
        assert_eq!(counts(&Balance::round_robin(), &[1, 1, 1], 9), [3, 3, 3]);
        assert_eq!(counts(&Balance::round_robin(), &[5, 0, 2], 70), [50, 0, 20]);
    }

    #[test]
    fn a_retry_goes_to_another_target_where_there_is_one() {
        let targets = [target(1), target(1)];
        let under_way = [UnderWay::default(), UnderWay::default()];
        let asked = asked("GET /");
        let balance = Balance::round_robin();
        let pick = |tried: &[usize]| balance.pick(&targets, &under_way, 1, &asked.facts("r"), tried);
        assert_eq!(pick(&[0]), Some(1));
        assert_eq!(pick(&[1]), Some(0));
        assert!(pick(&[0, 1]).is_some());
    }

    #[test]
    fn the_target_with_fewer_requests_under_way_is_preferred() {
        let targets = [target(1), target(1)];
        let under_way = [UnderWay::default(), UnderWay::default()];
        let busy: Vec<_> = (0..5).map(|_| under_way[0].count()).collect();
        let asked = asked("GET /");
        let share = (0..1000)
            .filter(|seed| Balance::LeastRequests.pick(&targets, &under_way, *seed, &asked.facts("r"), &[]) == Some(1))
            .count();
        assert!((650..=850).contains(&share), "three in four draws see the idle one: {share}");
        drop(busy);
        assert_eq!(under_way[0].now(), 0);
    }

    #[test]
    fn targets_of_weight_zero_take_nothing() {
        let asked = asked("GET /");
        assert_eq!(Balance::round_robin().pick(&[target(0)], &[], 1, &asked.facts("r"), &[]), None);
        assert_eq!(Balance::round_robin().pick(&[target(0), target(0)], &[], 1, &asked.facts("r"), &[]), None);
    }
}
