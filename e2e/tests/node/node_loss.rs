//! A node that vanishes with a gateway and a controller: their processes are silent, and their Pod objects stay.

use std::fs;

use bastion_e2e::LOST_GATEWAY;
use bastion_e2e::proc::{command_line, descendants};
use bastion_operator::api::Reason;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::cluster::Cluster;
use crate::pod_replacement::{all_answer, ended, parted};
use crate::release::Release;

/// Returns the process of the bastion in a Pod of this node. A container's hostname is the name of its Pod.
fn process_of(pod: &str) -> Pid {
    let is_in_pod = |pid: &Pid| {
        let hostname = fs::read_to_string(format!("/proc/{pid}/root/etc/hostname"));
        hostname.is_ok_and(|hostname| hostname.trim() == pod)
    };
    let is_bastion = |pid: &Pid| command_line(*pid).first().is_some_and(|program| program.ends_with("bastion"));
    let mut processes = descendants(1).into_iter().map(Pid::from_raw).filter(is_in_pod).filter(is_bastion);
    processes.next().unwrap_or_else(|| panic!("{pod} runs a bastion on this node"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_controllers_show_in_time_what_was_lost_with_the_node_of_one_of_them() {
    let Some(cluster) = Cluster::own().await else { return };
    let release = Release::install(cluster, json!({})).await;
    let echo = release.with_alice().await;
    let watch = release.watch().await;
    let controllers = release.pods("controller").await;
    assert_eq!(controllers.len(), 2, "{controllers:?}");
    let load_clients = release.open(20).await;
    let gateway = release.pods("gateway").await.first().expect("a gateway").clone();
    let (leaving, staying) = parted(&release, &watch, load_clients, &gateway).await;

    // The kubelet's probes end them only after a minute.
    let lost = [&gateway, controllers.first().expect("a controller")].map(|pod| process_of(pod));
    for process in lost {
        kill(process, Signal::SIGSTOP).expect("it runs");
    }
    ended(&watch, &gateway, leaving.len(), Reason::GatewayLost, LOST_GATEWAY).await;
    all_answer(&staying).await;
    for process in lost {
        kill(process, Signal::SIGKILL).expect("it stands still");
    }
    drop(echo);
    release.remove().await;
}
