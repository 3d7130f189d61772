//! `routes:` and `defaults:`.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::auth::Auth;
use crate::cors::{Cors, CorsSettings};
use crate::forward::Destination;
use crate::limit::{Limits, Use};
use crate::mode::Mode;
use crate::route::{Conditions, HostMatch, Priority, Route, Timeouts};
use crate::screen::{Addresses, Bodies, MediaRange, Screen};
use crate::secret::Secrets;

use super::Reader;
use super::allow::Allow;
use super::files::Document;
use super::limits::LimitUse;
use super::problem::Place;
use super::read::{Fields, items};
use super::tree::{Node, Value};

/// One entry of `routes`, read: `route` is `None` where it is wrong, and its conditions are judged all the same.
pub(crate) struct Listed {
    pub(crate) place: Place,
    pub(crate) conditions: Conditions,
    pub(crate) route: Option<Route>,
}

/// What every route begins with.
#[derive(Clone)]
pub(crate) struct Defaults {
    auth: Option<Auth>,
    /// Of all policies that refuse and have none of their own.
    mode: Option<Mode>,
    access: Allow,
    limits: Vec<LimitUse>,
    timeouts: Timeouts,
    body_max: u64,
    content_types: Vec<MediaRange>,
    body_mode: Option<Mode>,
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    address_mode: Option<Mode>,
    cors: Option<CorsSettings>,
    priority: Priority,
    keeps_encoded_slashes: bool,
    timing: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            auth: None,
            mode: None,
            access: Allow::default(),
            limits: Vec::new(),
            timeouts: Timeouts {
                headers: Some(Duration::from_secs(10)),
                idle: Some(Duration::from_secs(60)),
                total: None,
            },
            body_max: 1 << 20,
            content_types: Vec::new(),
            body_mode: None,
            allow: Vec::new(),
            deny: Vec::new(),
            address_mode: None,
            cors: None,
            priority: Priority::Important,
            keeps_encoded_slashes: false,
            timing: false,
        }
    }
}

