//! The sample events: each `events/NAME.json` through the Lambda door, and the whole answer as `events/answers/NAME.json`.
//!
//! `UPDATE=1` writes the answers anew; they are reviewed like any other text.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tollgate::clock::{Clock, SystemClock, Timestamp};
use tollgate::config::{self, Host};
use tollgate::exchange::{After, Exchange, Request, Response, Served};
use tollgate::gateway::{Gateway, World};
use tollgate::table::MemoryTable;
use tollgate_adapters::door::lambda::{invoke, invoke_with};
use tollgate_adapters::files::Disk;
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};

use crate::program::Upstream;
use crate::runtime_api::Journal;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events")
}

/// The names of the JSON files in a folder, without their endings.
fn names(folder: &Path) -> BTreeSet<String> {
    let Ok(files) = std::fs::read_dir(folder) else { return BTreeSet::new() };
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// The answer as the files have it: the order of its fields says nothing, so they stand sorted.
fn pretty(answer: &Value) -> String {
    let mut answer = answer.clone();
    answer.sort_all_objects();
    serde_json::to_string_pretty(&answer).unwrap() + "\n"
}

/// Sends every event of `folder` through `invoke` and tells all that differs from its answer: the texts, between rules.
async fn differences(folder: &Path, update: bool, invoke: impl AsyncFn(&[u8]) -> String) -> Vec<String> {
    let (events, answers) = (names(folder), folder.join("answers"));
    let mut differences = Vec::new();
    for name in &events {
        let event = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let got = pretty(&serde_json::from_str(&invoke(&event).await).unwrap());
        let path = answers.join(format!("{name}.json"));
        if update {
            std::fs::create_dir_all(&answers).unwrap();
            std::fs::write(path, got).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(path).unwrap_or_else(|fault| format!("{fault}\n"));
        if got != expected {
            differences.push(format!("{name}\n--- expected\n{expected}--- got\n{got}---"));
        }
    }
    differences.extend(names(&answers).difference(&events).map(|name| format!("{name}: an answer without an event")));
    differences
}

/// The moment at which every sample event happens.
#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_795_521_600)
    }
}

/// A gateway of the config that ships, with upstreams that tell what reached them.
async fn shipped(upstream: &Upstream) -> Gateway {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/gateway.yaml");
    let url = format!("http://{}", upstream.address);
    let env = |name: &str| name.ends_with("_URL").then(|| url.clone());
    let compiled = config::compile(config.to_str().unwrap(), Host { files: &Disk, env: &env })
        .unwrap_or_else(|problems| panic!("{problems}"));
    let upstream = HttpUpstream::new(UpstreamSettings::default(), Arc::new(Noon));
    let (table, clock) = (Arc::new(MemoryTable::default()), Arc::new(Noon));
    Gateway::new(
        compiled.routes,
        World {
            table,
            upstream,
            clock,
            environments: Some(NonZeroU32::MIN),
            vault: Arc::new(tollgate::secret::NoVault),
        },
    )
}

