//! The Lambda door: the events of function URLs, API Gateway and load balancers in, the Runtime API's answers out.
//!
//! A loop of our own rather than `lambda_runtime` and `lambda_http`, which hold small streamed answers for 44 ms, write
//! a failure into a streamed answer's content, panic on some raw queries, hosts and bodies, normalise paths, and
//! decode content as text. Each of these has a test.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tollgate::exchange::Exchange;
use tollgate::gateway::Gateway;

use crate::LogSink;

mod answer;
mod api;
mod event;
mod runtime;

pub use api::RuntimeFault;
pub use event::NotHttp;
pub use runtime::{invoke_with, report_init_error, run_with};

/// What the Lambda door needs to know of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LambdaSettings {
    /// Where the Runtime API is, as `AWS_LAMBDA_RUNTIME_API` has it: `host:port`, or `http://host:port/path`.
    pub api: String,
    /// How answers go back.
    pub mode: ResponseMode,
    /// How many events are served at once, as `AWS_LAMBDA_MAX_CONCURRENCY` has it; 1 on classic Lambda.
    pub concurrency: NonZeroUsize,
    /// The path at which a load balancer asks whether the gateway serves.
    pub health: String,
}

/// How answers go back: `TOLLGATE_RESPONSE_MODE`. An event does not tell, so the template says it beside `InvokeMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseMode {
    /// Each as one JSON of at most 6 MB.
    #[default]
    Buffered,
    /// As their content arrives, for the events of a function URL; all others are answered buffered.
    Stream,
}

/// Serves events until the Runtime API is gone.
///
/// # Errors
/// Never comes back but with the fault that ended it.
pub async fn run(gateway: Arc<Gateway>, settings: LambdaSettings, log: LogSink) -> Result<Infallible, RuntimeFault> {
    let handle = move |request| {
        let gateway = Arc::clone(&gateway);
        async move { gateway.handle(request).await }
    };
    run_with(handle, &settings, &log).await
}

/// Serves one event as a buffered invocation would be: the answer's JSON on one line, and its record. What the request
/// left to do is done when this comes back.
///
/// # Errors
/// [`NotHttp`] where the event is no HTTP request of one of these.
pub async fn invoke(gateway: &Gateway, event: &[u8]) -> Result<(String, Exchange), NotHttp> {
    invoke_with(|request| gateway.handle(request), event).await
}
