//! What is promised of a token bucket, checked against what was admitted in true time; and the ideal it is measured
//! by: one bucket in one place that answers at once.

/// What a token bucket allows.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// How many a second.
    pub rate: u64,
    /// How many at once.
    pub burst: u64,
}

impl Bound {
    /// The time in which one token comes back to one of so many shards, in nanoseconds.
    pub const fn token(self, shards: u64) -> i128 {
        1_000_000_000_u64.div_ceil(self.rate) as i128 * shards as i128
    }
}

const TOKEN: i128 = 1_000_000_000;

/// A bucket counted exactly, in billionths of a token.
struct Bucket {
    rate: i128,
    depth: i128,
    level: i128,
    last: u64,
}

impl Bucket {
    fn full(bound: Bound, more: u64) -> Self {
        let depth = i128::from(bound.burst) * TOKEN + i128::from(bound.rate) * i128::from(more);
        Self { rate: bound.rate.into(), depth, level: depth, last: 0 }
    }

    fn fill(&mut self, at: u64) {
        let since = i128::from(at.saturating_sub(self.last));
        self.level = self.depth.min(self.level + self.rate * since);
        self.last = self.last.max(at);
    }
}

/// By how many tokens the worst interval of all is beyond burst + rate × (its length + `more`, in nanoseconds); 0 or
/// less where the promise is kept. A bucket that may run below empty is, at each admission, at the worst of all
/// intervals that end there, so one pass sees every interval.
pub fn beyond(bound: Bound, more: u64, admitted: &mut [u64]) -> f64 {
    admitted.sort_unstable();
    let mut bucket = Bucket::full(bound, more);
    let mut lowest = bucket.level;
    for at in admitted.iter() {
        bucket.fill(*at);
        bucket.level -= TOKEN;
        lowest = lowest.min(bucket.level);
    }
    -lowest as f64 / TOKEN as f64
}

/// How many of these arrivals, of those from `from` on, the ideal bucket admits.
pub fn ideal(bound: Bound, arrivals: &[u64], from: u64) -> u64 {
    let mut bucket = Bucket::full(bound, 0);
    let mut admitted = 0;
    for at in arrivals {
        bucket.fill(*at);
        if bucket.level >= TOKEN {
            bucket.level -= TOKEN;
            admitted += u64::from(*at >= from);
        }
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_and_the_rate_after_it_are_the_bound_and_one_more_is_beyond() {
        let bound = Bound { rate: 10, burst: 3 };
        let mut at: Vec<u64> =
            [[5 * SECOND; 3].to_vec(), (1..50).map(|n| 5 * SECOND + n * SECOND / 10).collect()].concat();
        assert_eq!(beyond(bound, 0, &mut at), 0.0);
        assert_eq!(ideal(bound, &at, 0), 52);
        assert_eq!(ideal(bound, &at, 6 * SECOND), 40);
        at.push(7 * SECOND);
        assert_eq!(beyond(bound, 0, &mut at), 1.0);
        assert_eq!(beyond(bound, SECOND / 10, &mut at), 0.0, "clocks that disagree by a token's time");
        assert_eq!(ideal(bound, &at, 0), 52);
    }

    #[test]
    fn one_pass_finds_what_looking_at_every_interval_finds() {
        let mut dice = Dice::new(11);
        for _ in 0..200 {
            let bound = Bound { rate: 1 + dice.below(50), burst: 1 + dice.below(10) };
            let mut at: Vec<u64> = (0..40).map(|_| dice.below(SECOND)).collect();
            let found = beyond(bound, 0, &mut at);
            let mut worst = f64::MIN;
            for (first, start) in at.iter().enumerate() {
                for (last, end) in at.iter().enumerate().skip(first) {
                    let refilled = (bound.rate * (end - start)) as f64 / SECOND as f64;
                    worst = worst.max((last - first + 1) as f64 - refilled - bound.burst as f64);
                }
            }
            assert!((found - worst).abs() < 1e-6, "{found} {worst}");
        }
    }
}
