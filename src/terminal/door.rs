//! The way in: it accepts TCP connections, and leaves those that do not become a terminal little time.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::TcpListener;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::gateway::socket::{Health, Socket};
use crate::gateway::startups::{MOST, Startup, Startups, TurnedAway};
use crate::metrics::{METRICS, RefusalLabels};

/// How long a connection may be open that is no terminal.
const PLAIN: Duration = Duration::from_secs(30);
/// How often it is looked whether one is closed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Accepts connections.
pub struct Door {
    listener: TcpListener,
    startups: Startups,
    turned_away: TurnedAway,
}

/// What a connection's requests know of it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// A look at its health.
    pub health: Health,
    /// Cancelling it cuts the connection off.
    pub cut: CancellationToken,
    /// Cancelling it says that the connection is a terminal, which may stay.
    pub stays: CancellationToken,
}

impl Door {
    /// Who accepts what comes to `listener`. An address may be an Ingress, whose connections are many people's.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, startups: Startups::new(MOST), turned_away: TurnedAway::default() }
    }

    fn turn_away(&mut self, peer: SocketAddr) {
        METRICS.connections_refused.get_or_create(&RefusalLabels { reason: "all" }).inc();
        if let Some(connections) = self.turned_away.another(Instant::now()) {
            warn!(client = %peer, connections, "connections are turned away: too many have no terminal yet");
        }
    }
}

impl Listener for Door {
    type Io = Socket;
    type Addr = Peer;

    async fn accept(&mut self) -> (Socket, Peer) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let Ok(startup) = self.startups.admit(address.ip()) else {
                        self.turn_away(address);
                        continue;
                    };
                    let _ = stream.set_nodelay(true);
                    let cut = CancellationToken::new();
                    let (socket, health) = Socket::new(stream, cut.clone());
                    let peer = Peer { address, health, cut, stays: CancellationToken::new() };
                    tokio::spawn(hurry(peer.clone(), startup));
                    return (socket, peer);
                }
                Err(error) => {
                    // Out of file descriptors, as a rule: it passes when connections end.
                    warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        let address = self.listener.local_addr()?;
        Ok(Peer { address, health: Health::default(), cut: CancellationToken::new(), stays: CancellationToken::new() })
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

/// Cuts a connection off that is no terminal in time; its place is held meanwhile.
async fn hurry(peer: Peer, startup: Startup) {
    let mut looks = interval(LOOK_EVERY);
    let closed = async {
        while peer.health.is_open() {
            looks.tick().await;
        }
    };
    tokio::select! {
        () = closed => {}
        () = peer.stays.cancelled() => {}
        () = sleep(PLAIN) => peer.cut.cancel(),
    }
    drop(startup);
}
