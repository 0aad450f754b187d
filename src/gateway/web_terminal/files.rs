//! Opens the SFTP channel of a page, for file transfers.

use tokio::sync::mpsc;

use crate::gateway::bridge::{ChannelOpen, FromUser, Request, UserEnd, user_channel};

/// Opens SFTP channels of a session.
pub struct FilesOpener {
    /// The requests that start SFTP on a channel, or the notice that refuses it.
    pub requests: Result<Vec<Request>, &'static str>,
    /// Takes the channels.
    pub opened: mpsc::Sender<ChannelOpen>,
}

impl FilesOpener {
    /// Returns whether the user may transfer files.
    pub const fn is_permitted(&self) -> bool {
        self.requests.is_ok()
    }

    /// Opens a channel. Returns `None` if the session takes no more channels.
    pub fn open(&self) -> Option<UserEnd> {
        let (channel, end) = user_channel::in_process();
        end.send_requests(FromUser::from_decision(self.requests.clone()));
        self.opened.try_send(ChannelOpen::Companion(channel)).ok().map(|()| end)
    }
}
