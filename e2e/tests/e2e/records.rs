//! What stays of a session: its row in the audit database, and for a while its object.

use std::time::Duration;

use bastion_operator::api::{AUDIT_FINALIZER, BastionSession, RECORDED_AT_ANNOTATION, Reason};
use bastion_operator::audit::{SessionRecord, Store};
use jiff::Timestamp;
use kube::ResourceExt;
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::json;

use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::{Audit, Bastion, MariaDb, Namespace, Open, PROMPT_BOUND, Setting, default_timeout, eventually};

/// Which kind of database the records are in.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Sqlite,
    MariaDb,
}

/// A namespace's audit database, and what leads audit programs to it.
struct Records {
    store: Store,
    setting: Setting<'static>,
}

impl Records {
    async fn of(namespace: &Namespace, kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self { store: audit_store(namespace), setting: Setting::default() },
            Kind::MariaDb => {
                let database = MariaDb::shared().await.database().await;
                Self { store: database.store(), setting: Setting { env: database.environment(), ..Setting::default() } }
            }
        }
    }

    async fn audit(&self, namespace: &Namespace, pod: &str, retention: &str) -> Audit {
        Audit::start_in(namespace, pod, retention, &self.setting).await
    }

    /// All rows that the session of this name has, once an audit program has made the database.
    async fn rows(&self, name: &str) -> Result<Vec<SessionRecord>, String> {
        Ok(all_rows(&self.store).await?.into_iter().filter(|row| row.name == name).collect())
    }

    /// Waits until the session has one row, and that one says that it ended.
    async fn ended_row(&self, session: &BastionSession) -> SessionRecord {
        let name = session.name_any();
        eventually(default_timeout(), "one row, of an ended session", async || {
            let mut rows = self.rows(&name).await?;
            let ended = rows.len() == 1 && rows[0].end_time.is_some();
            if ended { Ok(rows.remove(0)) } else { Err(format!("{rows:?}")) }
        })
        .await
    }
}

