//! The audit store on a real MariaDB: who may change its schema, whom it trusts, and how it answers.

use std::path::{Path, PathBuf};

use bastion_operator::audit::statement::{self, Value};
use bastion_operator::audit::{AuditSettings, AuditTls, Cause, HistoryFilter, PageKey, SessionRecord, Store};
use futures::future::join_all;
use sqlx::{AssertSqlSafe, Row};
use tokio::process::Command;

use bastion_e2e::programs::all_rows;
use bastion_e2e::run::{Run, unique};
use bastion_e2e::{Database, MariaDb, weight};

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000_000;
const DAY: i64 = 86_400_000_000;

fn record(id: &str) -> SessionRecord {
    SessionRecord {
        session_id: id.into(),
        namespace: "bastion-system".into(),
        name: format!("alice-web-1-{id}"),
        user_name: "alice".into(),
        user_subject: "bastion:alice".into(),
        user_groups: r#"["ops","grün \"b\" 😀"]"#.into(),
        target: "web-1".into(),
        login: "root".into(),
        protocol: "SSH".into(),
        client_address: "2001:db8::7".into(),
        client_port: 65535,
        client_software: Some("SSH-2.0-OpenSSH_9.2 ".into()),
        gateway_name: "gateway-0".into(),
        gateway_instance: "gateway-0-abcdefghij".into(),
        status: "active".into(),
        reason: None,
        message: None,
        start_time: NEW_YEAR,
        last_seen_time: None,
        end_time: None,
        duration_micros: None,
        exit_code: None,
        exit_signal: None,
        bytes_in: None,
        bytes_out: None,
        terminated_by: None,
        recording: None,
        is_final: false,
        updated_at: NEW_YEAR,
    }
}

fn ended(id: &str) -> SessionRecord {
    SessionRecord {
        status: "terminated".into(),
        reason: Some("AdminTerminated".into()),
        message: Some("terminated by admin: \u{0} ' \" \\ ".into()),
        end_time: Some(NEW_YEAR + DAY),
        last_seen_time: Some(NEW_YEAR + 1),
        duration_micros: Some(DAY),
        exit_code: Some(-1),
        exit_signal: Some("KILL".into()),
        bytes_in: Some(i64::MAX),
        bytes_out: Some(0),
        terminated_by: Some("admin".into()),
        recording: Some(r#"{"mode":"Required"}"#.into()),
        is_final: true,
        updated_at: NEW_YEAR + DAY,
        ..record(id)
    }
}

async fn database() -> Database {
    MariaDb::shared().await.migrated_database().await
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_written_and_the_newest_state_wins_in_any_order() {
    let database = database().await;
    let store = database.store();
    let later = SessionRecord { bytes_out: Some(7), updated_at: NEW_YEAR + 2 * DAY, ..ended("a") };
    // Later by the clock, as of an API server whose clock is ahead, and yet not final.
    let start = SessionRecord { updated_at: NEW_YEAR + 3 * DAY, ..record("a") };
    let mut count = 0;
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let id = format!("{order:?}");
        let states = [&start, &ended("a"), &later].map(|row| SessionRecord { session_id: id.clone(), ..row.clone() });
        for state in order {
            count += 1;
            assert_eq!(store.upsert(std::slice::from_ref(&states[state])).await.expect("a write"), count);
        }
        assert_eq!(store.get(&id).await.expect("a read"), Some(states[2].clone()), "in the order {order:?}");
    }
    for row in [record("open"), ended("over")] {
        store.upsert(&[row.clone(), row.clone()]).await.expect("a write");
        assert_eq!(store.get(&row.session_id).await.expect("a read"), Some(row));
    }
    let terminated = database.ask("SELECT COUNT(*) AS n FROM session_records WHERE is_terminated").await;
    assert_eq!(terminated[0].get::<i64, _>("n"), 7);
}

#[tokio::test]
async fn many_programs_may_migrate_at_once_and_one_that_was_killed_is_no_hindrance() {
    let database = MariaDb::shared().await.database().await;
    let programs = (0..8).map(|_| {
        let store = database.store();
        tokio::spawn(async move { store.migrate().await })
    });
    for program in join_all(programs).await {
        program.expect("a task").expect("a migration");
    }
    // As one leaves it behind that was killed when the table was there and that was not yet written down.
    database.administer("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 2").await;
    database.store().migrate().await.expect("a migration");
    database.store().upsert(&[ended("a")]).await.expect("a write");
    let dirty = database.ask("SELECT version FROM _sqlx_migrations WHERE NOT success").await;
    assert!(dirty.is_empty());
}

/// While one program migrates, another waits for it and does nothing itself.
#[tokio::test]
async fn a_migration_waits_for_another() {
    let database = MariaDb::shared().await.database().await;
    let mut other = database.session().await;
    let lock = format!("SELECT GET_LOCK(CONCAT('bastion-migrate/', SHA1('{}')), 5)", database.name);
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut other).await.expect("a lock");
    let store = database.store();
    let waiting = tokio::spawn(async move { store.migrate().await });
    bastion_e2e::eventually(bastion_e2e::default_timeout(), "the migration waits for the lock", async || {
        let list = database.ask("SELECT state FROM information_schema.processlist WHERE state = 'User lock'").await;
        if list.is_empty() { Err("it does not".to_owned()) } else { Ok(()) }
    })
    .await;
    assert!(database.ask("SHOW TABLES").await.is_empty());
    drop(other);
    waiting.await.expect("a task").expect("a migration");
    assert_eq!(database.ask("SHOW TABLES").await.len(), 3);
}

