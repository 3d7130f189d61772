//! `auth:`, and the `auth` of routes.

use std::sync::Arc;

use crate::auth::{ApiKeys, Auth, Pepper, Use};

use super::Reader;
use super::files::Document;
use super::limits::unknown;
use super::problem::Severity;
use super::read::{Fields, items};
use super::tree::{Node, Value};

/// The methods that are to come.
const LATER: [&str; 8] = ["jwt", "introspection", "client_certificate", "hmac", "basic", "iam", "external", "lambda"];

impl Reader<'_> {
    /// All entries of `auth` of one file.
    pub(crate) fn read_auth(&mut self, document: &Document) {
        let Some(auth) = document.node.get("auth") else { return };
        for (key, node) in self.problems.entries(auth, "`auth`") {
            self.problems.name(&key.name, key.place, "the `auth`");
            if key.name == "none" {
                self.problems.error(key.place, "`none` is the word for anyone: give this `auth` another name");
                continue;
            }
            if self.auth.contains_key(&key.name) {
                self.problems.error(key.place, format!("the `auth` \"{}\" is declared twice", key.name));
                continue;
            }
            let method = self.auth_method(&key.name, node, &document.path);
            self.auth.insert(key.name.clone(), method.map(Arc::new));
        }
    }

    fn auth_method(&mut self, name: &str, node: &Node, path: &str) -> Option<ApiKeys> {
        let mut fields = Fields::of(node, "an `auth`", &mut self.problems)?;
        fields.later(&LATER);
        let place = fields.place();
        let before = self.problems.count(Severity::Error);
        let api_key = fields.take("api_key");
        fields.finish(&mut self.problems);
        match api_key {
            Some(node) => self.api_key(name, node, path),
            None if self.problems.count(Severity::Error) == before => {
                self.problems.error(place, "an `auth` needs a method, so far there is `api_key`");
                None
            }
            None => None,
        }
    }

    fn api_key(&mut self, name: &str, node: &Node, path: &str) -> Option<ApiKeys> {
        let mut fields = Fields::of(node, "`api_key`", &mut self.problems)?;
        let header = fields.need("header", &mut self.problems).and_then(|node| self.header_name(node));
        let mut missing = None;
        let peppers = match fields.take("pepper") {
            Some(node) => items(node).iter().map(|node| self.pepper(node, path, &mut missing)).collect(),
            None => Vec::new(),
        };
        if peppers.is_empty() {
            self.problems.error(
                fields.place(),
                "`api_key` needs `pepper`, a secret that keys are hashed with: write `pepper: \"env:KEY_PEPPER\"` and set \
                 the variable to what `openssl rand -base64 32` prints",
            );
        }
        fields.finish(&mut self.problems);
        // One that is not there was told, and what needs it answers 503.
        Some(ApiKeys::new(name, header?, peppers.into_iter().flatten().collect(), missing))
    }

    fn pepper(&mut self, node: &Node, path: &str, missing: &mut Option<String>) -> Option<Pepper> {
        let secret = self.secret(node, path, missing)?;
        let reference = self.problems.text(node, "a pepper")?;
        let pepper = Pepper::new(&reference, &secret);
        if pepper.is_none() {
            let least = Pepper::SHORTEST;
            self.problems.error(
                node.place,
                format!(
                    "the pepper must have {least} bytes at least, it has {}: use what `openssl rand -base64 32` prints",
                    secret.len()
                ),
            );
        }
        pepper
    }

    /// The `auth` of a route or of `defaults`: `none`, or names of entries of `auth`.
    pub(crate) fn route_auth(&mut self, node: &Node) -> Option<Auth> {
        let list = items(node);
        if let [Node { value: Value::Text(word), .. }] = list
            && word == "none"
        {
            return Some(Auth::Public);
        }
        if list.is_empty() {
            self.problems.error(node.place, "`auth` names nothing: write `auth: none` to let anyone in");
        }
        let mut uses: Vec<Use> = Vec::new();
        for item in list {
            let Some(used) = self.auth_use(item) else { continue };
            if uses.iter().any(|other| Arc::ptr_eq(&other.method, &used.method)) {
                self.problems.error(item.place, format!("\"{}\" is named twice", used.method.name()));
            }
            uses.push(used);
        }
        (!uses.is_empty()).then_some(Auth::Any(uses))
    }

    /// A name, or `{use: name, keep: true}`.
    fn auth_use(&mut self, node: &Node) -> Option<Use> {
        let mut keep = false;
        let named = if let Value::Map(_) = node.value {
            let mut fields = Fields::of(node, "an `auth`'s use", &mut self.problems)?;
            fields.later(&["all"]);
            let all = node.get("all").is_some();
            let named = if all { fields.take("use") } else { fields.need("use", &mut self.problems) };
            keep = fields.take("keep").and_then(|node| self.problems.boolean(node, "`keep`")).unwrap_or_default();
            fields.finish(&mut self.problems);
            named?
        } else {
            node
        };
        let name = self.problems.text(named, "an `auth`")?;
        if name == "none" {
            self.problems.error(named.place, "`none` lets anyone in, and stands alone");
            return None;
        }
        match self.auth.get(&name) {
            Some(method) => method.clone().map(|method| Use { method, keep }),
            None => {
                let message = unknown("`auth`", &name, self.auth.keys());
                self.problems.error(named.place, message);
                None
            }
        }
    }
}
