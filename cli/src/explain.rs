//! `tollgate explain`: the pipeline of production, with upstreams that only note what would have been sent. Whoever is
//! asked who calls (a token's issuer, an introspection endpoint…) is asked.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tollgate::auth::{Assumed, Auth, Caller};
use tollgate::call::is_own;
use tollgate::clock::{Clock, SystemClock};
use tollgate::exchange::{Body, Exchange, Origin, Request, Response, Scheme, Served};
use tollgate::forward::sign::SigV4;
use tollgate::forward::split::{Drawn, DrawnBy};
use tollgate::forward::{BoxFuture, Destination, Outbound, Target, Upstream, UpstreamFault};
use tollgate::gateway::{Gateway, World};
use tollgate::route::Route;
use tollgate::table::{Reading, Which};
use tollgate_adapters::upstream::HttpUpstream;

use crate::load::{self, ConfigFile, Outside, SecretsOption, StateOption};
use crate::mixed::Mixed;
use crate::{Failure, line};

/// Says which route takes a request, what each stage makes of it, and what would be sent on. Nothing is sent on; whoever knows who
/// calls is asked.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    config: ConfigFile,
    /// The method, like GET.
    method: String,
    /// The address, like /orders/1?expand=items or https://api.example.com/orders/1.
    url: String,
    /// A header, like 'accept: application/json'; may be given several times.
    #[arg(short = 'H', value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// The body.
    #[arg(short = 'd', value_name = "BODY")]
    data: Option<String>,
    /// The client's address.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), value_name = "ADDRESS")]
    ip: IpAddr,
    /// Where API keys are looked up: `memory` has none, `dynamodb` or `dynamodb:ENDPOINT`. Limits count in memory alone.
    #[arg(long, default_value = "memory", value_name = "STATE")]
    state: String,
    #[command(flatten)]
    secrets: SecretsOption,
    /// Who calls, whatever credentials there are: a JSON file with `id`, and `tenant`, `plan`, `scopes`, `groups`,
    /// `claims` and `via` where they are asked for.
    #[arg(long = "as", value_name = "CALLER.json")]
    assumed: Option<PathBuf>,
}

impl Explain {
    /// Runs it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let request = self.request()?;
        let assumed = self.assumed()?;
        let compiled = self.config.compile()?;
        load::runtime()?.block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(SystemClock);
            let outside = Outside::new(&clock);
            let noted = Arc::new(Noted::new(&outside));
            let control = StateOption { state: self.state.clone() }.open_standing().await?;
            // The connection is made before the request, which would not wait for it.
            let connected = control.get_many(Which::Control, &["ak#"], Reading::Eventual).await;
            connected.map_err(|error| Failure::Outside(format!("the table: {error}")))?;
            let world = World {
                table: Arc::new(Mixed::new(control)),
                upstream: Arc::clone(&noted) as _,
                vault: self.secrets.vault(outside)?,
                clock,
                environments: Some(NonZeroU32::MIN),
            };
            let mut gateway = Gateway::new(compiled.routes, world);
            if let Some(assumed) = assumed {
                gateway = gateway.assuming(assumed);
            }
            load::tell_missing(&gateway.resolve().await);
            let asked = format!("{} {}", request.method, self.url);
            let served = gateway.handle(request).await;
            let from = self.assumed.as_ref().map(|path| path.display().to_string());
            line::print(&story(&asked, &gateway, &served, &noted, from.as_deref()));
            Ok(())
        })
    }

    /// The caller of `--as`.
    fn assumed(&self) -> Result<Option<Assumed>, Failure> {
        let Some(path) = &self.assumed else { return Ok(None) };
        let wrong = |why: String| Failure::Input(format!("{}: {why}", path.display()));
        let json = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        Assumed::parse(&json).map(Some).map_err(wrong)
    }

    fn request(&self) -> Result<Request, Failure> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| Failure::Input(format!("\"{}\" is no method", self.method)))?;
        let mut headers = HeaderMap::new();
        let mut host = "localhost".to_owned();
        for header in &self.header {
            let (name, value) =
                header.split_once(':').ok_or_else(|| Failure::Input(format!("-H \"{header}\" must be NAME: VALUE")))?;
            let name = HeaderName::from_bytes(name.trim().as_bytes())
                .map_err(|_| Failure::Input(format!("\"{name}\" is no header name")))?;
            let value = HeaderValue::from_str(value.trim())
                .map_err(|_| Failure::Input(format!("-H \"{header}\" has a character that no header may hold")))?;
            if name == http::header::HOST {
                host = value.to_str().unwrap_or_default().to_ascii_lowercase();
            } else {
                headers.append(name, value);
            }
        }
        let (scheme, rest) = match self.url.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, Some(rest)),
            Some(("https", rest)) => (Scheme::Https, Some(rest)),
            Some(_) => return Err(Failure::Input(format!("\"{}\" must be http:// or https://, or a path", self.url))),
            None => (Scheme::Https, None),
        };
        let target = match rest {
            None => self.url.as_str(),
            Some(rest) => {
                let split = rest.find(['/', '?']).unwrap_or(rest.len());
                let (authority, target) = rest.split_at(split);
                host = authority.to_ascii_lowercase();
                target
            }
        };
        let target = target.split('#').next().unwrap_or_default();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        if !path.starts_with('/') {
            return Err(Failure::Input(format!("\"{}\" must start with / or with https://", self.url)));
        }
        let body = self.data.as_ref().map_or(Body::Empty, |data| Body::Full(data.clone().into()));
        let origin = Origin {
            ip: self.ip,
            scheme,
            host,
            version: "1.1",
            id: "explain".to_owned(),
            seed: 1,
            deadline: None,
            front_time: None,
            client_certificate: None,
            iam: None,
        };
        Ok(Request { method, path, query, headers, body, origin })
    }
}

