//! Remote forwards (`ssh -R`) and agent forwarding: channels that the target opens (RFC 4254, section 7).

use std::sync::Arc;
use std::time::Duration;

use russh::server::Handle;
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::inboxes::Inboxes;
use super::incoming::{ChannelType, IncomingChannel};
use super::notice::session_ended;
use super::open_failure::connect_failed;
use super::request::FromUser;
use super::requested_forwards::RequestedForwards;
use super::side::UserSide;
use super::tunnel::Tunnel;
use super::types::{ChannelContext, ChannelEnd};
use crate::gateway::observe::{AuditLog, Traffic};
use crate::gateway::target::TargetConnection;

/// How long the user's client may take to confirm or refuse a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the target may take to answer a forward request. A client waits as long, including the dial of the target.
pub const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum number of ports that a target listens on for one client.
const MAX_PORTS: usize = 256;

/// A global request of the user's client about a port of the target (RFC 4254, section 7.1).
#[derive(Debug)]
pub enum ForwardRequest {
    /// `tcpip-forward`: listen on a port.
    Listen {
        /// The address to bind, which the target interprets.
        address: String,
        /// The port to bind; zero lets the target choose one.
        port: u32,
        /// Takes the bound port; `None` when the target refused.
        answer: oneshot::Sender<Option<u32>>,
    },
    /// `cancel-tcpip-forward`: stop listening on a port.
    Cancel {
        /// The address of the `tcpip-forward` request.
        address: String,
        /// The bound port.
        port: u32,
        /// Takes the port; `None` when the target refused.
        answer: oneshot::Sender<Option<u32>>,
    },
}

/// The user's connection, on which the gateway opens channels.
#[derive(Clone)]
pub struct UserConnection {
    /// Sends to the user's client.
    pub handle: Handle,
    /// The inboxes of the connection's channels.
    pub inboxes: Arc<Inboxes<FromUser>>,
}

impl UserConnection {
    /// Opens a channel to the user's client. A channel that the client confirms after the timeout is closed again.
    async fn open(
        self,
        channel_type: ChannelType,
        cleanup_tasks: &TaskTracker,
    ) -> Result<UserSide, ChannelOpenFailure> {
        let handle = self.handle.clone();
        let mut pending_open = Box::pin(async move {
            match channel_type {
                ChannelType::Agent => handle.channel_open_agent().await,
                ChannelType::ForwardedTcpip { address, port, originator, originator_port } => {
                    handle.channel_open_forwarded_tcpip(address, port, originator, originator_port).await
                }
            }
        });
        match timeout(OPEN_TIMEOUT, &mut pending_open).await {
            Ok(Ok(channel)) => Ok(self.side(channel)),
            Ok(Err(russh::Error::ChannelOpenFailure(failure))) => Err(failure),
            Ok(Err(_)) => Err(connect_failed("bastion: the user's client is gone")),
            Err(_) => {
                cleanup_tasks.spawn(async move {
                    if let Ok(channel) = pending_open.await {
                        let _ = self.side(channel).write.close().await;
                    }
                });
                Err(connect_failed("bastion: the user's client did not answer"))
            }
        }
    }

    /// Returns the user's side of a channel.
    pub fn side(&self, channel: Channel<russh::server::Msg>) -> UserSide {
        UserSide::claim(&self.inboxes, channel)
    }
}

/// Passes a client's forward requests to the target, one after another, until the session ends or the target is lost.
pub async fn listen(
    mut requests: mpsc::Receiver<ForwardRequest>,
    connection: Arc<TargetConnection>,
    audit: Arc<AuditLog>,
    context: ChannelContext,
) -> ChannelEnd {
    let ChannelContext { mut notices, cleanup_tasks, requested, .. } = context;
    let mut forwards = RemoteForwards { connection, audit, requested, ports: Vec::new() };
    let end = forwards.connection.end();
    let end = tokio::select! {
        () = async {
            while let Some(request) = requests.recv().await {
                forwards.handle(request).await;
            }
            std::future::pending::<()>().await;
        } => ChannelEnd::NotOpened,
        () = end.announced() => ChannelEnd::TargetLost,
        _ = session_ended(&mut notices) => ChannelEnd::NotOpened,
    };
    for (address, port) in &forwards.ports {
        forwards.write_audit(address, *port, "ended");
        forwards.requested.stop(*port);
    }
    cleanup_tasks.spawn(TargetConnection::release(forwards.connection));
    end
}

