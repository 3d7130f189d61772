//! How many of its limits a request takes.

use crate::expression::{Expression, Facts};

/// What a request costs.
#[derive(Debug)]
pub enum Cost {
    /// Each the same.
    Fixed(u64),
    /// What an expression says: a number, or a text that is one. Parts count as a whole; what fails, or is less than
    /// 1, counts as 1.
    Of(Expression),
}

impl Cost {
    /// What this request costs: 1 at least, and `most` at most, since more could never pass.
    pub(super) fn of(&self, facts: &Facts<'_>, most: u64) -> u64 {
        let cost = match self {
            Self::Fixed(cost) => *cost,
            Self::Of(expression) => expression.text(facts).ok().and_then(|text| whole(&text)).unwrap_or(1),
        };
        cost.clamp(1, most.max(1))
    }
}

fn whole(text: &str) -> Option<u64> {
    if let Ok(cost) = text.parse() {
        return Some(cost);
    }
    let cost: f64 = text.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates: below 0 is 0, too large is the largest"
    )]
    (!cost.is_nan()).then(|| cost.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_a_number_and_its_parts_count_as_a_whole() {
        for (text, cost) in [
            ("7", Some(7)),
            ("2.0001", Some(3)),
            ("1e3", Some(1000)),
            ("-5", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("inf", Some(u64::MAX)),
            ("NaN", None),
            ("", None),
            ("many", None),
            ("true", None),
        ] {
            assert_eq!(whole(text), cost, "{text:?}");
        }
    }
}
