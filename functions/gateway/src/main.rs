//! The data plane: settings, adapters, the gateway, a door. No logic.

use std::process::ExitCode;
use std::sync::Arc;

use tokio::runtime::Builder;
use tollgate::config::{self, Host};
use tollgate::gateway::{Gateway, World};
use tollgate_adapters::aws::{Account, AwsSecrets};
use tollgate_adapters::files::Disk;
use tollgate_adapters::settings::{DoorSettings, Settings};
use tollgate_adapters::table::DynamoTable;
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};
use tollgate_adapters::vault::HostVault;
use tollgate_adapters::{LogSink, door, telemetry};

fn main() -> ExitCode {
    let settings = Settings::read(environment).map_err(|problems| problems.to_string());
    // Where one request is served at a time, one thread costs least.
    let one_at_a_time = settings.as_ref().is_ok_and(Settings::one_at_a_time);
    let mut runtime = if one_at_a_time { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    let ended = match runtime.enable_all().build() {
        Ok(runtime) => runtime.block_on(run(settings)),
        Err(fault) => Err(fault.to_string()),
    };
    let Err(told) = ended else { return ExitCode::SUCCESS };
    telemetry::complain(&told);
    ExitCode::FAILURE
}

#[expect(clippy::disallowed_methods, reason = "the one place of this binary that reads the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

async fn run(settings: Result<Settings, String>) -> Result<(), String> {
    match async { start(&settings?).await }.await {
        Ok((gateway, door, log)) => door::run(gateway, door, log).await,
        Err(told) => {
            door::lambda::report_init_error(environment("AWS_LAMBDA_RUNTIME_API"), &told).await;
            Err(told)
        }
    }
}

/// What INIT is for: it has a whole processor, which the first request may not have.
async fn start(settings: &Settings) -> Result<(Gateway, DoorSettings, LogSink), String> {
    let door = settings.door().ok_or("neither AWS_LAMBDA_RUNTIME_API nor TOLLGATE_LISTEN is set")?;
    // The config is compiled while the table's connection is opened: neither waits for the other.
    let path = settings.config.to_string_lossy().into_owned();
    let compiling =
        tokio::task::spawn_blocking(move || config::compile(&path, Host { files: &Disk, env: &environment }));
    let clock = settings.clock();
    let table = DynamoTable::connect(settings.table(Arc::clone(&clock))).await;
    table.warm().await;
    let compiled = compiling.await.map_err(|fault| fault.to_string())?.map_err(|problems| problems.to_string())?;
    let account = Account::new(table.sdk().cloned(), Arc::clone(&clock));
    let upstream = HttpUpstream::signing(UpstreamSettings::default(), Arc::clone(&clock), Arc::clone(&account));
    let aws = AwsSecrets::new(account, Arc::clone(&upstream) as _, settings.secrets.clone());
    let world =
        World { table, upstream, clock, environments: settings.environments, vault: Arc::new(HostVault::new(aws)) };
    let gateway = Gateway::new(compiled.routes, world);
    for missing in gateway.resolve().await {
        telemetry::complain(&format!("{missing}: what needs it answers 503"));
    }
    Ok((gateway, door, telemetry::stdout(settings.log)))
}
