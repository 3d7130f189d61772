//! The connections to one target: idle ones of HTTP/1.1, one shared of HTTP/2, and a request's way over them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tollgate::clock::{Clock, Timestamp};
use tollgate::exchange::Response;
use tollgate::forward::{Outbound, Target, UpstreamFault};

use super::body::{Broken, Sending, receive};
use super::connect::{Connector, Meter};
use super::fault::{chain, closed_unused, judge, out_of_protocol, unreachable};
use super::tls::Trust;
use super::{UpstreamSettings, locked, shown};

/// When any upstream was last used, by the wall clock, which goes on while the environment is frozen.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
}

impl Watch {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let last = AtomicU64::new(clock.now().nanos());
        Self { clock, last }
    }

    /// Notes a use: when it is, and how long after the one before it.
    pub(super) fn touch(&self) -> (Timestamp, Duration) {
        let now = self.clock.now();
        let last = Timestamp::from_nanos(self.last.swap(now.nanos(), Ordering::Relaxed));
        (now, now.since(last))
    }
}

/// The connections to one target.
pub(super) struct Pool {
    connector: Connector,
    /// The version of the client certificate that its connections show.
    shows: u64,
    settings: UpstreamSettings,
    watch: Arc<Watch>,
    authority: String,
    host: Option<HeaderValue>,
    idle: Mutex<VecDeque<Line>>,
    shared: Mutex<Option<Shared>>,
    dialling: Dialling,
    last_use: AtomicU64,
}

/// Lets one request at a time dial where its connection will be shared; the others wait and share it, or its fault.
#[derive(Default)]
struct Dialling {
    turn: tokio::sync::Mutex<()>,
    /// Set once ALPN chose HTTP/1.1: nothing will be shared.
    alone: AtomicBool,
    faults: AtomicU64,
    last_fault: Mutex<String>,
}

/// An HTTP/1.1 connection, for one request at a time.
struct Line {
    sender: http1::SendRequest<Sending>,
    meter: Arc<Meter>,
    idle_since: Timestamp,
}

/// An HTTP/2 connection, for any number of requests.
#[derive(Clone)]
struct Shared {
    sender: http2::SendRequest<Sending>,
    meter: Arc<Meter>,
}

enum Dialled {
    Line(Line),
    Shared(Shared),
}

/// Why a request was not answered over one connection.
enum Failed {
    /// Nothing of it was written; here it is again.
    Unsent(Box<Request<Sending>>, String),
    Fault(UpstreamFault),
}

/// An HTTP/1.1 connection that an answer still arrives on.
pub(super) struct Lease {
    pool: Arc<Pool>,
    line: Line,
}

impl Lease {
    /// The answer has arrived whole: the connection may serve again.
    pub(super) fn give_back(self) {
        let Self { pool, line } = self;
        pool.keep(line);
    }
}

impl Pool {
    pub(super) fn new(
        target: &Target,
        settings: &UpstreamSettings,
        trust: &Trust,
        watch: &Arc<Watch>,
    ) -> Result<Self, UpstreamFault> {
        // Before the certificate is read: of one that changes meanwhile, the next use makes another pool.
        let shows = shown(target);
        Ok(Self {
            connector: Connector::new(target, trust)?,
            shows,
            settings: settings.clone(),
            watch: Arc::clone(watch),
            authority: target.authority.clone(),
            host: HeaderValue::from_str(&target.authority).ok(),
            idle: Mutex::default(),
            shared: Mutex::default(),
            dialling: Dialling::default(),
            last_use: AtomicU64::new(watch.last.load(Ordering::Relaxed)),
        })
    }

    pub(super) fn shows(&self) -> u64 {
        self.shows
    }

    pub(super) fn forget(&self) {
        locked(&self.idle).clear();
        locked(&self.shared).take();
    }

