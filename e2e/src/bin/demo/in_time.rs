//! Ends that are shown within a promised time.

use std::time::{Duration, Instant};

use bastion_operator::api::{BastionUser, Reason};
use futures::FutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::environment::{CONTAINER_SEEN, Environment, LOST_NETWORK, REVOKED, STALE, UNRECORDED};
use crate::report::Promise::{AtOnce, Within};
use crate::report::ScenarioResult;
use crate::scenarios::{Scenario, answering, at_a_terminal, leave, notices, open, shown, ssh, ssh_to, stays, warned};
use bastion_e2e::objects::bastion_session;
use bastion_e2e::{Gateway, IsolatedAddress, LOST_GATEWAY, Sshd};

/// How long sessions may go on when the gateway of the shutdown scenario is told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// The scenarios, in the order of the table in the design.
pub fn scenarios(environment: &Environment) -> Vec<Scenario<'_>> {
    vec![
        ("  a user is disabled", disabled(environment).boxed_local()),
        ("  a right to connect is withdrawn", withdrawn(environment).boxed_local()),
        ("  the folder of the recordings is taken away", recording_failed(environment).boxed_local()),
        ("  the network to a user falls silent", user_vanished(environment).boxed_local()),
        ("  the network to a target falls silent", target_vanished(environment).boxed_local()),
        (
            "  a gateway is told to stop; its sessions have a grace period, here 3 s",
            shutdown(environment).boxed_local(),
        ),
        ("  a gateway with 20 sessions is killed with -9", gateway_killed(environment).boxed_local()),
        ("  another is killed, and its Pod's status says so", container_ended(environment).boxed_local()),
        ("  a session is left behind that its gateway does not have", stale(environment).boxed_local()),
    ]
}

async fn disabled(environment: &Environment) -> Vec<ScenarioResult> {
    let mut it = open(environment, "disabled").await;
    let users: Api<BastionUser> = environment.namespace.api();
    let event = Instant::now();
    let patch = Patch::Merge(json!({"spec": {"disabled": true}}));
    users.patch("disabled", &PatchParams::default(), &patch).await.expect("the user");
    let scenario =
        shown(environment, "its user is disabled", event, &it.session, Reason::AccessRevoked, Within(REVOKED)).await;
    vec![scenario.with_notices(notices(&mut it).await)]
}

async fn withdrawn(environment: &Environment) -> Vec<ScenarioResult> {
    environment.namespace.user_with("withdrawn", json!({})).await;
    let grant = environment.namespace.grant("bastion:withdrawn", "bastiontargets", &["web-1"]).await;
    let ssh = environment.gateways[1].ssh("withdrawn:web-1").await.no_terminal();
    let mut it = answering(environment, ssh, "withdrawn").await;
    let event = Instant::now();
    environment.namespace.withdraw(&grant).await;
    let scenario = shown(
        environment,
        "the right to connect is withdrawn",
        event,
        &it.session,
        Reason::AccessRevoked,
        Within(REVOKED),
    );
    vec![scenario.await.with_notices(notices(&mut it).await)]
}

async fn recording_failed(environment: &Environment) -> Vec<ScenarioResult> {
    environment.target("recorded", json!({"recording": "Required"})).await;
    let mut it = answering(
        environment,
        at_a_terminal(ssh_to(environment, &environment.gateways[1], "on-film", "recorded").await),
        "on-film",
    )
    .await;
    std::fs::remove_dir_all(&environment.recordings).expect("a folder");
    std::fs::write(&environment.recordings, "in its place").expect("a file");
    let event = Instant::now();
    it.ssh.say("echo this cannot be recorded").await;
    let what = "a recording that is required fails";
    let scenario = shown(environment, what, event, &it.session, Reason::RecordingFailed, Within(UNRECORDED)).await;
    vec![scenario.with_notices(notices(&mut it).await)]
}

async fn user_vanished(environment: &Environment) -> Vec<ScenarioResult> {
    let what = "the network to its user falls silent";
    let Some(place) = IsolatedAddress::new() else { return vec![ScenarioResult::skipped(what)] };
    let ssh =
        ssh(environment, &environment.gateways[1], "vanishes").await.option("-b").option(&place.address.to_string());
    let it = answering(environment, ssh.no_terminal(), "vanishes").await;
    let event = Instant::now();
    place.cut_off().await;
    vec![shown(environment, what, event, &it.session, Reason::NetworkLost, Within(LOST_NETWORK)).await]
}

