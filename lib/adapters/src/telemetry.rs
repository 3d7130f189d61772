//! The log: one JSON line an exchange, written once, at its end.
//!
//! Neither header fields nor query nor content are in it, so it cannot hold a credential; a refusal's detail is our own
//! words.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tollgate::auth::Caller;
use tollgate::clock::Timestamp;
use tollgate::exchange::Exchange;

use crate::LogSink;

/// Which exchanges are logged: `TOLLGATE_LOG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Every one.
    #[default]
    All,
    /// Those that were answered with 5xx.
    Errors,
    /// None.
    Off,
}

/// A sink that writes each exchange of `level` to standard output, a line at one go.
pub fn stdout(level: LogLevel) -> LogSink {
    Arc::new(move |exchange| {
        let wanted = match level {
            LogLevel::All => true,
            LogLevel::Errors => exchange.status.is_server_error(),
            LogLevel::Off => false,
        };
        if wanted {
            let line = json_line(exchange) + "\n";
            // Where the log cannot be written there is nobody to tell.
            drop(std::io::stdout().lock().write_all(line.as_bytes()));
        }
    })
}

/// Writes one line on standard error, for what belongs to no exchange: an event that is no request, a failing host.
pub fn complain(message: &str) {
    note("error", message);
}

/// Writes one line on standard error, for what is no fault and belongs to no exchange.
pub fn say(message: &str) {
    note("info", message);
}

fn note(level: &str, message: &str) {
    let line = serde_json::json!({ "level": level, "message": message }).to_string() + "\n";
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}

/// One exchange as one line of JSON, without its line end. Durations are microseconds.
pub fn json_line(exchange: &Exchange) -> String {
    let line = Line {
        time: rfc3339(exchange.opened),
        id: &exchange.id,
        method: exchange.method.as_str(),
        host: &exchange.host,
        path: &exchange.path,
        ip: exchange.ip.to_string(),
        route: exchange.route.as_deref(),
        caller: exchange.caller.as_ref().and_then(Who::of),
        status: exchange.status.as_u16(),
        stopped_by: exchange.stopped_by,
        detail: exchange.detail.as_deref(),
        upstream: exchange.upstream.as_deref(),
        attempts: exchange.attempts,
        upstream_us: exchange.upstream_time.map(micros),
        took_us: micros(exchange.took),
        plan: exchange.plan.as_deref(),
        limits: exchange
            .limits
            .iter()
            .map(|limit| Verdict { name: &limit.name, admitted: limit.admitted, remaining: limit.remaining })
            .collect(),
        shadowed: exchange.shadowed.codes(),
    };
    // Only a map with keys that are no strings makes this fail, and there is none.
    serde_json::to_string(&line).unwrap_or_default()
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: &'a str,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Who<'a>>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_us: Option<u64>,
    took_us: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limits: Vec<Verdict<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shadowed: Vec<&'static str>,
}

#[derive(Serialize)]
struct Who<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tenant: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    plan: &'a str,
    via: &'static str,
}

impl<'a> Who<'a> {
    /// Nothing is written of the public, which is everyone.
    fn of(caller: &'a Caller) -> Option<Self> {
        let who = Self { id: caller.id(), tenant: caller.tenant(), plan: caller.plan(), via: caller.via() };
        (!who.id.is_empty()).then_some(who)
    }
}

#[derive(Serialize)]
struct Verdict<'a> {
    name: &'a str,
    admitted: bool,
    remaining: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// `2026-11-24T12:15:13.123Z` (RFC 3339), by the proleptic Gregorian calendar.
