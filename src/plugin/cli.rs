//! The command line of `kubectl bastion`.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use super::gateway::Address;

/// Reach servers through the bastion of a cluster.
#[derive(Debug, Parser)]
#[command(name = "kubectl-bastion", bin_name = "kubectl bastion", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Opens a shell on a target, or runs a command there, with your own ssh.
    Ssh(Ssh),
    /// Shows the sessions that the audit database has, newest first.
    History(History),
}

/// Which cluster, and where in it the bastion is.
#[derive(Debug, Args)]
pub struct Cluster {
    /// The kubeconfig file; the one that kubectl uses, where it is not given.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The namespace of the bastion.
    #[arg(short, long, env = "BASTION_NAMESPACE", hide_env_values = true, default_value = "bastion-system")]
    pub namespace: String,
}

/// Flags of `kubectl bastion ssh`.
#[derive(Debug, Args)]
pub struct Ssh {
    /// The BastionTarget; without it you get a menu of those that you may use.
    pub target: Option<String>,
    /// The login on the target; the target's first, where it is not given.
    #[arg(short, long, requires = "target")]
    pub login: Option<String>,
    /// The BastionUser to sign in as; the one that stands for your own Kubernetes user, where it is not given.
    #[arg(long, env = "BASTION_USER", hide_env_values = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Where the gateway is, such as bastion.example.com:22; where the Service bastion-gateway says, where it is not
    /// given.
    #[arg(long, env = "BASTION_GATEWAY", hide_env_values = true, value_name = "HOST:PORT")]
    pub gateway: Option<Address>,
    /// The private key to sign in with, for ssh -i.
    #[arg(short, long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// An option for ssh -o; may be given more than once.
    #[arg(short = 'o', long = "ssh-option", value_name = "OPTION")]
    pub options: Vec<String>,
    /// Asks for a terminal for a command too, as ssh -t; twice, even where there is none here.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub tty: u8,
    /// The command, behind --; without it you get a shell.
    #[arg(last = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion history`.
#[derive(Debug, Args)]
pub struct History {
    /// Of this BastionUser.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// On this BastionTarget.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// With this login on the target.
    #[arg(long, value_name = "NAME")]
    pub login: Option<String>,
    /// With this status: active, closed, timeout or terminated.
    #[arg(long)]
    pub status: Option<String>,
    /// That ended for this reason, such as AdminTerminated.
    #[arg(long)]
    pub reason: Option<String>,
    /// From this IP address.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<String>,
    /// That began at this time or later: a time such as 2026-01-31T12:00:00Z, a day such as 2026-01-31, or so long ago as 7d,
    /// 12h or 30m.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// That began before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: usize,
    /// How to show them; a table leaves out some of what csv and json have.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// Where the console is, such as https://bastion.example.com. Your token for the cluster is sent there.
    #[arg(long, env = "BASTION_CONSOLE", hide_env_values = true, value_name = "URL")]
    pub console: Option<Url>,
    /// A file with the certificates, in PEM, of the authorities that may have signed the console's; those of this machine,
    /// where it is not given.
    #[arg(long, env = "BASTION_CONSOLE_CA", hide_env_values = true, value_name = "FILE")]
    pub console_ca: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// How sessions are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// A list of objects.
    Json,
    /// Comma-separated values, with a line of names first.
    Csv,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
