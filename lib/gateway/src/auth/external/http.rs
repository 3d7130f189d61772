//! An authorizer over HTTP, asked as Traefik's `forwardAuth` and nginx's `auth_request` ask theirs: the request without
//! its content, told in `x-forwarded-*` and `x-original-*`. 2xx lets it pass.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::answer::{Answer, split};
use super::told::Told;
use crate::auth::caller::{Caller, Identity};
use crate::call::{Call, Endpoint, Reply};
use crate::forward::Upstream;

/// The service to ask, and what is taken from its answers.
#[derive(Debug)]
pub struct Service {
    /// Where it is.
    pub endpoint: Endpoint,
    /// GET or POST.
    pub method: Method,
    /// Fields of its answer that go on to the upstream.
    pub upstream_headers: Vec<HeaderName>,
}

/// The fields in which a request is told: a client's own of these names are not sent on.
const FORWARDED: [HeaderName; 9] = [
    HeaderName::from_static("x-forwarded-method"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-uri"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-original-method"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("x-tollgate-route"),
];

impl Service {
    /// Asks, and gives the answer with how large what is used of it is, and whether it may be kept.
    ///
    /// # Errors
    /// Why there is no answer that says anything.
    pub(super) async fn ask(
        &self,
        told: &Told<'_>,
        upstream: &dyn Upstream,
        timeout: Duration,
        most: usize,
    ) -> Result<(Answer, usize, bool), String> {
        let headers = fields(told);
        let call = Call { method: self.method.clone(), headers, body: Bytes::new(), timeout, most };
        let reply = self.endpoint.call(upstream, call).await?;
        let kept = !no_store(&reply.headers);
        let answer = match reply.status.as_u16() {
            200..300 => return Ok(self.allowed(&reply, kept)),
            401 => Answer::NotTaken("the authorizer answered 401".to_owned()),
            403 => Answer::Forbidden("the authorizer answered 403".to_owned()),
            _ => return Err(format!("the authorizer answered {}", reply.status)),
        };
        Ok((answer, 0, kept))
    }

    fn allowed(&self, reply: &Reply, kept: bool) -> (Answer, usize, bool) {
        let text = |name: &str| {
            let value = reply.headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
            value.unwrap_or_default().to_owned()
        };
        let mut forward = Vec::new();
        for name in &self.upstream_headers {
            forward.extend(reply.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
        }
        let identity = Identity {
            via: super::External::VIA,
            id: text("x-tollgate-id"),
            tenant: text("x-tollgate-tenant"),
            plan: text("x-tollgate-plan"),
            scopes: split(&text("x-tollgate-scopes")),
            groups: split(&text("x-tollgate-groups")),
            forward,
            ..Identity::default()
        };
        let size = reply.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        (Answer::Allowed(Caller::of(identity)), size, kept)
    }
}

/// The fields of a call. What the gateway says of the request replaces what the client says.
fn fields(told: &Told<'_>) -> HeaderMap {
    let mut headers = told.headers.clone();
    let (asked, target) = (told.asked, told.target());
    let (scheme, host) = (asked.origin.scheme.as_str(), &asked.origin.host);
    let values = [
        asked.method.as_str().to_owned(),
        scheme.to_owned(),
        host.clone(),
        target.clone(),
        asked.origin.ip.to_string(),
        asked.method.as_str().to_owned(),
        format!("{scheme}://{host}{target}"),
        asked.origin.id.clone(),
        asked.route.to_string(),
    ];
    for (name, value) in FORWARDED.into_iter().zip(values) {
        headers.remove(&name);
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// RFC 9111 §5.2.2.5.
fn no_store(headers: &HeaderMap) -> bool {
    let values = headers.get_all(http::header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| {
        let word = word.trim();
        word.eq_ignore_ascii_case("no-store") || word.eq_ignore_ascii_case("no-cache")
    })
}
