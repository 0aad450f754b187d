//! Local forwards (`ssh -L`): `direct-tcpip` channels, for which the target connects to a destination (RFC 4254,
//! section 7.2).

use std::sync::Arc;

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;

use super::inboxes::Inboxes;
use super::notice::session_ended;
use super::open_failure::connect_failed;
use super::request::FromUser;
use super::side::UserSide;
use super::tunnel::Tunnel;
use super::types::{ChannelContext, ChannelEnd, Destination};
use crate::gateway::observe::{AuditLog, Traffic};
use crate::gateway::target::{OpenError, TargetConnection};

/// A `direct-tcpip` channel that the user's client asked for and that is not confirmed yet.
pub struct LocalForward {
    /// The user's side.
    pub user: UserSide,
    /// The destination that the target connects to.
    pub destination: Destination,
    /// Confirms or refuses the channel.
    pub reply: ChannelOpenHandle,
    /// The inboxes of the user's connection.
    pub inboxes: Arc<Inboxes<FromUser>>,
}

impl LocalForward {
    /// Refuses the channel with SSH_MSG_CHANNEL_OPEN_FAILURE.
    pub async fn refuse(self, failure: ChannelOpenFailure) {
        self.inboxes.remove(self.user.write.id());
        self.reply.reject(failure).await;
    }
}

/// Opens the target's channel, answers the user's client, and relays both sides until either closes or the session
/// ends.
///
/// # Errors
/// Returns the forward and the connection if the target opens no further channel on it.
pub async fn join(
    forward: LocalForward,
    connection: Arc<TargetConnection>,
    audit: Arc<AuditLog>,
    context: ChannelContext,
) -> Result<ChannelEnd, (LocalForward, Arc<TargetConnection>)> {
    let ChannelContext { activity, pause_detector, mut notices, cleanup_tasks, .. } = context;
    let Destination { host, port, .. } = forward.destination.clone();
    let write_audit = |bytes, result: &str| audit.tunnel("local_forward", &host, u32::from(port), bytes, result);
    let open = async {
        // After a pause of this process, the session may have been declared lost. It must not act for the user then.
        pause_detector.confirmed().await;
        connection.open_forward(&forward.destination).await
    };
    let opened = tokio::select! {
        opened = open => match opened {
            Ok(target) => Ok(target),
            Err(OpenError::NoRoom) => return Err((forward, connection)),
            Err(OpenError::Refused(failure)) => Err((ChannelEnd::NotOpened, failure)),
            Err(OpenError::Ssh(_)) => {
                Err((ChannelEnd::TargetLost, connect_failed("bastion: the target closed the connection")))
            }
        },
        text = session_ended(&mut notices) => {
            Err((ChannelEnd::Interrupted, connect_failed(text.as_deref().unwrap_or("bastion: session ended"))))
        }
    };
    match opened {
        Ok(target) => {
            write_audit(None, "opened");
            let LocalForward { user, reply, .. } = forward;
            reply.accept().await;
            let tunnel = Tunnel { user, target, activity, traffic: Traffic::default(), pause_detector };
            let end = tunnel.run(&mut notices).await;
            write_audit(Some(tunnel.traffic.bytes()), "closed");
            tunnel.target.close(&mut notices).await;
            let was_closed = end == ChannelEnd::TunnelClosed;
            cleanup_tasks.spawn(async move {
                if was_closed {
                    tunnel.linger().await;
                }
                TargetConnection::release(connection).await;
            });
            Ok(end)
        }
        Err((end, failure)) => {
            write_audit(None, &format!("not opened: {}", failure.description()));
            forward.refuse(failure).await;
            cleanup_tasks.spawn(TargetConnection::release(connection));
            Ok(end)
        }
    }
}
