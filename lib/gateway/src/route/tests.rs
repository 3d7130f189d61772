//! The router against tables, against a naive scan, and against Gateway API's conformance cases.

use std::collections::BTreeMap;
use std::path::Path;
use tokio::time::Instant;

use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::expression::{Expression, Params, Place, Scope};
use crate::testkit;

fn open() -> Conditions {
    Conditions {
        path: None,
        methods: Vec::new(),
        hosts: Vec::new(),
        headers: Vec::new(),
        query: Vec::new(),
        when: None,
        precedence: 0,
    }
}

fn path(text: &str) -> Conditions {
    Conditions { path: Some(PathMatch::parse(text).expect("a path")), ..open() }
}

fn methods(list: &[&str]) -> Vec<Method> {
    list.iter().map(|method| method.parse().expect("a method")).collect()
}

fn hosts(list: &[&str]) -> Vec<HostMatch> {
    list.iter().map(|host| HostMatch::parse(host).expect("a host")).collect()
}

fn when(text: &str) -> Option<Expression> {
    let scope = Scope { place: Place::Match, params: &[], env: &BTreeMap::new() };
    Some(Expression::compile(text, &scope).expect("an expression"))
}

fn router(routes: Vec<Conditions>) -> Router {
    Router::build(routes).expect("no conflicts")
}

/// Looks `METHOD /path` up and gives the route's index with what it captured, or the refusal.
fn look_up(router: &Router, line: &str, host: &str, headers: &[(&str, &str)]) -> String {
    let mut asked = testkit::asked(line);
    asked.origin.host = host.to_owned();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        asked.headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let normal = normalise(&asked.path).expect("a path").path.into_owned();
    asked.path = normal;
    match router.find(&asked.facts("")) {
        Outcome::Found { route, params } => {
            let params: Vec<_> = params.iter().map(|(name, value)| format!(" {name}={value}")).collect();
            format!("{route}{}", params.concat())
        }
        Outcome::NotFound => "404".to_owned(),
        Outcome::MethodNotAllowed { allow } => {
            format!("405 {}", allow.iter().map(Method::as_str).collect::<Vec<_>>().join(","))
        }
    }
}

fn check(router: &Router, cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        assert_eq!(look_up(router, line, "a.example", &[]), *expected, "{line}");
    }
}

#[test]
fn the_forms_of_a_path_take_what_they_say() {
    let router = router(vec![
        path("/orders"),
        path("/orders/{id}"),
        path("/orders/{id}:cancel"),
        path("/files/{*path}"),
        path("/beneath/**"),
        Conditions { path: Some(PathMatch::regex("/v(?P<n>[0-9]+)/.*").expect("a regex")), ..open() },
        Conditions { path: Some(PathMatch::raw_prefix("/raw").expect("a prefix")), ..open() },
        path("/caf\u{e9}/{x}/end"),
    ]);
    check(
        &router,
        &[
            ("GET /orders", "0"),
            ("GET /orders/", "404"),
            ("GET /orders/a%20b", "1 id=a b"),
            ("GET /orders/7:cancel", "2 id=7"),
            ("GET /orders/:cancel", "1 id=:cancel"),
            ("GET /orders/7/8", "404"),
            ("GET /files", "404"),
            ("GET /files/", "404"),
            ("GET /files/a", "3 path=a"),
            ("GET /files/a/b/", "3 path=a/b/"),
            ("GET /beneath", "4"),
            ("GET /beneath/", "4"),
            ("GET /beneath/a/b", "4"),
            ("GET /beneathy", "404"),
            ("GET /v12/x", "5 n=12"),
            ("GET /xv12/x", "404"),
            ("GET /rawhide", "6"),
            ("GET /caf%c3%a9/1/end", "7 x=1"),
            ("GET /Orders", "404"),
            ("OPTIONS *", "404"),
        ],
    );
}

