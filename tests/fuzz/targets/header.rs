//! Any lines as header fields: no panic in what reads them, and nothing goes to an upstream that must not.
//!
//! The first line is the host, the second a template, the third a media type; the rest are fields.
#![no_main]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use libfuzzer_sys::fuzz_target;
use tollgate::clock::Timestamp;
use tollgate::cors::{Cors, CorsSettings, is_preflight};
use tollgate::exchange::{Body, Origin, Request, Scheme};
use tollgate::expression::{Facts, Params, Place, Scope, Template};
use tollgate::forward::Protocol;
use tollgate::forward::hygiene::{inbound, outbound};
use tollgate::mode::{Mode, Shadowed};
use tollgate::screen::{Addresses, Bodies, MediaRange, Screen};

const WRITTEN: [&str; 7] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
    "x-request-deadline-ms",
];

const NEVER: [&str; 14] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "http2-settings",
    "expect",
    "host",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
];

fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), value) {
            headers.append(name, value);
        }
    }
    headers
}

fn check_outbound(sent: &HeaderMap, origin: &Origin) {
    let mut headers = sent.clone();
    outbound(&mut headers, origin, Some(Duration::from_millis(5)));
    for (name, value) in &headers {
        let judged = name.as_str().replace('_', "-");
        assert!(!NEVER.contains(&&*judged), "{name}");
        if judged == "te" {
            assert_eq!((name.as_str(), value), ("te", &HeaderValue::from_static("trailers")));
        } else if judged.starts_with("x-forwarded-") || WRITTEN.contains(&&*judged) {
            // Ours, and once.
            assert!(WRITTEN.contains(&name.as_str()) && headers.get_all(name).iter().count() == 1, "{name}");
        } else if judged != "via" {
            assert!(sent.get_all(name).iter().eq(headers.get_all(name)), "{name}");
        }
    }
    assert!(headers["via"].as_bytes().ends_with(b"1.1 tollgate"));
    assert_eq!(headers["x-request-deadline-ms"], "5");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
    // Nothing in a host ends its quotes: `proto` is still the last parameter, and there is one of it that is not quoted.
    let forwarded = headers["forwarded"].to_str().expect("ASCII");
    assert!(forwarded.starts_with("for=192.0.2.1") && forwarded.ends_with(";proto=https"), "{forwarded}");
    assert!(matches!(forwarded.matches('"').count(), 0 | 2), "{forwarded}");

    let mut again = headers.clone();
    outbound(&mut again, origin, Some(Duration::from_millis(5)));
    again.remove("via");
    headers.remove("via");
    assert_eq!(again, headers);
}

fn check_inbound(sent: &HeaderMap) {
    for status in [StatusCode::OK, StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let mut headers = sent.clone();
        inbound(&mut headers, status, Protocol::Http1);
        assert!(headers.keys().all(|name| !matches!(name.as_str(), "connection" | "transfer-encoding" | "upgrade")));
        assert!(headers.keys().all(|name| name == "via" || sent.get_all(name).iter().eq(headers.get_all(name))));
    }
}

fn check_expressions(text: &str, headers: &HeaderMap, host: &str) {
    let (env, params) = (BTreeMap::from([("A".to_owned(), "b".to_owned())]), [Arc::from("id")]);
    let scope = Scope { place: Place::Request, params: &params, env: &env };
    let mut captured = Params::default();
    captured.push(Arc::from("id"), host.to_owned());
    let facts = Facts {
        method: &Method::GET,
        path: "/a",
        query: Some(host),
        headers,
        host,
        id: "id-1",
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        params: &captured,
        caller: None,
        route: "route",
        response: None,
        now: Timestamp::from_secs(1_795_521_600),
    };
    facts.cookie("a");
    facts.query_value("a");
    match Template::compile(text, &scope) {
        Ok(template) => {
            let _ = template.render_header(&facts);
            let _ = template.render_path(&facts);
            template.render_query_value(&facts);
        }
        Err(problems) => assert!(problems.iter().all(|problem| problem.offset <= text.len()), "{problems:?}"),
    }
}

fn check_policies(headers: &HeaderMap, origin: Origin, range: &str) {
    let settings = CorsSettings { origins: vec!["https://*.example.com".to_owned()], ..CorsSettings::default() };
    let cors = Cors::new(&settings, &[Method::GET]).expect("settings");
    cors.fields(headers.get("origin"), &mut HeaderMap::new());
    if let Some(method) = is_preflight(&Method::OPTIONS, headers) {
        cors.preflight(&method, headers);
    }
    let ranges = MediaRange::parse(range).into_iter().chain(MediaRange::parse("text/*")).collect();
    let (method, path) = (Method::POST, "/".to_owned());
    let request = Request { method, path, query: None, headers: headers.clone(), body: Body::Full("a".into()), origin };
    let screen = Screen {
        addresses: Addresses::new(Vec::new(), Vec::new(), Mode::Enforce),
        bodies: Bodies { max: 10, content_types: ranges, mode: Mode::Enforce },
    };
    let _ = screen.check(&request, &mut Shadowed::default());
}

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (host, template, range) = (text(), text(), text());
    let headers = fields(lines);
    let origin = Origin {
        ip: [192, 0, 2, 1].into(),
        scheme: Scheme::Https,
        host,
        version: "1.1",
        id: "id-1".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: None,
        iam: None,
    };
    check_outbound(&headers, &origin);
    check_inbound(&headers);
    check_expressions(&template, &headers, &origin.host);
    check_policies(&headers, origin, &range);
});
