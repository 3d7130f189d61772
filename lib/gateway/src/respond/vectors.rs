//! The conformance cases of Gateway API for redirects, rewrites and header modifiers, as far as they are pure: each
//! filter becomes a policy of ours, and one request goes through it.

use http::header::LOCATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::Value;

use crate::exchange::{Response, Scheme};
use crate::gateway::Asked;
use crate::respond::{Redirect, RedirectPath};
use crate::testkit::{asked, template};
use crate::transform::headers::HeaderRewrite;
use crate::transform::path::PathRewrite;
use crate::transform::{RequestTransform, ResponseTransform};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/routing/gateway-api.json");

/// Where the request of a case arrives: what its listener speaks, and what a client writes as the host.
struct Listener {
    scheme: Scheme,
    host: String,
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

fn items<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Which of a test's routes take a request, and how it arrives there. Only the test of ports has several listeners: its
/// routes are in the order of its cases, told apart by the port that stands in the route's name.
fn listener(test: &str, case: &Value) -> (Option<&'static str>, Listener) {
    let line = case.pointer("/line").and_then(Value::as_u64).unwrap_or_default();
    let (route, scheme, host) = match (test, line) {
        ("HTTPRouteRedirectPortAndScheme", ..=150) => (Some("-80"), Scheme::Http, "gateway.example"),
        ("HTTPRouteRedirectPortAndScheme", ..=200) => (Some("-8080"), Scheme::Http, "gateway.example:8080"),
        ("HTTPRouteRedirectPortAndScheme", _) => (Some("-443"), Scheme::Https, "example.org"),
        _ => (None, Scheme::Http, "gateway.example"),
    };
    (route, Listener { scheme, host: text(case, "/request/host").unwrap_or(host).to_owned() })
}

/// The rule with the longest prefix that takes the path, by whole segments, and that prefix.
fn rule<'v>(test: &'v Value, route: Option<&str>, path: &str) -> Option<(&'v Value, &'v str)> {
    let routes = items(test, "/routes").iter();
    let routes =
        routes.filter(|entry| route.is_none_or(|route| text(entry, "/name").is_some_and(|name| name.ends_with(route))));
    let rules = routes.flat_map(|entry| items(entry, "/spec/rules"));
    rules
        .flat_map(|rule| items(rule, "/matches").iter().map(move |entry| (rule, entry)))
        .filter_map(|(rule, entry)| text(entry, "/path/value").map(|prefix| (rule, prefix)))
        .filter(|(_, prefix)| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        .max_by_key(|(_, prefix)| prefix.len())
}

fn path_rewrite(path: &Value, prefix: &str) -> PathRewrite {
    match text(path, "/type") {
        Some("ReplaceFullPath") => {
            PathRewrite::template(template(text(path, "/replaceFullPath").expect("a path"))).expect("a path")
        }
        Some("ReplacePrefixMatch") => {
            let add = text(path, "/replacePrefixMatch").map(str::to_owned);
            PathRewrite::prefix(Some(prefix.to_owned()), add)
        }
        other => panic!("a path modifier that is not known: {other:?}"),
    }
}

fn redirect(filter: &Value, prefix: &str) -> Redirect {
    let status = filter.pointer("/statusCode").and_then(Value::as_u64).unwrap_or(302);
    let mut redirect =
        Redirect::parts(StatusCode::from_u16(u16::try_from(status).expect("a status")).expect("a status"));
    redirect.scheme = text(filter, "/scheme").map(str::to_owned);
    redirect.host = text(filter, "/hostname").map(str::to_owned);
    redirect.port = filter.pointer("/port").and_then(Value::as_u64).map(|port| u16::try_from(port).expect("a port"));
    if let Some(path) = filter.pointer("/path") {
        redirect.path = match path_rewrite(path, prefix) {
            PathRewrite::Template(template) => RedirectPath::Whole(template),
            rewrite @ (PathRewrite::Same | PathRewrite::Prefix { .. } | PathRewrite::Regex { .. }) => {
                RedirectPath::Prefix(rewrite)
            }
        };
    }
    redirect
}

fn header_rewrite(filter: &Value) -> HeaderRewrite {
    let named = |pointer| {
        let pair = |entry| Some((text(entry, "/name")?.parse().ok()?, template(text(entry, "/value")?)));
        items(filter, pointer).iter().map(|entry| pair(entry).expect("a name and a value")).collect()
    };
    let removal = |name: &Value| name.as_str().and_then(|name| name.parse().ok()).expect("a name");
    let remove = items(filter, "/remove").iter().map(removal).collect();
    HeaderRewrite { set: named("/set"), add: named("/add"), remove, ..HeaderRewrite::default() }
}

fn fields(value: Option<&Value>) -> HeaderMap {
    let pairs = value.and_then(Value::as_object).into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value.as_str().expect("text")).expect("a value");
            (name.parse::<HeaderName>().expect("a name"), value)
        })
        .collect()
}

