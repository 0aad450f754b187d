//! What an idle session takes of the bastion's memory.

use serde_json::json;

use super::ground::{Ground, OPENSSH, gateway};
use super::process;
use bastion_e2e::proc::descendants;
use bastion_e2e::{Echo, crowd};

/// KB a session: of a gateway that has served nobody before, and of the OpenSSH bastion.
pub async fn memory(ground: &Ground, sessions: usize, openssh: usize) -> [Option<f64>; 3] {
    [Some(ours(ground, sessions).await), Some(of_openssh(ground, openssh).await), None]
}

async fn ours(ground: &Ground, sessions: usize) -> f64 {
    let echo = Echo::start().await;
    echo.add_to(&ground.namespace, "echo", json!({})).await;
    let gateway = gateway(&ground.namespace, "gateway-1").await;
    let pid = gateway.process.pid().as_raw();
    let first = crowd(gateway.address, "alice:echo", 1).await;
    let before = process::memory(pid);
    let members = crowd(gateway.address, "alice:echo", sessions).await;
    let memory = (process::memory(pid) - before) / sessions as f64;
    for member in members.iter().chain(&first) {
        member.kill();
        member.gone().await;
    }
    memory
}

async fn of_openssh(ground: &Ground, sessions: usize) -> f64 {
    let mut clients = Vec::new();
    for _ in 0..sessions {
        let mut ssh = ground.ways[OPENSSH].ssh().await.command("echo ready; exec cat").start().await;
        ssh.shows("ready").await;
        clients.push(ssh);
    }
    let processes = descendants(ground.bastion.pid().as_raw());
    let memory = processes.iter().map(|pid| process::memory(*pid)).sum::<f64>() / sessions as f64;
    drop(clients);
    ground.settled().await;
    memory
}
