//! One request's way through the door: translated, handed to the gateway, answered, recorded.

use std::any::Any;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Uri, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tollgate::clock::{Clock, SystemClock};
use tollgate::exchange::{After, Body, BodyFault, Exchange, Origin, Request, Scheme, Served};
use tollgate::forward::BoxFuture;
use tollgate::forward::hygiene::X_REQUEST_ID;
use tollgate::refusal::Refusal;

use super::LocalSettings;
use super::gate::{Busy, Load};
use super::ids::Ids;
use super::request::translate;
use super::streams::Offer;
use crate::LogSink;

/// How long work after an answer may take.
const AFTER: Duration = Duration::from_secs(30);

/// What answers the requests of every connection.
pub(super) struct Door<H> {
    handle: H,
    settings: LocalSettings,
    ids: Ids,
    keeper: Arc<Keeper>,
}

/// Whose request it is.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) ip: IpAddr,
    /// Our end of the connection: the host of those who name none.
    pub(super) local: SocketAddr,
    pub(super) load: Arc<Load>,
}

/// What the record of a refusal of the door's own, or of a panic, is made from.
struct Sketch {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    version: Version,
    id: String,
    ip: IpAddr,
}

impl<H> Door<H>
where
    H: Fn(Request) -> BoxFuture<'static, Served>,
{
    pub(super) fn new(handle: H, settings: LocalSettings, keeper: Arc<Keeper>) -> Self {
        Self { handle, settings, ids: Ids::new(), keeper }
    }

    pub(super) fn settings(&self) -> &LocalSettings {
        &self.settings
    }

    /// Answers one request. A panic in it is its own 500. What can be done at once is done before the future is made:
    /// hyper moves that, and it moves quicker small.
    pub(super) fn answer(
        self: &Arc<Self>,
        request: http::Request<Incoming>,
        peer: &Peer,
        busy: Busy,
    ) -> impl Future<Output = Result<http::Response<Tail>, Infallible>> + use<H> {
        let (parts, incoming) = request.into_parts();
        let (id, seed) = self.ids.make();
        let sketch = Sketch {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            host: parts.headers.get(HOST).cloned(),
            version: parts.version,
            id: id.clone(),
            ip: peer.ip,
        };
        let asked = translate(parts, incoming, (id, seed), (peer.ip, peer.local), &self.settings);
        let running = asked.map(|request| begun(|| (self.handle)(request)));
        let door = Arc::clone(self);
        async move {
            let head = sketch.method == Method::HEAD;
            Ok(match running {
                Ok(running) => match guarded(running).await {
                    Ok(served) => door.hand_over(served, head, false, busy),
                    Err(detail) => door.hand_over(sketch.refused(&Refusal::Internal { detail }), head, false, busy),
                },
                Err(refusal) => {
                    let close = sketch.version != Version::HTTP_2;
                    door.hand_over(sketch.refused(&refusal), head, close, busy)
                }
            })
        }
    }

    fn hand_over(&self, served: Served, head: bool, close: bool, busy: Busy) -> http::Response<Tail> {
        let Served { response, exchange, after } = served;
        let mut headers = response.headers;
        headers.remove(TRANSFER_ENCODING);
        if !head && response.body.known_len().is_some() {
            // hyper writes what the body says.
            headers.remove(CONTENT_LENGTH);
        }
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let record = Box::new(Record { exchange, after, keeper: Arc::clone(&self.keeper) });
        let offer = Offer::of_this_stream();
        let mut answer = http::Response::new(Tail { body: response.body, record: Some(record), offer, _busy: busy });
        *answer.status_mut() = response.status;
        *answer.headers_mut() = headers;
        answer
    }
}

impl Sketch {
    fn refused(&self, refusal: &Refusal) -> Served {
        let host = self.host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
        let request = Request {
            method: self.method.clone(),
            path: self.uri.path().to_owned(),
            query: self.uri.query().map(str::to_owned),
            headers: http::HeaderMap::new(),
            body: Body::Empty,
            origin: Origin {
                ip: self.ip,
                scheme: Scheme::Http,
                host: host.to_owned(),
                version: "1.1",
                id: self.id.clone(),
                seed: 0,
                deadline: None,
                front_time: None,
                client_certificate: None,
                iam: None,
            },
        };
        let mut exchange = Exchange::open(&request, SystemClock.now());
        let mut response = refusal.into_response(&self.id);
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            response.headers.insert(X_REQUEST_ID, id);
        }
        exchange.status = response.status;
        exchange.stopped_by = Some(refusal.code());
        exchange.detail = Some(refusal.to_string());
        Served { response, exchange, after: After::default() }
    }
}

/// What `begin` begins, or the message of its panic.
fn begun<T>(begin: impl FnOnce() -> BoxFuture<'static, T>) -> Result<BoxFuture<'static, T>, String> {
    catch_unwind(AssertUnwindSafe(begin)).map_err(message)
}

/// Runs what was begun; a panic comes back as its message.
async fn guarded<T>(running: Result<BoxFuture<'static, T>, String>) -> Result<T, String> {
    let mut running = running?;
    std::future::poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(message(panic))),
    })
    .await
}

#[expect(clippy::needless_pass_by_value, reason = "what a panic leaves is taken, so that it ends here")]
fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// Writes records, and runs what is to be done after answers.
pub(super) struct Keeper {
    log: LogSink,
    running: Mutex<JoinSet<()>>,
}

impl Keeper {
    pub(super) fn new(log: LogSink) -> Self {
        Self { log, running: Mutex::default() }
    }

    /// Waits for the work that is under way.
    pub(super) async fn finish(&self) {
        let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        while running.join_next().await.is_some() {}
    }

    fn write(&self, exchange: &Exchange) {
        // Also called while a body is dropped, where a second panic would end the process.
        let _ = catch_unwind(AssertUnwindSafe(|| (self.log)(exchange)));
    }

    fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            running.spawn_on(job, &runtime);
        }
    }
}

struct Record {
    exchange: Exchange,
    after: After,
    keeper: Arc<Keeper>,
}

impl Record {
    fn close(self) {
        let Self { exchange, after, keeper } = self;
        if after.is_empty() {
            keeper.write(&exchange);
            return;
        }
        let writer = Arc::clone(&keeper);
        keeper.spawn(async move {
            let until = Instant::now() + AFTER;
            // The record is written even if the work panics.
            let _ = guarded(begun(move || Box::pin(after.run(Some(until))))).await;
            writer.write(&exchange);
        });
    }
}

/// An answer's body. When it is dropped, sent or not, the request is over: its record is written.
pub(super) struct Tail {
    body: Body,
    /// In a box, since hyper moves a body several times on its way out.
    record: Option<Box<Record>>,
    offer: Offer,
    _busy: Busy,
}

impl Drop for Tail {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            record.close();
        }
    }
}

impl http_body::Body for Tail {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let polled = match &mut self.body {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.body = Body::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Stream(stream) => match catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_frame(cx))) {
                Ok(polled) => polled,
                Err(panic) => {
                    self.body = Body::Empty;
                    Poll::Ready(Some(Err(BodyFault::Broken(message(panic).into()))))
                }
            },
        };
        self.offer.note(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Body::Empty => true,
            Body::Full(bytes) => bytes.is_empty(),
            Body::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Body::Empty => SizeHint::with_exact(0),
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Stream(stream) => stream.size_hint(),
        }
    }
}