/// What a run of its own would tell differently: how long it took, and the id of an event that brings none.
fn settled(answer: &str, brings_an_id: bool) -> String {
    let mut answer: Value = serde_json::from_str(answer).unwrap();
    let (mut one, mut many) = (None, None);
    match answer.get("multiValueHeaders").is_some() {
        true => many = answer["multiValueHeaders"].get_mut("server-timing").map(|timing| &mut timing[0]),
        false => one = answer["headers"].get_mut("server-timing"),
    }
    if let Some(timing) = one.or(many) {
        let told =
            timing.as_str().unwrap().split(", ").map(|one| one.split_once("dur=").unwrap().0.to_owned() + "dur=…");
        *timing = told.collect::<Vec<_>>().join(", ").into();
    }
    let listed = answer["multiValueHeaders"]["x-request-id"][0].as_str();
    let id = listed.or(answer["headers"]["x-request-id"].as_str()).unwrap().to_owned();
    let text = answer.to_string();
    if brings_an_id { text } else { text.replace(&id, "…") }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the one switch of the golden files")]
async fn every_sample_event_has_its_whole_answer() {
    let upstream = Upstream::start(Journal::default()).await;
    let gateway = shipped(&upstream).await;
    let update = std::env::var("UPDATE").is_ok_and(|update| update == "1");
    let invoke = async |event: &[u8]| {
        let read: Value = serde_json::from_slice(event).unwrap();
        settled(&invoke(&gateway, event).await.unwrap().0, read["requestContext"]["requestId"].is_string())
    };
    let differences = differences(&folder(), update, invoke).await;
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

async fn accept(request: Request) -> Served {
    let exchange = Exchange::open(&request, SystemClock.now());
    Served { response: Response::empty(http::StatusCode::NO_CONTENT), exchange, after: After::default() }
}

/// Which front door an event came through, by what only that one writes.
fn front(event: &Value) -> &'static str {
    let context = &event["requestContext"];
    let domain = context["domainName"].as_str().unwrap_or_default();
    match event["version"].as_str() {
        _ if context["elb"]["targetGroupArn"].is_string() => "alb",
        Some("2.0") if domain.contains(".lambda-url.") => "url",
        Some("2.0") => "http-api",
        Some("1.0") => "http-api-v1",
        _ => "rest-api",
    }
}

#[tokio::test]
async fn every_sample_event_is_as_its_front_door_writes_it_and_all_doors_have_some() {
    let (mut ids, mut fronts) = (BTreeSet::new(), BTreeMap::new());
    for name in names(&folder()) {
        let path = folder().join(format!("{name}.json"));
        let event = read(&path);
        let (context, front) = (&event["requestContext"], front(&event));
        assert!(front == "url" || name.starts_with(front), "{name} is a {front} event");
        *fronts.entry(front).or_insert(0) += 1;
        match front {
            "url" => {
                assert_eq!((&event["routeKey"], &context["stage"]), (&"$default".into(), &"$default".into()), "{name}");
                let host = &event["headers"]["host"];
                assert_eq!((&event["rawPath"], host), (&context["http"]["path"], &context["domainName"]), "{name}");
            }
            "http-api" => assert_eq!(event["rawPath"], context["http"]["path"], "{name}"),
            "http-api-v1" | "rest-api" => {
                assert_eq!(event["httpMethod"], context["httpMethod"], "{name}");
                for (field, value) in event["headers"].as_object().unwrap() {
                    assert_eq!(event["multiValueHeaders"][field].as_array().unwrap().last(), Some(value), "{name}");
                }
            }
            _ => assert_ne!(event["headers"].is_object(), event["multiValueHeaders"].is_object(), "{name}"),
        }
        let id = context["requestId"].as_str();
        assert_eq!(id.is_none(), front == "alb", "{name}");
        assert!(id.is_none_or(|id| ids.insert(id.to_owned())), "{name} has another event's id");
        let (answer, _) = invoke_with(accept, &std::fs::read(&path).unwrap()).await.unwrap();
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let wanted = match name.as_str() {
            "bad-base64" => 400,
            "alb-health-check" => 200,
            _ => 204,
        };
        assert_eq!(answer["statusCode"], wanted, "{name}");
    }
    assert_eq!(fronts.keys().copied().collect::<Vec<_>>(), ["alb", "http-api", "http-api-v1", "rest-api", "url"]);
    assert!(fronts.values().sum::<u32>() >= 20, "{fronts:?}");
}

#[tokio::test]
async fn an_answer_that_differs_is_told_with_both_texts_and_an_answer_without_an_event_too() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [("same.json", "{}"), ("other.json", "{}"), ("new.json", "{}")] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let answer = |text: &'static str| async move |_: &[u8]| text.to_owned();
    assert!(differences(folder.path(), true, answer(r#"{"statusCode":200}"#)).await.is_empty());
    let answers = folder.path().join("answers");
    std::fs::write(answers.join("other.json"), "{}\n").unwrap();
    std::fs::remove_file(answers.join("new.json")).unwrap();
    std::fs::write(answers.join("gone.json"), "{}\n").unwrap();
    let differences = differences(folder.path(), false, answer(r#"{"statusCode":200}"#)).await;
    assert_eq!(differences.len(), 3);
    assert!(differences[0].starts_with("new\n--- expected\n"));
    assert_eq!(differences[1], "other\n--- expected\n{}\n--- got\n{\n  \"statusCode\": 200\n}\n---");
    assert_eq!(differences[2], "gone: an answer without an event");
}
