//! What is sent again, when, and how often in all: pure decisions.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::split::mixed;
use crate::clock::Timestamp;

/// `retry:` of an upstream, compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Sendings after the first; 0 is none.
    pub attempts: u32,
    /// What is worth another.
    pub on: RetryOn,
    /// The first pause is drawn up to this; it doubles.
    pub backoff: Duration,
    /// No pause is longer; an upstream's `Retry-After` beyond it ends the retries.
    pub max_backoff: Duration,
    /// What may be sent again.
    pub methods: RetryMethods,
}

/// Outcomes that are worth another sending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// No connection.
    pub connect: bool,
    /// The connection broke before an answer.
    pub reset: bool,
    /// No answer in the attempt's time.
    pub timeout: bool,
    /// These statuses.
    pub statuses: BTreeSet<StatusCode>,
}

/// Methods that may be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryMethods {
    /// Safe ones (RFC 9110 §9.2.1).
    Safe,
    /// Idempotent ones (§9.2.2), and requests with an `Idempotency-Key`.
    Idempotent,
    /// Every one.
    All,
    /// These.
    List(Vec<Method>),
}

/// How a sending ended, as far as retrying cares.
#[derive(Debug, Clone, Copy)]
pub enum Attempt<'a> {
    /// With an answer.
    Answered(StatusCode, &'a HeaderMap),
    /// Without a connection.
    NotConnected,
    /// With a broken connection.
    Reset,
    /// Not in time.
    TimedOut,
}

impl Retry {
    /// Nothing is sent again.
    pub fn none() -> Self {
        Self { attempts: 0, ..Self::default_policy() }
    }

    /// What `retry: {}` is.
    pub fn default_policy() -> Self {
        Self {
            attempts: 1,
            on: RetryOn {
                connect: true,
                reset: true,
                timeout: false,
                statuses: [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT]
                    .into(),
            },
            backoff: Duration::from_millis(25),
            max_backoff: Duration::from_millis(250),
            methods: RetryMethods::Idempotent,
        }
    }

    /// How long to wait before the next sending; `None` where there shall be none. `made` sendings were made.
    ///
    /// The pause is drawn from nothing to the back-off ("full jitter"), from the request's seed; an upstream's
    /// `Retry-After` is honoured, and one beyond `max_backoff` ends the retries.
    pub fn pause(
        &self,
        method: &Method,
        headers: &HeaderMap,
        attempt: Attempt<'_>,
        made: u32,
        seed: u64,
    ) -> Option<Duration> {
        if made > self.attempts || !self.methods.allow(method, headers) {
            return None;
        }
        let mut asked = Duration::ZERO;
        let worth = match attempt {
            Attempt::NotConnected => self.on.connect,
            Attempt::Reset => self.on.reset,
            Attempt::TimedOut => self.on.timeout,
            Attempt::Answered(status, fields) => {
                asked = retry_after(fields);
                self.on.statuses.contains(&status)
            }
        };
        if !worth || asked > self.max_backoff {
            return None;
        }
        let ceiling = self.backoff.saturating_mul(1 << made.saturating_sub(1).min(16)).min(self.max_backoff);
        let drawn = mixed(seed ^ u64::from(made)) as f64 / u64::MAX as f64;
        Some(ceiling.mul_f64(drawn).max(asked))
    }
}

impl RetryMethods {
    fn allow(&self, method: &Method, headers: &HeaderMap) -> bool {
        match self {
            Self::Safe => method.is_safe(),
            Self::Idempotent => safe_to_resend(method, headers),
            Self::All => true,
            Self::List(methods) => methods.contains(method),
        }
    }
}

/// Whether a request may reach the upstream twice without harm: its method is idempotent, or it says so itself.
pub fn safe_to_resend(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key(IDEMPOTENCY_KEY)
}

/// `Retry-After` in seconds; a date counts as far too long, since the pause is milliseconds.
fn retry_after(fields: &HeaderMap) -> Duration {
    let Some(value) = fields.get(RETRY_AFTER) else { return Duration::ZERO };
    let secs = value.to_str().ok().and_then(|value| value.trim().parse::<u64>().ok());
    Duration::from_secs(secs.unwrap_or(u64::from(u32::MAX)))
}

/// How much may be sent again, over all requests of this environment: a share of them, and never under 3 a second
/// (state.md §13.3). A storm of retries must not finish an upstream off.
#[derive(Debug)]
pub struct RetryBudget {
    /// In millionths of a request; `None` is no budget.
    share: Option<u32>,
    state: Mutex<Tokens>,
}

#[derive(Debug, Default)]
struct Tokens {
    /// Retries that may be made, in millionths.
    held: u64,
    at: Timestamp,
}

impl RetryBudget {
    /// A share in millionths; `None` is no budget.
    pub fn new(share: Option<u32>) -> Self {
        let begin = Tokens { held: FLOOR * ONE, at: Timestamp::default() };
        Self { share, state: Mutex::new(begin) }
    }

