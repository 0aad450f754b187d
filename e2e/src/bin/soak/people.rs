//! Those who use the bastion, and those who end the sessions of others.

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

use crate::ground::Ground;
use crate::ledger::Deed;
use bastion_e2e::Member;

/// How long a session's connection may outlast its end: a gateway may be frozen meanwhile.
const GONE_WITHIN: Duration = Duration::from_secs(90);

/// Opens, uses and ends one session after the other.
pub async fn user(ground: Arc<Ground>, mut chance: StdRng, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(member) = open(&ground, &mut chance).await {
            let member = Arc::new(member);
            ground.members.lock().expect("no panic").push(member.clone());
            use_and_end(&ground, &member, &mut chance, &stop).await;
        }
        pause(&mut chance, 0.1..3.0, &stop).await;
    }
}

async fn open(ground: &Ground, chance: &mut StdRng) -> Option<Member> {
    let _doing = ground.people.read().await;
    let address = *ground.addresses[chance.random_range(0..2)].lock().expect("no panic");
    let (software, begun) = (Member::some_software(), Timestamp::now());
    let opened = Member::open_as(address, "alice:web-1", software.clone()).await;
    if opened.is_err() {
        ground.ledger.done(&software, Deed::NotOpened, begun, false);
        ground.ledger.done(&software, Deed::NotOpened, Timestamp::now(), true);
    }
    opened.ok()
}

async fn use_and_end(ground: &Ground, member: &Member, chance: &mut StdRng, stop: &CancellationToken) {
    while !stop.is_cancelled() && !member.is_gone() && chance.random_bool(0.75) {
        let doing = ground.people.read().await;
        if !member.is_gone() && member.answers().await.is_err() && !member.is_gone() {
            ground.ledger.did_not_answer(&member.software);
            break;
        }
        drop(doing);
        tokio::select! {
            () = pause(chance, 0.2..8.0, stop) => {}
            _ = member.gone_within(GONE_WITHIN) => {}
        }
    }
    let _doing = ground.people.read().await;
    if member.is_gone() {
        return;
    }
    let now = Timestamp::now();
    let (deed, certain) = match chance.random_range(0..3) {
        0 => (Deed::Exited, member.say("exit 0").await.is_ok()),
        1 => (Deed::TargetHungUp, member.say("hang up").await.is_ok()),
        _ => {
            member.kill();
            (Deed::ClientKilled, true)
        }
    };
    ground.ledger.done(&member.software, deed, now, certain);
    assert!(
        member.gone_within(GONE_WITHIN).await,
        "{}: {deed:?} at {now}, and still connected {GONE_WITHIN:?} later; it received {:?}",
        member.software,
        member.received()
    );
}

/// Ends some session or other, in all ways in which the API has it ended.
pub async fn administrator(ground: Arc<Ground>, mut chance: StdRng, stop: CancellationToken) {
    let namespace = &ground.namespace;
    let sessions: Api<BastionSession> = namespace.api();
    let own: Api<BastionSession> = Api::namespaced(namespace.as_user("bastion:alice"), &namespace.name);
    let active = ListParams::default().fields("status.phase=Active");
    while !stop.is_cancelled() {
        pause(&mut chance, 0.5..4.0, &stop).await;
        let _doing = ground.people.read().await;
        let Ok(list) = sessions.list(&active).await else { continue };
        if list.items.is_empty() {
            continue;
        }
        let session = &list.items[chance.random_range(0..list.items.len())];
        let (name, now) = (session.name_any(), Timestamp::now());
        let ask = |by: &str| Patch::Merge(json!({"spec": {"termination": {"requestedBy": by}}}));
        let (deed, answer) = match chance.random_range(0..3) {
            0 => (Deed::Terminated, sessions.patch(&name, &PatchParams::default(), &ask("admin")).await.map(drop)),
            1 => (Deed::Terminated, sessions.delete(&name, &DeleteParams::default()).await.map(drop)),
            _ => {
                let patched = own.patch(&name, &PatchParams::default(), &ask("bastion:alice")).await;
                (Deed::ClosedByItsUser, patched.map(drop))
            }
        };
        // What the API server refused was not done; without its answer, nobody knows.
        if !matches!(answer, Err(kube::Error::Api(_))) {
            let software = session.spec.client.software.clone().unwrap_or_default();
            ground.ledger.done(&software, deed, now, answer.is_ok());
        }
    }
}

async fn pause(chance: &mut StdRng, seconds: std::ops::Range<f64>, stop: &CancellationToken) {
    let pause = sleep(Duration::from_secs_f64(chance.random_range(seconds)));
    stop.run_until_cancelled(pause).await;
}
