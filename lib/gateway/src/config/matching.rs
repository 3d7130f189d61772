//! `match:` of a route: path, methods, hosts, headers, query, `when`.

use std::sync::Arc;

use crate::expression::Place as Stands;
use crate::route::{Conditions, HostMatch, PathMatch, ValueMatch};

use super::Reader;
use super::read::{Fields, items};
use super::tree::{Node, Value};

impl Reader<'_> {
    /// The conditions of a route. What is wrong is reported and left out, so that all is reported.
    pub(crate) fn conditions(&mut self, node: Option<&Node>, precedence: i64) -> Conditions {
        let mut conditions = Conditions {
            path: None,
            methods: Vec::new(),
            hosts: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            when: None,
            precedence,
        };
        let Some(mut fields) = node.and_then(|node| Fields::of(node, "`match`", &mut self.problems)) else {
            return conditions;
        };
        conditions.path = fields.take("path").and_then(|node| self.path(node));
        let params: Vec<Arc<str>> = conditions.path.as_ref().map(|path| path.params().to_vec()).unwrap_or_default();
        if let Some(node) = fields.take("methods") {
            conditions.methods = items(node).iter().filter_map(|node| self.method(node)).collect();
            self.non_empty(node, "`methods`");
        }
        if let Some(node) = fields.take("hosts") {
            conditions.hosts = items(node).iter().filter_map(|node| self.host_match(node)).collect();
            self.non_empty(node, "`hosts`");
        }
        if let Some(node) = fields.take("headers") {
            for (key, value) in self.problems.entries(node, "`headers`") {
                let name = self.header_named(&key.name, key.place);
                let value = self.value_match(value, "a header");
                if let (Some(name), Some(value)) = (name, value) {
                    conditions.headers.push((name, value));
                }
            }
        }
        if let Some(node) = fields.take("query") {
            for (key, value) in self.problems.entries(node, "`query`") {
                if let Some(value) = self.value_match(value, "a parameter") {
                    conditions.query.push((key.name.clone(), value));
                }
            }
        }
        conditions.when = fields.take("when").and_then(|node| self.expression(node, "`when`", Stands::Match, &params));
        fields.finish(&mut self.problems);
        conditions
    }

    fn non_empty(&mut self, node: &Node, what: &str) {
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            self.problems.error(node.place, format!("{what} must not be an empty list: leave it out to match all"));
        }
    }

    fn path(&mut self, node: &Node) -> Option<PathMatch> {
        let (text_node, found) = if let Value::Map(_) = node.value
            && (node.get("regex").is_some() || node.get("raw_prefix").is_some())
        {
            let mut fields = Fields::of(node, "`path`", &mut self.problems)?;
            let regex = fields.take("regex");
            let prefix = fields.take("raw_prefix");
            fields.finish(&mut self.problems);
            match (regex, prefix) {
                (Some(node), None) => (node, PathMatch::regex(&self.problems.text(node, "`regex`")?)),
                (None, Some(node)) => (node, PathMatch::raw_prefix(&self.problems.text(node, "`raw_prefix`")?)),
                _ => {
                    self.problems.error(node.place, "`path` takes one of `regex` and `raw_prefix`");
                    return None;
                }
            }
        } else {
            (node, PathMatch::parse(&self.problems.text(node, "`path`")?))
        };
        self.or_report(text_node, "the path", found)
    }

    fn host_match(&mut self, node: &Node) -> Option<HostMatch> {
        let text = self.fixed_text(node, "a host")?;
        self.or_report(node, "the host", HostMatch::parse(&text))
    }

    fn value_match(&mut self, node: &Node, what: &'static str) -> Option<ValueMatch> {
        let Value::Map(_) = node.value else {
            return self.problems.text(node, what).map(ValueMatch::Exact);
        };
        let mut fields = Fields::of(node, what, &mut self.problems)?;
        let regex = fields.take("regex");
        let present = fields.take("present");
        fields.finish(&mut self.problems);
        match (regex, present) {
            (Some(node), None) => {
                let text = self.problems.text(node, "`regex`")?;
                self.or_report(node, "the regex", ValueMatch::regex(&text))
            }
            (None, Some(node)) => match self.problems.boolean(node, "`present`")? {
                true => Some(ValueMatch::Present),
                false => {
                    self.problems.error(node.place, "`present: false` cannot be matched by a condition, use `when`");
                    None
                }
            },
            _ => {
                self.problems.error(node.place, format!("{what} takes text, or one of `regex` and `present`"));
                None
            }
        }
    }

    /// The value, or its problem under the node.
    pub(crate) fn or_report<T>(&mut self, node: &Node, what: &str, found: Result<T, String>) -> Option<T> {
        match found {
            Ok(value) => Some(value),
            Err(why) => {
                let text = self.problems.text(node, what).unwrap_or_default();
                self.problems.error(node.place, format!("{what} \"{text}\" {why}"));
                None
            }
        }
    }
}
