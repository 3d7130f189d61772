//! The Lambda binary under a Runtime API that hands out events no platform makes.

use std::path::Path;

use serde_json::{Value, json};
use tollgate_adapters::table::DynamoTable;

use super::{Dice, REQUESTS, SEED, WARM_UP, flat, memory};
use crate::dynamo;
use crate::process::gateway_settings;
use crate::program::{Program, Upstream, gateway};
use crate::runtime_api::{Handed, Journal, Outcome, RuntimeApi, event};

/// The sample events, in the order of their names.
fn samples() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    assert!(paths.len() >= 20, "the samples were found");
    paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// Stands in a text for what serde_json's values cannot hold.
const RAW: &str = "\"@raw@\"";

/// What JSON has that a value has not: half of a surrogate pair, numbers beyond all bounds, nesting, bytes that are no
/// UTF-8.
fn raw(dice: &mut Dice) -> Vec<u8> {
    match dice.below(9) {
        0 => br#""\ud800""#.to_vec(),
        1 => br#""a\udfffb\u0000""#.to_vec(),
        2 => b"\"\xff\xc0\x80\"".to_vec(),
        3 => b"1e999".to_vec(),
        4 => b"-99999999999999999999999999999999".to_vec(),
        5 => nested(dice.one_of(&[10, 120, 130, 20_000]), "[", "]"),
        6 => nested(dice.one_of(&[10, 120, 130, 2_000]), "{\"a\":", "}"),
        7 => b"{\"a\":1,\"a\":2,\"\":null}".to_vec(),
        _ => b"tru".to_vec(),
    }
}

fn nested(depth: usize, open: &str, close: &str) -> Vec<u8> {
    (open.repeat(depth) + "0" + &close.repeat(depth)).into_bytes()
}

const PATHS: [&str; 16] = [
    "",
    "*",
    "a",
    "/%",
    "/%zz",
    "/%00",
    "/\0",
    "/..//..%2f..%5c..\\",
    "/hello/%2e%2e/../..",
    "/users/%ff%fe",
    "//",
    "/é\u{202e}",
    "/orders/'\"<>{}|^`",
    "http://other.example/",
    "/hello/%25%32%66",
    "/?#",
];

const NAMES: [&str; 14] = [
    "host",
    "Host",
    "cookie",
    "content-length",
    "transfer-encoding",
    "connection",
    "x-forwarded-for",
    "x_forwarded_for",
    "forwarded",
    "expect",
    "",
    "a b",
    "x\r\ny",
    "é",
];

const TEXTS: [&str; 16] = [
    "",
    "*",
    "-1",
    "\0",
    "a\r\nb: c",
    "é",
    "chunked",
    "close, host, authorization",
    "a, b, ,",
    "99999999999999999999",
    "[::1",
    "a:b@c",
    "${params.name}",
    "%s%n",
    "2.0",
    "OPTIONS",
];

/// A value that does not belong where it is put.
fn odd(dice: &mut Dice) -> Value {
    match dice.below(12) {
        0 => Value::Null,
        1 => true.into(),
        2 => (-1).into(),
        3 => 1e300.into(),
        4 => json!([]),
        5 => json!({}),
        6 => json!([null, 1, {"a": []}]),
        7 => "x".repeat(dice.one_of(&[100, 9_000, 70_000])).into(),
        8 => RAW.trim_matches('"').into(),
        9 => String::from_utf8_lossy(&dice.bytes(40)).into_owned().into(),
        _ => dice.one_of(&TEXTS).into(),
    }
}

