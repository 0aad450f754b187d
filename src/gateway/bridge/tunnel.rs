//! A byte stream through the bastion: a channel of the user joined to one of the target, neither of which has requests.
//! Forwards of ports, in either direction, and of the user's agent are such streams.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::inbox::Item;
use super::request::{FromTarget, FromUser};
use super::types::{Announcement, ChannelEnd, LAST_WORDS, TargetSide, UserSide, over};
use crate::gateway::instance::PauseDetector;
use crate::gateway::observe::Traffic;
use crate::gateway::session::Activity;

/// How long the target may take to pass on what the user sent before closing.
const LINGER: Duration = Duration::from_secs(5);

/// The two sides of a stream.
pub struct Tunnel {
    /// The user's.
    pub user: UserSide,
    /// The target's.
    pub target: TargetSide,
    /// Counts what passes.
    pub activity: Arc<Activity>,
    /// The same, of this stream alone.
    pub traffic: Traffic,
    /// Says whether anything may pass.
    pub pause_detector: Arc<PauseDetector>,
}

impl Tunnel {
    /// Passes everything on until one side has closed, the target is lost or the session ends.
    pub async fn run(&self, announcements: &mut watch::Receiver<Announcement>) -> ChannelEnd {
        let to_target = self.to_target();
        tokio::pin!(to_target);
        let end = tokio::select! {
            biased;
            end = self.to_user() => end,
            () = &mut to_target => ChannelEnd::TunnelClosed,
            _ = over(announcements) => if self.user.inbox.is_closed() {
                // The user closed it and left; what was sent before is still to be passed on.
                let _ = timeout(LAST_WORDS, to_target).await;
                ChannelEnd::TunnelClosed
            } else {
                ChannelEnd::Interrupted
            },
        };
        // A client that does not read, or is gone, need not know.
        let _ = timeout(LAST_WORDS, self.user.write.close()).await;
        end
    }

    /// Closes the target's side, and waits up to [`LINGER`] until the target has closed it too: until then it may still pass
    /// on what the user sent. Discards what the target sends meanwhile.
    pub async fn linger(self) {
        let closed = async {
            let _ = self.target.write.close().await;
            loop {
                tokio::select! {
                    biased;
                    // `run` may have taken out the target's CLOSE already, so this does not wait for that item.
                    () = self.target.inbox.closed() => return,
                    _ = self.target.next() => {}
                }
            }
        };
        let _ = timeout(LINGER, closed).await;
    }

    /// Passes on what the user sends, until the user closes the channel.
    async fn to_target(&self) {
        let target = &self.target;
        loop {
            let item = self.user.next().await;
            // What was sent into a process that was frozen may be sent into a session that has ended.
            self.pause_detector.confirmed().await;
            let sent = match item {
                Item::Data(data) => {
                    self.activity.sent_to_target(data.len());
                    self.traffic.sent_to_target(data.len());
                    target.send(None, data).await
                }
                Item::Said(FromUser::Eof) => target.eof().await,
                Item::Said(FromUser::Close) => return,
                // A stream has none.
                Item::Extended(..) | Item::Said(FromUser::Request(_) | FromUser::Refused(_)) => Ok(()),
            };
            if sent.is_err() {
                // The connection to the target is gone; the other direction finds out how.
                return std::future::pending().await;
            }
        }
    }

    /// Passes on what the target sends, until the target closes the channel.
    async fn to_user(&self) -> ChannelEnd {
        let user = &self.user;
        loop {
            let sent = match self.target.next().await {
                Item::Data(data) => {
                    self.activity.sent_to_user(data.len());
                    self.traffic.sent_to_user(data.len());
                    user.send(None, data).await
                }
                Item::Said(FromTarget::Eof) => user.eof().await,
                Item::Said(FromTarget::Close) => return ChannelEnd::TunnelClosed,
                Item::Said(FromTarget::Lost) => return ChannelEnd::TargetLost,
                // A stream has no others.
                Item::Extended(..) | Item::Said(_) => Ok(()),
            };
            if sent.is_err() {
                // The user's connection is gone; the session hears of it.
                return std::future::pending().await;
            }
        }
    }
}
