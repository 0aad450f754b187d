//! The history of the cluster is cut: etcd is compacted or restored from a copy, or an API server falls behind. Sessions and
//! objects are compared in both directions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Phase, Reason};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::timeout;

use bastion_e2e::etcd::{Etcd, SecondApiServer};
use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::websocket::bearer;
use bastion_e2e::{
    Audit, Bastion, Console, ControlPlane, Controller, FeedPage, LOST_GATEWAY, Namespace, Open, Relay, Setting,
    default_timeout, eventually, throughout, weight,
};

/// Removes the object of a session although its end is not recorded.
async fn delete_by_force(namespace: &Namespace, session: &BastionSession) {
    let (sessions, name) = (namespace.api::<BastionSession>(), session.name_any());
    let audit = namespace.account("bastion-audit", "audit-9").await.client;
    let finalizers = json!({"metadata": {"finalizers": null}});
    namespace.patch_session(&audit, &name, finalizers).await.expect("an audit program may");
    sessions.delete(&name, &DeleteParams::default()).await.expect("the session");
}

/// Waits until the user of a session without an object has read why it ends.
async fn ends_without_an_object(open: &mut Open, within: Duration) {
    let outcome = open.ssh.finish(within).await;
    assert!(outcome.stderr.contains("the BastionSession no longer exists"), "{outcome:?}");
}

/// Returns the phase and reason of a session as the API server has it, which a watch may not show.
async fn stored(namespace: &Namespace, name: &str) -> Option<(Phase, Option<String>)> {
    let session = namespace.api::<BastionSession>().get_opt(name).await.expect("sessions can be read")?;
    let status = session.status.unwrap_or_default();
    Some((status.phase, status.reason))
}