/// Returns a bind address for people to read: `*` for the empty address, which means all addresses (RFC 4254, section
/// 7.1).
pub fn bind_address_text(address: &str) -> &str {
    if address.is_empty() { "*" } else { address }
}

/// The ports that a target listens on for one client.
struct RemoteForwards {
    connection: Arc<TargetConnection>,
    audit: Arc<AuditLog>,
    requested: Arc<RequestedForwards>,
    ports: Vec<(String, u32)>,
}

impl RemoteForwards {
    async fn handle(&mut self, request: ForwardRequest) {
        match request {
            // The request timed out while it was queued, and the client already has its failure.
            ForwardRequest::Listen { answer, .. } if answer.is_closed() => {}
            ForwardRequest::Listen { address, port, answer } => self.listen(address, port, answer).await,
            ForwardRequest::Cancel { address, port, answer } => {
                let cancelled = self.cancel(&address, port).await;
                let _ = answer.send(cancelled.then_some(port));
            }
        }
    }

    async fn listen(&mut self, address: String, port: u32, answer: oneshot::Sender<Option<u32>>) {
        if self.ports.len() >= MAX_PORTS {
            self.write_audit(&address, port, "not begun: too many ports");
            return;
        }
        self.requested.listen(port);
        let bound = timeout(LISTEN_TIMEOUT, self.connection.listen(&address, port)).await.ok().flatten();
        let Some(bound) = bound else {
            self.requested.stop(port);
            self.write_audit(&address, port, "not begun: the target refused");
            let _ = answer.send(None);
            return;
        };
        self.requested.bound(port, bound);
        self.write_audit(&address, bound, "begun");
        self.ports.push((address.clone(), bound));
        // The request timed out meanwhile, and the client does not know of the port.
        if answer.send(Some(bound)).is_err() {
            // Whatever the target answers, the user has no such forward.
            self.requested.stop(bound);
            self.cancel(&address, bound).await;
        }
    }

    async fn cancel(&mut self, address: &str, port: u32) -> bool {
        let cancelled = timeout(LISTEN_TIMEOUT, self.connection.stop_listening(address, port)).await == Ok(true);
        let listening = self.ports.iter().position(|it| it.0 == address && it.1 == port);
        if let Some(at) = listening.filter(|_| cancelled) {
            self.ports.swap_remove(at);
            self.requested.stop(port);
            self.write_audit(address, port, "ended");
        }
        cancelled
    }

    fn write_audit(&self, address: &str, port: u32, result: &str) {
        self.audit.tunnel("remote_listen", bind_address_text(address), port, None, result);
    }
}

/// Opens the channel to the user's client, answers the target, and relays both sides until either closes or the session
/// ends.
pub async fn join(
    incoming: IncomingChannel,
    user: UserConnection,
    audit: Arc<AuditLog>,
    context: ChannelContext,
) -> ChannelEnd {
    let ChannelContext { activity, pause_detector, mut notices, cleanup_tasks, .. } = context;
    let channel_type = incoming.channel_type.clone();
    let write_audit = |bytes, result: &str| channel_type.write_audit(&audit, bytes, result);
    let opened = tokio::select! {
        opened = user.open(channel_type.clone(), &cleanup_tasks) => opened,
        text = session_ended(&mut notices) => {
            Err(connect_failed(text.as_deref().unwrap_or("bastion: session ended")))
        }
    };
    match opened {
        Ok(user) => {
            write_audit(None, "opened");
            let IncomingChannel { target, reply, .. } = incoming;
            reply.accept().await;
            let tunnel = Tunnel { user, target, activity, traffic: Traffic::default(), pause_detector };
            let end = match (tunnel.run(&mut notices).await, &channel_type) {
                (ChannelEnd::TargetLost, _) | (ChannelEnd::Interrupted, ChannelType::Agent) => ChannelEnd::Dependent,
                (end, _) => end,
            };
            write_audit(Some(tunnel.traffic.bytes()), "closed");
            tunnel.target.close(&mut notices).await;
            cleanup_tasks.spawn(tunnel.linger());
            end
        }
        Err(failure) => {
            write_audit(None, &format!("not opened: {}", failure.description()));
            incoming.refuse(failure).await;
            ChannelEnd::NotOpened
        }
    }
}
