//! The router against Gateway API's conformance cases.

use std::path::Path;

use http::HeaderName;
use serde_json::Value;

use super::super::{Conditions, PathMatch, Router, ValueMatch};
use super::{hosts, look_up, methods};

/// The matching of the conformance cases: a route's index stands for its backend.
#[test]
fn gateway_apis_conformance_cases_are_matched() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/routing/gateway-api.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        println!("SKIPPED: no vectors beside the checkout, Gateway API's cases were not run");
        return;
    };
    let vectors: Value = serde_json::from_str(&text).expect("JSON");
    let (mut ran, mut all, mut wrong) = (0, 0, Vec::new());
    for test in vectors["tests"].as_array().expect("tests") {
        all += test["cases"].as_array().map_or(0, Vec::len);
        let Some((routes, backends)) = conformance_routes(test) else { continue };
        let router = Router::build(routes).unwrap_or_else(|conflicts| panic!("{}: {conflicts:?}", test["test"]));
        for case in test["cases"].as_array().expect("cases") {
            let Some((line, host, headers)) = conformance_request(case) else { continue };
            // HEAD goes to a route for GET (config.md), where theirs is a 404.
            if line.starts_with("HEAD ") {
                continue;
            }
            let expected = case["expected"]["backend"].as_str();
            let missing =
                case["expected"]["status"].as_array().is_some_and(|statuses| statuses.contains(&Value::from(404)));
            if expected.is_none() && !missing {
                continue;
            }
            ran += 1;
            let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let found = look_up(&router, &line, &host, &headers);
            let backend = found
                .split(' ')
                .next()
                .and_then(|index| index.parse::<usize>().ok())
                .and_then(|index| backends.get(index));
            let right = match (expected, backend) {
                (Some(expected), Some(found)) => found.iter().any(|found| found.starts_with(expected)),
                (None, None) => true,
                _ => false,
            };
            if !right {
                wrong.push(format!(
                    "{}: {line} {host} {headers:?} expected {expected:?}, found {backend:?}",
                    test["test"]
                ));
            }
        }
    }
    println!(
        "{ran} of {all} of Gateway API's conformance cases ran; the others are of listeners, redirects and faults"
    );
    assert!(ran >= 30, "only {ran} cases ran");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

type Backends = Vec<Vec<String>>;

/// The conditions of a test's routes, each match one, in order of age and name; `None` where a route is of another kind.
fn conformance_routes(test: &Value) -> Option<(Vec<Conditions>, Backends)> {
    let (mut routes, mut backends) = (Vec::new(), Vec::new());
    // Gateways and their listeners, each with its routes, are not modelled.
    let parents = |route: &Value| route["spec"]["parentRefs"].clone();
    let one_gateway = test["routes"].as_array()?.windows(2).all(|two| parents(&two[0]) == parents(&two[1]));
    if !one_gateway || test["test"].as_str().is_some_and(|name| name.contains("Listener")) {
        return None;
    }
    for route in test["routes"].as_array()? {
        if route["kind"] != "HTTPRoute" {
            return None;
        }
        // A route bound to one listener of several inherits its host: gateways are not modelled.
        if test["gateways"].as_array().is_some_and(|gateways| !gateways.is_empty()) {
            return None;
        }
        let spec = &route["spec"];
        let names: Vec<_> = spec["hostnames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for rule in spec["rules"].as_array()? {
            let backend: Vec<_> = rule["backendRefs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|backend| backend["name"].as_str().map(str::to_owned))
                .collect();
            let none = vec![serde_json::json!({})];
            for matched in rule["matches"].as_array().unwrap_or(&none) {
                routes.push(conformance_match(matched, &names)?);
                backends.push(backend.clone());
            }
        }
    }
    Some((routes, backends))
}

fn conformance_match(matched: &Value, names: &[&str]) -> Option<Conditions> {
    let value = matched["path"]["value"].as_str().unwrap_or("/");
    let path = match matched["path"]["type"].as_str().unwrap_or("PathPrefix") {
        "Exact" => PathMatch::parse(value),
        "PathPrefix" => PathMatch::parse(&format!("{}/**", value.trim_end_matches('/'))),
        _ => PathMatch::regex(value),
    };
    let of = |matched: &Value| match matched["type"].as_str() {
        Some("RegularExpression") => ValueMatch::regex(matched["value"].as_str()?).ok(),
        _ => Some(ValueMatch::Exact(matched["value"].as_str()?.to_owned())),
    };
    let list = |key: &str| matched[key].as_array().cloned().unwrap_or_default();
    let headers = list("headers")
        .iter()
        .map(|header| Some((HeaderName::from_bytes(header["name"].as_str()?.as_bytes()).ok()?, of(header)?)))
        .collect::<Option<_>>()?;
    let query = list("queryParams")
        .iter()
        .map(|param| Some((param["name"].as_str()?.to_owned(), of(param)?)))
        .collect::<Option<_>>()?;
    Some(Conditions {
        path: Some(path.ok()?),
        methods: matched["method"].as_str().map(|method| methods(&[method])).unwrap_or_default(),
        hosts: hosts(names),
        headers,
        query,
        when: None,
        precedence: 0,
    })
}

/// The request line, the host and the fields of a case.
type CaseRequest = (String, String, Vec<(String, String)>);

fn conformance_request(case: &Value) -> Option<CaseRequest> {
    let request = &case["request"];
    let line = format!("{} {}", request["method"].as_str().unwrap_or("GET"), request["path"].as_str().unwrap_or("/"));
    let host = request["host"].as_str().unwrap_or("a.example").to_ascii_lowercase();
    let headers = request["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect();
    Some((line, host, headers))
}