#[test]
fn the_more_specific_path_wins_whatever_the_order() {
    let texts = ["/**", "/a/**", "/a/{x}", "/a/{x}:y", "/a/b", "/a/{x}/c", "/a/b/**", "/{x}/b", "/a/{*rest}"];
    for turn in 0..texts.len() {
        let mut turned = texts;
        turned.rotate_left(turn);
        let router = router(turned.iter().map(|text| path(text)).collect());
        for (line, expected) in [
            ("GET /a/b", "/a/b"),
            ("GET /a/z:y", "/a/{x}:y"),
            ("GET /a/z", "/a/{x}"),
            ("GET /a/b/c", "/a/b/**"),
            ("GET /a/z/c", "/a/{x}/c"),
            ("GET /a/z/z", "/a/{*rest}"),
            ("GET /a", "/a/**"),
            ("GET /z/b", "/{x}/b"),
            ("GET /z", "/**"),
        ] {
            let found = look_up(&router, line, "a.example", &[]);
            let index: usize = found.split(' ').next().and_then(|index| index.parse().ok()).expect("a route");
            assert_eq!(turned[index], expected, "{line}, turned by {turn}");
        }
    }
}

#[test]
fn hosts_come_before_paths_and_the_exact_before_the_longest_wildcard() {
    let router = router(vec![
        path("/a/b"),
        Conditions { hosts: hosts(&["*.example.com"]), ..path("/**") },
        Conditions { hosts: hosts(&["*.shop.example.com"]), ..path("/**") },
        Conditions { hosts: hosts(&["api.shop.example.com"]), ..path("/**") },
        Conditions { hosts: hosts(&["api.shop.example.com:8443"]), ..path("/**") },
    ]);
    for (host, expected) in [
        ("api.shop.example.com", "3"),
        ("api.shop.example.com:9000", "3"),
        ("api.shop.example.com:8443", "4"),
        ("api.shop.example.com.", "3"),
        ("x.y.shop.example.com", "2"),
        ("shop.example.com", "1"),
        ("example.com", "0"),
        ("other", "0"),
    ] {
        assert_eq!(look_up(&router, "GET /a/b", host, &[]), expected, "{host}");
    }
}

#[test]
fn a_more_specific_route_whose_headers_do_not_hold_leaves_the_request_to_the_next() {
    let header = |value: ValueMatch| vec![(HeaderName::from_static("x-v"), value)];
    let router = router(vec![
        path("/a"),
        Conditions { headers: header(ValueMatch::Exact("1".into())), ..path("/a") },
        Conditions { headers: header(ValueMatch::regex("[23]").expect("a regex")), ..path("/a") },
        Conditions { query: vec![("q".into(), ValueMatch::Present)], ..path("/a") },
        Conditions { when: when("request.headers['x-v'] == '9'"), ..path("/a") },
        Conditions { precedence: 1, when: when("request.method == 'PUT'"), ..path("/**") },
        Conditions { precedence: -1, ..open() },
    ]);
    for (line, value, expected) in [
        ("GET /a", "1", "1"),
        ("GET /a", "3", "2"),
        ("GET /a", "34", "0"),
        ("GET /a?q", "0", "3"),
        ("GET /a?q", "1", "1"),
        ("GET /a", "9", "4"),
        ("PUT /a", "1", "5"),
        ("GET /zzz", "1", "6"),
    ] {
        assert_eq!(look_up(&router, line, "h", &[("x-v", value)]), expected, "{line} {value}");
    }
    assert_eq!(
        look_up(&router, "GET /a", "h", &[("x-v", "1"), ("x-v", "2")]),
        "0",
        "a repeated header is its values joined"
    );
}

#[test]
fn methods_are_told_and_head_goes_to_get() {
    let router = router(vec![
        Conditions { methods: methods(&["GET"]), ..path("/a") },
        Conditions { methods: methods(&["POST", "PUT"]), ..path("/a") },
        Conditions { methods: methods(&["GET"]), ..path("/b") },
        Conditions { methods: methods(&["HEAD"]), ..path("/b") },
    ]);
    check(
        &router,
        &[
            ("GET /a", "0"),
            ("HEAD /a", "0"),
            ("PUT /a", "1"),
            ("DELETE /a", "405 GET,HEAD,POST,PUT"),
            ("HEAD /b", "3"),
            ("GET /b", "2"),
            ("GET /c", "404"),
        ],
    );
}

