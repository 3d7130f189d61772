//! `auth:`, a method a file, and the `auth` of routes.

mod api_key;
mod basic;
mod caller;
mod client_certificate;
mod external;
mod forward;
mod hmac;
mod iam;
mod introspection;
mod jwt;
mod published;

use std::sync::Arc;

use crate::auth::{Auth, Entry, Method, Use, Way, Ways};
use crate::mode::Mode;

use super::Reader;
use super::files::Document;
use super::limits::unknown;
use super::problem::Severity;
use super::read::{Fields, items};
use super::tree::{Node, Value};

/// Reads one method: the entry's name, the node, and the path of the file.
type ReadMethod = fn(&mut Reader<'_>, &str, &Node, &str) -> Option<Arc<dyn Method>>;

/// The methods by their words.
const METHODS: &[(&str, ReadMethod)] = &[
    ("api_key", |reader, name, node, path| reader.api_key(name, node, path)),
    ("hmac", |reader, name, node, path| reader.hmac(name, node, path)),
    ("basic", |reader, name, node, path| reader.basic_auth(name, node, path)),
    ("external", |reader, name, node, path| reader.external(name, node, path)),
    ("client_certificate", |reader, name, node, path| reader.client_certificate(name, node, path)),
    ("iam", |reader, name, node, path| reader.iam(name, node, path)),
    ("jwt", |reader, name, node, path| reader.jwt(name, node, path)),
    ("introspection", |reader, name, node, path| reader.introspection(name, node, path)),
];

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
            self.used.clear();
            let method = self.auth_method(&key.name, node, &document.path);
            let secrets = self.used_secrets();
            self.secrets_of_auth.insert(key.name.clone(), secrets);
            self.auth.insert(key.name.clone(), method.map(Arc::new));
        }
    }

    fn auth_method(&mut self, name: &str, node: &Node, path: &str) -> Option<Entry> {
        let mut fields = Fields::of(node, "an `auth`", &mut self.problems)?;
        let place = fields.place();
        let before = self.problems.count(Severity::Error);
        let mut found = Vec::new();
        for (word, read) in METHODS {
            found.extend(fields.take(word).map(|node| (word, read, node)));
        }
        fields.finish(&mut self.problems);
        match found.as_slice() {
            [(_, read, node)] => {
                let method = read(self, name, node, path)?;
                Some(Entry { name: name.into(), method })
            }
            [] if self.problems.count(Severity::Error) > before => None,
            [] => {
                let words: Vec<_> = METHODS.iter().map(|(word, _)| *word).collect();
                self.problems.error(place, format!("an `auth` needs a method, one of {}", words.join(", ")));
                None
            }
            [(first, ..), (second, ..), ..] => {
                let message = format!(
                    "an `auth` has one method, not `{first}` and `{second}`: name two, and let the route take `[one, other]`"
                );
                self.problems.error(place, message);
                None
            }
        }
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
        let mut ways = Vec::new();
        let mut named: Vec<Arc<Entry>> = Vec::new();
        let mut modes = Vec::new();
        for item in list {
            let Some(way) = self.way(item, &mut modes) else { continue };
            if let [used] = way.uses() {
                if named.iter().any(|other| Arc::ptr_eq(other, &used.entry)) {
                    self.problems.error(item.place, format!("\"{}\" is named twice", used.entry.name));
                }
                named.push(Arc::clone(&used.entry));
            }
            ways.push(way);
        }
        self.one_way_alone(node, &ways);
        let mode = modes.first().copied().unwrap_or_default();
        if modes.iter().any(|other| *other != mode) {
            // Whoever comes by none of them is refused or is not.
            self.problems.error(node.place, "the `mode` of an `auth` must be the same for all that the route takes");
        }
        (!ways.is_empty()).then(|| Auth::Any(Ways::new(ways, mode)))
    }

    /// One way in: a name, `{use: name, keep: true}`, or `{all: [one, other]}`.
    fn way(&mut self, node: &Node, modes: &mut Vec<Mode>) -> Option<Way> {
        let Some(all) = node.get("all") else { return self.auth_use(node, Some(modes)).map(Way::One) };
        let mut fields = Fields::of(node, "an `auth`", &mut self.problems)?;
        fields.take("all");
        modes.push(self.mode(&mut fields).unwrap_or_default());
        fields.finish(&mut self.problems);
        let list = items(all);
        if list.len() < 2 {
            self.problems.error(all.place, "`all` names two `auth` at least: one alone needs no `all`");
        }
        let mut uses: Vec<Use> = Vec::new();
        for item in list {
            let Some(used) = self.auth_use(item, None) else { continue };
            if uses.iter().any(|other| Arc::ptr_eq(&other.entry, &used.entry)) {
                self.problems.error(item.place, format!("\"{}\" is named twice", used.entry.name));
            }
            uses.push(used);
        }
        (!uses.is_empty()).then_some(Way::All(uses))
    }

    /// A name, or `{use: name, keep: true}`; with a `mode` where it is a way of its own.
    fn auth_use(&mut self, node: &Node, modes: Option<&mut Vec<Mode>>) -> Option<Use> {
        let mut keep = false;
        let mut mode = None;
        let named = if let Value::Map(_) = node.value {
            let mut fields = Fields::of(node, "an `auth`'s use", &mut self.problems)?;
            let named = fields.need("use", &mut self.problems);
            keep = fields.take("keep").and_then(|node| self.problems.boolean(node, "`keep`")).unwrap_or_default();
            if modes.is_some() {
                mode = self.mode(&mut fields);
            }
            fields.finish(&mut self.problems);
            named?
        } else {
            node
        };
        if let Some(modes) = modes {
            modes.push(mode.unwrap_or_default());
        }
        let name = self.problems.text(named, "an `auth`")?;
        if name == "none" {
            self.problems.error(named.place, "`none` lets anyone in, and stands alone");
            return None;
        }
        match self.auth.get(&name) {
            Some(entry) => entry.clone().map(|entry| Use { entry, keep }),
            None => {
                let message = unknown("`auth`", &name, self.auth.keys());
                self.problems.error(named.place, message);
                None
            }
        }
    }
}
