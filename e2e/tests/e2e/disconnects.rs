//! Clients that speak no SSH, or vanish in the middle of it, and what is left of them in the gateway.

use std::fs;
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use nix::sys::signal::Signal;
use russh::Disconnect;
use russh::client::Handle;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use bastion_e2e::proc::resident;
use bastion_e2e::russh_client::{Trusting, sign_in};
use bastion_e2e::{Bastion, ControlPlane, default_timeout, eventually, weight};

/// How many files and sockets the gateway's process has open. Its connections to the API server do not count: the
/// client of the API keeps some for later, by a clock of its own.
async fn open_files(bastion: &Bastion) -> usize {
    let proc = format!("/proc/{}", bastion.gateway.process.pid());
    let sockets = fs::read_to_string(format!("{proc}/net/tcp")).expect("the table of sockets");
    let api = format!(":{:04X}", ControlPlane::shared().await.api_address().port());
    let rows = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to_api: Vec<String> =
        rows.filter(|fields| fields[2].ends_with(&api)).map(|fields| format!("socket:[{}]", fields[9])).collect();
    let files = fs::read_dir(format!("{proc}/fd")).expect("the gateway runs").flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.filter(|link| !to_api.iter().any(|it| link.as_os_str() == it.as_str())).count()
}

fn threads(bastion: &Bastion) -> usize {
    fs::read_dir(format!("/proc/{}/task", bastion.gateway.process.pid())).expect("the gateway runs").count()
}

/// Waits until the gateway has no more open than at the start, and no more threads.
async fn assert_back_to(bastion: &Bastion, files: usize, threads_before: usize) {
    eventually(default_timeout(), "open files and threads are back to the start", async || {
        let now = (open_files(bastion).await, threads(bastion));
        let back = now.0 <= files && now.1 <= threads_before;
        if back { Ok(()) } else { Err(format!("{now:?}; at the start {:?}", (files, threads_before))) }
    })
    .await;
}

const IDENTIFICATION: &[u8] = b"SSH-2.0-rough\r\n";

/// How many clients of garbage come, and how many of them at the same time.
const GARBAGE_CLIENTS: usize = 10_000;
const CONCURRENT_CLIENTS: usize = 50;

/// A packet before there are keys, of this type and with this content.
fn packet(message: u8, content: &[u8]) -> Vec<u8> {
    let padding = 16 - (6 + content.len()) % 8;
    let length = u32::try_from(2 + content.len() + padding).expect("a small packet");
    let head = [u8::try_from(padding).expect("a small padding"), message];
    [&length.to_be_bytes()[..], &head, content, &vec![0; padding]].concat()
}

/// A KEXINIT that a gateway takes.
fn kexinit() -> Vec<u8> {
    let mut content = vec![7; 16];
    let lists =
        ["curve25519-sha256", "ssh-ed25519", "aes256-gcm@openssh.com", "aes256-gcm@openssh.com", "", "", "none"];
    for list in lists.into_iter().chain(["none", "", ""]) {
        content.extend(u32::try_from(list.len()).expect("a short list").to_be_bytes());
        content.extend(list.as_bytes());
    }
    content.extend([0; 5]);
    packet(20, &content)
}

/// What the numbered client sends.
fn garbage(number: usize) -> Vec<u8> {
    let mut random = vec![0; 1 + number % 7000];
    rand::fill(&mut random[..]);
    let after_kexinit = |rest: &[u8]| [kexinit(), rest.to_vec()].concat();
    let rest = match number % 12 {
        0 => return random,
        1 => random,
        // The start of a KEXINIT that says it has 1,000 bytes.
        2 => vec![0, 0, 3, 0xe8, 10, 20, 1, 2, 3],
        // A packet of 4 GiB, one of nothing, and one that is as large as is allowed and never comes.
        3 => vec![0xff; 5],
        4 => vec![0; 5],
        5 => vec![0, 3, 0xff, 0xf0, 10, 20],
        // A KEXINIT whose first name-list is longer than the packet.
        6 => packet(20, &[&[0; 16][..], &[0x7f, 0xff, 0xff, 0xff], &[0; 6]].concat()),
        // A KEXINIT, cut off somewhere.
        7 => kexinit()[..number % kexinit().len()].to_vec(),
        // A key exchange with random bytes, with a point that is none, and with new keys before there are any.
        8 => after_kexinit(&random),
        9 => after_kexinit(&packet(30, &[&[0, 0, 0, 32][..], &[0; 32]].concat())),
        10 => after_kexinit(&packet(21, &[])),
        // Thousands of messages to ignore, or of unknown messages.
        _ => packet(if number.is_multiple_of(2) { 2 } else { 192 }, &[0, 0, 0, 1, 0]).repeat(2000),
    };
    [IDENTIFICATION, &rest].concat()
}

/// Checks that the gateway goes on with the key exchange after that KEXINIT, so that garbage comes as far as this too.
async fn assert_kexinit_is_taken(bastion: &Bastion) {
    let base_point = [&[0, 0, 0, 32, 9][..], &[0; 31]].concat();
    let mut stream = TcpStream::connect(bastion.gateway.address).await.expect("a connection");
    let sent = [IDENTIFICATION, &kexinit(), &packet(30, &base_point)].concat();
    stream.write_all(&sent).await.expect("the gateway reads");
    let mut stream = BufReader::new(stream);
    stream.read_line(&mut String::new()).await.expect("an identification");
    // A KEXINIT, and the reply to the point.
    for message in [20, 31] {
        let length = stream.read_u32().await.expect("a packet");
        let mut packet = vec![0; usize::try_from(length).expect("a length")];
        stream.read_exact(&mut packet).await.expect("all of it");
        assert_eq!(packet[1], message);
    }
}

