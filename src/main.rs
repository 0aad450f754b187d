//! The binary `bastion`: parses the command line and runs the program that it names.

use anyhow::Context;
use bastion_operator::cli::{Cli, Command};
use bastion_operator::{
    api, audit, cluster, console, controller, drain, gateway, open_files, self_test, shutdown, telemetry,
};
use clap::Parser;
use tracing::warn;
use zeroize::Zeroizing;

/// The number of task polls after which a worker polls the kernel for events. With Tokio's default of 61, a keystroke waits
/// for up to 61 polls of bulk transfers.
const EVENT_INTERVAL: u32 = 2;

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("the TLS provider is installed already");
    }
    #[cfg(feature = "failpoints")]
    let _failpoints = bastion_operator::failpoints::from_environment();
    telemetry::start(cli.log.log_format, &cli.log.log).context("--log")?;
    if let Err(error) = open_files::raise_limit() {
        warn!(%error, "the limit of open files stays as it is: it cannot be raised");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().event_interval(EVENT_INTERVAL).build();
    let runtime = runtime.context("the runtime cannot be started")?;
    runtime.block_on(run(cli.command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Gateway(flags) => gateway::run(config().await?, (*flags).into(), shutdown::on_signal()?).await,
        Command::Controller(flags) => controller::run(config().await?, flags.into(), shutdown::on_signal()?).await,
        Command::Audit(flags) => audit::run(config().await?, (*flags).into(), shutdown::on_signal()?).await,
        Command::Console(flags) => console::run(client().await?, (*flags).into(), shutdown::on_signal()?).await,
        Command::Crds => {
            print!("{}", api::crds_yaml()?);
            Ok(())
        }
        Command::Drain(flags) => drain::run(client().await?, flags.into()).await,
        Command::HashPassword => hash_password(),
        Command::Migrate(flags) => Ok(audit::Store::new(flags.database.into())?.migrate().await?),
        Command::SelfTest(flags) => self_test::run(client().await?, flags.into()).await,
    }
}

fn hash_password() -> anyhow::Result<()> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().read_line(&mut line).context("standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(!password.is_empty(), "no password; write it to standard input, in one line");
    println!("{}", gateway::hash_password(password.as_bytes())?);
    Ok(())
}

async fn client() -> anyhow::Result<kube::Client> {
    Ok(cluster::client(config().await?, cluster::REQUEST_TIMEOUT)?)
}

async fn config() -> anyhow::Result<kube::Config> {
    cluster::config()
        .await
        .context("no configuration of the Kubernetes API; run in a Pod with a ServiceAccount, or set KUBECONFIG")
}
