//! What an idle session takes of the bastion's memory.

use serde_json::json;

use super::environment::{Environment, OPENSSH, gateway};
use super::process;
use bastion_e2e::proc::descendants;
use bastion_e2e::{Echo, open_load_clients};

/// KB a session: of a gateway that has served no session before, and of the OpenSSH bastion.
pub async fn memory(environment: &Environment, sessions: usize, openssh: usize) -> [Option<f64>; 3] {
    [Some(ours(environment, sessions).await), Some(of_openssh(environment, openssh).await), None]
}

async fn ours(environment: &Environment, sessions: usize) -> f64 {
    let echo = Echo::start().await;
    echo.add_to(&environment.namespace, "echo", json!({})).await;
    let gateway = gateway(&environment.namespace, "gateway-1").await;
    let pid = gateway.process.pid().as_raw();
    let first = open_load_clients(gateway.address, "alice:echo", 1).await;
    let before = process::memory(pid);
    let load_clients = open_load_clients(gateway.address, "alice:echo", sessions).await;
    let memory = (process::memory(pid) - before) / sessions as f64;
    for load_client in load_clients.iter().chain(&first) {
        load_client.kill();
        load_client.gone().await;
    }
    memory
}

async fn of_openssh(environment: &Environment, sessions: usize) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..sessions {
        let mut ssh = environment.ways[OPENSSH].ssh().await.command("echo ready; exec cat").start().await;
        ssh.shows("ready").await;
        clients.push(ssh);
    }
    let processes = descendants(environment.bastion.pid().as_raw());
    let memory = processes.iter().map(|pid| process::memory(*pid)).sum::<f64>() / sessions as f64;
    drop(clients);
    environment.settled().await;
    memory
}
