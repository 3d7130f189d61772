//! The loop: `next`, serve, answer, what is left to do, `next`.
//!
//! The order is the point. Once `next` is asked for, the environment may be frozen at any instruction, so whatever a
//! request left to do is done between its answer's acknowledgement and that.
//!
//! A lane is one such loop with a connection of its own. Classic Lambda has one; where the host asks for many requests at
//! once (`AWS_LAMBDA_MAX_CONCURRENCY`, AWS's documentation of Lambda Managed Instances) there are as many lanes, which
//! share the handler and nothing else.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::watch;
use tokio::task::{JoinSet, yield_now};
use tokio::time::Instant;
use tollgate::clock::{Clock, SystemClock, Timestamp};
use tollgate::exchange::{After, Body, Exchange, Request, Response, Served};
use tollgate::refusal::Refusal;

use super::answer::{self, Ending, Source, Streamed};
use super::api::{Api, Next, RuntimeFault};
use super::event::{self, Front, Incoming, Invocation, NotHttp};
use super::{LambdaSettings, ResponseMode};
use crate::LogSink;
use crate::door::health::{self, HEALTH_PATH};
use crate::telemetry::complain;

/// Serves events with any handler; [`super::run`] is this with a gateway.
///
/// # Errors
/// Never comes back but with the fault that ended it: the Runtime API is gone.
pub async fn run_with<H, F>(handler: H, settings: &LambdaSettings, log: &LogSink) -> Result<Infallible, RuntimeFault>
where
    H: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = Served> + Send,
{
    let stop = watch::Sender::new(false);
    if settings.concurrency.get() == 1 {
        return lane(&handler, &mut Api::new(&settings.api)?, settings, log, stop.subscribe()).await;
    }
    let (mut lanes, handler) = (JoinSet::new(), Arc::new(handler));
    let start = |lanes: &mut JoinSet<_>| -> Result<(), RuntimeFault> {
        let (mut api, stopped) = (Api::new(&settings.api)?, stop.subscribe());
        let (handler, settings, log) = (Arc::clone(&handler), settings.clone(), Arc::clone(log));
        lanes.spawn(async move { lane(&*handler, &mut api, &settings, &log, stopped).await });
        Ok(())
    };
    for _ in 0..settings.concurrency.get() {
        start(&mut lanes)?;
    }
    let fault = loop {
        match lanes.join_next().await {
            Some(Ok(Err(fault))) => break fault,
            Some(Ok(Ok(never))) => match never {},
            Some(Err(_)) => {
                complain("a lane panicked and was replaced");
                start(&mut lanes)?;
            }
            None => break RuntimeFault::Stopped,
        }
    };
    // The first lane that finds the Runtime API gone stops the others, each once what it is serving is answered.
    stop.send_replace(true);
    while lanes.join_next().await.is_some() {}
    Err(fault)
}

/// One loop.
async fn lane<H, F>(
    handler: &H,
    api: &mut Api,
    settings: &LambdaSettings,
    log: &LogSink,
    mut stop: watch::Receiver<bool>,
) -> Result<Infallible, RuntimeFault>
where
    H: Fn(Request) -> F,
    F: Future<Output = Served>,
{
    loop {
        let next = tokio::select! {
            biased;
            next = api.next() => next?,
            _ = stop.wait_for(|stop| *stop) => return Err(RuntimeFault::Stopped),
        };
        // Sockets that an upstream closed while the environment was frozen are still in the pool. Yielding lets the
        // runtime see their end first: once for its poll of the sockets, once for the tasks which that wakes.
        yield_now().await;
        yield_now().await;
        if let Some(exchange) = invocation(handler, api, &next, settings).await {
            log(&exchange);
        }
    }
}