/// Waits until the object of an ended session has no audit finalizer, or is gone.
async fn finalizer_off(bastion: &Bastion, session: &BastionSession) {
    let api = bastion.namespace.api::<BastionSession>();
    eventually(default_timeout(), "the audit finalizer is off", async || {
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

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn the_audit_row_says_what_the_session_said(#[case] kind: Kind) {
    let bastion = Bastion::up().await;
    let records = Records::of(&bastion.namespace, kind).await;
    let _audit = records.audit(&bastion.namespace, "audit-0", "10m").await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    ssh.say("exit 3").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await.session;
    let row = records.ended_row(&session).await;
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

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn an_open_session_is_in_the_audit_database_too(#[case] kind: Kind) {
    let bastion = Bastion::up().await;
    let records = Records::of(&bastion.namespace, kind).await;
    let _audit = records.audit(&bastion.namespace, "audit-0", "10m").await;
    let open = bastion.open("alice").await;
    eventually(default_timeout(), "a row of the open session", async || {
        let rows = records.rows(&open.session.name_any()).await?;
        let active = rows.len() == 1 && rows[0].status == "active" && rows[0].end_time.is_none();
        if active { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn the_audit_row_says_who_terminated_the_session(#[case] kind: Kind) {
    let bastion = Bastion::up().await;
    let records = Records::of(&bastion.namespace, kind).await;
    let _audit = records.audit(&bastion.namespace, "audit-0", "10m").await;
    let open = bastion.open("alice").await;
    let termination = json!({"spec": {"termination": {"requestedBy": "admin", "reason": "maintenance"}}});
    let admin = bastion.namespace.admin();
    bastion.namespace.patch_session(&admin, &open.session.name_any(), termination).await.expect("a termination");
    let row = records.ended_row(&open.session).await;
    assert_eq!((row.status.as_str(), row.reason.as_deref()), ("terminated", Some("AdminTerminated")));
    assert_eq!(row.terminated_by.as_deref(), Some("admin"));
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn a_deleted_session_is_gone_once_it_has_ended_and_is_on_record(#[case] kind: Kind) {
    let bastion = Bastion::up().await;
    let records = Records::of(&bastion.namespace, kind).await;
    let Open { mut ssh, session } = bastion.open("alice").await;
    let name = session.name_any();
    let deleted = bastion.namespace.kubectl(&["delete", "bastionsession", &name, "--wait=false"]).await;
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    ssh.finish(PROMPT_BOUND).await;
    assert_eq!(bastion.session_names().await, [name.as_str()], "the object waits for the audit");
    let _audit = records.audit(&bastion.namespace, "audit-0", "10m").await;
    bastion.watch.gone(&session).await;
    let row = records.ended_row(&session).await;
    assert_eq!((row.status.as_str(), row.terminated_by), ("terminated", None));
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn a_finished_session_is_pruned_after_its_retention_and_its_row_stays(#[case] kind: Kind) {
    let bastion = Bastion::with_users(&["bob"]).await;
    let records = Records::of(&bastion.namespace, kind).await;
    let _audit = records.audit(&bastion.namespace, "audit-0", "2s").await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    alice.ssh.say("exit").await;
    bastion.watch.gone(&alice.session).await;
    assert_eq!(records.ended_row(&alice.session).await.status, "closed");
    bob.still_answers().await;
    assert_eq!(bastion.session_names().await, [bob.session.name_any()], "an Active session is not pruned");
}

/// As after an outage of the database that lasted longer than the retention.
#[tokio::test]
async fn a_session_that_is_recorded_late_stays_for_its_whole_retention() {
    const RETENTION: Duration = Duration::from_secs(8);
    let bastion = Bastion::up().await;
    let outcome = bastion.ssh("alice:web-1").await.command("true").run().await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    let ended = bastion.watch.ended(&session, Reason::UserExit).await.at;
    eventually(default_timeout(), "its end is older than the retention", async || {
        let age = ended.elapsed();
        if age > RETENTION { Ok(()) } else { Err(format!("{age:?}")) }
    })
    .await;
    let _audit = Audit::start(&bastion.namespace, "audit-0", "8s").await;
    bastion.watch.gone(&session).await;
    let seen = bastion.watch.seen();
    let of_it: Vec<_> = seen.iter().filter(|it| it.name == session.name_any()).collect();
    let recorded = of_it.iter().find(|it| it.session.finalizers().is_empty()).expect("it was put on record");
    let noted = recorded.session.annotations().get(RECORDED_AT_ANNOTATION).expect("a time");
    assert!(noted.parse::<Timestamp>().is_ok(), "{noted}");
    let gone = of_it.iter().find(|it| it.gone).expect("it is gone");
    let stayed = gone.at.duration_since(recorded.at);
    // The watch may have shown the record a moment late.
    assert!(stayed > RETENTION / 2, "it was deleted {stayed:?} after its record");
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn of_too_many_finished_sessions_the_oldest_are_pruned_and_their_rows_stay(#[case] kind: Kind) {
    let bastion = Bastion::up().await;
    let mut records = Records::of(&bastion.namespace, kind).await;
    records.setting.env.push(("BASTION_MAX_FINISHED", "2".into()));
    let _audit = records.audit(&bastion.namespace, "audit-0", "10m").await;
    let mut names = Vec::new();
    for _ in 0..4 {
        let outcome = bastion.ssh("alice:web-1").await.command("true").run().await;
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        names.push(bastion.watch.started("alice").await.name_any());
    }
    eventually(default_timeout(), "the last two are left", async || {
        let left = bastion.session_names().await;
        let newest = left.len() == 2 && names[2..].iter().all(|name| left.contains(name));
        if newest { Ok(()) } else { Err(format!("{left:?} of {names:?}")) }
    })
    .await;
    for name in &names {
        assert_eq!(records.rows(name).await.expect("the database").len(), 1, "{name}");
    }
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn a_session_that_ends_without_an_audit_program_is_put_on_record_by_the_next_one(#[case] kind: Kind) {
    let bastion = Bastion::with_users(&["bob"]).await;
    let records = Records::of(&bastion.namespace, kind).await;
    let mut audit = records.audit(&bastion.namespace, "audit-0", "10m").await;
    let (mut alice, mut bob) = tokio::join!(bastion.open("alice"), bastion.open("bob"));
    audit.process.signal(Signal::SIGKILL);
    audit.process.finish(PROMPT_BOUND).await;
    alice.ssh.say("exit").await;
    let end = bastion.watch.ended(&alice.session, Reason::UserExit).await;
    assert_eq!(end.session.finalizers(), [AUDIT_FINALIZER], "the session waits for its record");
    let _next = records.audit(&bastion.namespace, "audit-0", "10m").await;
    assert_eq!(records.ended_row(&alice.session).await.reason.as_deref(), Some("UserExit"));
    finalizer_off(&bastion, &alice.session).await;
    bob.still_answers().await;
}

#[rstest]
#[case::sqlite(Kind::Sqlite)]
#[case::mariadb(Kind::MariaDb)]
#[tokio::test]
async fn the_second_audit_program_takes_over_when_the_first_is_killed(#[case] kind: Kind) {
    let bastion = Bastion::up().await;
    let records = Records::of(&bastion.namespace, kind).await;
    let first = records.audit(&bastion.namespace, "audit-0", "10m").await;
    let before = bastion.open("alice").await;
    let _second = records.audit(&bastion.namespace, "audit-1", "10m").await;
    eventually(default_timeout(), "a row by the first audit program", async || {
        let rows = records.rows(&before.session.name_any()).await?;
        if rows.len() == 1 { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    first.process.signal(Signal::SIGKILL);
    let Open { mut ssh, session } = before;
    ssh.say("exit").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(records.ended_row(&session).await.status, "closed");
    finalizer_off(&bastion, &session).await;
}
