//! When requests come, in nanoseconds from the start: a Poisson process, steady or in bursts.

use crate::dice::Dice;

/// How requests come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    Steady,
    /// 3.4 times the mean for about 0.7 s, then 0.2 times for about 2.1 s.
    Bursty,
}

/// Requests at `mean` a second for `secs`. Tokio's timers count in milliseconds, so they come on whole ones.
pub(crate) fn arrivals(pattern: Pattern, mean: f64, secs: f64, dice: &mut Dice) -> Vec<u64> {
    let mut times = Vec::with_capacity((mean * secs * 1.1) as usize);
    let (mut start, mut on) = (0.0, true);
    while start < secs {
        let (length, rate) = match pattern {
            Pattern::Steady => (secs, mean),
            Pattern::Bursty if on => (dice.between(0.5, 0.9), 3.4 * mean),
            Pattern::Bursty => (dice.between(1.6, 2.6), 0.2 * mean),
        };
        let end = (start + length).min(secs);
        let mut at = start + dice.exponential(rate);
        while at < end {
            times.push((at * 1e3).ceil() as u64 * 1_000_000);
            at += dice.exponential(rate);
        }
        (start, on) = (end, !on);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_come_as_asked_in_order_and_in_bursts_where_asked() {
        for pattern in [Pattern::Steady, Pattern::Bursty] {
            let times = arrivals(pattern, 1_000.0, 100.0, &mut Dice::new(1));
            assert!((90_000..110_000).contains(&times.len()), "{pattern:?}: {}", times.len());
            assert!(times.is_sorted() && times.iter().all(|at| at % 1_000_000 == 0));
            let mut by_second = vec![0; 101];
            times.iter().for_each(|at| by_second[(at / 1_000_000_000) as usize] += 1);
            let busiest = by_second.iter().max().unwrap();
            assert_eq!(*busiest > 1_500, pattern == Pattern::Bursty, "{busiest}");
        }
    }
}
