//! A TCP relay that can stop forwarding without closing anything, as a network does that is cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::namespace::ApiRoute;

/// A running relay on a port of its own.
pub struct Relay {
    pub address: SocketAddr,
    state: watch::Sender<RelayState>,
    task: JoinHandle<()>,
}

/// Which connections are forwarded. Connections are numbered in the order in which they come.
#[derive(Clone, Copy, Default)]
struct RelayState {
    accepted: u64,
    cut: bool,
    stalled_below: u64,
    broken_below: u64,
    reset_below: u64,
}

/// What a relay has room for, and how fast it is.
#[derive(Clone, Copy, Default)]
struct Link {
    /// The size of its receive buffers, in bytes.
    room: Option<u32>,
    /// Bytes a second in each direction.
    rate: Option<usize>,
}

impl RelayState {
    const fn lets_pass(self, number: u64) -> bool {
        !self.cut && number >= self.stalled_below
    }
}

impl Relay {
    /// Starts one that leads to `to`.
    pub async fn to(to: SocketAddr) -> Self {
        Self::by_way_of(Ipv4Addr::LOCALHOST, Link::default(), to).await
    }

    /// Starts one that leads from `from` to `to`, and has little room there: while it is cut, its kernel soon has to
    /// tell the other side so.
    pub async fn narrow(from: Ipv4Addr, to: SocketAddr) -> Self {
        Self::by_way_of(from, Link { room: Some(16 * 1024), rate: None }, to).await
    }

    /// Starts one that passes so many bytes a second in each direction, and has little room: a slow network.
    pub async fn slow(rate: usize, to: SocketAddr) -> Self {
        Self::by_way_of(Ipv4Addr::LOCALHOST, Link { room: Some(16 * 1024), rate: Some(rate) }, to).await
    }

    async fn by_way_of(from: Ipv4Addr, link: Link, to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = watch::Sender::new(RelayState::default());
        let task = tokio::spawn(accept(listener, from, link, to, state.clone()));
        Self { address, state, task }
    }

    /// Stops forwarding on every connection. New connections are accepted, and nothing is forwarded on them either.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.cut = true);
    }

    /// Forwards again, beginning with what was held up.
    pub fn restore(&self) {
        self.state.send_modify(|state| state.cut = false);
    }

    /// The present connections stand still for ever; new ones work.
    pub fn stall_present(&self) {
        self.state.send_modify(|state| state.stalled_below = state.accepted);
    }

    /// Closes the present connections; new ones work.
    pub fn break_present(&self) {
        self.state.send_modify(|state| state.broken_below = state.accepted);
    }

    /// Resets the present connections on both sides, without an orderly end; new ones work.
    pub fn reset_present(&self) {
        self.state.send_modify(|state| state.reset_below = state.accepted);
    }
}

impl ApiRoute for Relay {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, from: Ipv4Addr, link: Link, to: SocketAddr, state: watch::Sender<RelayState>) {
    while let Ok((near, _)) = listener.accept().await {
        let number = state.borrow().accepted;
        state.send_modify(|state| state.accepted += 1);
        let socket = TcpSocket::new_v4().expect("a socket");
        if let Some(room) = link.room {
            socket2::SockRef::from(&near).set_recv_buffer_size(room as usize).expect("less room");
            socket.set_recv_buffer_size(room).expect("less room");
        }
        socket.bind((from, 0).into()).expect("an address of this network");
        if let Ok(far) = socket.connect(to).await {
            tokio::spawn(relay(near, far, number, link.rate, state.subscribe()));
        }
    }
}

async fn relay(near: TcpStream, far: TcpStream, number: u64, rate: Option<usize>, state: watch::Receiver<RelayState>) {
    let sockets = [&near, &far].map(|it| it.as_fd().try_clone_to_owned().expect("a second descriptor"));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let (mut breaks, mut resets) = (state.clone(), state.clone());
    tokio::select! {
        // A connection that is broken forwards nothing that was held up before.
        biased;
        _ = breaks.wait_for(|state| number < state.broken_below) => {}
        _ = resets.wait_for(|state| number < state.reset_below) => {
            // The kernel resets a connection that is closed with no time to linger.
            for socket in &sockets {
                socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)).expect("a reset at the close");
            }
        }
        _ = async { tokio::join!(forward(near_in, far_out, number, rate, state.clone()), forward(far_in, near_out, number, rate, state)) } => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    rate: Option<usize>,
    mut state: watch::Receiver<RelayState>,
) {
    let mut buffer = vec![0; rate.map_or(64 * 1024, |rate| rate / 10)];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let open = state.wait_for(|state| state.lets_pass(number)).await.is_ok();
        if !open || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
        if let Some(rate) = rate {
            // The pace of the network that this stands for.
            let micros = length.saturating_mul(1_000_000) / rate;
            sleep(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))).await;
        }
    }
    // An end is news too.
    let _ = state.wait_for(|state| state.lets_pass(number)).await;
    let _ = to.shutdown().await;
}
