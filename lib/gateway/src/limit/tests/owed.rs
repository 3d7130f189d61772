//! Costs that only the answer tells.

use http::StatusCode;

use super::*;
use crate::expression::AnswerFacts;

/// What a request whose answer says that it cost `said` does: whether it is let in, and then it is charged.
async fn served(limits: &Limits, said: &str, table: &dyn Table, clock: &dyn Clock) -> bool {
    let mut taken = take(limits, 1, table, clock).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-tokens", said.parse().unwrap());
    let (request, ip) = (HeaderMap::new(), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    let response = Some(AnswerFacts { status: StatusCode::OK, headers: &headers });
    taken.owed.price(&Facts { response, ..facts(&request, "/", ip, clock) });
    taken.later.run(table, clock).await;
    taken.owed.charge(table, clock).await;
    taken.refused.is_none()
}

fn told_by_the_answer(algorithm: Algorithm, accuracy: Accuracy) -> Limits {
    let limit = Arc::into_inner(counted("l", "100/min", "request.ip", algorithm, "1")).unwrap();
    let scope = Scope { place: Place::Cost, params: &[], env: &BTreeMap::new() };
    let cost = Expression::compile("response.headers['x-tokens']", &scope).unwrap();
    limits([Arc::new(limit.costing(Cost::OfResponse(cost)).accurate(accuracy))])
}

#[tokio::test(start_paused = true)]
async fn who_took_much_is_refused_until_it_came_back_by_every_algorithm() {
    for algorithm in ALGORITHMS.into_iter().take(5) {
        for accuracy in [Accuracy::Exact, Accuracy::Leased, Accuracy::Local] {
            let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
            let environments = [
                told_by_the_answer(algorithm(100), accuracy),
                if accuracy == Accuracy::Local { Limits::none() } else { told_by_the_answer(algorithm(100), accuracy) },
            ];
            assert!(served(&environments[0], "60", &table, &clock).await, "{}", algorithm(100));
            assert!(served(&environments[0], "70", &table, &clock).await, "40 are left, which is more than 1");
            for environment in environments.iter().filter(|limits| !limits.0.is_empty()) {
                assert!(!served(environment, "1", &table, &clock).await, "{} {accuracy:?}", algorithm(100));
            }
            clock.set(NOON + 200_000);
            assert!(served(&environments[0], "1", &table, &clock).await, "{}", algorithm(100));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_price_costs_one_and_one_costs_a_whole_limit_at_most() {
    let (table, clock) = (FaultyTable::new(Fault::None), TestClock::at(NOON));
    let limits = told_by_the_answer(Algorithm::TokenBucket { burst: 100 }, Accuracy::Exact);
    for said in ["", "none", "-7", "1"] {
        assert!(served(&limits, said, &table, &clock).await);
    }
    assert_eq!(take(&limits, 1, &table, &clock).await.verdicts[0].remaining, 95);
    assert_eq!(table.updates(), 5, "nothing more to write");
    assert!(served(&limits, "18446744073709551615", &table, &clock).await);
    let refused = take(&limits, 1, &table, &clock).await;
    assert!(retry_after(&refused) < Duration::from_secs(6), "5 were taken before, and the whole once");
}
