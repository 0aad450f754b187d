//! What is recorded, where, and what happens when it cannot be.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use bastion_operator::api::{BastionSession, Reason, RecordingResult, RecordingState};
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::process::Command;

use bastion_e2e::process::{Process, command};
use bastion_e2e::programs::audit_store;
use bastion_e2e::run::{Run, unique};
use bastion_e2e::{Audit, Bastion, PROMPT_BOUND, S3Server, Setting, default_timeout, eventually};

/// A bastion whose targets `required` and `best-effort` are recorded, if it can.
pub async fn recording(setting: &Setting<'_>) -> Bastion {
    Bastion::in_setting(setting, async |namespace, sshd| {
        namespace.target_with("required", sshd, json!({"recording": "Required"})).await;
        namespace.target_with("best-effort", sshd, json!({"recording": "BestEffort"})).await;
    })
    .await
}

/// A new folder for recordings.
pub async fn folder() -> PathBuf {
    let folder = Run::get().await.dir.join(format!("recordings-{}", unique()));
    fs::create_dir(&folder).expect("a folder");
    folder
}

pub fn into(folder: &Path) -> Vec<(&'static str, OsString)> {
    vec![("BASTION_RECORDING_URL", format!("file://{}", folder.display()).into())]
}

async fn recording_into(folder: &Path) -> Bastion {
    recording(&Setting { env: into(folder), ..Setting::default() }).await
}

/// A recording as a player reads it.
struct Cast {
    text: Vec<u8>,
    header: Value,
    /// Milliseconds since the start, code, data.
    events: Vec<(u64, String, String)>,
}

impl Cast {
    /// Joins the pieces in this folder.
    fn read(folder: &Path) -> Result<Self, String> {
        let mut pieces: Vec<PathBuf> =
            fs::read_dir(folder).map_err(|error| error.to_string())?.flatten().map(|it| it.path()).collect();
        pieces.retain(|it| it.extension().is_some_and(|it| it == "cast"));
        pieces.sort();
        let text: Vec<u8> = pieces.iter().flat_map(|piece| fs::read(piece).expect("a piece")).collect();
        let lines = std::str::from_utf8(&text).map_err(|error| error.to_string())?;
        let (header, lines) = lines.split_once('\n').ok_or("no header")?;
        let mut time = 0;
        let event = |line: &str| {
            let (interval, code, data): (f64, String, String) =
                serde_json::from_str(line).map_err(|it| it.to_string())?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of a test")]
            {
                time += (interval * 1000.0).round() as u64;
            }
            Ok((time, code, data))
        };
        let events = lines.lines().map(event).collect::<Result<_, String>>()?;
        Ok(Self { header: serde_json::from_str(header).map_err(|it| it.to_string())?, events, text: text.clone() })
    }

    /// The data of all events of this code.
    fn all(&self, code: &str) -> String {
        self.events.iter().filter(|it| it.1 == code).map(|it| it.2.as_str()).collect()
    }

    fn sha256(&self) -> String {
        digest(&SHA256, &self.text).as_ref().iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes it");
            text
        })
    }
}

