//! The routes of one host by their paths: a trie of segments, so that a look-up visits what can match and nothing else.

use std::collections::HashMap;

use regex::Regex;

use super::pattern::{Form, PathMatch, Rest, Segment};

/// Routes, by index, found by path. Where several have the same path, they are found in the order they were added.
#[derive(Debug, Default)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    prefixes: HashMap<String, Vec<usize>>,
    /// The lengths of the prefixes, each once.
    lengths: Vec<usize>,
    /// Tried one after the other, and only where nothing above them took the request.
    regexes: Vec<(Regex, usize)>,
    everything: Vec<usize>,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, usize>,
    captures: Vec<(String, usize)>,
    ends: Vec<usize>,
    any_rest: Vec<usize>,
    some_rest: Vec<usize>,
}

impl Trie {
    /// Adds a route.
    pub(super) fn insert(&mut self, path: Option<&PathMatch>, route: usize) {
        let Some(path) = path else { return self.everything.push(route) };
        match &path.form {
            Form::Regex(regex) => self.regexes.push((regex.clone(), route)),
            Form::RawPrefix(prefix) => {
                self.prefixes.entry(prefix.clone()).or_default().push(route);
                if !self.lengths.contains(&prefix.len()) {
                    self.lengths.push(prefix.len());
                }
            }
            Form::Segments { segments, rest } => {
                if self.nodes.is_empty() {
                    self.nodes.push(Node::default());
                }
                let mut at = 0;
                for segment in segments {
                    at = self.child(at, segment);
                }
                if let Some(node) = self.nodes.get_mut(at) {
                    match rest {
                        Rest::None => node.ends.push(route),
                        Rest::Any => node.any_rest.push(route),
                        Rest::Capture(_) => node.some_rest.push(route),
                    }
                }
            }
        }
    }

    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let next = self.nodes.len();
        let Some(node) = self.nodes.get_mut(at) else { return at };
        let child = match segment {
            Segment::Literal(text) => *node.literals.entry(text.clone()).or_insert(next),
            Segment::Capture { suffix, .. } => match node.captures.iter().find(|(own, _)| own == suffix) {
                Some((_, child)) => *child,
                None => {
                    node.captures.push((suffix.clone(), next));
                    next
                }
            },
        };
        if child == next {
            self.nodes.push(Node::default());
        }
        child
    }

    /// Calls `found` for every route whose segments or raw prefix take this path, roughly the most specific first.
    pub(super) fn visit(&self, path: &str, found: &mut impl FnMut(usize)) {
        if let Some(left) = path.strip_prefix('/') {
            self.walk(0, Some(left), found);
        }
        for length in &self.lengths {
            if let Some(routes) = path.get(..*length).and_then(|prefix| self.prefixes.get(prefix)) {
                routes.iter().for_each(|route| found(*route));
            }
        }
    }

    /// The routes below all of those: by regex, and by no path at all.
    pub(super) fn last(&self) -> impl Iterator<Item = (Option<&Regex>, usize)> {
        let regexes = self.regexes.iter().map(|(regex, route)| (Some(regex), *route));
        regexes.chain(self.everything.iter().map(|route| (None, *route)))
    }

    fn walk(&self, at: usize, left: Option<&str>, found: &mut impl FnMut(usize)) {
        let Some(node) = self.nodes.get(at) else { return };
        let Some(left) = left else {
            node.ends.iter().chain(&node.any_rest).for_each(|route| found(*route));
            return;
        };
        let (segment, rest) = match left.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (left, None),
        };
        if let Some(child) = node.literals.get(segment) {
            self.walk(*child, rest, found);
        }
        for (suffix, child) in &node.captures {
            if segment.strip_suffix(suffix.as_str()).is_some_and(|captured| !captured.is_empty()) {
                self.walk(*child, rest, found);
            }
        }
        if !left.is_empty() {
            node.some_rest.iter().for_each(|route| found(*route));
        }
        node.any_rest.iter().for_each(|route| found(*route));
    }
}
