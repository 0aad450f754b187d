//! What the files of the bridge share, and what targets and sessions need to know of channels.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::{ChannelOpenFailure, client, server};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::inbox::{Inboxes, Side};
use super::request::{FromTarget, FromUser};
use crate::gateway::instance::PauseDetector;
use crate::gateway::observe::AuditLog;
use crate::gateway::session::Activity;
use crate::lifecycle::Exit;
use crate::text::printable_up_to;

/// How long a user's client may take to read the last words of a session.
pub const LAST_WORDS: Duration = Duration::from_secs(1);
/// The exit status of a command that the bastion ended or never started, as `ssh` itself has for its own failures.
pub const NOT_RUN: u32 = 255;
/// How OpenSSH says that it reads no more of a channel, in either direction.
pub const END_OF_WRITE: &str = "eow@openssh.com";
/// RFC 4335.
pub const BREAK: &str = "break";

/// How many channels that the target opens may wait for the session to have room for them.
pub const MAX_INCOMING: usize = 512;

/// What every channel of a session gets from it.
#[derive(Clone)]
pub struct ChannelContext {
    /// Counts what passes.
    pub activity: Arc<Activity>,
    /// Says whether input may pass: not after a pause, until the instance is known not to have been declared lost.
    pub pause_detector: Arc<PauseDetector>,
    /// What the session tells its channels.
    pub announcements: watch::Receiver<Announcement>,
    /// What is left to do after a channel's end.
    pub cleanup_tasks: TaskTracker,
}

/// What a session tells all its channels.
#[derive(Clone, Debug, Default)]
pub enum Announcement {
    /// Nothing yet.
    #[default]
    None,
    /// Something that users at a terminal see; the channel goes on.
    Warning(Arc<str>),
    /// The session is over. With a text, the user's side is there to read it.
    Over(Option<Arc<str>>),
}

/// The user's side of a channel.
pub type UserSide = Side<server::Msg, FromUser>;
/// The target's side of a channel.
pub type TargetSide = Side<client::Msg, FromTarget>;

/// How a channel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEnd {
    /// Closed by the target after its command, or by the user.
    Closed(Exit),
    /// A forward or the like, closed by either side.
    TunnelClosed,
    /// There was no channel.
    NotOpened,
    /// Still open when the session ended.
    Interrupted,
    /// The target's connection broke off.
    TargetLost,
    /// Ended with something else, whose own end says how: the connection that the target opened it on, or the command that
    /// asked the user's agent.
    Dependent,
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

/// A channel that the target opens, and that is not accepted yet.
pub struct Incoming {
    /// What it is for.
    pub purpose: Purpose,
    /// The target's side.
    pub target: TargetSide,
    /// The answer that the target waits for.
    pub reply: client::ChannelOpenHandle,
    /// Where its inbox is among.
    pub inboxes: Arc<Inboxes<FromTarget>>,
    /// When the target asked for it.
    pub since: Instant,
}

impl Incoming {
    /// Answers that there will be no such channel.
    pub async fn refuse(self, failure: ChannelOpenFailure) {
        self.inboxes.remove(self.target.write.id());
        self.reply.reject(failure).await;
    }
}

/// What a channel is for that the target opens.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// Somebody has connected to a port that the target listens on for the user.
    Forward {
        /// The address that the target was asked to listen on.
        address: String,
        /// The port that they have connected to.
        port: u32,
        /// Where they come from, as the target sees it.
        originator: String,
        /// Their port.
        originator_port: u32,
    },
    /// A program asks the user's agent.
    Agent,
}

impl Purpose {
    /// Tells the audit log of such a channel.
    pub fn tell(&self, audit: &AuditLog, bytes: Option<(u64, u64)>, result: &str) {
        match self {
            Self::Forward { address, port, .. } => audit.tunnel("remote_forward", address, *port, bytes, result),
            Self::Agent => audit.tunnel("agent_forward", "", 0, bytes, result),
        }
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

/// Waits for the session's end, and returns its last words.
pub async fn over(announcements: &mut watch::Receiver<Announcement>) -> Option<Arc<str>> {
    match announcements.wait_for(|it| matches!(it, Announcement::Over(_))).await.as_deref() {
        Ok(Announcement::Over(text)) => text.clone(),
        _ => None,
    }
}
