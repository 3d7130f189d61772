//! `api_key:`.

use std::sync::Arc;

use crate::auth::{ApiKeys, Method, Pepper};

use super::super::read::{Fields, items};
use super::super::tree::Node;
use super::Reader;

impl Reader<'_> {
    pub(super) fn api_key(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
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
        let keys = Arc::new(ApiKeys::new(name, header?, peppers.into_iter().flatten().collect(), missing));
        self.api_keys.push(Arc::clone(&keys));
        Some(keys)
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
}
