//! An answer made into what the Runtime API takes: one JSON, or a prelude and the content as it comes.
//!
//! The buffered form is JSON, which holds text alone; what is not text beyond doubt travels as base64. Nothing is ever
//! decoded into characters and encoded again, so the client gets the upstream's bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body as _, Frame};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tollgate::exchange::{Body, BodyFault, Exchange, Response};
use tollgate::refusal::Refusal;

use self::head::Head;
use super::event::Front;

mod head;

impl Front {
    /// What the JSON of a buffered answer may weigh, in bytes. Lambda's own limit is 6 MiB and a hundred bytes, a load
    /// balancer's "1 MB" (AWS's words, so the smaller megabyte); past it the client gets a 502 without a word.
    pub(crate) const fn limit(self) -> usize {
        match self {
            Self::FunctionUrl | Self::HttpApi | Self::HttpApiV1 | Self::RestApi => 6 * 1024 * 1024,
            Self::LoadBalancer { .. } => 1_000_000,
        }
    }
}

/// Where an answer comes from, for the refusal that stands in for it when its content fails.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// Through which door the request came, and so in which form the answer goes.
    pub(crate) front: Front,
    /// The upstream's name; empty for the gateway's own answers.
    pub(crate) upstream: Arc<str>,
    /// When the answer must have been made.
    pub(crate) answer_by: Option<Instant>,
}

impl Source {
    /// Of an answer to a request that came through `front` and left this record.
    pub(crate) fn of(front: Front, exchange: &Exchange, answer_by: Option<Instant>) -> Self {
        Self { front, upstream: exchange.upstream.clone().unwrap_or_default(), answer_by }
    }

    /// What a failing body means for the client who has seen nothing of it yet.
    pub(crate) fn refusal(&self, fault: &BodyFault) -> Refusal {
        let upstream = self.upstream.clone();
        match fault {
            BodyFault::TooLarge { limit } => Refusal::AnswerTooLarge { limit: *limit },
            BodyFault::Stalled(after) => Refusal::UpstreamTimeout { upstream, after: *after },
            BodyFault::Broken(source) => Refusal::UpstreamReset { upstream, detail: source.to_string() },
        }
    }
}

/// The buffered answer, on one line, in the form that the request's door takes.
///
/// # Errors
/// The refusal to send instead: the content broke off, did not end in time, or the JSON would pass the door's limit.
pub(crate) async fn buffered(
    status: StatusCode,
    headers: &HeaderMap,
    body: Body,
    source: &Source,
) -> Result<String, Refusal> {
    let text = is_text(headers);
    // Three bytes become four characters, so content that is certain to be encoded need not be read to the end.
    let limit = source.front.limit();
    let most = if text { limit } else { limit / 4 * 3 } as u64;
    let too_large = Refusal::AnswerTooLarge { limit: limit as u64 };
    let body = match body {
        Body::Empty => Bytes::new(),
        Body::Full(bytes) => bytes,
        Body::Stream(stream) if stream.size_hint().lower() > most => return Err(too_large),
        Body::Stream(stream) => {
            let collected = Body::Stream(stream).collect(most);
            let collected = match source.answer_by {
                Some(by) => tokio::time::timeout_at(by, collected).await.map_err(|_| Refusal::DeadlinePassed)?,
                None => collected.await,
            };
            collected.map_err(|fault| match fault {
                BodyFault::TooLarge { limit } if limit == most => too_large.clone(),
                fault @ (BodyFault::TooLarge { .. } | BodyFault::Stalled(_) | BodyFault::Broken(_)) => {
                    source.refusal(&fault)
                }
            })?
        }
    };
    let head = Head { front: source.front, status, headers };
    let json = match std::str::from_utf8(&body) {
        Ok(body) if text || body.is_empty() => head.with(body, false),
        _ if body.len() as u64 > most => return Err(too_large),
        _ => head.with(&STANDARD.encode(&body), true),
    };
    if json.len() > limit { Err(too_large) } else { Ok(json) }
}

/// The start of a streamed answer: its head as JSON and the eight NULs that end it.
pub(crate) fn prelude(status: StatusCode, headers: &HeaderMap) -> Bytes {
    let mut prelude = Head { front: Front::FunctionUrl, status, headers }.alone().into_bytes();
    prelude.extend_from_slice(&[0; 8]);
    prelude.into()
}

