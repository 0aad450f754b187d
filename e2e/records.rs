//! What stays of a session: its row in the audit database, and for a while its object.

use bastion_operator::api::{AUDIT_FINALIZER, BastionSession, Reason};
use bastion_operator::audit::{SessionRecord, Store};
use jiff::Timestamp;
use kube::ResourceExt;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::programs::audit_url;
use crate::harness::{AT_ONCE, Bastion, Controller, Namespace, Open, PATIENCE, Setting, eventually};

/// All rows that the session of this name has, once a controller has made the database.
async fn rows(namespace: &Namespace, name: &str) -> Result<Vec<SessionRecord>, String> {
    let store = Store::open(&audit_url(namespace)).await.map_err(|error| error.to_string())?;
    let rows = store.recent(1000).await.map_err(|error| error.to_string())?;
    Ok(rows.into_iter().filter(|row| row.name == name).collect())
}

/// Waits until the session has one row, and that one says that it ended.
async fn ended_row(namespace: &Namespace, session: &BastionSession) -> SessionRecord {
    let name = session.name_any();
    eventually(PATIENCE, "one row, of an ended session", async || {
        let mut rows = rows(namespace, &name).await?;
        let ended = rows.len() == 1 && rows[0].end_time.is_some();
        if ended { Ok(rows.remove(0)) } else { Err(format!("{rows:?}")) }
    })
    .await
}

/// Waits until the object of an ended session waits for nothing any more, or is gone.
async fn finalizer_off(bastion: &Bastion, session: &BastionSession) {
    let api = bastion.namespace.api::<BastionSession>();
    eventually(PATIENCE, "the audit finalizer is off", async || {
        let now = api.get_opt(&session.name_any()).await.map_err(|error| error.to_string())?;
        match now {
            Some(now) if now.finalizers().iter().any(|it| it == AUDIT_FINALIZER) => Err(format!("{:?}", now.metadata)),
            _ => Ok(()),
        }
    })
    .await;
}

fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}

#[tokio::test]
async fn the_audit_row_says_what_the_session_said() {
    let bastion = Bastion::up().await;
    let _controller = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    ssh.say("exit 3").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await.session;
    let row = ended_row(&bastion.namespace, &session).await;
    let status = end.status.expect("a status");
    assert_eq!((row.user_name.as_str(), row.user_subject.as_str()), ("alice", "bastion:alice"));
    assert_eq!((row.target.as_str(), row.login.as_str()), ("web-1", bastion.sshd.login.as_str()));
    assert_eq!((row.status.as_str(), row.reason.as_deref()), ("closed", Some("UserExit")));
    assert_eq!(row.exit_code, Some(3));
    assert_eq!(row.start_time, micros(session.spec.start_time.0));
    assert_eq!(row.end_time, status.end_time.map(|time| micros(time.0)));
    assert_eq!(row.terminated_by, None);
    finalizer_off(&bastion, &session).await;
}

#[tokio::test]
async fn an_open_session_is_in_the_audit_database_too() {
    let bastion = Bastion::up().await;
    let _controller = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    let open = bastion.open("alice").await;
    eventually(PATIENCE, "a row of the open session", async || {
        let rows = rows(&bastion.namespace, &open.session.name_any()).await?;
        let active = rows.len() == 1 && rows[0].status == "active" && rows[0].end_time.is_none();
        if active { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_audit_row_says_who_terminated_the_session() {
    let bastion = Bastion::up().await;
    let _controller = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    let open = bastion.open("alice").await;
    let termination = json!({"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}});
    let admin = bastion.namespace.admin();
    bastion.namespace.patch_session(&admin, &open.session.name_any(), termination).await.expect("a termination");
    let row = ended_row(&bastion.namespace, &open.session).await;
    assert_eq!((row.status.as_str(), row.reason.as_deref()), ("terminated", Some("AdminTerminated")));
    assert_eq!(row.terminated_by.as_deref(), Some("admin"));
}

#[tokio::test]
async fn a_deleted_session_is_gone_once_it_has_ended_and_is_on_record() {
    let bastion = Bastion::up().await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    let name = session.name_any();
    let deleted = bastion.namespace.kubectl(&["delete", "bastionsession", &name, "--wait=false"]).await;
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    ssh.finish(AT_ONCE).await;
    assert_eq!(bastion.session_names().await, [name.as_str()], "the object waits for the audit");
    let _controller = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    bastion.watch.gone(&session).await;
    let row = ended_row(&bastion.namespace, &session).await;
    assert_eq!((row.status.as_str(), row.terminated_by), ("terminated", None));
}

#[tokio::test]
async fn a_finished_session_is_pruned_after_its_retention_and_its_row_stays() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let _controller = Controller::start(&bastion.namespace, "controller-0", "2s").await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    alice.ssh.say("exit").await;
    bastion.watch.gone(&alice.session).await;
    assert_eq!(ended_row(&bastion.namespace, &alice.session).await.status, "closed");
    bob.still_answers().await;
    assert_eq!(bastion.session_names().await, [bob.session.name_any()], "an Active session is not pruned");
}

#[tokio::test]
async fn of_too_many_finished_sessions_the_oldest_are_pruned_and_their_rows_stay() {
    let bastion = Bastion::up().await;
    let setting = Setting { env: vec![("BASTION_MAX_FINISHED", "2".into())], ..Setting::default() };
    let _controller = Controller::start_in(&bastion.namespace, "controller-0", "10m", &setting).await;
    let mut names = Vec::new();
    for _ in 0..4 {
        let outcome = bastion.ssh("alice:web-1").await.command("true").run().await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        names.push(bastion.watch.started("alice").await.name_any());
    }
    eventually(PATIENCE, "the last two are left", async || {
        let left = bastion.session_names().await;
        let newest = left.len() == 2 && names[2..].iter().all(|name| left.contains(name));
        if newest { Ok(()) } else { Err(format!("{left:?} of {names:?}")) }
    })
    .await;
    for name in &names {
        assert_eq!(rows(&bastion.namespace, name).await.expect("the database").len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_session_that_ends_without_a_controller_is_put_on_record_by_the_next_one() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let mut controller = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    controller.process.signal(Signal::SIGKILL);
    controller.process.finish(AT_ONCE).await;
    alice.ssh.say("exit").await;
    let end = bastion.watch.ended(&alice.session, Reason::UserExit).await;
    assert_eq!(end.session.finalizers(), [AUDIT_FINALIZER], "the session waits for its record");
    let _next = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    assert_eq!(ended_row(&bastion.namespace, &alice.session).await.reason.as_deref(), Some("UserExit"));
    finalizer_off(&bastion, &alice.session).await;
    bob.still_answers().await;
}

#[tokio::test]
async fn the_second_controller_takes_over_when_the_first_is_killed() {
    let bastion = Bastion::up().await;
    let first = Controller::start(&bastion.namespace, "controller-0", "10m").await;
    let before = bastion.open("alice").await;
    let _second = Controller::start(&bastion.namespace, "controller-1", "10m").await;
    eventually(PATIENCE, "a row by the first controller", async || {
        let rows = rows(&bastion.namespace, &before.session.name_any()).await?;
        if rows.len() == 1 { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    first.process.signal(Signal::SIGKILL);
    let Open { mut ssh, session } = before;
    ssh.say("exit").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(ended_row(&bastion.namespace, &session).await.status, "closed");
    finalizer_off(&bastion, &session).await;
}
