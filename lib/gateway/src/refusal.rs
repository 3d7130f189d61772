//! Every "no" of the gateway, and the only file that picks an error status.
//!
//! Two texts by construction: `Display` is for the log, [`Refusal::wire`] for the client. What we say of an upstream's
//! fault never leaks its address or its words.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::auth::Challenges;
use crate::exchange::{Body, BodyFault, Response};

/// Why a request was not served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// The message is no request that can be taken safely: no single `Host`, an ill-formed target, `CONNECT`.
    #[error("the request is malformed: {why}")]
    Malformed {
        /// What is wrong.
        why: &'static str,
    },
    /// The request target is longer than the door takes.
    #[error("the request target is longer than {limit} bytes")]
    UriTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The path cannot be normalised safely: an encoded slash, a NUL, a broken escape.
    #[error("the path {path:?} is refused: {why}")]
    BadPath {
        /// The path as sent.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No route takes the request.
    #[error("no route matches {method} {path}")]
    RouteNotFound {
        /// The method as sent.
        method: Method,
        /// The path as sent.
        path: String,
    },
    /// Routes exist at the path, but not for the method.
    #[error("{method} is not one of {allow:?}")]
    MethodNotAllowed {
        /// The method as sent.
        method: Method,
        /// The methods that are served there, sorted.
        allow: Vec<Method>,
    },
    /// The edge's shared secret is required and was not right.
    #[error("the edge's secret is missing or wrong")]
    EdgeRequired,
    /// The client's address is denied.
    #[error("the address {ip} is not let in")]
    AddressDenied {
        /// The address.
        ip: std::net::IpAddr,
    },
    /// The body is larger than the route takes.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The client stalled while it sent the body.
    #[error("the client stalled while sending the body")]
    BodyStalled,
    /// The client broke off or broke the protocol while it sent the body.
    #[error("the client's body broke off")]
    BodyBroken,
    /// The body's type is not one that the route takes.
    #[error("the content type {given:?} is not taken here")]
    ContentTypeRefused {
        /// The type as sent; empty where there was none.
        given: String,
    },
    /// The route wants to know who calls, and nothing in the request says so.
    #[error("there are no credentials")]
    CredentialsMissing {
        /// What the route takes.
        challenges: Challenges,
    },
    /// What says who calls is no good. Clients are not told whether it never was, or is no more.
    #[error("the credentials are no good: {why}")]
    CredentialsInvalid {
        /// What the route takes.
        challenges: Challenges,
        /// What is wrong with them, for the log.
        why: String,
    },
    /// An authorizer knows who calls, and that it may not.
    #[error("the caller may not: {why}")]
    CallerForbidden {
        /// Why, for the log.
        why: String,
    },
    /// The caller's tenant is none that the route serves.
    #[error("the tenant {tenant:?} is not served here")]
    TenantDenied {
        /// The tenant; empty where the caller has none.
        tenant: String,
    },
    /// The caller has not been granted what the route asks for.
    #[error("of the scopes {wanted:?} the caller has {granted:?}")]
    ScopeMissing {
        /// The scopes asked for, with spaces between.
        wanted: String,
        /// Those that the caller has.
        granted: String,
        /// Whether it came by a bearer token, and so is told the scopes.
        bearer: bool,
    },
    /// The caller is in none of the groups that the route serves.
    #[error("the caller's groups {groups:?} are not served here")]
    GroupMissing {
        /// The groups it is in, with spaces between.
        groups: String,
    },
    /// The route's condition is not met, or cannot be told to be.
    #[error("the condition {why}")]
    ConditionFailed {
        /// Why, for the log.
        why: String,
    },
    /// What says who calls may be good, and cannot be checked.
    #[error("the credentials cannot be checked: {why}")]
    CredentialsUnchecked {
        /// What is missing, for the log.
        why: String,
    },
    /// A value that goes into the upstream request would break it: CR, LF, NUL, or a path segment that is no name.
    #[error("the request cannot be made into an upstream request: {why}")]
    Unforwardable {
        /// What is wrong.
        why: &'static str,
    },
    /// The caller's plan is to say what it may take, and it has none that the config has.
    #[error("the caller has {}", no_plan(plan))]
    PlanUnknown {
        /// The plan; empty where the caller has none.
        plan: String,
    },
    /// A rate limit says no.
    #[error("over the limit {limit}")]
    OverLimit {
        /// The limit's name.
        limit: Arc<str>,
        /// When to come again.
        retry_after: Duration,
    },
    /// A policy that fails closed could not ask the table.
    #[error("the table did not answer for {policy}")]
    StateUnavailable {
        /// The policy that needed it.
        policy: Arc<str>,
    },
    /// A secret that the route needs could not be resolved.
    #[error("the secret {why}")]
    SecretUnavailable {
        /// The reference, never the value, and why it is not resolved.
        why: String,
    },
    /// There is nothing to sign a request to the upstream with.
    #[error("nothing signs for upstream {upstream}: {why}")]
    Unsigned {
        /// Its name in the config.
        upstream: Arc<str>,
        /// Why, for the log.
        why: String,
    },
    /// No connection to the upstream.
    #[error("upstream {upstream} cannot be reached: {detail}")]
    UpstreamUnreachable {
        /// Its name in the config.
        upstream: Arc<str>,
        /// What happened, for the log.
        detail: String,
    },
    /// The upstream closed the connection before it answered.
    #[error("upstream {upstream} broke off: {detail}")]
    UpstreamReset {
        /// Its name in the config.
        upstream: Arc<str>,
        /// What happened, for the log.
        detail: String,
    },
    /// The upstream's answer is no HTTP.
    #[error("upstream {upstream} answered out of protocol: {detail}")]
    UpstreamProtocol {
        /// Its name in the config.
        upstream: Arc<str>,
        /// What happened, for the log.
        detail: String,
    },
    /// The upstream did not answer in time.
    #[error("upstream {upstream} did not answer within {after:?}")]
    UpstreamTimeout {
        /// Its name in the config.
        upstream: Arc<str>,
        /// How long it was given.
        after: Duration,
    },
    /// No target of the upstream takes traffic (all weights are 0).
    #[error("upstream {upstream} has no target that takes traffic")]
    UpstreamEmpty {
        /// Its name in the config.
        upstream: Arc<str>,
    },
    /// The answer does not fit the platform's limit for a buffered answer.
    #[error("the answer passes {limit} bytes")]
    AnswerTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The platform's time for the request is over.
    #[error("the invocation's deadline has passed")]
    DeadlinePassed,
    /// A fault of ours.
    #[error("internal fault: {detail}")]
    Internal {
        /// What happened, for the log.
        detail: String,
    },
}

