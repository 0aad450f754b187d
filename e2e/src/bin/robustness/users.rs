//! Users who open sessions, and people who end them over the API.

use std::sync::Arc;
use std::time::Duration;

use bastion_e2e::LoadClient;
use bastion_e2e::robustness::Schedule;
use bastion_e2e::robustness::history::{Action, Answer};
use bastion_e2e::robustness::schedule::{Request, RequestWay, Visit};
use bastion_operator::api::BastionSession;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;

/// How long a session's connection may outlast its end: a gateway may be frozen meanwhile.
const GONE_WITHIN: Duration = Duration::from_secs(90);

/// Opens, uses and ends one session after the other.
pub async fn user(environment: Arc<Environment>, schedule: Arc<Schedule>, number: usize, stop: CancellationToken) {
    for visit in schedule.users[number].iter().cycle() {
        stop.run_until_cancelled(sleep(visit.after)).await;
        if stop.is_cancelled() {
            return;
        }
        if let Some(client) = open(&environment, visit.gateway).await {
            let client = Arc::new(client);
            environment.clients.lock().expect("no panic").push(client.clone());
            type_lines(&environment, &client, visit, &stop).await;
            end(&environment, &client, visit.end).await;
        }
    }
}

async fn open(environment: &Environment, gateway: usize) -> Option<LoadClient> {
    let _doing = environment.locks.users.read().await;
    let (client, begun) = (LoadClient::unique_software(), Timestamp::now());
    let opened = LoadClient::open_as(environment.address(gateway), "alice:web-1", client.clone()).await;
    if opened.is_err() {
        environment.recorder.action(&client, Action::NotOpened, begun, false);
        environment.recorder.action(&client, Action::NotOpened, Timestamp::now(), true);
    }
    opened.ok()
}

async fn type_lines(environment: &Environment, client: &LoadClient, visit: &Visit, stop: &CancellationToken) {
    for pause in &visit.lines {
        if stop.is_cancelled() || client.is_gone() {
            return;
        }
        let doing = environment.locks.users.read().await;
        let sent = Timestamp::now();
        match client.answers().await {
            Ok(()) => environment.recorder.line(&client.software, sent, Answer::Echoed),
            Err(_) if client.is_gone() => return,
            Err(_) => return environment.recorder.line(&client.software, sent, Answer::Silent),
        }
        drop(doing);
        tokio::select! {
            _ = stop.run_until_cancelled(sleep(*pause)) => {}
            _ = client.gone_within(GONE_WITHIN) => {}
        }
    }
}

async fn end(environment: &Environment, client: &LoadClient, action: Action) {
    let _doing = environment.locks.users.read().await;
    if client.is_gone() {
        return;
    }
    let now = Timestamp::now();
    let certain = match action {
        Action::Exited => client.say("exit 0").await.is_ok(),
        Action::TargetHungUp => client.say("hang up").await.is_ok(),
        _ => {
            client.kill();
            true
        }
    };
    environment.recorder.action(&client.software, action, now, certain);
    if !client.gone_within(GONE_WITHIN).await {
        environment.recorder.line(&client.software, now, Answer::StillConnected);
        client.kill();
    }
}

/// Asks for the ends of sessions over the API.
pub async fn requests(environment: Arc<Environment>, schedule: Arc<Schedule>, stop: CancellationToken) {
    let active = ListParams::default().fields("status.phase=Active");
    for request in schedule.requests.iter().cycle() {
        stop.run_until_cancelled(sleep(request.after)).await;
        if stop.is_cancelled() {
            return;
        }
        let _doing = environment.locks.users.read().await;
        let Ok(list) = environment.namespace.api::<BastionSession>().list(&active).await else { continue };
        if let Some(session) = list.items.get(request.session % list.items.len().max(1)) {
            ask_for_end(&environment, session, *request).await;
        }
    }
}

async fn ask_for_end(environment: &Environment, session: &BastionSession, request: Request) {
    let namespace = &environment.namespace;
    let sessions: Api<BastionSession> = namespace.api();
    let own: Api<BastionSession> = Api::namespaced(namespace.as_user("bastion:alice"), &namespace.name);
    let patch = |by: &str| Patch::Merge(json!({"spec": {"termination": {"requestedBy": by}}}));
    let (name, now, params) = (session.name_any(), Timestamp::now(), PatchParams::default());
    let (action, answer) = match request.way {
        RequestWay::Terminate => (Action::Terminated, sessions.patch(&name, &params, &patch("admin")).await.map(drop)),
        RequestWay::Delete => (Action::Terminated, sessions.delete(&name, &DeleteParams::default()).await.map(drop)),
        RequestWay::CloseOwn => {
            (Action::ClosedByItsUser, own.patch(&name, &params, &patch("bastion:alice")).await.map(drop))
        }
    };
    // What the API server refused was not done; without its answer, the outcome is unknown.
    if !matches!(answer, Err(kube::Error::Api(_))) {
        let client = session.spec.client.software.clone().unwrap_or_default();
        environment.recorder.action(&client, action, now, answer.is_ok());
    }
}
