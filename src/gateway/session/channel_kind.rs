//! The kinds of channels that a session counts apart.

use crate::gateway::bridge::ChannelOpen;

/// The most `session` channels of a session: shells, commands and file transfers.
pub const MAX_SESSION_CHANNELS: usize = 64;

/// Returns the notice for a further `session` channel when [`MAX_SESSION_CHANNELS`] are open.
pub fn session_channels_notice() -> String {
    format!(
        "bastion: this session has {MAX_SESSION_CHANNELS} shells, commands and file transfers open, as many as it may"
    )
}

/// The limit that a channel counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A shell, a command or a file transfer.
    Session,
    /// A forwarded connection, or one to the user's agent. Either side may open it.
    Forward,
    /// The task of the user's remote forwards. It counts against no limit; connections to their ports count as [`Self::Forward`].
    RemoteForwards,
}

impl ChannelKind {
    /// Returns the kind of a channel that the user opens.
    pub const fn of(channel: &ChannelOpen) -> Self {
        match channel {
            ChannelOpen::Session(_) | ChannelOpen::Companion(_) => Self::Session,
            ChannelOpen::LocalForward(_) => Self::Forward,
            ChannelOpen::RemoteForwards(_) => Self::RemoteForwards,
        }
    }
}
