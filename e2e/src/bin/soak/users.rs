//! Users who open sessions, and administrators who end them.

use std::sync::Arc;
use std::time::Duration;

use bastion_operator::api::BastionSession;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::ledger::Action;
use bastion_e2e::LoadClient;

/// How long a session's connection may outlast its end: a gateway may be frozen meanwhile.
const GONE_WITHIN: Duration = Duration::from_secs(90);

/// Opens, uses and ends one session after the other.
pub async fn user(environment: Arc<Environment>, mut chance: StdRng, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(load_client) = open(&environment, &mut chance).await {
            let load_client = Arc::new(load_client);
            environment.load_clients.lock().expect("no panic").push(load_client.clone());
            use_and_end(&environment, &load_client, &mut chance, &stop).await;
        }
        pause(&mut chance, 0.1..3.0, &stop).await;
    }
}

async fn open(environment: &Environment, chance: &mut StdRng) -> Option<LoadClient> {
    let _doing = environment.locks.users.read().await;
    let address = *environment.addresses[chance.random_range(0..2)].lock().expect("no panic");
    let (software, begun) = (LoadClient::unique_software(), Timestamp::now());
    let opened = LoadClient::open_as(address, "alice:web-1", software.clone()).await;
    if opened.is_err() {
        environment.ledger.record_action(&software, Action::NotOpened, begun, false);
        environment.ledger.record_action(&software, Action::NotOpened, Timestamp::now(), true);
    }
    opened.ok()
}

async fn use_and_end(
    environment: &Environment,
    load_client: &LoadClient,
    chance: &mut StdRng,
    stop: &CancellationToken,
) {
    while !stop.is_cancelled() && !load_client.is_gone() && chance.random_bool(0.75) {
        let doing = environment.locks.users.read().await;
        if !load_client.is_gone() && load_client.answers().await.is_err() && !load_client.is_gone() {
            environment.ledger.did_not_answer(&load_client.software);
            break;
        }
        drop(doing);
        tokio::select! {
            () = pause(chance, 0.2..8.0, stop) => {}
            _ = load_client.gone_within(GONE_WITHIN) => {}
        }
    }
    let _doing = environment.locks.users.read().await;
    if load_client.is_gone() {
        return;
    }
    let now = Timestamp::now();
    let (action, certain) = match chance.random_range(0..3) {
        0 => (Action::Exited, load_client.say("exit 0").await.is_ok()),
        1 => (Action::TargetHungUp, load_client.say("hang up").await.is_ok()),
        _ => {
            load_client.kill();
            (Action::ClientKilled, true)
        }
    };
    environment.ledger.record_action(&load_client.software, action, now, certain);
    assert!(
        load_client.gone_within(GONE_WITHIN).await,
        "{}: {action:?} at {now}, and still connected {GONE_WITHIN:?} later; it received {:?}",
        load_client.software,
        load_client.received()
    );
}

/// Ends some session or other, in all ways in which the API has it ended.
pub async fn administrator(environment: Arc<Environment>, mut chance: StdRng, stop: CancellationToken) {
    let namespace = &environment.namespace;
    let sessions: Api<BastionSession> = namespace.api();
    let own: Api<BastionSession> = Api::namespaced(namespace.as_user("bastion:alice"), &namespace.name);
    let active = ListParams::default().fields("status.phase=Active");
    while !stop.is_cancelled() {
        pause(&mut chance, 0.5..4.0, &stop).await;
        let _doing = environment.locks.users.read().await;
        let Ok(list) = sessions.list(&active).await else { continue };
        if list.items.is_empty() {
            continue;
        }
        let session = &list.items[chance.random_range(0..list.items.len())];
        let (name, now) = (session.name_any(), Timestamp::now());
        let ask = |by: &str| Patch::Merge(json!({"spec": {"termination": {"requestedBy": by}}}));
        let (action, answer) = match chance.random_range(0..3) {
            0 => (Action::Terminated, sessions.patch(&name, &PatchParams::default(), &ask("admin")).await.map(drop)),
            1 => (Action::Terminated, sessions.delete(&name, &DeleteParams::default()).await.map(drop)),
            _ => {
                let patched = own.patch(&name, &PatchParams::default(), &ask("bastion:alice")).await;
                (Action::ClosedByItsUser, patched.map(drop))
            }
        };
        // What the API server refused was not done; without its answer, the outcome is unknown.
        if !matches!(answer, Err(kube::Error::Api(_))) {
            let software = session.spec.client.software.clone().unwrap_or_default();
            environment.ledger.record_action(&software, action, now, answer.is_ok());
        }
    }
}

async fn pause(chance: &mut StdRng, seconds: std::ops::Range<f64>, stop: &CancellationToken) {
    let pause = sleep(Duration::from_secs_f64(chance.random_range(seconds)));
    stop.run_until_cancelled(pause).await;
}
