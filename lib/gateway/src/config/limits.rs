//! `limits:` and the lists of limits on routes.

use std::sync::Arc;

use crate::expression::Place as Stands;
use crate::limit::{Limit, LimitKey, OnStoreFailure, Rate};
use crate::mode::Mode;

use super::Reader;
use super::files::Document;
use super::read::{Fields, items, nearest};
use super::tree::{Node, Value};

/// One use of a limit as written; without a mode of its own it has its route's.
#[derive(Clone)]
pub(crate) struct LimitUse {
    pub(crate) limit: Arc<Limit>,
    pub(crate) mode: Option<Mode>,
}

impl Reader<'_> {
    /// All limits of one file.
    pub(crate) fn read_limits(&mut self, document: &Document, on_store_failure: OnStoreFailure) {
        let Some(limits) = document.node.get("limits") else { return };
        for (key, node) in self.problems.entries(limits, "`limits`") {
            self.problems.name(&key.name, key.place, "the limit");
            if self.limits.contains_key(&key.name) {
                self.problems.error(key.place, format!("the limit \"{}\" is declared twice", key.name));
                continue;
            }
            let limit = self.limit(&key.name, node, on_store_failure);
            self.limits.insert(key.name.clone(), limit.map(Arc::new));
        }
    }

    fn limit(&mut self, name: &str, node: &Node, on_store_failure: OnStoreFailure) -> Option<Limit> {
        let mut fields = Fields::of(node, "a limit", &mut self.problems)?;
        fields.later(&[
            "plan",
            "before",
            "burst",
            "cost",
            "queue",
            "shards",
            "approximate",
            "headers",
            "ipv6_prefix",
            "quota",
        ]);
        let rate = fields.need("rate", &mut self.problems).and_then(|node| {
            let text = self.problems.text(node, "`rate`")?;
            match Rate::parse(&text) {
                Ok(rate) => Some(rate),
                Err(why) => {
                    self.problems.error(node.place, why);
                    None
                }
            }
        });
        let by = fields.need("by", &mut self.problems).and_then(|node| self.limit_key(node));
        if let Some(node) = fields.take("algorithm") {
            self.built_so_far(node, "`algorithm`", "fixed_window", &ALGORITHMS);
        }
        if let Some(node) = fields.take("accuracy") {
            self.built_so_far(node, "`accuracy`", "exact", &["leased", "exact", "local"]);
        }
        let on_store_failure = match fields.take("on_store_failure") {
            Some(node) => self.read_on_store_failure(node),
            None => Some(on_store_failure),
        };
        fields.finish(&mut self.problems);
        Some(Limit::new(Arc::clone(&self.name), Arc::from(name), rate?, by?, on_store_failure?))
    }

    /// A word of which only one is built so far.
    fn built_so_far(&mut self, node: &Node, what: &str, built: &str, words: &[&str]) {
        let Some(text) = self.problems.text(node, what) else { return };
        if text == built {
        } else if words.contains(&text.as_str()) {
            self.problems.error(node.place, format!("{what} {text} is not supported yet, so far there is {built}"));
        } else {
            self.problems.error(node.place, format!("{what} \"{text}\" must be one of {}", words.join(", ")));
        }
    }

    fn limit_key(&mut self, node: &Node) -> Option<LimitKey> {
        let text = self.problems.text(node, "`by`")?;
        match text.trim() {
            "global" => Some(LimitKey::Global),
            "" | "\"\"" | "''" => {
                self.problems
                    .error(node.place, "a constant empty `by` would put everyone into one bucket: write `by: global`");
                None
            }
            _ => self.expression(node, "`by`", Stands::LimitKey, &[]).map(LimitKey::By),
        }
    }

    pub(crate) fn read_on_store_failure(&mut self, node: &Node) -> Option<OnStoreFailure> {
        let words =
            [("local", OnStoreFailure::Local), ("open", OnStoreFailure::Open), ("closed", OnStoreFailure::Closed)];
        self.problems.word(node, "`on_store_failure`", &words)
    }

    /// `mode:` of a policy or a route, where it is written.
    pub(crate) fn mode(&mut self, fields: &mut Fields<'_>) -> Option<Mode> {
        let words = [Mode::Enforce, Mode::Shadow, Mode::Off].map(|mode| (mode.as_str(), mode));
        fields.take("mode").and_then(|node| self.problems.word(node, "`mode`", &words))
    }

    /// A route's list of limits: names, or `{use: name, mode: shadow}`.
    pub(crate) fn limit_uses(&mut self, node: &Node) -> Vec<LimitUse> {
        items(node).iter().filter_map(|item| self.limit_use(item)).collect()
    }

    fn limit_use(&mut self, node: &Node) -> Option<LimitUse> {
        let mut mode = None;
        let named = if let Value::Map(_) = node.value {
            let mut fields = Fields::of(node, "a limit's use", &mut self.problems)?;
            let named = fields.need("use", &mut self.problems);
            mode = self.mode(&mut fields);
            fields.finish(&mut self.problems);
            named?
        } else {
            node
        };
        let name = self.problems.text(named, "a limit")?;
        match self.limits.get(&name) {
            Some(limit) => limit.clone().map(|limit| LimitUse { limit, mode }),
            None => {
                let message = unknown("limit", &name, self.limits.keys());
                self.problems.error(named.place, message);
                None
            }
        }
    }
}

/// `unknown limit "x"…`, with what was likely meant or what there is.
pub(crate) fn unknown<'k>(what: &str, name: &str, known: impl Iterator<Item = &'k String> + Clone) -> String {
    if let Some(nearest) = nearest(name, known.clone().map(String::as_str)) {
        return format!("unknown {what} \"{name}\", did you mean \"{nearest}\"?");
    }
    let known: Vec<_> = known.map(String::as_str).collect();
    if known.is_empty() {
        format!("unknown {what} \"{name}\", none is declared")
    } else {
        format!("unknown {what} \"{name}\", there are {}", known.join(", "))
    }
}

const ALGORITHMS: [&str; 5] = ["token_bucket", "leaky_bucket", "fixed_window", "sliding_window", "sliding_log"];
