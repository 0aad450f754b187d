//! The audit database gone wrong: sessions go on, records are late, none is lost and none is there twice.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;

use bastion_operator::api::{AUDIT_FINALIZER, BastionSession, Reason};
use bastion_operator::audit::{SessionRecord, Store};
use kube::ResourceExt;
use sqlx::{AssertSqlSafe, MySqlConnection, Row};

use bastion_e2e::programs::{all_rows, sqlite_store};
use bastion_e2e::small_disk::SmallDisk;
use bastion_e2e::{
    Audit, Bastion, Database, MariaDb, Process, Setting, default_timeout, eventually, metric, metric_becomes, weight,
};

const BACKLOG: &str = "bastion_audit_backlog";
const OLDEST: &str = "bastion_audit_oldest_unwritten_end_seconds";
const RESTORES: &str = "bastion_audit_restores_total";

/// A bastion whose audit program keeps its records in this database.
struct Environment {
    bastion: Bastion,
    audit: Audit,
    store: Store,
}

impl Environment {
    async fn at(store: Store, env: Vec<(&'static str, OsString)>) -> Self {
        let bastion = Bastion::with_users(&["bob"]).await;
        let setting = Setting { env, ..Setting::default() };
        let audit = Audit::start_in(&bastion.namespace, "audit-0", "10m", &setting).await;
        Self { bastion, audit, store }
    }

    /// Runs a command on the target, in a session of its own, which has ended when this returns.
    async fn visit(&self, user: &str) -> BastionSession {
        let outcome = self.bastion.ssh(&format!("{user}:web-1")).await.command("echo hello").run().await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "hello\n"), "{outcome:?}");
        let session = self.bastion.watch.started(user).await;
        self.bastion.watch.ended(&session, Reason::UserExit).await.session
    }

    /// Waits until there is one row of each of the sessions, which says what the session says, and no other.
    async fn recorded(&self, sessions: &[&BastionSession]) {
        let mut expected: Vec<_> = sessions.iter().map(|session| what_matters(&SessionRecord::of(session))).collect();
        expected.sort();
        eventually(default_timeout(), "a row of each session", async || {
            let mut rows: Vec<_> = all_rows(&self.store).await?.iter().map(what_matters).collect();
            rows.sort();
            if rows == expected { Ok(()) } else { Err(format!("{rows:?}, not {expected:?}")) }
        })
        .await;
    }

    /// Waits until the backlog is empty.
    async fn settled(&self) {
        metric_becomes(self.http(), BACKLOG, |waiting| waiting == 0.0).await;
        metric_becomes(self.http(), OLDEST, |age| age == 0.0).await;
    }

    /// Waits until the database has refused something for this cause, and checks that the session waits.
    async fn refused(&self, cause: &str, waiting: &BastionSession) {
        let failures = format!("bastion_audit_failures_total{{cause=\"{cause}\"}}");
        metric_becomes(self.http(), &failures, |failures| failures >= 1.0).await;
        metric_becomes(self.http(), BACKLOG, |waiting| waiting >= 1.0).await;
        metric_becomes(self.http(), OLDEST, |age| age > 0.0).await;
        let now = self.bastion.namespace.api::<BastionSession>().get(&waiting.name_any()).await.expect("it is there");
        assert_eq!(now.finalizers(), [AUDIT_FINALIZER], "it waits for its record");
    }

    fn http(&self) -> SocketAddr {
        self.audit.http
    }
}

/// Starts a database server of its own, and a bastion that keeps its records there.
async fn with_server(flags: &[&str]) -> (MariaDb, Database, Environment) {
    let server = MariaDb::start(flags).await;
    let database = server.migrated_database().await;
    let environment = Environment::at(database.store(), database.environment()).await;
    (server, database, environment)
}

/// Waits until the audit program waits for the lock on the last row of its transaction. It has then written the others.
async fn stands_still(database: &Database) {
    eventually(default_timeout(), "a batch stands still in its middle", async || {
        let list = database.ask("SELECT info FROM information_schema.processlist WHERE info IS NOT NULL").await;
        let infos: Vec<String> = list.iter().map(|row| row.get("info")).collect();
        let waits = infos.iter().any(|info| info.starts_with("INSERT INTO mirror_progress"));
        if waits { Ok(()) } else { Err(format!("{infos:?}")) }
    })
    .await;
}

/// All of a row but when it changed last: the finalizer goes after it was written.
fn what_matters(row: &SessionRecord) -> String {
    format!("{:?}", SessionRecord { updated_at: 0, ..row.clone() })
}