/// Every place of a value, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                places(member, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        Value::Array(members) => {
            for (place, member) in members.iter().enumerate() {
                places(member, &format!("{at}/{place}"), found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Puts `value` where there is an object for it.
fn put(event: &mut Value, at: &str, name: &str, value: Value) {
    if let Some(members) = event.pointer_mut(at).and_then(Value::as_object_mut) {
        members.insert(name.to_owned(), value);
    }
}

/// Changes one thing, under the names that payload format 2.0 or that the older ones have for it.
fn change(dice: &mut Dice, event: &mut Value) {
    let new = event.get("rawPath").is_some();
    match dice.below(8) {
        0 => put(event, "", if new { "rawPath" } else { "path" }, dice.one_of(&PATHS).into()),
        1 => {
            let query = dice.one_of(&["%", "&&==", "a=%zz&a=\0", "?", "#", "a b\"<>\t", "é=ü"]);
            match dice.below(3) {
                _ if new => put(event, "", "rawQueryString", query.into()),
                0 => put(event, "", "queryStringParameters", json!({"a": query, "": "", query: null})),
                _ => put(event, "", "multiValueQueryStringParameters", json!({"a": [query, null, "b"], query: []})),
            }
        }
        2 => {
            let methods = ["", "get", "G T", "TRACE", "CONNECT", "OPTIONS", "HEAD", "PATCH", "M-SEARCH", "é"];
            let (at, name) = if new { ("/requestContext/http", "method") } else { ("", "httpMethod") };
            put(event, at, name, dice.one_of(&methods).into());
        }
        3 => {
            let (name, text) = (dice.one_of(&NAMES), dice.one_of(&TEXTS));
            put(event, "/headers", name, text.into());
            put(event, "/multiValueHeaders", name, json!([text, null, text]));
        }
        4 => {
            let count = if dice.once_in(20) { 3_000 } else { dice.below(300) };
            let many = (0..count).map(|n| (format!("x-{n}"), n.to_string().into()));
            put(event, "", "headers", Value::Object(many.collect()));
            let lists = (0..count).map(|n| (format!("x-{n}"), json!([n.to_string(), "b"])));
            if event.get("multiValueHeaders").is_some() {
                put(event, "", "multiValueHeaders", Value::Object(lists.collect()));
            }
        }
        5 => put(event, "", "cookies", json!([dice.one_of(&TEXTS), "a=b; c", null, ""])),
        6 => {
            let length = dice.below(2_000);
            put(event, "", "isBase64Encoded", dice.once_in(2).into());
            put(event, "", "body", dice.one_of(&["A", "=", "é", "\0", "{\"a\":"]).repeat(length).into());
        }
        _ => {
            let mut found = Vec::new();
            places(event, "", &mut found);
            let place = found[dice.below(found.len())].clone();
            let (parent, name) = place.rsplit_once('/').unwrap_or_default();
            match event.pointer_mut(parent).and_then(Value::as_object_mut) {
                Some(members) if dice.once_in(2) => drop(members.remove(name)),
                _ => *event.pointer_mut(&place).unwrap() = odd(dice),
            }
        }
    }
}

/// The text of an event, with what a value cannot hold put in.
fn text(dice: &mut Dice, event: &Value) -> Vec<u8> {
    let text = event.to_string();
    let mut parts = text.split(RAW);
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.extend(raw(dice));
        bytes.extend(part.as_bytes());
    }
    if dice.once_in(8) && bytes.ends_with(b"}") {
        // A member twice, and one that no event has.
        bytes.pop();
        bytes.extend(dice.one_of(&[
            &b",\"rawPath\":\"/twice\"}"[..],
            b",\"version\":\"1.0\"}",
            b",\"x\":[[]]}",
            b",}",
        ]));
    }
    bytes
}

fn hostile(number: u64, samples: &[Value]) -> Vec<u8> {
    let mut dice = Dice::of(number);
    if dice.once_in(50) {
        return match dice.below(3) {
            0 => dice.bytes(200),
            1 => nested(50_000, "[", "]"),
            _ => dice
                .one_of(&["", "{}", "[]", "null", "\"\"", "{\"version\":\"2.0\"}", "{\"Records\":[]}"])
                .as_bytes()
                .to_vec(),
        };
    }
    let mut event = samples[dice.below(samples.len())].clone();
    for _ in 0..=dice.below(4) {
        change(&mut dice, &mut event);
    }
    let mut bytes = text(&mut dice, &event);
    if dice.once_in(4) {
        dice.damage(&mut bytes);
    }
    bytes
}

/// An answer is one that the platform can make a response of.
fn assert_answer(outcome: &Outcome, what: &str) {
    let answer: Value = serde_json::from_slice(&outcome.bytes).unwrap_or_else(|fault| panic!("{what}: {fault}"));
    let status = answer["statusCode"].as_u64();
    assert!(status.is_some_and(|status| (200..=599).contains(&status)), "{what}: {answer}");
    // Each front door has its fields in texts, in lists, or in both.
    let all = |kind: &str, fits: &dyn Fn(&Value) -> bool| answer[kind].as_object().map(|all| all.values().all(fits));
    let texts = all("headers", &Value::is_string);
    let lists = all("multiValueHeaders", &|list| list.as_array().is_some_and(|list| list.iter().all(Value::is_string)));
    assert!(texts.or(lists).is_some() && texts != Some(false) && lists != Some(false), "{what}: {answer}");
    assert_ne!(status, Some(500), "{what}: {answer}");
}

/// An event as large as the platform hands one out: 6 MB.
fn giant() -> Vec<u8> {
    let mut giant = event("POST", "/echo/a", "");
    giant["body"] = "a".repeat(5_900_000).into();
    giant.to_string().into_bytes()
}

async fn good(api: &mut RuntimeApi, after: &str) {
    let outcome = api.call(&event("GET", "/hello/ada", "")).await;
    assert_eq!((outcome.status(), outcome.body()), (200, br#"{"hello":"ada"}"#.to_vec()), "after {after}");
}

/// Has glibc's allocator give large pieces back to the system at once. By itself it keeps up to twice the largest that
/// was ever freed (mallopt(3), M_MMAP_THRESHOLD), or not, as it happens: 12 MB after an event of 6 MB, which would hide
/// what the gateway keeps.
const GIVES_BACK: [(&str, &str); 2] = [("MALLOC_MMAP_THRESHOLD_", "131072"), ("MALLOC_TRIM_THRESHOLD_", "131072")];

#[tokio::test]
async fn ten_thousand_hostile_events_are_each_answered_once_and_leave_the_gateway_serving_and_its_memory_flat() {
    let upstream = Upstream::start(Journal::default()).await;
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/gateway.yaml");
    let (url, table) = (format!("http://{}", upstream.address), dynamo::start());
    DynamoTable::connect(dynamo::settings(&table)).await.create_tables().await.unwrap();
    let mut api = RuntimeApi::start().await;
    let urls = ["ORDERS_URL", "USERS_URL", "ECHO_URL"].map(|name| (name, &*url));
    let settings = [&gateway_settings(&config, &table)[..], &urls, &GIVES_BACK].concat();
    let mut program = Program::start(&gateway(), &api, &settings);
    let (samples, mut before, mut answered, mut refused) = (samples(), 0, 0, 0);
    for number in 1..=REQUESTS {
        let what = format!("request {number} of seed {SEED}");
        // What the allocator keeps of a large event stays, so the memory is measured after the same one each time.
        let event = if number.is_multiple_of(1_000) { giant() } else { hostile(number, &samples) };
        let outcome = api.call(Handed::raw(event)).await;
        if outcome.error {
            refused += 1;
            assert_eq!(outcome.json()["errorType"], "Tollgate.NotHttp", "{what}");
            let complaint = program.complaint().await;
            assert!(complaint.contains("the event is not an HTTP request"), "{what}: {complaint}");
        } else {
            answered += 1;
            assert_answer(&outcome, &what);
            let line = program.line().await;
            assert!(serde_json::from_str::<Value>(&line).is_ok_and(|line| line["status"].is_u64()), "{what}: {line}");
        }
        if number.is_multiple_of(100) {
            good(&mut api, &what).await;
            program.line().await;
        }
        if number == WARM_UP {
            before = memory(program.pid);
        }
    }
    assert!(answered > REQUESTS / 4 && refused > REQUESTS / 10, "{answered} answered, {refused} refused");
    println!("{}", flat(program.pid, before));
    let journal = api.journal.read();
    let count = |what: &str| journal.iter().filter(|note| note.starts_with(what)).count() as u64;
    assert_eq!((count("answer "), count("error ")), (answered + REQUESTS / 100, refused));
    api.stop();
    let (_, rest) = program.end().await;
    assert!(rest.len() == 1 && rest[0].contains("cannot be reached"), "{rest:?}");
}
