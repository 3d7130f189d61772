//! Which of several upstreams takes a request: by weight, drawn from the request's seed or from a hash of a subject.

use sha2::{Digest, Sha256};

use crate::expression::{Expression, Facts};

/// How one of several branches is drawn, compiled.
#[derive(Debug)]
pub struct Split {
    weights: Vec<u32>,
    total: u64,
    sticky: Option<Sticky>,
}

#[derive(Debug)]
struct Sticky {
    /// The route's name: one subject need not land on the same side of every split.
    salt: String,
    subject: Expression,
}

/// What a split drew for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// The branch, by its place.
    pub branch: usize,
    /// Why this one.
    pub by: DrawnBy,
}

/// What a branch was drawn by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DrawnBy {
    /// The request's seed.
    Seed,
    /// The hash of this subject.
    Subject(String),
    /// The request's seed, since the subject failed or is empty.
    NoSubject,
}

impl Split {
    /// One branch takes all.
    pub fn single() -> Self {
        Self::weighted(vec![1])
    }

    /// Shares by weight; 0 takes none.
    pub fn weighted(weights: Vec<u32>) -> Self {
        let total = weights.iter().copied().map(u64::from).sum();
        Self { weights, total, sticky: None }
    }

    /// Shares by weight, one subject always on the same branch while the weights stand: nothing is stored.
    pub fn sticky(route: &str, weights: Vec<u32>, subject: Expression) -> Self {
        let sticky = Some(Sticky { salt: route.to_owned(), subject });
        Self { sticky, ..Self::weighted(weights) }
    }

    /// The weights, in order.
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// What a sticky split hashes.
    pub fn subject(&self) -> Option<&str> {
        self.sticky.as_ref().map(|sticky| sticky.subject.source())
    }

    /// The branch of a request; `None` where every weight is 0. A subject that fails or is empty is drawn by weight.
    ///
    /// The hash is part of the contract: the same route, weights and subject are the same branch in every environment
    /// and every version.
    pub fn pick(&self, facts: &Facts<'_>, seed: u64) -> Option<Drawn> {
        if self.total == 0 {
            return None;
        }
        let by = match &self.sticky {
            None if self.weights.len() == 1 => return Some(Drawn { branch: 0, by: DrawnBy::Seed }),
            None => DrawnBy::Seed,
            Some(sticky) => match sticky.subject.text(facts) {
                Ok(subject) if !subject.is_empty() => DrawnBy::Subject(subject),
                _ => DrawnBy::NoSubject,
            },
        };
        let number = match (&by, &self.sticky) {
            (DrawnBy::Subject(subject), Some(sticky)) => hash(&[&sticky.salt, subject]),
            _ => mixed(seed ^ SPLIT_SALT),
        };
        let branch = at_weight(self.weights.iter().copied().enumerate(), share(number, self.total))?;
        Some(Drawn { branch, by })
    }
}

/// A number below `total`: the high half of a product, an even share without the bias of a remainder.
pub(crate) const fn share(drawn: u64, total: u64) -> u64 {
    ((drawn as u128 * total as u128) >> 64) as u64
}

/// The entry into whose weight `at` falls.
pub(crate) fn at_weight(weights: impl Iterator<Item = (usize, u32)>, mut at: u64) -> Option<usize> {
    for (index, weight) in weights {
        match at.checked_sub(u64::from(weight)) {
            Some(rest) => at = rest,
            None => return Some(index),
        }
    }
    None
}

