//! One environment's share of a limit, for the time in which the table that all count on does not answer (state.md §13.1).

use std::num::NonZeroU32;
use std::time::Duration;

use super::rate::Rate;

/// What one environment lets pass on its own: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// So many come back …
    pub(super) count: u64,
    /// … in so long.
    pub(super) within: Duration,
    /// How many at once; at least 1.
    pub(super) burst: u64,
}

/// The share of `rate` and `burst` that each of `environments` has.
///
/// The rate is divided exactly, as the time in which the count comes back is multiplied. The burst is rounded down, but
/// not to nothing. So all together admit in any interval t at most the whole, rate × t + burst, where there are no more
/// environments than the burst has tokens, and at most rate × t + environments where there are: an environment that
/// comes to know that the table is gone always lets one pass. Of 5/min over 1,000 environments each lets one pass at
/// once and one more every 200 minutes, so a key whose requests stay in few environments sees much less than its rate;
/// that is the price of not knowing what the others do.
///
/// A request that costs more than the share's burst never fits in: whoever asks caps the cost, or refuses.
pub(super) fn share(rate: Rate, burst: u64, environments: NonZeroU32) -> Share {
    Share {
        count: rate.count.max(1),
        within: rate.per.duration().saturating_mul(environments.get()),
        burst: (burst / u64::from(environments.get())).max(1),
    }
}

impl Share {
    /// The time in which one token comes back, in nanoseconds, rounded up so that the rate is never exceeded.
    pub(super) fn step(&self) -> i128 {
        i128::try_from(self.within.as_nanos().div_ceil(u128::from(self.count))).unwrap_or(i128::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::Per;

    fn of(rate: &str, burst: u64, environments: u32) -> Share {
        share(Rate::parse(rate).unwrap(), burst, NonZeroU32::new(environments).unwrap())
    }

    #[test]
    fn one_environment_has_all_of_it() {
        let all = Share { count: 5, within: Duration::from_secs(60), burst: 7 };
        assert_eq!((of("5/min", 7, 1), all.step()), (all, 12_000_000_000));
    }

    #[test]
    fn a_rate_is_divided_exactly_and_a_burst_down_to_one() {
        for (rate, burst, environments, step, each) in [
            ("100/s", 100, 10, 100_000_000, 10),
            ("100/s", 105, 10, 100_000_000, 10),
            ("3/s", 3, 2, 666_666_667, 1),
            ("5/min", 5, 1_000, 12_000_000_000_000, 1),
            ("1/day", 1, 1_000, 86_400_000_000_000_000, 1),
            ("18446744073709551615/s", u64::MAX, 1_000, 1, u64::MAX / 1_000),
            ("1/day", 1, u32::MAX, 371_085_174_288_000_000_000_000, 1),
        ] {
            let share = of(rate, burst, environments);
            assert_eq!((share.step(), share.burst), (step, each), "{rate} {burst} {environments}");
        }
    }

    fn rates() -> impl Strategy<Value = Rate> {
        let per = prop::sample::select(vec![Per::Second, Per::Minute, Per::Hour, Per::Day]);
        (prop_oneof![1..200_u64, 1..=u64::MAX], per).prop_map(|(count, per)| Rate { count, per })
    }

    proptest! {
        #[test]
        fn all_shares_together_are_the_whole_or_one_token_each(
            rate in rates(),
            burst in prop_oneof![1..200_u64, 1..=u64::MAX],
            environments in prop_oneof![1..200_u32, 1..=u32::MAX],
        ) {
            let share = share(rate, burst, NonZeroU32::new(environments).unwrap());
            let (all, whole) = (u128::from(environments), rate.per.duration().as_nanos());
            prop_assert!(u128::from(share.burst) * all <= u128::from(burst).max(all));
            prop_assert!(share.burst >= 1);
            // count / within, times the environments, is count / per; a step is never shorter, by less than 1 ns.
            prop_assert_eq!(share.within.as_nanos(), whole * all);
            let step = u128::try_from(share.step()).unwrap();
            prop_assert!(step * u128::from(share.count) >= whole * all);
            prop_assert!((step - 1) * u128::from(share.count) < whole * all);
        }

        #[test]
        fn no_interval_sees_more_of_all_environments_than_is_promised(
            count in 1..20_u64,
            burst in 1..20_u64,
            environments in 1..8_u32,
            asked in prop::collection::vec((0..8_u32, 0..400_u64), 1..120),
        ) {
            let rate = Rate { count, per: Per::Second };
            let share = share(rate, burst, NonZeroU32::new(environments).unwrap());
            let mut full_at = vec![0_i128; usize::try_from(environments).unwrap()];
            let (mut now, mut admitted) = (1_000_000_000_i128, Vec::new());
            for (environment, pause) in asked {
                now += i128::from(pause) * 1_000_000;
                let tat = &mut full_at[usize::try_from(environment % environments).unwrap()];
                let next = (*tat).max(now) + share.step();
                if next <= now + i128::from(share.burst) * share.step() {
                    *tat = next;
                    admitted.push(now);
                }
            }
            let most = i128::from(burst.max(environments.into()));
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let seen = i128::try_from(last - first + 1).unwrap();
                    prop_assert!((seen - most) * 1_000_000_000 <= (to - from) * i128::from(count));
                }
            }
        }
    }
}
