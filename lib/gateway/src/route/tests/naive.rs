//! The router against the same rules in the plainest way: read every route's text, keep those that hold, sort.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use http::{HeaderName, HeaderValue, Method};
use proptest::prelude::*;

use super::super::{Conditions, HostMatch, Outcome, PathMatch, Router, ValueMatch, normalise};
use super::{hosts, methods, when};
use crate::expression::Facts;
use crate::testkit;

/// A route beside its path as written.
#[derive(Debug)]
struct Written {
    path: &'static str,
    conditions: Conditions,
}

const PATHS: &[&str] = &[
    "",
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/{x}",
    "/{x}/",
    "/a/{x}",
    "/{x}/b",
    "/a/{x}/b",
    "/{x}/{y}",
    "/a/**",
    "/a/{x}/**",
    "/**",
    "/{x}:c",
    "/{x}b",
    "/a/{*r}",
    "/{*r}",
    "/{x}/{*r}",
    "re:/a.*",
    "re:/[ab]+",
    "raw:/",
    "raw:/a",
    "raw:/a/",
    "raw:/a/b",
];

/// Whether a path as written takes the path of a request.
fn takes(written: &str, path: &str) -> bool {
    match written {
        "" => true,
        "re:/a.*" => path.starts_with("/a"),
        "re:/[ab]+" => path.len() > 1 && path[1..].chars().all(|c| matches!(c, 'a' | 'b')),
        _ => match written.strip_prefix("raw:") {
            Some(prefix) => path.starts_with(prefix),
            None => {
                segments_take(&written[1..].split('/').collect::<Vec<_>>(), &path[1..].split('/').collect::<Vec<_>>())
            }
        },
    }
}

fn segments_take(written: &[&str], path: &[&str]) -> bool {
    match (written, path) {
        (["**"], _) | ([], []) => true,
        (["{*r}"], path) => path.iter().any(|segment| !segment.is_empty()),
        ([first, written @ ..], [segment, path @ ..]) => {
            let fits = match first.split_once('}') {
                Some((_, suffix)) => segment.len() > suffix.len() && segment.ends_with(suffix),
                None => first == segment,
            };
            fits && segments_take(written, path)
        }
        _ => false,
    }
}

/// How specific a path as written is: exact; the literal prefix; captures, `**`, raw; the more literal text.
fn specificity(written: &str) -> (u8, usize, u8, usize, bool) {
    if let Some(prefix) = written.strip_prefix("raw:") {
        return (2, prefix.trim_end_matches('/').len(), 0, prefix.len(), false);
    }
    if written.is_empty() || written.starts_with("re:") {
        return (u8::from(!written.is_empty()), 0, 0, 0, false);
    }
    let rest = written.ends_with("/**") || written.ends_with("/{*r}");
    let fixed = if rest { written.rsplit_once('/').map_or("", |(fixed, _)| fixed) } else { written };
    let open = fixed.contains('{');
    let prefix = fixed.split_once("/{").map_or(fixed, |(prefix, _)| prefix);
    let text = fixed
        .split('/')
        .skip(1)
        .map(|segment| segment.split_once('}').map_or(segment.len() + 2, |(_, suffix)| suffix.len() + 1))
        .sum();
    let class = if open || rest { 2 } else { 3 };
    (class, prefix.len(), if rest { 1 } else { 2 }, text, written.ends_with("/{*r}"))
}

/// The best of the route's hosts that fits: exact over wildcard over none, the longer, with a port over without.
fn host_rank(hosts: &[HostMatch], host: &str) -> Option<(u8, usize, bool)> {
    if hosts.is_empty() {
        return Some((0, 0, false));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, port.parse::<u16>().ok()));
    let ranks = hosts.iter().filter_map(|written| {
        let text = written.show();
        let (text, own_port) =
            text.split_once(':').map_or((text.as_str(), None), |(text, port)| (text, port.parse::<u16>().ok()));
        let fits = match text.strip_prefix('*') {
            Some(ending) => name.len() > ending.len() && name.ends_with(ending),
            None => name == text,
        };
        let fits = fits && (own_port.is_none() || own_port == port);
        fits.then_some((if text.starts_with('*') { 1 } else { 2 }, text.len(), own_port.is_some()))
    });
    ranks.max()
}

