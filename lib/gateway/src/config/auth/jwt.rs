//! `jwt:`.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};

use crate::auth::Method;
use crate::auth::jwt::{Algorithm, Jwt, KeySet, Keys, Policy, Rules, Source};
use crate::secret::Secret;

use super::super::files::beside;
use super::super::problem::{Place, Severity};
use super::super::read::{Fields, items};
use super::super::tree::{Node, Value};
use super::Reader;

/// What is taken where nothing is written: never a secret's algorithm.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Rs256, Algorithm::Es256];

/// Tokens of other kinds (`logout+jwt`, `dpop+jwt`…) are not meant for us (RFC 8725 §3.11).
const TYPES: [&str; 2] = ["jwt", "at+jwt"];

const LEEWAY: Duration = Duration::from_secs(30);

/// A leeway above this undoes what expiry is for.
const MOST_LEEWAY: Duration = Duration::from_secs(600);

impl Reader<'_> {
    pub(super) fn jwt(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`jwt`", &mut self.problems)?;
        let before = self.problems.count(Severity::Error);
        let issuer = fields.need("issuer", &mut self.problems).and_then(|node| self.issuer(node));
        let algorithms = fields.take("algorithms");
        let keys = fields.need("keys", &mut self.problems);
        let keys = keys.and_then(|node| self.keys(node, issuer.as_deref(), algorithms, path));
        let audiences = self.audiences(&mut fields, "`jwt`");
        let audience_claim = fields.take("audience_claim").and_then(|node| self.problems.text(node, "a claim"));
        let require = fields.take("require").map(|node| self.required(node)).unwrap_or_default();
        let leeway = fields.take("leeway").and_then(|node| self.leeway(node)).unwrap_or(LEEWAY);
        let max_lifetime = fields.take("max_lifetime").and_then(|node| self.problems.duration(node, "`max_lifetime`"));
        let types = fields.take("types").map(|node| self.types(node));
        let from = fields.take("from").map(|node| self.sources(node));
        let mapping = self.mapping(&mut fields);
        fields.finish(&mut self.problems);
        if self.problems.count(Severity::Error) > before {
            return None;
        }
        let (keys, algorithms) = keys?;
        let rules = Rules { issuer: issuer?, audiences, audience_claim, require, leeway, max_lifetime };
        let types = types.unwrap_or_else(|| TYPES.map(str::to_owned).to_vec());
        let from = from.unwrap_or_else(|| vec![Source::Header(AUTHORIZATION)]);
        Some(Arc::new(Jwt::new(name, Policy { keys, algorithms, types, rules, from, mapping })))
    }

    /// An issuer is compared as written. One that is an address is one of https (OpenID Connect Core §2), or of this
    /// machine.
    fn issuer(&mut self, node: &Node) -> Option<String> {
        let issuer = self.problems.text(node, "`issuer`")?;
        let plain = issuer.strip_prefix("http://");
        let here = |rest: &str| ["localhost", "127.0.0.1", "[::1]"].contains(&host(rest));
        if issuer.is_empty() || plain.is_some_and(|rest| !here(rest)) {
            let message =
                format!("`issuer` \"{issuer}\" must be what tokens have as `iss`, an https address as a rule");
            self.problems.error(node.place, message);
        }
        Some(issuer)
    }

    pub(super) fn audiences(&mut self, fields: &mut Fields<'_>, what: &str) -> Vec<String> {
        let place = fields.place();
        let any = fields.take("any_audience").and_then(|node| self.problems.boolean(node, "`any_audience`"));
        let audiences = fields.take("audiences");
        let audiences: Vec<String> = audiences.map(|node| self.words(node, "an audience")).unwrap_or_default();
        match (any.unwrap_or_default(), audiences.is_empty()) {
            (false, true) => {
                let message = format!(
                    "{what} needs `audiences`: without them a token for any other service of the issuer is taken here \
                     too, which `any_audience: true` allows"
                );
                self.problems.error(place, message);
            }
            (true, false) => self.problems.error(place, "`any_audience` and `audiences` exclude each other"),
            (true, true) | (false, false) => {}
        }
        audiences
    }

    /// Texts, at least one, none of them empty.
    fn words(&mut self, node: &Node, what: &'static str) -> Vec<String> {
        let mut words = Vec::new();
        for item in items(node) {
            let Some(word) = self.problems.text(item, what) else { continue };
            if word.is_empty() {
                self.problems.error(item.place, format!("{what} must not be empty"));
            }
            words.push(word);
        }
        words
    }

    pub(super) fn required(&mut self, node: &Node) -> Vec<(String, serde_json::Value)> {
        let mut required = Vec::new();
        for (key, node) in self.problems.entries(node, "`require`") {
            let value = match &node.value {
                Value::Text(text) => serde_json::Value::from(text.as_str()),
                Value::Bool(value) => serde_json::Value::from(*value),
                Value::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into()),
                Value::Null | Value::List(_) | Value::Map(_) => {
                    let message = format!("`require` takes text, a number or a boolean, not {}", node.kind());
                    self.problems.error(node.place, message);
                    continue;
                }
            };
            required.push((key.name.clone(), value));
        }
        required
    }

    fn leeway(&mut self, node: &Node) -> Option<Duration> {
        let leeway = self.problems.duration(node, "`leeway`")?;
        if leeway > MOST_LEEWAY {
            self.problems.error(node.place, "`leeway` must be 10m or less: expired tokens are taken for so long");
        }
        Some(leeway)
    }

    fn types(&mut self, node: &Node) -> Vec<String> {
        let types = self.words(node, "a type");
        if types.is_empty() {
            self.problems.error(node.place, "`types` names nothing");
        }
        let short = |typ: String| typ.strip_prefix("application/").map_or_else(|| typ.clone(), str::to_owned);
        types.into_iter().map(|typ| short(typ.to_ascii_lowercase())).collect()
    }

    pub(super) fn sources(&mut self, node: &Node) -> Vec<Source> {
        let mut sources: Vec<Source> = Vec::new();
        for item in items(node) {
            let Some(source) = self.source(item) else { continue };
            if sources.contains(&source) {
                self.problems.error(item.place, format!("{source} is named twice"));
            }
            sources.push(source);
        }
        if items(node).is_empty() {
            self.problems.error(node.place, "`from` names no place that a token may stand in");
        }
        sources
    }

    fn source(&mut self, node: &Node) -> Option<Source> {
        let mut fields = Fields::of(node, "a place of `from`", &mut self.problems)?;
        let place = fields.place();
        let (header, cookie, query) = (fields.take("header"), fields.take("cookie"), fields.take("query"));
        fields.finish(&mut self.problems);
        match (header, cookie, query) {
            (Some(node), None, None) => {
                let name = self.header_name(node)?;
                if name == COOKIE {
                    self.problems.error(node.place, "write `{cookie: NAME}` for a token in a cookie");
                }
                Some(Source::Header(name))
            }
            (None, Some(node), None) => {
                let name = self.problems.text(node, "a cookie")?;
                // A cookie's name is a token (RFC 6265 §4.1.1), as a header's is.
                if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                    self.problems.error(node.place, format!("\"{name}\" is no cookie name"));
                }
                Some(Source::Cookie(name))
            }
            (None, None, Some(node)) => {
                let name = self.problems.text(node, "a parameter")?;
                self.problems
                    .warn(node.place, "a token in the query ends up in logs, histories and referrers (RFC 6750 §5.3)");
                Some(Source::Query(name))
            }
            _ => {
                self.problems
                    .error(place, "a place of `from` is one of `{header: NAME}`, `{cookie: NAME}`, `{query: NAME}`");
                None
            }
        }
    }

    /// What tokens are checked with, and the algorithms that go with it.
    fn keys(
        &mut self,
        node: &Node,
        issuer: Option<&str>,
        algorithms: Option<&Node>,
        path: &str,
    ) -> Option<(Keys, Vec<Algorithm>)> {
        let mut fields = Fields::of(node, "`keys`", &mut self.problems)?;
        let place = fields.place();
        let before = self.problems.count(Severity::Error);
        let (file, secret) = (fields.take("file"), fields.take("secret"));
        let published = self.published(&mut fields, issuer, path);
        fields.finish(&mut self.problems);
        match (file, secret, published) {
            (None, None, Some(published)) => {
                let algorithms = self.algorithms(algorithms, false, place)?;
                Some((Keys::Published(published), algorithms))
            }
            (Some(node), None, None) => {
                let algorithms = self.algorithms(algorithms, false, place)?;
                Some((Keys::Fixed(self.key_file(node, &algorithms, path)?), algorithms))
            }
            (None, Some(node), None) => {
                let algorithms = self.algorithms(algorithms, true, place)?;
                let secret = self.shared_secret(node, &algorithms, path)?;
                let keys = Keys::secret(secret, &algorithms);
                Some((keys, algorithms))
            }
            _ if self.problems.count(Severity::Error) > before => None,
            _ => {
                self.problems.error(
                    place,
                    "`keys` is one of `{discover: true}`, `{jwks_url: ADDRESS}`, `{file: PATH}`, `{secret: REFERENCE}`",
                );
                None
            }
        }
    }

    /// The allow-list. Algorithms of secrets and of public keys do not mix: who knows a public key could sign with it.
    fn algorithms(&mut self, node: Option<&Node>, secret: bool, place: Place) -> Option<Vec<Algorithm>> {
        let Some(node) = node else {
            if secret {
                self.problems.error(place, "a `secret` needs `algorithms`, of HS256, HS384 and HS512");
            }
            return (!secret).then(|| ALGORITHMS.to_vec());
        };
        let mut algorithms = Vec::new();
        for item in items(node) {
            let Some(algorithm) = self.problems.word(item, "an algorithm", &Algorithm::ALL) else { continue };
            if algorithm.is_secret() != secret {
                let of = if secret { "public keys, and `keys` is a secret" } else { "secrets, and `keys` are public" };
                self.problems.error(item.place, format!("{algorithm} is for {of}"));
            }
            algorithms.push(algorithm);
        }
        if items(node).is_empty() {
            self.problems.error(node.place, "`algorithms` names nothing");
        }
        (!algorithms.is_empty()).then_some(algorithms)
    }

    /// A JWK set (RFC 7517 §5). Keys of no use are told of, and left out.
    fn key_file(&mut self, node: &Node, algorithms: &[Algorithm], path: &str) -> Option<Arc<KeySet>> {
        let file = self.problems.text(node, "a file")?;
        let bytes = self.file(node, &beside(path, &file))?;
        match KeySet::parse(&bytes, 0) {
            Ok((keys, left_out)) => {
                for why in left_out {
                    self.problems.warn(node.place, why);
                }
                if !algorithms.iter().any(|algorithm| keys.serves(*algorithm)) {
                    let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
                    self.problems.error(node.place, format!("\"{file}\" has no key for {}", names.join(", ")));
                }
                Some(Arc::new(keys))
            }
            Err(why) => {
                self.problems.error(node.place, format!("\"{file}\": {why}"));
                None
            }
        }
    }

    fn shared_secret(&mut self, node: &Node, algorithms: &[Algorithm], path: &str) -> Option<Arc<Secret>> {
        let secret = self.live_secret(node, path)?;
        if let Some(value) = secret.get()
            && let Err(why) = KeySet::secret(&value, algorithms, 0)
        {
            self.problems.error(node.place, format!("the secret is too short: {why} (RFC 7518 §3.2)"));
        }
        Some(secret)
    }
}

/// The host of what follows `http://`.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
