//! `kubectl bastion`, through the real `kubectl`, under the rights of its caller.

mod check;
mod completion;
mod krew;
mod report;
mod rights;
mod sessions;
mod ssh;
mod status;
mod terminate;
mod watch;

use std::path::PathBuf;

use tokio::process::Command;

use bastion_e2e::namespace::kubectl_path;
use bastion_e2e::process::command;
use bastion_e2e::run::{plugin_folder, unique};
use bastion_e2e::{Namespace, Outcome, Process, default_timeout};

/// A user with a kubeconfig of their own.
struct Person<'a> {
    namespace: &'a Namespace,
    kubeconfig: PathBuf,
}

impl<'a> Person<'a> {
    /// A Kubernetes user to whom these Roles of deploy/ are bound.
    async fn new(namespace: &'a Namespace, name: &str, roles: &[&str]) -> Self {
        for role in roles {
            namespace.bind(name, role).await;
        }
        Self { namespace, kubeconfig: namespace.kubeconfig_as(name, &["system:authenticated"]) }
    }

    /// The command line of `kubectl bastion VERB` with these arguments, in the test's namespace.
    async fn command(&self, arguments: &[&str]) -> Command {
        let plugin = plugin_folder();
        let path = format!("{}:{}", plugin.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = command(kubectl_path().await);
        command.args(["bastion", arguments[0]]);
        if arguments[0] != "completion" {
            command.args(["-n", &self.namespace.name]);
        }
        command.args(&arguments[1..]);
        command.env("PATH", path).env("KUBECONFIG", &self.kubeconfig).env("XDG_CACHE_HOME", &self.namespace.dir);
        command.env_remove("BASTION_USER").env_remove("BASTION_GATEWAY").env_remove("NO_COLOR");
        command
    }

    /// Starts it.
    async fn start(&self, arguments: &[&str]) -> Process {
        let files = self.namespace.dir.join(format!("kubectl-{}", unique()));
        Process::start(files, self.command(arguments).await).await
    }

    /// Runs it to its end, without input.
    async fn bastion(&self, arguments: &[&str]) -> Outcome {
        let mut process = self.start(arguments).await;
        process.close_input();
        process.finish(default_timeout()).await
    }

    /// Runs it, and checks that it succeeds; returns what it prints.
    async fn prints(&self, arguments: &[&str]) -> String {
        let outcome = self.bastion(arguments).await;
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
        outcome.stdout
    }

    /// Runs it, and checks that it fails with these words.
    async fn is_told(&self, arguments: &[&str], words: &str) {
        let outcome = self.bastion(arguments).await;
        assert_eq!(outcome.code, Some(1), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(words), "{arguments:?} should say {words:?}: {outcome:?}");
    }
}