#[test]
fn routes_that_never_take_a_request_are_told() {
    let build = |routes: Vec<Conditions>| Router::build(routes).err().unwrap_or_default();
    let conflict = [Conflict { first: 0, second: 1 }];
    assert_eq!(build(vec![path("/a/{x}"), path("/a/{y}")]), conflict);
    assert_eq!(build(vec![open(), open()]), conflict);
    let get = |list: &[&str]| Conditions { methods: methods(list), ..path("/a") };
    assert_eq!(build(vec![get(&["GET", "PUT"]), get(&["PUT"])]), conflict);
    assert_eq!(build(vec![get(&["PUT"]), get(&["GET", "PUT"])]), []);
    assert_eq!(build(vec![path("/a"), Conditions { precedence: 1, ..path("/a") }]), []);
    assert_eq!(build(vec![path("/a"), get(&["GET"])]), []);
    let host = |list: &[&str]| Conditions { hosts: hosts(list), ..path("/a") };
    assert_eq!(build(vec![host(&["a.b", "c.d"]), host(&["c.d"])]), conflict);
    let cel = |text| Conditions { when: when(text), ..path("/a") };
    assert_eq!(build(vec![cel("request.path == '1'"), cel("request.path == '2'")]), []);
    assert_eq!(build(vec![cel("request.path == '1'"), cel("request.path == '1'")]), conflict);
}

#[test]
fn what_is_no_pattern_says_what_would_be_right() {
    for text in [
        "a", "", "/{}", "/{a", "/{a}/{a}", "/x{a}", "/**/a", "/{*a}/b", "/{*}", "/{a b}", "/a//b", "/../a", "/%zz",
        "/{a}{b}",
    ] {
        assert!(PathMatch::parse(text).is_err(), "{text}");
    }
    assert!(PathMatch::regex("a)|(b").is_err());
    assert!(PathMatch::raw_prefix("a").is_err());
}

/// The same rules, in the plainest way: every route that holds, sorted.
fn naive(routes: &[Conditions], facts: &crate::expression::Facts<'_>) -> Option<usize> {
    let host_rank = |route: &Conditions| {
        if route.hosts.is_empty() {
            return Some((0, 0, false));
        }
        let (name, port) =
            facts.host.split_once(':').map_or((facts.host, None), |(name, port)| (name, port.parse().ok()));
        let fits = |host: &&HostMatch| {
            let own = if host.wildcard { name.ends_with(&format!(".{}", host.name)) } else { name == host.name };
            own && (host.port.is_none() || host.port == port)
        };
        let rank = |host: &HostMatch| (if host.wildcard { 1 } else { 2 }, host.name.len(), host.port.is_some());
        route.hosts.iter().filter(fits).map(rank).max()
    };
    let path_fits = |route: &Conditions| {
        let mut only = trie::Trie::default();
        only.insert(route.path.as_ref(), 0);
        let mut fits = false;
        only.visit(facts.path, &mut |_| fits = true);
        fits
    };
    let rank = |(index, route): (usize, &Conditions)| {
        let host = host_rank(route)?;
        let holds = path_fits(route) && route.take(facts.method) && route.hold(facts);
        let path = route.path.as_ref().map(PathMatch::specificity);
        let others = (!route.methods.is_empty(), route.headers.len(), route.query.len());
        holds.then_some((
            route.precedence,
            host,
            path,
            others,
            route.methods.contains(facts.method),
            std::cmp::Reverse(index),
        ))
    };
    routes.iter().enumerate().filter_map(rank).max().map(|(.., std::cmp::Reverse(index))| index)
}