/// What happened, a line a stage, in the order of `Gateway::serve`.
fn story(asked: &str, gateway: &Gateway, served: &Served, noted: &Noted, assumed: Option<&str>) -> String {
    let exchange = &served.exchange;
    let routes = gateway.routes();
    let mut story = Story { lines: vec![asked.to_owned()], served };
    let route = exchange.route.as_ref().and_then(|name| routes.routes.iter().find(|route| route.name == *name));
    let has_edge = routes.edge.secret_header.is_some();
    if has_edge && story.stage("edge", &routes.edge_stage(), EDGE, route.is_none()) {
        return story.lines.join("\n");
    }
    let Some(route) = route else {
        story.line("find", &format!("no route: {} {}", served.response.status.as_u16(), stopped(served)));
        return story.lines.join("\n");
    };
    story.line("find", &format!("route \"{}\", declared at {}", route.name, route.declared));
    let mut stages = routes.stages(route);
    if let (Some(from), Auth::Any(_)) = (assumed, &route.auth) {
        let identify = stages.iter_mut().find(|(stage, _)| *stage == "identify");
        identify.into_iter().for_each(|(_, what)| *what = format!("assumed from {from}"));
    }
    let what = |stage: &str| stages.iter().find(|(name, _)| *name == stage).map_or("", |(_, what)| what.as_str());
    let stops = STAGES.iter().any(|(stage, codes)| story.stage(stage, what(stage), codes, true));
    if let Some(plan) = &exchange.plan {
        for text in routes.plan_lines(plan) {
            story.line("plan", &format!("{plan}: {text}"));
        }
    }
    if let Some(drawn) = drawn(route, exchange) {
        story.line("split", &drawn);
    }
    for sent in noted.sent.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for text in sent {
            story.line("forward", text);
        }
    }
    let unsigned = exchange.stopped_by.is_some_and(|code| FORWARD.contains(&code));
    if unsigned {
        story.line("forward", &format!("stops here, {}", stopped(served)));
    }
    if exchange.upstream.is_none() && !stops {
        story.line("answer", what("to"));
    }
    let pretended =
        if exchange.upstream.is_some() && !unsigned { " (as if the upstream had answered 200)" } else { "" };
    story.line("status", &format!("{}{pretended}", served.response.status.as_u16()));
    for (name, value) in &served.response.headers {
        story.line("header", &format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
    }
    story.lines.join("\n")
}

struct Story<'s> {
    lines: Vec<String>,
    served: &'s Served,
}

impl Story<'_> {
    fn line(&mut self, stage: &str, text: &str) {
        self.lines.push(format!("  {stage:<9} {text}"));
    }

    /// One stage that can stop with these codes, and what its policies in shadow say. Returns whether the request
    /// stopped there, which it did only if it `may` have.
    fn stage(&mut self, stage: &str, what: &str, codes: &[&str], may: bool) -> bool {
        let exchange = &self.served.exchange;
        let shadowed = exchange.shadowed.all().iter().filter(|shadow| codes.contains(&shadow.code));
        let would: String =
            shadowed.map(|shadow| format!("would refuse, {}: {}; ", shadow.code, shadow.detail)).collect();
        let stops = may && exchange.stopped_by.is_some_and(|code| codes.contains(&code));
        let ends = if stops { format!("stops here, {}", stopped(self.served)) } else { "passes".to_owned() };
        let who = exchange.caller.as_ref().filter(|caller| stage == "identify" && !caller.id().is_empty());
        let who = who.map(|caller| format!(" ({})", identified(caller))).unwrap_or_default();
        let verdicts = exchange.limits.iter().filter(|_| stage == "limit" && !stops).map(|verdict| {
            let verdict_text = if verdict.admitted { "admits" } else { "refuses" };
            format!("{} {verdict_text}, {} left", verdict.name, verdict.remaining)
        });
        let verdicts = verdicts.collect::<Vec<_>>().join("; ");
        let verdicts = if verdicts.is_empty() { verdicts } else { format!(" ({verdicts})") };
        self.line(stage, &format!("{what}: {would}{ends}{who}{verdicts}"));
        stops
    }
}

