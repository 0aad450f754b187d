//! `kubectl bastion completion`: prints completion scripts for shells, and answers the completion requests of `kubectl`.

use std::ffi::{OsStr, OsString};
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, complete};
use clap_complete::{Shell, generate};
use kube::api::{Api, ListParams};
use kube::{Resource, ResourceExt};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::cli::{Cli, Cluster, CompletionFor};
use super::{client, output};
use crate::api::{BastionSession, BastionTarget, BastionUser};

/// The script that `kubectl` runs for completion if it is on the PATH.
const KUBECTL_SCRIPT: &str = include_str!("kubectl_complete-bastion");
/// The timeout for reading names from the cluster.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// The most names that are offered.
const MAX_NAMES: u32 = 500;
/// The directive that tells `kubectl` to offer no file names (cobra's `ShellCompDirectiveNoFileComp`).
const NO_FILE_COMPLETION: &str = ":4\n";

/// Prints the completion script for a shell.
pub fn script(wanted: CompletionFor) -> anyhow::Result<ExitCode> {
    let shell = match wanted {
        CompletionFor::Bash => Shell::Bash,
        CompletionFor::Zsh => Shell::Zsh,
        CompletionFor::Fish => Shell::Fish,
        CompletionFor::Powershell => Shell::PowerShell,
        CompletionFor::Kubectl => {
            output::print(KUBECTL_SCRIPT)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "kubectl-bastion", &mut text);
    output::print(&String::from_utf8(text)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the completions of the last word, one on each line.
pub fn answer(words: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = with_names(Cli::command(), &cluster(words));
    let line = std::iter::once("kubectl-bastion").chain(words.iter().map(String::as_str)).map(OsString::from).collect();
    let candidates = complete(&mut command, line, words.len(), None).unwrap_or_default();
    let lines: String = candidates.iter().filter(|it| !it.is_hide_set()).map(format_candidate).collect();
    output::print(&(lines + NO_FILE_COMPLETION))?;
    Ok(ExitCode::SUCCESS)
}

fn format_candidate(candidate: &CompletionCandidate) -> String {
    let value = candidate.get_value().display();
    match candidate.get_help().map(ToString::to_string).as_deref().and_then(|help| help.lines().next()) {
        Some(help) => format!("{value}\t{help}\n"),
        None => format!("{value}\n"),
    }
}

/// Returns the cluster that the flags on the command line name.
fn cluster(words: &[String]) -> Cluster {
    let after = |long: &str, short: &str| {
        let follows = words.windows(2).find(|pair| pair[0] == long || pair[0] == short).map(|pair| pair[1].clone());
        follows.or_else(|| words.iter().find_map(|word| word.strip_prefix(long)?.strip_prefix('=').map(str::to_owned)))
    };
    let namespace = after("--namespace", "-n").or_else(|| std::env::var("BASTION_NAMESPACE").ok());
    Cluster {
        kubeconfig: after("--kubeconfig", "--kubeconfig").map(Into::into),
        context: after("--context", "--context"),
        namespace: namespace.unwrap_or_else(|| "bastion-system".to_owned()),
    }
}

/// Adds completers for the names of users, targets and sessions to the command line.
fn with_names(command: clap::Command, cluster: &Cluster) -> clap::Command {
    let active = Some("status.phase=Active");
    let users = || names::<BastionUser>(cluster, None);
    let targets = || names::<BastionTarget>(cluster, None);
    let chosen =
        |verb: clap::Command| verb.mut_arg("user", |arg| arg.add(users())).mut_arg("target", |arg| arg.add(targets()));
    command
        .mut_subcommand("ssh", chosen)
        .mut_subcommand("sessions", chosen)
        .mut_subcommand("watch", chosen)
        .mut_subcommand("terminate", |verb| {
            chosen(verb).mut_arg("names", |arg| arg.add(names::<BastionSession>(cluster, active)))
        })
        .mut_subcommand("status", |verb| verb.mut_arg("name", |arg| arg.add(names::<BastionSession>(cluster, None))))
}

/// Returns a completer for the names of a kind. It reads the names when they are needed, and offers none if the read fails.
fn names<K>(cluster: &Cluster, fields: Option<&'static str>) -> ArgValueCompleter
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug,
    K: serde::de::DeserializeOwned,
{
    let cluster = cluster.clone();
    ArgValueCompleter::new(move |prefix: &OsStr| {
        let prefix = prefix.to_string_lossy();
        let asked = async {
            let api: Api<K> = Api::namespaced(client(&cluster).await.ok()?, &cluster.namespace);
            let mut params = ListParams::default().limit(MAX_NAMES);
            params.field_selector = fields.map(str::to_owned);
            api.list_metadata(&params).await.ok()
        };
        let listed = block_in_place(|| Handle::current().block_on(timeout(LOOKUP_TIMEOUT, asked)));
        let names = listed.ok().flatten().into_iter().flatten().map(|object| object.name_any());
        names.filter(|name| name.starts_with(&*prefix)).map(CompletionCandidate::new).collect()
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[rstest]
    #[case("sessions -n shop ", "shop")]
    #[case("sessions --namespace shop ", "shop")]
    #[case("sessions --namespace=shop ", "shop")]
    #[case("sessions ", "bastion-system")]
    fn names_come_from_the_typed_namespace(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(cluster(&words(line)).namespace, expected);
    }

    #[rstest]
    #[case("te", &["terminate"])]
    #[case("sessions --ph", &["--phase"])]
    #[case("sessions --phase ti", &["timeout"])]
    #[case("sessions -o ", &["wide", "json", "yaml", "name"])]
    fn a_prefix_is_completed(#[case] line: &str, #[case] expected: &[&str]) {
        let words = words(line);
        let line = std::iter::once("kubectl-bastion".to_owned()).chain(words.clone()).map(OsString::from).collect();
        let mut command = with_names(Cli::command(), &cluster(&words));
        let found = complete(&mut command, line, words.len(), None).unwrap();
        let found: Vec<_> = found.iter().map(|it| it.get_value().to_string_lossy().into_owned()).collect();
        assert_eq!(found, expected);
    }
}
