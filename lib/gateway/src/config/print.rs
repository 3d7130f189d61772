//! The compiled form as text, every default filled in: what `tollgate check` prints, what `tollgate explain` says of
//! each stage, and what the goldens of the good examples hold.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use crate::access::{Access, Scopes};
use crate::auth::{Auth, Use, Way};
use crate::edge::Edge;
use crate::forward::balance::Balance;
use crate::forward::retry::{Retry, RetryMethods};
use crate::forward::{Backend, Branch, Destination, HostPolicy, Target};
use crate::gateway::Routes;
use crate::limit::{Accuracy, Cost, Limit, LimitKey, Limits, Plan, Used};
use crate::mode::Mode;
use crate::respond::{JsonTemplate, Redirect, RedirectPath, Respond, RespondBody};
use crate::route::{Conditions, Route};
use crate::screen::Screen;
use crate::transform::headers::HeaderRewrite;
use crate::transform::path::PathRewrite;
use crate::transform::{RequestTransform, ResponseTransform};

use super::read::{show_duration, show_size};

impl Routes {
    /// The whole config, compiled.
    pub fn print(&self) -> String {
        let mut text = format!("name: {}\nedge: {}\n", self.name, self.edge_stage());
        for backend in &self.upstreams {
            let _ = write!(text, "\nupstream {}\n", backend.name);
            for line in upstream(backend) {
                let _ = writeln!(text, "  {line}");
            }
        }
        for each in self.plans.values() {
            let _ = write!(text, "\nplan {}\n", each.name);
            for line in plan(each) {
                let _ = writeln!(text, "  {line}");
            }
        }
        for (route, conditions) in self.routes.iter().zip(self.router.conditions()) {
            let _ = write!(text, "\nroute {}\n", route.name);
            let _ = writeln!(text, "  {:<10}{}", "match", matched(conditions));
            for (stage, what) in self.stages(route) {
                let _ = writeln!(text, "  {stage:<10}{what}");
            }
        }
        text
    }

    /// What the edge does, for all routes.
    pub fn edge_stage(&self) -> String {
        edge(&self.edge)
    }

    /// What a plan limits, a line each; nothing where there is no such plan.
    pub fn plan_lines(&self, name: &str) -> Vec<String> {
        self.plans.get(name).map(|each| plan(each)).unwrap_or_default()
    }

    /// What a route's stages do, in the order of `Gateway::serve`.
    pub fn stages(&self, route: &Route) -> Vec<(&'static str, String)> {
        let slashes = if route.keeps_encoded_slashes { "kept" } else { "refused" };
        vec![
            ("path", format!("encoded slashes {slashes}")),
            ("preflight", cors(route)),
            ("shed", format!("{} (shedding is not built yet)", route.priority.as_str())),
            ("screen", screen(&route.screen)),
            ("identify", identify(&route.auth)),
            ("permit", permit(&route.access)),
            ("limit", limits(&route.limits)),
            ("request", request(&route.request)),
            ("timeout", timeouts(route)),
            ("to", destination(&route.to)),
            ("response", response(&route.response, route.timing)),
        ]
    }
}

/// A mode after the name of what has it: nothing where it is enforced.
fn shown(mode: Mode) -> String {
    if mode == Mode::Enforce { String::new() } else { format!(" ({})", mode.as_str()) }
}

fn edge(edge: &Edge) -> String {
    let Some(secret) = &edge.secret_header else { return "none".to_owned() };
    let required = if edge.required { "required" } else { "not required" };
    let mut text = format!("secret in {secret}, {required}{}", shown(edge.mode));
    let fields = [
        ("host", &edge.host),
        ("client_ip", &edge.client_ip),
        ("scheme", &edge.scheme),
        ("request_id", &edge.request_id),
        ("client_certificate", &edge.client_certificate),
    ];
    for (what, field) in fields {
        if let Some(field) = field {
            let _ = write!(text, ", {what} from {field}");
        }
    }
    text
}

fn upstream(backend: &Backend) -> Vec<String> {
    let mut lines: Vec<_> = backend.targets.iter().map(target).collect();
    let host = match &backend.host {
        HostPolicy::Upstream => "upstream",
        HostPolicy::Client => "client",
        HostPolicy::Literal(host) => host,
    };
    let balance = match &backend.balance {
        Balance::RoundRobin { .. } => "round_robin".to_owned(),
        Balance::LeastRequests => "least_requests".to_owned(),
        Balance::Hash(subject) => format!("hash of {}", subject.source()),
    };
    lines.push(format!("balance {balance}, host {host}"));
    let timeout = backend.timeout.map_or_else(|| "the route's".to_owned(), show_duration);
    lines.push(format!("timeout of an attempt {timeout}"));
    lines.push(retry(&backend.retry, backend.budget.share()));
    lines.extend(backend.sign.shown().into_iter().map(|sign| format!("sign {sign}")));
    lines
}

