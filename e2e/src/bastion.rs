//! What most tests begin with: a gateway, a user `alice`, and the target `web-1`, which is a real sshd.

use std::sync::Arc;

use bastion_operator::api::BastionSession;
use kube::ResourceExt;
use kube::api::ListParams;

use crate::control_plane::ControlPlane;
use crate::namespace::Namespace;
use crate::process::Process;
use crate::programs::{Gateway, Setting};
use crate::ssh::Ssh;
use crate::sshd::Sshd;
use crate::watch::SessionWatch;

/// A bastion that works, in a namespace of its own.
pub struct Bastion {
    pub gateway: Gateway,
    pub watch: SessionWatch,
    pub sshd: Arc<Sshd>,
    pub namespace: Namespace,
}

/// A user's open shell, and the object that stands for it.
pub struct Open {
    pub ssh: Process,
    pub session: BastionSession,
}

impl Bastion {
    /// With the user `alice` and the target `web-1`.
    pub async fn up() -> Self {
        Self::with(async |_, _| ()).await
    }

    /// With these users besides `alice`.
    pub async fn with_users(names: &[&str]) -> Self {
        Self::with(async |namespace, _| {
            for name in names {
                namespace.user(name).await;
            }
        })
        .await
    }

    /// With what `prepare` adds before the gateway starts.
    pub async fn with(prepare: impl AsyncFnOnce(&Namespace, &Sshd)) -> Self {
        Self::on(ControlPlane::shared().await, prepare).await
    }

    /// On a control plane of the test's own.
    pub async fn on(control_plane: Arc<ControlPlane>, prepare: impl AsyncFnOnce(&Namespace, &Sshd)) -> Self {
        Self::built(control_plane, &Setting::default(), prepare).await
    }

    /// With a gateway in a setting of its own.
    pub async fn in_setting(setting: &Setting<'_>, prepare: impl AsyncFnOnce(&Namespace, &Sshd)) -> Self {
        Self::built(ControlPlane::shared().await, setting, prepare).await
    }

    /// On a control plane of the test's own, with a gateway in a setting of its own.
    pub async fn built(
        control_plane: Arc<ControlPlane>,
        setting: &Setting<'_>,
        prepare: impl AsyncFnOnce(&Namespace, &Sshd),
    ) -> Self {
        let namespace = Namespace::on(control_plane).await;
        let sshd = Sshd::shared().await;
        namespace.user("alice").await;
        namespace.target("web-1", &sshd).await;
        prepare(&namespace, &sshd).await;
        let gateway = Gateway::start_in(&namespace, "gateway-0", &["--grace-period", "0s"], setting).await;
        let watch = namespace.watch().await;
        Self { gateway, watch, sshd, namespace }
    }

    /// An `ssh` command line to the first gateway.
    pub async fn ssh(&self, sign_in_name: &str) -> Ssh {
        self.gateway.ssh(sign_in_name).await
    }

    /// Opens a shell on `web-1` through the first gateway, and waits until it answers.
    pub async fn open(&self, user: &str) -> Open {
        self.open_on(&self.gateway, user, "web-1").await
    }

    /// Opens a shell, and waits until it answers.
    pub async fn open_on(&self, gateway: &Gateway, user: &str, target: &str) -> Open {
        let ssh = gateway.ssh(&format!("{user}:{target}")).await.no_terminal().start().await;
        self.opened(ssh, user).await
    }

    /// Waits until the shell of a started `ssh` answers.
    pub async fn opened(&self, mut ssh: Process, user: &str) -> Open {
        answers(&mut ssh).await;
        Open { session: self.watch.started(user).await, ssh }
    }

    /// Returns the names of all sessions.
    pub async fn session_names(&self) -> Vec<String> {
        let sessions = self.namespace.api::<BastionSession>().list(&ListParams::default()).await;
        sessions.expect("sessions can be listed").iter().map(ResourceExt::name_any).collect()
    }
}

impl Drop for Bastion {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- sshd, which all tests share ---\n{}", self.sshd.last_words());
        }
    }
}

impl Open {
    /// Checks that the shell still answers.
    pub async fn still_answers(&mut self) {
        answers(&mut self.ssh).await;
    }
}

/// Has the shell compute something, so that no echo of what was typed passes for an answer.
async fn answers(ssh: &mut Process) {
    let number = super::run::unique();
    ssh.say(&format!("echo answer $(({number} + 1000000))")).await;
    ssh.shows(&format!("answer {}", number + 1_000_000)).await;
}
