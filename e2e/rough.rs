//! Clients that speak no SSH, or vanish in the middle of it, and what is left of them in the gateway.

use std::fs;

use futures::future::join_all;
use futures::{StreamExt, stream};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Bastion, ControlPlane, PATIENCE, eventually};

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
    eventually(PATIENCE, "open files and threads are back to the start", async || {
        let now = (open_files(bastion).await, threads(bastion));
        let back = now.0 <= files && now.1 <= threads_before;
        if back { Ok(()) } else { Err(format!("{now:?}; at the start {:?}", (files, threads_before))) }
    })
    .await;
}

const IDENTIFICATION: &[u8] = b"SSH-2.0-rough\r\n";

/// What the numbered client sends.
fn garbage(number: usize) -> Vec<u8> {
    let mut random = vec![0; 1 + number * 7];
    rand::fill(&mut random[..]);
    let packet = |head: &[u8]| [IDENTIFICATION, head].concat();
    match number % 6 {
        0 => random,
        1 => packet(&random),
        // The start of a KEXINIT that says it has 1,000 bytes.
        2 => packet(&[0, 0, 3, 0xe8, 10, 20, 1, 2, 3]),
        // A packet of 4 GiB, and one of nothing.
        3 => packet(&[0xff; 5]),
        4 => packet(&[0; 5]),
        // A KEXINIT whose first name-list is longer than the packet.
        _ => packet(&[[0, 0, 0, 28, 4, 20].as_slice(), &[0; 16], &[0x7f, 0xff, 0xff, 0xff], &[0; 6]].concat()),
    }
}

/// Sends it and waits until the gateway closes the connection.
async fn is_rough(bastion: &Bastion, number: usize) {
    let mut stream = TcpStream::connect(bastion.gateway.address).await.expect("a connection");
    // The gateway may have closed it before all is sent, and that is news to whoever still writes.
    let _ = stream.write_all(&garbage(number)).await;
    let _ = stream.shutdown().await;
    let closed = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "the gateway closes the connection of client {number}");
}

#[tokio::test]
async fn a_thousand_clients_of_garbage_leave_a_session_undisturbed_and_nothing_behind() {
    let bastion = Bastion::up().await;
    let mut alice = bastion.open("alice").await;
    let start = (open_files(&bastion).await, threads(&bastion));
    for hundred in 0..10 {
        let numbers = stream::iter(hundred * 100..(hundred + 1) * 100);
        numbers.map(|number| is_rough(&bastion, number)).buffer_unordered(50).collect::<()>().await;
        alice.still_answers().await;
    }
    assert_back_to(&bastion, start.0, start.1).await;
    assert_eq!(bastion.session_names().await.len(), 1, "garbage is no session");
}

#[tokio::test]
async fn a_hundred_killed_clients_leave_nothing_open() {
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
