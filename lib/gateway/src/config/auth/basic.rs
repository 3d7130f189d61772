//! `basic:`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::auth::{Basic, Method};

use super::super::read::{Fields, items};
use super::super::tree::Node;
use super::Reader;

impl Reader<'_> {
    pub(super) fn basic_auth(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`basic`", &mut self.problems)?;
        let users = fields.need("users", &mut self.problems);
        let secret = users.and_then(|node| self.live_secret(node, path));
        if let Some((node, file)) = users.zip(secret.as_ref().and_then(|secret| secret.get())) {
            match Basic::check(&file) {
                Ok(None) => {}
                Ok(Some(user)) => self.problems.warn(
                    node.place,
                    format!("the password of \"{user}\" is cheap to guess for who has the file: `htpasswd -B -C 10` makes it dearer"),
                ),
                Err(why) => self.problems.error(node.place, format!("`users` cannot be used: {why}")),
            }
        }
        let mut groups = BTreeMap::new();
        if let Some(node) = fields.take("groups") {
            for (key, node) in self.problems.entries(node, "`groups`") {
                let members = items(node).iter().filter_map(|node| self.problems.text(node, "a user"));
                let members: Vec<_> = members.collect();
                groups.insert(key.name.clone(), members);
            }
        }
        fields.finish(&mut self.problems);
        match Basic::new(name, secret?, groups) {
            Ok(basic) => Some(Arc::new(basic)),
            Err(why) => {
                self.problems.error(node.place, why);
                None
            }
        }
    }
}
