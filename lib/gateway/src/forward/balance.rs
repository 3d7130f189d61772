//! Which target of an upstream is next.
//!
//! All of it is this environment's alone, and environments are many and short-lived: so a round begins anywhere, or the
//! first target would take the first request of each.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Target;
use super::split::{at_weight, hash, mixed, share};
use crate::expression::{Expression, Facts};

/// How targets take turns, compiled; shared by all requests of this environment.
#[derive(Debug)]
pub enum Balance {
    /// One after the other, as often as their weights say.
    RoundRobin {
        /// Turns taken so far.
        turns: AtomicU64,
        /// The order of the turns, known with the first.
        round: OnceLock<Round>,
    },
    /// Of two drawn targets the one with fewer requests under way for its weight.
    LeastRequests,
    /// The same subject always to the same target.
    Hash(Expression),
}

/// A round of as many turns as the weights come to.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    total: u64,
    stride: u64,
    begin: u64,
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
        Self::RoundRobin { turns: AtomicU64::new(0), round: OnceLock::new() }
    }

    /// The target for a sending, by index; one that was tried already only where there is no other. `None` where none
    /// takes traffic. `targets` are always the same.
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
        let total: u64 = weights(targets, tried).map(|(_, weight)| u64::from(weight)).sum();
        if total == 0 {
            return if tried.is_empty() { None } else { self.pick(targets, under_way, seed, facts, &[]) };
        }
        let drawn = || drawn(weights(targets, tried), mixed(seed ^ FIRST));
        match self {
            // A retry takes no turn: those of the other requests shall stay even.
            Self::RoundRobin { .. } if !tried.is_empty() => drawn(),
            Self::RoundRobin { turns, round } => {
                let round = round.get_or_init(|| Round::new(total, seed));
                at_weight(weights(targets, tried), round.place(turns.fetch_add(1, Ordering::Relaxed)))
            }
            Self::LeastRequests => {
                let first = drawn()?;
                let others = weights(targets, tried).filter(|(index, _)| *index != first);
                let Some(second) = self::drawn(others, mixed(seed ^ SECOND)) else { return Some(first) };
                Some(if less(targets, under_way, second, first) { second } else { first })
            }
            Self::Hash(subject) => match subject.text(facts) {
                Ok(subject) if !subject.is_empty() => nearest(targets, tried, hash(&[&subject])),
                _ => drawn(),
            },
        }
    }
}

impl Round {
    /// Successive turns lie a golden section of the round apart, so that a target's turns are spread over it.
    fn new(total: u64, seed: u64) -> Self {
        let mut stride = share(0x9e37_79b9_7f4a_7c15, total) | 1;
        while gcd(stride, total) != 1 {
            stride += 2;
        }
        Self { total, stride, begin: share(mixed(seed ^ FIRST), total) }
    }

    /// Where in the weights a turn falls: somewhere else for each turn of a round, as the stride shares no factor with
    /// its length.
    fn place(&self, turn: u64) -> u64 {
        let at = u128::from(turn % self.total) * u128::from(self.stride) + u128::from(self.begin);
        (at % u128::from(self.total)) as u64
    }
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The weights that count: those of tried targets are 0.
fn weights<'a>(targets: &'a [Target], tried: &'a [usize]) -> impl Iterator<Item = (usize, u32)> + Clone + 'a {
    targets.iter().enumerate().map(|(index, target)| (index, if tried.contains(&index) { 0 } else { target.weight }))
}

/// The entry into whose share of the weights a number of 64 bits falls; `None` where all are 0.
fn drawn(weights: impl Iterator<Item = (usize, u32)> + Clone, number: u64) -> Option<usize> {
    let total = weights.clone().map(|(_, weight)| u64::from(weight)).sum();
    at_weight(weights, share(number, total))
}

/// Whether `one` has fewer requests under way for its weight than `other`.
fn less(targets: &[Target], under_way: &[UnderWay], one: usize, other: usize) -> bool {
    let load = |index: usize| under_way.get(index).map_or(0, UnderWay::now) as u128 + 1;
    let weight = |index: usize| targets.get(index).map_or(0, |target| u128::from(target.weight));
    load(one) * weight(other) < load(other) * weight(one)
}

/// Rendezvous hashing with weights: every target draws a number for the subject, and the highest takes it. Where a
/// target comes or goes, only what was its own moves.
fn nearest(targets: &[Target], tried: &[usize], subject: u64) -> Option<usize> {
    let rank = |index: usize, weight: u32| {
        let target = targets.get(index)?;
        // FNV-1a: targets are few and their names differ, and the draw spreads what it gives.
        let name = target.authority.bytes().chain(target.base_path.bytes());
        let name = name.fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        // 53 bits, which an f64 holds exactly; never 0.
        let unit = ((mixed(subject ^ name) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        Some((index, -f64::from(weight) / unit.ln()))
    };
    let taking = weights(targets, tried).filter(|(_, weight)| *weight > 0);
    let ranked = taking.filter_map(|(index, weight)| rank(index, weight));
    ranked.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(index, _)| index)
}

/// So that targets are not drawn by the number that draws the split or the pause of the same request.
const FIRST: u64 = 0xba1a_0001;
const SECOND: u64 = 0xba1a_0002;

#[cfg(test)]
mod tests;
