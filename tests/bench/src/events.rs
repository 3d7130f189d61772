//! What the Lambda door costs: µs to read each of the sample events and to write its answer, by front door. The gateway
//! itself is not in it: the handler says the same to every request.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::time::Instant;
use tollgate::clock::{Clock, SystemClock};
use tollgate::exchange::{After, Body, Exchange, Request, Response, Served};
use tollgate_adapters::door::lambda::invoke_with;

type Fault = Box<dyn std::error::Error>;

const ROUNDS: u32 = 2_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let mut by_door: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for file in std::fs::read_dir("events")? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let event = std::fs::read(&path)?;
        // The least of several: whatever else the machine does only adds to it.
        let mut least = f64::MAX;
        for _ in 0..5 {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                let (answer, _) = invoke_with(answer, &event).await?;
                std::hint::black_box(answer);
            }
            least = least.min(started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
        }
        let door = ["alb", "http-api-v1", "http-api", "rest-api"].into_iter().find(|door| name.starts_with(door));
        by_door.entry(door.unwrap_or("function URL").to_owned()).or_default().push(least);
    }
    for (door, mut costs) in by_door {
        costs.sort_unstable_by(f64::total_cmp);
        let of = |at: usize| costs.get(at).copied().unwrap_or_default();
        print(&format!(
            "{door:13} {} events: median {:.1} µs, dearest {:.1} µs",
            costs.len(),
            of(costs.len() / 2),
            of(costs.len() - 1)
        ));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a figure is what this program is for")]
fn print(line: &str) {
    println!("{line}");
}

async fn answer(request: Request) -> Served {
    let exchange = Exchange::open(&request, SystemClock.now());
    let headers = HeaderMap::from_iter([
        (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (http::header::VARY, HeaderValue::from_static("origin")),
    ]);
    let response = Response { status: StatusCode::OK, headers, body: Body::Full(r#"{"hello":"world"}"#.into()) };
    Served { response, exchange, after: After::default() }
}
