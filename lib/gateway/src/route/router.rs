//! From a request to its route: by `precedence`, then by host, then the most specific of those that hold.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use http::Method;

use super::conditions::Conditions;
use super::host::{Asked, HostMatch};
use super::pattern::{PathMatch, Specificity};
use super::trie::Trie;
use crate::expression::{Expression, Facts, Params};

/// All routes, ready to be looked up.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Conditions>,
    places: Places,
    /// By `precedence`, the highest first.
    levels: Vec<Level>,
}

/// The routes of one precedence.
#[derive(Debug, Default)]
struct Level {
    exact: HashMap<String, Ports>,
    wildcards: HashMap<String, Ports>,
    any: Trie,
}

/// The routes of one host: those that name a port of it, and those that do not.
#[derive(Debug, Default)]
struct Ports {
    named: Vec<(u16, Trie)>,
    any: Trie,
}

/// For each route its place among all, the most specific first: of two that hold, the one before takes the request.
#[derive(Debug)]
struct Places {
    usual: Vec<usize>,
    /// Of requests for `HEAD`: one goes to a route for `GET` unless one for `HEAD` is written.
    head: Vec<usize>,
}

/// How specific a route is beside others of its host, the greater the more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    path: Option<Specificity>,
    method: bool,
    head: bool,
    headers: usize,
    query: usize,
    when: bool,
    earlier: Reverse<usize>,
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

/// Two routes with equal conditions and equal `precedence`, for a host and a method of both: by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict {
    /// The one before in the list, which would take the requests.
    pub first: usize,
    /// The one after.
    pub second: usize,
}

impl Router {
    /// Puts a router together.
    ///
    /// # Errors
    /// Every route that has a host and a method in common with one before it, and all other conditions equal.
    pub fn build(routes: Vec<Conditions>) -> Result<Self, Vec<Conflict>> {
        let conflicts = conflicts(&routes);
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
        let places = Places::of(&routes);
        let mut levels: BTreeMap<Reverse<i64>, Level> = BTreeMap::new();
        for index in inverted(&places.usual) {
            let Some(route) = routes.get(index) else { continue };
            let level = levels.entry(Reverse(route.precedence)).or_default();
            if route.hosts.is_empty() {
                level.any.insert(route.path.as_ref(), index);
            }
            for host in &route.hosts {
                level.of(host).insert(route.path.as_ref(), index);
            }
        }
        Ok(Self { routes, places, levels: levels.into_values().collect() })
    }

    /// The conditions it was built of.
    pub(crate) fn conditions(&self) -> &[Conditions] {
        &self.routes
    }

    /// The route of a request. What is no path, as `*` of `OPTIONS *` (RFC 9110 §9.3.7), has none.
    pub fn find(&self, facts: &Facts<'_>) -> Outcome {
        if !facts.path.starts_with('/') {
            return Outcome::NotFound;
        }
        let host = Asked::of(facts.host);
        let places = if *facts.method == Method::HEAD { &self.places.head } else { &self.places.usual };
        let mut search = Search { routes: &self.routes, places, facts, best: None, wrong_method: false };
        for level in &self.levels {
            level.tries(&host, |trie| search.through(trie));
            if let Some((_, index, route)) = search.best {
                let params = route.path.as_ref().map(|path| path.capture(facts.path)).unwrap_or_default();
                return Outcome::Found { route: index, params };
            }
        }
        if search.wrong_method { self.method_not_allowed(&host, facts) } else { Outcome::NotFound }
    }

    /// The methods of all routes of which all but the method holds.
    fn method_not_allowed(&self, host: &Asked<'_>, facts: &Facts<'_>) -> Outcome {
        let mut allow = BTreeSet::new();
        let mut add = |index: usize| {
            if let Some(route) = self.routes.get(index)
                && route.hold(facts)
            {
                allow.extend(route.methods.iter().map(Method::as_str));
            }
        };
        for level in &self.levels {
            level.tries(host, |trie| {
                trie.visit(facts.path, &mut add);
                trie.last()
                    .filter(|(regex, _)| regex.is_none_or(|regex| regex.is_match(facts.path)))
                    .for_each(|(_, index)| add(index));
                false
            });
        }
        if allow.contains("GET") {
            allow.insert("HEAD");
        }
        Outcome::MethodNotAllowed { allow: allow.into_iter().filter_map(|method| method.parse().ok()).collect() }
    }
}

/// One look-up, as far as it has come.
struct Search<'r, 'f> {
    routes: &'r [Conditions],
    places: &'r [usize],
    facts: &'r Facts<'f>,
    /// The first of those that hold: its place, its index and itself.
    best: Option<(usize, usize, &'r Conditions)>,
    /// Whether all but the method of some route holds.
    wrong_method: bool,
}

impl Search<'_, '_> {
    /// Goes through the routes of a host; whether one took the request.
    fn through(&mut self, trie: &Trie) -> bool {
        let facts = self.facts;
        trie.visit(facts.path, &mut |index| self.consider(index, || true));
        if self.best.is_none() {
            for (regex, index) in trie.last() {
                self.consider(index, || regex.is_none_or(|regex| regex.is_match(facts.path)));
            }
        }
        self.best.is_some()
    }