/// What the caller has instead of a plan of the config.
fn no_plan(plan: &str) -> String {
    if plan.is_empty() { "no plan".to_owned() } else { format!("the plan {plan:?}, which the config does not have") }
}

/// What of a refusal goes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// The status.
    pub status: StatusCode,
    /// The stable code: a metric's label, and the end of the problem's `type` where that is ours.
    pub code: &'static str,
    /// What the client is told.
    pub detail: &'static str,
}

impl From<BodyFault> for Refusal {
    /// What a client's content that did not come whole is refused with.
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLarge { limit } => Self::BodyTooLarge { limit },
            BodyFault::Stalled(_) => Self::BodyStalled,
            BodyFault::Broken(_) => Self::BodyBroken,
        }
    }
}

impl Refusal {
    /// Status, stable code and public text. No `_` arm: a new refusal does not compile without its row.
    pub fn wire(&self) -> Wire {
        let (status, code, detail) = match self {
            Self::Malformed { .. } => (StatusCode::BAD_REQUEST, "malformed", "The request is malformed."),
            Self::UriTooLong { .. } => {
                (StatusCode::URI_TOO_LONG, "uri_too_long", "The request target is longer than is taken here.")
            }
            Self::BadPath { .. } => (StatusCode::BAD_REQUEST, "bad_path", "The path cannot be taken as it is."),
            Self::RouteNotFound { .. } => (StatusCode::NOT_FOUND, "route_not_found", "Nothing is served at this path."),
            Self::MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not served at this path.")
            }
            Self::EdgeRequired => (StatusCode::FORBIDDEN, "edge_required", "Requests must come through the edge."),
            Self::AddressDenied { .. } => {
                (StatusCode::FORBIDDEN, "address_denied", "Requests from this address are not let in.")
            }
            Self::BodyTooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than is taken here.")
            }
            Self::BodyStalled => (StatusCode::REQUEST_TIMEOUT, "body_stalled", "The body did not arrive in time."),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, "body_broken", "The body did not arrive whole."),
            Self::ContentTypeRefused { .. } => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content_type_refused",
                "The body's content type is not taken here.",
            ),
            Self::CredentialsMissing { .. } => {
                (StatusCode::UNAUTHORIZED, "credentials_missing", "The request needs credentials.")
            }
            Self::CredentialsInvalid { .. } => {
                (StatusCode::UNAUTHORIZED, "credentials_invalid", "The request's credentials are not taken.")
            }
            Self::TenantDenied { .. } => {
                (StatusCode::FORBIDDEN, "tenant_denied", "The caller's tenant is not served here.")
            }
            Self::ScopeMissing { .. } => (StatusCode::FORBIDDEN, "scope_missing", "The caller lacks a scope."),
            Self::GroupMissing { .. } => {
                (StatusCode::FORBIDDEN, "group_missing", "The caller is in no group that is served here.")
            }
            Self::ConditionFailed { .. } => (StatusCode::FORBIDDEN, "condition_failed", "The caller may not do this."),
            Self::CallerForbidden { .. } => (StatusCode::FORBIDDEN, "caller_forbidden", "The caller may not do this."),
            Self::CredentialsUnchecked { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "credentials_unchecked", "Try again shortly.")
            }
            Self::Unforwardable { .. } => {
                (StatusCode::BAD_REQUEST, "unforwardable", "A value in the request cannot be sent on.")
            }
            Self::PlanUnknown { .. } => {
                (StatusCode::FORBIDDEN, "plan_unknown", "The caller has no plan that is served here.")
            }
            Self::OverLimit { .. } => (StatusCode::TOO_MANY_REQUESTS, "over_limit", "Too many requests."),
            Self::StateUnavailable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "state_unavailable", "Try again shortly.")
            }
            Self::SecretUnavailable { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "secret_unavailable", "Try again shortly.")
            }
            Self::Unsigned { .. } => (StatusCode::SERVICE_UNAVAILABLE, "upstream_unsigned", "Try again shortly."),
            Self::UpstreamUnreachable { .. } => {
                (StatusCode::BAD_GATEWAY, "upstream_unreachable", "The service behind the gateway cannot be reached.")
            }
            Self::UpstreamReset { .. } => {
                (StatusCode::BAD_GATEWAY, "upstream_reset", "The service behind the gateway broke off.")
            }
            Self::UpstreamProtocol { .. } => {
                (StatusCode::BAD_GATEWAY, "upstream_protocol", "The service behind the gateway gave no proper answer.")
            }
            Self::UpstreamTimeout { .. } => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "The service behind the gateway did not answer in time.",
            ),
            Self::UpstreamEmpty { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_empty",
                "The service behind the gateway takes no requests now.",
            ),
            Self::AnswerTooLarge { .. } => {
                (StatusCode::BAD_GATEWAY, "answer_too_large", "The answer is larger than can be delivered.")
            }
            Self::DeadlinePassed => {
                (StatusCode::GATEWAY_TIMEOUT, "deadline_passed", "There was no time left for the request.")
            }
            Self::Internal { .. } => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong in the gateway.")
            }
        };
        Wire { status, code, detail }
    }

    /// The stable reason code.
    pub fn code(&self) -> &'static str {
        self.wire().code
    }

    /// The answer: problem+json (RFC 9457) with the request's id as `instance`, and the fields that belong to the
    /// refusal (`Allow`, `Retry-After`, `WWW-Authenticate`).
    pub fn into_response(&self, id: &str) -> Response {
        let wire = self.wire();
        let mut problem = serde_json::json!({
            "type": self.problem_type(wire.code),
            "title": wire.status.canonical_reason().unwrap_or("Error"),
            "status": wire.status.as_u16(),
            "detail": wire.detail,
            "instance": id,
            "code": wire.code,
        });
        if let (Self::OverLimit { limit, .. }, Some(members)) = (self, problem.as_object_mut()) {
            members.insert("violated-policies".to_owned(), serde_json::json!([limit]));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        self.fields(&mut headers);
        Response { status: wire.status, headers, body: Body::Full(Bytes::from(problem.to_string())) }
    }

    /// The registered type where there is one (draft-ietf-httpapi-ratelimit-headers-11 §5.1), or one of ours.
    fn problem_type(&self, code: &str) -> String {
        if matches!(self, Self::OverLimit { .. }) {
            QUOTA_EXCEEDED.to_owned()
        } else {
            format!("urn:tollgate:problem:{code}")
        }
    }

    fn fields(&self, headers: &mut HeaderMap) {
        match self {
            Self::MethodNotAllowed { allow, .. } => {
                let allow = allow.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                if let Ok(allow) = HeaderValue::from_str(&allow) {
                    headers.insert(ALLOW, allow);
                }
            }
            Self::OverLimit { retry_after, .. } => {
                // Rounded up: who comes as told must not come too early.
                let secs = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
                headers.insert(RETRY_AFTER, secs.max(1).into());
            }
            Self::CredentialsMissing { challenges } => challenges.write(false, headers),
            Self::CredentialsInvalid { challenges, .. } => challenges.write(true, headers),
            // What another token would need (RFC 6750 §3.1).
            Self::ScopeMissing { wanted, bearer: true, .. } => {
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{wanted}\"");
                headers.extend(HeaderValue::from_str(&challenge).ok().map(|value| (WWW_AUTHENTICATE, value)));
            }
            Self::StateUnavailable { .. }
            | Self::SecretUnavailable { .. }
            | Self::Unsigned { .. }
            | Self::CredentialsUnchecked { .. }
            | Self::UpstreamEmpty { .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Self::Malformed { .. }
            | Self::UriTooLong { .. }
            | Self::BadPath { .. }
            | Self::RouteNotFound { .. }
            | Self::EdgeRequired
            | Self::AddressDenied { .. }
            | Self::BodyTooLarge { .. }
            | Self::BodyStalled
            | Self::BodyBroken
            | Self::ContentTypeRefused { .. }
            | Self::CallerForbidden { .. }
            | Self::TenantDenied { .. }
            | Self::ScopeMissing { .. }
            | Self::GroupMissing { .. }
            | Self::ConditionFailed { .. }
            | Self::Unforwardable { .. }
            | Self::PlanUnknown { .. }
            | Self::UpstreamUnreachable { .. }
            | Self::UpstreamReset { .. }
            | Self::UpstreamProtocol { .. }
            | Self::UpstreamTimeout { .. }
            | Self::AnswerTooLarge { .. }
            | Self::DeadlinePassed
            | Self::Internal { .. } => {}
        }
    }
}