    pub(super) fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Relaxed)
    }

    /// Sends over a kept connection if there is one, else over a new one. A request that a kept connection had not
    /// begun to write goes to the next.
    ///
    /// Ways other than over a kept HTTP/1.1 connection are boxed, so that this future, which is allocated and moved for
    /// each request, stays small.
    pub(super) async fn send(
        self: Arc<Self>,
        mut request: Request<Sending>,
        now: Timestamp,
    ) -> Result<Response, UpstreamFault> {
        self.last_use.store(now.nanos(), Ordering::Relaxed);
        if *request.method() == Method::CONNECT {
            return Err(out_of_protocol("a gateway does not tunnel"));
        }
        let uri = request.uri().clone();
        let broken = request.body().broken();

        if let Some(shared) = self.sharing() {
            match Box::pin(self.over_shared(shared, request, broken.as_ref())).await {
                Ok(response) => return Ok(response),
                Err(Failed::Fault(fault)) => return Err(fault),
                Err(Failed::Unsent(unsent, _)) => request = *unsent,
            }
            locked(&self.shared).take();
            uri.clone_into(request.uri_mut());
        }
        while let Some(line) = self.idling(now).await {
            self.address_http1(&mut request)?;
            match self.over_line(line, request, broken.as_ref()).await {
                Ok(response) => return Ok(response),
                Err(Failed::Fault(fault)) => return Err(fault),
                Err(Failed::Unsent(unsent, _)) => request = *unsent,
            }
            uri.clone_into(request.uri_mut());
        }
        Box::pin(self.over_new(request, broken.as_ref())).await
    }

    async fn over_new(
        self: &Arc<Self>,
        mut request: Request<Sending>,
        broken: Option<&Broken>,
    ) -> Result<Response, UpstreamFault> {
        let answered = match self.dial().await? {
            Dialled::Line(line) => {
                self.address_http1(&mut request)?;
                self.over_line(line, request, broken).await
            }
            Dialled::Shared(shared) => self.over_shared(shared, request, broken).await,
        };
        answered.map_err(|failed| match failed {
            Failed::Fault(fault) => fault,
            Failed::Unsent(_, detail) => closed_unused(detail),
        })
    }

    /// Hands `request` to `line`; the future waits for the answer.
    fn over_line<'a>(
        self: &'a Arc<Self>,
        mut line: Line,
        request: Request<Sending>,
        broken: Option<&'a Broken>,
    ) -> impl Future<Output = Result<Response, Failed>> + use<'a> {
        let before = line.meter.read();
        let sent = line.sender.try_send_request(request);
        async move {
            match sent.await {
                Ok(answer) => {
                    line.meter.serve();
                    accept(answer, Some(Lease { pool: Arc::clone(self), line })).map_err(Failed::Fault)
                }
                Err(error) => Err(failed(error, broken, &line.meter, before)),
            }
        }
    }

    async fn over_shared(
        &self,
        mut shared: Shared,
        mut request: Request<Sending>,
        broken: Option<&Broken>,
    ) -> Result<Response, Failed> {
        address_http2(&mut request);
        let before = shared.meter.read();
        match shared.sender.try_send_request(request).await {
            Ok(answer) => {
                shared.meter.serve();
                accept(answer, None).map_err(Failed::Fault)
            }
            Err(error) => Err(failed(error, broken, &shared.meter, before)),
        }
    }

    /// Origin form, `Host`, and the framing that follows from the body (RFC 9112 §3.2, §6).
    fn address_http1(&self, request: &mut Request<Sending>) -> Result<(), UpstreamFault> {
        let authority = request.uri().authority().map_or("", |authority| authority.as_str());
        let host = match &self.host {
            Some(host) if authority == self.authority => Some(host.clone()),
            Some(_) | None => HeaderValue::from_str(authority).ok(),
        };
        let (Some(host), Some(path)) = (host, request.uri().path_and_query().cloned()) else {
            return Err(out_of_protocol("the request names no host or no path"));
        };
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
        let unknown_length = request.body().size_hint().exact().is_none();
        let needs_zero = request.body().is_end_stream() && defines_content(request.method());
        let headers = request.headers_mut();
        headers.insert(HOST, host);
        if headers.contains_key(TE) {
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        if unknown_length {
            // Said here because hyper would drop such a body from a GET.
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        } else if needs_zero {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(())
    }

    fn sharing(&self) -> Option<Shared> {
        if !self.connector.may_share() {
            return None;
        }
        let mut shared = locked(&self.shared);
        if shared.as_ref().is_some_and(|shared| shared.sender.is_closed()) {
            *shared = None;
        }
        shared.clone()
    }

    /// The connection used last that can serve. One whose task has not yet noticed that its answer has ended gets one
    /// turn of the runtime to do so.
    async fn idling(&self, now: Timestamp) -> Option<Line> {
        let (line, busy) = self.pop(now);
        if line.is_some() || !busy {
            return line;
        }
        tokio::task::yield_now().await;
        self.pop(now).0
    }

    fn pop(&self, now: Timestamp) -> (Option<Line>, bool) {
        let mut idle = locked(&self.idle);
        if idle.is_empty() {
            return (None, false);
        }
        let mut busy = Vec::new();
        let mut found = None;
        while let Some(line) = idle.pop_back() {
            if line.sender.is_closed() || now.since(line.idle_since) > self.settings.idle_timeout {
                continue;
            }
            if line.sender.is_ready() {
                found = Some(line);
                break;
            }
            busy.push(line);
        }
        let any_busy = !busy.is_empty();
        idle.extend(busy.into_iter().rev());
        (found, any_busy)
    }

    fn keep(&self, mut line: Line) {
        line.idle_since = self.watch.touch().0;
        if line.sender.is_closed() {
            return;
        }
        let mut idle = locked(&self.idle);
        if idle.len() >= self.settings.max_idle {
            idle.pop_front();
        }
        idle.push_back(line);
    }

    async fn dial(&self) -> Result<Dialled, UpstreamFault> {
        if !self.connector.may_share() || self.dialling.alone.load(Ordering::Relaxed) {
            return self.open().await;
        }
        let faults = self.dialling.faults.load(Ordering::Relaxed);
        let _turn = self.dialling.turn.lock().await;
        if let Some(shared) = self.sharing() {
            return Ok(Dialled::Shared(shared));
        }
        // Whoever waited for a dial that failed shares its fault, instead of every waiter's timeout in a row.
        if self.dialling.faults.load(Ordering::Relaxed) != faults {
            return Err(unreachable(locked(&self.dialling.last_fault).clone()));
        }
        let opened = self.open().await;
        match &opened {
            Ok(Dialled::Shared(shared)) => *locked(&self.shared) = Some(shared.clone()),
            Ok(Dialled::Line(_)) => self.dialling.alone.store(true, Ordering::Relaxed),
            Err(fault) => {
                fault.detail.clone_into(&mut locked(&self.dialling.last_fault));
                self.dialling.faults.fetch_add(1, Ordering::Relaxed);
            }
        }
        opened
    }

    async fn open(&self) -> Result<Dialled, UpstreamFault> {
        let (wire, h2) = self.connector.dial().await?;
        let meter = wire.meter();
        let io = TokioIo::new(wire);
        let head = self.settings.max_head;
        let broken = |error: hyper::Error| unreachable(chain(&error));
        if h2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .max_header_list_size(head)
                .handshake(io)
                .await
                .map_err(broken)?;
            tokio::spawn(connection);
            return Ok(Dialled::Shared(Shared { sender, meter }));
        }
        let head = usize::try_from(head).unwrap_or(usize::MAX).max(8192);
        let (sender, connection) =
            http1::Builder::new().max_buf_size(head).max_header_size(head).handshake(io).await.map_err(broken)?;
        tokio::spawn(connection);
        Ok(Dialled::Line(Line { sender, meter, idle_since: Timestamp::default() }))
    }
}

