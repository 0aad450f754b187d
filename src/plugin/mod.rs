//! `kubectl bastion`: the plugin for `kubectl`. It uses the rights of the user who runs it.

mod access;
mod check;
mod cli;
mod completion;
mod diagnose;
mod gateway;
mod health;
mod history;
mod host_key;
mod leases;
mod output;
mod person;
mod redact;
mod report;
pub mod rights;
#[cfg(test)]
mod samples;
mod select;
mod sessions;
mod ssh;
mod status;
mod step;
mod terminate;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::cluster;
pub use cli::Cli;
use cli::{Cluster, Command};

/// The timeout for connecting to the API server or the console.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for one response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

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
    eprintln!("bastion: {failure:#}");
    ExitCode::from(status)
}

/// Creates a client for the cluster that the flags name.
async fn client(flags: &Cluster) -> anyhow::Result<Client> {
    Ok(cluster::client(config(flags).await?, RESPONSE_TIMEOUT)?)
}

async fn config(flags: &Cluster) -> anyhow::Result<Config> {
    let kubeconfig = match &flags.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = kubeconfig.context("no usable kubeconfig; name one with --kubeconfig or KUBECONFIG")?;
    let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.context("the kubeconfig has no usable current context; choose one with --context")?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(RESPONSE_TIMEOUT);
    Ok(config)
}
