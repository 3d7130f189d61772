//! Any bytes as a client certificate that a front door handed over: no panic, and nobody is a caller but those whose
//! certificates the authority signed, under a name of theirs.
//!
//! The first line is a rule of `allow`, the rest what was handed over, or a DER certificate. It is read as a file of
//! authorities too.
#![no_main]

use std::sync::Arc;

use http::{HeaderMap, Method as Verb};
use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::runtime::{Builder, Runtime};
use tollgate::auth::{Authorities, CLIENT_CERT, Caller, ClientCertificates, Granted, Method, Presented, Rule};
use tollgate::clock::{SystemClock, Timestamp};
use tollgate::exchange::{After, CertFrom, ClientCert, Origin, Response, Scheme};
use tollgate::forward::{BoxFuture, FaultKind, Outbound, Target, Upstream, UpstreamFault};
use tollgate::gateway::World;
use tollgate::secret::NoVault;
use tollgate::table::MemoryTable;

const AUTHORITY: &[u8] = include_bytes!("../../../infra/certs/devices.pem");
const CLIENTS: [(&[u8], [&str; 3]); 2] = [
    (
        include_bytes!("../seeds/certificate/till-7.pem"),
        ["uri:spiffe://shop/till-7", "dns:till-7.shop", "cn:till-7.devices"],
    ),
    (
        include_bytes!("../seeds/certificate/till-8.pem"),
        ["uri:spiffe://shop/till-8", "dns:till-8.shop", "cn:till-8.devices"],
    ),
];

/// 2026-11-24 12:00:00; the certificates are valid until 2100.
const NOON: Timestamp = Timestamp::from_secs(1_795_521_600);

#[derive(Debug)]
struct Nowhere;

impl Upstream for Nowhere {
    fn send<'a>(&'a self, _: &'a Target, _: Outbound) -> BoxFuture<'a, Result<Response, UpstreamFault>> {
        let detail = "a certificate asks nobody".to_owned();
        Box::pin(async { Err(UpstreamFault { kind: FaultKind::Connect, stale_connection: false, detail }) })
    }
}

struct Fixture {
    runtime: Runtime,
    world: World,
    clients: Vec<(CertificateDer<'static>, [&'static str; 3])>,
}

thread_local! {
    static FIXTURE: Fixture = Fixture {
        runtime: Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime"),
        world: World {
            table: Arc::new(MemoryTable::default()),
            upstream: Arc::new(Nowhere),
            clock: Arc::new(SystemClock),
            environments: None,
            vault: Arc::new(NoVault),
        },
        clients: CLIENTS
            .map(|(pem, names)| (CertificateDer::from_pem_slice(pem).expect("a certificate"), names))
            .into(),
    };
}

fn origin(text: Vec<u8>) -> Origin {
    Origin {
        ip: [192, 0, 2, 7].into(),
        scheme: Scheme::Https,
        host: "api.example.com".to_owned(),
        version: "1.1",
        id: "r-1".to_owned(),
        seed: 7,
        deadline: None,
        front_time: None,
        client_certificate: Some(ClientCert { from: CertFrom::ApiGateway, text: text.into() }),
        iam: None,
    }
}

fn identify(rules: Vec<Rule>, text: Vec<u8>, fixture: &Fixture) -> Option<Caller> {
    let authorities = Authorities::parse(AUTHORITY).expect("an authority");
    let method = ClientCertificates::new("fuzz", CertFrom::ApiGateway, authorities, rules, Granted::default());
    let (origin, headers, route) = (origin(text), HeaderMap::new(), Arc::from("r"));
    let asked = Presented {
        method: &Verb::GET,
        path: "/",
        query: None,
        headers: &headers,
        origin: &origin,
        body: None,
        route: &route,
        now: NOON,
    };
    let mut after = After::default();
    let first = fixture.runtime.block_on(method.identify(&asked, &fixture.world, &mut after)).ok();
    let again = fixture.runtime.block_on(method.identify(&asked, &fixture.world, &mut after)).ok();
    assert_eq!(first, again, "what is remembered is what was proven");
    first
}

/// That a caller is one of the two, and named as its certificate has it.
fn check(caller: &Caller, fixture: &Fixture) {
    let (name, value) = caller.forward().first().expect("the certificate is sent on");
    assert_eq!(*name, CLIENT_CERT);
    let known = fixture.clients.iter().find(|(der, _)| *value == item(der));
    let (_, names) = known.expect("the authority signed no other");
    assert!(names.contains(&caller.id()), "{}", caller.id());
}

fn item(der: &[u8]) -> String {
    use base64::Engine;
    format!(":{}:", base64::engine::general_purpose::STANDARD.encode(der))
}

/// The two are callers: libFuzzer begins with no bytes at all.
fn check_fixture(fixture: &Fixture) {
    let between: &[u8] = include_bytes!("../seeds/certificate/mid.pem");
    for (pem, names) in CLIENTS {
        for name in names {
            let rules = vec![Rule::parse(name).expect("a rule")];
            let caller = identify(rules, [pem, between].concat(), fixture).expect("a caller");
            assert_eq!(caller.id(), name);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.is_empty() {
        FIXTURE.with(check_fixture);
    }
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(at);
    let rest = rest.get(1..).unwrap_or_default();
    let mut rules: Vec<Rule> =
        std::str::from_utf8(line).ok().and_then(|line| Rule::parse(line).ok()).into_iter().collect();
    for rule in &rules {
        assert_eq!(Rule::parse(&rule.to_string()).as_ref(), Ok(rule), "a rule reads as it is written");
    }
    rules.extend(["uri:spiffe://shop/*", "dns:*.shop", "cn:*.devices"].map(|rule| Rule::parse(rule).expect("a rule")));
    let text = if rest.first() == Some(&0x30) { item(rest).into_bytes() } else { rest.to_vec() };
    FIXTURE.with(|fixture| {
        if let Some(caller) = identify(rules, text, fixture) {
            check(&caller, fixture);
        }
    });
    let pem = |der: &[u8]| {
        let body = item(der);
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", body.trim_matches(':'))
    };
    for file in [rest, pem(rest).as_bytes()] {
        if let Ok(authorities) = Authorities::parse(file) {
            assert!(authorities.count() > 0);
        }
    }
});