fn check_fields(fields: &HeaderMap, expected: Option<&Value>, absent: &[Value], context: &str) {
    for (name, value) in expected.and_then(Value::as_object).into_iter().flatten() {
        let values: Vec<_> = fields.get_all(name).iter().map(|value| value.to_str().expect("text")).collect();
        assert_eq!(values.join(","), value.as_str().expect("text"), "{context}: {name}");
    }
    for name in absent {
        assert!(!fields.contains_key(name.as_str().expect("text")), "{context}: {name}");
    }
}

fn check_redirect(redirect: &Redirect, case: &Value, asked: &Asked, context: &str) {
    let response = redirect.answer(&asked.facts("r")).expect("an answer");
    let statuses = items(case, "/expected/status");
    assert!(statuses.contains(&Value::from(response.status.as_u16())), "{context}: {}", response.status);
    let location: Uri = response.headers[LOCATION].to_str().expect("text").parse().expect("an address");
    let part = |name: &str| text(case, &format!("/expected/redirect/{name}"));
    let asked_host: Uri = format!("http://{}", asked.origin.host).parse().expect("an address");
    let scheme = part("scheme").unwrap_or(asked.origin.scheme.as_str());
    assert_eq!(location.scheme_str(), Some(scheme), "{context}");
    assert_eq!(location.host(), part("host").or(asked_host.host()), "{context}");
    assert_eq!(location.path(), part("path").unwrap_or(&asked.path), "{context}");
    let port = location.port_u16().map(|port| port.to_string());
    assert_eq!(port.as_deref(), part("port"), "{context}: a scheme's own port is not written");
}

/// Runs one case; `false` where no filter of ours stands in its rule.
fn run(test: &Value, case: &Value) -> bool {
    let name = text(test, "/test").expect("a name");
    let path = text(case, "/request/path").expect("a path");
    let (route, listener) = listener(name, case);
    let Some((rule, prefix)) = rule(test, route, path) else { return false };
    let context = format!("{name} {path} of line {}", case.pointer("/line").unwrap_or(&Value::Null));
    let mut asked = asked(&format!("{} {path}", text(case, "/request/method").unwrap_or("GET")));
    asked.origin.scheme = listener.scheme;
    asked.origin.host = listener.host;
    asked.headers = fields(case.pointer("/request/headers"));
    let behind = items(rule, "/backendRefs").iter().flat_map(|backend| items(backend, "/filters"));
    let (mut request, mut response, mut found) = (RequestTransform::default(), ResponseTransform::default(), false);
    for filter in items(rule, "/filters").iter().chain(behind) {
        found = true;
        match text(filter, "/type") {
            Some("RequestRedirect") => {
                let redirect = redirect(&filter["requestRedirect"], prefix);
                check_redirect(&redirect, case, &asked, &context);
                return true;
            }
            Some("URLRewrite") => {
                request.host = text(filter, "/urlRewrite/hostname").map(str::to_owned);
                request.path =
                    filter.pointer("/urlRewrite/path").map(|path| path_rewrite(path, prefix)).unwrap_or_default();
            }
            Some("RequestHeaderModifier") => request.headers = header_rewrite(&filter["requestHeaderModifier"]),
            Some("ResponseHeaderModifier") => response.headers = header_rewrite(&filter["responseHeaderModifier"]),
            other => panic!("{context}: a filter that is not known: {other:?}"),
        }
    }
    if found {
        check_forwarded(&request, &response, case, &asked, &context);
    }
    found
}

fn check_forwarded(
    request: &RequestTransform,
    response: &ResponseTransform,
    case: &Value,
    asked: &Asked,
    context: &str,
) {
    let facts = asked.facts("r");
    let mut sent = asked.headers.clone();
    request.headers.apply(request.headers.values(&facts).expect("values"), &mut sent);
    let upstream = "/expected/upstream_request";
    let absent = items(case, &format!("{upstream}/headers_absent"));
    check_fields(&sent, case.pointer(&format!("{upstream}/headers")), absent, context);
    let path = request.path.apply(&facts, &asked.path).expect("a path");
    assert_eq!(path, text(case, &format!("{upstream}/path")).unwrap_or(&asked.path), "{context}");
    assert_eq!(request.host.as_deref(), text(case, &format!("{upstream}/host")), "{context}");
    let mut answer = Response::empty(StatusCode::OK);
    answer.headers = fields(case.pointer("/request/backend_sets_response_headers"));
    response.apply(&facts, &mut answer).expect("applies");
    let absent = items(case, "/expected/response_headers_absent");
    check_fields(&answer.headers, case.pointer("/expected/response_headers"), absent, context);
}

#[test]
fn gateway_apis_redirects_rewrites_and_header_modifiers_hold() {
    let Ok(vectors) = std::fs::read_to_string(VECTORS) else {
        println!("SKIPPED: no vectors at ../shared/vectors/routing/gateway-api.json");
        return;
    };
    let vectors: Value = serde_json::from_str(&vectors).expect("JSON");
    let mut ran = 0;
    for test in items(&vectors, "/tests") {
        ran += items(test, "/cases").iter().filter(|case| run(test, case)).count();
    }
    println!("ran {ran} cases of Gateway API for redirects, rewrites and header modifiers");
    assert!(ran > 0, "the vectors are there and none of their cases was understood");
}
