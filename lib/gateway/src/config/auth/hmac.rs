//! `hmac:`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::AUTHORIZATION;

use crate::auth::hmac::{Algorithm, Client, Hmac, SHORTEST};
use crate::auth::{Identity, Method};

use super::super::read::{Fields, items, show_duration};
use super::super::tree::{Key, Node};
use super::Reader;

/// The longest skew: a signature is good for that long, for whoever has seen it.
const MOST_SKEW: Duration = Duration::from_secs(3_600);

const MOST_CLIENTS: usize = 1_000;

const ALGORITHMS: &[(&str, Algorithm)] = &[
    (Algorithm::Sha256.as_str(), Algorithm::Sha256),
    (Algorithm::Sha384.as_str(), Algorithm::Sha384),
    (Algorithm::Sha512.as_str(), Algorithm::Sha512),
];

/// Parts that are no fields (draft-cavage-12 §2.3, RFC 9421 §2.2).
const DERIVED: &[&str] =
    &["request-line", "(request-target)", "(created)", "(expires)", "@authority", "@target-uri", "@scheme", "@query"];

impl Reader<'_> {
    pub(super) fn hmac(&mut self, name: &str, node: &Node, path: &str) -> Option<Arc<dyn Method>> {
        let mut fields = Fields::of(node, "`hmac`", &mut self.problems)?;
        let header = fields.take("header").map_or(Some(AUTHORIZATION), |node| self.header_name(node));
        let algorithms = match fields.take("algorithms") {
            Some(node) => items(node).iter().filter_map(|node| self.hmac_algorithm(node)).collect(),
            None => vec![Algorithm::Sha256],
        };
        let skew = fields.take("skew").map_or(Some(Duration::from_secs(300)), |node| self.hmac_skew(node));
        let required = fields.take("headers").map(items).unwrap_or_default();
        let required = required.iter().filter_map(|node| self.hmac_part(node)).collect();
        let body = fields.take("body").and_then(|node| self.problems.boolean(node, "`body`")).unwrap_or_default();
        let clients = fields.need("clients", &mut self.problems).map(|node| self.hmac_clients(node, path));
        if algorithms.is_empty() {
            self.problems.error(fields.place(), "`algorithms` must name one at least");
        }
        fields.finish(&mut self.problems);
        Some(Arc::new(Hmac {
            name: name.into(),
            header: header?,
            algorithms,
            skew: skew?,
            required,
            body,
            clients: clients?,
        }))
    }

    fn hmac_algorithm(&mut self, node: &Node) -> Option<Algorithm> {
        self.problems.word(node, "the algorithm", ALGORITHMS)
    }

    fn hmac_skew(&mut self, node: &Node) -> Option<Duration> {
        let skew = self.problems.duration(node, "`skew`")?;
        let fits = (Duration::from_secs(1)..=MOST_SKEW).contains(&skew);
        if !fits {
            self.problems.error(node.place, format!("`skew` must be from 1s to {}", show_duration(MOST_SKEW)));
        }
        fits.then_some(skew)
    }

    /// The name of a part that must be signed.
    fn hmac_part(&mut self, node: &Node) -> Option<String> {
        let name = self.problems.text(node, "a signed header")?.to_ascii_lowercase();
        let fits = DERIVED.contains(&name.as_str()) || HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !fits {
            self.problems.error(node.place, format!("\"{name}\" is no header name, nor one of {}", DERIVED.join(", ")));
        }
        fits.then_some(name)
    }

    fn hmac_clients(&mut self, node: &Node, path: &str) -> BTreeMap<String, Client> {
        let entries = self.problems.entries(node, "`clients`");
        if entries.is_empty() || entries.len() > MOST_CLIENTS {
            self.problems.error(node.place, format!("`clients` must have 1 to {MOST_CLIENTS}"));
        }
        let clients =
            entries.iter().filter_map(|(key, node)| Some((key.name.clone(), self.hmac_client(key, node, path)?)));
        clients.collect()
    }

    fn hmac_client(&mut self, key: &Key, node: &Node, path: &str) -> Option<Client> {
        let visible = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        if !(1..=128).contains(&key.name.len()) || !key.name.bytes().all(visible) {
            self.problems
                .error(key.place, "the name of a client must be 1 to 128 visible ASCII characters, no \" or \\");
        }
        let mut fields = Fields::of(node, "a client", &mut self.problems)?;
        let secrets = fields.need("secret", &mut self.problems).map(items).unwrap_or_default();
        if node.get("secret").is_some_and(|node| items(node).is_empty()) {
            self.problems.error(node.place, "`secret` names none");
        }
        let secrets: Option<Vec<_>> = secrets.iter().map(|node| self.hmac_secret(node, path)).collect();
        let mut text = |name: &'static str, what: &str| {
            fields.take(name).and_then(|node| self.problems.text(node, what)).unwrap_or_default()
        };
        let (tenant, plan) = (text("tenant", "`tenant`"), text("plan", "`plan`"));
        let mut texts = |name: &'static str, what: &str| {
            let list = fields.take(name).map(items).unwrap_or_default();
            list.iter().filter_map(|node| self.problems.text(node, what)).collect()
        };
        let (scopes, groups) = (texts("scopes", "a scope"), texts("groups", "a group"));
        fields.finish(&mut self.problems);
        let identity = Identity { id: key.name.clone(), tenant, plan, scopes, groups, ..Identity::default() };
        Some(Client::new(secrets?, identity))
    }

    fn hmac_secret(&mut self, node: &Node, path: &str) -> Option<Arc<crate::secret::Secret>> {
        let secret = self.live_secret(node, path)?;
        if let Some(length) = secret.get().map(|value| value.len()).filter(|length| *length < SHORTEST) {
            self.problems.error(
                node.place,
                format!("the secret must have {SHORTEST} bytes at least, it has {length}: use what `openssl rand -base64 32` prints"),
            );
        }
        Some(secret)
    }
}
