//! `tollgate check`.

use clap::{Args, ValueEnum};

use crate::load::ConfigFile;
use crate::{Failure, line};

/// Says everything that is wrong with a config, or prints it compiled.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    config: ConfigFile,
    /// How problems are printed: for people on standard error, or as JSON on standard output.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Fail on these as well.
    #[arg(long, value_enum)]
    deny: Option<Denied>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Denied {
    Warnings,
}

impl Check {
    /// Runs it.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let (problems, printed, fine) = match self.config.try_compile() {
            Ok(compiled) => {
                let fine = self.deny.is_none() || compiled.warnings.list.is_empty();
                let counts = format!(
                    "ok: {} routes, {} upstreams",
                    compiled.routes.routes.len(),
                    compiled.routes.upstreams.len()
                );
                (compiled.warnings, Some((compiled.routes.print(), counts)), fine)
            }
            Err(problems) => (problems, None, false),
        };
        match (self.format, printed) {
            (Format::Json, _) => line::print(&problems.to_json().to_string()),
            (Format::Human, Some((compiled, counts))) => {
                if !problems.list.is_empty() {
                    line::say(&problems.to_string());
                }
                if fine {
                    line::print(&compiled);
                    line::say(&counts);
                }
            }
            (Format::Human, None) => return Err(Failure::Input(problems.to_string())),
        }
        if fine { Ok(()) } else { Err(Failure::Input(String::new())) }
    }
}