async fn target_vanished(environment: &Environment) -> Vec<ScenarioResult> {
    let what = "the network to its target falls silent";
    let Some(place) = IsolatedAddress::new() else { return vec![ScenarioResult::skipped(what)] };
    let far = Sshd::start_at(place.address).await;
    let way = json!({"address": place.address, "port": far.port, "hostKeys": [far.host_key.public]});
    environment.target("far", way).await;
    let ssh = ssh_to(environment, &environment.gateways[1], "left-alone", "far").await.no_terminal();
    let mut it = answering(environment, ssh, "left-alone").await;
    let event = Instant::now();
    place.cut_off().await;
    let scenario = shown(environment, what, event, &it.session, Reason::NetworkLost, Within(LOST_NETWORK)).await;
    vec![scenario.with_notices(notices(&mut it).await)]
}

async fn shutdown(environment: &Environment) -> Vec<ScenarioResult> {
    let grace = format!("{}s", GRACE.as_secs());
    let gateway = Gateway::start_with(&environment.namespace, "bastion-gateway-2", &["--grace-period", &grace]).await;
    let mut it = answering(environment, at_a_terminal(ssh(environment, &gateway, "drained").await), "drained").await;
    gateway.process.signal(Signal::SIGTERM);
    let event = Instant::now() + GRACE;
    let scenario = shown(
        environment,
        "its gateway is stopped; grace period over",
        event,
        &it.session,
        Reason::GatewayShutdown,
        AtOnce,
    );
    vec![warned(scenario.await, notices(&mut it).await, "is being stopped")]
}

async fn gateway_killed(environment: &Environment) -> Vec<ScenarioResult> {
    let mut elsewhere = open(environment, "elsewhere").await;
    let lost = join_all((0..20).map(async |_| {
        let ssh = environment.gateways[0].ssh("alice:web-1").await.no_terminal();
        answering(environment, ssh, "alice").await
    }))
    .await;
    let event = Instant::now();
    environment.gateways[0].process.signal(Signal::SIGKILL);
    let what = "its gateway is killed with -9: 20 sessions";
    let ends =
        lost.iter().map(|it| shown(environment, what, event, &it.session, Reason::GatewayLost, Within(LOST_GATEWAY)));
    let slowest = join_all(ends).await.into_iter().max_by_key(ScenarioResult::time).expect("20 scenarios");
    let stays = stays(environment, "  a session on another gateway meanwhile", &mut elsewhere).await;
    leave(elsewhere).await;
    vec![slowest, stays]
}

async fn container_ended(environment: &Environment) -> Vec<ScenarioResult> {
    let gateway = Gateway::start(&environment.namespace, "bastion-gateway-3").await;
    let it = answering(environment, ssh(environment, &gateway, "orphaned").await.no_terminal(), "orphaned").await;
    gateway.process.signal(Signal::SIGKILL);
    let event = environment.namespace.report_ended_container(&gateway.pod, it.session.spec.start_time.0).await;
    let what = "its gateway's container is reported as ended";
    vec![shown(environment, what, event, &it.session, Reason::GatewayLost, Within(CONTAINER_SEEN)).await]
}

/// As a gateway leaves it behind that lost a connection without writing so: made with its token, in its name.
async fn stale(environment: &Environment) -> Vec<ScenarioResult> {
    let real = open(environment, "real").await;
    let gateway = &real.session.spec.gateway;
    let mut object = bastion_session("forgotten-web-1-demo", &gateway.name);
    object["spec"]["user"] = json!({"name": "forgotten", "subject": "bastion:forgotten"});
    object["spec"]["gateway"]["instance"] = json!(gateway.instance);
    object["spec"]["startTime"] = json!(format!("{:.6}", Timestamp::now()));
    let account = environment.namespace.account("bastion-gateway", &gateway.name).await;
    let event = Instant::now();
    environment.namespace.create_as(&account.client, object).await.expect("a session without a gateway");
    let session = environment.watch.started("forgotten").await;
    let scenario =
        shown(environment, "its gateway lives and does not have it", event, &session, Reason::Stale, Within(STALE))
            .await;
    leave(real).await;
    vec![scenario]
}
