//! Local forwards (RFC 4254, section 7.2): a channel of the user, joined to a TCP connection that the target makes.

use std::sync::Arc;

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;

use super::inbox::Inboxes;
use super::request::FromUser;
use super::tunnel::Tunnel;
use super::types::{ChannelContext, ChannelEnd, Destination, UserSide, connect_failed, over};
use crate::gateway::observe::{AuditLog, Traffic};
use crate::gateway::target::TargetConnection;

/// A forward that the user wants, and that is not open yet.
pub struct Forward {
    /// The user's side of it.
    pub user: UserSide,
    /// Where to.
    pub destination: Destination,
    /// The answer that the user's client waits for.
    pub reply: ChannelOpenHandle,
    /// Where its inbox is among.
    pub inboxes: Arc<Inboxes<FromUser>>,
}

impl Forward {
    /// Answers that there will be no such channel.
    pub async fn refuse(self, failure: ChannelOpenFailure) {
        self.inboxes.remove(self.user.write.id());
        self.reply.reject(failure).await;
    }
}

/// Has the target connect to the destination, and joins the two sides until one of them closes the channel or the
/// session ends.
pub async fn join(
    forward: Forward,
    mut connection: TargetConnection,
    audit: Arc<AuditLog>,
    context: ChannelContext,
) -> ChannelEnd {
    let ChannelContext { activity, pause_detector, mut announcements, cleanup_tasks } = context;
    let Destination { host, port, .. } = forward.destination.clone();
    let tell = |bytes, result: &str| audit.tunnel("local_forward", &host, u32::from(port), bytes, result);
    let open = async {
        // What a process was asked that was frozen may be done in a session that has ended.
        pause_detector.confirmed().await;
        connection.open_forward(&forward.destination).await
    };
    let opened = tokio::select! {
        opened = open => opened.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(failure) => (ChannelEnd::NotOpened, failure),
            _ => (ChannelEnd::TargetLost, connect_failed("bastion: the target closed the connection")),
        }),
        text = over(&mut announcements) => {
            Err((ChannelEnd::Interrupted, connect_failed(text.as_deref().unwrap_or("bastion: session ended"))))
        }
    };
    match opened {
        Ok(target) => {
            tell(None, "opened");
            let Forward { user, reply, .. } = forward;
            reply.accept().await;
            let tunnel = Tunnel { user, target, activity, traffic: Traffic::default(), pause_detector };
            let end = tunnel.run(&mut announcements).await;
            tell(Some(tunnel.traffic.bytes()), "closed");
            cleanup_tasks.spawn(async move {
                tunnel.linger().await;
                connection.disconnect().await;
            });
            end
        }
        Err((end, failure)) => {
            tell(None, &format!("not opened: {}", failure.description()));
            forward.refuse(failure).await;
            cleanup_tasks.spawn(connection.disconnect());
            end
        }
    }
}