/// Waits until the session says what became of its recordings.
pub async fn result(bastion: &Bastion, session: &BastionSession) -> RecordingResult {
    let api = bastion.namespace.api::<BastionSession>();
    eventually(default_timeout(), "the session says what became of its recordings", async || {
        let now = api.get(&session.name_any()).await.map_err(|error| error.to_string())?;
        let result = now.status.and_then(|status| status.recording);
        match result {
            Some(result) if result.state != RecordingState::Unfinished => Ok(result),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// The folder of a session's recordings.
fn folder_of(recordings: &Path, bastion: &Bastion, session: &BastionSession) -> PathBuf {
    recordings.join(&bastion.namespace.name).join(session.name_any())
}

async fn check_whole(recordings: &Path, bastion: &Bastion, session: &BastionSession, marks: &[&str]) -> Vec<Cast> {
    let result = result(bastion, session).await;
    assert_eq!((result.state, result.message), (RecordingState::Complete, None));
    let folder = folder_of(recordings, bastion, session);
    let mut casts = Vec::new();
    for channel in &result.channels {
        let cast = Cast::read(&folder.join(channel.number.to_string())).expect("a recording");
        assert_eq!(channel.sha256, cast.sha256(), "as `cat *.cast | sha256sum` has it");
        assert_eq!(channel.bytes, i64::try_from(cast.text.len()).expect("a size"));
        let manifest = fs::read(folder.join(channel.number.to_string()).join("manifest.json")).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!((&manifest["sha256"], &manifest["session"]), (&json!(channel.sha256), &json!(session.name_any())));
        assert_eq!(manifest["milliseconds"], json!(cast.events.last().expect("events").0));
        casts.push(cast);
    }
    assert_eq!(casts.len(), marks.len());
    for (cast, mark) in casts.iter().zip(marks) {
        assert!(cast.all("o").contains(mark), "{mark:?} was shown: {:?}", cast.events);
    }
    casts
}

#[tokio::test]
async fn what_a_terminal_shows_is_recorded_and_what_is_typed_is_not() {
    let recordings = folder().await;
    let bastion = recording_into(&recordings).await;
    let _audit = Audit::start(&bastion.namespace, "audit-0", "10m").await;
    let mut ssh = bastion.ssh("alice:required").await.terminal().set("SetEnv=LANG=C").start().await;
    ssh.finds("the notice", |it| it.stderr().contains("bastion: this session is recorded").then_some(())).await;
    ssh.say("stty -echo; echo rea''dy").await;
    ssh.shows("ready").await;
    ssh.say("read secret; echo got ${#secret} characters; printf 'gr\\303'; printf '\\274n\\n'; exit 3").await;
    ssh.say("geheim").await;
    ssh.shows("got 6 characters").await;
    let session = bastion.watch.started("alice").await;
    assert_eq!(ssh.finish(PROMPT_BOUND).await.code, Some(3));
    bastion.watch.ended(&session, Reason::UserExit).await;

    let casts = check_whole(&recordings, &bastion, &session, &["got 6 characters"]).await;
    let cast = &casts[0];
    assert_eq!(
        (&cast.header["version"], cast.header["env"].as_object().map(serde_json::Map::len)),
        (&json!(3), Some(1))
    );
    assert!(cast.all("o").contains("grün"), "{:?}", cast.events);
    assert_eq!(cast.all("x"), "3");
    assert!(!String::from_utf8_lossy(&cast.text).contains("geheim"), "what is typed unseen is not recorded");

    let location = format!("file://{}", folder_of(&recordings, &bastion, &session).display());
    let plan = session.spec.recording.clone().expect("the session says that it is recorded");
    assert_eq!(plan.location.as_ref(), Some(&location));
    let recorded = eventually(default_timeout(), "the audit row says it, too", async || {
        let store = audit_store(&bastion.namespace);
        let row = store.get(&session.uid().expect("a uid")).await.map_err(|error| error.to_string())?;
        let recording: Value =
            row.and_then(|row| row.recording).and_then(|it| serde_json::from_str(&it).ok()).ok_or("none")?;
        if recording["state"] == "Complete" { Ok(recording) } else { Err(recording.to_string()) }
    })
    .await;
    assert_eq!((&recorded["location"], &recorded["channels"][0]["sha256"]), (&json!(location), &json!(cast.sha256())));
}

#[tokio::test]
async fn each_shell_of_a_connection_has_a_recording_and_a_new_size_is_part_of_it() {
    let recordings = folder().await;
    let bastion = recording_into(&recordings).await;
    let control = format!("ControlPath={}", bastion.namespace.dir.join("mux").display());
    let master = bastion.ssh("alice:best-effort").await.option("-t").set("ControlMaster=yes").set(&control);
    let mut master = master.start_in_terminal(33, 101).await;
    let terminal = master.finds("the terminal's name", |it| it.stdout().lines().next().map(str::to_owned)).await;
    master.say("echo fir''st").await;
    master.shows("first").await;
    let second = bastion.ssh("alice:best-effort").await.terminal().set(&control).command("echo second").run().await;
    assert_eq!(second.code, Some(0), "{second:?}");
    let third = bastion.ssh("alice:best-effort").await.set(&control).command("echo no terminal").run().await;
    assert_eq!(third.code, Some(0), "{third:?}");
    let stty = Command::new("stty").args(["-F", terminal.trim(), "rows", "50", "cols", "132"]).status().await;
    assert!(stty.expect("stty runs").success());
    eventually(PROMPT_BOUND, "the target's terminal has the new size", async || {
        master.say("stty size").await;
        if master.stdout().contains("50 132") { Ok(()) } else { Err(master.stdout()) }
    })
    .await;
    master.say("exit").await;
    master.finish(PROMPT_BOUND).await;
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    let casts = check_whole(&recordings, &bastion, &session, &["first", "second"]).await;
    assert_eq!(casts[0].header["term"], json!({"cols": 101, "rows": 33, "type": casts[0].header["env"]["TERM"]}));
    // stty sets rows and columns one after the other.
    assert!(casts[0].all("r").ends_with("132x50"), "{:?}", casts[0].events);
}

/// What is said of the end is what the user reads, too, and an auditor at its place in the recording.
#[tokio::test]
async fn a_session_that_is_terminated_has_its_recording() {
    let recordings = folder().await;
    let bastion = recording_into(&recordings).await;
    let mut ssh = bastion.ssh("alice:required").await.no_terminal().start().await;
    ssh.say("echo with''out a terminal").await;
    ssh.shows("without a terminal").await;
    let session = bastion.watch.started("alice").await;
    let termination = json!({"spec": {"termination": {"requestedBy": "admin"}}});
    bastion
        .namespace
        .patch_session(&bastion.namespace.admin(), &session.name_any(), termination)
        .await
        .expect("a patch");
    bastion.watch.ended(&session, Reason::AdminTerminated).await;
    let casts = check_whole(&recordings, &bastion, &session, &["without a terminal"]).await;
    assert_eq!(casts[0].all("m"), "session ended: AdminTerminated");
}

#[tokio::test]
async fn without_a_place_for_recordings_a_target_that_requires_them_is_refused() {
    let bastion = recording(&Setting::default()).await;
    let outcome = bastion.ssh("alice:required").await.command("echo seen").run().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(255), ""), "{outcome:?}");
    assert!(
        outcome.stderr.contains("bastion: target \"required\" requires") && outcome.stderr.contains("--recording-url")
    );
    assert_eq!(bastion.session_names().await, [""; 0]);
    let other = bastion.ssh("alice:best-effort").await.terminal().command("echo seen").run().await;
    assert_eq!((other.code, other.stdout.trim()), (Some(0), "seen"), "{other:?}");
    assert!(!other.stderr.contains("is recorded"), "{other:?}");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(result(&bastion, &session).await.state, RecordingState::Failed);
}

/// A folder in memory with room for 256 KiB, and these options, which is there for the gateway alone.
fn small(folder: &Path, options: &str) -> Setting<'static> {
    let mounts = format!("mount -t tmpfs -o size=256k{options} tmpfs {}", folder.display());
    Setting { mounts: Some(mounts), env: into(folder), ..Setting::default() }
}

/// More than there is room for, and then nothing.
const FLOOD: &str = "head -c 600000 /dev/zero | tr '\\0' x; echo all''shown; sleep 60";

#[tokio::test]
async fn a_full_disk_ends_a_session_that_must_be_recorded() {
    let bastion = recording(&small(&folder().await, "")).await;
    let mut ssh = bastion.ssh("alice:required").await.terminal().command(FLOOD).start().await;
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::RecordingFailed).await.session;
    let message = end.status.and_then(|status| status.message).unwrap_or_default();
    assert!(message.contains("No space left on device"), "{message}");
    let outcome = ssh.finish(default_timeout()).await;
    assert_eq!(outcome.code, Some(255), "{outcome:?}");
    assert!(outcome.stderr.contains("bastion: session ended: its required recording failed"), "{}", outcome.stderr);
    let result = result(&bastion, &session).await;
    assert_eq!(result.state, RecordingState::Failed);
    assert!(result.bytes > 0 && result.message.is_some_and(|it| it.contains("No space left")));
}

