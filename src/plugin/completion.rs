//! `kubectl bastion completion`: what completes its command line in a shell, and the answers that `kubectl` asks for.

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

/// What `kubectl` runs, when it stands on the PATH.
const FOR_KUBECTL: &str = include_str!("kubectl_complete-bastion");
/// Whoever presses a key does not wait longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many names there are to choose from.
const MOST: u32 = 500;
/// How `kubectl` is told that file names are no answer.
const NO_FILES: &str = ":4\n";

/// Prints the script of a shell.
pub fn script(wanted: CompletionFor) -> anyhow::Result<ExitCode> {
    let shell = match wanted {
        CompletionFor::Bash => Shell::Bash,
        CompletionFor::Zsh => Shell::Zsh,
        CompletionFor::Fish => Shell::Fish,
        CompletionFor::Powershell => Shell::PowerShell,
        CompletionFor::Kubectl => {
            output::print(FOR_KUBECTL)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "kubectl-bastion", &mut text);
    output::print(&String::from_utf8(text)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Answers `kubectl`: what the last of these words can become, a line each.
pub fn answer(words: &[String]) -> anyhow::Result<ExitCode> {
    let mut command = with_names(Cli::command(), &cluster(words));
    let line = std::iter::once("kubectl-bastion").chain(words.iter().map(String::as_str)).map(OsString::from).collect();
    let candidates = complete(&mut command, line, words.len(), None).unwrap_or_default();
    let lines: String = candidates.iter().filter(|it| !it.is_hide_set()).map(told).collect();
    output::print(&(lines + NO_FILES))?;
    Ok(ExitCode::SUCCESS)
}

fn told(candidate: &CompletionCandidate) -> String {
    let value = candidate.get_value().display();
    match candidate.get_help().map(ToString::to_string).as_deref().and_then(|help| help.lines().next()) {
        Some(help) => format!("{value}\t{help}\n"),
        None => format!("{value}\n"),
    }
}

/// The cluster that the words before name.
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

/// The command line, with the cluster's names where such are due.
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

/// The names of a kind, asked for when they are needed. What goes wrong is no answer.
fn names<K>(cluster: &Cluster, fields: Option<&'static str>) -> ArgValueCompleter
where
    K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()> + Clone + std::fmt::Debug,
    K: serde::de::DeserializeOwned,
{
    let cluster = cluster.clone();
    ArgValueCompleter::new(move |begun: &OsStr| {
        let begun = begun.to_string_lossy();
        let asked = async {
            let api: Api<K> = Api::namespaced(client(&cluster).await.ok()?, &cluster.namespace);
            let mut params = ListParams::default().limit(MOST);
            params.field_selector = fields.map(str::to_owned);
            api.list_metadata(&params).await.ok()
        };
        let listed = block_in_place(|| Handle::current().block_on(timeout(PATIENCE, asked)));
        let names = listed.ok().flatten().into_iter().flatten().map(|object| object.name_any());
        names.filter(|name| name.starts_with(&*begun)).map(CompletionCandidate::new).collect()
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
    fn names_come_from_the_namespace_that_is_typed(#[case] line: &str, #[case] expected: &str) {
        assert_eq!(cluster(&words(line)).namespace, expected);
    }

    #[rstest]
    #[case("te", &["terminate"])]
    #[case("sessions --ph", &["--phase"])]
    #[case("sessions --phase ti", &["timeout"])]
    #[case("sessions -o ", &["wide", "json", "yaml", "name"])]
    fn what_is_begun_is_completed(#[case] line: &str, #[case] expected: &[&str]) {
        let words = words(line);
        let line = std::iter::once("kubectl-bastion".to_owned()).chain(words.clone()).map(OsString::from).collect();
        let mut command = with_names(Cli::command(), &cluster(&words));
        let found = complete(&mut command, line, words.len(), None).unwrap();
        let found: Vec<_> = found.iter().map(|it| it.get_value().to_string_lossy().into_owned()).collect();
        assert_eq!(found, expected);
    }
}
