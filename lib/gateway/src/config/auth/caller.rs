//! `caller` and `forward` of methods that learn claims.

use crate::auth::{ClaimPath, Mapping};
use crate::transform::headers::reserved;

use super::super::read::Fields;
use super::super::tree::Node;
use super::Reader;

impl Reader<'_> {
    /// Who the claims say calls, and which of them go on.
    pub(super) fn mapping(&mut self, fields: &mut Fields<'_>) -> Mapping {
        let mut mapping = fields.take("caller").map(|node| self.caller(node)).unwrap_or_default();
        if let Some(node) = fields.take("forward") {
            for (key, node) in self.problems.entries(node, "`forward`") {
                let Some(name) = self.header_name(node) else { continue };
                if reserved(&name) || name == http::header::COOKIE || name == http::header::AUTHORIZATION {
                    self.problems.error(node.place, format!("no claim can be sent on as `{name}`"));
                    continue;
                }
                if mapping.forward.iter().any(|(_, other)| *other == name) {
                    self.problems.error(node.place, format!("two claims cannot both be sent on as `{name}`"));
                    continue;
                }
                // A claim's name may have any letters, dots and slashes among them.
                let nested = key.name.starts_with("claims.") || key.name.starts_with("claims[");
                let path = if nested { ClaimPath::parse(&key.name) } else { Some(ClaimPath::named(&key.name)) };
                match path {
                    Some(path) => mapping.forward.push((path, name)),
                    None => self.problems.error(key.place, not_a_path(&key.name)),
                }
            }
        }
        mapping
    }

    fn caller(&mut self, node: &Node) -> Mapping {
        let mut mapping = Mapping::default();
        let Some(mut fields) = Fields::of(node, "`caller`", &mut self.problems) else { return mapping };
        if let Some(id) = self.claim(fields.take("id")) {
            mapping.id = id;
        }
        mapping.tenant = self.claim(fields.take("tenant"));
        mapping.plan = self.claim(fields.take("plan"));
        if let Some(scopes) = self.claim(fields.take("scopes")) {
            mapping.scopes = vec![scopes];
        }
        mapping.groups = self.claim(fields.take("groups"));
        fields.finish(&mut self.problems);
        mapping
    }

    fn claim(&mut self, node: Option<&Node>) -> Option<ClaimPath> {
        let node = node?;
        let text = self.problems.text(node, "a claim")?;
        let path = ClaimPath::parse(&text);
        if path.is_none() {
            self.problems.error(node.place, not_a_path(&text));
        }
        path
    }
}

fn not_a_path(text: &str) -> String {
    format!("\"{text}\" must be a claim, like claims.org, claims.realm.roles or claims['cognito:groups']")
}
