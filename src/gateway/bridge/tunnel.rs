//! Relays a byte stream between a channel of the user and a channel of the target, which carry data, EOF and CLOSE
//! only.
//!
//! Local forwards, remote forwards and agent forwarding use it. Either side may close the channel (RFC 4254, section
//! 5.3).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::inbox::ChannelMessage;
use super::notice::{SessionNotice, session_ended};
use super::request::{FromTarget, FromUser};
use super::side::{TargetSide, UserSide};
use super::types::{ChannelEnd, USER_CLOSE_TIMEOUT};
use crate::gateway::instance::PauseDetector;
use crate::gateway::observe::Traffic;
use crate::gateway::session::Activity;

/// How long the gateway waits for the target's CLOSE, so that the target can first process all data.
const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// The two sides of a byte stream.
pub struct Tunnel {
    /// The user's side.
    pub user: UserSide,
    /// The target's side.
    pub target: TargetSide,
    /// Counts the session's bytes.
    pub activity: Arc<Activity>,
    /// Counts the bytes of this channel.
    pub traffic: Traffic,
    /// Holds back the user's data after a pause of the process.
    pub pause_detector: Arc<PauseDetector>,
}

impl Tunnel {
    /// Relays both directions until one side has closed, the target is lost or the session ends. Then closes the user's
    /// side.
    pub async fn run(&self, notices: &mut watch::Receiver<SessionNotice>) -> ChannelEnd {
        let to_target = self.relay_to_target();
        tokio::pin!(to_target);
        let end = tokio::select! {
            biased;
            end = self.relay_to_user() => end,
            () = &mut to_target => ChannelEnd::TunnelClosed,
            _ = session_ended(notices) => if self.user.inbox.is_closed() {
                // The user sent CLOSE and disconnected. The data before the CLOSE still has to reach the target.
                let _ = timeout(USER_CLOSE_TIMEOUT, to_target).await;
                ChannelEnd::TunnelClosed
            } else {
                ChannelEnd::Interrupted
            },
        };
        // The client may be gone, or may not read.
        let _ = timeout(USER_CLOSE_TIMEOUT, self.user.write.close()).await;
        end
    }

    /// Sends CLOSE to the target if it was not sent, and waits up to 5 s for the target's CLOSE. Discards the target's data. A
    /// disconnect before that CLOSE could discard the user's last data.
    pub async fn linger(self) {
        let _ = timeout(LINGER_TIMEOUT, self.target.close_and_wait()).await;
    }

    /// Relays the user's data and EOF until the user closes the channel.
    async fn relay_to_target(&self) {
        let target = &self.target;
        loop {
            let message = self.user.next().await;
            // After a pause of this process, the session may have been declared lost. It must not pass on data then.
            self.pause_detector.confirmed().await;
            let sent = match message {
                ChannelMessage::Data(data) => {
                    self.activity.sent_to_target(data.len());
                    self.traffic.sent_to_target(data.len());
                    target.send(None, data).await
                }
                ChannelMessage::Control(FromUser::Eof) => target.eof().await,
                ChannelMessage::Control(FromUser::Close) => return,
                // These messages have no meaning on such a channel.
                ChannelMessage::ExtendedData(..)
                | ChannelMessage::Control(FromUser::Request(_) | FromUser::Refused(_)) => Ok(()),
            };
            if sent.is_err() {
                // The connection to the target is gone. The other direction receives `FromTarget::Lost`.
                return std::future::pending().await;
            }
        }
    }

    /// Relays the target's data and EOF until the target closes the channel or its connection is lost.
    async fn relay_to_user(&self) -> ChannelEnd {
        let user = &self.user;
        loop {
            let sent = match self.target.next().await {
                ChannelMessage::Data(data) => {
                    self.activity.sent_to_user(data.len());
                    self.traffic.sent_to_user(data.len());
                    user.send(None, data).await
                }
                ChannelMessage::Control(FromTarget::Eof) => user.eof().await,
                ChannelMessage::Control(FromTarget::Close) => return ChannelEnd::TunnelClosed,
                ChannelMessage::Control(FromTarget::Lost) => return ChannelEnd::TargetLost,
                // These messages have no meaning on such a channel.
                ChannelMessage::ExtendedData(..) | ChannelMessage::Control(_) => Ok(()),
            };
            if sent.is_err() {
                // The user's connection is gone. The session observes that, and ends.
                return std::future::pending().await;
            }
        }
    }
}
