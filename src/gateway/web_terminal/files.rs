//! Opens the SFTP channel of a page, for file transfers.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::gateway::bridge::{ChannelOpen, FromUser, Request, UserEnd, user_channel};
use crate::gateway::session::NO_CHANNEL_MEMORY;
use crate::memory_budget::UserBudget;
use crate::metrics::METRICS;

/// Opens SFTP channels of a session.
pub struct FilesOpener {
    /// The requests that start SFTP on a channel, or the notice that refuses it.
    pub requests: Result<Vec<Request>, &'static str>,
    /// Takes the channels.
    pub opened: mpsc::Sender<ChannelOpen>,
    /// The user who takes the memory of the channels.
    pub memory: Arc<UserBudget>,
}

impl FilesOpener {
    /// Returns whether the user may transfer files.
    pub const fn is_permitted(&self) -> bool {
        self.requests.is_ok()
    }

    /// Opens a channel. The channel is closed with a notice if there is no memory for it. Returns `None` if the session takes no
    /// more channels.
    pub fn open(&self) -> Option<UserEnd> {
        let Some((channel, end)) = user_channel::in_process(&self.memory) else {
            METRICS.channels_without_memory.inc();
            return Some(UserEnd::refused(&self.memory, NO_CHANNEL_MEMORY));
        };
        end.send_requests(FromUser::from_decision(self.requests.clone()));
        self.opened.try_send(ChannelOpen::Companion(channel)).ok().map(|()| end)
    }
}
