//! How much time an invocation has.

use super::*;

fn time(deadline: &str) -> (Option<Duration>, Option<Duration>) {
    let mut headers = HeaderMap::new();
    headers.insert("lambda-runtime-deadline-ms", HeaderValue::from_str(deadline).unwrap());
    let now = Instant::now();
    let Time { answer_by, end_by } = Time::of(&headers, Timestamp::from_millis(1_000_000), now);
    (answer_by.map(|by| by - now), end_by.map(|by| by - now))
}

#[tokio::test(start_paused = true)]
async fn the_answer_has_the_time_left_less_a_margin_and_what_follows_it_most_of_that_margin() {
    let ms = Duration::from_millis;
    assert_eq!(time("1010000"), (Some(ms(9_500)), Some(ms(9_900))));
    assert_eq!(time("1001000"), (Some(ms(800)), Some(ms(960))));
    assert_eq!(time("1000010"), (Some(ms(8)), Some(Duration::from_micros(9_600))));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_past_is_as_good_as_none() {
    for unknown in ["600000", "999999", "1000000", "0", "", "soon", "-5", "1e9", "99999999999999999999999"] {
        assert_eq!(time(unknown), (None, None), "{unknown}");
    }
    let none = Time::of(&HeaderMap::new(), Timestamp::from_millis(1), Instant::now());
    assert_eq!((none.answer_by, none.end_by), (None, None));
    assert!(time("18446744073709551615").0.is_some());
}
