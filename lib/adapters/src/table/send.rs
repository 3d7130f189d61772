//! How a request to the table is sent: within a time, once or twice.

use std::pin::pin;

use aws_sdk_dynamodb::error::SdkError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tollgate::table::{Resend, TableError};

use super::answer::{Conditional, error};
use super::health::Health;
use super::{ATTEMPT, OPERATION};

/// Sends what `request` makes and waits for its answer [`OPERATION`] at most.
///
/// What may be sent again is sent again when [`ATTEMPT`] passed or the first sending failed, and the first answer
/// counts. A sending whose caller gave up goes on for a little: what it may have written is written, and the
/// connection that it was making serves the next.
pub(super) async fn send<O, E, F>(
    health: &Health,
    resend: Resend,
    request: impl Fn() -> F + Send,
) -> Result<O, TableError>
where
    F: Future<Output = Result<O, SdkError<E>>> + Send + 'static,
    O: Send + 'static,
    E: Conditional,
{
    health.ask()?;
    let started = Instant::now();
    let first = tokio::spawn(request());
    let end = started + OPERATION;
    let answer = match resend {
        Resend::Never => timeout_at(end, judged(first)).await.unwrap_or_else(|_| late()),
        Resend::Once => timeout_at(end, twice(first, started + ATTEMPT, request)).await.unwrap_or_else(|_| late()),
    };
    health.saw(&answer);
    answer
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
    match timeout_at(patience, &mut first).await {
        Ok(Err(TableError::Unavailable { .. })) => judged(tokio::spawn(request())).await,
        Ok(answer) => answer,
        Err(_) => {
            let mut second = pin!(judged(tokio::spawn(request())));
            let (answer, other_is_second) = tokio::select! {
                answer = &mut first => (answer, true),
                answer = &mut second => (answer, false),
            };
            match (answer, other_is_second) {
                (Err(TableError::Unavailable { .. }), true) => second.await,
                (Err(TableError::Unavailable { .. }), false) => first.await,
                (answer, _) => answer,
            }
        }
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

fn late<O>() -> Result<O, TableError> {
    let detail = format!("no answer within {OPERATION:?}");
    Err(TableError::Unavailable { maybe_done: true, detail, source: None })
}
