//! The Runtime API's client: one connection of ours, with `TCP_NODELAY`.
//!
//! AWS's own client has no such switch and lets Nagle's algorithm hold a small streamed answer for some 44 ms. It also
//! brings a pool, which a strict alternation of `next` and `response` has no use for.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::answer::{ERROR_TRAILERS, Streamed};

const VERSION: &str = "/2018-06-01/runtime";
/// How often one call is tried. The Runtime API is on the same machine: where it does not answer for half a second, the
/// environment is gone.
const ATTEMPTS: u32 = 6;
const FIRST_BACKOFF: Duration = Duration::from_millis(15);

const ERROR_TYPE: HeaderName = HeaderName::from_static("lambda-runtime-function-error-type");
const INVOCATION_ID: HeaderName = HeaderName::from_static("lambda-runtime-invocation-id");
const RESPONSE_MODE: HeaderName = HeaderName::from_static("lambda-runtime-function-response-mode");
const REQUEST_ID: &str = "lambda-runtime-aws-request-id";

/// Why the Runtime API could not be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeFault {
    /// Its address, from `AWS_LAMBDA_RUNTIME_API`, cannot be read.
    #[error("the Runtime API's address {address:?} cannot be read")]
    Address {
        /// The address as given.
        address: String,
    },
    /// No connection, or it broke.
    #[error("the Runtime API at {address} cannot be reached: {detail}")]
    Unreachable {
        /// Where it should be.
        address: String,
        /// What happened.
        detail: String,
    },
    /// Another lane found it gone.
    #[error("the Runtime API is gone")]
    Stopped,
    /// It answered `next` with something other than an event.
    #[error("the Runtime API answered `next` with {status}")]
    NoEvent {
        /// The status.
        status: StatusCode,
    },
}

/// One event as the Runtime API hands it over, and what must be said with its answer.
#[derive(Debug)]
pub(crate) struct Next {
    /// The event.
    pub(crate) event: Bytes,
    /// The fields that came with it.
    pub(crate) headers: HeaderMap,
    /// The invocation's id, by which it is answered.
    pub(crate) id: String,
}

type Outgoing = Either<Full<Bytes>, Streamed>;

/// The client.
#[derive(Debug)]
pub(crate) struct Api {
    address: String,
    base: String,
    host: HeaderValue,
    connection: Option<SendRequest<Outgoing>>,
}

