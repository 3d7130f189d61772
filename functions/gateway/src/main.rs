//! The data plane: settings, adapters, the gateway, run. No logic.

use std::process::ExitCode;
use std::sync::Arc;

use tollgate::clock::SystemClock;
use tollgate::gateway::Gateway;
use tollgate_adapters::LogSink;
use tollgate_adapters::door::lambda::{self, LambdaSettings};
use tollgate_adapters::settings::Settings;
use tollgate_adapters::telemetry;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let told = match start(environment) {
        Ok((gateway, door, log)) => match lambda::run(gateway, door, log).await {
            Ok(never) => match never {},
            Err(fault) => fault.to_string(),
        },
        Err(told) => {
            lambda::report_init_error(environment("AWS_LAMBDA_RUNTIME_API"), &told).await;
            told
        }
    };
    telemetry::complain(&told);
    ExitCode::FAILURE
}

#[expect(clippy::disallowed_methods, reason = "the one place of this binary that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What INIT is for: it has a whole processor, which the first request may not have.
fn start(lookup: impl Fn(&str) -> Option<String>) -> Result<(Arc<Gateway>, LambdaSettings, LogSink), String> {
    let settings = Settings::read(lookup).map_err(|problems| problems.to_string())?;
    let door = settings.lambda().ok_or("AWS_LAMBDA_RUNTIME_API is not set: this binary runs inside AWS Lambda")?;
    let gateway = Gateway::new(Arc::new(SystemClock));
    Ok((Arc::new(gateway), door, telemetry::stdout(settings.log)))
}
