//! Types and constants that several kinds of channels share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::notice::SessionNotice;
use super::requested_forwards::RequestedForwards;
use crate::gateway::instance::PauseDetector;
use crate::gateway::session::Activity;
use crate::lifecycle::Exit;

/// How long the gateway waits until the user's client has taken a final notice, or the end of a channel.
///
/// The wait can be long because the client must first grant window for the notice.
pub const USER_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The exit status of a command that the gateway ended or never started. `ssh` exits with the same status on its own
/// errors.
pub const EXIT_STATUS_NOT_RUN: u32 = 255;

/// The parts of a session that each of its channels needs.
#[derive(Clone)]
pub struct ChannelContext {
    /// Counts the session's bytes.
    pub activity: Arc<Activity>,
    /// Holds back the user's input after a pause of the process, until the instance knows that it was not declared
    /// lost.
    pub pause_detector: Arc<PauseDetector>,
    /// Records what the user asks the target for.
    pub requested: Arc<RequestedForwards>,
    /// Delivers the session's notices to the channel.
    pub notices: watch::Receiver<SessionNotice>,
    /// Runs the work that remains after a channel's end, such as disconnecting from the target.
    pub cleanup_tasks: TaskTracker,
}

/// How a channel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelEnd {
    /// The target closed a session channel after its command ended, or the user closed it.
    Closed(Exit),
    /// Either side closed a channel that carries a forwarded connection or a forwarded agent.
    TunnelClosed,
    /// The channel was never opened.
    NotOpened,
    /// The session ended while the channel was open.
    Interrupted,
    /// The connection to the target ended while the channel was open.
    TargetLost,
    /// The channel says nothing about how the session ended, because it belongs to another channel or to its
    /// connection.
    Dependent,
}

/// The destination of a `direct-tcpip` channel and its originator (RFC 4254, section 7.2).
#[derive(Clone, Debug)]
pub struct Destination {
    /// The host name or IP address that the target connects to; the target resolves it.
    pub host: String,
    /// The TCP port that the target connects to.
    pub port: u16,
    /// The IP address that the forwarded connection comes from, as the user's client reports it.
    pub originator: String,
    /// The TCP port that the forwarded connection comes from, as the user's client reports it.
    pub originator_port: u32,
}
