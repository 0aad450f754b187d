//! Users who are disabled while the API server takes its time over the rights of others.

use std::time::{Duration, Instant};

use bastion_operator::api::{BastionUser, Reason};
use futures::future::join_all;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use bastion_e2e::{ApiProxy, Bastion, ControlPlane, Fault, FaultRule, LoadClient, Setting, Verb, eventually, weight};

/// How many users have a session. Each rests on a grant of its own.
const USERS: usize = 60;
/// How long each review of a right takes.
const REVIEW: Duration = Duration::from_millis(1500);
/// What a gateway knows itself ends sessions within this time. It is a promise, so it does not grow.
const KNOWN_FACTS: Duration = Duration::from_secs(5);

#[tokio::test]
async fn disabled_users_do_not_wait_for_the_reviews_of_others() {
    let _held = weight::take(1).await;
    let proxy = ApiProxy::to(&*ControlPlane::shared().await).await;
    let names: Vec<String> = (0..USERS).map(|number| format!("user-{number}")).collect();
    let setting = Setting { api: Some(&proxy), ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| {
        join_all(names.iter().map(async |name| namespace.user(name).await)).await;
    })
    .await;
    let address = bastion.gateway.address;
    let opened = names.iter().map(async |name| {
        let client = LoadClient::open(address, &format!("{name}:web-1")).await.unwrap_or_else(|why| panic!("{why}"));
        (client, bastion.watch.started(name).await)
    });
    let opened = join_all(opened).await;
    let slow = FaultRule::new(Fault::Latency(REVIEW)).resource("localsubjectaccessreviews").verbs(&[Verb::Create]);
    proxy.set_faults([slow]);
    let users: Api<BastionUser> = bastion.namespace.api();
    let disable = async |name: &str| {
        let patch = Patch::Merge(json!({"spec": {"disabled": true}}));
        users.patch(name, &PatchParams::default(), &patch).await.expect("a changed user");
    };
    // The first change begins a round of reviews; the others come in the middle of it.
    let disabled = [0, USERS / 2, USERS - 1];
    for number in disabled {
        disable(&names[number]).await;
        let from = Instant::now();
        let session = &opened[number].1;
        bastion.watch.ended_within(KNOWN_FACTS, session, Reason::AccessRevoked).await;
        assert!(from.elapsed() < KNOWN_FACTS, "{:?}", from.elapsed());
    }
    eventually(KNOWN_FACTS, "the others go on", async || {
        let active = bastion.gateway.sessions_active().await;
        if active == USERS - disabled.len() { Ok(()) } else { Err(format!("{active} sessions")) }
    })
    .await;
}
