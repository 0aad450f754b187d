//! Channels and forwards of a user's client that need the connection to the target.

use tokio::sync::mpsc;

use super::channel;
use super::local_forward::LocalForward;
use super::open_failure::connect_failed;
use super::remote_forward::ForwardRequest;
use super::user_channel::UserChannel;

/// A channel, or a client's remote forwards, that waits for the connection to the target.
pub enum ChannelOpen {
    /// A `session` channel, which is already confirmed to the client.
    Session(UserChannel),
    /// A `session` channel beside the user's own, such as the web terminal's SFTP. Its end does not end the session.
    Companion(UserChannel),
    /// A `direct-tcpip` channel. It is confirmed or refused when the target has answered.
    LocalForward(Box<LocalForward>),
    /// The client's `tcpip-forward` and `cancel-tcpip-forward` requests.
    RemoteForwards(mpsc::Receiver<ForwardRequest>),
}

impl ChannelOpen {
    /// Refuses the channel or requests because there is no connection to the target, and sends this notice to the user.
    pub async fn refuse(self, notice: &str) {
        match self {
            Self::Session(channel) | Self::Companion(channel) => channel::refuse(&channel, notice).await,
            Self::LocalForward(forward) => forward.refuse(connect_failed(notice)).await,
            // Dropping the receiver drops the pending requests, and each is then answered with a failure.
            Self::RemoteForwards(requests) => drop(requests),
        }
    }
}
