//! The programs of the version before beside those of this one, on the CRDs, Roles and admission policies of this one, as
//! they are while a cluster is upgraded, and while an upgrade is taken back: `make versions-test`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why, and stops")]

mod version;

use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Phase, Reason};
use kube::ResourceExt;
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;

use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::websocket::bearer;
use bastion_e2e::{
    Bastion, FeedPage, Gateway, LOST_GATEWAY, Open, PROMPT_BOUND, default_timeout, eventually, throughout, weight,
};
use version::Version::{self, Previous, This};

/// Waits until the database has each of these sessions once, as ended for this reason.
async fn recorded_once(bastion: &Bastion, sessions: &[(&BastionSession, Reason)]) {
    let store = audit_store(&bastion.namespace);
    eventually(default_timeout(), "each session is on record once", async || {
        let rows = all_rows(&store).await?;
        for (session, reason) in sessions {
            let rows: Vec<_> = rows.iter().filter(|row| row.name == session.name_any()).collect();
            let ended = rows.len() == 1 && rows[0].is_final && rows[0].reason.as_deref() == Some(reason.as_str());
            if !ended {
                return Err(format!("{} by {reason:?}: {rows:?}", session.name_any()));
            }
        }
        Ok(())
    })
    .await;
}

/// Ends the first of two sessions by `exit` and the second by a request.
async fn end_both(bastion: &Bastion, one: &mut Open, other: &Open) {
    one.ssh.say("exit").await;
    bastion.watch.ended(&one.session, Reason::UserExit).await;
    let request = json!({"spec": {"termination": {"requestedBy": "admin"}}});
    let admin = bastion.namespace.admin();
    bastion.namespace.patch_session(&admin, &other.session.name_any(), request).await.expect("a termination");
    bastion.watch.ended(&other.session, Reason::AdminTerminated).await;
}

async fn kill_and_await_loss(bastion: &Bastion, gateway: &Gateway, session: &BastionSession) {
    let killed = Instant::now();
    gateway.process.signal(Signal::SIGKILL);
    let left = LOST_GATEWAY.saturating_sub(killed.elapsed());
    bastion.watch.ended_within(left, session, Reason::GatewayLost).await;
}

#[rstest]
#[case::an_upgrade_begins_with_the_controllers(Previous, This)]
#[case::an_upgrade_begins_with_the_gateways(This, Previous)]
#[tokio::test]
async fn the_sessions_of_a_gateway_end_with_a_controller_of_another_version(
    #[case] gateway: Version,
    #[case] controller: Version,
) {
    if !version::is_there() {
        return;
    }
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    let _controller = controller.controller(&bastion.namespace, "controller-0").await;
    let gateway = gateway.gateway(&bastion.namespace, "gateway-1").await;
    let mut exits = bastion.open_on(&gateway, "alice", "web-1").await;
    let terminated = bastion.open_on(&gateway, "alice", "web-1").await;
    let lost = bastion.open_on(&gateway, "alice", "web-1").await;
    end_both(&bastion, &mut exits, &terminated).await;
    kill_and_await_loss(&bastion, &gateway, &lost.session).await;
}

/// Runs controllers of one version, and then of both. No session ends by it, and each end is recorded once.
#[rstest]
#[case::upgrade(Previous, This)]
#[case::way_back(This, Previous)]
#[tokio::test]
async fn no_session_is_lost_while_controllers_of_one_version_replace_those_of_the_other(
    #[case] before: Version,
    #[case] after: Version,
) {
    if !version::is_there() {
        return;
    }
    let _held = weight::take(1).await;
    let bastion = Bastion::with_users(&["bob"]).await;
    let old = before.gateway(&bastion.namespace, "gateway-1").await;
    let new = after.gateway(&bastion.namespace, "gateway-2").await;
    let mut leaving = before.controller(&bastion.namespace, "controller-0").await;
    let (mut alice, mut bob) =
        (bastion.open_on(&old, "alice", "web-1").await, bastion.open_on(&new, "bob", "web-1").await);
    let mut exits = bastion.open_on(&old, "alice", "web-1").await;
    let terminated = bastion.open_on(&new, "bob", "web-1").await;
    let mut staying = after.controller(&bastion.namespace, "controller-1").await;
    end_both(&bastion, &mut exits, &terminated).await;
    leaving.process.signal(Signal::SIGTERM);
    leaving.process.finish(default_timeout()).await;
    // Longer than a controller waits before it declares a silent gateway lost.
    throughout(Duration::from_secs(25), async || {
        for open in [&alice, &bob] {
            assert_eq!(bastion.watch.phase(&open.session), Phase::Active);
        }
    })
    .await;
    alice.still_answers().await;
    bob.still_answers().await;
    kill_and_await_loss(&bastion, &old, &alice.session).await;
    bob.ssh.say("exit").await;
    bastion.watch.ended(&bob.session, Reason::UserExit).await;
    if after == Previous {
        staying = replace_by_this(&bastion, staying).await;
    }
    let ends = [
        (&exits.session, Reason::UserExit),
        (&terminated.session, Reason::AdminTerminated),
        (&alice.session, Reason::GatewayLost),
        (&bob.session, Reason::UserExit),
    ];
    recorded_once(&bastion, &ends).await;
    drop(staying);
}

/// Records are kept by this version, which has the right to.
async fn replace_by_this(bastion: &Bastion, mut previous: version::Controller) -> version::Controller {
    previous.process.signal(Signal::SIGTERM);
    previous.process.finish(default_timeout()).await;
    This.controller(&bastion.namespace, "controller-2").await
}

#[rstest]
#[case::previous(Previous)]
#[case::this(This)]
#[tokio::test]
async fn the_console_of_either_version_shows_the_sessions_of_both(#[case] console: Version) {
    if !version::is_there() {
        return;
    }
    let bastion = Bastion::with_users(&["bob"]).await;
    let previous = Previous.gateway(&bastion.namespace, "gateway-1").await;
    let console = console.console(&bastion.namespace).await;
    let token = bastion.namespace.viewer().await;
    let mut page = FeedPage::open(&console, &[bearer(&token)]).await;
    let (mut alice, bob) = (bastion.open_on(&previous, "alice", "web-1").await, bastion.open("bob").await);
    let mut names = vec![alice.session.name_any(), bob.session.name_any()];
    names.sort();
    page.shows(&names).await;
    alice.ssh.say("exit").await;
    bastion.watch.ended_within(PROMPT_BOUND, &alice.session, Reason::UserExit).await;
    page.shows(&[bob.session.name_any()]).await;
}
