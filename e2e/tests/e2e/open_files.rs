//! A gateway with few open files: sessions and strangers share them, and what must not fail keeps its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bastion_operator::api::{BastionSession, Phase};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use bastion_e2e::http::get;
use bastion_e2e::proc::stat;
use bastion_e2e::process::command;
use bastion_e2e::run::{Run, unique};
use bastion_e2e::{
    Bastion, ControlPlane, Controller, Echo, Gateway, LoadClient, Process, Relay, Setting, default_timeout,
    metric_becomes, throughout, weight,
};

/// The hard limit of open files, which the gateway may set for itself, and the soft one that it starts with.
const FILES: usize = 256;
const SOFT: usize = 64;
/// So few files are open since the start.
const NONE_LEFT: usize = 8;
/// The sessions that ask for a place, and the connections of strangers at each port.
const SESSIONS: usize = 95;
const STRANGERS: u32 = 100;
/// A gateway whose Lease is not renewed is lost well before this.
const AWHILE: Duration = Duration::from_secs(35);

const TURNED_AWAY: &str = r#"bastion_connections_refused_total{reason="open_files"}"#;
const REFUSED: &str = r#"bastion_sign_ins_refused_total{reason="open_files"}"#;
const ACCEPTS_FAILED: &str = r#"bastion_accepts_failed_total{listener="ssh"}"#;

/// Opens sessions until one is refused. Returns those that were opened, and what the last one read.
async fn open_until_refused(gateway: &Gateway) -> (Vec<LoadClient>, String) {
    let mut open = Vec::new();
    for _ in 0..SESSIONS {
        let client = LoadClient::open(gateway.address, "alice:echo").await.expect("a sign-in");
        if client.answers().await.is_err() {
            client.gone().await;
            return (open, client.received());
        }
        open.push(client);
    }
    panic!("{SESSIONS} sessions of two files each were opened with {FILES} files");
}

/// Opens a connection, sends `bytes`, and returns it with what it reads first.
async fn stranger(port: SocketAddr, bytes: &[u8]) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(port).await.expect("a connection");
    // The gateway may have closed it already.
    let _ = stream.write_all(bytes).await;
    let mut first = vec![0; 200];
    let read = timeout(default_timeout(), stream.read(&mut first)).await;
    first.truncate(read.map(Result::unwrap_or_default).unwrap_or_default());
    (stream, first)
}

async fn active_sessions(bastion: &Bastion) -> usize {
    let sessions = bastion.namespace.api::<BastionSession>().list(&ListParams::default()).await;
    let sessions = sessions.expect("sessions can be listed");
    sessions.iter().filter(|session| bastion.watch.phase(session) == Phase::Active).map(ResourceExt::name_any).count()
}

/// The processor time of a process, in seconds.
fn processor_seconds(process: &Process) -> f64 {
    let stat = stat(process.pid().as_raw()).expect("it runs");
    let ticks = |field: usize| stat[field].parse::<f64>().expect("a number");
    // Fields 14 and 15 of proc(5), at 100 ticks a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// Sets the soft limit of open files of a running process.
async fn set_soft_limit(process: &Process, files: usize) {
    let mut prlimit = command("prlimit");
    prlimit.args(["--pid", &process.pid().to_string(), &format!("--nofile={files}:{FILES}")]);
    let log = Run::get().await.dir.join(format!("prlimit-{}", unique()));
    let outcome = Process::start(log, prlimit).await.finish(default_timeout()).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[tokio::test]
async fn with_few_open_files_strangers_are_turned_away_and_no_session_is_lost() {
    let _held = weight::take(1).await;
    let api = Relay::to(ControlPlane::shared().await.api_address()).await;
    let echo = Echo::start().await;
    let setting = Setting {
        api: Some(&api),
        starter: vec!["prlimit".to_owned(), format!("--nofile={SOFT}:{FILES}")],
        env: vec![("BASTION_MAX_STARTUPS_PER_ADDRESS", "512".into())],
        ..Setting::default()
    };
    let bastion = Bastion::in_setting(&setting, async |namespace, _| {
        echo.add_to(namespace, "echo", json!({})).await;
    })
    .await;
    let (gateway, http) = (&bastion.gateway, bastion.gateway.http);
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    assert_eq!(gateway.metric("bastion_open_files_limit").await, FILES, "the soft limit is raised");

    let (clients, refused) = open_until_refused(gateway).await;
    assert!(refused.contains("as its limit of open files allows"), "{refused}");
    assert!((60..SESSIONS).contains(&clients.len()), "{} sessions were opened", clients.len());
    metric_becomes(http, REFUSED, |refused| refused >= 1.0).await;

    // Strangers at every port.
    let mut held = Vec::new();
    let (mut admitted, mut turned_away) = (0, 0_u32);
    for _ in 0..STRANGERS {
        let (stream, first) = stranger(gateway.address, b"").await;
        if first.starts_with(b"SSH-2.0-") {
            admitted += 1;
        } else if String::from_utf8_lossy(&first).contains("as its limit of open files allows") {
            turned_away += 1;
        }
        held.push(stream);
    }
    assert!(admitted > 0 && turned_away > STRANGERS / 2, "{admitted} were admitted, {turned_away} turned away");
    metric_becomes(http, TURNED_AWAY, |counted| counted >= f64::from(turned_away)).await;
    for port in [gateway.web, gateway.follow, http] {
        for _ in 0..STRANGERS {
            let mut stream = TcpStream::connect(port).await.expect("a connection");
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nX: ").await;
            held.push(stream);
        }
    }

    // The gateway needs new connections to the API server while the strangers hold theirs.
    api.reset_present();
    throughout(AWHILE, async || {
        assert_eq!(gateway.sessions_active().await, clients.len(), "no session ends");
        assert_eq!(get(http, "/healthz").await.0, 200, "probes get through");
    })
    .await;
    assert_eq!(gateway.metric("bastion_instance_losses_total").await, 0);
    assert!(gateway.metric("bastion_open_files").await < FILES);
    for client in &clients {
        client.answers().await.expect("the session lives on");
    }
    assert!(active_sessions(&bastion).await >= clients.len());

    // Without a single file left, the accept loops wait instead of spinning.
    let (start, before) = (Instant::now(), processor_seconds(&gateway.process));
    set_soft_limit(&gateway.process, NONE_LEFT).await;
    let waiting = TcpStream::connect(gateway.address).await.expect("the kernel accepts it");
    throughout(Duration::from_secs(5), async || ()).await;
    set_soft_limit(&gateway.process, FILES).await;
    let (spent, elapsed) = (processor_seconds(&gateway.process) - before, start.elapsed().as_secs_f64());
    assert!(spent < elapsed / 2.0, "{spent} s of processor time in {elapsed} s");
    // One attempt each 100 ms.
    metric_becomes(http, ACCEPTS_FAILED, |failed| (1.0..=10.0 * elapsed + 5.0).contains(&failed)).await;
    for client in &clients {
        client.answers().await.expect("the session lives on");
    }
    drop((held, waiting));
}
