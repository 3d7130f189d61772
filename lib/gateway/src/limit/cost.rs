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
    /// What an expression over the answer says, read likewise, once the answer is there. A request is let in for 1.
    OfResponse(Expression),
}

impl Cost {
    /// What this request costs to be let in: 1 at least, and `most` at most, since more could never pass.
    pub(super) fn of(&self, facts: &Facts<'_>, most: u64) -> u64 {
        let cost = match self {
            Self::Fixed(cost) => *cost,
            Self::Of(expression) => said(expression, facts),
            Self::OfResponse(_) => 1,
        };
        cost.clamp(1, most.max(1))
    }

    /// Whether only the answer tells it.
    pub(super) const fn is_of_response(&self) -> bool {
        matches!(self, Self::OfResponse(_))
    }

    /// What the request cost in all, 1 of which was taken when it was let in; `None` where the answer changes nothing.
    /// There is no most: what an upstream says may be more than the limit ever has.
    pub fn after(&self, with_response: &Facts<'_>) -> Option<u64> {
        match self {
            Self::Fixed(_) | Self::Of(_) => None,
            Self::OfResponse(expression) => Some(said(expression, with_response).max(1)),
        }
    }
}

fn said(expression: &Expression, facts: &Facts<'_>) -> u64 {
    expression.text(facts).ok().and_then(|text| whole(&text)).unwrap_or(1)
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
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use http::{HeaderMap, Method, StatusCode};

    use super::*;
    use crate::clock::Timestamp;
    use crate::exchange::Scheme;
    use crate::expression::{AnswerFacts, Params, Place, Scope};

    fn compiled(text: &str) -> Expression {
        Expression::compile(text, &Scope { place: Place::Cost, params: &[], env: &BTreeMap::new() }).unwrap()
    }

    #[test]
    fn a_cost_that_the_answer_tells_lets_in_for_one_and_is_known_after() {
        let (none, mut answer) = (HeaderMap::new(), HeaderMap::new());
        answer.insert("x-tokens", "7001".parse().unwrap());
        let before = Facts {
            method: &Method::POST,
            path: "/",
            query: None,
            headers: &none,
            host: "api.example.com",
            id: "id-1",
            ip: Ipv4Addr::LOCALHOST.into(),
            scheme: Scheme::Https,
            params: &Params::NONE,
            caller: None,
            route: "route",
            response: None,
            now: Timestamp::from_millis(0),
        };
        let after = |headers| Facts { response: Some(AnswerFacts { status: StatusCode::OK, headers }), ..before };
        let told = Cost::OfResponse(compiled("response.headers['x-tokens']"));
        assert_eq!(told.of(&before, 100), 1);
        assert_eq!(told.after(&after(&answer)), Some(7001), "more than the limit has is still what it cost");
        assert_eq!(told.after(&after(&none)), Some(1), "an answer that does not tell");
        let counted = Cost::OfResponse(compiled("response.status == 200 ? 5 : 0"));
        assert_eq!((counted.of(&before, 100), counted.after(&after(&none))), (1, Some(5)));
        for fixed in [Cost::Fixed(3), Cost::Of(compiled("request.path"))] {
            assert_eq!(fixed.after(&after(&answer)), None);
        }
    }

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
