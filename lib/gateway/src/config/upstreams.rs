//! `upstreams:`: targets, protocol, timeouts, host, TLS, retry, balance.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::call::{Endpoint, is_loopback};
use crate::expression::Place as Stands;
use crate::forward::balance::{Balance, UnderWay};
use crate::forward::retry::{Retry, RetryBudget, RetryMethods, RetryOn};
use crate::forward::sign::Sign;
use crate::forward::{Backend, Dial, HostPolicy, Protocol, Target, Tls};

use super::Reader;
use super::files::{Document, beside};
use super::read::{Fields, items};
use super::tree::{Node, Value};

impl Reader<'_> {
    /// All upstreams of one file.
    pub(crate) fn read_upstreams(&mut self, document: &Document) {
        if !document.is_root
            && let Some(fields) = Fields::of(&document.node, "an included file", &mut self.problems)
        {
            super::files::listed_keys(fields, &mut self.problems);
        }
        let Some(upstreams) = document.node.get("upstreams") else { return };
        for (key, node) in self.problems.entries(upstreams, "`upstreams`") {
            self.problems.name(&key.name, key.place, "the upstream");
            if self.upstreams.contains_key(&key.name) {
                self.problems.error(key.place, format!("the upstream \"{}\" is declared twice", key.name));
                continue;
            }
            let backend = self.backend(&key.name, node, &document.path);
            self.upstreams.insert(key.name.clone(), backend.map(Arc::new));
        }
    }

    fn backend(&mut self, name: &str, node: &Node, path: &str) -> Option<Backend> {
        let before = self.problems.list.len();
        let mut fields = Fields::of(node, "an upstream", &mut self.problems)?;
        fields.later(&["breaker", "max_concurrent", "lambda", "grpc"]);
        let protocol = fields
            .take("protocol")
            .and_then(|node| self.problems.word(node, "`protocol`", &PROTOCOLS))
            .unwrap_or(Protocol::Http1);
        let connect_timeout = fields
            .take("connect_timeout")
            .and_then(|node| self.problems.duration(node, "`connect_timeout`"))
            .unwrap_or(Duration::from_secs(1));
        let timeout = fields.take("timeout").and_then(|node| self.problems.duration(node, "`timeout`"));
        let balance = fields.take("balance").map_or(Some(Balance::round_robin()), |node| self.balance(node));
        let host = fields.take("host").map_or(Some(HostPolicy::Upstream), |node| self.host_policy(node));
        self.used.clear();
        let tls = fields.take("tls").map(|node| self.tls(node, path).unwrap_or_default());
        let sign = fields.take("sign").map_or(Some(Sign::Nothing), |node| self.sign(node, path));
        let secrets = self.used_secrets();
        let (retry, share) = fields.take("retry").map_or((Retry::none(), None), |node| self.retry(node));
        let template = Dial { protocol, connect_timeout, tls, sign: sign.as_ref().and_then(Sign::sigv4).cloned() };
        let targets = match fields.need("targets", &mut self.problems) {
            Some(node) => items(node).iter().filter_map(|node| self.target(node, &template)).collect(),
            None => Vec::<Target>::new(),
        };
        let in_clear = |target: &&Target| target.tls.is_none() && !is_loopback(&target.host);
        if let (Some(Sign::Fields(_) | Sign::Token(_)), Some(target)) = (&sign, targets.iter().find(in_clear)) {
            let message = format!("`sign` sends its secret in clear to http://{}", target.authority);
            self.problems.warn(fields.place(), message);
        }
        fields.finish(&mut self.problems);
        if self.problems.list.iter().skip(before).any(|problem| problem.severity == super::Severity::Error) {
            return None;
        }
        Some(Backend {
            name: Arc::from(name),
            balance: balance?,
            retry,
            budget: RetryBudget::new(share),
            under_way: targets.iter().map(|_| UnderWay::default()).collect(),
            timeout,
            host: host?,
            sign: sign?,
            secrets,
            targets,
        })
    }

    fn balance(&mut self, node: &Node) -> Option<Balance> {
        if let Value::Map(_) = node.value {
            let mut fields = Fields::of(node, "`balance`", &mut self.problems)?;
            let hash = fields.need("hash", &mut self.problems)?;
            let expression = self.expression(hash, "`hash`", Stands::LimitKey, &[]);
            fields.finish(&mut self.problems);
            return expression.map(Balance::Hash);
        }
        let least = self.problems.word(node, "`balance`", &[("round_robin", false), ("least_requests", true)])?;
        Some(if least { Balance::LeastRequests } else { Balance::round_robin() })
    }

    fn host_policy(&mut self, node: &Node) -> Option<HostPolicy> {
        let text = self.fixed_text(node, "`host`")?;
        match text.as_str() {
            "upstream" => Some(HostPolicy::Upstream),
            "client" => Some(HostPolicy::Client),
            literal => match literal.parse::<http::uri::Authority>() {
                Ok(authority) if !literal.contains('@') => Some(HostPolicy::Literal(authority.to_string())),
                _ => {
                    self.problems
                        .error(node.place, format!("`host` \"{literal}\" must be upstream, client or a host name"));
                    None
                }
            },
        }
    }

    fn tls(&mut self, node: &Node, path: &str) -> Option<Tls> {
        let mut fields = Fields::of(node, "`tls`", &mut self.problems)?;
        let ca_pem = fields.take("ca").and_then(|node| {
            let file = self.problems.text(node, "`ca`")?;
            self.file(node, &beside(path, &file))
        });
        let identity = fields.take("client_certificate");
        let identity = identity.and_then(|node| self.secret_or_map(node, path, "`client_certificate`"));
        let server_name = fields.take("server_name").and_then(|node| self.fixed_text(node, "`server_name`"));
        fields.finish(&mut self.problems);
        Some(Tls { ca_pem: ca_pem.map(Arc::from), identity, server_name })
    }

    pub(crate) fn file(&mut self, node: &Node, path: &str) -> Option<Vec<u8>> {
        match self.host.files.read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.problems.error(node.place, format!("\"{path}\" cannot be read: {error}"));
                None
            }
        }
    }

    /// An address that the gateway itself calls, with `ca` where other authorities than the system's are to be trusted.
    pub(crate) fn endpoint(&mut self, node: &Node, what: &str, ca: Option<Bytes>) -> Option<Endpoint> {
        let url = self.fixed_text(node, what)?;
        let endpoint = Endpoint::parse(&url, ca);
        if let Err(why) = &endpoint {
            self.problems.error(node.place, format!("{what} \"{url}\" {why}"));
        }
        endpoint.ok()
    }

    fn retry(&mut self, node: &Node) -> (Retry, Option<u32>) {
        let mut retry = Retry::default_policy();
        let mut share = Some(200_000);
        let Some(mut fields) = Fields::of(node, "`retry`", &mut self.problems) else { return (retry, share) };
        if let Some(node) = fields.take("attempts")
            && let Some(attempts) = self.problems.integer(node, "`attempts`", 0, 10)
        {
            retry.attempts = u32::try_from(attempts).unwrap_or_default();
        }
        if let Some(node) = fields.take("on") {
            retry.on = self.retry_on(node);
        }
        for (name, duration) in [("backoff", &mut retry.backoff), ("max_backoff", &mut retry.max_backoff)] {
            if let Some(given) = fields.take(name).and_then(|node| self.problems.duration(node, name)) {
                *duration = given;
            }
        }
        if let Some(node) = fields.take("budget") {
            share = self.problems.share(node, "`budget`").filter(|share| *share < 1_000_000);
        }
        if let Some(node) = fields.take("methods") {
            retry.methods = self.retry_methods(node);
        }
        if retry.max_backoff < retry.backoff {
            self.problems.error(fields.place(), "`max_backoff` must not be shorter than `backoff`");
        }
        fields.finish(&mut self.problems);
        (retry, share)
    }

    fn retry_on(&mut self, node: &Node) -> RetryOn {
        let mut on = RetryOn::default();
        for item in items(node) {
            let Some(text) = self.problems.text(item, "`on`") else { continue };
            match (text.as_str(), text.parse::<u16>().ok().filter(|code| (400..=599).contains(code))) {
                ("connect", _) => on.connect = true,
                ("reset", _) => on.reset = true,
                ("timeout", _) => on.timeout = true,
                (_, Some(code)) => on.statuses.extend(StatusCode::from_u16(code).ok()),
                _ => self.problems.error(
                    item.place,
                    format!("`on` \"{text}\" must be connect, reset, timeout or a status from 400 to 599"),
                ),
            }
        }
        on
    }

    fn retry_methods(&mut self, node: &Node) -> RetryMethods {
        if let Value::Text(word) = &node.value {
            match word.as_str() {
                "safe" => return RetryMethods::Safe,
                "idempotent" => return RetryMethods::Idempotent,
                "all" => return RetryMethods::All,
                _ => {}
            }
        }
        RetryMethods::List(items(node).iter().filter_map(|node| self.method(node)).collect())
    }

    /// A method: upper case, a token.
    pub(crate) fn method(&mut self, node: &Node) -> Option<Method> {
        let text = self.problems.text(node, "a method")?;
        let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| !text.bytes().any(|b| b.is_ascii_lowercase()));
        if method.is_none() {
            self.problems.error(node.place, format!("the method \"{text}\" must be a word in capitals, like GET"));
        }
        method.filter(|method| {
            let connect = *method == Method::CONNECT;
            if connect {
                self.problems.error(node.place, "CONNECT cannot be served");
            }
            !connect
        })
    }

    fn target(&mut self, node: &Node, dial: &Dial) -> Option<Target> {
        let (url_node, weight) = if let Value::Map(_) = node.value {
            let mut fields = Fields::of(node, "a target", &mut self.problems)?;
            let url = fields.need("url", &mut self.problems);
            let weight = fields.take("weight").and_then(|node| self.problems.integer(node, "`weight`", 0, 1_000_000));
            fields.finish(&mut self.problems);
            (url?, weight.unwrap_or(1))
        } else {
            (node, 1)
        };
        let url = self.fixed_text(url_node, "a target")?;
        let found = dial.target(&url, u32::try_from(weight).unwrap_or_default());
        if let Err(why) = &found {
            self.problems.error(url_node.place, format!("the target \"{url}\" {why}"));
        }
        found.ok()
    }
}

const PROTOCOLS: [(&str, Protocol); 3] =
    [("http1", Protocol::Http1), ("http2", Protocol::Http2), ("auto", Protocol::Auto)];
