//! `introspection:`.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;

use crate::auth::jwt::Source;
use crate::auth::{Introspection, IntrospectionClient, IntrospectionPolicy, IntrospectionTerms, Method};

use super::super::problem::Severity;
use super::super::read::Fields;
use super::super::tree::Node;
use super::Reader;

/// For how long what was said of a token holds, where nothing is written, and at most: a revoked one is let in so long.
const CACHE: Duration = Duration::from_secs(60);
const LONGEST_CACHE: Duration = Duration::from_secs(3_600);

const TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);

impl Reader<'_> {
    pub(super) fn introspection(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`introspection`", &mut self.problems)?;
        let before = self.problems.count(Severity::Error);
        let ca = self.trusted_authorities(&mut fields, path);
        let endpoint = fields.need("url", &mut self.problems).and_then(|node| self.endpoint(node, "`url`", ca));
        let client = fields.need("client", &mut self.problems).and_then(|node| self.client(node, path));
        let timeout = fields.take("timeout").and_then(|node| self.timeout(node)).unwrap_or(TIMEOUT);
        let cache = fields.take("cache").and_then(|node| self.cache_time(node)).unwrap_or(CACHE);
        let issuer = fields.take("issuer").and_then(|node| self.problems.text(node, "`issuer`"));
        let audiences = self.audiences(&mut fields, "`introspection`");
        let require = fields.take("require").map(|node| self.required(node)).unwrap_or_default();
        let from = fields.take("from").map(|node| self.sources(node));
        let mapping = self.mapping(&mut fields);
        fields.finish(&mut self.problems);
        if self.problems.count(Severity::Error) > before {
            return None;
        }
        let from = from.unwrap_or_else(|| vec![Source::Header(AUTHORIZATION)]);
        let terms = IntrospectionTerms { issuer, audiences, require, mapping };
        let policy = IntrospectionPolicy { endpoint: endpoint?, client: client?, timeout, cache, from, terms };
        Some(Arc::new(Introspection::new(name, policy)))
    }

    /// Who the gateway is there.
    fn client(&mut self, node: &Node, path: &str) -> Option<IntrospectionClient> {
        let mut fields = Fields::of(node, "`client`", &mut self.problems)?;
        let id = fields.need("id", &mut self.problems).and_then(|node| self.fixed_text(node, "`id`"));
        let secret = fields.need("secret", &mut self.problems).and_then(|node| self.live_secret(node, path));
        let post = fields
            .take("method")
            .and_then(|node| self.problems.word(node, "`method`", &[("basic", false), ("post", true)]));
        fields.finish(&mut self.problems);
        Some(IntrospectionClient { id: id?, secret: secret?, post: post.unwrap_or_default() })
    }

    fn timeout(&mut self, node: &Node) -> Option<Duration> {
        let timeout = self.problems.duration(node, "`timeout`")?;
        if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
            self.problems.error(node.place, "`timeout` must be from 1ms to 10s: requests wait for so long");
        }
        Some(timeout)
    }

    fn cache_time(&mut self, node: &Node) -> Option<Duration> {
        let cache = self.problems.duration(node, "`cache`")?;
        if cache > LONGEST_CACHE {
            self.problems.error(node.place, "`cache` must be 1h or less: a revoked token is let in for so long");
        }
        Some(cache)
    }
}