#[tokio::test]
async fn a_program_that_may_only_write_rows_works_on_a_migrated_database_and_says_what_another_lacks() {
    let database = MariaDb::shared().await.database().await;
    database.may_only_write_rows().await;
    let error = database.store().migrate().await.expect_err("it may not");
    assert_eq!(error.cause, Cause::Denied, "{error}");
    assert!(
        error.to_string().contains(&format!("cannot migrate the audit database mysql://{}@", database.name)),
        "{error}"
    );
    database.administer(&format!("GRANT ALL ON {0}.* TO {0}@'%'", database.name)).await;
    database.store().migrate().await.expect("a migration");
    database.may_only_write_rows().await;
    database.store().migrate().await.expect("nothing to do");
    database.store().upsert(&[ended("a")]).await.expect("a write");
    // A newer release adds a column with a default, which older releases do not know.
    let newer = "ALTER TABLE session_records ADD COLUMN fashion VARCHAR(9) NOT NULL DEFAULT 'new';
        INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', TRUE, '', 1)";
    database.administer(newer).await;
    database.store().migrate().await.expect("nothing to do");
    database.store().upsert(&[ended("a"), record("b")]).await.expect("a write");
    assert_eq!(all_rows(&database.store()).await.expect("rows").len(), 2);
}

/// A folder with an authority, a certificate of it for `localhost`, and another authority.
async fn certificates() -> PathBuf {
    let dir = Run::get().await.dir.join(format!("tls-{}", unique()));
    std::fs::create_dir(&dir).expect("a folder");
    let script = "
        for name in ca other; do
          openssl req -x509 -newkey rsa:2048 -nodes -keyout $name.key -out $name.crt -days 2 -subj /CN=$name
        done
        openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=server
        echo subjectAltName=DNS:localhost >names
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt";
    let made = Command::new("sh").args(["-ec", script]).current_dir(&dir).output().await.expect("openssl runs");
    assert!(made.status.success(), "{made:?}");
    dir
}