/// Tells the Runtime API, where there is one, that the process cannot start, and why: the text ends up in the
/// function's log. Where it cannot be told either, standard error is.
pub async fn report_init_error(api: Option<String>, text: &str) {
    let Some(api) = api else { return };
    match Api::new(&api) {
        Ok(mut api) => taken(api.init_failure("Tollgate.Init", text).await),
        Err(fault) => complain(&fault.to_string()),
    }
}

/// One event by the Lambda door without a Runtime API: the answer's JSON on one line, as a buffered invocation gives
/// it, and the record. What the request left to do is done when this comes back.
///
/// # Errors
/// [`NotHttp`] where the event is no HTTP request.
pub async fn invoke_with<H, F>(handler: H, event: &[u8]) -> Result<(String, Exchange), NotHttp>
where
    H: Fn(Request) -> F,
    F: Future<Output = Served>,
{
    let id = format!("{:032x}", event::seed(&SystemClock.now().nanos().to_string()));
    let incoming = event::read(event, Invocation { id, answer_by: None })?;
    let front = incoming.front;
    let Served { response, mut exchange, after } = serve(&handler, incoming, HEALTH_PATH).await;
    let json = buffered(front, response, &mut exchange, None).await;
    finish(after, None).await;
    Ok((json, exchange))
}

async fn invocation<H, F>(handler: &H, api: &mut Api, next: &Next, settings: &LambdaSettings) -> Option<Exchange>
where
    H: Fn(Request) -> F,
    F: Future<Output = Served>,
{
    let time = Time::of(&next.headers, SystemClock.now(), Instant::now());
    let incoming = match event::read(&next.event, Invocation { id: next.id.clone(), answer_by: time.answer_by }) {
        Ok(incoming) => incoming,
        Err(not_http) => {
            complain(&not_http.to_string());
            taken(api.failure(next, "Tollgate.NotHttp", "the event is not an HTTP request").await);
            return None;
        }
    };
    let front = incoming.front;
    let streams = front == Front::FunctionUrl && settings.mode == ResponseMode::Stream;
    let Served { response, mut exchange, after } = serve(handler, incoming, &settings.health).await;
    if streams {
        stream(api, next, response, &mut exchange, time).await;
    } else {
        let json = buffered(front, response, &mut exchange, time.answer_by).await;
        taken(api.answer(next, json).await);
    }
    finish(after, time.end_by).await;
    Some(exchange)
}

/// Serves what was read. A panic is this request's 500 and no more.
async fn serve<H, F>(handler: &H, incoming: Incoming, health: &str) -> Served
where
    H: Fn(Request) -> F,
    F: Future<Output = Served>,
{
    let Incoming { request, refusal, front } = incoming;
    if let Some(refusal) = refusal {
        return refused(&request, &refusal);
    }
    if matches!(front, Front::LoadBalancer { .. }) && request.path == health {
        return health::serving(&request);
    }
    // The request goes down with a handler that panics; this is what its record needs.
    let head = Request {
        method: request.method.clone(),
        path: request.path.clone(),
        query: None,
        headers: HeaderMap::new(),
        body: Body::Empty,
        origin: request.origin.clone(),
    };
    match unpanicked(async { handler(request).await }).await {
        Ok(served) => served,
        Err(Panicked) => refused(&head, &panicked()),
    }
}

fn refused(request: &Request, refusal: &Refusal) -> Served {
    let mut exchange = Exchange::open(request, SystemClock.now());
    let response = instead(refusal, &mut exchange, &HeaderMap::new());
    Served { response, exchange, after: After::default() }
}

/// The answer of a refusal of the door's own, in the place of one that had these headers.
fn instead(refusal: &Refusal, exchange: &mut Exchange, of: &HeaderMap) -> Response {
    let mut response = refusal.into_response(&exchange.id);
    answer::keep_gateway_fields(of, &mut response.headers);
    if let Ok(id) = HeaderValue::from_str(&exchange.id) {
        response.headers.entry(HeaderName::from_static("x-request-id")).or_insert(id);
    }
    exchange.status = response.status;
    exchange.stopped_by = Some(refusal.code());
    exchange.detail = Some(refusal.to_string());
    response
}