    /// The cheap first: a route that could change nothing is not asked for its regex, its headers or its `when`.
    fn consider(&mut self, index: usize, takes_path: impl FnOnce() -> bool) {
        let (Some(route), Some(place)) = (self.routes.get(index), self.places.get(index)) else { return };
        let takes_method = route.take(self.facts.method);
        let beaten = self.best.is_some_and(|(best, ..)| best < *place);
        let idle = if takes_method { beaten } else { self.wrong_method || self.best.is_some() };
        if idle || !takes_path() || !route.hold(self.facts) {
            return;
        }
        if takes_method {
            self.best = Some((*place, index, route));
        } else {
            self.wrong_method = true;
        }
    }
}

impl Level {
    /// Where the routes of a host are.
    fn of(&mut self, host: &HostMatch) -> &mut Trie {
        let hosts = if host.wildcard { &mut self.wildcards } else { &mut self.exact };
        let ports = hosts.entry(host.name.clone()).or_default();
        let Some(port) = host.port else { return &mut ports.any };
        let at = ports.named.iter().position(|(own, _)| *own == port).unwrap_or_else(|| {
            ports.named.push((port, Trie::default()));
            ports.named.len() - 1
        });
        ports.named.get_mut(at).map_or(&mut ports.any, |(_, trie)| trie)
    }

    /// Goes through the routes of the exact host, of the longest wildcard, the next, and of no host, until `found`.
    /// At each step those with the port written come first.
    fn tries(&self, host: &Asked<'_>, mut found: impl FnMut(&Trie) -> bool) {
        let mut at = |hosts: &HashMap<String, Ports>, name: &str| {
            let Some(ports) = hosts.get(name) else { return false };
            let named = ports.named.iter().find(|(port, _)| Some(*port) == host.port);
            named.is_some_and(|(_, trie)| found(trie)) || found(&ports.any)
        };
        if !self.exact.is_empty() && at(&self.exact, &host.name) {
            return;
        }
        if !self.wildcards.is_empty() && host.parents().any(|parent| at(&self.wildcards, parent)) {
            return;
        }
        found(&self.any);
    }
}

impl Places {
    fn of(routes: &[Conditions]) -> Self {
        let by = |head: bool| {
            let mut order: Vec<_> =
                routes.iter().enumerate().map(|(index, route)| Rank::of(index, route, head)).collect();
            order.sort_unstable_by_key(|rank| Reverse(*rank));
            let order: Vec<_> = order.into_iter().map(|rank| rank.earlier.0).collect();
            inverted(&order)
        };
        Self { usual: by(false), head: by(true) }
    }
}

/// From the index at each place to the place of each index, and back.
fn inverted(order: &[usize]) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    for (place, index) in order.iter().enumerate() {
        if let Some(at) = places.get_mut(*index) {
            *at = place;
        }
    }
    places
}

impl Rank {
    fn of(index: usize, route: &Conditions, head: bool) -> Self {
        Self {
            path: route.path.as_ref().map(PathMatch::specificity),
            method: !route.methods.is_empty(),
            head: head && route.methods.contains(&Method::HEAD),
            headers: route.headers.len(),
            query: route.query.len(),
            when: route.when.is_some(),
            earlier: Reverse(index),
        }
    }
}

/// Routes that would take requests of another with equal conditions. Hosts and methods are lists of alternatives, so
/// routes that share one of each are equal there. In one pass: there may be a route for each of ten thousand hosts.
fn conflicts(routes: &[Conditions]) -> Vec<Conflict> {
    let mut taken = HashMap::new();
    let mut conflicts = Vec::new();
    for (second, route) in routes.iter().enumerate() {
        let likeness = Rc::<str>::from(likeness(route));
        let mut first = None;
        for host in alternatives(&route.hosts) {
            for method in alternatives(&route.methods) {
                let owner = *taken.entry((Rc::clone(&likeness), host, method)).or_insert(second);
                first = first.or(Some(owner).filter(|owner| *owner != second));
            }
        }
        conflicts.extend(first.map(|first| Conflict { first, second }));
    }
    conflicts
}

/// Each of a list, or the one that stands for all where the list is empty.
fn alternatives<T>(list: &[T]) -> impl Iterator<Item = Option<&T>> {
    list.iter().map(Some).chain(list.is_empty().then_some(None))
}

/// The same text for routes that differ in hosts, methods and the names of captures alone.
fn likeness(route: &Conditions) -> String {
    let path = route.path.as_ref().map_or_else(PathMatch::shape_of_all, PathMatch::shape);
    let mut headers: Vec<_> = route.headers.iter().map(|(name, value)| format!("{name}={}", value.show())).collect();
    let mut query: Vec<_> = route.query.iter().map(|(name, value)| format!("{name:?}={}", value.show())).collect();
    headers.sort();
    query.sort();
    let when = route.when.as_ref().map(Expression::source);
    format!("{} {path:?} {headers:?} {query:?} {when:?}", route.precedence)
}
