//! Relays messages between the channels of a user and the channels of a target.

pub mod channel;
mod channel_open;
mod inbox;
mod inboxes;
mod incoming;
pub mod local_forward;
mod notice;
mod open_failure;
mod pieces;
pub mod remote_forward;
mod request;
mod requested_forwards;
mod side;
mod tunnel;
mod types;
pub mod user_channel;

pub use channel_open::ChannelOpen;
pub use inbox::{ChannelMessage, INBOX_MEMORY, INITIAL_WINDOW, Inbox, PushError};
pub use inboxes::Inboxes;
pub use incoming::{ChannelType, IncomingChannel, MAX_INCOMING};
pub use local_forward::LocalForward;
pub use notice::SessionNotice;
pub use open_failure::{connect_failed, prohibited, resource_shortage, with_reason};
pub use remote_forward::{ForwardRequest, LISTEN_TIMEOUT, UserConnection, bind_address_text};
pub use request::{BREAK, END_OF_WRITE, FromTarget, FromUser, PtyRequest, Request, STDERR, Size};
pub use requested_forwards::RequestedForwards;
pub use side::TargetSide;
pub use types::{ChannelContext, ChannelEnd, Destination, EXIT_STATUS_NOT_RUN};
pub use user_channel::{PAGE_WINDOW, SshChannel, ToUser, UserChannel, UserEnd};
