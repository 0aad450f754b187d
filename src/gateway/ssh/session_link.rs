//! Connects an SSH connection to the task of its session.

use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::api::Allow;
use crate::gateway::access::ChannelPolicy;
use crate::gateway::bridge::{ChannelOpen, ForwardRequest, LISTEN_TIMEOUT};
use crate::gateway::session::{Activity, MAX_SESSION_CHANNELS};
use crate::gateway::sign_in::KeyRestrictions;

/// The channels that a client may have open beyond the session's limits. The session's task refuses them with a notice that names
/// the limit.
const SPARE_CHANNELS: usize = 64;
/// The number of `tcpip-forward` requests that may wait for the target.
const MAX_PENDING_FORWARDS: usize = 16;

/// A connection's link to its session task.
pub struct SessionLink {
    /// The permissions of the user's key or certificate.
    pub restrictions: KeyRestrictions,
    /// Counts the user's input.
    pub activity: Arc<Activity>,
    /// Set once a target is chosen.
    target: Arc<OnceLock<ChannelPolicy>>,
    opened: mpsc::Sender<ChannelOpen>,
    max_channels: usize,
    /// Sender to the remote-forward task, once one runs.
    remote_forwards: Option<mpsc::Sender<ForwardRequest>>,
}

impl SessionLink {
    /// Returns a link, and the receiver of its channels. The queue holds as many channels as the session may have: `max_forwards`
    /// forwards and [`MAX_SESSION_CHANNELS`] `session` channels.
    pub fn new(
        restrictions: KeyRestrictions,
        target: Arc<OnceLock<ChannelPolicy>>,
        activity: Arc<Activity>,
        max_forwards: usize,
    ) -> (Self, mpsc::Receiver<ChannelOpen>) {
        let (opened, channels) = mpsc::channel(MAX_SESSION_CHANNELS + max_forwards);
        let max_channels = MAX_SESSION_CHANNELS + max_forwards + SPARE_CHANNELS;
        (Self { restrictions, activity, target, opened, max_channels, remote_forwards: None }, channels)
    }

    /// Hands a channel over to the session task. `open` is the number of channels that the client has not closed, including this
    /// one. Each takes memory until the client closes it, even after the session's task has stopped counting it.
    ///
    /// # Errors
    /// Returns the channel when too many are open, the task's queue is full, or the task has ended.
    pub fn hand_over(&self, opened: ChannelOpen, open: usize) -> Result<(), ChannelOpen> {
        if open > self.max_channels {
            return Err(opened);
        }
        self.opened.try_send(opened).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// Sends a global request to the remote-forward task, and returns the port, or `None` when the target refuses.
    ///
    /// Replies to global requests must keep their order (RFC 4254, section 4), so the connection handles nothing else
    /// until the reply, for at most [`LISTEN_TIMEOUT`].
    pub async fn request_listening(
        &mut self,
        request: impl FnOnce(oneshot::Sender<Option<u32>>) -> ForwardRequest,
    ) -> Option<u32> {
        // The remote-forward task ends with its connection to the target. A new request then starts a new task.
        if self.remote_forwards.as_ref().is_none_or(mpsc::Sender::is_closed) {
            let (sender, receiver) = mpsc::channel(MAX_PENDING_FORWARDS);
            self.opened.try_send(ChannelOpen::RemoteForwards(receiver)).ok()?;
            self.remote_forwards = Some(sender);
        }
        let (answer, answered) = oneshot::channel();
        self.remote_forwards.as_ref()?.try_send(request(answer)).ok()?;
        timeout(LISTEN_TIMEOUT, answered).await.ok()?.ok()?
    }

    /// Returns what the target allows, or `None` while the user is choosing a target.
    pub fn allow(&self) -> Option<Allow> {
        self.target.get().map(|policy| policy.allow)
    }

    /// Writes a forward to the session's audit log.
    pub fn audit_forward(&self, operation: &str, host: &str, port: u32, result: &str) {
        if let Some(policy) = self.target.get() {
            policy.audit.tunnel(operation, host, port, None, result);
        }
    }
}
