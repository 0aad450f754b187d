//! A load balancer that says with the PROXY protocol where clients are: a real HAProxy.

use std::net::{Ipv4Addr, SocketAddr};

use bastion_operator::api::Reason;

use crate::second_factors::assert_in;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::{Bastion, HaProxy, Setting, default_timeout, eventually, metric_becomes};

/// The load balancer's address; any peer with this address is trusted as the load balancer.
const LOAD_BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const CLIENT: &str = "127.0.0.5";

/// Starts HAProxy before the gateway. It sends headers of the PROXY protocol, and probes without them.
async fn before(bastion: &Bastion) -> HaProxy {
    HaProxy::before(bastion.gateway.address, LOAD_BALANCER, "send-proxy-v2 check inter 100ms").await
}

async fn behind_load_balancer() -> Bastion {
    let setting = Setting {
        env: vec![
            ("BASTION_PROXY_PROTOCOL_FROM", format!("{LOAD_BALANCER},fd00::/64").into()),
            ("BASTION_MAX_STARTUPS_PER_ADDRESS", "3".into()),
        ],
        ..Setting::default()
    };
    Bastion::in_setting(&setting, async |_, _| ()).await
}

async fn from(bastion: &Bastion, entrance: SocketAddr, address: &str) -> Ssh {
    let ssh = bastion.ssh("alice:web-1").await.by_way_of(entrance);
    ssh.no_terminal().set(&format!("BindAddress={address}"))
}

#[tokio::test]
async fn a_client_is_known_by_the_address_that_the_load_balancer_tells() {
    let bastion = behind_load_balancer().await;
    let proxy = before(&bastion).await;
    let through = from(&bastion, proxy.address, CLIENT).await.start().await;
    let mut open = bastion.opened(through, "alice").await;
    assert_eq!(open.session.spec.client.address, CLIENT);
    open.ssh.close_input();
    bastion.watch.ended(&open.session, Reason::UserExit).await;

    let direct = from(&bastion, bastion.gateway.address, "127.0.0.2").await.start().await;
    let open = bastion.opened(direct, "alice").await;
    assert_eq!(open.session.spec.client.address, "127.0.0.2", "who is no load balancer needs no header");
}

#[tokio::test]
async fn clients_behind_a_load_balancer_are_counted_by_their_own_addresses() {
    let bastion = behind_load_balancer().await;
    let proxy = before(&bastion).await;
    let socket = tokio::net::TcpSocket::new_v4;
    let mut held = vec![];
    for _ in 0..3 {
        let socket = socket().expect("a socket");
        socket.bind(format!("{CLIENT}:0").parse().expect("an address")).expect("an address of this machine");
        held.push(socket.connect(proxy.address).await.expect("a connection"));
    }
    eventually(default_timeout(), "they have all come", async || {
        match bastion.gateway.metric("bastion_connections_pending").await {
            pending if pending >= 3 => Ok(()),
            pending => Err(format!("{pending}")),
        }
    })
    .await;
    let refused = from(&bastion, proxy.address, CLIENT).await.command("true").run().await;
    assert_eq!(refused.code, Some(255), "{refused:?}");
    assert_in(&from(&bastion, proxy.address, "127.0.0.6").await.command("echo through").run().await);
    let logged = format!(r#""client":"{CLIENT}:"#);
    assert!(bastion.gateway.process.stderr().contains(&logged), "the log has the client's address");
    drop((held, proxy));
}

#[tokio::test]
async fn a_load_balancer_that_does_not_tell_is_turned_away() {
    let bastion = behind_load_balancer().await;
    let outcome = from(&bastion, bastion.gateway.address, &LOAD_BALANCER.to_string()).await.command("true").run().await;
    assert_eq!(outcome.code, Some(255), "{outcome:?}");
    let counted = r#"bastion_connections_refused_total{reason="proxy_header"}"#;
    metric_becomes(bastion.gateway.http, counted, |refused| refused > 0.0).await;
    let log = bastion.gateway.process.stderr();
    assert!(
        log.contains("the load balancer sent no client address") && log.contains("no header of the PROXY protocol"),
        "{log}"
    );
    assert_eq!(bastion.gateway.metric(counted).await, 1);
}
