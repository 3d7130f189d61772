//! Splits as users meet them: who lands where, whatever is restarted, deployed or changed beside them.

use http::header::COOKIE;
use proptest::prelude::*;

use super::*;
use crate::forward::split::{Drawn, DrawnBy};

/// A config with one split over upstreams b0, b1 and so on, and other routes before and after it.
fn config(route: &str, sticky: &str, weights: &[u32], before: &str, after: &str) -> String {
    let upstreams: String =
        (0..weights.len()).map(|n| format!("  b{n}: {{targets: \"http://b{n}.internal\"}}\n")).collect();
    let entries: Vec<_> =
        weights.iter().enumerate().map(|(n, weight)| format!("{{upstream: b{n}, weight: {weight}}}")).collect();
    format!(
        "version: 1\nupstreams:\n{upstreams}defaults: {{auth: none}}\nroutes:\n{before}\
         \x20 - {{name: {route}, match: {{path: \"/s/{{user}}\"}}, to: {{split: [{}], sticky: \"{sticky}\"}}}}\n{after}",
        entries.join(", ")
    )
}

/// A request of a user, who is named in the query.
fn for_user(user: &str) -> Request {
    let mut request = request("GET /s/x");
    let encoded: String = user.bytes().map(|byte| format!("%{byte:02x}")).collect();
    request.query = Some(format!("user={encoded}"));
    request
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

async fn drawn(gateway: &Gateway, request: Request) -> Drawn {
    let served = gateway.handle(request).await;
    let drawn = served.exchange.drawn.expect("the route has a split");
    assert_eq!(served.exchange.upstream.as_deref(), Some(format!("b{}", drawn.branch).as_str()));
    drawn
}

/// The branches of many users, each asked with another seed and id.
async fn branches(config: &str, users: &[String], seed: u64) -> Vec<usize> {
    let (gateway, _) = gateway(config);
    let mut branches = Vec::new();
    for (nth, user) in users.iter().enumerate() {
        let mut request = for_user(user);
        request.origin.seed = seed.wrapping_add(nth as u64);
        request.origin.id = format!("id-{seed}-{nth}");
        branches.push(drawn(&gateway, request).await.branch);
    }
    branches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_subject_stays_on_its_branch_over_restarts_and_environments(
        users in proptest::collection::vec("\\PC{1,12}", 1..8),
        weights in proptest::collection::vec(1u32..100, 2..5),
        seeds: (u64, u64),
    ) {
        let config = config("route", "request.query.user", &weights, "", "");
        let (one, other) = wait(async {
            (branches(&config, &users, seeds.0).await, branches(&config, &users, seeds.1).await)
        });
        prop_assert_eq!(one, other);
    }
}

#[tokio::test]
async fn other_routes_their_order_and_the_upstreams_addresses_move_nobody() {
    let users: Vec<_> = (0..200).map(|nth| format!("user-{nth}")).collect();
    let weights = [50, 30, 20];
    let plain = config("route", "request.query.user", &weights, "", "");
    let placed = branches(&plain, &users, 1).await;
    let (one, two) = (
        "  - {name: one, match: {path: /one}, to: {split: [{upstream: b0}, {upstream: b1}], sticky: request.ip}}\n",
        "  - {name: two, match: {path: /two}, timeout: 1s, to: b2}\n",
    );
    for (before, after) in [(one, ""), ("", one), (one, two), (two, one)] {
        let changed = config("route", "request.query.user", &weights, before, after)
            .replace("version: 1", "version: 1\nname: other-name")
            .replace(".internal", ".elsewhere:8443/v2");
        assert_eq!(branches(&changed, &users, 2).await, placed, "{before}{after}");
    }
    let renamed = config("renamed", "request.query.user", &weights, "", "");
    assert_ne!(branches(&renamed, &users, 1).await, placed, "one user need not land on the same side of every split");
}

/// Made apart from this code, from the contract: SHA-256 over (route, subject), each before it its length in 8 bytes,
/// big-endian; the first 8 bytes of it as a share of the sum of the weights. No version may move a user.
#[tokio::test]
async fn the_branches_of_these_subjects_never_change() {
    let users = ["ada", "grace", "alan", "edsger", "barbara", "user-1042", "10.1.2.3", "Zoë", "a b"].map(str::to_owned);
    for (route, weights, golden) in [
        ("checkout", &[50, 30, 20][..], [1, 2, 0, 0, 1, 0, 0, 2, 1]),
        ("checkout", &[95, 5], [0, 0, 0, 0, 0, 0, 0, 1, 0]),
        ("search", &[50, 30, 20], [0, 1, 0, 0, 1, 0, 0, 1, 1]),
    ] {
        let config = config(route, "request.query.user", weights, "", "");
        assert_eq!(branches(&config, &users, 7).await, golden, "{route} {weights:?}");
    }
}

#[tokio::test]
async fn a_subject_is_whatever_cel_makes_of_the_request() {
    let (header, cookie) = ("request.headers['x-user']", "request.cookies.sid");
    let ip: fn(&mut Request) = |request| request.origin.ip = [10, 0, 0, 9].into();
    let with_header: fn(&mut Request) =
        |request| drop(request.headers.insert("x-user", HeaderValue::from_static("ada")));
    let with_cookie: fn(&mut Request) =
        |request| drop(request.headers.insert(COOKIE, HeaderValue::from_static("a=b; sid=ada")));
    let both = "request.query.n == '2' ? params.user + request.method : 'other'";
    for (sticky, path, change, subject) in [
        (header, "/s/x", with_header, Some("ada")),
        (header, "/s/x", ip, None),
        (cookie, "/s/x", with_cookie, Some("ada")),
        (cookie, "/s/x", ip, None),
        ("request.query.user", "/s/x?user=a%20b", ip, Some("a b")),
        ("params.user", "/s/ad%61", ip, Some("ada")),
        ("request.ip", "/s/x", ip, Some("10.0.0.9")),
        ("request.host", "/s/x", ip, Some("api.example.com")),
        (both, "/s/ada?n=2", ip, Some("adaGET")),
        ("string(int(request.query.n) / 10)", "/s/x?n=57", ip, Some("5")),
        ("string(int(request.query.n) / 10)", "/s/x?n=none", ip, None),
        // The public has no id.
        ("caller.id", "/s/x", ip, None),
        ("caller.via + '/' + request.ip", "/s/x", ip, Some("none/10.0.0.9")),
    ] {
        let (gateway, _) = gateway(&config("route", sticky, &[1, 1], "", ""));
        let mut asked = request(&format!("GET {path}"));
        change(&mut asked);
        let by = subject.map_or(DrawnBy::NoSubject, |subject| DrawnBy::Subject(subject.to_owned()));
        assert_eq!(drawn(&gateway, asked).await.by, by, "{sticky} of {path}");
    }
}

#[tokio::test]
async fn without_a_subject_requests_are_drawn_by_weight() {
    let (gateway, _) = gateway(&config("route", "request.query.user", &[80, 0, 20], "", ""));
    let mut counts = [0; 3];
    for seed in 0..1000 {
        let mut request = request("GET /s/x");
        request.origin.seed = seed;
        counts[drawn(&gateway, request).await.branch] += 1;
    }
    assert_eq!(counts[1], 0);
    assert!((150..=250).contains(&counts[2]), "{counts:?}");
}

#[tokio::test]
async fn an_entry_of_a_split_has_its_own_rewriting_within_its_routes() {
    let mut answer = Response::empty(StatusCode::NOT_FOUND);
    answer.headers.insert("x-from", HeaderValue::from_static("upstream"));
    let again = || Ok(Response { status: answer.status, headers: answer.headers.clone(), body: Body::Empty });
    let scripted = Scripted { answers: Mutex::new([again(), again()].into()), ..Scripted::default() };
    let (gateway, upstream) = gateway_with(
        "version: 1
upstreams: {old: {targets: \"http://old.internal\"}, new: {targets: \"http://new.internal\"}}
routes:
  - name: orders
    auth: none
    match: {path: /api/**}
    request: {strip_prefix: /api, headers: {set: {x-branch: route, x-route: \"1\"}}}
    response: {headers: {set: {x-seen: \"${response.status} ${response.headers['x-from']}\"}}}
    to:
      split:
        - {upstream: old, weight: 0}
        - upstream: new
          request: {add_prefix: /v2, method: POST, host: n.example, headers: {set: {x-branch: entry}}, query: {remove: [debug]}}
          response: {headers: {set: {x-from: entry}}, status: {404: 204}}
",
        scripted,
    );
    let served = gateway.handle(request("GET /api/7?a=1&debug=1")).await;
    let (line, headers, _) = upstream.sent.lock().unwrap()[0].clone();
    assert_eq!(line, "new.internal:80 POST http://n.example/v2/7?a=1");
    assert_eq!(
        (&headers["x-branch"], &headers["x-route"]),
        (&HeaderValue::from_static("entry"), &HeaderValue::from_static("1"))
    );
    assert_eq!(served.response.status, StatusCode::NO_CONTENT);
    assert_eq!(served.response.headers["x-seen"], "204 entry", "the route sees what its entry made of the answer");
    assert_eq!(served.exchange.drawn, Some(Drawn { branch: 1, by: DrawnBy::Seed }));
}

#[tokio::test]
async fn a_route_to_one_upstream_has_drawn_nothing() {
    let (gateway, _) = gateway(ALL);
    assert_eq!(gateway.handle(request("GET /plain/x")).await.exchange.drawn, None);
}
