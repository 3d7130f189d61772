//! `sign` of an upstream.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};

use crate::forward::sign::{ClientAuth, ClientCredentials, Field, SigV4, Sign};

use super::Reader;
use super::files::beside;
use super::problem::Severity;
use super::read::{Fields, items};
use super::tree::{Node, Value};

impl Reader<'_> {
    /// One of `sigv4`, `bearer`, `basic`, `headers`, `oauth2`.
    pub(crate) fn sign(&mut self, node: &Node, path: &str) -> Option<Sign> {
        let before = self.problems.count(Severity::Error);
        let mut fields = Fields::of(node, "`sign`", &mut self.problems)?;
        let place = fields.place();
        let mut found = Vec::new();
        if let Some(node) = fields.take("sigv4") {
            found.push(self.sigv4(node).map(Sign::SigV4));
        }
        if let Some(node) = fields.take("bearer") {
            let secret = self.secret_or_map(node, path, "`bearer`");
            found.push(secret.map(|secret| Sign::Fields(vec![Field::bearer(secret)])));
        }
        if let Some(node) = fields.take("basic") {
            found.push(self.basic(node, path));
        }
        if let Some(node) = fields.take("headers") {
            found.push(self.secret_headers(node, path));
        }
        if let Some(node) = fields.take("oauth2") {
            found.push(self.oauth2(node, path).map(|credentials| Sign::Token(Arc::new(credentials))));
        }
        fields.finish(&mut self.problems);
        if found.len() > 1 || (found.is_empty() && self.problems.count(Severity::Error) == before) {
            self.problems.error(place, "`sign` has one of sigv4, bearer, basic, headers and oauth2");
        }
        found.pop()?
    }

    fn sigv4(&mut self, node: &Node) -> Option<SigV4> {
        let mut fields = Fields::of(node, "`sigv4`", &mut self.problems)?;
        let service = fields.need("service", &mut self.problems).and_then(|node| self.aws_word(node, "`service`"));
        let region = fields.take("region").map(|node| self.aws_word(node, "`region`"));
        fields.finish(&mut self.problems);
        let region = match region {
            Some(region) => Some(region?),
            None => None,
        };
        Some(SigV4 { service: service?, region })
    }

    /// A service or a region: they are written alike.
    fn aws_word(&mut self, node: &Node, what: &str) -> Option<Arc<str>> {
        let text = self.fixed_text(node, what)?;
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            self.problems.error(
                node.place,
                format!("{what} \"{text}\" must be as AWS signs it, in lower case, like lambda or eu-west-1"),
            );
        }
        fits.then(|| text.into())
    }

    fn basic(&mut self, node: &Node, path: &str) -> Option<Sign> {
        let mut fields = Fields::of(node, "`basic`", &mut self.problems)?;
        let user = fields.need("user", &mut self.problems).and_then(|node| {
            let user = self.fixed_text(node, "`user`")?;
            // RFC 7617 §2: what comes after the first colon is the password.
            let fits = !user.contains(':') && !user.contains(char::is_control);
            if !fits {
                self.problems.error(node.place, "`user` must have no colon, which ends it");
            }
            fits.then_some(user)
        });
        let password = fields.need("password", &mut self.problems);
        let password = password.and_then(|node| self.secret_or_map(node, path, "`password`"));
        fields.finish(&mut self.problems);
        Some(Sign::Fields(vec![Field::basic(user?, password?)]))
    }

    fn secret_headers(&mut self, node: &Node, path: &str) -> Option<Sign> {
        let mut made = Vec::new();
        let entries = self.problems.entries(node, "`headers`");
        for (key, node) in entries {
            let name = self.header_named(&key.name, key.place);
            let name = name.filter(|name| {
                let framing = [CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE].contains(name);
                if framing {
                    self.problems.error(key.place, format!("`{name}` is not for a secret"));
                }
                !framing
            });
            let secret = self.secret_or_map(node, path, "a header");
            made.extend(name.zip(secret).map(|(name, secret)| Field::whole(name, secret)));
        }
        if entries.is_empty() {
            self.problems.error(node.place, "`headers` names no header");
        }
        (!made.is_empty()).then_some(Sign::Fields(made))
    }

    fn oauth2(&mut self, node: &Node, path: &str) -> Option<ClientCredentials> {
        let mut fields = Fields::of(node, "`oauth2`", &mut self.problems)?;
        let ca = fields.take("ca").and_then(|node| {
            let file = self.problems.text(node, "`ca`")?;
            self.file(node, &beside(path, &file)).map(Bytes::from)
        });
        let endpoint = fields.need("token_url", &mut self.problems);
        let endpoint = endpoint.and_then(|node| self.endpoint(node, "`token_url`", ca));
        let client = fields.need("client", &mut self.problems).and_then(|node| self.token_client(node, path));
        let scopes = fields.take("scopes").map(|node| self.scope_tokens(node)).unwrap_or_default();
        let audience = fields.take("audience").map(|node| self.fixed_text(node, "`audience`"));
        fields.finish(&mut self.problems);
        let (id, secret, auth) = client?;
        let audience = audience.flatten();
        Some(ClientCredentials::new(endpoint?, id, secret, auth, scopes, audience))
    }

    fn token_client(&mut self, node: &Node, path: &str) -> Option<(String, Arc<crate::secret::Secret>, ClientAuth)> {
        let mut fields = Fields::of(node, "`client`", &mut self.problems)?;
        let id = fields.need("id", &mut self.problems).and_then(|node| self.fixed_text(node, "`id`"));
        let secret = fields.need("secret", &mut self.problems);
        let secret = secret.and_then(|node| self.secret_or_map(node, path, "`secret`"));
        let auth = fields.take("method").map(|node| self.problems.word(node, "`method`", &METHODS));
        fields.finish(&mut self.problems);
        Some((id?, secret?, auth.unwrap_or(Some(ClientAuth::Basic))?))
    }

    /// Scope tokens (RFC 6749 §3.3).
    fn scope_tokens(&mut self, node: &Node) -> Vec<String> {
        let mut scopes = Vec::new();
        for item in items(node) {
            if let Value::Map(_) = item.value {
                self.problems.error(item.place, "a scope must be text, not a map");
                continue;
            }
            let Some(scope) = self.fixed_text(item, "a scope") else { continue };
            let fits = !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
            if !fits {
                self.problems.error(item.place, format!("\"{scope}\" is no scope: write each as an item of its own"));
            }
            scopes.push(scope);
        }
        scopes
    }
}

const METHODS: [(&str, ClientAuth); 2] = [("basic", ClientAuth::Basic), ("post", ClientAuth::Post)];
