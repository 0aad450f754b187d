//! Tests of the store on SQLite.

use proptest::prelude::*;
use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use super::*;
use crate::audit::error::Cause;
use crate::audit::history::PageKey;
use crate::audit::samples::{active, ended};
use crate::audit::settings::AuditTls;
use crate::audit::statement::{Statement, Value};

fn settings(dir: &TempDir) -> AuditSettings {
    let url = format!("sqlite://{}", dir.path().join("audit.db").display());
    AuditSettings { url, password_file: None, tls: AuditTls::Verify, ca_file: None }
}

/// A migrated database in a folder of its own, which lives as long as the folder.
async fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(settings(&dir)).unwrap();
    store.migrate().await.unwrap();
    (dir, store)
}

async fn execute(store: &Store, sql: &'static str) {
    let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
    sqlx::raw_sql(sql).execute(pool).await.unwrap();
}

async fn all(store: &Store) -> Vec<SessionRecord> {
    store.history(&HistoryFilter::default(), 1000).await.unwrap()
}

#[tokio::test]
async fn starts_and_ends_are_counted() {
    let (_dir, store) = store().await;
    let rows = [active("a"), ended("b"), ended("c")].map(|session| SessionRecord::of(&session));
    store.upsert(&rows).await.unwrap();
    let namespace = &rows[0].namespace;
    let counts = store.counts(namespace, rows[0].start_time).await.unwrap();
    assert_eq!((counts.starts, counts.ends), (3, [("UserExit".to_owned(), 2)].into()));
    assert_eq!(store.counts(namespace, i64::MAX).await.unwrap(), HistoryCounts::default());
    assert_eq!(store.counts("elsewhere", 0).await.unwrap(), HistoryCounts::default());
}

/// In a container with a read-only root file system, SQLite has no temporary folder. Batches of 1000 rows then failed.
#[tokio::test]
async fn sqlite_needs_no_temporary_folder() {
    let (_dir, store) = store().await;
    let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
    let temp_store: i64 = sqlx::query_scalar("PRAGMA temp_store").fetch_one(pool).await.unwrap();
    assert_eq!(temp_store, 2, "in memory");
}

#[tokio::test]
async fn a_row_is_read_as_it_was_written() {
    let (_dir, store) = store().await;
    let rows = [active("a"), ended("b")].map(|session| SessionRecord::of(&session));
    store.upsert(&rows).await.unwrap();
    for row in rows {
        assert_eq!(store.get(&row.session_id).await.unwrap(), Some(row));
    }
    assert_eq!(store.get("missing").await.unwrap(), None);
}

#[tokio::test]
async fn writing_twice_changes_only_the_number_of_batches() {
    let (_dir, store) = store().await;
    let rows = [SessionRecord::of(&active("a")), SessionRecord::of(&ended("b"))];
    assert_eq!(store.batches().await.unwrap(), 0);
    assert_eq!(store.upsert(&rows).await.unwrap(), 1);
    let once = all(&store).await;
    assert_eq!(store.upsert(&rows).await.unwrap(), 2);
    assert_eq!(store.upsert(&[]).await.unwrap(), 3);
    assert_eq!(store.batches().await.unwrap(), 3);
    assert_eq!(all(&store).await, once);
    assert_eq!(once.len(), 2);
}

#[tokio::test]
async fn a_final_row_never_becomes_active_again() {
    let (_dir, store) = store().await;
    let end = SessionRecord::of(&ended("a"));
    let start = SessionRecord { updated_at: end.updated_at + 1, ..SessionRecord::of(&active("a")) };
    store.upsert(std::slice::from_ref(&start)).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(start.clone()));
    // The start has a later timestamp, as from an API server whose clock is ahead, but the end is final.
    store.upsert(std::slice::from_ref(&end)).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(end.clone()));
    store.upsert(&[start]).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), Some(end));
}

#[tokio::test]
async fn an_older_row_never_replaces_a_newer_one() {
    let (_dir, store) = store().await;
    let old = SessionRecord::of(&ended("a"));
    let new = SessionRecord { bytes_out: Some(7), updated_at: old.updated_at + 1_000_000, ..old.clone() };
    for row in [&old, &new, &old] {
        store.upsert(std::slice::from_ref(row)).await.unwrap();
    }
    assert_eq!(store.get("a").await.unwrap(), Some(new));
}

