//! Ten thousand connections of garbage, spread over every HTTP port of every program. `disconnects` does so at the SSH port.

use std::time::Duration;

use futures::{StreamExt, stream};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use bastion_e2e::{default_timeout, eventually, proc, weight};

use crate::http_floods::{probe, resident, trusting_anybody};
use crate::http_ports::{Port, Programs};

/// The connections of all ports together, how many go to a port at once, and how many of them speak TLS where a port does.
const CONNECTIONS: usize = 10_000;
const BATCH: usize = 250;
/// The most that a program's resident memory may grow by, in KiB.
const MAX_GROWTH: usize = 48 * 1024;
/// How long a client waits for the answer to its garbage before it leaves.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);

/// Returns what the numbered client sends.
fn garbage(number: usize) -> Vec<u8> {
    let mut random = vec![0; 1 + number * 37 % 20_000];
    rand::fill(&mut random[..]);
    let get = |headers: &str| format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes();
    match number % 16 {
        0 => random,
        1 => Vec::new(),
        2 => b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(),
        // The beginnings of HTTP/2, of a ClientHello, and of headers of the PROXY protocol.
        3 => [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &random].concat(),
        4 => [&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &random].concat(),
        5 => [b"\r\n\r\n\0\r\nQUIT\n\x21\x11".as_slice(), &random].concat(),
        6 => b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET / HTTP/1.1\r\n\r\n".to_vec(),
        // Request lines and headers that are none, and too many of them.
        7 => [b"GET /".as_slice(), &b"%".repeat(10_000), b" HTTP/1.1\r\nHost: x\r\n\r\n"].concat(),
        8 => get(&"A: b\r\n".repeat(2000)),
        9 => [b"GET / HTTP/1.1\r\n".as_slice(), &random, b"\r\n\r\n"].concat(),
        // Bodies that lie about their length.
        10 => {
            b"POST /auth/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx".to_vec()
        }
        11 => get("Content-Length: 18446744073709551615\r\n"),
        12 => get("Content-Length: 3\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        // Many requests at once, whose answers nobody reads.
        13 => get("").repeat(100),
        // WebSockets that are none.
        14 => [
            get(
                "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n",
            ),
            random,
        ]
        .concat(),
        _ => get("Authorization: Bearer \u{fffd}\r\nCookie: __Host-bastion=;;;=;=\r\nOrigin: null\r\n"),
    }
}

/// Sends garbage, waits a little for an answer, and leaves: half of the clients by a reset.
async fn send_garbage(port: &Port<'_>, tls: &TlsConnector, number: usize) {
    // The program may close it at any time.
    let Ok(stream) = TcpStream::connect(port.address).await else { return };
    if number % 2 == 1 {
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    }
    // Every other client that a TLS port has gets as far as HTTP.
    if port.tls && number % 4 > 1 {
        if let Ok(Ok(stream)) = timeout(ANSWER_TIMEOUT, tls.connect(ServerName::from(port.address.ip()), stream)).await
        {
            send(stream, number / 2).await;
        }
    } else {
        send(stream, number).await;
    }
}

async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, number: usize) {
    let exchange = async {
        let _ = stream.write_all(&garbage(number)).await;
        let _ = stream.flush().await;
        let _ = stream.read(&mut [0; 1024]).await;
    };
    let _ = timeout(ANSWER_TIMEOUT, exchange).await;
}

/// Sends a port its part of the garbage, with probes meanwhile, and checks the memory of its program.
async fn assert_withstands_garbage(port: &Port<'_>, tls: &TlsConnector, number: usize) {
    probe(port.probes).await;
    let before = resident(port.program);
    let mut slowest = Duration::ZERO;
    for batch in 0..number.div_ceil(BATCH) {
        let numbers = stream::iter(batch * BATCH..((batch + 1) * BATCH).min(number));
        let sending = numbers.map(|at| send_garbage(port, tls, at)).buffer_unordered(BATCH).collect::<()>();
        let (answered, ()) = tokio::join!(probe(port.probes), sending);
        slowest = slowest.max(answered);
    }
    let grown = resident(port.program).saturating_sub(before);
    println!("{}: {number} connections, {grown} KiB more, probes within {slowest:?}", port.name);
    assert!(grown <= MAX_GROWTH, "{}: {grown} KiB more than {before}", port.name);
}

#[tokio::test]
async fn ten_thousand_connections_of_garbage_over_every_port_leave_every_program_answering() {
    let _held = weight::take(2).await;
    let programs = Programs::start().await;
    let mut alice = programs.bastion.open("alice").await;
    let ports = programs.ports();
    let tls = trusting_anybody();
    for port in &ports {
        assert_withstands_garbage(port, &tls, CONNECTIONS / ports.len()).await;
        alice.still_answers().await;
    }
    for port in &ports {
        assert!(!port.program.stderr().contains("panicked"), "{}", port.name);
        eventually(default_timeout(), "it closes what is left", async || {
            let sockets = proc::open_sockets(port.program.pid());
            if sockets < 100 { Ok(()) } else { Err(format!("{}: {sockets} sockets", port.name)) }
        })
        .await;
    }
}