/// The request before its protocol is known: the URI absolute, no field that belongs to a connection.
pub(super) fn draft(outbound: Outbound) -> Request<Sending> {
    let mut request = Request::new(Sending::new(outbound.body));
    *request.method_mut() = outbound.method;
    *request.uri_mut() = outbound.uri;
    *request.headers_mut() = outbound.headers;
    let headers = request.headers_mut();
    for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    request
}

/// `:authority` alone tells the host (RFC 9113 §8.3.1), frames alone the length.
fn address_http2(request: &mut Request<Sending>) {
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    for name in [HOST, CONNECTION, TRANSFER_ENCODING] {
        headers.remove(name);
    }
}

/// Whether a request of this method says that it has no content (RFC 9110 §8.6).
fn defines_content(method: &Method) -> bool {
    *method == Method::POST || *method == Method::PUT || *method == Method::PATCH
}

fn accept(answer: http::Response<Incoming>, lease: Option<Lease>) -> Result<Response, UpstreamFault> {
    let (parts, incoming) = answer.into_parts();
    if parts.status.is_informational() {
        return Err(out_of_protocol(format!("answered {} to a request that asked for no upgrade", parts.status)));
    }
    let mut headers = parts.headers;
    unframe(&mut headers)?;
    let body = receive(incoming, lease);
    Ok(Response { status: parts.status, headers, body })
}

/// The coding of one hop stays on it. A length beside it is void (RFC 9112 §6.3), and a coding that nobody asked for
/// would have to be undone before the body means anything.
fn unframe(headers: &mut HeaderMap) -> Result<(), UpstreamFault> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(first) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Err(out_of_protocol("the answer has a transfer coding that was not asked for"));
    }
    headers.remove(TRANSFER_ENCODING);
    headers.remove(CONTENT_LENGTH);
    Ok(())
}

fn failed(
    mut error: hyper::client::conn::TrySendError<Request<Sending>>,
    broken: Option<&Broken>,
    meter: &Meter,
    before: u64,
) -> Failed {
    match error.take_message() {
        Some(request) => Failed::Unsent(Box::new(request), chain(&error.into_error())),
        None => Failed::Fault(judge(&error.into_error(), broken.and_then(Broken::take), meter, before)),
    }
}