#[tokio::test]
async fn while_the_database_is_down_sessions_go_on_and_are_recorded_afterwards() {
    let _held = weight::take(1).await;
    let (mut server, _, environment) = with_server(&[]).await;
    let before = environment.visit("alice").await;
    environment.recorded(&[&before]).await;
    environment.settled().await;
    let mut open = environment.bastion.open("bob").await;
    server.kill().await;
    let during = environment.visit("alice").await;
    open.still_answers().await;
    environment.refused("unreachable", &during).await;
    server.start_again().await;
    environment.recorded(&[&before, &during, &open.session]).await;
    environment.settled().await;
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_of_a_batch_has_each_row_once_afterwards() {
    let _held = weight::take(1).await;
    let (mut server, database, environment) = with_server(&[]).await;
    let before = environment.visit("alice").await;
    environment.recorded(&[&before]).await;
    // Holds the last row of the transaction, so that the rows of the sessions are written and not yet committed.
    let mut holder = database.session().await;
    sqlx::raw_sql("BEGIN; SELECT batches FROM mirror_progress FOR UPDATE").execute(&mut holder).await.expect("a lock");
    let (alice, bob) = tokio::join!(environment.visit("alice"), environment.visit("bob"));
    stands_still(&database).await;
    server.kill().await;
    drop(holder);
    server.start_again().await;
    environment.recorded(&[&before, &alice, &bob]).await;
    environment.settled().await;
}

#[tokio::test]
async fn the_victim_of_a_deadlock_is_written_again() {
    let _held = weight::take(1).await;
    let (_server, database, environment) = with_server(&[]).await;
    let before = environment.visit("alice").await;
    environment.recorded(&[&before]).await;
    environment.settled().await;
    // Of two transactions in a deadlock, the server ends the one that has changed fewer rows.
    let mut other = database.session().await;
    let begin = "CREATE TABLE other (id INT PRIMARY KEY); BEGIN; INSERT INTO other SELECT seq FROM seq_1_to_1000; \
                 SELECT batches FROM mirror_progress FOR UPDATE";
    sqlx::raw_sql(begin).execute(&mut other).await.expect("a lock");
    let during = environment.visit("alice").await;
    stands_still(&database).await;
    let uid = during.uid().expect("a uid");
    let lock_row = format!("SELECT 1 FROM session_records WHERE session_id = '{uid}' FOR UPDATE");
    sqlx::raw_sql(AssertSqlSafe(lock_row)).execute(&mut other).await.expect("the other one is the victim");
    environment.refused("busy", &during).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.expect("its end");
    environment.recorded(&[&before, &during]).await;
    environment.settled().await;
}

#[tokio::test]
async fn while_the_disk_of_sqlite_is_full_records_wait() {
    let Some(disk) = SmallDisk::new(4 << 20).await else { return };
    let url = format!("sqlite://{}", disk.dir.join("audit.db").display());
    let environment = Environment::at(sqlite_store(url.clone()), vec![("BASTION_AUDIT_URL", url.into())]).await;
    let before = environment.visit("alice").await;
    environment.recorded(&[&before]).await;
    environment.settled().await;
    disk.fill();
    let mut open = environment.bastion.open("bob").await;
    let during = environment.visit("alice").await;
    environment.refused("full", &during).await;
    open.still_answers().await;
    assert!(environment.audit.process.stderr().contains("free space on the database's disk"));
    disk.free();
    environment.recorded(&[&before, &during, &open.session]).await;
    environment.settled().await;
}

#[tokio::test]
async fn a_frozen_server_is_given_up_and_a_thawed_one_used_again() {
    let _held = weight::take(1).await;
    let (server, _, environment) = with_server(&[]).await;
    let before = environment.visit("alice").await;
    environment.recorded(&[&before]).await;
    server.freeze().await;
    let during = environment.visit("alice").await;
    environment.refused("timeout", &during).await;
    server.thaw();
    environment.recorded(&[&before, &during]).await;
    environment.settled().await;
}

#[tokio::test]
async fn while_the_server_is_read_only_records_wait() {
    let _held = weight::take(1).await;
    let (_server, database, environment) = with_server(&[]).await;
    database.administer("SET GLOBAL read_only = 1").await;
    let session = environment.visit("alice").await;
    environment.refused("read_only", &session).await;
    assert!(environment.audit.process.stderr().contains("or point --audit-url at the primary"));
    database.administer("SET GLOBAL read_only = 0").await;
    environment.recorded(&[&session]).await;
    environment.settled().await;
}

#[tokio::test]
async fn while_the_server_has_no_connection_left_records_wait() {
    let _held = weight::take(1).await;
    let (server, database, environment) = with_server(&["--max-connections=10"]).await;
    let first = environment.visit("alice").await;
    environment.recorded(&[&first]).await;
    environment.settled().await;
    let mut taken = take_all(&server).await;
    // The audit program's connections are killed too, and the freed places are taken.
    let kill = format!("KILL USER {}", database.name);
    sqlx::raw_sql(AssertSqlSafe(kill)).execute(&mut taken[0]).await.expect("a right");
    taken.extend(take_all(&server).await);
    let session = environment.visit("alice").await;
    environment.refused("connections", &session).await;
    drop(taken);
    environment.recorded(&[&first, &session]).await;
    environment.settled().await;
}

/// All connections that the server has left.
async fn take_all(server: &MariaDb) -> Vec<MySqlConnection> {
    let mut taken = Vec::new();
    while let Ok(connection) = server.try_admin().await {
        taken.push(connection);
    }
    taken
}

#[tokio::test]
async fn what_a_restored_back_up_lacks_is_written_again_while_the_cluster_has_it() {
    let _held = weight::take(1).await;
    let (_server, database, environment) = with_server(&[]).await;
    let before = environment.visit("alice").await;
    environment.recorded(&[&before]).await;
    let mut dump = database.tool("mariadb-dump");
    dump.args(["--single-transaction", &database.name]);
    let file = environment.bastion.namespace.dir.join("dump");
    Process::succeeds(file, dump).await;
    let (after, open) = (environment.visit("bob").await, environment.bastion.open("alice").await);
    environment.recorded(&[&before, &after, &open.session]).await;
    environment.settled().await;
    assert_eq!(metric(environment.http(), RESTORES).await, Some(0.0));

    // As docs/operations.md says.
    let name = &database.name;
    database.administer(&format!("ALTER USER {name}@'%' ACCOUNT LOCK; KILL USER {name}")).await;
    let mut restore = database.tool("mariadb");
    restore.arg(name);
    let dumped = std::fs::File::open(environment.bastion.namespace.dir.join("dump.out")).expect("the dump");
    let files = environment.bastion.namespace.dir.join("restore");
    let mut process = Process::start_with(files, restore, Stdio::from(dumped), Stdio::null()).await;
    assert_eq!(process.finish(default_timeout()).await.code, Some(0), "{}", process.last_words());
    assert_eq!(database.ask("SELECT session_id FROM session_records").await.len(), 1, "as of the back-up");
    database.administer(&format!("ALTER USER {name}@'%' ACCOUNT UNLOCK")).await;
    environment.recorded(&[&before, &after, &open.session]).await;
    metric_becomes(environment.http(), RESTORES, |restores| (0.5..1.5).contains(&restores)).await;
    environment.settled().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_written_holds_up_no_other() {
    let _held = weight::take(1).await;
    let (_server, database, environment) = with_server(&[]).await;
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON session_records FOR EACH ROW
        IF NEW.user_name = 'bob' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1406, MESSAGE_TEXT = 'too long'; END IF";
    database.administer(refuse).await;
    let bob = environment.visit("bob").await;
    let alice = environment.visit("alice").await;
    environment.recorded(&[&alice]).await;
    environment.refused("rejected", &bob).await;
    database.administer("DROP TRIGGER refuse").await;
    environment.recorded(&[&alice, &bob]).await;
    environment.settled().await;
}

#[tokio::test]
async fn a_new_password_is_used_without_a_restart_and_none_is_ever_shown() {
    let _held = weight::take(1).await;
    let (_server, database, environment) = with_server(&[]).await;
    let before = environment.visit("alice").await;
    environment.recorded(&[&before]).await;
    let name = &database.name;
    database.administer(&format!("ALTER USER {name}@'%' IDENTIFIED BY 'another-secret'; KILL USER {name}")).await;
    let during = environment.visit("alice").await;
    environment.refused("denied", &during).await;
    database.write_password("another-secret\n");
    environment.recorded(&[&before, &during]).await;
    environment.settled().await;
    let pid = environment.audit.process.pid();
    let seen = ["cmdline", "environ"].map(|file| std::fs::read(format!("/proc/{pid}/{file}")).expect("a file"));
    let log = environment.audit.process.stderr();
    assert!(log.contains("check --audit-password-file"), "{log}");
    for text in [&seen[0], &seen[1], log.as_bytes()].map(|text| String::from_utf8_lossy(text).into_owned()) {
        assert!(!text.contains("secret-of-") && !text.contains("another-secret"), "{text}");
    }
}

#[tokio::test]
async fn a_program_whose_settings_are_wrong_names_the_flag_and_stops() {
    let _held = weight::take(1).await;
    let bastion = Bastion::up().await;
    for (url, file, words) in [
        ("mysql://bastion:hunter2@db/audit", None, "--audit-url contains a password"),
        ("mongodb://db/audit", None, "--audit-url: write sqlite:// and"),
        ("mysql://bastion@db/audit", Some("/nowhere"), "--audit-password-file /nowhere: No such file"),
    ] {
        let outcome =
            migrate(&bastion, url, file.map(|file| ("BASTION_AUDIT_PASSWORD_FILE", OsString::from(file)))).await;
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(words) && !outcome.stderr.contains("hunter2"), "{outcome:?}");
    }
}

/// Runs `bastion migrate` to its end.
async fn migrate(
    bastion: &Bastion,
    url: &str,
    more: impl IntoIterator<Item = (&'static str, OsString)>,
) -> bastion_e2e::Outcome {
    let program = &bastion_e2e::Run::get().await.bastion;
    let mut command = bastion_e2e::process::command(program);
    command.args(["migrate", "--audit-url", url]).envs(more);
    let files = bastion.namespace.dir.join(format!("migrate-{}", bastion_e2e::run::unique()));
    Process::start(files, command).await.finish(default_timeout()).await
}