async fn buffered(front: Front, response: Response, exchange: &mut Exchange, answer_by: Option<Instant>) -> String {
    let source = Source::of(front, exchange, answer_by);
    let Response { status, headers, body } = response;
    let refusal = match unpanicked(answer::buffered(status, &headers, body, &source)).await {
        Ok(Ok(json)) => return json,
        Ok(Err(refusal)) => refusal,
        Err(Panicked) => panicked(),
    };
    let Response { status, headers, body } = instead(&refusal, exchange, &headers);
    // A refusal's own content is in memory and small.
    answer::buffered(status, &headers, body, &Source { front, ..Source::default() }).await.unwrap_or_default()
}

async fn stream(api: &mut Api, next: &Next, response: Response, exchange: &mut Exchange, time: Time) {
    let source = Source::of(Front::FunctionUrl, exchange, time.answer_by);
    let (streamed, ending) = Streamed::new(response, time.answer_by);
    taken(api.stream(next, streamed).await);
    // The acknowledgement may come before the end of the content: some emulators give it at once.
    let ending = match time.end_by {
        Some(by) => tokio::time::timeout_at(by, ending).await.ok(),
        None => Some(ending.await),
    };
    match ending {
        Some(Ok(Ending::Whole)) => {}
        Some(Ok(Ending::Failed(fault))) => {
            let refusal = source.refusal(&fault);
            exchange.stopped_by = Some(refusal.code());
            exchange.detail = Some(refusal.to_string());
        }
        Some(Ok(Ending::Cut) | Err(_)) => exchange.detail = Some("the answer was not taken to its end".to_owned()),
        None => {
            api.hang_up();
            exchange.detail = Some("the answer was not taken in time".to_owned());
        }
    }
}

/// What the Runtime API said of an answer matters to the log alone: whatever it was, the next event may be served.
fn taken(outcome: Result<http::StatusCode, RuntimeFault>) {
    match outcome {
        Ok(status) if status.is_success() => {}
        Ok(status) => complain(&format!("the Runtime API did not take what was posted: {status}")),
        Err(fault) => complain(&fault.to_string()),
    }
}

async fn finish(after: After, until: Option<Instant>) {
    if !after.is_empty() && unpanicked(after.run(until)).await.is_err() {
        complain("work after the answer panicked");
    }
}

struct Panicked;

async fn unpanicked<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(move |cx| {
        // After a panic the future is dropped and never looked at again, so what it left half-done is not seen.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    })
    .await
}

fn panicked() -> Refusal {
    Refusal::Internal { detail: "a panic".to_owned() }
}

/// How long an invocation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Time {
    /// When the answer must have been made, so that there is time to send it.
    answer_by: Option<Instant>,
    /// When what is left to do must be over. Later than the answer: a request that ran into its deadline is one whose
    /// failure must still be written down.
    end_by: Option<Instant>,
}

impl Time {
    /// By the `lambda-runtime-deadline-ms` field. A deadline in the past is an emulator's, and as good as none.
    fn of(headers: &HeaderMap, wall: Timestamp, now: Instant) -> Self {
        let left = headers
            .get("lambda-runtime-deadline-ms")
            .and_then(|deadline| deadline.to_str().ok()?.trim().parse().ok())
            .map(|deadline| Timestamp::from_millis(deadline).since(wall))
            .filter(|left| !left.is_zero());
        // Held back for sending the answer: half a second, or a fifth of what there is; a fifth of that again at the end.
        let margin = left.map(|left| (left / 5).min(Duration::from_millis(500)));
        let before_end = |part: u32| now.checked_add(left?.saturating_sub(margin? / part));
        Self { answer_by: before_end(1), end_by: before_end(5) }
    }
}

#[cfg(test)]
mod tests;
