//! Local forwards (RFC 4254, section 7.2): a channel of the user, joined to a TCP connection that the target makes.

use std::sync::Arc;

use russh::ChannelOpenFailure;
use russh::server::ChannelOpenHandle;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::audit_log::AuditLog;
use super::channel::{Announcement, ChannelEnd, UserSide};
use super::inbox::Inboxes;
use super::instance::Instance;
use super::request::FromUser;
use super::target::TargetConnection;
use super::traffic::Traffic;
use super::tunnel::{Tunnel, over};
use crate::text::printable_up_to;

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

/// Where a forward leads, and what the user's client says of where it comes from.
#[derive(Clone, Debug)]
pub struct Destination {
    /// A host name or an IP address, as the target knows it.
    pub host: String,
    /// A TCP port.
    pub port: u16,
    /// The IP address that the forwarded connection comes from.
    pub originator: String,
    /// Its TCP port.
    pub originator_port: u32,
}

impl Forward {
    /// Answers that there will be no such channel.
    pub async fn refuse(self, failure: ChannelOpenFailure) {
        self.inboxes.remove(self.user.write.id());
        self.reply.reject(failure).await;
    }
}

/// "administratively prohibited", with a reason that the user's client shows.
pub fn prohibited(why: &str) -> ChannelOpenFailure {
    with_reason(&ChannelOpenFailure::AdministrativelyProhibited, why)
}

/// "connect failed", with a reason that the user's client shows.
pub fn connect_failed(why: &str) -> ChannelOpenFailure {
    with_reason(&ChannelOpenFailure::ConnectFailed, why)
}

/// "resource shortage", with a reason that the other side may show.
pub fn resource_shortage(why: &str) -> ChannelOpenFailure {
    with_reason(&ChannelOpenFailure::ResourceShortage, why)
}

/// The library has its own words for the known codes, and takes others for any code only.
pub fn with_reason(failure: &ChannelOpenFailure, why: &str) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: failure.code(), reason: printable_up_to(why, 255) }
}

/// Has the target connect to the destination, and joins the two sides until one of them closes the channel or the
/// session ends.
pub async fn join(
    forward: Forward,
    mut connection: TargetConnection,
    audit: Arc<AuditLog>,
    activity: Arc<Activity>,
    instance: Arc<Instance>,
    mut announcements: watch::Receiver<Announcement>,
    farewells: TaskTracker,
) -> ChannelEnd {
    let Destination { host, port, .. } = forward.destination.clone();
    let tell = |bytes, result: &str| audit.tunnel("local_forward", &host, u32::from(port), bytes, result);
    let open = async {
        // What a process was asked that was frozen may be done in a session that has ended.
        instance.pulse.sure().await;
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
            let tunnel = Tunnel { user, target, activity, traffic: Traffic::default(), instance };
            let end = tunnel.run(&mut announcements).await;
            tell(Some(tunnel.traffic.bytes()), "closed");
            farewells.spawn(async move {
                tunnel.linger().await;
                connection.disconnect().await;
            });
            end
        }
        Err((end, failure)) => {
            tell(None, &format!("not opened: {}", failure.description()));
            forward.refuse(failure).await;
            farewells.spawn(connection.disconnect());
            end
        }
    }
}