fn target(target: &Target) -> String {
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let connect = show_duration(target.connect_timeout);
    let mut text = format!("target {scheme}://{}{} weight {}", target.authority, target.base_path, target.weight);
    let _ = write!(text, ", {}, connect_timeout {connect}", target.protocol.as_str());
    if let Some(tls) = &target.tls {
        let _ = write!(text, ", tls {}", tls.server_name.as_deref().unwrap_or(&target.host));
        for (has, what) in [(tls.ca_pem.is_some(), " own ca"), (tls.identity.is_some(), " client certificate")] {
            text.push_str(if has { what } else { "" });
        }
    }
    text
}

fn retry(retry: &Retry, share: Option<u32>) -> String {
    if retry.attempts == 0 {
        return "retry none".to_owned();
    }
    let on = &retry.on;
    let mut outcomes: Vec<String> = [(on.connect, "connect"), (on.reset, "reset"), (on.timeout, "timeout")]
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| word.to_owned())
        .collect();
    outcomes.extend(on.statuses.iter().map(|status| status.as_u16().to_string()));
    let methods = match &retry.methods {
        RetryMethods::Safe => "safe".to_owned(),
        RetryMethods::Idempotent => "idempotent".to_owned(),
        RetryMethods::All => "all".to_owned(),
        RetryMethods::List(methods) => list(methods),
    };
    let budget = share.map_or_else(|| "none".to_owned(), |share| format!("{}%", f64::from(share) / 10_000.0));
    format!(
        "retry attempts {}, on {}, backoff {} to {}, budget {budget}, methods {methods}",
        retry.attempts,
        list(&outcomes),
        show_duration(retry.backoff),
        show_duration(retry.max_backoff),
    )
}

fn matched(conditions: &Conditions) -> String {
    let mut text = conditions.path.as_ref().map_or("every path", |path| path.source()).to_owned();
    if !conditions.methods.is_empty() {
        let _ = write!(text, ", methods {}", list(&conditions.methods));
    }
    if !conditions.hosts.is_empty() {
        let hosts: Vec<_> = conditions.hosts.iter().map(crate::route::HostMatch::show).collect();
        let _ = write!(text, ", hosts {}", list(&hosts));
    }
    for (name, value) in &conditions.headers {
        let _ = write!(text, ", header {name} {}", value.show());
    }
    for (name, value) in &conditions.query {
        let _ = write!(text, ", query {name} {}", value.show());
    }
    if let Some(when) = &conditions.when {
        let _ = write!(text, ", when {}", when.source());
    }
    let _ = write!(text, ", precedence {}", conditions.precedence);
    text
}

fn cors(route: &Route) -> String {
    let Some(settings) = route.cors.settings() else { return "no cors".to_owned() };
    format!(
        "cors{} origins {}, methods {}, headers {}, expose {}, credentials {}, max_age {}",
        shown(settings.mode),
        list(&settings.origins),
        route.cors.methods().unwrap_or_default(),
        list(&settings.headers),
        list(&settings.expose),
        settings.credentials,
        settings.max_age.map_or_else(|| "the browser's".to_owned(), show_duration),
    )
}

fn screen(screen: &Screen) -> String {
    let Screen { addresses, bodies } = screen;
    let mut text = match addresses.lists() {
        ([], []) => "any address".to_owned(),
        (allow, deny) => format!("addresses{} allow {}, deny {}", shown(addresses.mode), list(allow), list(deny)),
    };
    let _ = write!(text, ", body{} at most {}", shown(bodies.mode), show_size(bodies.max));
    if bodies.most() > bodies.max {
        let _ = write!(text, " and never over {}", show_size(bodies.most()));
    }
    let types: Vec<_> = bodies.content_types.iter().map(crate::screen::MediaRange::as_str).collect();
    let _ = write!(text, ", content types {}", if types.is_empty() { "any".to_owned() } else { list(&types) });
    text
}

fn identify(auth: &Auth) -> String {
    let ways = match auth {
        Auth::Public => return "none: anyone".to_owned(),
        Auth::Any(ways) => ways,
    };
    let used = |used: &Use| {
        let kept = if used.keep { ", kept" } else { "" };
        format!("{} ({}{kept})", used.entry.name, used.entry.method.describe())
    };
    let way = |way: &Way| way.uses().iter().map(used).collect::<Vec<_>>().join(" and ");
    format!("{}{}", ways.all().iter().map(way).collect::<Vec<_>>().join(" or "), shown(ways.mode()))
}