pub fn rfc3339(time: Timestamp) -> String {
    let (days, second) = (time.secs() / 86_400, time.secs() % 86_400);
    // Days are counted from 1 March of year 0, so that the leap day is a year's last and an era is 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        time.millis() % 1_000
    )
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, StatusCode};
    use tollgate::exchange::{Body, LimitVerdict, Origin, Request, Scheme};
    use tollgate::refusal::Refusal;

    use super::*;

    fn request() -> Request {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer hush"));
        Request {
            method: Method::POST,
            path: "/orders/\"1\"".to_owned(),
            query: Some("token=hush".to_owned()),
            headers,
            body: Body::Full("hush".into()),
            origin: Origin {
                ip: "192.0.2.1".parse().unwrap(),
                scheme: Scheme::Https,
                host: "api.example.com".to_owned(),
                version: "1.1",
                id: "id-1".to_owned(),
                seed: 0,
                deadline: None,
                front_time: None,
                client_certificate: None,
                iam: None,
            },
        }
    }

    fn exchange() -> Exchange {
        Exchange::open(&request(), Timestamp::from_millis(1_795_522_513_123))
    }

    #[test]
    fn an_exchange_is_one_line_that_says_what_happened() {
        let mut exchange = exchange();
        exchange.route = Some("orders".into());
        exchange.status = StatusCode::TOO_MANY_REQUESTS;
        exchange.stopped_by = Some("over_limit");
        exchange.detail = Some("over the limit\nper-ip".to_owned());
        exchange.upstream = Some("orders".into());
        exchange.attempts = 2;
        exchange.upstream_time = Some(Duration::from_millis(3));
        exchange.took = Duration::from_micros(3_500);
        exchange.plan = Some("free".into());
        exchange.limits = vec![LimitVerdict { name: "per-ip".into(), admitted: false, remaining: 0 }];
        exchange.shadowed.refusal(&Refusal::AddressDenied { ip: exchange.ip });
        assert_eq!(
            json_line(&exchange),
            r#"{"time":"2026-11-24T12:15:13.123Z","id":"id-1","method":"POST","host":"api.example.com","path":"/orders/\"1\"","ip":"192.0.2.1","route":"orders","status":429,"stopped_by":"over_limit","detail":"over the limit\nper-ip","upstream":"orders","attempts":2,"upstream_us":3000,"took_us":3500,"plan":"free","limits":[{"name":"per-ip","admitted":false,"remaining":0}],"shadowed":["address_denied"]}"#
        );
    }

    #[test]
    fn what_did_not_happen_is_left_out_and_nothing_the_client_keeps_secret_is_in() {
        let line = json_line(&exchange());
        assert_eq!(
            line,
            r#"{"time":"2026-11-24T12:15:13.123Z","id":"id-1","method":"POST","host":"api.example.com","path":"/orders/\"1\"","ip":"192.0.2.1","status":200,"took_us":0}"#
        );
        assert!(!line.contains("hush"));
    }

    #[tokio::test]
    async fn who_called_is_written_and_the_public_is_not() {
        use tollgate::auth::keyring::{Keyring, Order, Seed};
        use tollgate::auth::{About, ApiKeys, Auth, Entry, Use, Way, Ways};
        use tollgate::bulletin::Bulletin;
        use tollgate::clock::SystemClock;
        use tollgate::exchange::After;
        use tollgate::gateway::World;
        use tollgate::mode::{Mode, Shadowed};
        use tollgate::secret::{NoVault, Secret};
        use tollgate::table::MemoryTable;

        use crate::upstream::{HttpUpstream, UpstreamSettings};

        let (table, clock) = (Arc::new(MemoryTable::default()), Arc::new(SystemClock));
        let pepper = Arc::new(Secret::new("env:PEPPER", Some("0123456789abcdef".into())));
        let keys = Arc::new(ApiKeys::new(
            "partners",
            http::HeaderName::from_static("x-api-key"),
            vec![pepper],
            Arc::new(Bulletin::new("shop")),
        ));
        let plans = tollgate::limit::Plans::default();
        let keyring = Keyring { keys: &keys, plans: &plans, table: &*table, clock: &*clock };
        let order = Order {
            env: "live".to_owned(),
            tenant: "acme".to_owned(),
            plan: String::new(),
            scopes: std::collections::BTreeSet::new(),
            lives: None,
        };
        let made = keyring.create(&order, Seed { secret: [1; 32], id: [0; 12] }).await.unwrap();
        let upstream = HttpUpstream::new(UpstreamSettings::default(), Arc::clone(&clock) as _);
        let world = World { table, upstream, clock, environments: None, vault: Arc::new(NoVault) };
        let entry = Arc::new(Entry { name: Arc::from("partners"), method: Arc::clone(&keys) as _ });
        let auth = Auth::Any(Ways::new(vec![Way::One(Use { entry, keep: false })], Mode::Enforce));
        let about = About { route: &Arc::from("orders"), now: Timestamp::from_secs(0), most: 0, assumed: None };
        for (auth, written) in [
            (auth, r#""caller":{"id":"k00000000000000000","tenant":"acme","via":"api_key"},"#),
            (Auth::Public, r#""ip":"192.0.2.1","status""#),
        ] {
            let mut request = request();
            request.headers = HeaderMap::from_iter([(keys.header().clone(), made.key.reveal().parse().unwrap())]);
            let caller = auth
                .identify(&mut request, about, &world, &mut Shadowed::default(), &mut After::default())
                .await
                .unwrap();
            let line = json_line(&Exchange { caller: Some(caller), ..exchange() });
            assert!(line.contains(written) && !line.contains("gwk_"), "{line}");
        }
    }

    #[test]
    fn times_are_written_by_the_calendar() {
        for (secs, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(Timestamp::from_secs(secs)), written);
        }
    }
}
