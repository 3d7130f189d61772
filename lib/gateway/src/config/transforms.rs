//! `request:` and `response:` of a route or of a split's entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderName, StatusCode};

use crate::asserted::Asserted;
use crate::expression::{Part, Place as Stands, Template};
use crate::transform::headers::{HeaderRewrite, reserved};
use crate::transform::path::PathRewrite;
use crate::transform::query::QueryRewrite;
use crate::transform::{RequestTransform, ResponseTransform};

use super::Reader;
use super::problem::Place;
use super::read::{Fields, items};
use super::tree::Node;

impl Reader<'_> {
    /// `request:`.
    pub(crate) fn request_transform(&mut self, node: Option<&Node>, params: &[Arc<str>]) -> RequestTransform {
        let mut transform = RequestTransform::default();
        let Some(mut fields) = node.and_then(|node| Fields::of(node, "`request`", &mut self.problems)) else {
            return transform;
        };
        fields.later(&["body"]);
        if let Some(path) = self.path_rewrite(&mut fields, params) {
            transform.path = path;
        }
        transform.method = fields.take("method").and_then(|node| self.method(node));
        transform.host = fields.take("host").and_then(|node| {
            let host = self.fixed_text(node, "`host`")?;
            let fits = host.parse::<http::uri::Authority>().is_ok_and(|_| !host.contains('@'));
            if !fits {
                self.problems.error(node.place, format!("`host` \"{host}\" must be a host name"));
            }
            fits.then_some(host)
        });
        transform.headers = self.header_rewrite(fields.take("headers"), Stands::Request, params);
        if let Some(mut query) = fields.take("query").and_then(|node| Fields::of(node, "`query`", &mut self.problems)) {
            let mut rewrite = QueryRewrite::default();
            for (key, node) in query.take("set").map(|node| self.problems.entries(node, "`set`")).unwrap_or_default() {
                let template = self.template(node, "a parameter", Stands::Request, params);
                rewrite.set.extend(template.map(|template| (key.name.clone(), template)));
            }
            for node in query.take("remove").map(items).unwrap_or_default() {
                rewrite.remove.extend(self.problems.text(node, "a parameter"));
            }
            query.finish(&mut self.problems);
            transform.query = rewrite;
        }
        fields.finish(&mut self.problems);
        transform
    }

    /// `response:`.
    pub(crate) fn response_transform(&mut self, node: Option<&Node>, params: &[Arc<str>]) -> ResponseTransform {
        let mut transform = ResponseTransform::default();
        let Some(mut fields) = node.and_then(|node| Fields::of(node, "`response`", &mut self.problems)) else {
            return transform;
        };
        fields.later(&["body"]);
        transform.headers = self.header_rewrite(fields.take("headers"), Stands::Response, params);
        transform.status = fields.take("status").map(|node| self.status_map(node)).unwrap_or_default();
        fields.finish(&mut self.problems);
        transform
    }

    fn status_map(&mut self, node: &Node) -> BTreeMap<StatusCode, StatusCode> {
        let mut map = BTreeMap::new();
        for (key, node) in self.problems.entries(node, "`status`") {
            let from = key.name.parse::<u16>().ok().and_then(final_status);
            if from.is_none() {
                self.problems.error(key.place, format!("\"{}\" must be a status from 200 to 599", key.name));
            }
            if let (Some(from), Some(to)) = (from, self.status(node, 200, 599)) {
                map.insert(from, to);
            }
        }
        map
    }

    /// A status code within bounds.
    pub(crate) fn status(&mut self, node: &Node, least: i64, most: i64) -> Option<StatusCode> {
        let code = self.problems.integer(node, "a status", least, most)?;
        u16::try_from(code).ok().and_then(final_status)
    }

    /// `path`, `strip_prefix`, `add_prefix`, `regex`.
    fn path_rewrite(&mut self, fields: &mut Fields<'_>, params: &[Arc<str>]) -> Option<PathRewrite> {
        let whole = fields.take("path");
        let strip = fields.take("strip_prefix");
        let add = fields.take("add_prefix");
        let regex = fields.take("regex");
        let ways = usize::from(whole.is_some()) + usize::from(strip.or(add).is_some()) + usize::from(regex.is_some());
        if ways > 1 {
            let message = "takes one of `path`, `strip_prefix` with `add_prefix`, and `regex`";
            self.problems.error(fields.place(), format!("`request` {message}"));
            return None;
        }
        if let Some(node) = whole {
            let template = self.template(node, "`path`", Stands::Request, params)?;
            return self.or_report(node, "`path`", PathRewrite::template(template));
        }
        if let Some(node) = regex {
            let mut regex = Fields::of(node, "`regex`", &mut self.problems)?;
            let pattern = regex.need("match", &mut self.problems);
            let replace = regex.need("replace", &mut self.problems);
            regex.finish(&mut self.problems);
            let (pattern, replace) = (pattern?, replace?);
            let text = self.problems.text(pattern, "`match`")?;
            let replacement = self.problems.text(replace, "`replace`")?;
            return self.or_report(pattern, "the regex", PathRewrite::regex(&text, &replacement));
        }
        let strip = strip.map(|node| (node, self.fixed_text(node, "`strip_prefix`")));
        let add = add.map(|node| (node, self.fixed_text(node, "`add_prefix`")));
        for (node, prefix) in [&strip, &add].into_iter().flatten() {
            if prefix.as_ref().is_some_and(|prefix| !prefix.starts_with('/')) {
                self.problems.error(node.place, "a prefix must start with `/`");
            }
        }
        let text = |prefix: Option<(&Node, Option<String>)>| prefix.and_then(|(_, prefix)| prefix);
        (strip.is_some() || add.is_some()).then(|| PathRewrite::prefix(text(strip), text(add)))
    }

    fn header_rewrite(&mut self, node: Option<&Node>, stands: Stands, params: &[Arc<str>]) -> HeaderRewrite {
        let mut rewrite = HeaderRewrite::default();
        let Some(mut fields) = node.and_then(|node| Fields::of(node, "`headers`", &mut self.problems)) else {
            return rewrite;
        };
        rewrite.set = self.header_values(fields.take("set"), stands, params);
        rewrite.add = self.header_values(fields.take("add"), stands, params);
        for node in fields.take("remove").map(items).unwrap_or_default() {
            rewrite.remove.extend(self.header_name(node));
        }
        for (key, node) in fields.take("rename").map(|node| self.problems.entries(node, "`rename`")).unwrap_or_default()
        {
            let from = self.writable_header(&key.name, key.place);
            let to = self.problems.text(node, "a header").and_then(|to| self.writable_header(&to, node.place));
            rewrite.rename.extend(from.zip(to));
        }
        fields.finish(&mut self.problems);
        if stands == Stands::Request {
            rewrite.told = self.told(&rewrite);
        }
        rewrite
    }

    /// The names that a rewrite tells of callers by, and that no method does: of those no client's copies are left.
    fn told(&self, rewrite: &HeaderRewrite) -> Vec<HeaderName> {
        let forwards: Vec<_> = self.auth.values().flatten().flat_map(|entry| entry.method.forwards()).collect();
        let renamed = rewrite.rename.iter().filter(|(from, _)| forwards.contains(from)).map(|(_, to)| to);
        let set = rewrite.set.iter().filter(|(_, value)| value.reads(Part::Caller)).map(|(name, _)| name);
        let names: Vec<_> = renamed.chain(set).cloned().collect();
        let asserted = Asserted::new(forwards);
        names.into_iter().filter(|name| !asserted.holds(name.as_str())).collect()
    }

    /// Header names with templates.
    pub(crate) fn header_values(
        &mut self,
        node: Option<&Node>,
        stands: Stands,
        params: &[Arc<str>],
    ) -> Vec<(HeaderName, Template)> {
        let mut values = Vec::new();
        for (key, node) in node.map(|node| self.problems.entries(node, "headers")).unwrap_or_default() {
            let name = self.writable_header(&key.name, key.place);
            let template = self.template(node, "a header", stands, params);
            values.extend(name.zip(template));
        }
        values
    }

    /// A header that a config may write: not one that the framing or the gateway owns.
    fn writable_header(&mut self, name: &str, place: Place) -> Option<HeaderName> {
        let name = self.header_named(name, place)?;
        if reserved(&name) {
            let message = format!("the header \"{name}\" is the gateway's own and cannot be written");
            self.problems.error(place, message);
            return None;
        }
        Some(name)
    }
}

/// A status that can end an exchange: no 1xx.
fn final_status(code: u16) -> Option<StatusCode> {
    StatusCode::from_u16(code).ok().filter(|status| (200..=599).contains(&status.as_u16()))
}