fn over_tls(database: &Database, host: &str, ca: &Path) -> AuditSettings {
    let settings = database.settings();
    let url = settings.url.replace("127.0.0.1", host);
    AuditSettings { url, tls: AuditTls::Verify, ca_file: Some(ca.to_owned()), ..settings }
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_and_its_name() {
    let _held = weight::take(1).await;
    let dir = certificates().await;
    let file = |name: &str| dir.join(name);
    let flags = [("ssl-cert", "server.crt"), ("ssl-key", "server.key")];
    let flags = flags.map(|(flag, name)| format!("--{flag}={}", file(name).display()));
    let server = MariaDb::start(&[&flags[0], &flags[1], "--require-secure-transport=ON"]).await;
    // Its administrator comes through the socket, which counts as secure.
    let database = server.database().await;
    let store = |host: &str, ca: &str| Store::new(over_tls(&database, host, &file(ca))).expect("settings");
    store("localhost", "ca.crt").migrate().await.expect("the right server");
    for (host, ca) in [("localhost", "other.crt"), ("127.0.0.1", "ca.crt")] {
        let error = store(host, ca).migrate().await.expect_err("not the right server");
        assert_eq!(error.cause, Cause::Tls, "{host} {ca}: {error}");
        assert!(error.to_string().contains("--audit-ca-file must contain the CA"), "{error}");
    }
    // MariaDB tells it from a wrong password no better than this, MySQL does.
    let error = database.store().migrate().await.expect_err("not in the clear");
    assert!(matches!(error.cause, Cause::Denied | Cause::Tls), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_that_is_meant() {
    let database = MariaDb::shared().await.database().await;
    let error =
        Store::new(AuditSettings { tls: AuditTls::Verify, ..database.settings() }).expect("settings").migrate().await;
    let error = error.expect_err("it speaks no TLS");
    assert_eq!(error.cause, Cause::Tls, "{error}");
    assert!(error.to_string().contains("--audit-tls=off"), "{error}");
    database.store().migrate().await.expect("in the clear");
}

/// A hundred thousand sessions of 500 users on 200 targets in four months.
async fn fill(database: &Database) {
    let store = database.store();
    let mut made = Vec::new();
    for number in 0_i64..100_000 {
        let id = format!("00000000-0000-4000-8000-{:012}", number * 7919 % 1_000_003);
        let mut row = if number > 99_000 { record(&id) } else { ended(&id) };
        row.user_name = format!("user-{}", number % 500);
        row.user_subject = format!("bastion:{}", row.user_name);
        row.target = format!("web-{}", number % 200);
        row.start_time = NEW_YEAR + number * (120 * DAY / 100_000);
        made.push(row);
        if made.len() == 1000 {
            store.upsert(&std::mem::take(&mut made)).await.expect("a write");
        }
    }
    database.administer("ANALYZE TABLE session_records").await;
}

/// What people ask, and the index that answers it.
fn questions() -> [(HistoryFilter, &'static str); 5] {
    let named = |name: &str| Some(name.to_owned());
    let week = HistoryFilter {
        namespace: named("bastion-system"),
        since: Some(NEW_YEAR + 100 * DAY),
        until: Some(NEW_YEAR + 107 * DAY),
        ..HistoryFilter::default()
    };
    [
        (HistoryFilter { user: named("user-7"), ..week.clone() }, "session_records_by_user"),
        (HistoryFilter { target: named("web-9"), ..week.clone() }, "session_records_by_target"),
        (HistoryFilter { subject: named("bastion:user-7"), ..week.clone() }, "session_records_by_subject"),
        (
            HistoryFilter { status: named("active"), since: None, until: None, ..week.clone() },
            "session_records_by_status",
        ),
        (week, "PRIMARY"),
    ]
}

/// How the server goes about a page of the history: the index, and whether it has to sort.
async fn plan(database: &Database, filter: &HistoryFilter) -> (String, String) {
    let statement = statement::history(filter, 100);
    let query = sqlx::query::<sqlx::MySql>(AssertSqlSafe(format!("EXPLAIN {}", statement.sql)));
    let query = statement.values.into_iter().fold(query, |query, value| match value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
    });
    let mut session = database.session().await;
    let plan = query.fetch_all(&mut session).await.expect("a plan");
    assert_eq!(plan.len(), 1);
    let text = |column: &str| plan[0].try_get::<Option<String>, _>(column).expect("a text").unwrap_or_default();
    (text("key"), text("Extra"))
}

async fn answered_from_an_index(database: &Database) {
    answered(database, false).await;
}

/// The server sorts what it finds in several partitions.
async fn answered_from_the_index_of_partitions(database: &Database) {
    answered(database, true).await;
}

async fn answered(database: &Database, may_sort: bool) {
    for (filter, index) in questions() {
        let next = PageKey { start_time: NEW_YEAR + 105 * DAY, session_id: "x".into() };
        for filter in [filter.clone(), HistoryFilter { after: Some(next), ..filter }] {
            let (key, extra) = plan(database, &filter).await;
            assert_eq!(key, index, "{filter:?}: {extra}");
            assert!(may_sort || !extra.contains("filesort"), "{filter:?}: {extra}");
        }
    }
}

/// The SQL of a named block of docs/operations.md.
fn sql_in_docs(heading: &str) -> String {
    let docs = include_str!("../../../docs/operations.md");
    let block = docs.split_once(heading).and_then(|(_, rest)| rest.split_once("```sql\n")?.1.split_once("```"));
    block.unwrap_or_else(|| panic!("no SQL under {heading:?}")).0.to_owned()
}

#[tokio::test]
async fn of_a_hundred_thousand_records_a_page_comes_from_an_index_also_once_they_are_partitioned_and_archived() {
    let _held = weight::take(2).await;
    let database = MariaDb::shared().await.migrated_database().await;
    fill(&database).await;
    answered_from_an_index(&database).await;
    let store = database.store();
    let filter = questions()[0].0.clone();
    let page = store.history(&filter, 1000).await.expect("a page");
    // 5,833 of all sessions began in that week; each user has one in 500.
    assert!(matches!(page.len(), 11 | 12), "{}", page.len());

    // As the guide says it, word by word.
    database.administer(&sql_in_docs("<!-- partition -->")).await;
    answered_from_the_index_of_partitions(&database).await;
    assert_eq!(store.history(&filter, 1000).await.expect("a page"), page);
    let again = SessionRecord { bytes_out: Some(1), updated_at: i64::MAX, ..page[0].clone() };
    store.upsert(&[again.clone(), record("new")]).await.expect("a write");
    assert_eq!(store.get(&again.session_id).await.expect("a row"), Some(again));

    let of_january = || async { count(&database, "session_records WHERE start_time < 1769904000000000").await };
    let (all, january) = (count(&database, "session_records").await, of_january().await);
    assert!(january > 20_000, "{january}");
    database.administer(&sql_in_docs("<!-- archive -->")).await;
    assert_eq!(count(&database, "session_records_2026_01").await, january);
    assert_eq!((count(&database, "session_records").await, of_january().await), (all - january, 0));
    store.upsert(&[record("late")]).await.expect("a row of the month that is archived");
    answered_from_the_index_of_partitions(&database).await;
    store.migrate().await.expect("nothing to do");
}

async fn count(database: &Database, of: &str) -> i64 {
    database.ask(&format!("SELECT COUNT(*) AS n FROM {of}")).await[0].get("n")
}
