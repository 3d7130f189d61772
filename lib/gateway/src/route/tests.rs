//! The router against tables; [`naive`] holds it against a scan, [`conformance`] against Gateway API's cases.

mod conformance;
mod naive;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use tokio::time::Instant;

use super::*;
use crate::expression::{Expression, Place, Scope};
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
        path("/%7Bx%7D%2e/{order-id}.json"),
    ]);
    check(
        &router,
        &[
            ("GET /{x}./7.json", "8 order-id=7"),
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
        ("API.Shop.Example.COM:8443", "4"),
        ("api.shop.example.com:", "3"),
        (".shop.example.com", "0"),
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
fn a_longer_raw_prefix_comes_first_and_below_what_goes_by_segments() {
    let raw = |text| Conditions { path: Some(PathMatch::raw_prefix(text).expect("a prefix")), ..open() };
    let regex = Conditions { path: Some(PathMatch::regex("/.*").expect("a regex")), ..open() };
    let router = router(vec![open(), regex, raw("/ab"), raw("/ab/"), raw("/ab/cd"), path("/ab/**"), path("/ab/{x}/y")]);
    check(
        &router,
        &[
            ("GET /abc", "2"),
            ("GET /ab/x", "5"),
            ("GET /ab/cde", "4"),
            ("GET /ab/cd/y", "4"),
            ("GET /ab/c/y", "6 x=c"),
            ("GET /c", "1"),
        ],
    );
    let router = self::router(vec![raw("/ab"), raw("/ab/"), open()]);
    check(&router, &[("GET /ab", "0"), ("GET /ab/", "1"), ("GET /a", "2"), ("OPTIONS *", "404")]);
}

#[test]
fn more_literal_text_comes_before_a_name_for_the_rest() {
    let router = router(vec![path("/a/{*rest}"), path("/a/{x}/b/**"), path("/a/**")]);
    check(&router, &[("GET /a/1/b/c", "1 x=1"), ("GET /a/1/c", "0 rest=1/c"), ("GET /a/", "2")]);
}

#[test]
fn when_reads_what_the_path_captures() {
    let scope = Scope { place: Place::Match, params: &["order-id".into()], env: &BTreeMap::new() };
    let when = Expression::compile("params['order-id'] == 'a b'", &scope).expect("an expression");
    let router = router(vec![path("/a/{x}"), Conditions { when: Some(when), ..path("/a/{order-id}") }]);
    check(&router, &[("GET /a/a%20b", "1 order-id=a b"), ("GET /a/b", "0 x=b")]);
}

#[test]
fn head_goes_to_a_route_that_names_it_however_much_a_route_for_get_asks() {
    let header = vec![(HeaderName::from_static("x-v"), ValueMatch::Present)];
    let get = |path| Conditions { methods: methods(&["GET"]), ..path };
    let router = router(vec![
        Conditions { headers: header, ..get(path("/a")) },
        Conditions { methods: methods(&["HEAD"]), ..path("/a") },
        get(path("/**")),
        path("/a/**"),
    ]);
    for (line, expected) in [("HEAD /a", "1"), ("GET /a", "0"), ("HEAD /a/b", "3"), ("HEAD /b", "2")] {
        assert_eq!(look_up(&router, line, "h", &[("x-v", "1")]), expected, "{line}");
    }
}

#[test]
fn a_405_names_the_methods_of_routes_of_which_all_else_holds() {
    let regex = PathMatch::regex("/a|/r").expect("a regex");
    let router = router(vec![
        Conditions { methods: methods(&["GET"]), precedence: 2, ..path("/a") },
        Conditions { methods: methods(&["PUT"]), hosts: hosts(&["*.example"]), ..path("/{x}") },
        Conditions { methods: methods(&["PATCH"]), hosts: hosts(&["other"]), ..path("/a") },
        Conditions { methods: methods(&["POST"]), path: Some(regex), ..open() },
        Conditions { methods: methods(&["LINK"]), query: vec![("q".into(), ValueMatch::Present)], ..path("/a") },
    ]);
    check(
        &router,
        &[
            ("DELETE /a", "405 GET,HEAD,POST,PUT"),
            ("DELETE /a?q", "405 GET,HEAD,LINK,POST,PUT"),
            ("DELETE /r", "405 POST,PUT"),
            ("OPTIONS /a", "405 GET,HEAD,POST,PUT"),
            ("DELETE /a/b", "404"),
        ],
    );
    assert_eq!(look_up(&router, "DELETE /r", "h", &[]), "405 POST");
}

#[test]
fn routes_with_equal_conditions_are_told() {
    let build = |routes: Vec<Conditions>| Router::build(routes).err().unwrap_or_default();
    let conflict = [Conflict { first: 0, second: 1 }];
    let get = |list: &[&str]| Conditions { methods: methods(list), ..path("/a") };
    let host = |list: &[&str]| Conditions { hosts: hosts(list), ..path("/a") };
    let cel = |text| Conditions { when: when(text), ..path("/a") };
    let header = |names: [&'static str; 2]| Conditions {
        headers: names.map(|name| (HeaderName::from_static(name), ValueMatch::Present)).to_vec(),
        ..path("/a")
    };
    let raw = |text| Conditions { path: Some(PathMatch::raw_prefix(text).expect("a prefix")), ..open() };
    for routes in [
        [path("/a/{x}"), path("/a/{y}")],
        [path("/a/{*x}"), path("/a/{*y}")],
        [path("/caf\u{e9}/~"), path("/caf%c3%a9/%7E")],
        [raw("/caf\u{e9}"), raw("/caf%c3%a9")],
        [open(), open()],
        [open(), path("/**")],
        [get(&["GET", "PUT"]), get(&["PUT"])],
        [get(&["PUT"]), get(&["GET", "PUT"])],
        [host(&["a.b", "c.d"]), host(&["C.d", "e.f"])],
        [header(["x-a", "x-b"]), header(["x-b", "x-a"])],
        [cel("request.path == '1'"), cel("request.path == '1'")],
    ] {
        let shown = format!("{routes:?}");
        assert_eq!(build(routes.into()), conflict, "{shown}");
    }
    for routes in [
        [path("/a"), Conditions { precedence: 1, ..path("/a") }],
        [path("/a"), path("/a/")],
        [path("/a/{x}"), path("/a/{x}:y")],
        [path("/a"), get(&["GET"])],
        [get(&["GET"]), get(&["HEAD"])],
        [get(&["GET", "GET"]), get(&["PUT"])],
        [host(&["a.b"]), host(&["*.a.b"])],
        [host(&["a.b"]), host(&["a.b:80"])],
        [host(&["a.b"]), path("/a")],
        [cel("request.path == '1'"), cel("request.path == '2'")],
        [cel("request.path == '1'"), path("/a")],
    ] {
        let shown = format!("{routes:?}");
        assert_eq!(build(routes.into()), [], "{shown}");
    }
    let all = build(vec![path("/a"), path("/b"), path("/b"), path("/a"), path("/a")]);
    let pairs: Vec<_> = all.iter().map(|conflict| (conflict.first, conflict.second)).collect();
    assert_eq!(pairs, [(1, 2), (0, 3), (0, 4)]);
}

#[test]
fn what_is_no_pattern_says_what_would_be_right() {
    for (text, words) in [
        ("a", "must start with `/`"),
        ("", "must start with `/`"),
        ("/{}", "captures \"\", which is no name"),
        ("/{a b}", "captures \"a b\", which is no name"),
        ("/{*}", "captures \"\", which is no name"),
        ("/{a", "without its `}`"),
        ("/{*a", "must end with `}`"),
        ("/{*a}.json", "must end with `}`"),
        ("/{a}/{a}", "captures `a` twice"),
        ("/{a}/{*a}", "captures `a` twice"),
        ("/x{a}", "as in `{id}:cancel`"),
        ("/{a}{b}", "as in `{id}:cancel`"),
        ("/a}", "as in `{id}:cancel`"),
        ("/**/a", "has `**` before its end"),
        ("/{*a}/b", "has `{*a}` before its end"),
        ("/a/*", "write `{name}` for one segment"),
        ("/a**", "write `{name}` for one segment"),
        ("/a//b", "two slashes together"),
        ("/../a", "a dot segment"),
        ("/a/%2E", "a dot segment"),
        ("/%zz", "a broken escape"),
        ("/%00", "a NUL"),
        ("/a?b=c", "stand under `query`"),
    ] {
        let why = PathMatch::parse(text).expect_err(text);
        assert!(why.contains(words), "{text} {why}");
    }
    assert!(PathMatch::regex("a)|(b").is_err());
    for text in ["a", "/%", "/a?b"] {
        assert!(PathMatch::raw_prefix(text).is_err(), "{text}");
    }
}

/// Whether finding the route 41 takes as long among many routes as among few: the best of many short rounds, in turns,
/// so that what else the machine does falls on both.
fn check_equal_cost([few, many]: [Vec<Conditions>; 2], line: &str, host: &str) {
    let mut asked = testkit::asked(line);
    asked.origin.host = host.to_owned();
    let facts = asked.facts("");
    let routers = [router(few), router(many)];
    let mut best = [Duration::MAX; 2];
    for _ in 0..60 {
        for (router, best) in routers.iter().zip(&mut best) {
            let begun = Instant::now();
            for _ in 0..100 {
                let found = std::hint::black_box(router.find(&facts));
                assert!(matches!(found, Outcome::Found { route: 41, .. }));
            }
            *best = begun.elapsed().min(*best);
        }
    }
    let [few, many] = best;
    println!("{line} {host}: 100 look-ups among few routes {few:?}, among many {many:?}");
    assert!(many < few * 3, "{line} {host}: {few:?} among few routes, {many:?} among many");
}

#[test]
fn a_look_up_costs_the_same_among_ten_thousand_routes() {
    let by_path = |n: usize| {
        path(&match n % 4 {
            0 => format!("/svc{n}/orders"),
            1 => format!("/svc{n}/orders/{{id}}"),
            2 => format!("/svc{n}/**"),
            _ => format!("/svc{n}/{{a}}/items/{{b}}"),
        })
    };
    let by_name = |n: usize| path(&format!("/orders/{{id}}/action{n}"));
    let by_host = |n: usize| Conditions { hosts: hosts(&[&format!("*.t{n}.example")]), ..path("/**") };
    let by_precedence = |n: usize| Conditions { precedence: i64::from(n.is_multiple_of(2)), ..by_path(n) };
    type Kind<'a> = (&'a dyn Fn(usize) -> Conditions, usize, &'a str, &'a str);
    let kinds: [Kind<'_>; 4] = [
        (&by_path, 10_000, "GET /svc41/orders/7", "a.example"),
        (&by_name, 2_000, "GET /orders/7/action41", "a.example"),
        (&by_host, 2_000, "GET /orders/7", "api.t41.example"),
        (&by_precedence, 2_000, "GET /svc41/orders/7", "a.example"),
    ];
    for (route, many, line, host) in kinds {
        check_equal_cost([100, many].map(|count| (0..count).map(route).collect()), line, host);
    }
}

#[test]
fn an_exact_path_is_not_held_against_regexes() {
    let route = |n: usize| match n {
        41 => path("/a/b"),
        _ => Conditions { path: Some(PathMatch::regex(&format!("/[a-z]+{n}/.*")).expect("a regex")), ..open() },
    };
    check_equal_cost([42, 150].map(|count| (0..count).map(route).collect()), "GET /a/b", "h");
}
