//! `external:`.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderName, Method as Verb};

use crate::auth::Method;
use crate::auth::external::{Arn, Authorizer, External, Function, Part, Payload, Service, Terms};
use crate::call::Endpoint;
use crate::forward::sign::SigV4;

use super::super::read::{Fields, items, show_duration};
use super::super::tree::Node;
use super::Reader;

/// What API Gateway lets an authorizer take, and an answer last.
const MOST_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_CACHE: Duration = Duration::from_secs(3_600);

/// Fields that belong to a connection or its content, or that the call sets itself.
const NOT_FORWARDED: [&str; 10] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "expect",
];

impl Reader<'_> {
    pub(super) fn external(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`external`", &mut self.problems)?;
        let place = fields.place();
        let authorizer = match (node.get("url").is_some(), node.get("lambda").is_some()) {
            (true, false) => self.service(&mut fields, path),
            (false, true) => self.function(&mut fields, path),
            _ => {
                self.problems.error(place, "`external` needs one of `url` and `lambda`");
                fields.take("url");
                fields.take("lambda");
                None
            }
        };
        let default = if node.get("lambda").is_some() { 3_000 } else { 500 };
        let timeout = self.external_time(&mut fields, "timeout", Duration::from_millis(default), MOST_TIMEOUT);
        let cache = self.external_time(&mut fields, "cache", Duration::ZERO, MOST_CACHE);
        if timeout == Some(Duration::ZERO) {
            self.problems.error(place, "`timeout` must be more than nothing");
        }
        let forward_headers = match fields.take("forward_headers") {
            Some(node) => items(node).iter().filter_map(|node| self.forwarded_header(node)).collect(),
            None => vec![AUTHORIZATION],
        };
        let identity = fields.take("identity").map(|node| self.identity(node, &forward_headers));
        let by_route =
            fields.take("by_route").and_then(|node| Some((node, self.problems.boolean(node, "`by_route`")?)));
        if let (Some((node, false)), Some(cache)) = (by_route, cache)
            && !cache.is_zero()
        {
            self.problems.warn(
                node.place,
                "`by_route: false`: an answer that is kept for one route lets the caller into all of them, unless it is an \
                 IAM policy that tells them apart",
            );
        }
        fields.finish(&mut self.problems);
        let by_route = by_route.is_none_or(|(_, by_route)| by_route);
        let terms = Terms { timeout: timeout?, cache: cache?, forward_headers, identity, by_route };
        Some(Arc::new(External::new(name, authorizer?, terms)))
    }

    fn service(&mut self, fields: &mut Fields<'_>, path: &str) -> Option<Authorizer> {
        let ca = self.trusted_authorities(fields, path);
        let endpoint = fields.take("url").and_then(|node| self.endpoint(node, "`url`", ca));
        let method = fields.take("method").map_or(Some(Verb::GET), |node| {
            self.problems
                .word(node, "`method`", &[("GET", false), ("POST", true)])
                .map(|post| if post { Verb::POST } else { Verb::GET })
        });
        let upstream_headers = fields.take("upstream_headers").map(items).unwrap_or_default();
        let upstream_headers = upstream_headers.iter().filter_map(|node| self.forwarded_header(node)).collect();
        Some(Authorizer::Service(Service { endpoint: endpoint?, method: method?, upstream_headers }))
    }

    fn function(&mut self, fields: &mut Fields<'_>, path: &str) -> Option<Authorizer> {
        let node = fields.take("lambda")?;
        let mut fields = Fields::of(node, "`lambda`", &mut self.problems)?;
        let function = fields.need("function", &mut self.problems);
        let arn = function.and_then(|node| {
            let text = self.fixed_text(node, "`function`")?;
            let arn = Arn::parse(&text);
            if arn.is_none() {
                let form = "arn:aws:lambda:eu-west-1:123456789012:function:name";
                self.problems
                    .error(node.place, format!("`function` \"{text}\" must be the function's ARN, like {form}"));
            }
            arn
        });
        let formats = [("v2", Payload::V2), ("v1", Payload::V1)];
        let payload =
            fields.take("payload").map_or(Some(Payload::V2), |node| self.problems.word(node, "`payload`", &formats));
        let mut text = |name: &'static str, default: &str| match fields.take(name) {
            Some(node) => self.fixed_text(node, name).filter(|text| {
                let fits = (1..=128).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_$.".contains(&b));
                if !fits {
                    self.problems.error(
                        node.place,
                        format!("`{name}` \"{text}\" must be letters, digits, `-`, `_`, `.` or `$`"),
                    );
                }
                fits
            }),
            None => Some(default.to_owned()),
        };
        let (api_id, stage) = (text("api_id", "tollgate"), text("stage", "$default"));
        let ca = self.trusted_authorities(&mut fields, path);
        let base = fields.take("endpoint").map(|node| (node, self.fixed_text(node, "`endpoint`")));
        fields.finish(&mut self.problems);
        let arn = arn?;
        let place = base.as_ref().map_or(node.place, |(node, _)| node.place);
        let base = match base {
            Some((_, base)) => Some(base?),
            None => None,
        };
        let endpoint = Endpoint::parse(&arn.url(base.as_deref()), ca);
        if let Err(why) = &endpoint {
            self.problems.error(place, format!("`endpoint` {why}"));
        }
        let endpoint = signed(endpoint.ok()?, &arn);
        Some(Authorizer::Function(Function::new(endpoint, arn, payload?, api_id?, stage?)))
    }

    fn external_time(
        &mut self,
        fields: &mut Fields<'_>,
        name: &'static str,
        default: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let Some(node) = fields.take(name) else { return Some(default) };
        let what = format!("`{name}`");
        let given = self.problems.duration(node, &what)?;
        if given > most {
            self.problems.error(node.place, format!("{what} must be at most {}", show_duration(most)));
        }
        Some(given)
    }

    fn forwarded_header(&mut self, node: &Node) -> Option<HeaderName> {
        let name = self.header_name(node)?;
        let fits = !NOT_FORWARDED.contains(&name.as_str());
        if !fits {
            self.problems.error(node.place, format!("{name} cannot be passed on"));
        }
        fits.then_some(name)
    }

    /// What tells callers apart: of the fields only those that the authorizer is told.
    fn identity(&mut self, node: &Node, forwarded: &[HeaderName]) -> Vec<Part> {
        let mut parts = Vec::new();
        for item in items(node) {
            let Some(text) = self.problems.text(item, "what tells callers apart") else { continue };
            let word = Part::WORDS.into_iter().find(|(word, _)| *word == text).map(|(_, part)| part);
            if word.is_none() && text.starts_with("request.") {
                let words = Part::WORDS.map(|(word, _)| word).join(", ");
                self.problems.error(item.place, format!("\"{text}\" must be a header, or one of {words}"));
                continue;
            }
            let header = || self.header_named(&text, item.place).map(Part::Header);
            let Some(part) = word.or_else(header) else { continue };
            if let Part::Header(name) = &part
                && !forwarded.contains(name)
            {
                self.problems.error(
                    item.place,
                    format!("{name} is not among `forward_headers`: the authorizer would not see it"),
                );
            }
            parts.push(part);
        }
        if parts.is_empty() {
            self.problems
                .error(node.place, "`identity` names nothing: leave it out for all that the authorizer is told");
        }
        parts
    }
}

/// The endpoint of a function, whose calls are signed with the environment's credentials.
fn signed(endpoint: Endpoint, function: &Arn) -> Endpoint {
    endpoint.signed(SigV4 { service: "lambda".into(), region: Some(function.region().into()) })
}
