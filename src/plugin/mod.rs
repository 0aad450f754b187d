//! `kubectl bastion`: the plugin for `kubectl`. What it does runs under the rights of whoever calls it.

mod access;
mod cli;
mod gateway;
mod history;
mod host_key;
mod person;
mod ssh;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

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
    let (failure, status) = match cli.command {
        // It comes back only when it failed: otherwise another program takes over.
        Command::Ssh(flags) => (ssh::run(flags).await, NOT_RUN),
        Command::History(flags) => match history::run(flags).await {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => (failure, 1),
        },
    };
    eprintln!("bastion: {failure:#}");
    ExitCode::from(status)
}

/// A client for the cluster that the flags name, as `kubectl` takes them.
async fn client(flags: &Cluster) -> anyhow::Result<Client> {
    Ok(Client::try_from(config(flags).await?)?)
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
