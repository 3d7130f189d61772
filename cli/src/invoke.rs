//! `tollgate invoke`.

use std::path::PathBuf;

use clap::Args;
use tollgate::gateway::Gateway;
use tollgate_adapters::door::lambda;

use crate::load::{self, ConfigFile, SecretsOption, StateOption};
use crate::{Failure, line};

/// Sends an event through the Lambda door, in this process, and prints the Lambda answer as one line of JSON.
#[derive(Debug, Args)]
pub(crate) struct Invoke {
    #[command(flatten)]
    config: ConfigFile,
    #[command(flatten)]
    state: StateOption,
    #[command(flatten)]
    secrets: SecretsOption,
    /// The event, a JSON file.
    event: PathBuf,
}

impl Invoke {
    /// Runs it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let event =
            std::fs::read(&self.event).map_err(|error| Failure::Input(format!("{}: {error}", self.event.display())))?;
        let compiled = self.config.compile()?;
        load::runtime()?.block_on(async {
            let gateway = Gateway::new(compiled.routes, load::world(&self.state, &self.secrets).await?);
            load::tell_missing(&gateway.resolve().await);
            match lambda::invoke(&gateway, &event).await {
                Ok((answer, exchange)) => {
                    line::say(&line::request(&exchange));
                    line::print(&answer);
                    Ok(())
                }
                Err(error) => Err(Failure::Input(format!("{}: {error}", self.event.display()))),
            }
        })
    }
}
