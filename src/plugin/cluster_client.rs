//! The client for the cluster that the flags name.

use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::cli::Cluster;
use crate::cluster;

/// The timeout for connecting to the API server or the console.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout for one response.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);

/// Creates a client for the cluster that the flags name.
pub async fn client(flags: &Cluster) -> anyhow::Result<Client> {
    Ok(cluster::client(config(flags).await?, RESPONSE_TIMEOUT)?)
}

/// Returns the configuration for the cluster that the flags name.
pub async fn config(flags: &Cluster) -> anyhow::Result<Config> {
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
