//! `maxSessions` holds over all gateways, also when many sign in at once.

use bastion_operator::api::{BastionSession, Reason};
use futures::future::join_all;
use kube::api::{Api, ListParams};
use serde_json::json;

use bastion_e2e::namespace::PEOPLE;
use bastion_e2e::process::Process;
use bastion_e2e::{Bastion, Gateway, PROMPT_BOUND, default_timeout, eventually};

const REFUSED: &str = "bastion: you have reached your limit of sessions, 2; end one of them and try again";

async fn bastion() -> (Bastion, Gateway) {
    let spec = json!({"groups": [PEOPLE], "maxSessions": 2});
    let bastion = Bastion::with(async |namespace, _| namespace.user_with("alice", spec).await).await;
    let other = Gateway::start(&bastion.namespace, "gateway-1").await;
    (bastion, other)
}

#[tokio::test]
async fn one_session_too_many_is_refused_until_another_ends() {
    let (bastion, other) = bastion().await;
    let mut first = bastion.open("alice").await;
    let _second = bastion.open_on(&other, "alice", "web-1").await;
    for gateway in [&bastion.gateway, &other] {
        let refused = gateway.ssh("alice:web-1").await.command("echo through").run().await;
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(255), ""), "{refused:?}");
        assert!(refused.stderr.contains(REFUSED), "{refused:?}");
    }
    first.ssh.say("exit").await;
    bastion.watch.ended(&first.session, Reason::UserExit).await;
    let again = other.ssh("alice:web-1").await.command("echo through").run().await;
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), "through\n"), "{again:?}");
}

#[tokio::test]
async fn of_many_at_once_as_many_stay_as_may() {
    let (bastion, other) = bastion().await;
    let start = async |gateway: &Gateway| gateway.ssh("alice:web-1").await.no_terminal().start().await;
    let mut all: Vec<Process> = join_all((0..8).map(|number| start([&bastion.gateway, &other][number % 2]))).await;
    for ssh in &mut all {
        ssh.say("echo answer $((6 * 7))").await;
    }
    let sessions: Api<BastionSession> = bastion.namespace.api();
    let active = ListParams::default().fields("status.phase=Active");
    eventually(default_timeout(), "two stay, and the others have ended", async || {
        let left = all.iter_mut().map(Process::is_there).filter(|there| *there).count();
        let listed = sessions.list(&active).await.expect("sessions").items.len();
        if (left, listed) == (2, 2) { Ok(()) } else { Err(format!("{left} clients, {listed} sessions")) }
    })
    .await;
    for ssh in &mut all {
        if ssh.is_there() {
            ssh.shows("answer 42").await;
            ssh.close_input();
            ssh.finish(PROMPT_BOUND).await;
        } else {
            assert!(
                ssh.stdout().is_empty() && ssh.stderr().contains("your limit of sessions, 2"),
                "{}",
                ssh.last_words()
            );
        }
    }
}