/// Sends it and waits until the gateway closes the connection.
async fn is_rough(bastion: &Bastion, number: usize) {
    let mut stream = TcpStream::connect(bastion.gateway.address).await.expect("a connection");
    // The gateway may close the connection before all is sent; the write then fails.
    let _ = stream.write_all(&garbage(number)).await;
    let _ = stream.shutdown().await;
    let closed = timeout(default_timeout(), stream.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "the gateway closes the connection of client {number}");
}

#[tokio::test]
async fn ten_thousand_clients_of_garbage_leave_a_session_undisturbed_and_nothing_behind() {
    let _held = weight::take(2).await;
    let bastion = Bastion::up().await;
    assert_kexinit_is_taken(&bastion).await;
    let mut alice = bastion.open("alice").await;
    let start = (open_files(&bastion).await, threads(&bastion));
    let memory = resident_kibibytes(&bastion);
    for thousand in 0..GARBAGE_CLIENTS / 1000 {
        let numbers = stream::iter(thousand * 1000..(thousand + 1) * 1000);
        numbers.map(|number| is_rough(&bastion, number)).buffer_unordered(CONCURRENT_CLIENTS).collect::<()>().await;
        alice.still_answers().await;
    }
    assert_back_to(&bastion, start.0, start.1).await;
    assert_eq!(bastion.session_names().await.len(), 1, "garbage is no session");
    let grown = resident_kibibytes(&bastion).saturating_sub(memory);
    assert!(grown < 64 * 1024, "{grown} KiB more than before");
}

/// The memory that the gateway's process has.
fn resident_kibibytes(bastion: &Bastion) -> usize {
    resident(bastion.gateway.process.pid()) / 1024
}

/// A signed-in client can flood channels, requests, and data for a channel without a command.
/// That harms at most its own session.
#[tokio::test]
async fn floods_of_channels_and_requests_leave_other_sessions_undisturbed_and_nothing_behind() {
    let _held = weight::take(2).await;
    let bastion = Bastion::with_users(&["mallory"]).await;
    let mut alice = bastion.open("alice").await;
    let start = (open_files(&bastion).await, threads(&bastion));
    let memory = resident_kibibytes(&bastion);
    for flood in [Flood::Channels, Flood::Requests, Flood::Pings, Flood::Data] {
        let mallory = sign_in(&bastion, "mallory:web-1").await;
        let flooding = async {
            let _ = flood.run(&mallory).await;
        };
        tokio::select! {
            // The gateway may stop reading, and that is an answer too.
            _ = timeout(FLOOD_DURATION, flooding) => {}
            () = async { loop { alice.still_answers().await } } => {}
        }
        let _ = timeout(FLOOD_DURATION, mallory.disconnect(Disconnect::ByApplication, "", "")).await;
        drop(mallory);
        alice.still_answers().await;
        assert_back_to(&bastion, start.0, start.1).await;
    }
    let grown = resident_kibibytes(&bastion).saturating_sub(memory);
    assert!(grown < 64 * 1024, "{grown} KiB more than before");
}

/// How long a flood lasts.
const FLOOD_DURATION: Duration = Duration::from_secs(5);

#[derive(Clone, Copy)]
enum Flood {
    Channels,
    Requests,
    Pings,
    Data,
}

impl Flood {
    /// Goes on until it is through, or the gateway ends the connection.
    async fn run(self, mallory: &Handle<Trusting>) -> Result<(), russh::Error> {
        match self {
            Self::Channels => {
                let opened = join_all((0..2000).map(|_| mallory.channel_open_session())).await;
                let refused = opened.iter().filter(|it| it.is_err()).count();
                assert!(refused >= 1900, "{refused} of 2000 channels were refused");
            }
            Self::Requests => {
                let channel = mallory.channel_open_session().await?;
                for number in 0..20_000 {
                    channel.set_env(false, format!("LC_{number}"), "x".repeat(1000)).await?;
                }
            }
            Self::Pings => {
                for _ in 0..20_000 {
                    mallory.send_keepalive(true).await?;
                }
            }
            Self::Data => {
                let channel = mallory.channel_open_session().await?;
                for _ in 0..2000 {
                    channel.data_bytes(vec![0; 32 * 1024]).await?;
                }
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_hundred_killed_clients_leave_nothing_open() {
    let _held = weight::take(2).await;
    let bastion = Bastion::up().await;
    let mut alice = bastion.open("alice").await;
    let start = (open_files(&bastion).await, threads(&bastion));
    let start_one = async || {
        let mut ssh = bastion.ssh("alice:web-1").await.command("echo here; cat").start().await;
        ssh.shows("here").await;
        ssh
    };
    let clients = join_all((0..100).map(|_| start_one())).await;
    assert!(open_files(&bastion).await >= start.0 + 200, "a connection from each client, and one to its target");
    for ssh in &clients {
        ssh.signal(Signal::SIGKILL);
    }
    assert_back_to(&bastion, start.0, start.1).await;
    alice.still_answers().await;
}
