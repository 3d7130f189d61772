//! The health path: what answers whoever asks whether the process serves, before the gateway and its routes.
//!
//! For a container's host and for the health checks of a load balancer's target group. It tells that the process is up
//! and reads requests, and no more: an upstream that is down is no reason to take the gateway away.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tollgate::clock::{Clock, SystemClock};
use tollgate::exchange::{After, Body, Exchange, Request, Response, Served};

/// Where `TOLLGATE_HEALTH_PATH` says nothing else.
pub const HEALTH_PATH: &str = "/.tollgate/health";

/// 200, and no more words than are needed.
pub(crate) fn serving(request: &Request) -> Served {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(&request.origin.id) {
        headers.insert("x-request-id", id);
    }
    let body = Body::Full(r#"{"status":"serving"}"#.into());
    let response = Response { status: StatusCode::OK, headers, body };
    let mut exchange = Exchange::open(request, SystemClock.now());
    exchange.status = response.status;
    exchange.stopped_by = Some("health");
    Served { response, exchange, after: After::default() }
}