/// Returns 250 sessions of two users on three targets; two start each second.
fn many_records() -> Vec<SessionRecord> {
    let row = |i: i64| SessionRecord {
        start_time: i / 2 * 1_000_000,
        session_id: format!("{i:03}"),
        user_name: ["alice", "bob"][usize::try_from(i % 2).unwrap()].into(),
        target: format!("web-{}", i % 3),
        ..SessionRecord::of(&if i % 5 == 0 { ended("a") } else { active("a") })
    };
    (0..250).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_pages_together_are_complete(
        user in prop::option::of("alice|bob"), target in prop::option::of("web-[0-3]"),
        status in prop::option::of("active|closed"), since in prop::option::of(0_i64..130), until in prop::option::of(0_i64..130),
        size in 1_u32..60,
    ) {
        let micros = |seconds: i64| seconds * 1_000_000;
        let mut filter = HistoryFilter {
            user, target, status, since: since.map(micros), until: until.map(micros), ..HistoryFilter::default()
        };
        let matches = |row: &SessionRecord| {
            filter.user.as_ref().is_none_or(|it| *it == row.user_name) && filter.target.as_ref().is_none_or(|it| *it == row.target)
                && filter.status.as_ref().is_none_or(|it| *it == row.status)
                && filter.since.is_none_or(|it| it <= row.start_time) && filter.until.is_none_or(|it| row.start_time < it)
        };
        let mut expected: Vec<_> = many_records().into_iter().filter(matches).collect();
        expected.sort_by_key(|row| std::cmp::Reverse((row.start_time, row.session_id.clone())));
        let found = tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (_dir, store) = store().await;
            store.upsert(&many_records()).await.unwrap();
            let mut found = Vec::new();
            loop {
                let page = store.history(&filter, size).await.unwrap();
                let Some(last) = page.last() else { return found };
                filter.after = Some(PageKey::from(last));
                found.extend(page);
            }
        });
        prop_assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn common_filters_use_an_index() {
    let (_dir, store) = store().await;
    let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
    let named = |name: &str| Some(name.to_owned());
    let week = HistoryFilter { namespace: named("n"), since: Some(1), until: Some(2), ..HistoryFilter::default() };
    for (filter, index) in [
        (HistoryFilter { user: named("alice"), ..week.clone() }, "session_records_by_user"),
        (HistoryFilter { target: named("web-1"), ..week.clone() }, "session_records_by_target"),
        (HistoryFilter { subject: named("bastion:alice"), ..week.clone() }, "session_records_by_subject"),
        (HistoryFilter { status: named("active"), ..week.clone() }, "session_records_by_status"),
        (week, "session_records_by_start"),
    ] {
        let Statement { sql, values } = statement::history(&filter, 100);
        let query = sqlx::query_as(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
        let query = values.into_iter().fold(query, |query, value| match value {
            Value::Text(text) => query.bind(text),
            Value::Number(number) => query.bind(number),
        });
        let plan: Vec<(i64, i64, i64, String)> = query.fetch_all(pool).await.unwrap();
        assert!(plan[0].3.contains(&format!("SEARCH session_records USING INDEX {index} (")), "{plan:?}");
    }
}

#[tokio::test]
async fn a_batch_is_written_atomically() {
    let (_dir, store) = store().await;
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON session_records WHEN NEW.session_id = 'b' \
        BEGIN SELECT RAISE(ABORT, 'full'); END";
    execute(&store, trigger).await;
    let rows = ["a", "b", "c"].map(|uid| SessionRecord::of(&ended(uid)));
    assert_eq!(store.upsert(&rows).await.unwrap_err().cause, Cause::Rejected);
    assert_eq!((all(&store).await, store.batches().await.unwrap()), (vec![], 0));
    execute(&store, "DROP TRIGGER refuse").await;
    store.upsert(&rows).await.unwrap();
    assert_eq!(all(&store).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_programs_may_migrate_one_database_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let programs = (0..8).map(|_| {
        let settings = settings(&dir);
        tokio::spawn(async move { Store::new(settings).unwrap().migrate().await })
    });
    for program in futures::future::join_all(programs).await {
        program.unwrap().unwrap();
    }
    let store = Store::new(settings(&dir)).unwrap();
    store.migrate().await.unwrap();
    store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
}

/// A statement of the release before `0003_mirror_progress.sql`.
const STATEMENT_OF_OLD_RELEASE: &str = "
    INSERT INTO session_records (
        session_id, namespace, name, user_name, user_subject, user_groups, target, login, protocol,
        client_address, client_port, client_software, gateway_name, gateway_instance, start_time,
        status, reason, message, last_seen_time, end_time, duration_micros, exit_code, exit_signal,
        bytes_in, bytes_out, terminated_by, recording, is_final, updated_at
    ) VALUES ('old', 'n', 'x', 'alice', 's', '[]', 't', 'l', 'SSH', '::1', 1, NULL, 'g', 'i', 5,
        'terminated', 'AdminTerminated', NULL, NULL, 6, 1, NULL, NULL, NULL, NULL, 'bob', NULL, 1, 6)
    ON CONFLICT (session_id) DO UPDATE SET status = excluded.status, is_final = excluded.is_final
    WHERE excluded.is_final > session_records.is_final";

#[tokio::test]
async fn an_older_release_works_on_the_new_schema() {
    let (_dir, store) = store().await;
    execute(&store, STATEMENT_OF_OLD_RELEASE).await;
    execute(&store, STATEMENT_OF_OLD_RELEASE).await;
    let rows = all(&store).await;
    assert_eq!((rows.len(), rows[0].terminated_by.as_deref()), (1, Some("bob")));
    let Pool::Sqlite(pool) = &store.pool else { panic!("not SQLite") };
    let terminated: bool =
        sqlx::query_scalar("SELECT is_terminated FROM session_records").fetch_one(pool).await.unwrap();
    assert!(terminated);
}

#[tokio::test]
async fn a_database_migrated_by_a_newer_release_is_used() {
    let (_dir, store) = store().await;
    let migration = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of a newer release', TRUE, x'00', 1);
        ALTER TABLE session_records ADD COLUMN new_fashion TEXT";
    execute(&store, migration).await;
    store.migrate().await.unwrap();
    store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
    assert_eq!(all(&store).await.len(), 1);
}

#[tokio::test]
async fn a_changed_migration_is_refused() {
    let (_dir, store) = store().await;
    execute(&store, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").await;
    let error = store.migrate().await.unwrap_err().to_string();
    assert!(
        error.starts_with("cannot migrate the audit database sqlite:///") && error.contains("a changed release"),
        "{error}"
    );
}

/// During an upgrade, old programs still run: the columns they name must stay, and new columns must have a default.
#[test]
fn migrations_only_add_columns() {
    for migrations in [sqlx::migrate!("migrations/sqlite"), sqlx::migrate!("migrations/mysql")] {
        for migration in migrations.iter() {
            let sql = migration.sql.as_str().to_uppercase();
            for word in ["DROP ", "RENAME ", "MODIFY ", "CHANGE COLUMN", "TRUNCATE ", "DELETE "] {
                assert!(!sql.contains(word), "migration {}: {word}", migration.version);
            }
            for added in sql.split("ADD COLUMN").skip(1) {
                let column = added.split([';', ',']).next().unwrap_or_default();
                assert!(!column.contains("NOT NULL") || column.contains("DEFAULT"), "migration {}", migration.version);
            }
        }
    }
}

#[tokio::test]
async fn rows_survive_a_restart() {
    let (dir, store) = store().await;
    store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap();
    drop(store);
    let store = Store::new(settings(&dir)).unwrap();
    assert_eq!(all(&store).await, [SessionRecord::of(&ended("a"))]);
}

#[tokio::test]
async fn errors_name_the_url_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let url = settings(&dir).url;
    let store = Store::new(settings(&dir)).unwrap();
    let error = store.upsert(&[SessionRecord::of(&ended("a"))]).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&url) && message.contains("run `bastion migrate`"), "{message}");
    assert_eq!(error.cause, Cause::Schema);
    let nowhere = format!("sqlite://{}/no/folder/audit.db", dir.path().display());
    let store = Store::new(AuditSettings { url: nowhere.clone(), ..settings(&dir) }).unwrap();
    let error = store.migrate().await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains(&nowhere) && message.contains("its folder must exist"), "{message}");
    assert_eq!(error.cause, Cause::Unreachable);
}
