//! How a request to the table is sent: within a time, once or twice; behind the response once.

use std::pin::pin;
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tollgate::table::{Pace, Resend, TableError, Terms};

use super::DynamoTable;
use super::answer::{Conditional, error};

/// What is still waited when the time is over. In a process that was itself stopped or starved, the time is over
/// before anyone looked at the answer that lies there; this is the look.
const LAST_LOOK: Duration = Duration::from_millis(2);

/// A call: how often it is sent, who waits for it, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    resend: Resend,
    pace: Pace,
    called: Instant,
}

impl Sending {
    /// A write.
    pub(super) fn of(terms: &Terms) -> Self {
        Self { resend: terms.resend, pace: terms.pace, called: Instant::now() }
    }

    /// A read, of one or several parts that have the time of one call together. What the first sending became does not
    /// matter to the second.
    pub(super) fn read() -> Self {
        Self { resend: Resend::Once, pace: Pace::Request, called: Instant::now() }
    }
}

impl DynamoTable {
    /// Sends what `request` makes and waits for its answer, as long as [`super::Timeouts`] says for its pace.
    ///
    /// On a request's way, what may be sent again is sent again when `attempt` passed or the first sending failed, and the first answer
    /// counts. A sending whose caller gave up goes on for a little: what it may have written is written, and the
    /// connection that it was making serves the next. Behind the response it is broken off: the environment may be frozen
    /// next, and nothing may be sent when it wakes.
    pub(super) async fn send<O, E, F>(&self, sending: Sending, request: impl Fn() -> F + Send) -> Result<O, TableError>
    where
        F: Future<Output = Result<O, SdkError<E>>> + Send + 'static,
        O: Send + 'static,
        E: Conditional,
    {
        self.health.ask()?;
        let patience = match sending.pace {
            Pace::Request => self.timeouts.operation,
            Pace::Behind => self.timeouts.behind,
        };
        let (started, end) = (Instant::now(), sending.called + patience);
        if started >= end {
            let detail = format!("not all of it within {patience:?}");
            return Err(TableError::Unavailable { maybe_done: false, detail, source: None });
        }
        let answer = match (sending.pace, sending.resend) {
            (Pace::Behind, _) => within(end, async { request().await.map_err(error) }).await,
            (Pace::Request, Resend::Never) => within(end, judged(tokio::spawn(request()))).await,
            (Pace::Request, Resend::Once) => {
                let first = tokio::spawn(request());
                within(end, twice(first, started + self.timeouts.attempt, request)).await
            }
        };
        let answer = answer.unwrap_or_else(|| {
            let detail = format!("no answer within {patience:?}");
            Err(TableError::Unavailable { maybe_done: true, detail, source: None })
        });
        self.health.saw(&answer);
        answer
    }
}

async fn within<T>(end: Instant, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    match timeout_at(end, &mut answer).await {
        Ok(answer) => Some(answer),
        Err(_) => timeout(LAST_LOOK, answer).await.ok(),
    }
}

async fn twice<O, E, F>(
    first: JoinHandle<Result<O, SdkError<E>>>,
    patience: Instant,
    request: impl Fn() -> F + Send,
) -> Result<O, TableError>
where
    F: Future<Output = Result<O, SdkError<E>>> + Send + 'static,
    O: Send + 'static,
    E: Conditional,
{
    let mut first = pin!(judged(first));
    match within(patience, &mut first).await {
        Some(Err(TableError::Unavailable { .. })) => return judged(tokio::spawn(request())).await,
        Some(answer) => return answer,
        None => {}
    }
    let mut second = pin!(judged(tokio::spawn(request())));
    let (answer, other) = tokio::select! {
        answer = &mut first => (answer, second),
        answer = &mut second => (answer, first),
    };
    match answer {
        Err(TableError::Unavailable { .. }) => other.await,
        answer => answer,
    }
}

async fn judged<O, E: Conditional>(sending: JoinHandle<Result<O, SdkError<E>>>) -> Result<O, TableError> {
    match sending.await {
        Ok(answer) => answer.map_err(error),
        Err(panicked) => Err(TableError::Unavailable {
            maybe_done: true,
            detail: "the client broke off".to_owned(),
            source: Some(Box::new(panicked)),
        }),
    }
}
