//! Joins channels of the user to channels of the target, with back-pressure per channel.

pub mod channel;
mod inbox;
pub mod local_forward;
pub mod remote_forward;
mod request;
mod tunnel;
mod types;
pub mod user_channel;

pub use channel::Opened;
pub use inbox::{Inbox, Inboxes, Item, WINDOW};
pub use local_forward::Forward;
pub use remote_forward::{LISTEN_TIMEOUT, Listening, UserConnection, listened_at};
pub use request::{FromTarget, FromUser, PtyRequest, Request, Size};
pub use types::{
    Announcement, BREAK, ChannelContext, ChannelEnd, Destination, END_OF_WRITE, Incoming, MAX_INCOMING, NOT_RUN,
    Purpose, TargetSide, connect_failed, prohibited, resource_shortage, with_reason,
};
pub use user_channel::{SshChannel, ToUser, UserChannel, UserEnd};
