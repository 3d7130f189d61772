//! The `tollgate` command: run the gateway on a laptop, check its config, ask why, send it an event, give
//! out API keys.
//!
//! What a command is asked for goes to standard output; problems, progress and logs go to standard error. Exit codes:
//! 0 fine, 1 the input is wrong, 3 the outside failed.

mod check;
mod demo;
mod dev;
mod explain;
mod invoke;
mod keys;
mod line;
mod load;
mod mixed;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

// A request makes some 75 allocations, five of them too large for what glibc keeps at hand: 6 % less processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An API gateway that runs inside AWS Lambda.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway here, over plain HTTP, with the pipeline it has on Lambda.
    Dev(dev::Dev),
    /// Say everything that is wrong with a config, or print it compiled, every default filled in.
    Check(check::Check),
    /// Say which route takes a request, and what each stage makes of it.
    Explain(explain::Explain),
    /// Send an event through the Lambda door, in this process.
    Invoke(invoke::Invoke),
    /// Make, list, rotate and revoke API keys.
    Keys(keys::Keys),
}

/// Why a command ends without what it was asked for.
#[derive(Debug)]
enum Failure {
    /// The input is wrong: exit code 1. The text is for standard error.
    Input(String),
    /// The outside failed: exit code 3.
    Outside(String),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Dev(dev) => dev.run(),
        Command::Check(check) => check.run(),
        Command::Explain(explain) => explain.run(),
        Command::Invoke(invoke) => invoke.run(),
        Command::Keys(keys) => keys.run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(text)) => {
            line::say(&text);
            ExitCode::from(1)
        }
        Err(Failure::Outside(text)) => {
            line::say(&text);
            ExitCode::from(3)
        }
    }
}
