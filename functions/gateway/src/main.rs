//! The data plane: settings, adapters, the gateway, run. No logic.

use std::process::ExitCode;
use std::sync::Arc;

use tollgate::clock::SystemClock;
use tollgate::config::{self, Host};
use tollgate::gateway::{Gateway, World};
use tollgate_adapters::LogSink;
use tollgate_adapters::door::lambda::{self, LambdaSettings};
use tollgate_adapters::files::Disk;
use tollgate_adapters::settings::Settings;
use tollgate_adapters::table::DynamoTable;
use tollgate_adapters::telemetry;
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let told = match start().await {
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
async fn start() -> Result<(Arc<Gateway>, LambdaSettings, LogSink), String> {
    let settings = Settings::read(environment).map_err(|problems| problems.to_string())?;
    let door = settings.lambda().ok_or("AWS_LAMBDA_RUNTIME_API is not set: this binary runs inside AWS Lambda")?;
    // The config is compiled while the table's connection is opened: neither waits for the other.
    let path = settings.config.to_string_lossy().into_owned();
    let compiling =
        tokio::task::spawn_blocking(move || config::compile(&path, Host { files: &Disk, env: &environment }));
    let table = DynamoTable::connect(settings.table()).await;
    table.warm().await;
    let compiled = compiling.await.map_err(|fault| fault.to_string())?.map_err(|problems| problems.to_string())?;
    let upstream = HttpUpstream::new(UpstreamSettings::default(), Arc::new(SystemClock));
    let gateway = Gateway::new(compiled.routes, World { table, upstream, clock: Arc::new(SystemClock) });
    Ok((Arc::new(gateway), door, telemetry::stdout(settings.log)))
}
