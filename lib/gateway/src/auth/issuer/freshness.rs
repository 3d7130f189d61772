//! For how long an answer says that it is fresh (RFC 9111 §4.2).

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

/// `max-age` less `Age`; zero where the answer wants to be kept by nobody; `None` where it says nothing.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|field| field.to_str().ok());
    let mut most: Option<u64> = None;
    for directive in fields.flat_map(|field| field.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let seconds = match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => 0,
            // What is said and cannot be read is stale (RFC 9111 §4.2.1).
            "max-age" => seconds(value).unwrap_or_default(),
            _ => continue,
        };
        most = Some(most.map_or(seconds, |most| most.min(seconds)));
    }
    let age = headers.get(AGE).and_then(|age| seconds(age.to_str().ok()?)).unwrap_or_default();
    most.map(|most| Duration::from_secs(most.saturating_sub(age)))
}

/// Delta-seconds (RFC 9111 §1.2.2), quoted or not; more than can be said is as much as can be said.
fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim().trim_matches('"');
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &str)]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        freshness(&headers).map(|fresh| fresh.as_secs())
    }

    #[test]
    fn an_answer_is_fresh_for_its_max_age_less_the_age_it_has_already() {
        let control = "cache-control";
        for (fields, fresh) in [
            (&[][..], None),
            (&[(control, "public")], None),
            (&[(control, "public, max-age=900, must-revalidate")], Some(900)),
            (&[(control, "Max-Age=\"900\"")], Some(900)),
            (&[(control, "max-age=900"), (control, "max-age=60")], Some(60)),
            (&[(control, "max-age=900"), ("age", "850")], Some(50)),
            (&[(control, "max-age=900"), ("age", "901")], Some(0)),
            (&[(control, "max-age=900"), ("age", "soon")], Some(900)),
            (&[(control, "max-age=900, no-store")], Some(0)),
            (&[(control, "no-cache=\"set-cookie\"")], Some(0)),
            (&[(control, "max-age")], Some(0)),
            (&[(control, "max-age=-1")], Some(0)),
            (&[(control, "max-age=99999999999999999999")], Some(u64::from(u32::MAX))),
            (&[("age", "5")], None),
        ] {
            assert_eq!(of(fields), fresh, "{fields:?}");
        }
    }
}