/// Who calls.
fn identified(caller: &Caller) -> String {
    let (scopes, groups) = (caller.scopes().join(","), caller.groups().join(","));
    let parts = [
        ("tenant", caller.tenant()),
        ("plan", caller.plan()),
        ("scopes", &scopes),
        ("groups", &groups),
        ("via", caller.via()),
    ];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty()).map(|(what, text)| format!(", {what} {text}"));
    format!("caller {}{}", caller.id(), parts.collect::<String>())
}

/// Which branch of a split the request took, and why.
fn drawn(route: &Route, exchange: &Exchange) -> Option<String> {
    let (Some(Drawn { branch, by }), Destination::Forward { split, .. }) = (&exchange.drawn, &route.to) else {
        return None;
    };
    let weights = split.weights();
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let subject = split.subject().unwrap_or_default();
    let why = match by {
        DrawnBy::Seed => "drawn by weight: another request may take another".to_owned(),
        DrawnBy::Subject(value) => format!("where {value:?} stays, the subject {subject}"),
        DrawnBy::NoSubject => {
            format!("drawn by weight, since the subject {subject} fails or is empty: another request may take another")
        }
    };
    let (nth, of) = (branch + 1, weights.len());
    let weight = weights.get(*branch).copied().unwrap_or_default();
    let upstream = exchange.upstream.as_deref().unwrap_or_default();
    Some(format!("entry {nth} of {of}, upstream {upstream}, weight {weight} of {total}: {why}"))
}

fn stopped(served: &Served) -> String {
    let code = served.exchange.stopped_by.unwrap_or("answered");
    match &served.exchange.detail {
        Some(detail) => format!("{code}: {detail}"),
        None => code.to_owned(),
    }
}

/// The reason codes of the edge.
const EDGE: &[&str] = &["edge_required", "secret_unavailable"];

/// The stages after `find`, each with the reason codes it can stop with, in shadow or not.
const STAGES: [(&str, &[&str]); 6] = [
    ("path", &["bad_path"]),
    ("preflight", &["preflight", "origin_not_listed"]),
    ("screen", &["address_denied", "body_too_large", "content_type_refused"]),
    ("identify", &["credentials_missing", "credentials_invalid", "credentials_unchecked", "caller_forbidden"]),
    ("permit", &["tenant_denied", "scope_missing", "group_missing", "condition_failed"]),
    ("limit", &["plan_unknown", "over_limit", "state_unavailable"]),
];

/// The reason codes of a forward that has nothing to sign a request with.
const FORWARD: &[&str] = &["secret_unavailable", "upstream_unsigned"];

/// Upstreams that get nothing: it notes the request and answers 200. The gateway's own calls are made: what they carry
/// is not to be shown, and without them nobody could say who calls. But tokens for upstreams are made up, since nothing
/// is sent there.
#[derive(Debug)]
struct Noted {
    sent: Mutex<Vec<Vec<String>>>,
    own: Arc<HttpUpstream>,
}

impl Noted {
    fn new(outside: &Outside) -> Self {
        Self { sent: Mutex::default(), own: Arc::clone(&outside.upstream) }
    }
}

impl Upstream for Noted {
    fn send<'a>(&'a self, target: &'a Target, outbound: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        let asks_for_token =
            matches!(&outbound.body, Body::Full(form) if form.starts_with(b"grant_type=client_credentials"));
        if is_own(target) && !asks_for_token {
            return self.own.send(target, outbound);
        }
        let mut lines = vec![
            format!("to {}:{} ({})", target.host, target.port, target.protocol.as_str()),
            format!("{} {}", outbound.method, outbound.uri),
        ];
        for (name, value) in &outbound.headers {
            let value =
                if value.is_sensitive() { "(secret)".into() } else { String::from_utf8_lossy(value.as_bytes()) };
            lines.push(format!("{name}: {value}"));
        }
        if let Some(SigV4 { service, region }) = &target.sign {
            let region = region.as_deref().unwrap_or("the environment's region");
            lines.push(format!("signed with sigv4 for {service} in {region}"));
        }
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(lines);
        let mut answer = Response::empty(StatusCode::OK);
        if asks_for_token {
            answer.body = Body::Full(Bytes::from_static(br#"{"access_token": "token", "token_type": "Bearer"}"#));
        }
        Box::pin(async { Ok(answer) })
    }
}
