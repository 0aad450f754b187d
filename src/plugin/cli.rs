//! The command line of `kubectl bastion`.

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use url::Url;

use super::gateway::Address;
use super::output::Format;
use crate::api::Phase;

/// Connects to servers through the bastion of a cluster, and shows and ends sessions.
#[derive(Debug, Parser)]
#[command(name = "kubectl-bastion", bin_name = "kubectl bastion", version, max_term_width = 100)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Opens a shell on a target, or runs a command there, with your own ssh.
    Ssh(Ssh),
    /// Lists open sessions, oldest first.
    Sessions(Sessions),
    /// Shows sessions as they start and end, one on each line.
    Watch(Watch),
    /// Ends sessions: by name, or all open sessions of a user, target or gateway.
    Terminate(Terminate),
    /// Shows whether a session is stuck, where, and what to do. It checks the session, its gateway, the gateway's Lease, the
    /// audit row and the recording.
    Status(Status),
    /// Checks the bastion: its CRDs, gateways, controllers, quota, ends of sessions and audit rows. The exit code is 1 if there
    /// is a problem.
    Check(Check),
    /// Writes a ZIP file for a bug report, and lists its contents. No Secret is read.
    Report(Report),
    /// Shows the sessions in the audit database, newest first.
    History(History),
    /// Prints a shell's completion script.
    Completion {
        /// The shell. `kubectl` prints the program kubectl_complete-bastion, which kubectl's own completion runs.
        #[arg(value_enum)]
        shell: CompletionFor,
    },
    /// Answers a completion request of kubectl.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words that are typed so far.
        #[arg(last = true)]
        words: Vec<String>,
    },
}

/// The shell or program of a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompletionFor {
    Bash,
    Zsh,
    Fish,
    Powershell,
    Kubectl,
}

/// The cluster, and the namespace of the bastion in it.
#[derive(Clone, Debug, Args)]
pub struct Cluster {
    /// The kubeconfig file. The default is the one that kubectl uses.
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
    /// The BastionTarget. Without it, you get a menu of the targets that you may use.
    pub target: Option<String>,
    /// The login on the target. The default is the target's first login.
    #[arg(short, long, requires = "target")]
    pub login: Option<String>,
    /// The BastionUser to sign in as. The default is the one whose subject is your own Kubernetes user name.
    #[arg(long, env = "BASTION_USER", hide_env_values = true, value_name = "NAME")]
    pub user: Option<String>,
    /// The address of the gateway, such as bastion.example.com:22. The default comes from the Service bastion-gateway.
    #[arg(long, env = "BASTION_GATEWAY", hide_env_values = true, value_name = "HOST:PORT")]
    pub gateway: Option<Address>,
    /// The private key to sign in with, for ssh -i.
    #[arg(short, long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// An option for ssh -o. Can be given more than once.
    #[arg(short = 'o', long = "ssh-option", value_name = "OPTION")]
    pub options: Vec<String>,
    /// Requests a terminal for a command too, like ssh -t. Given twice, even if there is no local terminal.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub tty: u8,
    /// The command, after --. Without it, you get a shell.
    #[arg(last = true)]
    pub command: Vec<String>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// A filter of sessions.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// Only sessions of this BastionUser.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Only sessions on this BastionTarget.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Only sessions of this gateway: the name of its Pod or of a gateway instance.
    #[arg(long, value_name = "NAME")]
    pub gateway: Option<String>,
}

/// Flags of `kubectl bastion sessions`.
#[derive(Debug, Args)]
pub struct Sessions {
    #[command(flatten)]
    pub filter: Filter,
    /// Only sessions in this phase.
    #[arg(long, value_enum, default_value = "active", ignore_case = true)]
    pub phase: PhaseName,
    /// Sessions in any phase. Ended sessions are included while the cluster keeps them.
    #[arg(long, conflicts_with = "phase")]
    pub all: bool,
    /// Sessions of the bastions in all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// The output format. The default is a table.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    /// Omits the header line.
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
    /// Sessions of the bastions in all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    /// The output format. The default is a line for each change; json and yaml have an object with `type` and `object`.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    /// Omits the header line.
    #[arg(long)]
    pub no_headers: bool,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion terminate`.
#[derive(Debug, Args)]
pub struct Terminate {
    /// The names of sessions, as in `kubectl bastion sessions`.
    #[arg(required_unless_present_any = ["user", "target", "gateway"], conflicts_with_all = ["user", "target", "gateway"])]
    pub names: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    /// Why the sessions end. Their users see it, and it is written to the audit database.
    #[arg(short, long, visible_alias = "message", value_name = "TEXT")]
    pub reason: Option<String>,
    /// Ends the sessions of --user, --target and --gateway without a confirmation.
    #[arg(short, long)]
    pub yes: bool,
    /// Requests the ends, and does not wait for them.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait for the ends. If a gateway does not end a session within 20 seconds, a controller does.
    #[arg(long, value_name = "SECONDS", default_value_t = 45)]
    pub timeout: u64,
    /// Prints the ended sessions in this format after all have ended.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion history`.
#[derive(Debug, Args)]
pub struct History {
    /// Only sessions of this BastionUser.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Only sessions on this BastionTarget.
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Only sessions with this login on the target.
    #[arg(long, value_name = "NAME")]
    pub login: Option<String>,
    /// Only sessions with this status: active, closed, timeout or terminated.
    #[arg(long)]
    pub status: Option<String>,
    /// Only sessions that ended for this reason, such as AdminTerminated.
    #[arg(long)]
    pub reason: Option<String>,
    /// Only sessions from this IP address.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<String>,
    /// Only sessions that started at this time or later: a time such as 2026-01-31T12:00:00Z, a day such as 2026-01-31, or a
    /// time span before now, such as 7d, 12h or 30m.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only sessions that started before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The most sessions to show.
    #[arg(long, default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub limit: usize,
    /// The output format. csv and json have more fields than the table.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// The URL of the console, such as https://bastion.example.com. Your cluster token is sent to it.
    #[arg(long, env = "BASTION_CONSOLE", hide_env_values = true, value_name = "URL")]
    pub console: Option<Url>,
    /// A file with the CA certificates (PEM) for the console. By default, this machine's CA certificates are used.
    #[arg(long, env = "BASTION_CONSOLE_CA", hide_env_values = true, value_name = "FILE")]
    pub console_ca: Option<PathBuf>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// An output format of `kubectl bastion history`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table for people.
    Table,
    /// A JSON list of objects.
    Json,
    /// Comma-separated values, with a header line.
    Csv,
}

/// Flags of `kubectl bastion status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The name of the session, as in `kubectl bastion sessions`.
    pub name: String,
    /// The output format. The default is a table.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Waits until there is no problem.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "wait")]
    pub timeout: u64,
    /// The output format. The default is a table.
    #[arg(short, long, value_enum)]
    pub output: Option<Format>,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// Flags of `kubectl bastion report`.
#[derive(Debug, Args)]
pub struct Report {
    /// The file to write. It must not exist. The default is bastion-report-NAMESPACE-TIME.zip in the current folder.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// The age of the oldest log lines.
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    pub since: u16,
    /// Omits the logs.
    #[arg(long)]
    pub no_logs: bool,
    #[command(flatten)]
    pub cluster: Cluster,
}

/// A phase on the command line.
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
