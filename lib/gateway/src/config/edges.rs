//! `edge:`: what is believed behind CloudFront and its like.

use http::HeaderName;

use crate::edge::Edge;
use crate::mode::Mode;

use super::Reader;
use super::read::{Fields, items};
use super::tree::{Node, Value};

impl Reader<'_> {
    pub(crate) fn read_edge(&mut self, node: &Node) -> Edge {
        let mut edge = Edge::default();
        let Some(mut fields) = Fields::of(node, "`edge`", &mut self.problems) else { return edge };
        let secret = fields.need("secret", &mut self.problems);
        if let Some(mut secret) = secret.and_then(|node| Fields::of(node, "the edge's `secret`", &mut self.problems)) {
            edge.secret_header = secret.need("header", &mut self.problems).and_then(|node| self.header_name(node));
            if let Some(values) = secret.need("value", &mut self.problems) {
                for value in items(values) {
                    let path = self.problems.files.first().map(|file| file.name.to_string()).unwrap_or_default();
                    self.live_secret(value, &path);
                }
                edge.secrets = self.used_secrets();
            }
            secret.finish(&mut self.problems);
        }
        edge.required =
            fields.take("required").and_then(|node| self.problems.boolean(node, "`required`")).unwrap_or_default();
        let mode = self.mode(&mut fields);
        if mode == Some(Mode::Shadow) && !edge.required {
            self.problems.warn(fields.place(), "`mode: shadow` of an `edge` that is not `required` watches nothing");
        }
        edge.mode = mode.unwrap_or_default();
        edge.host = fields.take("host").and_then(|node| self.header_name(node));
        edge.client_ip = fields.take("client_ip").and_then(|node| self.header_name(node));
        edge.scheme = fields.take("scheme").and_then(|node| self.header_name(node));
        edge.request_id = fields.take("request_id").and_then(|node| self.header_name(node));
        if let Some(Node { value: Value::Null, .. }) = node.get("client_certificate") {
            fields.take_even_null("client_certificate");
        }
        edge.client_certificate = fields.take("client_certificate").and_then(|node| self.header_name(node));
        self.edge_certificate = edge.client_certificate.is_some();
        fields.finish(&mut self.problems);
        edge
    }

    /// A header's name, in any case.
    pub(crate) fn header_name(&mut self, node: &Node) -> Option<HeaderName> {
        let text = self.problems.text(node, "a header")?;
        self.header_named(&text, node.place)
    }

    /// A header's name that stands as a key.
    pub(crate) fn header_named(&mut self, name: &str, place: super::Place) -> Option<HeaderName> {
        let found = HeaderName::from_bytes(name.as_bytes()).ok();
        if found.is_none() {
            self.problems.error(place, format!("\"{name}\" is no header name"));
        }
        found
    }
}
