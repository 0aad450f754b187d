//! From `helm install` to a session.

use std::time::{Duration, Instant};

use bastion_operator::api::{BastionTarget, BastionUser, Reason};
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::release::Release;
use bastion_e2e::process::{Process, command};
use bastion_e2e::run::unique;

/// What the issue allows from `helm install` to a working `ssh`.
const TO_THE_FIRST_SESSION: Duration = Duration::from_mins(5);

/// The notes are a script: it is run as it stands. Then once more from beside the node, to see the client's own address.
#[tokio::test(flavor = "multi_thread")]
async fn the_notes_lead_to_a_session_through_the_service() {
    let Some(cluster) = Cluster::get().await else { return };
    let began = Instant::now();
    let release = Release::install(cluster, json!({"exampleTarget": {"enabled": true}})).await;
    let watch = release.watch().await;
    let notes = release.helm(&["get", "notes", "bastion"]).await.stdout;
    let notes = notes.split_once("NOTES:\n").map_or(notes.as_str(), |(_, notes)| notes).to_owned();
    let mut typed = type_in(&release, &[], &notes).await;
    typed.say("echo from-$(id -un)").await;
    typed.close_input();
    let outcome = typed.finish(TO_THE_FIRST_SESSION).await;
    assert_eq!(outcome.code, Some(0), "{notes}\n{outcome:?}");
    assert!(outcome.stdout.contains("from-demo"), "{outcome:?}");
    println!("from helm install to the end of the first session: {:.1?}", began.elapsed());
    assert!(began.elapsed() < TO_THE_FIRST_SESSION, "it took {:?}", began.elapsed());
    let session = watch.started("alice").await;
    watch.ended(&session, Reason::UserExit).await;

    if cluster.is_own {
        comes_from_outside(&release, &notes, &watch).await;
    }
    release.remove().await;
}

/// The `ssh` line, as it stands, with the variables as the notes set them.
async fn comes_from_outside(release: &Release, notes: &str, watch: &bastion_e2e::SessionWatch) {
    let line = notes.lines().find(|line| line.starts_with("ssh ")).expect("an ssh line");
    let address = release.address().await;
    let script = format!("NAME=example LOGIN=demo ADDRESS={} PORT={}\n{line} true\n", address.ip(), address.port());
    let mut typed = type_in(release, &["nsenter", "--net=/run/netns/outside"], &script).await;
    typed.close_input();
    let outcome = typed.finish(bastion_e2e::default_timeout()).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let session = watch.started("alice").await;
    assert_eq!(session.spec.client.address, "192.168.77.2", "the Service keeps the client's address");
}

/// Runs a script in the release's folder.
async fn type_in(release: &Release, within: &[&str], script: &str) -> Process {
    let name = format!("typed-{}.sh", unique());
    let file = release.namespace.dir.join(&name);
    // No user checks the host key on first use: a wrong one must fail.
    let script = script.replace("ssh -p", "ssh -T -F /dev/null -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes -p");
    std::fs::write(&file, script).expect("a file");
    let mut words = within.to_vec();
    words.extend(["bash", "-eu", &name]);
    let mut command = command(words[0]);
    command.args(&words[1..]).current_dir(&release.namespace.dir);
    command.env("KUBECONFIG", release.cluster.control_plane.kubeconfig());
    Process::start(file, command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_test_opens_a_session_and_clears_everything_away() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, json!({})).await;
    let outcome = release.helm(&["test", "bastion", "--logs", "--timeout", "2m"]).await;
    assert!(outcome.stdout.contains("Succeeded"), "{outcome:?}");
    let users: Api<BastionUser> = release.namespace.api();
    let targets: Api<BastionTarget> = release.namespace.api();
    assert_eq!(users.list(&ListParams::default()).await.expect("users").items.len(), 0);
    assert_eq!(targets.list(&ListParams::default()).await.expect("targets").items.len(), 0);
    release.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_nobody_knows_are_refused_by_name() {
    let Some(cluster) = Cluster::get().await else { return };
    let chart = Release::chart();
    for (value, name) in [
        ("gateway.replica=3", "replica"),
        ("gateway.service.type=Balancer", "type"),
        ("database.mysql.port=0", "port"),
        ("gateway.lockOut.time=10", "time"),
        ("audit.replicas=2", "audit.replicas"),
    ] {
        let outcome = cluster.run("helm", &["template", "bastion", &chart, "--set", value]).await;
        assert_ne!(outcome.code, Some(0), "{value} was taken");
        assert!(outcome.stderr.contains(name), "of {value}: {}", outcome.stderr);
    }
}
