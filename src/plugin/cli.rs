//! The command line of `kubectl bastion`.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use super::gateway::Address;
use super::output::Format;
use crate::api::Phase;

/// Reach servers through the bastion of a cluster, and see and end the sessions of those who do.
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
    /// Lists the sessions that are open, oldest first.
    Sessions(Sessions),
    /// Shows sessions as they start and end, one line each.
    Watch(Watch),
    /// Ends sessions: some by name, or all that are open of a user, target or gateway.
    Terminate(Terminate),
    /// Says how a session is, where it is stuck, and what to do: from the session to its gateway, the gateway's Lease, the
    /// audit row and the recording.
    Status(Status),
    /// Says whether the bastion is well: its CRDs, gateways, controllers, quota, ends and records. It fails unless all is.
    Check(Check),
    /// Writes what whoever looks into a bug needs to see into a ZIP file, and lists it. No Secret is read.
    Report(Report),
    /// Shows the sessions that the audit database has, newest first.
    History(History),
    /// Prints the script that completes the command line in a shell.
    Completion {
        /// The shell; or `kubectl`, for the program kubectl_complete-bastion, which kubectl's own completion runs.
        #[arg(value_enum)]
        shell: CompletionFor,
    },
    /// Answers kubectl's completion.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// What is typed so far.
        #[arg(last = true)]
        words: Vec<String>,
    },
}

/// Whom a completion script is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletionFor {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Kubectl,
}

/// Which cluster, and where in it the bastion is.
#[derive(Clone, Debug, Args)]
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

/// Which sessions are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// Of this BastionUser.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// On this BastionTarget.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Carried by this gateway: the name of its Pod, or of one life of its process.
    #[arg(long, value_name = "NAME")]
    pub gateway: Option<String>,
}

/// Flags of `kubectl bastion sessions`.
#[derive(Debug, Args)]
pub struct Sessions {
    #[command(flatten)]
    pub filter: Filter,
    /// In this phase.
    #[arg(long, value_enum, default_value = "active", ignore_case = true)]
    pub phase: PhaseName,
    /// In any phase: those that have ended too, for as long as the cluster keeps them.
    #[arg(long, conflicts_with = "phase")]
    pub all: bool,
    /// The sessions of the bastions in all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// How to show them, instead of as a table.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    /// Leaves out the line with the names of the columns.
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion watch`.
#[derive(Debug, Args)]
pub struct Watch {
    #[command(flatten)]
    pub filter: Filter,
    /// The sessions of the bastions in all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// How to show them: json and yaml have an object with `type` and `object` for each line of the others.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    /// Leaves out the line with the names of the columns.
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion terminate`.
#[derive(Debug, Args)]
pub struct Terminate {
    /// The sessions, as `kubectl bastion sessions` names them.
    #[arg(required_unless_present_any = ["user", "target", "gateway"], conflicts_with_all = ["user", "target", "gateway"])]
    pub names: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    /// Why. The session's user reads it, and it is put on record.
    #[arg(short, long, visible_alias = "message", value_name = "TEXT")]
    pub reason: Option<String>,
    /// Does not ask before it ends what --user, --target and --gateway choose.
    #[arg(short, long)]
    pub yes: bool,
    /// Returns when the sessions are asked to end, and does not wait until they have.
    #[arg(long)]
    pub no_wait: bool,
    /// How many seconds to wait for the ends. Where a gateway does not end a session, a controller does after 20.
    #[arg(long, value_name = "SECONDS", default_value_t = 45)]
    pub timeout: u64,
    /// Prints the sessions that have ended in this way, when all have.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
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

/// Flags of `kubectl bastion status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The session, as `kubectl bastion sessions` names it.
    pub name: String,
    /// How to show it, instead of as a table.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Waits until all is well.
    #[arg(long)]
    pub wait: bool,
    /// How many seconds to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    pub timeout: u64,
    /// How to show it, instead of as a table.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The file, which must not be there yet; bastion-report-NAMESPACE-TIME.zip in this folder, where it is not given.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// How many hours of logs.
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    pub since: u16,
    /// Leaves out the logs.
    #[arg(long)]
    pub no_logs: bool,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// A phase, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PhaseName {
    Active,
    Closed,
    Timeout,
    Terminated,
}

impl From<PhaseName> for Phase {
    fn from(name: PhaseName) -> Self {
        match name {
            PhaseName::Active => Self::Active,
            PhaseName::Closed => Self::Closed,
            PhaseName::Timeout => Self::Timeout,
            PhaseName::Terminated => Self::Terminated,
        }
    }
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