fn permit(access: &Access) -> String {
    let Some(conditions) = &access.conditions else { return "nothing is asked".to_owned() };
    let mut parts = Vec::new();
    if !conditions.tenants.is_empty() {
        let tenants: Vec<_> = conditions.tenants.iter().map(crate::access::Pattern::as_str).collect();
        parts.push(format!("tenants {}", list(&tenants)));
    }
    parts.extend(conditions.scopes.as_ref().map(|scopes| match scopes {
        Scopes::All(scopes) => format!("all scopes of {}", list(scopes)),
        Scopes::Any(scopes) => format!("any scope of {}", list(scopes)),
    }));
    if !conditions.groups.is_empty() {
        parts.push(format!("any group of {}", list(&conditions.groups)));
    }
    parts.extend(conditions.when.as_ref().map(|when| format!("when {}", when.source())));
    format!("{}{}", parts.join("; "), shown(access.mode))
}

fn limits(limits: &Limits) -> String {
    let each = limits.0.iter().map(|used| match &used.limit {
        Used::Limit(limit) => self::limit(limit, used.mode),
        Used::Plan(plan) => {
            let default = plan.default.as_ref().map_or("none", |plan| &plan.name);
            format!("{}{} the caller's plan, default {default}", plan.name, shown(used.mode))
        }
    });
    let each: Vec<_> = each.collect();
    if each.is_empty() { "none".to_owned() } else { each.join("; ") }
}

fn plan(plan: &Plan) -> Vec<String> {
    let limits = plan.limits.iter().map(|each| limit(each, Mode::Enforce));
    if plan.limits.is_empty() { vec!["no limit".to_owned()] } else { limits.collect() }
}

fn limit(limit: &Limit, mode: Mode) -> String {
    let by = match &limit.by {
        LimitKey::Global => "global".to_owned(),
        LimitKey::By(by) => match limit.ipv6_prefix {
            Some(prefix) => format!("{} (ipv6_prefix {prefix})", by.source()),
            None => by.source().to_owned(),
        },
        LimitKey::Caller => "caller.tenant, or else caller.id".to_owned(),
    };
    let cost = match &limit.cost {
        Cost::Fixed(cost) => cost.to_string(),
        Cost::Of(expression) | Cost::OfResponse(expression) => expression.source().to_owned(),
    };
    let mut text = format!("{}{} {} by {by}", limit.name, shown(mode), limit.rate);
    if limit.before_identify {
        text.push_str(" before identify");
    }
    // So few, or windows that slide, are never leased.
    let leased = limit.accuracy == Accuracy::Leased && limit.may_lease();
    let accuracy = if leased || limit.accuracy == Accuracy::Local { limit.accuracy } else { Accuracy::Exact };
    let _ = write!(text, ", {}, cost {cost}, {}", limit.algorithm, accuracy.as_str());
    if limit.algorithm.can_be_sharded() && limit.accuracy != Accuracy::Local {
        let _ = write!(text, ", shards {}", limit.shards);
    }
    let _ = write!(text, ", headers {}, on_store_failure {}", limit.headers.as_str(), limit.on_store_failure.as_str());
    text
}

fn timeouts(route: &Route) -> String {
    let show = |timeout: Option<Duration>| timeout.map_or_else(|| "none".to_owned(), show_duration);
    let timeouts = &route.timeouts;
    format!("{} to the headers, idle {}, total {}", show(timeouts.headers), show(timeouts.idle), show(timeouts.total))
}

fn request(transform: &RequestTransform) -> String {
    let mut parts = Vec::new();
    match &transform.path {
        PathRewrite::Same => {}
        PathRewrite::Template(template) => parts.push(format!("path {}", template.source())),
        PathRewrite::Prefix { strip, add } => parts.push(prefixes(strip.as_deref(), add.as_deref())),
        PathRewrite::Regex { pattern, replacement } => parts.push(format!("regex {pattern} to {replacement}")),
    }
    parts.extend(transform.method.as_ref().map(|method| format!("method {method}")));
    parts.extend(transform.host.as_ref().map(|host| format!("host {host}")));
    parts.extend(headers(&transform.headers));
    for (name, template) in &transform.query.set {
        parts.push(format!("query {name} = {}", template.source()));
    }
    for name in &transform.query.remove {
        parts.push(format!("query without {name}"));
    }
    if parts.is_empty() { "as it is".to_owned() } else { parts.join("; ") }
}

