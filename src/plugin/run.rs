//! Runs the subcommand that the command line names.

use std::process::ExitCode;

use super::cli::{Cli, Command};
use super::{check, completion, history, output, report, sessions, ssh, status, terminate, watch};

/// The exit status if no target was reached. `ssh` uses it for its own failures.
const SSH_FAILURE: u8 = 255;

/// Runs the subcommand. Prints its error to standard error.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        // It returns only on failure: otherwise `ssh` replaces this process.
        Command::Ssh(flags) => return fail(&ssh::run(flags).await, SSH_FAILURE),
        Command::Sessions(flags) => sessions::run(flags).await,
        Command::Watch(flags) => watch::run(flags).await,
        Command::Terminate(flags) => terminate::run(flags).await,
        Command::Status(flags) => status::run(flags).await,
        Command::Check(flags) => check::run(flags).await,
        Command::Report(flags) => report::run(flags).await,
        Command::History(flags) => history::run(flags).await.map(|()| ExitCode::SUCCESS),
        Command::Completion { shell } => completion::script(shell),
        Command::Complete { words } => completion::answer(&words),
    };
    match done {
        Ok(status) => status,
        Err(failure) if output::is_broken_pipe(&failure) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure, 1),
    }
}

/// Prints an error, and returns the exit code.
fn fail(failure: &anyhow::Error, status: u8) -> ExitCode {
    output::warn(&format!("{failure:#}"));
    ExitCode::from(status)
}
