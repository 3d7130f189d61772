//! The Lambda door's loop without a gateway behind it: what of a cost or a fault is the loop's own. Nothing ships with it.
//!
//! Answers a fixed text, or where `UPSTREAM` is a URL, what comes from there; `x-after: /path` asks for a call
//! of that path after the answer.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tollgate::clock::{Clock, SystemClock};
use tollgate::exchange::{After, Body, BodyFault, Exchange, Request, Response, Served};
use tollgate_adapters::door::lambda::{RuntimeFault, run_with};
use tollgate_adapters::settings::Settings;
use tollgate_adapters::telemetry;

type Upstream = Client<HttpConnector, Full<Bytes>>;
type Fault = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let settings = Settings::read(environment)?;
    let door = settings.lambda().ok_or("AWS_LAMBDA_RUNTIME_API is not set")?;
    let upstream = environment("UPSTREAM").map(Arc::<str>::from);
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream = Client::builder(TokioExecutor::new()).build(connector);
    let handler = move |request| serve(request, upstream.clone(), client.clone());
    let ended: Result<Infallible, RuntimeFault> = run_with(handler, &door, &telemetry::stdout(settings.log)).await;
    ended.map(drop).map_err(Into::into)
}

#[expect(clippy::disallowed_methods, reason = "the one place of this binary that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn serve(request: Request, upstream: Option<Arc<str>>, client: Upstream) -> Served {
    let mut exchange = Exchange::open(&request, SystemClock.now());
    let mut after = After::default();
    let response = match upstream {
        None => Response {
            status: StatusCode::OK,
            headers: HeaderMap::from_iter([(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"))]),
            body: Body::Full(Bytes::from_static(b"bare")),
        },
        Some(upstream) => {
            if let Some(path) = request.headers.get("x-after").and_then(|path| path.to_str().ok()) {
                let (client, path) = (client.clone(), format!("{upstream}{path}"));
                after.push(async move { drop(client.get(Uri::try_from(path).unwrap_or_default()).await) });
            }
            forward(request, &upstream, &client).await.unwrap_or_else(|fault| Response {
                body: Body::Full(fault.to_string().into()),
                ..Response::empty(StatusCode::BAD_GATEWAY)
            })
        }
    };
    exchange.status = response.status;
    Served { response, exchange, after }
}

async fn forward(request: Request, upstream: &str, client: &Upstream) -> Result<Response, Fault> {
    let mut outbound = http::Request::new(Full::new(request.body.collect(u64::MAX).await?));
    *outbound.method_mut() = request.method;
    *outbound.uri_mut() = Uri::try_from(format!("{upstream}{}", request.path))?;
    let (head, body) = client.request(outbound).await?.into_parts();
    let body = Body::stream(body.map_err(|fault| BodyFault::Broken(fault.into())));
    Ok(Response { status: head.status, headers: head.headers, body })
}