fn prefixes(strip: Option<&str>, add: Option<&str>) -> String {
    match (strip, add) {
        (Some(strip), Some(add)) => format!("prefix {strip} to {add}"),
        (Some(strip), None) => format!("prefix {strip} off"),
        (None, add) => format!("prefix {} before", add.unwrap_or_default()),
    }
}

fn response(transform: &ResponseTransform, timing: bool) -> String {
    let mut parts = headers(&transform.headers);
    for (from, to) in &transform.status {
        parts.push(format!("status {} to {}", from.as_u16(), to.as_u16()));
    }
    if timing {
        parts.push("server-timing".to_owned());
    }
    if parts.is_empty() { "as it is".to_owned() } else { parts.join("; ") }
}

fn headers(rewrite: &HeaderRewrite) -> Vec<String> {
    let renamed = rewrite.rename.iter().map(|(from, to)| format!("header {from} to {to}"));
    let removed = rewrite.remove.iter().map(|name| format!("header without {name}"));
    let set = rewrite.set.iter().map(|(name, template)| format!("header {name} = {}", template.source()));
    let added = rewrite.add.iter().map(|(name, template)| format!("header {name} + {}", template.source()));
    renamed.chain(removed).chain(set).chain(added).collect()
}

fn destination(destination: &Destination) -> String {
    match destination {
        Destination::Respond(respond) => responded(respond),
        Destination::Redirect(redirect) => redirected(redirect),
        Destination::Forward { split, branches } => {
            let mut each: Vec<String> = Vec::new();
            for (branch, weight) in branches.iter().zip(split.weights()) {
                let weight = if branches.len() > 1 { format!(" weight {weight}") } else { String::new() };
                each.push(format!("upstream {}{weight}{}", branch.upstream.name, branched(branch)));
            }
            let sticky = split.subject().map(|subject| format!("; sticky by {subject}")).unwrap_or_default();
            format!("{}{sticky}", each.join("; "))
        }
    }
}

fn branched(branch: &Branch) -> String {
    let (inward, outward) = (request(&branch.request), response(&branch.response, false));
    let part = |what: &str, text: &str| if text == "as it is" { String::new() } else { format!(" {what} [{text}]") };
    format!("{}{}", part("request", &inward), part("response", &outward))
}

fn responded(respond: &Respond) -> String {
    let body = match &respond.body {
        RespondBody::Empty => "nothing".to_owned(),
        RespondBody::Text(template) => format!("text {:?}", template.source()),
        RespondBody::Json(json) => format!("json {}", Document(json)),
    };
    let headers: Vec<_> =
        respond.headers.iter().map(|(name, template)| format!(", header {name} = {}", template.source())).collect();
    format!("respond {} {body}{}", respond.status.as_u16(), headers.concat())
}

fn redirected(redirect: &Redirect) -> String {
    let status = redirect.status.as_u16();
    if let Some(location) = &redirect.location {
        return format!("redirect {status} to {}", location.source());
    }
    let mut text = format!("redirect {status}");
    let port = redirect.port.map(|port| port.to_string());
    for (what, value) in [("scheme", &redirect.scheme), ("host", &redirect.host), ("port", &port)] {
        if let Some(value) = value {
            let _ = write!(text, ", {what} {value}");
        }
    }
    match &redirect.path {
        RedirectPath::Same => {}
        RedirectPath::Whole(template) => drop(write!(text, ", path {}", template.source())),
        RedirectPath::Prefix(PathRewrite::Prefix { strip, add }) => {
            let _ = write!(text, ", {}", prefixes(strip.as_deref(), add.as_deref()));
        }
        RedirectPath::Prefix(PathRewrite::Same | PathRewrite::Template(_) | PathRewrite::Regex { .. }) => {}
    }
    text
}

/// A document as JSON, its templates as written.
struct Document<'a>(&'a JsonTemplate);

impl Display for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            JsonTemplate::Fixed(value) => write!(f, "{value}"),
            JsonTemplate::Text(template) => write!(f, "{:?}", template.source()),
            JsonTemplate::List(items) => {
                let items: Vec<_> = items.iter().map(|item| Document(item).to_string()).collect();
                write!(f, "[{}]", items.join(","))
            }
            JsonTemplate::Map(entries) => {
                let entries: Vec<_> =
                    entries.iter().map(|(key, value)| format!("{key:?}:{}", Document(value))).collect();
                write!(f, "{{{}}}", entries.join(","))
            }
        }
    }
}

fn list<T: Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
