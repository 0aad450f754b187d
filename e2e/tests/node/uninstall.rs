//! `helm uninstall` with open sessions, and what a release finds again that is installed after it.

use bastion_operator::api::{AUDIT_FINALIZER, BastionSession, BastionTarget, BastionUser, Reason};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::cluster::Cluster;
use crate::release::Release;
use bastion_e2e::{LoadClient, default_timeout, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_uninstall_leaves_no_finalizer_and_a_reinstall_finds_what_was_there() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, json!({})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let load_clients = release.open(10).await;
    let session = release.session(&watch, &load_clients[0]).await;
    let host_key = host_key(&release).await;

    release.helm(&["uninstall", "bastion", "--wait", "--timeout", "4m"]).await;
    for load_client in &load_clients {
        load_client.gone().await;
        assert!(
            load_client.received().contains("the bastion is being uninstalled"),
            "it read {:?}",
            load_client.received()
        );
    }
    watch.ended_within(default_timeout(), &session, Reason::AdminTerminated).await;
    let sessions: Api<BastionSession> = release.namespace.api();
    let left = sessions.list(&ListParams::default()).await.expect("sessions");
    let held: Vec<_> = left.iter().filter(|it| it.finalizers().iter().any(|it| it == AUDIT_FINALIZER)).collect();
    assert!(held.is_empty(), "{held:?}");
    let pods = release.pods("gateway").await;
    assert!(pods.is_empty(), "{pods:?}");

    release.helm_with("install", json!({})).await;
    assert_eq!(self::host_key(&release).await, host_key, "clients would warn");
    assert!(release.namespace.api::<BastionUser>().get_opt("alice").await.expect("users").is_some());
    assert!(release.namespace.api::<BastionTarget>().get_opt("web-1").await.expect("targets").is_some());
    // The new Service's rules reach the node a moment after its address is known.
    let gateway = release.address().await;
    let again =
        eventually(default_timeout(), "alice gets in again", async || LoadClient::open(gateway, "alice:web-1").await)
            .await;
    again.answers().await.expect("a session as before");
    drop(echo);
    release.remove().await;
}

async fn host_key(release: &Release) -> Option<k8s_openapi::ByteString> {
    let secret = release.namespace.api::<Secret>().get("bastion-host-key").await.expect("the host key");
    secret.data.unwrap_or_default().remove("ssh-publickey")
}
