//! What sessions live through.

use bastion_operator::api::Reason;
use serde_json::json;

use crate::cluster::Cluster;
use crate::harness::PATIENCE;
use crate::release::Release;
use crate::replaced::all_answer;

/// No other test runs well meanwhile, so it is run alone, and by hand: hack/cluster cargo test --test node -- --ignored
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it stops the cluster's API server, which the other tests use: run it alone, with --ignored"]
async fn a_restart_of_the_api_server_ends_no_session() {
    let Some(cluster) = Cluster::own().await else { return };
    let release = Release::install(cluster, json!({})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let members = release.open(10).await;
    let mut sessions = vec![];
    for member in &members {
        sessions.push(release.session(&watch, member).await);
    }
    cluster.control_plane.stop_api();
    all_answer(&members).await;
    members[0].say("exit 0").await.expect("it is open");
    members[0].gone().await;
    cluster.control_plane.start_api().await;
    watch.ended_within(PATIENCE, &sessions[0], Reason::UserExit).await;
    all_answer(&members[1..]).await;
    for (member, session) in members.iter().zip(&sessions).skip(1) {
        member.say("exit 0").await.expect("it is open");
        watch.ended_within(PATIENCE, session, Reason::UserExit).await;
    }
    drop(echo);
    release.remove().await;
}
