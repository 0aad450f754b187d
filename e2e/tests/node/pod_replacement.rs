//! Gateways and controllers whose Pods are deleted or replaced while sessions are open.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bastion_operator::api::{Phase, Reason};
use kube::ResourceExt;
use serde_json::json;

use crate::cluster::Cluster;
use crate::release::{INSTALLING, Release};
use bastion_e2e::{LOST_GATEWAY, LoadClient, SessionWatch, default_timeout, histories};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_gateway_lets_its_sessions_go_on_for_the_grace_period() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, json!({})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let load_clients = release.open(20).await;
    let pods = release.pods("gateway").await;
    let pod = pods.first().expect("a gateway").clone();
    let (leaving, staying) = parted(&release, &watch, load_clients, &pod).await;

    let told = Instant::now();
    release.delete_pod(&pod, false).await;
    release.ready_pods("gateway", 1, &pods).await;
    all_answer(&leaving).await;
    let newcomers = release.open(5).await;
    ended(&watch, &pod, leaving.len(), Reason::GatewayShutdown, INSTALLING).await;
    assert!(
        told.elapsed() > Duration::from_secs(20),
        "they ended before their grace period, after {:?}",
        told.elapsed()
    );
    all_answer(&staying).await;
    all_answer(&newcomers).await;
    drop(echo);
    release.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_of_a_gateway_deleted_by_force_are_shown_as_lost_in_time() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, json!({"gateway": {"maxSessionsPerUser": 1000}})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let load_clients = release.open(100).await;
    let pod = release.pods("gateway").await.first().expect("a gateway").clone();
    let (leaving, staying) = parted(&release, &watch, load_clients, &pod).await;
    println!("{} sessions on the gateway, {} on others", leaving.len(), staying.len());
    let mut lost = BTreeSet::new();
    for load_client in &leaving {
        lost.insert(release.session(&watch, load_client).await.name_any());
    }

    let killed = Instant::now();
    release.delete_pod(&pod, true).await;
    for load_client in &leaving {
        load_client.gone().await;
    }
    println!("the last connection broke {:.1?} after the deletion", killed.elapsed());
    // The kubelet gives the process a moment, in which it may say itself that it was shut down.
    let said = watch.until(LOST_GATEWAY + default_timeout(), "they have all ended", |seen| {
        let of_it = histories(seen).into_values().filter(|it| lost.contains(it.name) && it.end().is_some());
        let reasons: Vec<_> = of_it.filter_map(|it| it.last.reason.clone()).collect();
        (reasons.len() >= leaving.len()).then_some(reasons)
    });
    let reasons: BTreeSet<_> = said.await.into_iter().collect();
    println!("all were shown as ended {:.1?} after the deletion, as {reasons:?}", killed.elapsed());
    assert!(killed.elapsed() < LOST_GATEWAY + Duration::from_secs(5), "{:?}", killed.elapsed());
    let allowed = BTreeSet::from([Reason::GatewayLost.to_string(), Reason::GatewayShutdown.to_string()]);
    assert!(reasons.is_subset(&allowed), "{reasons:?}");
    all_answer(&staying).await;
    drop(echo);
    release.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_cuts_no_session_before_its_grace_period_and_refuses_no_connection() {
    let Some(cluster) = Cluster::own().await else { return };
    let release = Release::install(cluster, json!({})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let load_clients = release.open(50).await;
    let old = release.pods("gateway").await;
    let tagged = cluster
        .run("ctr", &["-n", "k8s.io", "images", "tag", "--force", "localhost/bastion:dev", "localhost/bastion:next"])
        .await;
    assert_eq!(tagged.code, Some(0), "{tagged:?}");

    let chart = changed_chart(&release);
    let newcomers = Newcomers::start(release.address().await);
    let began = Instant::now();
    let image = json!({"repository": "localhost/bastion", "tag": "next", "pullPolicy": "Never"});
    cluster.bring_common_objects(&chart).await;
    let columns = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
    let crd = release.namespace.kubectl(&["get", "crd", "bastiontargets.bastion.dev", "-o", columns]).await;
    assert!(crd.stdout.contains("Changed"), "an upgrade changes CRDs too: {crd:?}");
    release.helm_with("upgrade", json!({"image": image})).await;
    let new = release.ready_pods("gateway", 2, &old).await;
    println!("upgraded in {:.1?}", began.elapsed());
    for pod in &old {
        let of_it = load_clients_on(&release, &watch, &load_clients, pod).await;
        ended(&watch, pod, of_it, Reason::GatewayShutdown, INSTALLING).await;
    }
    let served = newcomers.stop().await;
    println!("{served} connections came through meanwhile");
    for history in histories(&watch.seen()).values().filter(|it| old.contains(&it.session().spec.gateway.name)) {
        let lasted = history.end().map(|end| end.at.duration_since(began));
        let by_itself = history.last.reason.as_deref() == Some(Reason::UserExit.as_str());
        assert!(
            by_itself || lasted.is_some_and(|it| it > Duration::from_secs(20)),
            "{} ended after {lasted:?}",
            history.name
        );
    }
    let on_new = release.open(4).await;
    for load_client in &on_new {
        let pod = release.session(&watch, load_client).await.spec.gateway.name;
        assert!(new.contains(&pod), "{pod} is none of {new:?}");
    }
    release.helm(&["rollback", "bastion", "1", "--wait", "--timeout", "4m"]).await;
    drop(echo);
    release.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_controllers_sessions_go_on_and_end() {
    let Some(cluster) = Cluster::get().await else { return };
    let release = Release::install(cluster, json!({})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let load_clients = release.open(10).await;
    let controllers = release.pods("controller").await;
    for pod in &controllers {
        release.delete_pod(pod, true).await;
    }
    load_clients[0].say("exit 0").await.expect("it is open");
    let session = release.session(&watch, &load_clients[0]).await;
    watch.ended(&session, Reason::UserExit).await;
    release.ready_pods("controller", 1, &controllers).await;
    all_answer(&load_clients[1..]).await;
    drop(echo);
    release.remove().await;
}

/// Returns the clients whose session is on the Pod, and the other clients. A node's network learns of a Pod with delay,
/// so clients are opened until both groups have one.
pub async fn parted(
    release: &Release,
    watch: &SessionWatch,
    mut load_clients: Vec<LoadClient>,
    pod: &str,
) -> (Vec<LoadClient>, Vec<LoadClient>) {
    let (mut on_it, mut others) = (vec![], vec![]);
    let parting = async {
        loop {
            for load_client in load_clients.drain(..) {
                let session = release.session(watch, &load_client).await;
                if session.spec.gateway.name == pod { on_it.push(load_client) } else { others.push(load_client) }
            }
            if !on_it.is_empty() && !others.is_empty() {
                break;
            }
            load_clients = release.open(1).await;
        }
    };
    tokio::time::timeout(default_timeout(), parting).await.expect("the Service spreads connections over its gateways");
    (on_it, others)
}

async fn load_clients_on(release: &Release, watch: &SessionWatch, load_clients: &[LoadClient], pod: &str) -> usize {
    let mut number = 0;
    for load_client in load_clients {
        number += usize::from(release.session(watch, load_client).await.spec.gateway.name == pod);
    }
    number
}

pub async fn all_answer(load_clients: &[LoadClient]) {
    for load_client in load_clients {
        load_client.answers().await.unwrap_or_else(|why| panic!("{}: {why}", load_client.software));
    }
}

/// Waits until this many sessions of the Pod have ended for this reason.
pub async fn ended(watch: &SessionWatch, pod: &str, size: usize, reason: Reason, deadline: Duration) {
    watch
        .until(deadline, &format!("{size} sessions of {pod} have ended as {reason}"), |seen| {
            let of_it = histories(seen).into_values().filter(|it| it.session().spec.gateway.name == pod);
            let ended =
                of_it.filter(|it| it.last.phase != Phase::Active && it.last.reason.as_deref() == Some(reason.as_str()));
            (ended.count() >= size).then_some(())
        })
        .await;
}

/// A copy of the chart, with a CRD that has one more column.
fn changed_chart(release: &Release) -> String {
    let copy = release.namespace.dir.join("chart").display().to_string();
    let copied = std::process::Command::new("cp").args(["-rL", &Release::chart(), &copy]).status().expect("cp");
    assert!(copied.success());
    let file = format!("{copy}/files/crds.yaml");
    let crds = std::fs::read_to_string(&file).expect("the CRDs");
    let column = "  - additionalPrinterColumns:\n    - {name: Changed, type: string, jsonPath: .metadata.name}\n";
    let changed = crds.replace("  - additionalPrinterColumns:\n", column);
    assert_ne!(changed, crds);
    std::fs::write(&file, changed).expect("a file");
    copy
}

/// People who come one after the other while something else happens, each of whom must get in.
struct Newcomers {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<usize>,
}

impl Newcomers {
    fn start(gateway: std::net::SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut served = 0;
            while !stopped.load(Ordering::Relaxed) {
                let load_client = LoadClient::open(gateway, "alice:web-1").await;
                let load_client = load_client.unwrap_or_else(|why| panic!("newcomer {served} was refused: {why}"));
                load_client.answers().await.unwrap_or_else(|why| panic!("newcomer {served}: {why}"));
                let _ = load_client.say("exit 0").await;
                load_client.gone().await;
                served += 1;
            }
            served
        });
        Self { stop, task }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every newcomer got in")
    }
}
