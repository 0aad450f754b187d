//! The programs of two versions. What differs in how the previous one is started has its place here.

use std::path::PathBuf;
use std::process::Stdio;

use bastion_e2e::programs::{Setting, start_program};
use bastion_e2e::run::repository;
use bastion_e2e::{Audit, Console, Gateway, Namespace, Process};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// One of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one that e2e/previous-version names.
    Previous,
    /// The one under test.
    This,
}

/// A running controller of either version, and what keeps its records beside it.
pub struct Controller {
    pub process: Process,
    /// The audit program of this version. The controller of the version before keeps its records itself.
    _audit: Option<Audit>,
}

impl Version {
    async fn program(self) -> Option<PathBuf> {
        match self {
            Self::Previous => Some(previous().await),
            Self::This => None,
        }
    }

    pub async fn gateway(self, namespace: &Namespace, pod: &str) -> Gateway {
        let program = self.program().await;
        let setting = Setting { program: program.as_deref(), ..Setting::default() };
        Gateway::start_in(namespace, pod, &["--grace-period", "0s"], &setting).await
    }

    pub async fn console(self, namespace: &Namespace) -> Console {
        let program = self.program().await;
        let setting = Setting { program: program.as_deref(), ..Setting::default() };
        Console::start_in(namespace, "console-0", &setting).await
    }

    pub async fn controller(self, namespace: &Namespace, pod: &str) -> Controller {
        let Some(program) = self.program().await else {
            let process = bastion_e2e::Controller::start(namespace, pod).await.process;
            return Controller { process, _audit: Some(Audit::start(namespace, "audit-0", "10m").await) };
        };
        let setting = Setting { program: Some(&program), ..Setting::default() };
        let arguments = ["controller", "--retention", "10m"];
        let mut process = start_program(namespace, "bastion-controller", pod, &arguments, &setting).await;
        let is_running = |process: &Process| process.stderr().contains("controller is running").then_some(());
        process.finds("the log line that it runs", is_running).await;
        Controller { process, _audit: None }
    }
}

/// The program of the previous version, which `make versions-test` has built.
async fn previous() -> PathBuf {
    static PREVIOUS: OnceCell<PathBuf> = OnceCell::const_new();
    let build = async || {
        let script = repository().join("hack/previous-version");
        let built = Command::new(script).stderr(Stdio::inherit()).output().await.expect("hack/previous-version runs");
        assert!(built.status.success(), "hack/previous-version says above what is wrong");
        PathBuf::from(String::from_utf8_lossy(&built.stdout).trim())
    };
    PREVIOUS.get_or_init(build).await.clone()
}