#[tokio::test]
async fn a_full_disk_does_not_touch_a_session_that_need_not_be_recorded() {
    let bastion = recording(&small(&folder().await, "")).await;
    let mut ssh =
        bastion.ssh("alice:best-effort").await.terminal().command(&FLOOD.replace("sleep 60", "")).start().await;
    let session = bastion.watch.started("alice").await;
    let outcome = ssh.finish(default_timeout()).await;
    assert!(
        outcome.code == Some(0) && outcome.stdout.contains("allshown"),
        "{} {}",
        outcome.stdout.len(),
        outcome.stderr
    );
    bastion.watch.ended(&session, Reason::UserExit).await;
    assert_eq!(result(&bastion, &session).await.state, RecordingState::Failed);
}

#[tokio::test]
async fn where_nothing_can_be_written_what_must_be_recorded_is_not_done() {
    let bastion = recording(&small(&folder().await, ",ro")).await;
    let file = bastion.namespace.dir.join("done");
    let command = format!("touch {}; echo seen", file.display());
    let outcome = bastion.ssh("alice:required").await.terminal().command(&command).run().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(255), ""), "{outcome:?}");
    assert!(outcome.stderr.contains("bastion: session ended: its required recording failed"), "{}", outcome.stderr);
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::RecordingFailed).await.session;
    let message = end.status.and_then(|status| status.message).unwrap_or_default();
    assert!(message.contains("Read-only file system"), "{message}");
    assert!(!file.exists(), "the command was not run");
}

