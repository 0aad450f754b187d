//! Channels that begin on the target: connections to a port that the user had it listen on (RFC 4254, section 7.1), and
//! programs there that ask the user's agent.

use std::sync::Arc;
use std::time::Duration;

use russh::server::Handle;
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::inbox::Inboxes;
use super::request::FromUser;
use super::tunnel::Tunnel;
use super::types::{ChannelContext, ChannelEnd, Incoming, Purpose, UserSide, connect_failed, over};
use crate::gateway::observe::{AuditLog, Traffic};
use crate::gateway::target::TargetConnection;

/// How long the user's client may take to open a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the target may take to begin or stop listening, from the connecting on.
pub const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How many ports a target may listen on for one user's client.
const MAX_PORTS: usize = 256;

/// What the user's client asks for the ports of the target.
#[derive(Debug)]
pub enum Listening {
    /// `tcpip-forward`: listen. The answer is the port, or none where the target refuses.
    Begin {
        /// The address to listen on, as the target understands it.
        address: String,
        /// The port; zero for one of the target's choice.
        port: u32,
        /// Takes the answer.
        answer: oneshot::Sender<Option<u32>>,
    },
    /// `cancel-tcpip-forward`: stop listening.
    Stop {
        /// The address that was asked for.
        address: String,
        /// The port that was given.
        port: u32,
        /// Takes the answer: whether the target did.
        answer: oneshot::Sender<Option<u32>>,
    },
}

/// The user's connection, for the opening of channels to it.
#[derive(Clone)]
pub struct UserConnection {
    /// The way to send to it.
    pub handle: Handle,
    /// What comes from it.
    pub inboxes: Arc<Inboxes<FromUser>>,
}

impl UserConnection {
    /// Opens a channel to the user's client. One that it confirms too late is closed among the `cleanup_tasks`.
    async fn open(self, purpose: Purpose, cleanup_tasks: &TaskTracker) -> Result<UserSide, ChannelOpenFailure> {
        let handle = self.handle.clone();
        let mut opening = Box::pin(async move {
            match purpose {
                Purpose::Agent => handle.channel_open_agent().await,
                Purpose::Forward { address, port, originator, originator_port } => {
                    handle.channel_open_forwarded_tcpip(address, port, originator, originator_port).await
                }
            }
        });
        match timeout(OPEN_TIMEOUT, &mut opening).await {
            Ok(Ok(channel)) => Ok(self.side(channel)),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => Err(failure),
            Ok(Err(_)) => Err(connect_failed("bastion: the user's client is gone")),
            Err(_) => {
                cleanup_tasks.spawn(async move {
                    if let Ok(channel) = opening.await {
                        let _ = self.side(channel).write.close().await;
                    }
                });
                Err(connect_failed("bastion: the user's client did not answer"))
            }
        }
    }

    /// The user's side of a channel. The reading half is dropped: with it, the connection's loop would wait for whoever
    /// reads.
    pub fn side(&self, channel: Channel<russh::server::Msg>) -> UserSide {
        let (_, write) = channel.split();
        UserSide::new(self.inboxes.claim(write.id()), write)
    }
}

/// Has the target listen and stop listening, as the user's client asks, until the session ends or the target is lost.
pub async fn listen(
    mut asked: mpsc::Receiver<Listening>,
    connection: TargetConnection,
    audit: Arc<AuditLog>,
    context: ChannelContext,
) -> ChannelEnd {
    let ChannelContext { mut announcements, cleanup_tasks, .. } = context;
    let mut listener = Listener { connection, audit, ports: Vec::new() };
    let end = listener.connection.end();
    let end = tokio::select! {
        () = async {
            while let Some(wish) = asked.recv().await {
                listener.heed(wish).await;
            }
            std::future::pending::<()>().await;
        } => ChannelEnd::NotOpened,
        () = end.announced() => ChannelEnd::TargetLost,
        _ = over(&mut announcements) => ChannelEnd::NotOpened,
    };
    for (address, port) in &listener.ports {
        listener.tell(address, *port, "ended");
    }
    cleanup_tasks.spawn(listener.connection.disconnect());
    end
}

/// An address to listen on, in words: the protocol leaves it empty for all that there are.
pub fn listened_at(address: &str) -> &str {
    if address.is_empty() { "*" } else { address }
}

/// The ports that a target listens on for the user.
struct Listener {
    connection: TargetConnection,
    audit: Arc<AuditLog>,
    ports: Vec<(String, u32)>,
}

impl Listener {
    async fn heed(&mut self, wish: Listening) {
        match wish {
            // The client was told no when it had waited long enough.
            Listening::Begin { answer, .. } if answer.is_closed() => {}
            Listening::Begin { address, port, answer } => self.begin(address, port, answer).await,
            Listening::Stop { address, port, answer } => {
                let stopped = self.stop(&address, port).await;
                let _ = answer.send(stopped.then_some(port));
            }
        }
    }

    async fn begin(&mut self, address: String, port: u32, answer: oneshot::Sender<Option<u32>>) {
        if self.ports.len() >= MAX_PORTS {
            self.tell(&address, port, "not begun: too many ports");
            return;
        }
        let given = timeout(LISTEN_TIMEOUT, self.connection.listen(&address, port)).await.ok().flatten();
        let Some(given) = given else {
            self.tell(&address, port, "not begun: the target refused");
            let _ = answer.send(None);
            return;
        };
        self.tell(&address, given, "begun");
        self.ports.push((address.clone(), given));
        if answer.send(Some(given)).is_err() {
            self.stop(&address, given).await;
        }
    }

    async fn stop(&mut self, address: &str, port: u32) -> bool {
        let stopped = timeout(LISTEN_TIMEOUT, self.connection.stop_listening(address, port)).await == Ok(true);
        let listening = self.ports.iter().position(|it| it.0 == address && it.1 == port);
        if let Some(at) = listening.filter(|_| stopped) {
            self.ports.swap_remove(at);
            self.tell(address, port, "ended");
        }
        stopped
    }

    fn tell(&self, address: &str, port: u32, result: &str) {
        self.audit.tunnel("remote_listen", listened_at(address), port, None, result);
    }
}

/// Opens the channel to the user's client too, and joins the two sides.
pub async fn join(
    incoming: Incoming,
    user: UserConnection,
    audit: Arc<AuditLog>,
    context: ChannelContext,
) -> ChannelEnd {
    let ChannelContext { activity, pause_detector, mut announcements, cleanup_tasks } = context;
    let purpose = incoming.purpose.clone();
    let tell = |bytes, result: &str| purpose.tell(&audit, bytes, result);
    let opened = tokio::select! {
        opened = user.open(purpose.clone(), &cleanup_tasks) => opened,
        text = over(&mut announcements) => {
            Err(connect_failed(text.as_deref().unwrap_or("bastion: session ended")))
        }
    };
    match opened {
        Ok(user) => {
            tell(None, "opened");
            let Incoming { target, reply, .. } = incoming;
            reply.accept().await;
            let tunnel = Tunnel { user, target, activity, traffic: Traffic::default(), pause_detector };
            let end = match (tunnel.run(&mut announcements).await, &purpose) {
                (ChannelEnd::TargetLost, _) | (ChannelEnd::Interrupted, Purpose::Agent) => ChannelEnd::Dependent,
                (end, _) => end,
            };
            tell(Some(tunnel.traffic.bytes()), "closed");
            cleanup_tasks.spawn(tunnel.linger());
            end
        }
        Err(failure) => {
            tell(None, &format!("not opened: {}", failure.description()));
            incoming.refuse(failure).await;
            ChannelEnd::NotOpened
        }
    }
}