/// Waits until the session is stored as ended for this reason.
async fn stored_as(namespace: &Namespace, within: Duration, name: &str, reason: Reason) {
    eventually(within, &format!("{name} has ended as {reason}"), async || match stored(namespace, name).await {
        Some((phase, Some(shown))) if phase == reason.phase() && shown == reason.as_str() => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Waits until the row of a session says that it ended for this reason; `None` for an active one.
async fn recorded_as(namespace: &Namespace, name: &str, reason: Option<Reason>) {
    let store = audit_store(namespace);
    eventually(default_timeout() + LOST_GATEWAY, &format!("the row of {name}: {reason:?}"), async || {
        let row = all_rows(&store).await?.into_iter().find(|row| row.name == name).ok_or("no row")?;
        let ended = row.is_final && row.end_time.is_some();
        let fits = row.reason.as_deref() == reason.map(Reason::as_str) && ended == reason.is_some();
        if fits { Ok(()) } else { Err(format!("{row:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_session_whose_object_was_deleted_by_force_is_closed_on_record() {
    let bastion = Bastion::up().await;
    let _audit = Audit::start(&bastion.namespace, "audit-0", "10m").await;
    let mut alice = bastion.open("alice").await;
    let name = alice.session.name_any();
    recorded_as(&bastion.namespace, &name, None).await;
    delete_by_force(&bastion.namespace, &alice.session).await;
    let outcome = alice.ssh.finish(default_timeout()).await;
    assert!(outcome.stderr.contains("its BastionSession was deleted"), "{outcome:?}");
    recorded_as(&bastion.namespace, &name, Some(Reason::AdminTerminated)).await;
}

/// The gateway sees neither the deletion nor, since etcd is compacted, an event of it afterwards.
#[tokio::test]
async fn a_session_ends_whose_object_was_deleted_behind_a_stopped_watch() {
    let _held = weight::take(1).await;
    let control_plane = Arc::new(ControlPlane::start().await);
    let relay = Relay::to(control_plane.api_address()).await;
    let setting = Setting { api: Some(&relay), ..Setting::default() };
    let bastion =
        Bastion::built(control_plane.clone(), &setting, async |namespace, _| namespace.user("bob").await).await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    relay.cut();
    delete_by_force(&bastion.namespace, &alice.session).await;
    bastion.watch.gone(&alice.session).await;
    control_plane.stop_api();
    Etcd::of(&control_plane).compact().await;
    control_plane.start_api().await;
    alice.still_answers().await;
    // The event of the deletion, which the relay may have held up, is lost.
    relay.break_present();
    relay.restore();
    ends_without_an_object(&mut alice, LOST_GATEWAY).await;
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
    bob.ssh.say("exit").await;
    bastion.watch.ended_within(default_timeout(), &bob.session, Reason::UserExit).await;
}

/// Sessions that began after the copy have no object any more, and those that ended after it are Active again. Every resource
/// version is older than those that the programs have seen.
#[tokio::test]
async fn all_programs_agree_again_after_etcd_was_restored_from_a_copy() {
    let _held = weight::take(2).await;
    let control_plane = Arc::new(ControlPlane::start().await);
    let bastion = Bastion::on(control_plane.clone(), async |namespace, _| {
        namespace.user("bob").await;
        namespace.user("carol").await;
    })
    .await;
    let namespace = &bastion.namespace;
    let _controller = Controller::start(namespace, "controller-0").await;
    let _audit = Audit::start(namespace, "audit-0", "10m").await;
    let console = Console::start(namespace).await;
    let token = namespace.viewer().await;
    let (mut bob, mut carol) = tokio::join!(bastion.open("bob"), bastion.open("carol"));
    let mut etcd = Etcd::of(&control_plane);
    let copy = etcd.copy().await;
    carol.ssh.say("exit").await;
    bastion.watch.ended(&carol.session, Reason::UserExit).await;
    let mut alice = bastion.open("alice").await;
    let (alices, bobs, carols) = (alice.session.name_any(), bob.session.name_any(), carol.session.name_any());
    recorded_as(namespace, &alices, None).await;
    recorded_as(namespace, &carols, Some(Reason::UserExit)).await;
    write_much(namespace).await;

    control_plane.stop_api();
    etcd.restore(&copy).await;
    control_plane.start_api().await;
    let restored = Instant::now();
    assert_eq!(stored(namespace, &alices).await, None, "it began after the copy");
    ends_without_an_object(&mut alice, LOST_GATEWAY).await;
    eprintln!("a session without an object ended {:?} after the restoration", restored.elapsed());
    stored_as(namespace, LOST_GATEWAY.saturating_sub(restored.elapsed()), &carols, Reason::Stale).await;
    eprintln!("an object without a session ended {:?} after the restoration", restored.elapsed());
    bob.still_answers().await;
    assert_eq!(stored(namespace, &bobs).await.map(|(phase, _)| phase), Some(Phase::Active));
    recorded_as(namespace, &alices, Some(Reason::AdminTerminated)).await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    page.shows(std::slice::from_ref(&bobs)).await;

    let again = bastion.ssh("alice:web-1").await.command("echo $((40 + 2))").run().await;
    assert_eq!((again.code, again.stdout.trim()), (Some(0), "42"), "{again:?}");
    let killed = Instant::now();
    bastion.gateway.process.signal(Signal::SIGKILL);
    stored_as(namespace, LOST_GATEWAY, &bobs, Reason::GatewayLost).await;
    eprintln!("a lost gateway was found {:?} after its death", killed.elapsed());
    FeedPage::open(&console, &[bearer(&token)]).await.shows(&[]).await;
}

/// Moves the resource versions on by some hundred, so that the restored etcd does not soon catch up.
async fn write_much(namespace: &Namespace) {
    let name = "counter";
    namespace.add(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})).await;
    let maps = namespace.api::<ConfigMap>();
    for number in 0..400 {
        let patch = Patch::Merge(json!({"data": {"number": number.to_string()}}));
        maps.patch(name, &PatchParams::default(), &patch).await.expect("a changed ConfigMap");
    }
}

/// One of two API servers is cut off from etcd without noticing: it serves watches that deliver nothing.
#[tokio::test]
async fn programs_on_a_stale_api_server_say_so_and_declare_nobody_lost() {
    let _held = weight::take(2).await;
    let control_plane = Arc::new(ControlPlane::start().await);
    let to_etcd = Relay::to(Etcd::of(&control_plane).address()).await;
    let stale = SecondApiServer::start(&control_plane, to_etcd.address).await;
    let bastion = Bastion::on(control_plane.clone(), async |_, _| ()).await;
    let namespace = &bastion.namespace;
    let through_stale = Setting { api: Some(&stale), ..Setting::default() };
    let _controllers = tokio::join!(
        Controller::start(namespace, "controller-0"),
        Controller::start_in(namespace, "controller-1", &through_stale),
    );
    let console = Console::start_in(namespace, "console-0", &through_stale).await;
    let mut alice = bastion.open("alice").await;
    let name = alice.session.name_any();
    let token = namespace.viewer().await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    page.shows(std::slice::from_ref(&name)).await;

    to_etcd.cut();
    let cut = Instant::now();
    let said = timeout(Duration::from_secs(10), page.until("stale")).await;
    assert!(said.is_ok(), "the page is shown as live 10 s after its API server fell behind");
    eprintln!("the page was stale {:?} after its API server was cut off", cut.elapsed());
    throughout(Duration::from_secs(25), async || {
        let phase = stored(namespace, &name).await.map(|(phase, _)| phase);
        assert_eq!(phase, Some(Phase::Active), "after {:?}", cut.elapsed());
    })
    .await;
    alice.still_answers().await;
    alice.ssh.say("exit").await;
    bastion.watch.ended(&alice.session, Reason::UserExit).await;
    let bob = bastion.open("alice").await;
    to_etcd.restore();
    // Until it reaches etcd again, the API server reviews no token.
    eventually(default_timeout(), "a page opens", async || {
        let opened = FeedPage::try_open(console.address, &[bearer(&token)]).await;
        opened.map(drop).map_err(|status| status.to_string())
    })
    .await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    page.shows(&[bob.session.name_any()]).await;
}
