//! A gateway that the kernel kills because its container has used up its memory.

use bastion_operator::api::{Phase, Reason};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;

use bastion_e2e::memory_cgroup::MemoryCgroup;
use bastion_e2e::network::skipped;
use bastion_e2e::{Bastion, Controller, Gateway, LOST_GATEWAY, Setting, default_timeout, eventually};

/// The memory that the gateway may still take, in bytes.
const SPARE: u64 = 1024 * 1024;

/// Opens connections until the gateway is dead.
async fn fill(gateway: &mut Gateway) {
    let mut held = Vec::new();
    eventually(default_timeout(), "the kernel kills the gateway", async || {
        // Each takes some 50 KB before it signs in.
        for _ in 0..50 {
            if let Ok(stream) = TcpStream::connect(gateway.address).await {
                held.push(stream);
            }
        }
        if gateway.process.is_there() { Err(format!("it lives with {} connections", held.len())) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn the_sessions_of_a_gateway_without_memory_are_shown_as_ended() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let cgroup = MemoryCgroup::new();
    let starter = cgroup.as_ref().map(MemoryCgroup::starter).unwrap_or_default();
    let setting =
        Setting { starter, env: vec![("BASTION_MAX_STARTUPS_PER_ADDRESS", "512".into())], ..Setting::default() };
    let mut small = Gateway::start_in(&bastion.namespace, "gateway-1", &[], &setting).await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let (alice, mut bob) = tokio::join!(bastion.open_on(&small, "alice", "web-1"), bastion.open("bob"));
    if let Some(cgroup) = &cgroup {
        cgroup.limit_to_use_and(SPARE);
        fill(&mut small).await;
        assert_eq!(cgroup.killed(), 1);
    } else {
        skipped("no memory cgroup can be made here; a SIGKILL takes its place");
        small.process.signal(Signal::SIGKILL);
    }
    let outcome = small.process.finish(default_timeout()).await;
    assert_eq!(outcome.signal, Some(9), "{outcome:?}");
    bastion.watch.ended_within(LOST_GATEWAY, &alice.session, Reason::GatewayLost).await;
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
}