/// Whether the content may stand in JSON as it is: a type that is text, and no encoding over it.
fn is_text(headers: &HeaderMap) -> bool {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return false;
    }
    let Some(Ok(kind)) = headers.get(CONTENT_TYPE).map(HeaderValue::to_str) else {
        return false;
    };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let Some((family, name)) = kind.split_once('/') else {
        return false;
    };
    family == "text"
        || (family == "application"
            && matches!(
                name,
                "json" | "javascript" | "xml" | "yaml" | "x-www-form-urlencoded" | "graphql" | "x-ndjson"
            ))
        || ["+json", "+xml", "+yaml"].iter().any(|suffix| name.ends_with(suffix))
}

/// How a streamed answer ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Every byte of it went out.
    Whole,
    /// The content failed under way; the client was told by the trailers.
    Failed(BodyFault),
    /// The Runtime API stopped taking it.
    Cut,
}

/// A streamed answer's content: the prelude, the chunks as they come, and where those fail, trailers that say so. A
/// failure is never written as content, where the client would take it for the upstream's bytes.
pub(crate) struct Streamed {
    prelude: Option<Bytes>,
    body: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    started: Instant,
    report: Option<oneshot::Sender<Ending>>,
}

/// The trailers of a streamed answer that failed. Their names must be announced in `trailer`.
pub(crate) const ERROR_TRAILERS: &str = "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body";

impl Streamed {
    /// The content of `response`, and where its ending will be told: once nothing more of it will be sent.
    pub(crate) fn new(response: Response, answer_by: Option<Instant>) -> (Self, oneshot::Receiver<Ending>) {
        let (report, ending) = oneshot::channel();
        let streamed = Self {
            prelude: Some(prelude(response.status, &response.headers)),
            deadline: match response.body {
                Body::Stream(_) => answer_by.map(|by| Box::pin(tokio::time::sleep_until(by))),
                Body::Empty | Body::Full(_) => None,
            },
            body: response.body,
            started: Instant::now(),
            report: Some(report),
        };
        (streamed, ending)
    }

    fn end(&mut self, ending: Ending) {
        self.body = Body::Empty;
        self.deadline = None;
        if let Some(report) = self.report.take() {
            drop(report.send(ending));
        }
    }

    fn fail(&mut self, fault: BodyFault) -> Frame<Bytes> {
        self.end(Ending::Failed(fault));
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(
            HeaderName::from_static("lambda-runtime-function-error-type"),
            HeaderValue::from_static("Tollgate.AnswerBrokeOff"),
        );
        let told = r#"{"errorType":"Tollgate.AnswerBrokeOff","errorMessage":"the answer broke off"}"#;
        if let Ok(told) = HeaderValue::from_str(&STANDARD.encode(told)) {
            trailers.insert(HeaderName::from_static("lambda-runtime-function-error-body"), told);
        }
        Frame::trailers(trailers)
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyFault>>> {
        let Body::Stream(stream) = &mut self.body else {
            return Poll::Ready(match std::mem::take(&mut self.body) {
                Body::Full(bytes) if !bytes.is_empty() => Some(Ok(bytes)),
                Body::Full(_) | Body::Empty | Body::Stream(_) => None,
            });
        };
        loop {
            // A panic here would take down the task that writes to the Runtime API, and every answer after this one.
            let polled = catch_unwind(AssertUnwindSafe(|| stream.as_mut().poll_frame(cx)))
                .unwrap_or_else(|_| Poll::Ready(Some(Err(BodyFault::Broken("a panic".into())))));
            match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                    // The upstream's trailers have no place in a function URL's answer, and one named like ours would
                    // be taken for the runtime's.
                    Ok(_) | Err(_) => {}
                },
                Poll::Ready(Some(Err(fault))) => return Poll::Ready(Some(Err(fault))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let Some(deadline) = &mut self.deadline else { return Poll::Pending };
                    ready!(deadline.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(BodyFault::Stalled(self.started.elapsed()))));
                }
            }
        }
    }
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let Some(prelude) = self.prelude.take() {
            return Poll::Ready(Some(Ok(Frame::data(prelude))));
        }
        if self.report.is_none() {
            return Poll::Ready(None);
        }
        match ready!(self.poll_chunk(cx)) {
            Some(Ok(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Err(fault)) => Poll::Ready(Some(Ok(self.fail(fault)))),
            None => {
                self.end(Ending::Whole);
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.end(Ending::Cut);
    }
}

/// Takes over what the gateway had put on an answer that a refusal now stands in for: the request's id, CORS and
/// limits belong to refusals too.
pub(crate) fn keep_gateway_fields(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let ours = matches!(name.as_str(), "x-request-id" | "ratelimit" | "ratelimit-policy" | "vary")
            || name.as_str().starts_with("access-control-");
        if ours {
            to.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests;
