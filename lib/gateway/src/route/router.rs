//! From a request to its route: by `precedence`, then by host, then the most specific of those that hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::Method;

use super::conditions::Conditions;
use super::host::{HostMatch, split_port};
use super::trie::Trie;
use crate::expression::{Facts, Params};

/// All routes, ready to be looked up.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Conditions>,
    ranks: Vec<Rank>,
    /// By `precedence`, the highest first.
    levels: Vec<Level>,
}

/// The routes of one precedence.
#[derive(Debug, Default)]
struct Level {
    exact: HashMap<(String, Option<u16>), Trie>,
    wildcards: HashMap<(String, Option<u16>), Trie>,
    any: Trie,
}

/// How specific a route is beside others of its host, the greater the more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    path: Option<(u8, usize, u8, usize)>,
    method: bool,
    headers: usize,
    query: usize,
    when: bool,
}

/// What a look-up found.
#[derive(Debug)]
pub enum Outcome {
    /// A route, by its place in the list, and what its path captured.
    Found {
        /// The index in the list that the router was built of.
        route: usize,
        /// What the path captured.
        params: Params,
    },
    /// None.
    NotFound,
    /// Routes at this path, but none for the method.
    MethodNotAllowed {
        /// The methods that are served here, sorted.
        allow: Vec<Method>,
    },
}

/// Two routes of which the second never takes a request: both, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The one that takes them.
    pub first: usize,
    /// The one that never does.
    pub second: usize,
}

impl Router {
    /// Puts a router together.
    ///
    /// # Errors
    /// Every route that another with equal conditions and equal `precedence` leaves nothing to.
    pub fn build(routes: Vec<Conditions>) -> Result<Self, Vec<Conflict>> {
        let conflicts = conflicts(&routes);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let mut levels: BTreeMap<Reverse<i64>, Level> = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            let level = levels.entry(Reverse(route.precedence)).or_default();
            if route.hosts.is_empty() {
                level.any.insert(route.path.as_ref(), index);
            }
            for HostMatch { name, wildcard, port } in &route.hosts {
                let tries = if *wildcard { &mut level.wildcards } else { &mut level.exact };
                tries.entry((name.clone(), *port)).or_default().insert(route.path.as_ref(), index);
            }
        }
        let ranks = routes.iter().map(Rank::of).collect();
        Ok(Self { routes, ranks, levels: levels.into_values().collect() })
    }

    /// The conditions it was built of.
    pub(crate) fn conditions(&self) -> &[Conditions] {
        &self.routes
    }

    /// The route of a request.
    pub fn find(&self, facts: &Facts<'_>) -> Outcome {
        for level in &self.levels {
            let found = level.tries(facts.host, |trie| self.best(trie, facts));
            if let Some(route) = found {
                let path = self.routes.get(route).and_then(|route| route.path.as_ref());
                return Outcome::Found { route, params: path.map(|path| path.capture(facts.path)).unwrap_or_default() };
            }
        }
        self.not_found(facts)
    }

    /// The most specific route of a trie that holds.
    fn best(&self, trie: &Trie, facts: &Facts<'_>) -> Option<usize> {
        let mut best: Option<(&Rank, bool, Reverse<usize>)> = None;
        trie.visit(facts.path, &mut |index| {
            let (Some(route), Some(rank)) = (self.routes.get(index), self.ranks.get(index)) else { return };
            // A route that names HEAD comes before one that takes it for GET.
            let named = route.methods.contains(facts.method);
            let candidate = (rank, named, Reverse(index));
            if best.as_ref().is_none_or(|best| candidate > *best) && route.take(facts.method) && route.hold(facts) {
                best = Some(candidate);
            }
        });
        best.map(|(_, _, Reverse(index))| index)
    }

    /// 404, or 405 where all but the method of some route holds.
    fn not_found(&self, facts: &Facts<'_>) -> Outcome {
        let mut allow = BTreeSet::new();
        for level in &self.levels {
            level.tries(facts.host, |trie| {
                trie.visit(facts.path, &mut |index| {
                    if let Some(route) = self.routes.get(index)
                        && route.hold(facts)
                    {
                        allow.extend(route.methods.iter().map(Method::as_str));
                    }
                });
                None
            });
        }
        if allow.contains("GET") {
            allow.insert("HEAD");
        }
        if allow.is_empty() {
            return Outcome::NotFound;
        }
        Outcome::MethodNotAllowed { allow: allow.into_iter().filter_map(|method| method.parse().ok()).collect() }
    }
}

impl Level {
    /// Tries the routes of the exact host, of the longest wildcard, the next, and of no host, until one gives a route.
    /// At each step a host with its port written comes first.
    fn tries(&self, host: &str, mut of: impl FnMut(&Trie) -> Option<usize>) -> Option<usize> {
        if !self.exact.is_empty() || !self.wildcards.is_empty() {
            let (name, port) = split_port(host).unwrap_or((host, None));
            let mut at = |tries: &HashMap<(String, Option<u16>), Trie>, name: &str| {
                let with_port = port.and_then(|port| tries.get(&(name.to_owned(), Some(port)))).and_then(&mut of);
                with_port.or_else(|| tries.get(&(name.to_owned(), None)).and_then(&mut of))
            };
            if let Some(found) = at(&self.exact, name) {
                return Some(found);
            }
            let mut under = name;
            while let Some((_, rest)) = under.split_once('.') {
                if let Some(found) = at(&self.wildcards, rest) {
                    return Some(found);
                }
                under = rest;
            }
        }
        of(&self.any)
    }
}

impl Rank {
    fn of(route: &Conditions) -> Self {
        Self {
            path: route.path.as_ref().map(super::PathMatch::specificity),
            method: !route.methods.is_empty(),
            headers: route.headers.len(),
            query: route.query.len(),
            when: route.when.is_some(),
        }
    }
}

/// Routes that never take a request, since one with equal conditions stands before them.
fn conflicts(routes: &[Conditions]) -> Vec<Conflict> {
    let mut alike: HashMap<String, Vec<usize>> = HashMap::new();
    let mut conflicts = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        let before = alike.entry(likeness(route)).or_default();
        let first = before.iter().copied().find(|first| routes.get(*first).is_some_and(|first| covers(first, route)));
        if let Some(first) = first {
            conflicts.push(Conflict { first, second });
        }
        before.push(second);
    }
    conflicts
}

/// Whether every host and method of `later` is one of `earlier` too.
fn covers(earlier: &Conditions, later: &Conditions) -> bool {
    let hosts = match (earlier.hosts.as_slice(), later.hosts.as_slice()) {
        ([], []) => true,
        ([], _) | (_, []) => false,
        (earlier, later) => later.iter().all(|host| earlier.contains(host)),
    };
    let methods = match (earlier.methods.as_slice(), later.methods.as_slice()) {
        ([], []) => true,
        ([], _) | (_, []) => false,
        (earlier, later) => later.iter().all(|method| earlier.contains(method)),
    };
    hosts && methods
}

/// The same text for routes that differ in hosts and methods alone.
fn likeness(route: &Conditions) -> String {
    let path = route.path.as_ref().map(super::PathMatch::shape);
    let mut headers: Vec<_> = route.headers.iter().map(|(name, value)| format!("{name}={}", value.show())).collect();
    let mut query: Vec<_> = route.query.iter().map(|(name, value)| format!("{name:?}={}", value.show())).collect();
    headers.sort();
    query.sort();
    let when = route.when.as_ref().map(crate::expression::Expression::source);
    format!("{} {path:?} {headers:?} {query:?} {when:?}", route.precedence)
}
