//! Outages of a gateway, the API server, a network and a console.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bastion_operator::api::Reason;
use jiff::Timestamp;
use kube::ResourceExt;
use nix::sys::signal::Signal;
use serde_json::json;

use bastion_e2e::browser::BrowserScenario;
use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::{
    Audit, Bastion, Console, ControlPlane, Controller, Echo, Gateway, IsolatedAddress, LOST_GATEWAY, Namespace,
    Observation, PROMPT_BOUND, Relay, Setting, default_timeout, eventually, open_load_clients, throughout, weight,
};

use super::{act, administrator, named};

/// As the page's own clock has it.
fn now() -> String {
    Timestamp::now().as_millisecond().to_string()
}

/// Waits until as many losses are on record, for the history that pages show.
async fn recorded(namespace: &Namespace, losses: usize) {
    eventually(default_timeout(), "every loss is on record", async || {
        let rows = all_rows(&audit_store(namespace)).await?;
        let lost = rows.iter().filter(|it| it.reason.as_deref() == Some(Reason::GatewayLost.as_str())).count();
        if lost == losses { Ok(()) } else { Err(format!("{lost} losses")) }
    })
    .await;
}

/// How long after the last of many ends a page may still show some, on an idle machine.
const SHOWN: Duration = Duration::from_secs(5);

/// When the last of 200 sessions was first seen as lost.
fn all_lost(seen: &[Observation]) -> Option<Instant> {
    let mut first = HashMap::new();
    for it in seen.iter().filter(|it| it.reason.as_deref() == Some(Reason::GatewayLost.as_str())) {
        first.entry(&it.name).or_insert(it.at);
    }
    first.values().max().copied().filter(|_| first.len() == 200)
}

#[tokio::test]
async fn two_hundred_rows_go_when_their_gateway_is_killed_and_no_others() {
    let _held = weight::take(2).await;
    let echo = Echo::start().await;
    let bastion = Bastion::with(async |namespace, _| {
        namespace.user("bob").await;
        echo.add_to(namespace, "echo", json!({})).await;
    })
    .await;
    let namespace = &bastion.namespace;
    let other = Gateway::start(namespace, "gateway-1").await;
    let _controller = Controller::start(namespace, "controller-0").await;
    let _audit = Audit::start(namespace, "audit-0", "10m").await;
    let console = Console::start(namespace).await;
    let mut scenario = BrowserScenario::start("gateway", namespace, &console, &administrator(namespace).await).await;
    assert_eq!(scenario.next().await, "open 200");
    let mut open = vec![bastion.open_on(&other, "bob", "web-1").await];
    let _lost = open_load_clients(bastion.gateway.address, "alice:echo", 200).await;
    scenario.answer(&open[0].session.name_any()).await;
    assert_eq!(scenario.next().await, "kill gateway");
    let killed = Instant::now();
    bastion.gateway.process.signal(Signal::SIGKILL);
    scenario.answer(&now()).await;
    let took = scenario.next().await;
    println!("200 rows were gone from two pages after the kill: {took} ms");
    let page = Duration::from_millis(took.split(' ').next_back().and_then(|ms| ms.parse().ok()).expect("a number"));
    let last = bastion.watch.until(default_timeout(), "all 200 are lost", all_lost).await.duration_since(killed);
    // The controller writes 200 ends on a machine that other tests are busy on; the page is not what takes the time.
    assert!(
        last <= LOST_GATEWAY + default_timeout() && page <= last + SHOWN,
        "the last end after {last:?}, shown after {page:?}"
    );
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "recorded 200");
    recorded(namespace, 200).await;
    scenario.answer("").await;
    scenario.finish().await;
}

/// Long enough for the console to have tried again, which it may.
const AWAY: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_page_calls_nothing_live_while_the_api_server_is_away() {
    let _held = weight::take(2).await;
    let control_plane = Arc::new(ControlPlane::start().await);
    let bastion = Bastion::on(control_plane.clone(), async |_, _| ()).await;
    let console = Console::start(&bastion.namespace).await;
    let token = administrator(&bastion.namespace).await;
    let mut scenario = BrowserScenario::start("api", &bastion.namespace, &console, &token).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "stop api");
    control_plane.stop_api();
    scenario.answer("").await;
    let asked = act(&mut scenario, &bastion, &mut open).await;
    let left = named(&mut open, asked.strip_prefix("leave ").expect("a name"));
    left.ssh.say("exit 0").await;
    assert_eq!(left.ssh.finish(PROMPT_BOUND).await.code, Some(0));
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "pause");
    throughout(AWAY, async || open[1].still_answers().await).await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "start api");
    control_plane.start_api().await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}

#[tokio::test]
async fn a_page_calls_nothing_live_that_ended_while_its_console_was_cut_off() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let relay = Relay::to(namespace.control_plane.api_address()).await;
    let console = Console::start_in(namespace, "console-0", &Setting { api: Some(&relay), ..Setting::default() }).await;
    let mut scenario = BrowserScenario::start("apart", namespace, &console, &administrator(namespace).await).await;
    let mut open = vec![];
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "cut");
    relay.cut();
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "heal");
    relay.restore();
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}

#[tokio::test]
async fn the_row_of_a_user_whose_network_falls_silent_goes() {
    let _held = weight::take(1).await;
    let Some(place) = IsolatedAddress::new() else { return };
    let bastion = Bastion::with_users(&["far"]).await;
    let console = Console::start(&bastion.namespace).await;
    let token = administrator(&bastion.namespace).await;
    let mut scenario = BrowserScenario::start("network", &bastion.namespace, &console, &token).await;
    assert_eq!(scenario.next().await, "open");
    let ssh =
        bastion.ssh("far:web-1").await.option("-b").option(&place.address.to_string()).no_terminal().start().await;
    let mut open = vec![bastion.opened(ssh, "far").await, bastion.open("alice").await];
    scenario.answer(&format!("{} {}", open[0].session.name_any(), open[1].session.name_any())).await;
    assert_eq!(scenario.next().await, "cut");
    place.cut_off().await;
    scenario.answer(&now()).await;
    println!("the row was gone from two pages after the cut: {} ms", scenario.next().await);
    assert!(open[0].ssh.is_there(), "its client was told, so that was no silent network");
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}

#[tokio::test]
async fn pages_of_two_consoles_agree_before_and_after_one_of_them_is_killed() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let namespace = &bastion.namespace;
    let (mut one, two) =
        (Console::start(namespace).await, Console::start_in(namespace, "console-1", &Setting::default()).await);
    let mut scenario = BrowserScenario::start("replicas", namespace, &one, &administrator(namespace).await).await;
    let mut open = vec![];
    assert_eq!(scenario.next().await, "other");
    scenario.answer(&format!("http://{}", two.address)).await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "stop console");
    one.process.kill().await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "start console");
    let _successor = Console::start_at(namespace, "console-2", &one.address.to_string(), &Setting::default()).await;
    scenario.answer("").await;
    assert_eq!(act(&mut scenario, &bastion, &mut open).await, "done");
    scenario.exited().await;
}