impl Api {
    /// A client of the Runtime API at `address`, which is `host:port` or, as emulators give it, `http://host:port/path`.
    pub(crate) fn new(address: &str) -> Result<Self, RuntimeFault> {
        let bare = address.strip_prefix("http://").unwrap_or(address);
        let (authority, base) = bare.split_at(bare.find('/').unwrap_or(bare.len()));
        let host = HeaderValue::from_str(authority)
            .ok()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| RuntimeFault::Address { address: address.to_owned() })?;
        let port =
            if authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) { "" } else { ":80" };
        Ok(Self {
            address: format!("{authority}{port}"),
            base: format!("{}{VERSION}", base.trim_end_matches('/')),
            host,
            connection: None,
        })
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// Where the Runtime API cannot be reached or gives no event, after a few attempts.
    pub(crate) async fn next(&mut self) -> Result<Next, RuntimeFault> {
        let mut backoff = FIRST_BACKOFF;
        let mut attempt = 1;
        loop {
            match self.try_next().await {
                Err(_) if attempt < ATTEMPTS => {
                    attempt += 1;
                    self.connection = None;
                    tokio::time::sleep(backoff).await;
                    backoff *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    async fn try_next(&mut self) -> Result<Next, RuntimeFault> {
        let request = self.request(Method::GET, "/invocation/next", Either::Left(Full::default()))?;
        let (head, body) = self.send(request).await?.into_parts();
        let event = body.collect().await.map_err(|fault| self.unreachable(&fault))?.to_bytes();
        let id = head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
        match id {
            Some(id) if head.status.is_success() => Ok(Next { event, id: id.to_owned(), headers: head.headers }),
            _ => Err(RuntimeFault::NoEvent { status: head.status }),
        }
    }

    /// Posts a buffered answer and waits until it was taken.
    pub(crate) async fn answer(&mut self, next: &Next, json: String) -> Result<StatusCode, RuntimeFault> {
        let json = Bytes::from(json);
        self.post(&format!("/invocation/{}/response", next.id), None, next.headers.get(INVOCATION_ID), &json).await
    }

    /// Posts a streamed answer; comes back when the Runtime API acknowledged it, which may be before its end.
    pub(crate) async fn stream(&mut self, next: &Next, answer: Streamed) -> Result<StatusCode, RuntimeFault> {
        let path = format!("/invocation/{}/response", next.id);
        let mut request = self.request(Method::POST, &path, Either::Right(answer))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/vnd.awslambda.http-integration-response"));
        headers.insert(RESPONSE_MODE, HeaderValue::from_static("streaming"));
        headers.insert(TRAILER, HeaderValue::from_static(ERROR_TRAILERS));
        if let Some(id) = next.headers.get(INVOCATION_ID) {
            headers.insert(INVOCATION_ID, id.clone());
        }
        self.acknowledged(request).await
    }

    /// Posts that an invocation failed, in words that name nothing inside.
    pub(crate) async fn failure(
        &mut self,
        next: &Next,
        kind: &'static str,
        told: &str,
    ) -> Result<StatusCode, RuntimeFault> {
        let path = format!("/invocation/{}/error", next.id);
        self.post(&path, Some(kind), next.headers.get(INVOCATION_ID), &problem(kind, told)).await
    }

    /// Posts that the process cannot start.
    pub(crate) async fn init_failure(&mut self, kind: &'static str, told: &str) -> Result<StatusCode, RuntimeFault> {
        self.post("/init/error", Some(kind), None, &problem(kind, told)).await
    }

    /// Gives the connection up, whatever is still being sent on it.
    pub(crate) fn hang_up(&mut self) {
        self.connection = None;
    }

    async fn post(
        &mut self,
        path: &str,
        error: Option<&'static str>,
        invocation: Option<&HeaderValue>,
        json: &Bytes,
    ) -> Result<StatusCode, RuntimeFault> {
        let mut attempt = 1;
        loop {
            let mut request = self.request(Method::POST, path, Either::Left(Full::new(json.clone())))?;
            let headers = request.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            if let Some(id) = invocation {
                headers.insert(INVOCATION_ID, id.clone());
            }
            if let Some(kind) = error {
                headers.insert(ERROR_TYPE, HeaderValue::from_static(kind));
            }
            match self.acknowledged(request).await {
                // An answer that had arrived after all is answered 4xx the second time, which harms nobody.
                Err(_) if attempt < 2 => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn acknowledged(&mut self, request: Request<Outgoing>) -> Result<StatusCode, RuntimeFault> {
        let answer = self.send(request).await?;
        let status = answer.status();
        // Read to the end, so that the connection can be used again.
        answer.into_body().collect().await.map_err(|fault| self.unreachable(&fault))?;
        Ok(status)
    }

    fn request(&self, method: Method, path: &str, body: Outgoing) -> Result<Request<Outgoing>, RuntimeFault> {
        let bad = || RuntimeFault::Address { address: self.address.clone() };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = Uri::try_from(format!("{}{path}", self.base)).map_err(|_| bad())?;
        request.headers_mut().insert(HOST, self.host.clone());
        Ok(request)
    }

    /// Sends on the kept connection, and on a new one where that turns out to be dead before anything went out.
    async fn send(&mut self, mut request: Request<Outgoing>) -> Result<Response<Incoming>, RuntimeFault> {
        loop {
            let kept = match self.connection.take() {
                Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
                None => None,
            };
            let was_kept = kept.is_some();
            let mut connection = match kept {
                Some(kept) => kept,
                None => self.connect().await?,
            };
            match connection.try_send_request(request).await {
                Ok(answer) => {
                    self.connection = Some(connection);
                    return Ok(answer);
                }
                Err(mut fault) => match fault.take_message() {
                    Some(unsent) if was_kept => request = unsent,
                    _ => return Err(self.unreachable(fault.error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Outgoing>, RuntimeFault> {
        let stream = TcpStream::connect(&self.address).await.map_err(|fault| self.unreachable(&fault))?;
        stream.set_nodelay(true).map_err(|fault| self.unreachable(&fault))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|fault| self.unreachable(&fault))?;
        // What goes wrong on it is told to whoever sends or reads.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn unreachable(&self, fault: &dyn std::error::Error) -> RuntimeFault {
        RuntimeFault::Unreachable { address: self.address.clone(), detail: fault.to_string() }
    }
}

fn problem(kind: &str, told: &str) -> Bytes {
    serde_json::json!({ "errorType": kind, "errorMessage": told }).to_string().into()
}