fn a_route() -> impl Strategy<Value = Conditions> {
    let paths = prop::sample::select(vec![
        "",
        "/",
        "/a",
        "/a/",
        "/a/b",
        "/{x}",
        "/a/{x}",
        "/{x}/b",
        "/a/**",
        "/**",
        "/{x}:c",
        "/a/{*r}",
        "re:/a.*",
        "re:/[ab]+",
        "raw:/a",
        "raw:/a/",
    ]);
    let some_methods = prop::sample::subsequence(vec!["GET", "HEAD", "POST"], 0..3);
    let some_hosts = prop::sample::subsequence(vec!["x.y.z", "*.y.z", "*.z", "x.y.z:1"], 0..3);
    (paths, some_methods, some_hosts, any::<Option<bool>>(), any::<bool>(), -1i64..2).prop_map(
        |(text, list, host, header, query, precedence)| Conditions {
            path: match text.split_once(':') {
                Some(("re", regex)) => Some(PathMatch::regex(regex).expect("a regex")),
                Some(("raw", prefix)) => Some(PathMatch::raw_prefix(prefix).expect("a prefix")),
                _ if text.is_empty() => None,
                _ => Some(PathMatch::parse(text).expect("a path")),
            },
            methods: methods(&list),
            hosts: hosts(&host),
            headers: header
                .map(|one| {
                    (
                        HeaderName::from_static("x-v"),
                        if one { ValueMatch::Exact("1".into()) } else { ValueMatch::Present },
                    )
                })
                .into_iter()
                .collect(),
            query: if query { vec![("q".to_owned(), ValueMatch::Exact("1".into()))] } else { Vec::new() },
            when: None,
            precedence,
        },
    )
}

