//! The programs of two versions. What differs in how the previous one is started has its place here.

use std::env;
use std::path::PathBuf;

use bastion_e2e::network::skipped;
use bastion_e2e::programs::{Setting, start_program};
use bastion_e2e::{Audit, Console, Gateway, Namespace, Process};

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
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Previous => previous(),
            Self::This => None,
        }
    }

    pub async fn gateway(self, namespace: &Namespace, pod: &str) -> Gateway {
        let program = self.program();
        let setting = Setting { program: program.as_deref(), ..Setting::default() };
        Gateway::start_in(namespace, pod, &["--grace-period", "0s"], &setting).await
    }

    pub async fn console(self, namespace: &Namespace) -> Console {
        let program = self.program();
        let setting = Setting { program: program.as_deref(), ..Setting::default() };
        Console::start_in(namespace, "console-0", &setting).await
    }

    pub async fn controller(self, namespace: &Namespace, pod: &str) -> Controller {
        let Some(program) = self.program() else {
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

/// Returns whether there is a previous version, which `make versions-test` builds unless the clone is shallow.
pub fn is_there() -> bool {
    let is_there = previous().is_some();
    if !is_there {
        skipped("it needs the version before: BASTION_PREVIOUS=$(hack/previous-version)");
    }
    is_there
}

/// Returns the program of the previous version.
fn previous() -> Option<PathBuf> {
    let folder = env::var_os("BASTION_PREVIOUS").filter(|folder| !folder.is_empty())?;
    Some(PathBuf::from(folder).join("bastion"))
}