/// The route, or the methods of a 405, or nothing.
fn naive(routes: &[Written], facts: &Facts<'_>) -> Result<usize, Option<Vec<String>>> {
    let mut best = None;
    let mut allow = BTreeSet::new();
    for (index, Written { path, conditions }) in routes.iter().enumerate() {
        let Some(host) = host_rank(&conditions.hosts, facts.host) else { continue };
        if !takes(path, facts.path) || !conditions.hold(facts) {
            continue;
        }
        let named = conditions.methods.contains(facts.method);
        let head = *facts.method == Method::HEAD;
        if !(conditions.methods.is_empty() || named || head && conditions.methods.contains(&Method::GET)) {
            allow.extend(conditions.methods.iter().map(Method::to_string));
            continue;
        }
        let rank = (
            conditions.precedence,
            host,
            specificity(path),
            (!conditions.methods.is_empty(), head && named),
            (conditions.headers.len(), conditions.query.len(), conditions.when.is_some()),
            Reverse(index),
        );
        best = best.max(Some(rank));
    }
    if allow.contains("GET") {
        allow.insert("HEAD".to_owned());
    }
    match best {
        Some((.., Reverse(index))) => Ok(index),
        None if allow.is_empty() => Err(None),
        None => Err(Some(allow.into_iter().collect())),
    }
}

fn found(router: &Router, facts: &Facts<'_>) -> Result<usize, Option<Vec<String>>> {
    match router.find(facts) {
        Outcome::Found { route, .. } => Ok(route),
        Outcome::NotFound => Err(None),
        Outcome::MethodNotAllowed { allow } => Err(Some(allow.iter().map(Method::to_string).collect())),
    }
}

fn a_route() -> impl Strategy<Value = Written> {
    let some_methods = prop::sample::subsequence(vec!["GET", "HEAD", "POST"], 0..3);
    let some_hosts = prop::sample::subsequence(vec!["x.y.z", "*.y.z", "*.z", "x.y.z:1", "*.z:1"], 0..3);
    let header = prop::option::of(prop::sample::select(vec![ValueMatch::Exact("1".into()), ValueMatch::Present]));
    let condition =
        prop::option::weighted(0.2, prop::sample::select(vec!["request.method == 'GET'", "request.path == '/a'"]));
    let others = (header, any::<bool>(), condition);
    (prop::sample::select(PATHS), some_methods, some_hosts, others, -1i64..2).prop_map(
        |(text, list, host, (header, query, condition), precedence)| Written {
            path: text,
            conditions: Conditions {
                path: match text.split_once(':') {
                    Some(("re", regex)) => Some(PathMatch::regex(regex).expect("a regex")),
                    Some(("raw", prefix)) => Some(PathMatch::raw_prefix(prefix).expect("a prefix")),
                    _ if text.is_empty() => None,
                    _ => Some(PathMatch::parse(text).expect("a path")),
                },
                methods: methods(&list),
                hosts: hosts(&host),
                headers: header.map(|value| (HeaderName::from_static("x-v"), value)).into_iter().collect(),
                query: if query { vec![("q".to_owned(), ValueMatch::Exact("1".into()))] } else { Vec::new() },
                when: condition.and_then(when),
                precedence,
            },
        },
    )
}

/// Those that do not conflict with one before.
fn without_conflicts(mut routes: Vec<Written>) -> (Vec<Written>, Router) {
    loop {
        let (paths, conditions): (Vec<_>, Vec<_>) =
            routes.into_iter().map(|route| (route.path, route.conditions)).unzip();
        let again = |conditions: &Conditions| Conditions {
            path: conditions.path.clone(),
            methods: conditions.methods.clone(),
            hosts: conditions.hosts.clone(),
            headers: conditions.headers.clone(),
            query: conditions.query.clone(),
            when: conditions.when.as_ref().and_then(|condition| when(condition.source())),
            precedence: conditions.precedence,
        };
        let built = Router::build(conditions.iter().map(again).collect());
        routes = paths.into_iter().zip(conditions).map(|(path, conditions)| Written { path, conditions }).collect();
        match built {
            Ok(router) => return (routes, router),
            Err(conflicts) => {
                let late: BTreeSet<_> = conflicts.iter().map(|conflict| conflict.second).collect();
                let mut index = 0..;
                routes.retain(|_| index.next().is_some_and(|index| !late.contains(&index)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_router_finds_what_a_naive_scan_finds(
        routes in prop::collection::vec(a_route(), 0..16),
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT"]),
        target in "/(([abc]{0,2}|[ab]:c|:c)/?){0,3}(\\?q=[12])?",
        host in prop::sample::select(vec!["x.y.z", "x.y.z:1", "w.y.z", "v.z", "v.z:1", "z", "other"]),
        value in prop::sample::select(vec!["", "1", "2"]),
    ) {
        let (routes, router) = without_conflicts(routes);
        let mut asked = testkit::asked(&format!("{method} {target}"));
        asked.path = normalise(&asked.path).expect("a path").path.into_owned();
        asked.origin.host = host.to_owned();
        if !value.is_empty() {
            asked.headers.insert("x-v", HeaderValue::from_static(value));
        }
        let facts = asked.facts("");
        prop_assert_eq!(found(&router, &facts), naive(&routes, &facts));
    }
}