proptest! {
    #[test]
    fn the_router_finds_what_a_naive_scan_finds(
        routes in prop::collection::vec(a_route(), 0..12),
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT"]),
        target in "/([abc:]{0,2}/?){0,3}(\\?q=[12])?",
        host in prop::sample::select(vec!["x.y.z", "x.y.z:1", "w.y.z", "v.z", "z", "other"]),
        value in prop::sample::select(vec!["", "1", "2"]),
    ) {
        let mut asked = testkit::asked(&format!("{method} {target}"));
        asked.path = normalise(&asked.path).expect("a path").path.into_owned();
        asked.origin.host = host.to_owned();
        if !value.is_empty() {
            asked.headers.insert("x-v", HeaderValue::from_static(value));
        }
        let facts = asked.facts("");
        let expected = naive(&routes, &facts);
        let Ok(router) = Router::build(routes) else { return Ok(()) };
        let found = match router.find(&facts) {
            Outcome::Found { route, .. } => Some(route),
            Outcome::NotFound | Outcome::MethodNotAllowed { .. } => None,
        };
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_look_up_costs_the_same_among_ten_thousand_routes() {
    let build = |count: usize| {
        let text = |n: usize| match n % 4 {
            0 => format!("/svc{n}/orders"),
            1 => format!("/svc{n}/orders/{{id}}"),
            2 => format!("/svc{n}/**"),
            _ => format!("/svc{n}/{{a}}/items/{{b}}"),
        };
        router((0..count).map(|n| path(&text(n))).collect())
    };
    let few = build(100);
    let many = build(10_000);
    let asked = testkit::asked("GET /svc41/orders/7");
    let params = Params::default();
    let facts = crate::expression::Facts { params: &params, ..asked.facts("") };
    let time = |router: &Router| {
        let rounds = (0..7).map(|_| {
            let begun = Instant::now();
            for _ in 0..2_000 {
                assert!(matches!(std::hint::black_box(router.find(&facts)), Outcome::Found { route: 41, .. }));
            }
            begun.elapsed()
        });
        rounds.min().expect("rounds")
    };
    let (few, many) = (time(&few), time(&many));
    assert!(many < few * 3, "{few:?} for 2,000 look-ups among 100 routes, {many:?} among 10,000");
}

/// The matching of the conformance cases: a route's index stands for its backend.
#[test]
fn gateway_apis_conformance_cases_are_matched() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/routing/gateway-api.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("SKIPPED: no vectors beside the checkout, Gateway API's cases were not run");
        return;
    };
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let (mut ran, mut wrong) = (0, Vec::new());
    for test in vectors["tests"].as_array().expect("tests") {
        let Some((routes, backends)) = conformance_routes(test) else { continue };
        let Ok(router) = Router::build(routes) else { continue };
        // Listeners are no part of a config here; and HEAD goes to a route for GET (config.md), where theirs is a 404.
        if test["test"].as_str().is_some_and(|name| name.contains("Listener")) {
            continue;
        }
        for case in test["cases"].as_array().expect("cases") {
            let Some((line, host, headers)) = conformance_request(case) else { continue };
            if line.starts_with("HEAD ") {
                continue;
            }
            let expected = case["expected"]["backend"].as_str();
            let missing =
                case["expected"]["status"].as_array().is_some_and(|statuses| statuses.contains(&Value::from(404)));
            if expected.is_none() && !missing {
                continue;
            }
            ran += 1;
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let found = look_up(&router, &line, &host, &headers);
            let backend = found
                .split(' ')
                .next()
                .and_then(|index| index.parse::<usize>().ok())
                .and_then(|index| backends.get(index));
            let right = match (expected, backend) {
                (Some(expected), Some(found)) => found.iter().any(|found| found.starts_with(expected)),
                (None, None) => true,
                _ => false,
            };
            if !right {
                wrong.push(format!(
                    "{}: {line} {host} {headers:?} expected {expected:?}, found {backend:?}",
                    test["test"]
                ));
            }
        }
    }
    println!("{ran} of Gateway API's conformance cases ran");
    assert!(ran >= 30, "only {ran} cases ran");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

type Backends = Vec<Vec<String>>;

/// The conditions of a test's routes, each match one, in order of age and name; `None` where a route is of another kind.
fn conformance_routes(test: &Value) -> Option<(Vec<Conditions>, Backends)> {
    let (mut routes, mut backends) = (Vec::new(), Vec::new());
    for route in test["routes"].as_array()? {
        if route["kind"] != "HTTPRoute" {
            return None;
        }
        // A route bound to one listener of several inherits its host: gateways are not modelled.
        if test["gateways"].as_array().is_some_and(|gateways| !gateways.is_empty()) {
            return None;
        }
        let spec = &route["spec"];
        let names: Vec<_> = spec["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for rule in spec["rules"].as_array()? {
            let backend: Vec<_> = rule["backendRefs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|backend| backend["name"].as_str().map(str::to_owned))
                .collect();
            let none = vec![serde_json::json!({})];
            for matched in rule["matches"].as_array().unwrap_or(&none) {
                routes.push(conformance_match(matched, &names)?);
                backends.push(backend.clone());
            }
        }
    }
    Some((routes, backends))
}

fn conformance_match(matched: &Value, names: &[&str]) -> Option<Conditions> {
    let value = matched["path"]["value"].as_str().unwrap_or("/");
    let path = match matched["path"]["type"].as_str().unwrap_or("PathPrefix") {
        "Exact" => PathMatch::parse(value),
        "PathPrefix" => PathMatch::parse(&format!("{}/**", value.trim_end_matches('/'))),
        _ => PathMatch::regex(value),
    };
    let of = |matched: &Value| match matched["type"].as_str() {
        Some("RegularExpression") => ValueMatch::regex(matched["value"].as_str()?).ok(),
        _ => Some(ValueMatch::Exact(matched["value"].as_str()?.to_owned())),
    };
    let list = |key: &str| matched[key].as_array().cloned().unwrap_or_default();
    let headers = list("headers")
        .iter()
        .map(|header| Some((HeaderName::from_bytes(header["name"].as_str()?.as_bytes()).ok()?, of(header)?)))
        .collect::<Option<_>>()?;
    let query = list("queryParams")
        .iter()
        .map(|param| Some((param["name"].as_str()?.to_owned(), of(param)?)))
        .collect::<Option<_>>()?;
    Some(Conditions {
        path: Some(path.ok()?),
        methods: matched["method"].as_str().map(|method| methods(&[method])).unwrap_or_default(),
        hosts: hosts(names),
        headers,
        query,
        when: None,
        precedence: 0,
    })
}

/// The request line, the host and the fields of a case.
type CaseRequest = (String, String, Vec<(String, String)>);

fn conformance_request(case: &Value) -> Option<CaseRequest> {
    let request = &case["request"];
    let line = format!("{} {}", request["method"].as_str().unwrap_or("GET"), request["path"].as_str().unwrap_or("/"));
    let host = request["host"].as_str().unwrap_or("a.example").to_ascii_lowercase();
    let headers = request["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    Some((line, host, headers))
}
