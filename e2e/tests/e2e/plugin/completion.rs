//! Completion of `kubectl bastion`, as `kubectl` itself asks for it.

use std::os::unix::fs::PermissionsExt;

use kube::ResourceExt;

use super::Person;
use bastion_e2e::namespace::kubectl_path;
use bastion_e2e::process::command;
use bastion_e2e::run::{plugin_folder, unique};
use bastion_e2e::{Bastion, Namespace, Process, default_timeout};

impl Person<'_> {
    /// What `kubectl` answers a shell about these words, with what it needs for that on the PATH.
    async fn completed(&self, words: &[&str]) -> String {
        let folder = self.namespace.dir.join(format!("completion-{}", unique()));
        std::fs::create_dir(&folder).expect("a folder");
        let program = folder.join("kubectl_complete-bastion");
        std::fs::write(&program, self.prints(&["completion", "kubectl"]).await).expect("a file");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a program");
        let plugin = plugin_folder();
        let kubectl = kubectl_path().await;
        let folders = [folder.as_path(), plugin, kubectl.parent().expect("a folder")];
        let folders: String = folders.iter().flat_map(|it| [it.display().to_string(), ":".to_owned()]).collect();
        let mut asked = command(&kubectl);
        asked.args(["__complete", "bastion"]).args(words).env("KUBECONFIG", &self.kubeconfig);
        asked.env("PATH", folders + &std::env::var("PATH").unwrap_or_default());
        let outcome = Process::start(folder.join("kubectl"), asked).await.finish(default_timeout()).await;
        assert_eq!(outcome.code, Some(0), "{words:?}: {outcome:?}");
        outcome.stdout
    }
}

#[tokio::test]
async fn kubectl_completes_verbs_flags_and_names() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let alice = bastion.open("alice").await;
    let ops = Person::new(&bastion.namespace, "ops", &["bastion-viewer"]).await;
    let answer = ops.completed(&["termi"]).await;
    assert!(answer.starts_with("terminate\tEnds sessions") && answer.ends_with(":4\n"), "{answer}");
    let namespace = bastion.namespace.name.as_str();
    let answer = ops.completed(&["terminate", "-n", namespace, "al"]).await;
    assert_eq!(answer, format!("{}\n:4\n", alice.session.name_any()));
    assert_eq!(ops.completed(&["sessions", "-n", namespace, "--user", ""]).await, "alice\nbob\n:4\n");
    assert_eq!(ops.completed(&["sessions", "-n", "elsewhere", "--user", ""]).await, ":4\n", "no right, no answer");
}

#[tokio::test]
async fn each_shell_takes_its_script() {
    let namespace = Namespace::new().await;
    let anybody = Person::new(&namespace, "anybody", &[]).await;
    for (shell, words) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef"),
        ("fish", "complete -c"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = anybody.prints(&["completion", shell]).await;
        assert!(script.contains(words) && script.contains("terminate"), "{shell}: {script}");
    }
    let script = namespace.dir.join("completion.bash");
    std::fs::write(&script, anybody.prints(&["completion", "bash"]).await).expect("a file");
    let mut bash = command("bash");
    bash.args(["-ec", "source \"$0\"; complete -p kubectl-bastion"]).arg(&script);
    let outcome = Process::start(namespace.dir.join("bash"), bash).await.finish(default_timeout()).await;
    assert!(outcome.code == Some(0) && outcome.stdout.contains(" -F _kubectl__bastion "), "{outcome:?}");
}
