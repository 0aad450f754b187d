//! Proxies that end TCP connections: their kernels go on acknowledging for a side that is gone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bastion_operator::api::Phase;
use serde_json::json;

use crate::network::{THREE, download, lost, lost_within, open_three, upload};
use bastion_e2e::ssh::Ssh;
use bastion_e2e::{Bastion, HaProxy, IsolatedAddress, Namespace, Open, Relay, Setting, Sshd, throughout};

/// The source address of a proxy that sends headers of the PROXY protocol.
const LOAD_BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
/// The source address of a proxy that sends none.
const SIDECAR: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);

/// Within this time the loss of a network is shown while data may be on its way.
const LOST_IN_A_TRANSFER: Duration = Duration::from_secs(90);

/// Bytes a second of the slowest network over which a transfer survives: 64 kbit/s.
const SLOWEST: usize = 8000;
/// Longer than any silence that ends a session.
const AWHILE: Duration = Duration::from_secs(100);

async fn behind_proxies(users: &[&str]) -> Bastion {
    let setting = Setting {
        env: vec![
            ("BASTION_PROXY_PROTOCOL_FROM", LOAD_BALANCER.to_string().into()),
            ("BASTION_TCP_PROXIES", SIDECAR.to_string().into()),
        ],
        ..Setting::default()
    };
    Bastion::in_setting(&setting, async |namespace, _| {
        for user in users {
            namespace.user(user).await;
        }
    })
    .await
}

/// Adds a target whose address is that of a proxy.
async fn target_behind(namespace: &Namespace, name: &str, sshd: &Sshd, proxy: SocketAddr) {
    namespace.target_with(name, sshd, json!({"address": proxy.ip(), "port": proxy.port()})).await;
}

#[tokio::test]
async fn users_behind_a_proxy_whose_network_falls_silent_are_lost() {
    let Some(place) = IsolatedAddress::new() else { return };
    let bastion = behind_proxies(&["rests", "downloads", "uploads", "unannounced"]).await;
    let balancer = HaProxy::before(bastion.gateway.address, LOAD_BALANCER, "send-proxy-v2").await;
    let sidecar = HaProxy::before(bastion.gateway.address, SIDECAR, "").await;
    let from_there = |ssh: Ssh| ssh.option("-b").option(&place.address.to_string());
    let through = |ssh: Ssh| from_there(ssh).by_way_of(balancer.address);
    let [rests, downloads, uploads] = open_three(&bastion, "web-1", through).await;
    let ssh = from_there(bastion.ssh("unannounced:web-1").await).by_way_of(sidecar.address).no_terminal();
    let unannounced = bastion.opened(ssh.start().await, "unannounced").await;
    assert_eq!(rests.session.spec.client.address, place.address.to_string());
    let cut = Instant::now();
    place.cut_off().await;
    let words = "the network to the user";
    tokio::join!(
        lost(&bastion, cut, &rests, words),
        lost(&bastion, cut, &unannounced, words),
        lost(&bastion, cut, &uploads, words),
        lost_within(LOST_IN_A_TRANSFER, &bastion, cut, &downloads, words),
    );
}

#[tokio::test]
async fn sessions_to_a_target_behind_a_proxy_whose_network_falls_silent_are_lost() {
    let Some(place) = IsolatedAddress::new() else { return };
    let far = Sshd::start_at(place.address).await;
    let proxy = HaProxy::before((place.address, far.port).into(), Ipv4Addr::LOCALHOST, "").await;
    let bastion = Bastion::with(async |namespace, _| {
        for user in THREE {
            namespace.user(user).await;
        }
        target_behind(namespace, "far", &far, proxy.address).await;
    })
    .await;
    let [rests, downloads, uploads] = open_three(&bastion, "far", |ssh| ssh).await;
    let cut = Instant::now();
    place.cut_off().await;
    let words = "the network to the target";
    tokio::join!(
        lost(&bastion, cut, &rests, words),
        lost(&bastion, cut, &downloads, words),
        lost_within(LOST_IN_A_TRANSFER, &bastion, cut, &uploads, words),
    );
}

#[tokio::test]
async fn transfers_at_64_kbit_through_a_proxy_survive() {
    let bastion = behind_proxies(&["downloads", "uploads"]).await;
    let proxy = HaProxy::before(bastion.gateway.address, LOAD_BALANCER, "send-proxy-v2").await;
    let to_user = Relay::slow(SLOWEST, proxy.address).await;
    let slow = Sshd::start().await;
    let to_target = Relay::slow(SLOWEST, (slow.address, slow.port).into()).await;
    let proxy_of_target = HaProxy::before(to_target.address, Ipv4Addr::LOCALHOST, "").await;
    target_behind(&bastion.namespace, "slow", &slow, proxy_of_target.address).await;

    let ssh = bastion.ssh("downloads:web-1").await.by_way_of(to_user.address).no_terminal();
    let (_downloads, down) = download(ssh.command("cat /dev/zero"), 64 * 1024, Duration::ZERO).await;
    let (_uploads, _up) = upload(bastion.ssh("uploads:slow").await.no_terminal().command("cat > /dev/null")).await;
    let sessions = [bastion.watch.started("downloads").await, bastion.watch.started("uploads").await];
    down.exceed(0).await;
    let before = down.bytes();
    throughout(AWHILE, async || {
        for session in &sessions {
            let user = &session.spec.user.name;
            assert_eq!(bastion.watch.phase(session), Phase::Active, "{user} at 64 kbit/s");
        }
    })
    .await;
    let bytes = down.bytes() - before;
    let most = u64::try_from(SLOWEST).expect("a small number") * (AWHILE.as_secs() + 30);
    assert!((1..most).contains(&bytes), "{bytes} bytes passed the slow network");
}

/// A suspended `ssh` whose network is open: direct, its kernel answers for it; behind a proxy nothing does.
#[tokio::test]
async fn a_suspended_client_survives_on_a_direct_connection_only() {
    let bastion = behind_proxies(&["direct", "proxied"]).await;
    let proxy = HaProxy::before(bastion.gateway.address, LOAD_BALANCER, "send-proxy-v2").await;
    let direct = bastion.open("direct").await;
    let ssh = bastion.ssh("proxied:web-1").await.by_way_of(proxy.address).no_terminal().start().await;
    let proxied = bastion.opened(ssh, "proxied").await;
    let suspended = Instant::now();
    for Open { ssh, .. } in [&direct, &proxied] {
        ssh.freeze().await;
    }
    lost(&bastion, suspended, &proxied, "the network to the user").await;
    throughout(Duration::from_secs(45).saturating_sub(suspended.elapsed()), async || {
        assert_eq!(bastion.watch.phase(&direct.session), Phase::Active);
    })
    .await;
    direct.ssh.thaw();
    let mut direct = direct;
    direct.still_answers().await;
}
