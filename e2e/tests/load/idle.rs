//! What sessions cost while nothing happens to them.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;

use crate::environment::Environment;
use bastion_e2e::{ApiRequests, default_timeout, eventually, weight};

/// A minute, in renewals of a gateway's Lease.
const RENEWALS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_idle_sessions_write_nothing_for_a_minute() {
    let _held = weight::take(1).await;
    let environment = Environment::with_gateways(2).await;
    let (mut load_clients, others) = tokio::join!(environment.open(0, 50), environment.open(1, 50));
    load_clients.extend(others);
    let control_plane = &environment.namespace.control_plane;
    eventually(default_timeout(), "an Event of every start", async || {
        let requests = ApiRequests::count(control_plane).await;
        let events = requests.writes("events");
        if events >= 100 { Ok(()) } else { Err(format!("{events} Events:\n{requests}")) }
    })
    .await;

    let before = ApiRequests::count(control_plane).await;
    let renewals = a_minute_of_renewals(&environment).await;
    let requests = ApiRequests::count(control_plane).await.since(&before);
    println!("API writes for 100 idle sessions in a minute:\n{requests}\nof Leases:\n{renewals:#?}");
    assert_eq!((requests.writes("bastionsessions"), requests.writes("events")), (0, 0), "{requests}");
    let gateways = renewals.iter().filter(|(lease, _)| lease.starts_with("gateway-"));
    assert!(gateways.clone().all(|(_, renewals)| *renewals <= RENEWALS + 1), "one in five seconds: {renewals:?}");
    assert_eq!(gateways.count(), 2, "{renewals:?}");
    // Two controllers' heartbeats, one in two seconds, the Lease of the leading audit program as often, and its own.
    let others = renewals.iter().filter(|(lease, _)| !lease.starts_with("gateway-"));
    assert!(others.clone().all(|(_, renewals)| *renewals <= RENEWALS * 5 / 2 + 2), "{renewals:?}");
    assert_eq!(others.count(), 4, "{renewals:?}");
    // Besides them, there are the API server's own, one in ten seconds.
    let counted: usize = renewals.values().sum();
    let leases = usize::try_from(requests.writes("leases")).expect("a count");
    assert!(leases <= counted + RENEWALS, "{leases} writes of Leases, of which {counted} are explained:\n{requests}");
    environment.go_on(&load_clients).await;
}

/// Watches the Leases for a minute by the gateways' clocks; how often each was renewed.
async fn a_minute_of_renewals(environment: &Environment) -> BTreeMap<String, usize> {
    let mut events = watcher(environment.namespace.api::<Lease>(), watcher::Config::default()).boxed();
    let mut renewals = BTreeMap::new();
    let minute = async {
        while let Some(event) = events.next().await {
            if let Event::Apply(lease) = event.expect("the watch goes on") {
                *renewals.entry(lease.name_any()).or_insert(0) += 1;
            }
            let gateways = renewals.iter().filter(|(lease, _)| lease.starts_with("gateway-"));
            if gateways.filter(|(_, renewals)| **renewals >= RENEWALS).count() == 2 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(1) + default_timeout(), minute)
        .await
        .expect("both gateways renew their Leases");
    renewals
}
