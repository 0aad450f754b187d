//! Recordings as the console gives them to a player.

use axum::http::StatusCode;
use bastion_operator::api::{BastionSession, Reason};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::recordings::{folder, into, recording, result};
use bastion_e2e::{Answer, Bastion, Console, ConsoleApi, S3Server, Setting, default_timeout, eventually};

/// A session that was recorded and has ended, at whose end its target showed some words.
pub async fn recorded(bastion: &Bastion) -> BastionSession {
    let mut ssh = bastion.ssh("alice:required").await.terminal().start().await;
    ssh.say("echo a need''le in a haystack").await;
    ssh.shows("a needle in").await;
    let session = bastion.watch.started("alice").await;
    ssh.say("exit 4").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    result(bastion, &session).await;
    session
}

fn refused(answer: &Answer, status: StatusCode, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.error().contains(words), "{answer:?} should say {words:?}");
}

async fn with_role(bastion: &Bastion, console: &Console, name: &str, roles: &[&str]) -> ConsoleApi {
    let (_, token) = bastion.namespace.service_account_with_roles(name, roles).await;
    ConsoleApi::new(console, Some(&token)).await
}

async fn is_played(bastion: &Bastion, console: &Console) {
    let session = recorded(bastion).await;
    let name = session.name_any();
    let auditor = with_role(bastion, console, "auditor", &["bastion-observer", "bastion-viewer"]).await;
    let found = auditor.get(&format!("/api/v1/recordings/{name}")).await.body;
    let recordings = found["recordings"].as_array().expect("recordings");
    assert_eq!(recordings.len(), 1, "{found}");
    let it = &recordings[0];
    assert_eq!((&it["number"], &it["complete"]), (&json!(1), &json!(true)));
    assert!(it["milliseconds"].as_u64().is_some() && it["began"].is_string(), "{it}");
    assert!(it["title"].as_str().expect("a title").starts_with("alice on "), "{it}");
    let pieces = it["pieces"].as_array().expect("pieces");
    assert!(pieces.len() >= 2 && pieces[0]["columns"].is_u64(), "{it}");

    let text = |query: &str| format!("/api/v1/recordings/{name}/1/text{query}");
    let (status, headers, whole) = auditor.fetch(&text("")).await;
    assert_eq!((status, headers["content-type"].as_bytes()), (StatusCode::OK, b"application/x-asciicast".as_slice()));
    assert!(whole.starts_with("{\"version\":3") && whole.contains("a needle in a haystack"), "{whole}");
    assert_eq!(whole.len() as u64, pieces.iter().filter_map(|piece| piece["bytes"].as_u64()).sum::<u64>());
    let (.., header) = auditor.fetch(&text("?from=0&to=1")).await;
    let (.., rest) = auditor.fetch(&text("?from=1")).await;
    assert_eq!(format!("{header}{rest}"), whole, "the parts are the whole");
    refused(&auditor.get(&text("?from=9999")).await, StatusCode::BAD_REQUEST, "pieces");

    let matches = auditor.get(&format!("/api/v1/recordings/{name}/1/matches?text=NEEDLE%20in")).await.body;
    let lines: Vec<&str> = matches["matches"].as_array().expect("a list").iter().filter_map(line).collect();
    assert!(lines.contains(&"a needle in a haystack"), "{matches}");
    let none = auditor.get(&format!("/api/v1/recordings/{name}/1/matches?text=straw")).await.body;
    assert_eq!(none, json!({"matches": [], "more": false}));
    refused(&auditor.get(&format!("/api/v1/recordings/{name}/2/text")).await, StatusCode::NOT_FOUND, "no recording");

    let log = console.process.stderr();
    for operation in ["recordings_opened", "recording_read"] {
        let audited =
            log.lines().any(|line| line.contains(operation) && line.contains(&name) && line.contains("auditor"));
        assert!(audited, "{operation} is in the audit log: {log}");
    }
    eventually(default_timeout(), "the player is among its Events", async || {
        let events = bastion.namespace.events_of(&name).await;
        let told = events.iter().any(|(reason, note)| reason == "RecordingsOpened" && note.contains("auditor"));
        if told { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
}

fn line(found: &Value) -> Option<&str> {
    found["line"].as_str()
}

#[tokio::test]
async fn an_observer_plays_what_is_recorded_in_a_folder() {
    let folder = folder().await;
    let setting = Setting { env: into(&folder), ..Setting::default() };
    let bastion = recording(&setting).await;
    let console = Console::start_in(&bastion.namespace, "console-0", &setting).await;
    is_played(&bastion, &console).await;

    let viewer = with_role(&bastion, &console, "viewer", &["bastion-viewer"]).await;
    let names = bastion.session_names().await;
    let path = format!("/api/v1/recordings/{}", names[0]);
    refused(&viewer.get(&path).await, StatusCode::FORBIDDEN, "may not get bastionsessions/observe");
    let auditor = with_role(&bastion, &console, "second", &["bastion-observer"]).await;
    for nothing in ["nobody-web-1-x", "..", "%2e%2e%2f", "a%2Fb"] {
        refused(&auditor.get(&format!("/api/v1/recordings/{nothing}")).await, StatusCode::NOT_FOUND, "there is no");
    }
    std::fs::remove_dir_all(folder.join(&bastion.namespace.name).join(&names[0]).join("1")).expect("it is there");
    refused(&auditor.get(&path).await, StatusCode::NOT_FOUND, "no recording of session");
    let without = Console::start_in(&bastion.namespace, "console-1", &Setting::default()).await;
    let auditor = with_role(&bastion, &without, "third", &["bastion-observer"]).await;
    refused(&auditor.get(&path).await, StatusCode::NOT_IMPLEMENTED, "--recording-url");
}

#[tokio::test]
async fn an_observer_plays_what_is_recorded_in_a_bucket() {
    let server = S3Server::start().await;
    let setting = Setting { env: server.environment(S3Server::secret()), ..Setting::default() };
    let bastion = recording(&setting).await;
    let console = Console::start_in(&bastion.namespace, "console-0", &setting).await;
    is_played(&bastion, &console).await;
}
