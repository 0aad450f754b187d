//! An upgrade from the version whose controllers kept the records, with SQLite on a volume.

use std::collections::BTreeSet;

use bastion_operator::api::{BastionSession, Reason};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::release::{INSTALLING, Release};
use bastion_e2e::control_plane::service_account_user;
use bastion_e2e::network::skipped;
use bastion_e2e::{default_timeout, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_keeps_the_volume_and_the_records_that_a_controller_wrote() {
    let Some(cluster) = Cluster::get().await else { return };
    let Some(previous) = std::env::var("BASTION_PREVIOUS").ok().filter(|folder| !folder.is_empty()) else {
        return skipped("it needs the version before: BASTION_PREVIOUS=$(hack/previous-version)");
    };
    let release = Release::install_chart(cluster, &format!("{previous}/charts/bastion"), "previous").await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    for load_client in release.open(3).await {
        let session = release.session(&watch, &load_client).await;
        load_client.say("exit 0").await.expect("it is open");
        watch.ended(&session, Reason::UserExit).await;
    }
    let names = recorded_by_the_controller(&release).await;
    // Else a new audit program could write them again, into whatever database.
    remove_objects(&release, &names).await;
    let volume = volume_of(&release).await;
    assert!(release.pods("audit").await.is_empty(), "the controller keeps the records");

    release.helm_with("upgrade", json!({})).await;
    assert_eq!(volume_of(&release).await, volume, "the same claim, and the same volume");
    release.ready_pods("audit", 1, &BTreeSet::new()).await;
    release.ready_pods("controller", 2, &BTreeSet::new()).await;
    let (_, token) = release.namespace.service_account_with_roles("viewer", &["bastion-viewer"]).await;
    let found = history(&release, &token).await;
    assert!(names.is_subset(&found), "{names:?} are not all in {found:?}");

    let load_client = release.open(1).await.remove(0);
    let session = release.session(&watch, &load_client).await;
    load_client.say("exit 0").await.expect("it is open");
    watch.ended(&session, Reason::UserExit).await;
    eventually(default_timeout(), "a new session is on record, too", async || {
        let found = history(&release, &token).await;
        if found.contains(&session.name_any()) { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    drop(echo);
    release.remove().await;
}

/// Waits until the controller has written all sessions. The policies of the new version, which are in force already, let it
/// take no finalizer off, so that each session waits for that.
async fn recorded_by_the_controller(release: &Release) -> BTreeSet<String> {
    let pod = release.ready_pods("controller", 1, &BTreeSet::new()).await.pop_first().expect("a controller");
    let page = format!("/api/v1/namespaces/{}/pods/{pod}:8080/proxy/metrics", release.namespace.name);
    eventually(INSTALLING, "the controller has written all sessions", async || {
        let sessions = release.namespace.api::<BastionSession>().list(&ListParams::default()).await;
        let sessions = sessions.map_err(|error| error.to_string())?;
        if !sessions.iter().all(|session| session.phase().is_final()) {
            return Err("some are open".to_owned());
        }
        let metrics = release.namespace.kubectl(&["get", "--raw", &page]).await.stdout;
        let wait = format!("bastion_audit_backlog {}", sessions.items.len());
        let all = metrics.lines().any(|line| line == wait)
            && metrics.lines().any(|line| line == "bastion_audit_oldest_unwritten_end_seconds 0.0");
        let names = sessions.iter().map(ResourceExt::name_any).collect();
        if all { Ok(names) } else { Err(metrics.lines().filter(|line| line.contains("_audit_")).collect()) }
    })
    .await
}

/// Deletes the objects of sessions, as an audit program does.
async fn remove_objects(release: &Release, names: &BTreeSet<String>) {
    let namespace = &release.namespace;
    let user = service_account_user(&namespace.name, "bastion-audit");
    let rule = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch"]}]);
    namespace.allow(&user, rule).await;
    let audit = namespace.as_user(&user);
    for name in names {
        let patch = json!({"metadata": {"finalizers": null}});
        namespace.patch_session(&audit, name, patch).await.expect("the finalizer is off");
        namespace.api::<BastionSession>().delete(name, &DeleteParams::default()).await.expect("it is there");
    }
}

/// The claim's uid and its volume.
async fn volume_of(release: &Release) -> (Option<String>, Option<String>) {
    let claim = release.namespace.api::<PersistentVolumeClaim>().get("bastion-audit").await.expect("the claim");
    (claim.uid(), claim.spec.and_then(|spec| spec.volume_name))
}

/// The names of the sessions that a console has in its history.
async fn history(release: &Release, token: &str) -> BTreeSet<String> {
    let consoles = ListParams::default().labels("app.kubernetes.io/component=console");
    eventually(INSTALLING, "a console has the history", async || {
        let pods = release.namespace.api::<Pod>().list(&consoles).await.map_err(|error| error.to_string())?;
        let running = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let address = running.filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).last().ok_or("no address")?;
        let request = reqwest::Client::new().get(format!("http://{address}:8081/api/v1/history?limit=1000"));
        let answer = request.bearer_auth(token).send().await.map_err(|error| error.to_string())?;
        let body = answer.text().await.map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let sessions = body["sessions"].as_array().ok_or_else(|| body.to_string())?;
        Ok(sessions.iter().filter_map(|session| session["name"].as_str()).map(str::to_owned).collect())
    })
    .await
}
