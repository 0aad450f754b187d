//! The console's API, on a real API server with real tokens, over the real audit database.

use std::path::Path;

use axum::http::StatusCode;
use bastion_operator::api::{BastionSession, Reason};
use bastion_operator::audit::{SessionRecord, Store};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use nix::sys::signal::Signal;
use rstest::rstest;
use serde_json::{Value, json};

use bastion_e2e::console_token::HISTORY;
use bastion_e2e::control_plane::{PERSON, service_account_user};
use bastion_e2e::http::get_as_a_console;
use bastion_e2e::namespace::kubectl_path;
use bastion_e2e::objects::bastion_session;
use bastion_e2e::process::command;
use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::run::{plugin_folder, unique};
use bastion_e2e::{
    Answer, Audit, Bastion, Console, ConsoleApi, MariaDb, Namespace, Outcome, Process, Setting, default_timeout,
    eventually, metric, weight,
};

fn refused(answer: &Answer, status: StatusCode, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.error().contains(words), "{answer:?} should say {words:?}");
}

#[tokio::test]
async fn nobody_is_answered_without_a_token_that_the_cluster_knows() {
    let namespace = Namespace::new().await;
    let console = Console::start(&namespace).await;
    let (_, token) = namespace.service_account("leaver").await;
    let leaver = ConsoleApi::new(&console, Some(&token)).await;
    for path in ["sessions", "sessions/x", "history", "history/x", "targets"].map(|path| format!("/api/v1/{path}")) {
        let answer = ConsoleApi::new(&console, None).await.get(&path).await;
        refused(&answer, StatusCode::UNAUTHORIZED, "there is no token; send the token of a Kubernetes user");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let answer = ConsoleApi::new(&console, Some("made-up")).await.get(&path).await;
        refused(&answer, StatusCode::UNAUTHORIZED, "the cluster does not know this token");
    }
    assert_eq!(leaver.get("/api/v1/sessions").await.status, StatusCode::OK);
    namespace.api::<ServiceAccount>().delete("leaver", &DeleteParams::default()).await.expect("it was there");
    eventually(default_timeout(), "a token is worth nothing once its account is gone", async || {
        let answer = leaver.get("/api/v1/sessions").await;
        if answer.status == StatusCode::UNAUTHORIZED { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let failures = metric(console.http, "bastion_console_failures_total{reason=\"unknown\"}").await;
    assert!(failures.is_some_and(|count| count >= 11.0), "{failures:?}");
}

/// A bastion with a user who has a token, and one who has none.
async fn with_person() -> Bastion {
    Bastion::with(async |namespace, _| {
        namespace.user_with("person", json!({"subject": PERSON, "groups": [bastion_e2e::namespace::PEOPLE]})).await;
    })
    .await
}

/// Returns the targets in the view of a user who may use the only target and list none.
fn own_targets(bastion: &Bastion) -> Value {
    let logins = json!([bastion.sshd.login]);
    json!([{"name": "web-1", "address": null, "port": null, "logins": logins, "groups": [], "description": null,
        "may_connect": true, "may_connect_as": logins, "web_terminal_blocker": null}])
}

#[tokio::test]
async fn who_may_not_list_sessions_sees_their_own_and_who_may_sees_all() {
    let bastion = with_person().await;
    let namespace = &bastion.namespace;
    let _audit = Audit::start(namespace, "audit-0", "10m").await;
    let console = Console::start(namespace).await;
    let (others, own) = (bastion.open("alice").await, bastion.open("person").await);
    let names = [others.session.name_any(), own.session.name_any()];
    let ids = [&others, &own].map(|it| it.session.uid().expect("a uid"));
    eventually(default_timeout(), "both are on record", async || {
        let rows = all_rows(&audit_store(namespace)).await?;
        if rows.len() == 2 { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;

    let person = ConsoleApi::new(&console, Some(&namespace.control_plane.person_token())).await;
    sees_only_their_own(&bastion, &person, &names, &ids).await;
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    sees_all(&bastion, &viewer, &names, &ids).await;
}

/// Asserts that [`PERSON`] sees only the second of two sessions, `person`'s own.
async fn sees_only_their_own(bastion: &Bastion, person: &ConsoleApi, names: &[String; 2], ids: &[String; 2]) {
    for path in ["/api/v1/sessions", "/api/v1/history", "/api/v1/history?user=person", "/api/v1/sessions?limit=1"] {
        let answer = person.get(path).await;
        assert_eq!((answer.each("name"), &answer.body["next"]), (vec![names[1].as_str()], &Value::Null), "{path}");
    }
    for path in ["/api/v1/sessions?user=alice", "/api/v1/history?user=alice"] {
        assert_eq!(person.get(path).await.each("name"), Vec::<&str>::new(), "{path}");
    }
    for path in [format!("sessions/{}", names[1]), format!("history/{}", ids[1])] {
        let answer = person.get(&format!("/api/v1/{path}")).await;
        assert_eq!((answer.status, &answer.body["login"]), (StatusCode::OK, &json!(bastion.sshd.login)), "{path}");
    }
    for path in [&format!("sessions/{}", names[0]), "sessions/none", &format!("history/{}", ids[0]), "history/none"] {
        let answer = person.get(&format!("/api/v1/{path}")).await;
        let words = format!("{PERSON} may not get bastionsessions in namespace {}", bastion.namespace.name);
        refused(&answer, StatusCode::FORBIDDEN, &words);
    }
    let own = person.get("/api/v1/targets").await;
    assert_eq!((own.status, &own.body["targets"]), (StatusCode::OK, &own_targets(bastion)), "without its address");
    refused(&person.get("/api/v1/targets/web-1").await, StatusCode::FORBIDDEN, "may not get bastiontargets");
    refused(&person.get("/api/v1/overview").await, StatusCode::FORBIDDEN, "may not list bastionsessions");
    let csv = person.fetch("/api/v1/history.csv").await.2;
    assert!(csv.lines().count() == 2 && csv.contains(&names[1]) && !csv.contains(&names[0]), "{csv}");
}

/// Asserts that a viewer sees both sessions, and all targets and users.
async fn sees_all(bastion: &Bastion, viewer: &ConsoleApi, names: &[String; 2], ids: &[String; 2]) {
    for path in ["/api/v1/sessions", "/api/v1/history"] {
        let answer = viewer.get(path).await;
        let mut found = answer.each("name");
        found.sort_unstable();
        assert_eq!(found, [names[0].as_str(), names[1].as_str()], "{path}");
        assert_eq!(answer.each("status"), ["active", "active"], "{path}");
    }
    for path in [format!("sessions/{}", names[0]), format!("history/{}", ids[0])] {
        assert_eq!(viewer.get(&format!("/api/v1/{path}")).await.body["user"], "alice");
    }
    refused(&viewer.get("/api/v1/sessions/none").await, StatusCode::NOT_FOUND, "there is no session \"none\"");
    refused(&viewer.get("/api/v1/history/none").await, StatusCode::NOT_FOUND, "there is no record");
    let targets = viewer.get("/api/v1/targets").await;
    assert_eq!(targets.body["targets"][0]["name"], "web-1");
    assert_eq!(targets.body["targets"][0]["logins"], json!([bastion.sshd.login]));
    assert_eq!(targets.body["targets"][0]["may_connect"], Value::Null, "no BastionUser stands for the viewer");
    let users = viewer.get("/api/v1/targets/web-1").await.body["users"].clone();
    assert!(users.as_array().is_some_and(|users| users.iter().any(|it| it["name"] == "person")), "{users}");
    let overview = viewer.get("/api/v1/overview").await.body;
    assert_eq!((&overview["online"], &overview["starts"]), (&json!(2), &json!(2)));
    assert_eq!(overview["gateways"][0]["sessions"], json!(2), "{overview}");
}

#[tokio::test]
async fn what_the_api_shows_is_what_kubectl_shows() {
    let bastion = Bastion::up().await;
    let console = Console::start(&bastion.namespace).await;
    let viewer = ConsoleApi::new(&console, Some(&bastion.namespace.viewer().await)).await;
    let mut open = bastion.open("alice").await;
    let path = format!("/api/v1/sessions/{}", open.session.name_any());
    assert_eq!(viewer.get(&path).await.body["status"], "active");
    open.ssh.say("exit 3").await;
    let ended = bastion.watch.ended(&open.session, Reason::UserExit).await.session;
    let shown = viewer.get(&path).await;
    let status = ended.status.expect("a status");
    assert_eq!((&shown.body["status"], &shown.body["reason"]), (&json!("closed"), &json!("UserExit")));
    assert_eq!((&shown.body["exit_code"], &shown.body["message"]), (&json!(3), &json!(status.message)));
    assert_eq!(shown.body["session_id"], json!(ended.metadata.uid));
    for (status, count) in [("closed", 1), ("active", 0)] {
        assert_eq!(viewer.get(&format!("/api/v1/sessions?status={status}")).await.each("name").len(), count);
    }
}

#[tokio::test]
async fn sessions_come_in_pages() {
    let namespace = Namespace::new().await;
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    for number in 0..5 {
        let session = bastion_session(&format!("alice-web-1-{number}"), "gateway-0");
        namespace.create_as(&gateway, session).await.expect("a session");
    }
    let console = Console::start(&namespace).await;
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    let (mut found, mut path) = (Vec::new(), "/api/v1/sessions?limit=2".to_owned());
    for pages in 1.. {
        let answer = viewer.get(&path).await;
        found.extend(answer.each("name").into_iter().map(str::to_owned));
        let Some(next) = answer.body["next"].as_str() else {
            assert_eq!(pages, 3);
            break;
        };
        path = format!("/api/v1/sessions?limit=2&after={next}");
    }
    assert_eq!(found, ["0", "1", "2", "3", "4"].map(|number| format!("alice-web-1-{number}")));
}

/// 2026-01-01T00:00:00Z.
const NEW_YEAR: i64 = 1_767_225_600_000_000;
const HOUR: i64 = 3_600_000_000;

/// Sessions of a day, one an hour, of which two start at the same moment; and one of another bastion's.
async fn fill(store: &Store, namespace: &Namespace) {
    let sample: BastionSession = serde_json::from_value(bastion_session("sample", "gateway-0")).expect("a session");
    let sample = SessionRecord { namespace: namespace.name.clone(), ..SessionRecord::of(&sample) };
    let record = |hour: i64| {
        let (ended, admin) = (hour < 20, hour % 5 == 0);
        let (status, reason) = if admin { ("terminated", "AdminTerminated") } else { ("closed", "UserExit") };
        let start_time = NEW_YEAR + HOUR * if hour == 7 { 6 } else { hour };
        SessionRecord {
            session_id: format!("id-{hour}"),
            name: format!("n-{hour}"),
            start_time,
            user_name: ["alice", "bob"][usize::from(hour % 2 == 1)].to_owned(),
            target: ["web-1", "web-2", "db-1"][usize::try_from(hour % 3).expect("small")].to_owned(),
            login: ["root", "deploy"][usize::from(hour % 4 == 3)].to_owned(),
            client_address: ["192.0.2.1", "2001:db8::1"][usize::from(hour < 4)].to_owned(),
            client_software: Some("=cmd(),\"x\"".to_owned()),
            status: if ended { status } else { "active" }.to_owned(),
            reason: ended.then(|| reason.to_owned()),
            end_time: ended.then_some(start_time + HOUR),
            duration_micros: ended.then_some(HOUR),
            is_final: ended,
            ..sample.clone()
        }
    };
    let mut rows: Vec<SessionRecord> = (0..24).map(record).collect();
    // An audit program closes the rows of active sessions without an object.
    let gateway = namespace.account("bastion-gateway", "gateway-0").await.client;
    for row in rows.iter_mut().filter(|row| !row.is_final) {
        let mut object = bastion_session(&row.name, "gateway-0");
        object["spec"]["user"] = json!({"name": row.user_name, "subject": "bastion:alice"});
        object["spec"]["target"] = json!(row.target);
        object["spec"]["login"] = json!(row.login);
        object["spec"]["client"] =
            json!({"address": row.client_address, "port": 40000, "software": row.client_software});
        let start = jiff::Timestamp::from_microsecond(row.start_time).expect("a time");
        object["spec"]["startTime"] = json!(format!("{start:.6}"));
        let created = namespace.create_as(&gateway, object).await.expect("a session");
        row.session_id = created.metadata.uid.expect("a uid");
    }
    rows.push(SessionRecord { session_id: "other".into(), namespace: "other".into(), ..rows[3].clone() });
    store.upsert(&rows).await.expect("a write");
}

/// The hours that a question finds, newest first, page by page.
async fn hours(api: &ConsoleApi, question: &str) -> Vec<i64> {
    let mut found = Vec::new();
    let mut after = String::new();
    loop {
        let answer = api.get(&format!("/api/v1/history?limit=5{question}{after}")).await;
        assert_eq!(answer.status, StatusCode::OK, "{question}: {answer:?}");
        let numbers = answer.each("name").into_iter().map(|name| name.trim_start_matches("n-").parse::<i64>());
        found.extend(numbers.map(|number| number.expect("a number")));
        let Some(next) = answer.body["next"].as_str() else { return found };
        after = format!("&after={next}");
    }
}

/// Returns a namespace with records in SQLite or MariaDB, the audit program that serves them, and a console that has no database.
async fn with_records(mysql: bool) -> (Namespace, Audit, Console) {
    let namespace = Namespace::new().await;
    if !mysql {
        let store = audit_store(&namespace);
        store.migrate().await.expect("a migration");
        fill(&store, &namespace).await;
        return with_history(namespace, &Setting::default()).await;
    }
    let database = MariaDb::shared().await.migrated_database().await;
    fill(&database.store(), &namespace).await;
    with_history(namespace, &Setting { env: database.environment(), ..Setting::default() }).await
}

async fn with_history(namespace: Namespace, setting: &Setting<'_>) -> (Namespace, Audit, Console) {
    let audit = Audit::start_in(&namespace, "audit-0", "10m", setting).await;
    let console = Console::start(&namespace).await;
    (namespace, audit, console)
}

#[rstest]
#[case::sqlite(false)]
#[case::mariadb(true)]
#[tokio::test]
async fn history_is_asked_by_filters_and_read_in_pages(#[case] mysql: bool) {
    let (namespace, _audit, console) = with_records(mysql).await;
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    // Of records with the same start, the greater id comes first.
    let all: Vec<i64> = (0..24).rev().collect();
    assert_eq!(hours(&viewer, "").await, all);
    let those = |fits: fn(i64) -> bool| -> Vec<i64> { all.iter().copied().filter(|hour| fits(*hour)).collect() };
    for (question, expected) in [
        ("&user=bob", those(|hour| hour % 2 == 1)),
        ("&target=db-1", those(|hour| hour % 3 == 2)),
        ("&login=deploy", those(|hour| hour % 4 == 3)),
        ("&status=active", those(|hour| hour >= 20)),
        ("&status=terminated", those(|hour| hour < 20 && hour % 5 == 0)),
        ("&reason=UserExit", those(|hour| hour < 20 && hour % 5 != 0)),
        ("&client_address=2001:db8::1", those(|hour| hour < 4)),
        ("&since=2026-01-01T12:00:00Z", those(|hour| hour >= 12)),
        ("&until=2026-01-01T06:00:00Z", those(|hour| hour < 6)),
        ("&since=2026-01-01T06:00:00Z&until=2026-01-01T07:00:00Z", vec![7, 6]),
        ("&user=alice&target=web-1&status=closed&since=2026-01-01T01:00:00Z", vec![18, 12, 6]),
        ("&user=Alice", vec![]),
        ("&user=%F0%9F%98%80", vec![]),
    ] {
        assert_eq!(hours(&viewer, question).await, expected, "{question}");
    }
    let record = viewer.get("/api/v1/history/id-5").await.body;
    assert_eq!((&record["reason"], &record["duration_seconds"]), (&json!("AdminTerminated"), &json!(3600.0)));
    for id in ["other", "id-24", "%F0%9F%98%80", "%00"] {
        refused(&viewer.get(&format!("/api/v1/history/{id}")).await, StatusCode::NOT_FOUND, "there is no record");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said_and_described() {
    let (namespace, _audit, console) = with_records(false).await;
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    for (path, words) in [
        ("history?since=yesterday", "since: write a time such as 2026-01-31T00:00:00Z"),
        ("history?status=Closed", "status: \"Closed\" is none of active, closed, timeout, terminated"),
        ("history?limit=0", "limit: write a number from 1 to 1000"),
        ("history?limit=x", "limit: "),
        ("history?after=x", "after: send `next` of the previous page unchanged"),
        ("history?usr=alice", "unknown field `usr`"),
        ("sessions?after=x", "after: send `next` of the previous page unchanged"),
        ("sessions?user=a%2Cb", "user: \"a,b\" is not a valid name"),
        ("sessions?status=open", "status: \"open\" is none of"),
        ("feed", "upgrade"),
        ("targets?limit=1001", "limit: write a number from 1 to 1000"),
    ] {
        refused(&viewer.get(&format!("/api/v1/{path}")).await, StatusCode::BAD_REQUEST, words);
    }
    refused(&viewer.ask("GET", "/api/v2/sessions").await, StatusCode::NOT_FOUND, "there is no such path");
    refused(&viewer.ask("POST", "/api/v1/sessions").await, StatusCode::METHOD_NOT_ALLOWED, "takes another method");
}

#[tokio::test]
async fn without_the_database_there_is_no_history_and_the_rest_goes_on() {
    let _held = weight::take(1).await;
    let mut server = MariaDb::start(&[]).await;
    let database = server.migrated_database().await;
    let namespace = Namespace::new().await;
    fill(&database.store(), &namespace).await;
    let setting = Setting { env: database.environment(), ..Setting::default() };
    let (namespace, _audit, console) = with_history(namespace, &setting).await;
    let token = namespace.viewer().await;
    let viewer = ConsoleApi::new(&console, Some(&token)).await;
    assert_eq!(hours(&viewer, "&user=bob").await.len(), 12);
    server.kill().await;
    for path in ["/api/v1/history", "/api/v1/history/id-1"] {
        let answer = viewer.get(path).await;
        refused(&answer, StatusCode::SERVICE_UNAVAILABLE, "the audit database does not answer (unreachable)");
    }
    let (kubeconfig, url) = (namespace.kubeconfig_with(&token), format!("http://{}", console.address));
    let outcome = history(&namespace, &kubeconfig, Some(&url), &[]).await;
    assert!(outcome.stderr.starts_with("bastion: the audit database does not answer"), "{outcome:?}");
    assert_eq!(viewer.get("/api/v1/sessions").await.status, StatusCode::OK);
    server.start_again().await;
    eventually(default_timeout(), "history is there again", async || {
        let answer = viewer.get("/api/v1/history").await;
        if answer.status == StatusCode::OK { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let failures = metric(console.http, "bastion_console_failures_total{reason=\"database\"}").await;
    assert!(failures.is_some_and(|count| count >= 2.0), "{failures:?}");
}

#[tokio::test]
async fn without_an_audit_program_there_is_no_history_until_one_runs() {
    let (namespace, audit, console) = with_records(false).await;
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    assert_eq!(hours(&viewer, "&user=bob").await.len(), 12);
    audit.process.signal(Signal::SIGKILL);
    for path in ["/api/v1/history", "/api/v1/history/id-1", "/api/v1/history.csv"] {
        let answer = viewer.get(path).await;
        refused(&answer, StatusCode::SERVICE_UNAVAILABLE, "the history is not available");
    }
    assert_eq!(viewer.get("/api/v1/sessions").await.status, StatusCode::OK);
    let overview = viewer.get("/api/v1/overview").await;
    assert_eq!((overview.status, &overview.body["starts"]), (StatusCode::OK, &Value::Null), "{overview:?}");
    let failures = metric(console.http, "bastion_console_failures_total{reason=\"audit\"}").await;
    assert!(failures.is_some_and(|count| count >= 3.0), "{failures:?}");
    // The Lease of the killed one is still there.
    let _next = Audit::start(&namespace, "audit-1", "10m").await;
    assert_eq!(hours(&viewer, "&user=bob").await.len(), 12);
}

#[tokio::test]
async fn a_console_that_gets_no_token_for_audit_programs_says_so() {
    let (namespace, _audit, _console) = with_records(false).await;
    let setting = Setting { env: vec![("POD_NAME", "nowhere".into())], ..Setting::default() };
    let console = Console::start_in(&namespace, "console-1", &setting).await;
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    for path in ["/api/v1/history", "/api/v1/history/id-1"] {
        refused(&viewer.get(path).await, StatusCode::SERVICE_UNAVAILABLE, "issues no token");
    }
    assert_eq!(viewer.get("/api/v1/sessions").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_audit_program_shows_the_history_to_consoles_alone_and_for_people_who_may() {
    let (namespace, audit, _console) = with_records(false).await;
    let (viewer, _) = namespace.service_account_with_roles("viewer", &["bastion-viewer"]).await;
    let (may, somebody) = (json!({"username": viewer}), json!({"username": "somebody"}));
    let of = async |account: &str, person: &Value| namespace.console_token(account, HISTORY, "audit-0", person).await;
    let good = of("bastion-console", &may).await;
    let of_somebody = of("bastion-console", &somebody).await;
    // One that is good for the API server is good for nothing here, and nor is anybody else's.
    let for_the_api = namespace.token("bastion-console", "https://kubernetes.default.svc").await;
    let of_a_gateway = of("bastion-gateway", &may).await;
    for (token, person, path, status, words) in [
        (String::new(), Some(may.clone()), "sessions/id-1", StatusCode::UNAUTHORIZED, "there is no token"),
        ("made-up".to_owned(), Some(may.clone()), "sessions/id-1", StatusCode::UNAUTHORIZED, "does not know"),
        (for_the_api, Some(may.clone()), "sessions/id-1", StatusCode::UNAUTHORIZED, "does not know"),
        (of_a_gateway, Some(may.clone()), "sessions/id-1", StatusCode::UNAUTHORIZED, "only consoles may"),
        (good.clone(), None, "sessions/id-1", StatusCode::BAD_REQUEST, "does not name the user"),
        (of_somebody.clone(), Some(somebody.clone()), "sessions/id-1", StatusCode::FORBIDDEN, "may not get"),
        (of_somebody, Some(somebody), "sessions/none", StatusCode::FORBIDDEN, "may not get"),
        (good.clone(), Some(may.clone()), "sessions/none", StatusCode::NOT_FOUND, "there is no record"),
        (good.clone(), Some(may), "sessions/id-1", StatusCode::OK, "\"name\":\"n-1\""),
    ] {
        let (found, body) = get_as_a_console(audit.history, &format!("/history/v1/{path}"), &token, person).await;
        assert!(found == status && body.contains(words), "{found} {body:?} should say {status} {words:?}");
    }
    let refused = metric(audit.http, "bastion_history_refused_total{reason=\"forbidden\"}").await;
    assert_eq!(refused, Some(2.0));
}

#[tokio::test]
async fn a_console_shows_its_token_only_to_the_program_of_the_published_certificate() {
    let (namespace, _audit, console) = with_records(false).await;
    let viewer = ConsoleApi::new(&console, Some(&namespace.viewer().await)).await;
    assert_eq!(hours(&viewer, "&user=bob").await.len(), 12);
    let account = namespace.account("bastion-audit", "audit-0").await.client;
    let leases: Api<Lease> = Api::namespaced(account, &namespace.name);
    let listed = namespace.api::<Lease>().list(&ListParams::default()).await.expect("Leases");
    let name = listed.iter().map(ResourceExt::name_any).find(|it| it.starts_with("audit-0-")).expect("its Lease");
    eventually(default_timeout(), "another certificate is published", async || {
        let mut lease = leases.get(&name).await.map_err(|error| error.to_string())?;
        let another = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        lease.annotations_mut().insert("bastion.dev/history-certificate".to_owned(), another.to_owned());
        // Its holder may renew it in between.
        leases.replace(&name, &PostParams::default(), &lease).await.map_err(|error| error.to_string())
    })
    .await;
    refused(&viewer.get("/api/v1/history").await, StatusCode::SERVICE_UNAVAILABLE, "cannot be reached");
}

#[tokio::test]
async fn a_console_may_do_what_it_needs_and_nothing_else() {
    let namespace = Namespace::new().await;
    let console = service_account_user(&namespace.name, "bastion-console");
    let of = |verb: &str, group: &str, resource: &str| json!({"namespace": namespace.name, "verb": verb, "group": group, "resource": resource});
    for (verb, group, resource) in [
        ("list", "bastion.dev", "bastionsessions"),
        ("get", "bastion.dev", "bastionsessions"),
        ("watch", "bastion.dev", "bastionsessions"),
        // What it may write of them is for the policies to say.
        ("patch", "bastion.dev", "bastionsessions"),
        ("list", "bastion.dev", "bastiontargets"),
        ("get", "bastion.dev", "bastiontargets"),
        ("watch", "bastion.dev", "bastionusers"),
        ("list", "coordination.k8s.io", "leases"),
        ("list", "", "pods"),
        ("list", "events.k8s.io", "events"),
        ("create", "events.k8s.io", "events"),
        ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    ] {
        assert!(namespace.may(&console, of(verb, group, resource)).await, "{verb} {resource}");
    }
    for (verb, group, resource) in [
        ("create", "bastion.dev", "bastionsessions"),
        ("patch", "bastion.dev", "bastionsessions/status"),
        ("delete", "bastion.dev", "bastionsessions"),
        ("get", "bastion.dev", "bastionusers"),
        ("connect", "bastion.dev", "bastiontargets"),
        ("patch", "bastion.dev", "bastiontargets"),
        ("get", "", "secrets"),
        ("get", "", "pods"),
        ("delete", "events.k8s.io", "events"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ("impersonate", "", "users"),
    ] {
        assert!(!namespace.may(&console, of(verb, group, resource)).await, "{verb} {resource}");
    }
}

/// Runs `kubectl bastion history` with this kubeconfig, to its end.
async fn history(namespace: &Namespace, kubeconfig: &Path, console: Option<&str>, arguments: &[&str]) -> Outcome {
    let plugin = plugin_folder();
    let path = format!("{}:{}", plugin.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = command(kubectl_path().await);
    command.args(["bastion", "history", "-n", &namespace.name]).args(arguments);
    command.env("PATH", path).env("KUBECONFIG", kubeconfig).env_remove("BASTION_CONSOLE_CA");
    match console {
        Some(console) => command.env("BASTION_CONSOLE", console),
        None => command.env_remove("BASTION_CONSOLE"),
    };
    Process::start(namespace.dir.join(format!("kubectl-{}", unique())), command).await.finish(default_timeout()).await
}

#[rstest]
#[case::sqlite(false)]
#[case::mariadb(true)]
#[tokio::test]
async fn kubectl_bastion_history_shows_what_was_asked_for(#[case] mysql: bool) {
    let (namespace, _audit, console) = with_records(mysql).await;
    let kubeconfig = namespace.kubeconfig_with(&namespace.viewer().await);
    let url = format!("http://{}", console.address);
    let run = async |arguments: &[&str]| {
        let outcome = history(&namespace, &kubeconfig, Some(&url), arguments).await;
        assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
        outcome
    };
    let table = run(&["--user", "alice", "--target", "web-1", "--status", "closed"]).await.stdout;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["START", "USER", "TARGET", "LOGIN", "CLIENT", "STATUS", "REASON", "DURATION", "NAME"]);
    let first = ["2026-01-01T18:00:00Z", "alice", "web-1", "root", "192.0.2.1", "closed", "UserExit", "1h0m", "n-18"];
    assert_eq!((lines.len(), lines[1].as_slice()), (4, first.as_slice()), "{table}");

    let json: Value = serde_json::from_str(&run(&["--login", "deploy", "-o", "json"]).await.stdout).expect("JSON");
    assert_eq!((json.as_array().map(Vec::len), &json[0]["name"]), (Some(6), &json!("n-23")));

    let limited = run(&["--reason", "UserExit", "--limit", "2", "-o", "csv"]).await;
    let lines: Vec<&str> = limited.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{limited:?}");
    assert!(lines[0].starts_with("session_id,name,user,subject,groups,target,"), "{limited:?}");
    assert!(lines[1].starts_with("id-19,n-19,bob,bastion:alice,"), "{limited:?}");
    assert!(lines[1].contains(r#","'=cmd(),""x""","#), "no spreadsheet runs it: {limited:?}");
    assert_eq!(limited.stderr, "bastion: there are more; --limit shows them, or --until an earlier time\n");

    let none = run(&["--since", "1h"]).await;
    assert_eq!((none.stdout.lines().count(), none.stderr.as_str()), (1, ""), "the heading alone: {none:?}");
}

#[tokio::test]
async fn kubectl_bastion_history_says_what_is_in_the_way() {
    let (namespace, _audit, console) = with_records(false).await;
    let (_, token) = namespace.service_account("nobody").await;
    let url = format!("http://{}", console.address);
    let nobody = namespace.kubeconfig_with(&token);
    let empty = history(&namespace, &nobody, Some(&url), &[]).await;
    assert_eq!((empty.code, empty.stdout.lines().count()), (Some(0), 1), "they have no sessions: {empty:?}");
    let (made_up, acting) = (namespace.kubeconfig_with("made-up"), namespace.kubeconfig_as("alice", &[]));
    for (kubeconfig, console, arguments, words) in [
        (&nobody, None, vec![], "bastion: say where the console is: --console URL or BASTION_CONSOLE"),
        (&nobody, Some("http://console.example"), vec![], "bastion: --console: write https://HOST"),
        (&nobody, Some("http://127.0.0.1:1"), vec![], "bastion: the console does not answer; see --console"),
        (&nobody, Some(&url), vec!["--status", "open"], "bastion: status: \"open\" is none of"),
        (&nobody, Some(&url), vec!["--since", "yesterday"], "bastion: --since: write a time such as"),
        (&made_up, Some(&url), vec![], "bastion: the cluster does not know this token"),
        (&acting, Some(&url), vec![], "bastion: your kubeconfig has you act as \"alice\""),
    ] {
        let outcome = history(&namespace, kubeconfig, console, &arguments).await;
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.starts_with(words), "{arguments:?} should say {words:?}: {outcome:?}");
    }
}
