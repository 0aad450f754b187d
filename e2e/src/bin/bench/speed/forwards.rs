//! Channels of one session beside its shell: forwarded connections, and further shells. The OpenSSH bastion, which only runs
//! commands, has neither, so the direct way is the peer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::environment::{DIRECT, Environment, OURS};
use super::statistics::median;
use bastion_e2e::proc::descendants;
use bastion_e2e::sshd::free_port;
use bastion_e2e::tcp::Destination;
use bastion_e2e::{Process, default_timeout, eventually};

/// How many connections go through `-D` at the same time.
pub const AT_ONCE: usize = 100;
/// How long one of them may take.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);

/// What was measured on one way.
#[derive(Default)]
pub struct Forwards {
    /// From a new connection through `-L` to the first byte that comes back, in milliseconds.
    pub first_byte: Option<f64>,
    /// From the first of [`AT_ONCE`] connections through `-D` to the last byte that comes back, in milliseconds.
    pub at_once: Option<f64>,
    /// How many of them failed, in all rounds.
    pub failed: Option<f64>,
    /// `ssh … true` over a client with a control connection, in milliseconds.
    pub shell: Option<f64>,
    /// How often the target was signed in to.
    pub sign_ins: Option<f64>,
    /// The target's processes while the connections were open.
    pub processes: Option<f64>,
}

/// Measures so many rounds on each way, in turn.
pub async fn measure(environment: &Environment, rounds: usize) -> [Forwards; 3] {
    let mut measured = <[Forwards; 3]>::default();
    for way in [OURS, DIRECT] {
        measured[way] = one_way(environment, way, rounds).await;
        environment.settled().await;
    }
    measured
}

async fn one_way(environment: &Environment, way: usize, rounds: usize) -> Forwards {
    let destination = Destination::echo().await;
    let port = async || SocketAddr::from(([127, 0, 0, 1], free_port().await));
    let (local, socks) = (port().await, port().await);
    let control = format!("ControlPath={}", environment.namespace.dir.join(format!("control-{way}")).display());
    let before = environment.target.sign_ins();
    let ssh = environment.ways[way].ssh().await.option("-N").set("ControlMaster=yes").set(&control);
    let ssh = ssh.option("-L").option(&format!("{local}:{}", destination.address));
    let _client: Process = ssh.option("-D").option(&socks.to_string()).start().await;
    for address in [local, socks] {
        eventually(default_timeout(), "ssh listens", async || {
            TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
    let (mut first_bytes, mut all_at_once, mut shells) = (Vec::new(), Vec::new(), Vec::new());
    let (mut failed, mut processes) = (0, 0);
    for _ in 0..rounds {
        for _ in 0..10 {
            let begin = Instant::now();
            let mut stream = TcpStream::connect(local).await.expect("ssh listens");
            echo(&mut stream).await.expect("the echo");
            first_bytes.push(milliseconds(begin));
        }
        let begin = Instant::now();
        let streams = join_all((0..AT_ONCE).map(|_| through_socks(socks, destination.address))).await;
        all_at_once.push(milliseconds(begin));
        failed += streams.iter().filter(|stream| stream.is_none()).count();
        processes = processes.max(descendants(environment.target.pid().as_raw()).len());
        drop(streams);
        for _ in 0..5 {
            let begin = Instant::now();
            let outcome = environment.ways[way].ssh().await.set(&control).command("true").run().await;
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            shells.push(milliseconds(begin));
        }
    }
    let count = |number: usize| Some(number as f64);
    Forwards {
        first_byte: median(first_bytes),
        at_once: median(all_at_once),
        failed: count(failed),
        shell: median(shells),
        sign_ins: count(environment.target.sign_ins() - before),
        processes: count(processes),
    }
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

async fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"x").await?;
    stream.read_exact(&mut [0]).await.map(drop)
}

/// Connects to an address through a SOCKS 5 proxy (RFC 1928), and waits for an echo. `None` if that fails.
async fn through_socks(proxy: SocketAddr, to: SocketAddr) -> Option<TcpStream> {
    let connect = async {
        let mut stream = TcpStream::connect(proxy).await?;
        stream.write_all(&[5, 1, 0]).await?;
        stream.read_exact(&mut [0; 2]).await?;
        let SocketAddr::V4(to) = to else { return Err(std::io::ErrorKind::Unsupported.into()) };
        let request = [&[5, 1, 0, 1][..], &to.ip().octets(), &to.port().to_be_bytes()].concat();
        stream.write_all(&request).await?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).await?;
        if answer[1] != 0 {
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        echo(&mut stream).await?;
        std::io::Result::Ok(stream)
    };
    timeout(CONNECTION_TIMEOUT, connect).await.ok()?.ok()
}