/// A shell that shows a number every tenth of a second.
const TICKS: &str = "i=0; while :; do i=$((i+1)); echo tick $i end; sleep 0.1; done";

fn last_tick(text: &str) -> u32 {
    let mut numbers = text.rsplit("tick ").filter_map(|it| it.split_once(" end")?.0.parse().ok());
    numbers.next().unwrap_or_default()
}

async fn shows_tick(ssh: &mut Process, tick: u32) {
    ssh.finds("a tick", |it| (last_tick(&it.stdout()) >= tick).then_some(())).await;
}

#[tokio::test]
async fn a_killed_gateway_costs_at_most_five_seconds_of_a_recording() {
    let recordings = folder().await;
    let mut bastion = recording_into(&recordings).await;
    let mut ssh = bastion.ssh("alice:required").await.terminal().command(TICKS).start().await;
    let session = bastion.watch.started("alice").await;
    shows_tick(&mut ssh, 75).await;
    let cast = recordings.join(&bastion.namespace.name).join(session.name_any()).join("1");
    bastion.gateway.process.kill().await;
    let shown = last_tick(&ssh.finish(default_timeout()).await.stdout);
    let read = Cast::read(&cast).expect("what is stored can be read");
    let recorded = last_tick(&read.all("o"));
    assert!(recorded + 50 >= shown, "{recorded} of {shown} tenths of a second are recorded");
    assert!(!cast.join("manifest.json").exists(), "and it does not pass for complete");
}

#[tokio::test]
async fn recordings_go_to_a_bucket_and_a_bucket_that_is_gone_ends_what_must_be_recorded() {
    let mut server = S3Server::start().await;
    let bastion = recording(&Setting { env: server.environment(S3Server::secret()), ..Setting::default() }).await;
    let outcome = bastion.ssh("alice:required").await.terminal().command("echo in the bucket; exit 3").run().await;
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
    check_whole(&server.objects(), &bastion, &session, &["in the bucket"]).await;
    assert!(
        session.spec.recording.and_then(|it| it.location).expect("a location").starts_with("s3://recordings/bastion/")
    );

    bastion.namespace.user("bob").await;
    let mut ssh = bastion.ssh("bob:required").await.terminal().command(TICKS).start().await;
    let session = bastion.watch.started("bob").await;
    shows_tick(&mut ssh, 1).await;
    server.kill().await;
    bastion.watch.ended_within(default_timeout(), &session, Reason::RecordingFailed).await;
    assert!(
        ssh.finish(default_timeout()).await.stderr.contains("bastion: session ended: its required recording failed")
    );
}

#[tokio::test]
async fn a_bucket_that_refuses_the_gateway_lets_nothing_pass_that_must_be_recorded() {
    let server = S3Server::start().await;
    let bastion = recording(&Setting { env: server.environment("wrong"), ..Setting::default() }).await;
    let outcome = bastion.ssh("alice:required").await.terminal().command("echo seen").run().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(255), ""), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::RecordingFailed).await;
}

#[tokio::test]
async fn a_place_that_cannot_be_used_stops_the_gateway_when_it_starts() {
    let run = Run::get().await;
    let folder = "file:///nowhere/at/all".to_owned();
    let plain = ("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    for (url, says) in [
        (folder, "create it"),
        ("s3://bucket".to_owned(), "AWS_ALLOW_HTTP=true"),
        ("ftp://x".to_owned(), "s3://BUCKET/PREFIX"),
    ] {
        let mut command = command(&run.bastion);
        command.args(["gateway", "--pod-name", "gateway-0", "--recording-url", &url]).env(plain.0, plain.1);
        command.env("KUBECONFIG", bastion_e2e::ControlPlane::shared().await.kubeconfig());
        let outcome =
            Process::start(run.dir.join(format!("refused-{}", unique())), command).await.finish(PROMPT_BOUND).await;
        assert!(
            outcome.code == Some(1) && outcome.stderr.contains("--recording-url") && outcome.stderr.contains(says),
            "{outcome:?}"
        );
    }
}
