//! Local forwards (RFC 4254, section 7.2): a channel of the user, joined to a TCP connection that the target makes.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client;
use russh::server::ChannelOpenHandle;
use russh::{ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::activity::Activity;
use super::audit_log::AuditLog;
use super::channel::{Announcement, ChannelEnd, LAST_WORDS, UserChannel};
use super::inbox::{Item, WINDOW};
use super::instance::Instance;
use super::target::TargetConnection;
use super::traffic::Traffic;

/// How long the target may take to pass on what the user sent before closing a forward.
const LINGER: Duration = Duration::from_secs(5);

/// A forward that the user wants, and that is not open yet.
pub struct Forward {
    /// The user's side of it.
    pub channel: UserChannel,
    /// Where to.
    pub destination: Destination,
    /// The answer that the user's client waits for.
    pub reply: ChannelOpenHandle,
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
        self.channel.inbox.discard();
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

/// The library has its own words for the known codes, and takes others for any code only.
pub fn with_reason(failure: &ChannelOpenFailure, why: &str) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: failure.code(), reason: why.chars().take(255).collect() }
}

/// Has the target connect to the destination, and joins the two sides until one of them closes the channel or the
/// session ends.
pub async fn join(
    forward: Forward,
    mut target: TargetConnection,
    audit: Arc<AuditLog>,
    activity: Arc<Activity>,
    instance: Arc<Instance>,
    mut announcements: watch::Receiver<Announcement>,
    farewells: TaskTracker,
) -> ChannelEnd {
    let Destination { host, port, .. } = forward.destination.clone();
    let tell = |bytes, result: &str| audit.forward(&host, u32::from(port), bytes, result);
    let open = async {
        // What a process was asked that was frozen may be done in a session that has ended.
        instance.pulse.sure().await;
        target.open_forward(&forward.destination).await
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
        Ok(channel) => {
            tell(None, "opened");
            let Forward { channel: user, reply, .. } = forward;
            reply.accept().await;
            let bridge = Bridge { user, activity, instance, ended: OnceLock::new(), traffic: Traffic::default() };
            let (mut from_target, to_target) = channel.split();
            let end = bridge.run(&mut from_target, to_target, &mut announcements).await;
            tell(Some(bridge.traffic.bytes()), "closed");
            match end {
                ChannelEnd::ForwardClosed => farewells.spawn(linger(from_target, target)),
                _ => farewells.spawn(target.disconnect()),
            };
            end
        }
        Err((end, failure)) => {
            tell(None, &format!("not opened: {}", failure.description()));
            forward.refuse(failure).await;
            farewells.spawn(target.disconnect());
            end
        }
    }
}

/// Waits for the session's end, and returns its last words.
async fn over(announcements: &mut watch::Receiver<Announcement>) -> Option<Arc<str>> {
    match announcements.wait_for(|it| matches!(it, Announcement::Over(_))).await.as_deref() {
        Ok(Announcement::Over(text)) => text.clone(),
        _ => None,
    }
}

/// Ends the connection of a forward that was closed: the target may still be passing on what the user sent at last. What
/// it sends itself nobody wants any more.
async fn linger(mut from_target: ChannelReadHalf, target: TargetConnection) {
    let passed_on = async {
        let mut unwanted = 0;
        while let Some(message) = from_target.wait().await {
            match message {
                ChannelMsg::Data { data } => unwanted += data.len(),
                ChannelMsg::Close => return,
                _ => {}
            }
            if unwanted > WINDOW as usize {
                return;
            }
        }
    };
    let _ = timeout(LINGER, passed_on).await;
    target.disconnect().await;
}

struct Bridge {
    user: UserChannel,
    activity: Arc<Activity>,
    instance: Arc<Instance>,
    traffic: Traffic,
    /// Set before the user's client is told, which may leave the moment it hears.
    ended: OnceLock<ChannelEnd>,
}

impl Bridge {
    async fn run(
        &self,
        from_target: &mut ChannelReadHalf,
        to_target: ChannelWriteHalf<client::Msg>,
        announcements: &mut watch::Receiver<Announcement>,
    ) -> ChannelEnd {
        tokio::select! {
            biased;
            () = self.to_user(from_target) => {}
            () = self.to_target(&to_target) => {}
            _ = over(announcements) => {
                // A client that does not read, or is gone, need not know.
                let _ = timeout(LAST_WORDS, self.user.write.close()).await;
            }
        }
        self.ended.get().cloned().unwrap_or(ChannelEnd::Interrupted)
    }

    /// Passes on what the user sends, until the user closes the channel.
    async fn to_target(&self, target: &ChannelWriteHalf<client::Msg>) {
        loop {
            let item = self.user.inbox.next().await;
            // What was sent into a process that was frozen may be sent into a session that has ended.
            self.instance.pulse.sure().await;
            let sent = match item {
                Item::Data(data) => {
                    self.activity.sent_to_target(data.len());
                    self.traffic.sent_to_target(data.len());
                    target.data_bytes(data).await
                }
                Item::Eof => target.eof().await,
                Item::Close => {
                    let _ = self.ended.set(ChannelEnd::ForwardClosed);
                    // Not closed: the library would then not say when the target has passed everything on.
                    let _ = target.eof().await;
                    return;
                }
                // A forward has none.
                Item::Request(_) => Ok(()),
            };
            if sent.is_err() {
                // The connection to the target is gone; the other direction finds out how.
                return std::future::pending().await;
            }
        }
    }

    /// Passes on what the target sends, until the target closes the channel.
    async fn to_user(&self, target: &mut ChannelReadHalf) {
        let user = &self.user.write;
        while let Some(message) = target.wait().await {
            let sent = match message {
                ChannelMsg::Data { data } => {
                    self.activity.sent_to_user(data.len());
                    self.traffic.sent_to_user(data.len());
                    user.data_bytes(data).await
                }
                ChannelMsg::Eof => user.eof().await,
                ChannelMsg::Close => {
                    let _ = self.ended.set(ChannelEnd::ForwardClosed);
                    let _ = user.close().await;
                    return;
                }
                // A forward has no others.
                _ => Ok(()),
            };
            if sent.is_err() {
                // The user's connection is gone; the session hears of it.
                return std::future::pending().await;
            }
        }
        let _ = self.ended.set(ChannelEnd::TargetLost);
        let _ = user.close().await;
    }
}