    /// The share in millionths.
    pub const fn share(&self) -> Option<u32> {
        self.share
    }

    /// Counts one request.
    pub fn request(&self) {
        let Some(share) = self.share else { return };
        let mut tokens = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.held = (tokens.held + u64::from(share)).min(MOST * ONE);
    }

    /// Takes one retry; `false` where there is none left.
    pub fn spend(&self, now: Timestamp) -> bool {
        if self.share.is_none() {
            return true;
        }
        let mut tokens = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refilled = u64::try_from(now.since(tokens.at).as_micros()).unwrap_or(u64::MAX).saturating_mul(FLOOR);
        if tokens.held < FLOOR * ONE {
            tokens.held = tokens.held.saturating_add(refilled).min(FLOOR * ONE);
        }
        tokens.at = now.max(tokens.at);
        let Some(left) = tokens.held.checked_sub(ONE) else { return false };
        tokens.held = left;
        true
    }
}

const ONE: u64 = 1_000_000;
/// Retries a second that are always allowed.
const FLOOR: u64 = 3;
/// A quiet hour does not save up more than this for a bad minute.
const MOST: u64 = 100;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn pause(retry: &Retry, method: &Method, attempt: Attempt<'_>, made: u32) -> Option<Duration> {
        retry.pause(method, &HeaderMap::new(), attempt, made, 7)
    }

    #[test]
    fn the_default_policy_sends_once_more_what_is_idempotent() {
        let retry = Retry::default_policy();
        assert!(pause(&retry, &Method::GET, Attempt::NotConnected, 1).is_some());
        assert!(pause(&retry, &Method::GET, Attempt::NotConnected, 2).is_none());
        assert!(pause(&retry, &Method::PUT, Attempt::Reset, 1).is_some());
        assert!(pause(&retry, &Method::POST, Attempt::Reset, 1).is_none());
        assert!(pause(&retry, &Method::GET, Attempt::TimedOut, 1).is_none());
        let none = HeaderMap::new();
        assert!(pause(&retry, &Method::GET, Attempt::Answered(StatusCode::SERVICE_UNAVAILABLE, &none), 1).is_some());
        assert!(pause(&retry, &Method::GET, Attempt::Answered(StatusCode::INTERNAL_SERVER_ERROR, &none), 1).is_none());
        assert!(pause(&Retry::none(), &Method::GET, Attempt::NotConnected, 1).is_none());
    }

    #[test]
    fn a_post_with_an_idempotency_key_is_sent_again() {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_static("1"));
        assert!(Retry::default_policy().pause(&Method::POST, &headers, Attempt::Reset, 1, 7).is_some());
    }

    #[test]
    fn an_upstreams_retry_after_is_honoured_or_ends_the_retries() {
        let retry = Retry { max_backoff: Duration::from_secs(2), ..Retry::default_policy() };
        let mut fields = HeaderMap::new();
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        fields.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        assert!(
            pause(&retry, &Method::GET, Attempt::Answered(unavailable, &fields), 1) >= Some(Duration::from_secs(1))
        );
        for too_long in ["3", "Fri, 31 Dec 1999 23:59:59 GMT"] {
            fields.insert(RETRY_AFTER, HeaderValue::from_static(too_long));
            assert_eq!(pause(&retry, &Method::GET, Attempt::Answered(unavailable, &fields), 1), None);
        }
    }

    #[test]
    fn without_traffic_three_a_second_may_be_sent_again() {
        let budget = RetryBudget::new(Some(200_000));
        let granted = |secs| (0..10).filter(|_| budget.spend(Timestamp::from_secs(secs))).count();
        assert_eq!(granted(1_000), 3);
        assert_eq!(granted(1_000), 0);
        assert_eq!(granted(1_001), 3);
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(seed: u64, made in 1u32..=10) {
            let retry = Retry { attempts: 10, ..Retry::default_policy() };
            let pause = retry.pause(&Method::GET, &HeaderMap::new(), Attempt::Reset, made, seed).expect("a pause");
            prop_assert!(pause <= retry.max_backoff);
        }

        #[test]
        fn retries_never_pass_the_share_and_the_floor(steps in proptest::collection::vec((0u64..400, 0u8..4), 1..300)) {
            let budget = RetryBudget::new(Some(200_000));
            let (mut now, mut requests, mut granted) = (Timestamp::from_secs(1_000), 0.0, 0.0);
            let start = now;
            for (millis, spends) in steps {
                now = now.plus(Duration::from_millis(millis));
                budget.request();
                requests += 1.0;
                for _ in 0..spends {
                    granted += f64::from(u8::from(budget.spend(now)));
                }
            }
            let bound = 3.0 + requests * 0.2 + now.since(start).as_secs_f64() * 3.0;
            prop_assert!(granted <= bound + 1e-6, "{granted} of at most {bound}");
        }
    }
}
