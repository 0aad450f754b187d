//! What sessions live through.

use std::collections::BTreeSet;

use bastion_operator::api::Reason;
use serde_json::json;

use crate::cluster::Cluster;
use crate::pod_replacement::all_answer;
use crate::release::{INSTALLING, Release};
use bastion_e2e::{default_timeout, eventually, histories};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_api_server_ends_no_session() {
    let Some(cluster) = Cluster::own().await else { return };
    let release = Release::install_alone(cluster, json!({})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let load_clients = release.open(10).await;
    let mut sessions = vec![];
    for load_client in &load_clients {
        sessions.push(release.session(&watch, load_client).await);
    }
    cluster.control_plane.stop_api();
    all_answer(&load_clients).await;
    load_clients[0].say("exit 0").await.expect("it is open");
    load_clients[0].gone().await;
    cluster.control_plane.start_api().await;
    watch.ended_within(default_timeout(), &sessions[0], Reason::UserExit).await;
    all_answer(&load_clients[1..]).await;
    for (load_client, session) in load_clients.iter().zip(&sessions).skip(1) {
        load_client.say("exit 0").await.expect("it is open");
        watch.ended_within(default_timeout(), session, Reason::UserExit).await;
    }
    drop(echo);
    release.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_records_outlive_the_pods_of_mariadb_and_redis() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, with_databases()).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let mut load_clients = release.open(6).await;
    for component in ["mariadb", "redis"] {
        let pods = release.pods(component).await;
        release.delete_pod(pods.first().expect("a Pod"), true).await;
        all_answer(&load_clients).await;
        let leaving = load_clients.swap_remove(0);
        let session = release.session(&watch, &leaving).await;
        leaving.say("exit 0").await.expect("it is open");
        watch.ended(&session, Reason::UserExit).await;
        load_clients.extend(release.open(1).await);
        release.ready_pods(component, 1, &pods).await;
    }
    all_answer(&load_clients).await;
    for load_client in &load_clients {
        load_client.say("exit 0").await.expect("it is open");
        load_client.gone().await;
    }
    eventually(INSTALLING, "every session is on record as it ended", async || {
        let ended: Option<BTreeSet<String>> = histories(&watch.seen())
            .values()
            .map(|it| Some(format!("{}\tclosed\t{}", it.name, it.end().and(it.last.reason.clone())?)))
            .collect();
        let on_record = records(&release).await?;
        if ended.as_ref() == Some(&on_record) { Ok(()) } else { Err(format!("{ended:?}, on record {on_record:?}")) }
    })
    .await;
    drop(echo);
    release.remove().await;
}

fn with_databases() -> serde_json::Value {
    let registry = std::env::var("BASTION_IMAGES").unwrap_or_else(|_| "localhost".to_owned());
    let bundled = json!({"type": "bundled", "bundled": {"image": format!("{registry}/databases:dev")}});
    json!({"database": bundled, "redis": bundled})
}

/// What MariaDB has of alice's sessions: name, status and reason.
async fn records(release: &Release) -> Result<BTreeSet<String>, String> {
    let ask = r#"exec mariadb --no-defaults -h127.0.0.1 -ubastion -p"$PASSWORD" bastion \
        -Nse "SELECT name, status, reason FROM session_records""#;
    let outcome = release.namespace.kubectl(&["exec", "deployment/bastion-mariadb", "--", "sh", "-c", ask]).await;
    match outcome.code {
        Some(0) => Ok(outcome.stdout.lines().map(str::to_owned).collect()),
        _ => Err(outcome.stderr),
    }
}
