//! `iam:`, and what entries share whose `allow` says who is let in.

use std::sync::Arc;

use crate::auth::{Granted, Iam, Method, Principal, Way};

use super::super::read::{Fields, items};
use super::super::tree::Node;
use super::Reader;

impl Reader<'_> {
    pub(super) fn iam(&mut self, name: &str, node: &Node, _: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`iam`", &mut self.problems)?;
        let allow = fields.need("allow", &mut self.problems).and_then(|node| self.allowed(node, Principal::parse));
        let granted = self.granted(&mut fields, false);
        fields.finish(&mut self.problems);
        self.iam.insert(name.to_owned());
        Some(Arc::new(Iam::new(name, allow?, granted?)))
    }

    /// A front door with `AWS_IAM` refuses all other requests before they come here.
    pub(super) fn one_way_alone(&mut self, node: &Node, ways: &[Way]) {
        let uses = ways.iter().flat_map(Way::uses);
        let iam = uses.map(|used| &used.entry.name).find(|name| self.iam.contains(&***name));
        if let (Some(name), 2..) = (iam, ways.len()) {
            let message = format!(
                "\"{name}\" is for a front door with AWS_IAM, which refuses whoever it does not know: what else is named here lets nobody in there"
            );
            self.problems.warn(node.place, message);
        }
    }

    /// The rules of `allow`, of which there must be one at least.
    pub(super) fn allowed<T>(&mut self, node: &Node, parse: fn(&str) -> Result<T, &'static str>) -> Option<Vec<T>> {
        let list = items(node);
        if list.is_empty() {
            self.problems.error(node.place, "`allow` lets nobody in");
        }
        let mut rules = Vec::new();
        for item in list {
            let Some(text) = self.fixed_text(item, "a rule of `allow`") else { continue };
            match parse(&text) {
                Ok(rule) => rules.push(rule),
                Err(why) => self.problems.error(item.place, format!("\"{text}\" {why}")),
            }
        }
        (!rules.is_empty()).then_some(rules)
    }

    /// `caller: {tenant, plan, scopes, groups}`, written out.
    pub(super) fn granted(&mut self, fields: &mut Fields<'_>, tenant: bool) -> Option<Granted> {
        let Some(node) = fields.take("caller") else { return Some(Granted::default()) };
        let mut fields = Fields::of(node, "`caller`", &mut self.problems)?;
        let mut granted = Granted::default();
        if tenant {
            granted.tenant = fields.take("tenant").and_then(|node| self.written_out(node));
        }
        granted.plan = fields.take("plan").and_then(|node| self.written_out(node)).unwrap_or_default();
        for (name, list) in [("scopes", &mut granted.scopes), ("groups", &mut granted.groups)] {
            let given = fields.take(name).map(items).unwrap_or_default();
            list.extend(given.iter().filter_map(|node| self.written_out(node)));
        }
        fields.finish(&mut self.problems);
        Some(granted)
    }

    /// Where a token's claims are looked up, a word here is that word.
    fn written_out(&mut self, node: &Node) -> Option<String> {
        let text = self.fixed_text(node, "what a caller has")?;
        if text.starts_with("claims.") || text.starts_with("claims[") {
            let message = format!("\"{text}\": what a caller has is written out here, and no claim is looked up");
            self.problems.error(node.place, message);
        }
        Some(text)
    }
}
