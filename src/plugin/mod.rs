//! `kubectl bastion`: the plugin for `kubectl`. What it does runs under the rights of whoever calls it.

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

/// How long the API server may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The exit status of what never reached a target, as `ssh` itself has for its own failures.
const NOT_RUN: u8 = 255;

/// Does what the command line says, and says what went wrong.
pub async fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        // It comes back only when it failed: otherwise another program takes over.
        Command::Ssh(flags) => return said(&ssh::run(flags).await, NOT_RUN),
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
        Err(failure) if output::is_gone(&failure) => ExitCode::SUCCESS,
        Err(failure) => said(&failure, 1),
    }
}

/// Says what went wrong.
fn said(failure: &anyhow::Error, status: u8) -> ExitCode {
    eprintln!("bastion: {failure:#}");
    ExitCode::from(status)
}

/// A client for the cluster that the flags name, as `kubectl` takes them.
async fn client(flags: &Cluster) -> anyhow::Result<Client> {
    Ok(cluster::client(config(flags).await?, ANSWER_TIMEOUT)?)
}

async fn config(flags: &Cluster) -> anyhow::Result<Config> {
    let kubeconfig = match &flags.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let kubeconfig = kubeconfig.context("no usable kubeconfig; name one with --kubeconfig or KUBECONFIG")?;
    let options = KubeConfigOptions { context: flags.context.clone(), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let mut config = config.context("the kubeconfig leads to no cluster; choose a context of it with --context")?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(ANSWER_TIMEOUT);
    Ok(config)
}
