//! `api_key:`.

use std::sync::Arc;

use crate::auth::{ApiKeys, Method, Pepper};
use crate::secret::Secret;

use super::super::read::{Fields, items};
use super::super::tree::Node;
use super::Reader;

impl Reader<'_> {
    pub(super) fn api_key(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`api_key`", &mut self.problems)?;
        let header = fields.need("header", &mut self.problems).and_then(|node| self.header_name(node));
        let peppers = fields.take("pepper").map(items).unwrap_or_default();
        if peppers.is_empty() {
            self.problems.error(
                fields.place(),
                "`api_key` needs `pepper`, a secret that keys are hashed with: write `pepper: \"env:KEY_PEPPER\"` and set \
                 the variable to what `openssl rand -base64 32` prints",
            );
        }
        fields.finish(&mut self.problems);
        // One that is not there was told, and what needs it answers 503.
        let peppers = peppers.iter().filter_map(|node| self.pepper(node, path)).collect();
        let keys = Arc::new(ApiKeys::new(name, header?, peppers, Arc::clone(&self.bulletin)));
        self.api_keys.push(Arc::clone(&keys));
        Some(keys)
    }

    fn pepper(&mut self, node: &Node, path: &str) -> Option<Arc<Secret>> {
        let secret = self.live_secret(node, path)?;
        if let Some(value) = secret.get()
            && value.len() < Pepper::SHORTEST
        {
            let least = Pepper::SHORTEST;
            self.problems.error(
                node.place,
                format!(
                    "the pepper must have {least} bytes at least, it has {}: use what `openssl rand -base64 32` prints",
                    value.len()
                ),
            );
        }
        Some(secret)
    }
}