/// A stable hash of texts: the same in every process and version.
pub(crate) fn hash(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Spreads a seed over all 64 bits (the finaliser of SplitMix64).
pub(crate) fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// So that the split, the balance and the jitter of one request do not draw the same number.
const SPLIT_SALT: u64 = 0x5711_7000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::{asked, asked_with_params, expression_of};

    #[test]
    fn shares_come_near_the_weights() {
        let split = Split::weighted(vec![90, 0, 10]);
        let asked = asked("GET /");
        let mut counts = [0usize; 3];
        for seed in 0..10_000 {
            counts[split.pick(&asked.facts("r"), seed).expect("a branch").branch] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((8_800..=9_200).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn a_subject_stays_on_its_branch_whatever_the_seed() {
        let split = Split::sticky("route", vec![50, 50], expression_of("params.user", &["user"]));
        let branch = |user: &str, seed| {
            let asked = asked_with_params("GET /", &[("user", user)]);
            split.pick(&asked.facts("r"), seed).expect("a branch").branch
        };
        let mut left = 0;
        for user in 0..1000 {
            let user = format!("user-{user}");
            assert_eq!(branch(&user, 1), branch(&user, 2));
            left += usize::from(branch(&user, 1) == 0);
        }
        assert!((400..600).contains(&left), "{left}");
    }

    #[test]
    fn an_empty_subject_is_drawn_by_weight() {
        let split = Split::sticky("route", vec![50, 50], expression_of("params.user", &["user"]));
        let asked = asked_with_params("GET /", &[("user", "")]);
        let drawn = |seed| split.pick(&asked.facts("r"), seed).expect("a branch");
        let branches: std::collections::BTreeSet<_> = (0..100).map(|seed| drawn(seed).branch).collect();
        assert_eq!(branches.len(), 2);
        assert_eq!(drawn(1).by, DrawnBy::NoSubject);
    }

    #[test]
    fn a_split_of_zeroes_takes_nothing() {
        assert_eq!(Split::weighted(vec![0, 0]).pick(&asked("GET /").facts("r"), 1), None);
    }

    const REQUESTS: u32 = 4_000;

    /// Counts against what the weights say, six standard deviations apart at most.
    fn near(counts: &[u32], weights: &[u32]) -> Result<(), TestCaseError> {
        let total: u32 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(weights) {
            let p = f64::from(*weight) / f64::from(total);
            let expected = p * f64::from(REQUESTS);
            let room = 6.0 * (expected * (1.0 - p)).sqrt() + 2.0;
            prop_assert!((f64::from(*count) - expected).abs() <= room, "{:?} of {:?}", counts, weights);
            prop_assert!(*weight > 0 || *count == 0, "{:?} of {:?}", counts, weights);
        }
        Ok(())
    }

    fn by_user(weights: &[u32]) -> Split {
        Split::sticky("route", weights.to_vec(), expression_of("params.user", &["user"]))
    }

    fn branch_of(split: &Split, user: &str, seed: u64) -> usize {
        split.pick(&asked_with_params("GET /", &[("user", user)]).facts("r"), seed).expect("a branch").branch
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn shares_of_any_weights_come_near_them(weights in proptest::collection::vec(0u32..50, 1..6), from: u64) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let split = Split::weighted(weights.clone());
            let asked = asked("GET /");
            let mut counts = vec![0; weights.len()];
            for nth in 0..REQUESTS {
                let seed = from.wrapping_add(u64::from(nth));
                counts[split.pick(&asked.facts("r"), seed).expect("a branch").branch] += 1;
            }
            near(&counts, &weights)?;
        }

        #[test]
        fn of_two_branches_the_one_that_grows_loses_no_subject(
            user in "[a-z0-9@.-]{1,20}", before in (0u32..1000, 0u32..1000), after in (0u32..1000, 0u32..1000),
        ) {
            prop_assume!(before.0 + before.1 > 0 && after.0 + after.1 > 0);
            let second = |(first, second): (u32, u32)| branch_of(&by_user(&[first, second]), &user, 1) == 1;
            let grows = u64::from(before.1) * u64::from(after.0 + after.1)
                <= u64::from(after.1) * u64::from(before.0 + before.1);
            let (fewer, more) = if grows { (before, after) } else { (after, before) };
            prop_assert!(!second(fewer) || second(more), "{:?} {:?}", fewer, more);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10))] // Each hashes thousands of subjects.

        #[test]
        fn shares_of_subjects_come_near_any_weights(
            weights in proptest::collection::vec(0u32..50, 1..6), like in "[ -~]{0,12}", seed: u64,
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let split = by_user(&weights);
            let mut counts = vec![0; weights.len()];
            for nth in 0..REQUESTS {
                counts[branch_of(&split, &format!("{like}{nth}"), seed)] += 1;
            }
            near(&counts, &weights)?;
        }
    }
}
