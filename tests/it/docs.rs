//! What README.md and docs/config.md show works as they say.

use std::fs;
use std::path::Path;

use tollgate::config::{self, Files, Host};

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// The examples of one language, as they stand between fences.
fn examples(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// One config, and an empty file for whatever it names, but for authorities.
#[derive(Debug)]
struct Example(String);

impl Files for Example {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        // The key is that of RFC 7515 §A.3.
        const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        Ok(match path {
            "gateway.yaml" => self.0.clone().into_bytes(),
            _ if path.ends_with("jwks.json") => KEYS.into(),
            _ if path.ends_with(".pem") => text("infra/certs/devices.pem").into_bytes(),
            _ => Vec::new(),
        })
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(Vec::new())
    }
}

fn compile(text: String) -> Result<(), String> {
    let environment = |_: &str| Some("a-secret-of-thirty-two-bytes-or-more".to_owned());
    let example = Example(text);
    config::compile("gateway.yaml", Host { files: &example, env: &environment })
        .map(drop)
        .map_err(|problems| problems.to_string())
}

#[test]
fn the_readmes_configs_compile() {
    let examples = examples(&text("README.md"), "yaml");
    assert_eq!(examples.len(), 2);
    for example in examples {
        compile(example).unwrap();
    }
}

/// `tests/watch` is too slow for every run: that the README shows what it runs is told without it.
#[test]
fn the_readme_shows_the_commands_that_the_emulators_script_runs() {
    let (readme, script) = (text("README.md"), text("tests/watch"));
    let commands: Vec<_> = script.split("$(shown '").skip(1).filter_map(|rest| rest.split('\'').next()).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        assert!(readme.lines().any(|line| line == command), "README.md does not show: {command}");
    }
}

#[test]
fn every_example_of_the_config_reference_compiles() {
    const ROUTE: &str = "  - {name: example, auth: none, match: {path: \"/{name}\"}, ";
    let mut compiled = 0;
    for example in examples(&text("docs/config.md"), "yaml") {
        let upstreams = "upstreams: {orders: {targets: \"http://a\"}, orders-v1: {targets: \"http://a\"}, orders-v2: {targets: \"http://a\"}, devices: {targets: \"http://a\"}, legacy: {targets: \"http://a\"}}\n";
        let auth: String = ["customers", "partners", "certificates"]
            .map(|name| format!("  {name}: {{api_key: {{header: x-{name}, pepper: \"env:P\"}}}}\n"))
            .concat();
        if example.starts_with("to:") {
            // A line is a destination.
            for line in example.lines() {
                let line = line.split(" #").next().unwrap();
                compile(format!("version: 1\n{upstreams}routes:\n{ROUTE}{line}}}\n")).unwrap();
                compiled += 1;
            }
        } else if example.starts_with("- name:") {
            compile(format!("version: 1\n{upstreams}auth:\n{auth}routes:\n{example}")).unwrap();
            compiled += 1;
        } else if example.contains("\nroutes:") {
            // Whole but for what it names.
            compile(format!("version: 1\n{upstreams}auth:\n{auth}{example}")).unwrap();
            compiled += 1;
        } else {
            compile(format!("version: 1\n{example}\nroutes:\n{ROUTE}to: {{respond: {{}}}}}}\n")).unwrap();
            compiled += 1;
        }
    }
    assert!(compiled >= 8, "{compiled} examples");
}

#[test]
fn every_key_that_the_config_knows_stands_in_its_reference() {
    let reference = text("docs/config.md");
    let wrong = "version: 1\nupstreams: {a: {targets: \"http://a\", x_: 1, retry: {x_: 1}, tls: {x_: 1}}}\n\
                 auth: {p: {x_: 1, api_key: {header: x-key, pepper: \"env:P\", x_: 1}}, j: {jwt: {x_: 1, keys: {x_: 1}, caller: {x_: 1}, from: {x_: 1}}}, i: {introspection: {x_: 1, client: {x_: 1}}},\n\
                 \x20 q: {iam: {x_: 1, caller: {x_: 1}}}, r: {client_certificate: {from: {alb: a, x_: 1}, caller: {x_: 1}, x_: 1}}}\n\
                 limits: {l: {rate: 1/s, by: global, x_: 1}, p: {plan: true, x_: 1}}\n\
                 plans: {p: {x_: 1, quota: {limit: 1, per: day, x_: 1}}}\nedge: {x_: 1}\ndefaults: {x_: 1}\nx_: 1\nroutes:\n\
                 \x20 - name: a\n    auth: none\n    x_: 1\n    match: {path: /, x_: 1}\n    cors: {x_: 1}\n    body: {x_: 1}\n    address: {x_: 1}\n    allow: {x_: 1, scopes: {x_: 1}}\n\
                 \x20   request: {x_: 1, headers: {x_: 1}, query: {x_: 1}}\n    response: {x_: 1}\n    to: {redirect: {location: /a, x_: 1}}\n\
                 \x20 - {name: b, auth: none, match: {path: /b}, to: {respond: {x_: 1}}}\n\
                 \x20 - {name: c, auth: none, match: {path: /c}, to: {split: [{upstream: a, weight: 1, x_: 1}]}}\n\
                 \x20 - {name: d, auth: none, match: {path: /d}, to: {x_: 1}}\n\
                 \x20 - {name: e, auth: {use: p, x_: 1}, match: {path: /e}, to: {respond: {}}}\n";
    let problems = compile(wrong.to_owned()).unwrap_err();
    let mut asked = 0;
    for line in problems.lines().filter(|line| line.contains("`x_`")) {
        let known = line.split("expected one of ").nth(1).unwrap_or_else(|| panic!("{line} names no keys"));
        for key in known.trim_end_matches('.').split(", ") {
            assert!(reference.contains(key), "docs/config.md does not name `{key}` of {line}");
        }
        asked += 1;
    }
    assert!(asked >= 31, "{asked}: {problems}");
}

#[test]
fn the_caller_that_the_reference_shows_can_be_assumed() {
    let examples = examples(&text("docs/config.md"), "json");
    assert_eq!(examples.len(), 1);
    for example in examples {
        tollgate::auth::Assumed::parse(example.as_bytes()).unwrap();
    }
}
