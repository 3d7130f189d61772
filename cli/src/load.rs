//! What several commands share: the config's file, where state is kept, and a gateway made of both.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tollgate::clock::{Clock, SystemClock, UNKNOWN, Watched};
use tollgate::config::{self, Compiled, Host, Problems};
use tollgate::gateway::World;
use tollgate::secret::Vault;
use tollgate::table::{MemoryTable, Table};
use tollgate_adapters::aws::{Account, AwsSecrets, Endpoints};
use tollgate_adapters::files::Disk;
use tollgate_adapters::table::{DynamoSettings, DynamoTable, StaticCredentials, Timeouts};
use tollgate_adapters::upstream::{HttpUpstream, UpstreamSettings};
use tollgate_adapters::vault::{GivenVault, HostVault};

use crate::{Failure, line};

/// Where the config is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigFile {
    /// The route config.
    #[arg(long, default_value = "infra/gateway.yaml", value_name = "FILE")]
    pub(crate) config: String,
}

impl ConfigFile {
    /// Compiles it; warnings go to standard error.
    pub(crate) fn compile(&self) -> Result<Compiled, Failure> {
        let compiled = self.try_compile().map_err(|problems| Failure::Input(problems.to_string()))?;
        if !compiled.warnings.list.is_empty() {
            line::say(&compiled.warnings.to_string());
        }
        Ok(compiled)
    }

    /// Compiles it.
    pub(crate) fn try_compile(&self) -> Result<Compiled, Problems> {
        config::compile(&self.config, Host { files: &Disk, env: &environment })
    }
}

#[expect(clippy::disallowed_methods, reason = "the command line is a binary: here is where it reads the environment")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where counters live.
#[derive(Debug, Clone, Args)]
pub(crate) struct StateOption {
    /// `memory`, `dynamodb`, or `dynamodb:ENDPOINT` (DynamoDB Local, say). The tables are made where they are missing.
    #[arg(long, default_value = "memory", value_name = "STATE")]
    pub(crate) state: String,
}

impl StateOption {
    /// Opens the table, with the patience of a request's way.
    pub(crate) async fn open(&self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Table>, Failure> {
        match self.dynamo(Timeouts::default(), Arc::clone(&clock)).await? {
            Some((table, _)) => made(table).await,
            None => Ok(Arc::new(MemoryTable::new(clock))),
        }
    }

    /// Opens the table, for a person who waits. On AWS it must be there: one that is made by mistake, since its name is
    /// another, would keep what nobody reads.
    pub(crate) async fn open_standing(&self) -> Result<Arc<dyn Table>, Failure> {
        const PATIENT: Timeouts = {
            let long = Duration::from_secs(10);
            Timeouts { connect: long, attempt: long, operation: long, sending: long, behind: long }
        };
        match self.dynamo(PATIENT, Arc::new(SystemClock)).await? {
            Some((table, true)) => made(table).await,
            Some((table, false)) => Ok(table),
            None => Ok(Arc::new(MemoryTable::default())),
        }
    }

    /// DynamoDB, and whether it is at an endpoint of its own; `None` is memory.
    async fn dynamo(
        &self,
        timeouts: Timeouts,
        clock: Arc<dyn Clock>,
    ) -> Result<Option<(Arc<DynamoTable>, bool)>, Failure> {
        let endpoint = match self.state.split_once(':') {
            _ if self.state == "memory" => return Ok(None),
            None if self.state == "dynamodb" => environment("TOLLGATE_DYNAMODB_ENDPOINT"),
            Some(("dynamodb", endpoint)) if !endpoint.is_empty() => Some(endpoint.to_owned()),
            _ => {
                let message = format!("--state {} must be memory, dynamodb or dynamodb:ENDPOINT", self.state);
                return Err(Failure::Input(message));
            }
        };
        let defaults = DynamoSettings::default();
        // An emulator takes any credentials, but the client wants some.
        let dummy =
            endpoint.is_some() && environment("AWS_ACCESS_KEY_ID").is_none() && environment("AWS_PROFILE").is_none();
        let has_endpoint = endpoint.is_some();
        let settings = DynamoSettings {
            hot: environment("TOLLGATE_HOT_TABLE").unwrap_or(defaults.hot),
            control: environment("TOLLGATE_CONTROL_TABLE").unwrap_or(defaults.control),
            credentials: dummy.then(StaticCredentials::dummy),
            endpoint,
            clock,
            timeouts,
            ..DynamoSettings::default()
        };
        Ok(Some((DynamoTable::connect(settings).await, has_endpoint)))
    }
}

async fn made(table: Arc<DynamoTable>) -> Result<Arc<dyn Table>, Failure> {
    table.create_tables().await.map_err(|error| Failure::Outside(format!("the tables cannot be made: {error}")))?;
    Ok(table)
}

/// Where secrets are.
#[derive(Debug, Clone, Args)]
pub(crate) struct SecretsOption {
    /// A YAML file of `ssm:` and `secretsmanager:` references and their values: then AWS is not asked for secrets.
    #[arg(long, value_name = "FILE")]
    pub(crate) secrets: Option<String>,
}

impl SecretsOption {
    /// What reads them: that file, or AWS as whoever runs this.
    pub(crate) fn vault(&self, outside: Outside) -> Result<Arc<dyn Vault>, Failure> {
        let Some(path) = &self.secrets else {
            let Outside { account, upstream } = outside;
            return Ok(Arc::new(HostVault::new(AwsSecrets::new(account, upstream, Endpoints::of(environment)))));
        };
        let secrets = config::secrets_file(path, &Disk).map_err(|problems| Failure::Input(problems.to_string()))?;
        Ok(Arc::new(GivenVault::new(secrets)))
    }
}

/// AWS, and the HTTP client for it.
pub(crate) struct Outside {
    account: Arc<Account>,
    pub(crate) upstream: Arc<HttpUpstream>,
}

impl Outside {
    /// Asks nothing yet.
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let account = Account::new(None, Arc::clone(clock));
        let settings = UpstreamSettings::default();
        let upstream = HttpUpstream::signing(settings, Arc::clone(clock), Arc::clone(&account));
        Self { account, upstream }
    }
}

/// Says which secrets are missing.
pub(crate) fn tell_missing(missing: &[String]) {
    for why in missing {
        line::say(&format!("warning: {why}: what needs it answers 503"));
    }
}

/// The outside, as it is here.
pub(crate) async fn world(state: &StateOption, secrets: &SecretsOption) -> Result<World, Failure> {
    let clock: Arc<dyn Clock> = Arc::new(Watched::new(SystemClock, UNKNOWN));
    let table = state.open(Arc::clone(&clock)).await?;
    let outside = Outside::new(&clock);
    let upstream = Arc::clone(&outside.upstream);
    let vault = secrets.vault(outside)?;
    Ok(World { table, upstream, clock, environments: Some(NonZeroU32::MIN), vault })
}

/// A runtime of one thread: a request costs least there, as on Lambda.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Outside(error.to_string()))
}