const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Challenge;

    /// One of each. A new variant belongs here, and so into the golden table.
    fn every() -> Vec<Refusal> {
        let (upstream, detail): (Arc<str>, String) = (Arc::from("orders"), "10.0.0.1: refused".to_owned());
        let (method, path) = (Method::PUT, "/a".to_owned());
        let challenges =
            [Challenge::Bearer, Challenge::Basic { realm: Arc::from("staff") }, Challenge::Scheme("ApiKey")];
        let challenges = Challenges::of(challenges.into_iter());
        vec![
            Refusal::Malformed { why: "two Host fields" },
            Refusal::UriTooLong { limit: 65_536 },
            Refusal::BadPath { path: path.clone(), why: "a NUL" },
            Refusal::RouteNotFound { method: method.clone(), path },
            Refusal::MethodNotAllowed { method, allow: vec![Method::GET, Method::HEAD] },
            Refusal::EdgeRequired,
            Refusal::AddressDenied { ip: [10, 0, 0, 1].into() },
            Refusal::BodyTooLarge { limit: 1024 },
            Refusal::BodyStalled,
            Refusal::BodyBroken,
            Refusal::ContentTypeRefused { given: "text/plain".to_owned() },
            Refusal::CredentialsMissing { challenges: challenges.clone() },
            Refusal::CredentialsInvalid { challenges, why: "partners: no such key".to_owned() },
            Refusal::CallerForbidden { why: "policy: it says no".to_owned() },
            Refusal::TenantDenied { tenant: "acme".to_owned() },
            Refusal::ScopeMissing {
                wanted: "orders:read orders:write".to_owned(),
                granted: "orders:read".to_owned(),
                bearer: true,
            },
            Refusal::GroupMissing { groups: "staff".to_owned() },
            Refusal::ConditionFailed { why: "claims.org == params.org is false".to_owned() },
            Refusal::CredentialsUnchecked { why: "partners: the table did not answer".to_owned() },
            Refusal::Unforwardable { why: "a line break" },
            Refusal::PlanUnknown { plan: "gold".to_owned() },
            Refusal::OverLimit { limit: Arc::from("per-ip"), retry_after: Duration::from_millis(1500) },
            Refusal::StateUnavailable { policy: Arc::from("per-ip") },
            Refusal::SecretUnavailable { why: "env:KEY is not resolved".to_owned() },
            Refusal::Unsigned { upstream: Arc::clone(&upstream), why: "login.example.com answered 401".to_owned() },
            Refusal::UpstreamUnreachable { upstream: Arc::clone(&upstream), detail: detail.clone() },
            Refusal::UpstreamReset { upstream: Arc::clone(&upstream), detail: detail.clone() },
            Refusal::UpstreamProtocol { upstream: Arc::clone(&upstream), detail: detail.clone() },
            Refusal::UpstreamTimeout { upstream: Arc::clone(&upstream), after: Duration::from_secs(2) },
            Refusal::UpstreamEmpty { upstream },
            Refusal::AnswerTooLarge { limit: 6_291_456 },
            Refusal::DeadlinePassed,
            Refusal::Internal { detail },
        ]
    }

    #[test]
    fn every_refusal_is_answered_as_the_golden_table_says() {
        let mut table = String::new();
        for refusal in every() {
            let response = refusal.into_response("ID");
            table.push_str(&format!("{} {}\n  log: {refusal}\n", response.status.as_u16(), refusal.code()));
            for (name, value) in &response.headers {
                table.push_str(&format!("  {name}: {}\n", value.to_str().expect("text")));
            }
            let Body::Full(body) = response.body else { panic!("a refusal has a body") };
            table.push_str(&format!("  {}\n", String::from_utf8_lossy(&body)));
        }
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/refusals.txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(golden, &table).expect("the golden is written");
        }
        assert_eq!(table, std::fs::read_to_string(golden).unwrap_or_default());
    }

    #[test]
    fn who_is_told_to_wait_is_never_told_too_little() {
        let nanos = Duration::from_nanos;
        for (wait, told) in [
            (nanos(1), "1"),
            (nanos(999_999_999), "1"),
            (nanos(1_000_000_000), "1"),
            (nanos(1_000_000_001), "2"),
            (Duration::MAX, "18446744073709551615"),
        ] {
            let refusal = Refusal::OverLimit { limit: Arc::from("per-ip"), retry_after: wait };
            assert_eq!(refusal.into_response("ID").headers["retry-after"], told, "{wait:?}");
        }
    }

    #[test]
    fn no_two_refusals_share_a_code() {
        let codes: std::collections::BTreeSet<_> = every().iter().map(Refusal::code).collect();
        assert_eq!(codes.len(), every().len());
    }
}