impl Reader<'_> {
    /// `defaults:`, or what stands without it.
    pub(crate) fn read_defaults(&mut self, node: Option<&Node>) -> Defaults {
        let Some(mut fields) = node.and_then(|node| Fields::of(node, "`defaults`", &mut self.problems)) else {
            return Defaults::default();
        };
        fields.take("on_store_failure");
        let mut defaults = self.policies(&mut fields, &Defaults::default());
        if let Some(allow) = fields.take("allow").and_then(|node| self.allow(node, &[], &Allow::default())) {
            defaults.access = allow;
        }
        fields.finish(&mut self.problems);
        defaults
    }

    /// The policies that a route and `defaults` may both write; a route's own setting wins, lists of limits add up.
    fn policies(&mut self, fields: &mut Fields<'_>, defaults: &Defaults) -> Defaults {
        let mut policies = defaults.clone();
        fields.later(&["parameters", "openapi", "cache", "compress", "deprecated", "mirror", "fault"]);
        policies.mode = self.mode(fields).or(policies.mode);
        if let Some(node) = fields.take("auth") {
            // Where it is wrong, it is not missing as well.
            policies.auth = self.route_auth(node).or(Some(Auth::Public));
        }
        if let Some(node) = fields.take("limits") {
            for used in self.limit_uses(node) {
                policies.limits.retain(|standing| !used.limit.replaces(&standing.limit));
                policies.limits.push(used);
            }
        }
        self.timeouts(fields, &mut policies.timeouts);
        if let Some(node) = fields.take("body") {
            self.body(node, &mut policies);
        }
        if let Some(node) = fields.take("address") {
            self.address(node, &mut policies);
        }
        if let Some(node) = fields.take("cors") {
            policies.cors = self.cors(node, policies.cors.take());
        }
        if let Some(node) = fields.take("priority") {
            if let Value::Map(_) = node.value {
                self.problems.error(node.place, "a `priority` that depends on the request is not supported yet");
            } else if let Some(priority) = self.problems.word(node, "`priority`", &PRIORITIES) {
                policies.priority = priority;
            }
        }
        if let Some(node) = fields.take("encoded_slashes")
            && let Some(keep) = self.problems.word(node, "`encoded_slashes`", &[("refuse", false), ("keep", true)])
        {
            policies.keeps_encoded_slashes = keep;
        }
        if let Some(timing) = fields.take("timing").and_then(|node| self.problems.boolean(node, "`timing`")) {
            policies.timing = timing;
        }
        policies
    }

    fn timeouts(&mut self, fields: &mut Fields<'_>, timeouts: &mut Timeouts) {
        for (name, timeout) in [
            ("timeout", &mut timeouts.headers),
            ("idle_timeout", &mut timeouts.idle),
            ("total_timeout", &mut timeouts.total),
        ] {
            if let Some(given) = fields.take(name).and_then(|node| self.problems.duration(node, name)) {
                *timeout = (!given.is_zero()).then_some(given);
            }
        }
    }

    fn body(&mut self, node: &Node, policies: &mut Defaults) {
        let Some(mut fields) = Fields::of(node, "`body`", &mut self.problems) else { return };
        fields.later(&["schema"]);
        if let Some(max) = fields.take("max").and_then(|node| self.problems.size(node, "`max`")) {
            policies.body_max = max;
        }
        if let Some(node) = fields.take("content_types") {
            policies.content_types.clear();
            for item in items(node) {
                let Some(text) = self.problems.text(item, "a content type") else { continue };
                let range = self.or_report(item, "the content type", MediaRange::parse(&text));
                policies.content_types.extend(range);
            }
        }
        policies.body_mode = self.mode(&mut fields).or(policies.body_mode);
        fields.finish(&mut self.problems);
    }

    /// `address:`. With a mode alone, the lists of `defaults` stand.
    fn address(&mut self, node: &Node, policies: &mut Defaults) {
        let Some(mut fields) = Fields::of(node, "`address`", &mut self.problems) else { return };
        let (allow, deny) = (fields.take("allow"), fields.take("deny"));
        policies.address_mode = self.mode(&mut fields);
        if allow.is_some() || deny.is_some() || policies.address_mode.is_none() {
            policies.allow = allow.map(|node| self.networks(node)).unwrap_or_default();
            policies.deny = deny.map(|node| self.networks(node)).unwrap_or_default();
        }
        fields.finish(&mut self.problems);
    }

    fn networks(&mut self, node: &Node) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for item in items(node) {
            let Some(text) = self.problems.text(item, "an address") else { continue };
            let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
            let network = network
                .map_err(|_| "must be an address or a network, like 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32".to_owned());
            networks.extend(self.or_report(item, "the address", network));
        }
        networks
    }

    /// `cors:`. With a mode alone, the settings of `defaults` stand.
    fn cors(&mut self, node: &Node, standing: Option<CorsSettings>) -> Option<CorsSettings> {
        let mut fields = Fields::of(node, "`cors`", &mut self.problems)?;
        let mode = self.mode(&mut fields);
        if let (Value::Map(entries), Some(mode), Some(standing)) = (&node.value, mode, standing)
            && entries.len() == 1
        {
            return Some(CorsSettings { mode, ..standing });
        }
        let mut settings = CorsSettings { mode: mode.unwrap_or_default(), ..CorsSettings::default() };
        if let Some(node) = fields.need("origins", &mut self.problems) {
            settings.origins = self.texts(node, "an origin");
        }
        settings.methods = fields.take("methods").map(|node| self.texts(node, "a method"));
        settings.headers = fields.take("headers").map(|node| self.texts(node, "a header")).unwrap_or_default();
        settings.expose = fields.take("expose").map(|node| self.texts(node, "a header")).unwrap_or_default();
        if let Some(node) = fields.take("credentials") {
            settings.credentials = self.problems.boolean(node, "`credentials`").unwrap_or_default();
            if settings.credentials && settings.origins.iter().any(|origin| origin == "*") {
                self.problems.warn(
                    node.place,
                    "with `credentials` and the origin \"*\" every site may read answers as the user",
                );
            }
        }
        settings.max_age = fields.take("max_age").and_then(|node| self.problems.duration(node, "`max_age`"));
        let place = fields.place();
        fields.finish(&mut self.problems);
        if let Err(why) = Cors::new(&settings, &[]) {
            self.problems.error(place, format!("`cors` {why}"));
            return None;
        }
        Some(settings)
    }

    fn texts(&mut self, node: &Node, what: &str) -> Vec<String> {
        items(node).iter().filter_map(|item| self.problems.text(item, what)).collect()
    }

    /// All routes of one file.
    pub(crate) fn read_routes(&mut self, document: &Document, defaults: &Defaults, listed: &mut Vec<Listed>) {
        let Some(node) = document.node.get("routes") else { return };
        let Value::List(routes) = &node.value else {
            self.problems.error(node.place, format!("`routes` must be a list, not {}", node.kind()));
            return;
        };
        for node in routes {
            if let Some(read) = self.listed(node, defaults) {
                listed.push(read);
            }
        }
    }

    fn listed(&mut self, node: &Node, defaults: &Defaults) -> Option<Listed> {
        let mut fields = Fields::of(node, "a route", &mut self.problems)?;
        let errors = self.problems.count(super::Severity::Error);
        let name = fields.need("name", &mut self.problems);
        let name = self.route_name(name);
        let precedence = fields
            .take("precedence")
            .and_then(|node| self.problems.integer(node, "`precedence`", -1_000_000, 1_000_000))
            .unwrap_or_default();
        let conditions = self.conditions(fields.take("match"), precedence);
        let params: Vec<Arc<str>> = conditions.path.as_ref().map(|path| path.params().to_vec()).unwrap_or_default();
        let policies = self.policies(&mut fields, defaults);
        let request = self.request_transform(fields.take("request"), &params);
        let response = self.response_transform(fields.take("response"), &params);
        let to = fields
            .need("to", &mut self.problems)
            .and_then(|node| self.destination(node, name.as_deref().unwrap_or_default(), &params));
        let place = fields.place();
        if policies.auth.is_none() {
            self.problems
                .error(place, "a route needs `auth`, here or in `defaults`: write `auth: none` to let anyone in");
        }
        if policies.keeps_encoded_slashes && conditions.hosts.iter().any(HostMatch::is_api_gateways) {
            self.problems.warn(
                place,
                "`encoded_slashes: keep` keeps nothing on an HTTP API, which decodes the path before the gateway sees it",
            );
        }
        if matches!(policies.auth, Some(Auth::Public)) {
            self.warn_of_plans_nobody_has(place, &policies.limits, policies.mode.unwrap_or_default());
        }
        let allow = fields.take("allow");
        let asked = allow.and_then(|node| self.allow(node, &params, &policies.access));
        let mode = policies.mode.unwrap_or_default();
        let at = allow.map_or(place, |node| node.place);
        let access = self.access(asked.unwrap_or(policies.access), mode, policies.auth.as_ref(), at);
        let cors = route_cors(policies.cors.as_ref(), &conditions);
        fields.finish(&mut self.problems);
        let whole = self.problems.count(super::Severity::Error) == errors;
        let route = match (name, policies.auth, to) {
            (Some(name), Some(auth), Some(to)) if whole => Some(Route {
                secrets: self.route_secrets(&auth, &to),
                name,
                declared: self.problems.at(place),
                priority: policies.priority,
                keeps_encoded_slashes: policies.keeps_encoded_slashes,
                cors,
                screen: Screen {
                    addresses: Addresses::new(policies.allow, policies.deny, policies.address_mode.unwrap_or(mode)),
                    bodies: Bodies {
                        max: policies.body_max,
                        content_types: policies.content_types,
                        mode: policies.body_mode.unwrap_or(mode),
                    },
                },
                auth,
                access,
                limits: limits(policies.limits, mode),
                request,
                response,
                timeouts: policies.timeouts,
                timing: policies.timing,
                to,
            }),
            _ => None,
        };
        Some(Listed { place, conditions, route })
    }

    /// What the entries of its `auth` and its upstreams need.
    fn route_secrets(&self, auth: &Auth, to: &Destination) -> Secrets {
        let entries = auth.entries().filter_map(|entry| self.secrets_of_auth.get(&*entry.name));
        let upstreams = to.upstreams().map(|upstream| &upstream.secrets);
        Secrets::new(entries.chain(upstreams).flat_map(Secrets::iter).cloned())
    }

    fn route_name(&mut self, node: Option<&Node>) -> Option<Arc<str>> {
        let node = node?;
        let name = self.problems.text(node, "`name`")?;
        self.problems.name(&name, node.place, "the route");
        if let Some(twin) = self.route_names.insert(name.clone(), node.place) {
            let also = self.problems.at(twin);
            self.problems.error(node.place, format!("the route \"{name}\" is declared twice, also at {also}"));
        }
        Some(Arc::from(name))
    }
}

fn route_cors(settings: Option<&CorsSettings>, conditions: &Conditions) -> Cors {
    settings.and_then(|settings| Cors::new(settings, &conditions.methods).ok()).unwrap_or_else(Cors::none)
}

fn limits(uses: Vec<LimitUse>, mode: Mode) -> Limits {
    let uses = uses.into_iter().map(|used| Use { limit: used.limit, mode: used.mode.unwrap_or(mode) });
    Limits(uses.collect())
}

const PRIORITIES: [(&str, Priority); 3] =
    [("critical", Priority::Critical), ("important", Priority::Important), ("best_effort", Priority::BestEffort)];
