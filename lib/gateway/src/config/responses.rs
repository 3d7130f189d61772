//! `to:` of a route: an upstream, a split, a fixed answer, a redirect.

use std::sync::Arc;

use crate::expression::Place as Stands;
use crate::forward::split::Split;
use crate::forward::{Backend, Branch, Destination};
use crate::respond::{JsonTemplate, Redirect, RedirectPath, Respond, RespondBody};

use super::Reader;
use super::limits::unknown;
use super::read::{Fields, items};
use super::tree::{Node, Value};

impl Reader<'_> {
    /// `to:`.
    pub(crate) fn destination(&mut self, node: &Node, route: &str, params: &[Arc<str>]) -> Option<Destination> {
        let Value::Map(_) = node.value else {
            return self.single(node, None, None, params);
        };
        let mut fields = Fields::of(node, "`to`", &mut self.problems)?;
        fields.later(&["grpc", "aggregate", "ramp"]);
        let upstream = fields.take("upstream");
        let split = fields.take("split");
        let respond = fields.take("respond");
        let redirect = fields.take("redirect");
        let sticky = fields.take("sticky");
        let request = fields.take("request");
        let response = fields.take("response");
        let place = fields.place();
        fields.finish(&mut self.problems);
        if sticky.is_some() && split.is_none() {
            self.problems.error(place, "`sticky` goes with `split`");
        }
        match (upstream, split, respond, redirect) {
            (Some(node), None, None, None) => self.single(node, request, response, params),
            (None, Some(node), None, None) => self.split(node, sticky, route, params),
            (None, None, Some(node), None) => self.respond(node, params).map(Destination::Respond),
            (None, None, None, Some(node)) => self.redirect(node, params).map(Destination::Redirect),
            (None, None, None, None) => {
                let later = ["grpc", "aggregate"].iter().any(|key| node.get(key).is_some());
                if !later {
                    self.problems.error(place, "`to` needs one of `upstream`, `split`, `respond`, `redirect`");
                }
                None
            }
            _ => {
                self.problems.error(place, "`to` takes only one of `upstream`, `split`, `respond`, `redirect`");
                None
            }
        }
    }

    fn single(
        &mut self,
        node: &Node,
        request: Option<&Node>,
        response: Option<&Node>,
        params: &[Arc<str>],
    ) -> Option<Destination> {
        let branch = self.branch(node, request, response, params)?;
        Some(Destination::Forward { split: Split::single(), branches: vec![branch] })
    }

    fn branch(
        &mut self,
        node: &Node,
        request: Option<&Node>,
        response: Option<&Node>,
        params: &[Arc<str>],
    ) -> Option<Branch> {
        let request = self.request_transform(request, params);
        let response = self.response_transform(response, params);
        let upstream = self.upstream_named(node)?;
        Some(Branch { upstream, request, response })
    }

    fn upstream_named(&mut self, node: &Node) -> Option<Arc<Backend>> {
        let name = self.problems.text(node, "an upstream")?;
        match self.upstreams.get(&name) {
            Some(backend) => backend.clone(),
            None => {
                let message = unknown("upstream", &name, self.upstreams.keys());
                self.problems.error(node.place, message);
                None
            }
        }
    }

    fn split(&mut self, node: &Node, sticky: Option<&Node>, route: &str, params: &[Arc<str>]) -> Option<Destination> {
        let sticky = match sticky {
            Some(node) => Some(self.expression(node, "`sticky`", Stands::Sticky, params)?),
            None => None,
        };
        let mut weights = Vec::new();
        let mut branches = Vec::new();
        let mut whole = true;
        for item in items(node) {
            let Some(mut fields) = Fields::of(item, "a split's entry", &mut self.problems) else { continue };
            let upstream = fields.need("upstream", &mut self.problems);
            let weight = fields.take("weight").and_then(|node| self.problems.integer(node, "`weight`", 0, 1_000_000));
            let request = fields.take("request");
            let response = fields.take("response");
            fields.finish(&mut self.problems);
            match upstream.and_then(|node| self.branch(node, request, response, params)) {
                Some(branch) => {
                    branches.push(branch);
                    weights.push(u32::try_from(weight.unwrap_or(1)).unwrap_or_default());
                }
                None => whole = false,
            }
        }
        if items(node).is_empty() {
            self.problems.error(node.place, "`split` needs at least one entry");
            return None;
        }
        let split = match sticky {
            Some(subject) => Split::sticky(route, weights, subject),
            None => Split::weighted(weights),
        };
        whole.then_some(Destination::Forward { split, branches })
    }

    fn respond(&mut self, node: &Node, params: &[Arc<str>]) -> Option<Respond> {
        let mut fields = Fields::of(node, "`respond`", &mut self.problems)?;
        let status = fields.take("status").map_or(Some(http::StatusCode::OK), |node| self.status(node, 200, 599));
        let headers = self.header_values(fields.take("headers"), Stands::Request, params);
        let body = match fields.take("body") {
            None => Some(RespondBody::Empty),
            Some(node) => self.respond_body(node, params),
        };
        fields.finish(&mut self.problems);
        Some(Respond { status: status?, headers, body: body? })
    }

    fn respond_body(&mut self, node: &Node, params: &[Arc<str>]) -> Option<RespondBody> {
        match &node.value {
            Value::Map(_) | Value::List(_) => self.json_template(node, params).map(RespondBody::Json),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
                self.template(node, "`body`", Stands::Request, params).map(RespondBody::Text)
            }
        }
    }

    /// A document, its texts compiled.
    fn json_template(&mut self, node: &Node, params: &[Arc<str>]) -> Option<JsonTemplate> {
        Some(match &node.value {
            Value::Null => JsonTemplate::Fixed(serde_json::Value::Null),
            Value::Bool(value) => JsonTemplate::Fixed(serde_json::Value::Bool(*value)),
            // Written in YAML's way, a number may be none of JSON's: then it is text.
            Value::Number(number) => JsonTemplate::Fixed(
                serde_json::from_str(number).unwrap_or_else(|_| serde_json::Value::String(number.clone())),
            ),
            Value::Text(text) => {
                let template = self.template(node, "a text", Stands::Request, params)?;
                match template.fixed() {
                    Some(_) if !text.contains("${") => JsonTemplate::Fixed(serde_json::Value::String(text.clone())),
                    _ => JsonTemplate::Text(template),
                }
            }
            Value::List(items) => {
                JsonTemplate::List(items.iter().filter_map(|item| self.json_template(item, params)).collect())
            }
            Value::Map(entries) => JsonTemplate::Map(
                entries
                    .iter()
                    .filter_map(|(key, node)| Some((key.name.clone(), self.json_template(node, params)?)))
                    .collect(),
            ),
        })
    }

    fn redirect(&mut self, node: &Node, params: &[Arc<str>]) -> Option<Redirect> {
        let mut fields = Fields::of(node, "`redirect`", &mut self.problems)?;
        let status = match fields.take("status") {
            None => Some(302),
            Some(node) => self.problems.integer(node, "`status`", 301, 308).filter(|status| {
                let known = matches!(status, 301 | 302 | 303 | 307 | 308);
                if !known {
                    self.problems.error(node.place, "`status` of a redirect must be 301, 302, 303, 307 or 308");
                }
                known
            }),
        };
        let status =
            status.and_then(|status| u16::try_from(status).ok()).and_then(|code| http::StatusCode::from_u16(code).ok());
        let location = fields.take("location");
        let parts = ["scheme", "host", "port", "path", "strip_prefix", "add_prefix"];
        if let Some(location) = location {
            if parts.iter().any(|part| node.get(part).is_some()) {
                self.problems.error(location.place, "`location` stands alone: it is the whole address");
            }
            for part in parts {
                fields.take(part);
            }
            fields.finish(&mut self.problems);
            let template = self.template(location, "`location`", Stands::Request, params)?;
            return self.or_report(location, "`location`", Redirect::location(template, status?));
        }
        let mut redirect = Redirect::parts(status?);
        redirect.scheme = fields.take("scheme").and_then(|node| {
            self.problems.word(node, "`scheme`", &[("http", "http"), ("https", "https")]).map(str::to_owned)
        });
        redirect.host = fields.take("host").and_then(|node| self.fixed_text(node, "`host`"));
        redirect.port = fields
            .take("port")
            .and_then(|node| self.problems.integer(node, "`port`", 1, 65_535))
            .and_then(|port| u16::try_from(port).ok());
        redirect.path = self.redirect_path(&mut fields, params)?;
        fields.finish(&mut self.problems);
        Some(redirect)
    }

    fn redirect_path(&mut self, fields: &mut Fields<'_>, params: &[Arc<str>]) -> Option<RedirectPath> {
        let whole = fields.take("path");
        let strip = fields.take("strip_prefix").map(|node| self.fixed_text(node, "`strip_prefix`"));
        let add = fields.take("add_prefix").map(|node| self.fixed_text(node, "`add_prefix`"));
        match (whole, strip, add) {
            (Some(node), None, None) => self.template(node, "`path`", Stands::Request, params).map(RedirectPath::Whole),
            (None, None, None) => Some(RedirectPath::Same),
            (None, strip, add) => Some(RedirectPath::prefix(strip.flatten(), add.flatten())),
            (Some(node), _, _) => {
                self.problems
                    .error(node.place, "`path` is the whole path: `strip_prefix` and `add_prefix` do not go with it");
                None
            }
        }
    }
}
