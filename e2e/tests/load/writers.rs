//! Many who end the same session at once.

use std::collections::BTreeMap;

use bastion_operator::api::{BastionSession, Phase, Reason};
use futures::future::join_all;
use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::DeleteParams;
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::environment::Environment;
use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::{LoadClient, Observation, default_timeout, end_time, eventually, histories, weight};

/// Who else may write what ends a session.
struct Writers {
    administrator: Client,
    own_user: Client,
    controller: Client,
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_sessions_that_five_end_at_once_end_once_each() {
    let _held = weight::take(1).await;
    let environment = Environment::with_gateways(1).await;
    let namespace = &environment.namespace;
    let sessions = json!([{"apiGroups": ["bastion.dev"], "resources": ["bastionsessions"], "verbs": ["patch"]}]);
    namespace.allow("bastion:alice", sessions).await;
    let writers = Writers {
        administrator: namespace.admin(),
        own_user: namespace.as_user("bastion:alice"),
        controller: namespace.account("bastion-controller", "controller-0").await.client,
    };
    let load_clients = environment.open(0, 50).await;
    let open =
        join_all(load_clients.iter().map(async |load_client| (load_client, environment.session(load_client).await)))
            .await;

    // With more at a time, the API server's queue alone would decide which writer is first.
    stream::iter(open.iter().enumerate())
        .for_each_concurrent(5, |(first, (load_client, session))| {
            race(&environment, &writers, first, load_client, session)
        })
        .await;
    environment.ended(default_timeout(), 0, 50).await;
    join_all(load_clients.iter().map(LoadClient::gone)).await;
    recorded(&environment, 50).await;

    let seen = environment.watch.seen();
    let mut winners = BTreeMap::new();
    for history in histories(&seen).values() {
        let end = history.end().expect("it has ended");
        assert_fits(end);
        *winners.entry(end.reason.clone().unwrap_or_default()).or_insert(0) += 1;
    }
    println!("50 sessions, of which each was ended by five: {winners:?}");
}

/// Five writers, of whom another begins in each session.
async fn race(
    environment: &Environment,
    writers: &Writers,
    first: usize,
    load_client: &LoadClient,
    session: &BastionSession,
) {
    let (namespace, name) = (&environment.namespace, session.name_any());
    let ask = async |client: &Client, by: &str| {
        let patch = json!({"spec": {"termination": {"requestedBy": by}}});
        // A later writer is refused, which is what is tested.
        let _ = namespace.patch_session(client, &name, patch).await;
    };
    let write = async |number: usize| match number % 5 {
        0 => drop(load_client.say("exit 7").await),
        1 => ask(&writers.administrator, "admin").await,
        2 => ask(&writers.own_user, "bastion:alice").await,
        3 => drop(namespace.api::<BastionSession>().delete(&name, &DeleteParams::default()).await),
        _ => {
            let end = json!({"status": {"phase": Phase::Timeout, "reason": Reason::Stale.as_str(),
                "message": "written by a controller", "observedBy": "Controller", "endTime": format!("{:.6}", Timestamp::now())}});
            drop(namespace.patch_status(&writers.controller, &name, end).await);
        }
    };
    let others = async { futures::join!(write(first + 1), write(first + 2), write(first + 3), write(first + 4)) };
    // In every other session the first writer is let done before the others begin.
    if (first / 5).is_multiple_of(2) {
        write(first).await;
        others.await;
    } else {
        futures::join!(write(first), others);
    }
}

/// Phase and message are those of the writer whose reason it is.
fn assert_fits(end: &Observation) {
    let message = end.session.status.as_ref().and_then(|status| status.message.as_deref()).unwrap_or_default();
    let (phase, messages): (_, &[&str]) = match end.reason.as_deref() {
        Some("UserExit") => (Phase::Closed, &["the command ended with exit status 7"]),
        Some("AdminTerminated") => (Phase::Terminated, &["terminated by admin", "the BastionSession was deleted"]),
        Some("ApiClosed") => (Phase::Closed, &["closed by its own user"]),
        Some("Stale") => (Phase::Timeout, &["written by a controller"]),
        other => panic!("no writer ended a session as {other:?}: {message}"),
    };
    assert_eq!(end.phase, phase, "{end:?}");
    assert!(messages.contains(&message), "{end:?}");
    assert!(end_time(end).is_some_and(|time| time >= end.session.spec.start_time.0), "{end:?}");
}

/// Waits until the audit database has every session, and checks that it says what the watch saw.
async fn recorded(environment: &Environment, size: usize) {
    let rows = eventually(default_timeout(), "a row of every session", async || {
        let rows = all_rows(&audit_store(&environment.namespace)).await?;
        let ended = rows.iter().filter(|row| row.end_time.is_some()).count();
        if ended == size { Ok(rows) } else { Err(format!("{ended} rows of ended sessions")) }
    })
    .await;
    let seen = environment.watch.seen();
    let histories = histories(&seen);
    for row in rows {
        let end = histories[row.name.as_str()].end().expect("it has ended");
        let time = end_time(end).map(Timestamp::as_microsecond);
        assert_eq!((row.reason.as_deref(), row.end_time), (end.reason.as_deref(), time), "of {}", row.name);
    }
}
