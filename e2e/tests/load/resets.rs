//! A target that is killed under many sessions, whose connections its kernel resets.

use bastion_operator::api::Reason;
use kube::ResourceExt;

use crate::environment::Environment;
use bastion_e2e::{Sshd, default_timeout, weight};

const SESSIONS: usize = 400;

#[tokio::test(flavor = "multi_thread")]
async fn every_session_of_a_killed_target_ends() {
    let _held = weight::take(2).await;
    let environment = Environment::with_gateways(1).await;
    // What is typed comes back, as from the load clients' own target.
    let sshd = Sshd::start_with("ForceCommand cat\n").await;
    environment.namespace.target("doomed", &sshd).await;
    let doomed = environment.open_on("doomed", 0, SESSIONS).await;
    let bystanders = environment.open(0, 10).await;
    sshd.kill_with_unread_data(SESSIONS).await;
    let of_target =
        |reason: Option<&str>, target: &str| target == "doomed" && reason == Some(Reason::TargetClosed.as_str());
    environment
        .watch
        .until(default_timeout(), "all sessions of the target have ended", |seen| {
            let ended = seen.iter().filter(|it| of_target(it.reason.as_deref(), &it.session.spec.target));
            let names: std::collections::HashSet<String> = ended.map(|it| it.session.name_any()).collect();
            (names.len() == SESSIONS).then_some(())
        })
        .await;
    environment.go_on(&bystanders).await;
    drop(doomed);
}
