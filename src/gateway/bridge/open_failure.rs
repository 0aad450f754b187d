//! Reasons why a channel is not opened (SSH_MSG_CHANNEL_OPEN_FAILURE; RFC 4254, section 5.1).

use russh::ChannelOpenFailure;

use crate::text::printable_up_to;

/// The longest description that is sent with a failure, in bytes.
const MAX_DESCRIPTION: usize = 255;

/// Returns SSH_OPEN_ADMINISTRATIVELY_PROHIBITED with this description.
pub fn prohibited(description: &str) -> ChannelOpenFailure {
    with_reason(&ChannelOpenFailure::AdministrativelyProhibited, description)
}

/// Returns SSH_OPEN_CONNECT_FAILED with this description.
pub fn connect_failed(description: &str) -> ChannelOpenFailure {
    with_reason(&ChannelOpenFailure::ConnectFailed, description)
}

/// Returns SSH_OPEN_RESOURCE_SHORTAGE with this description.
pub fn resource_shortage(description: &str) -> ChannelOpenFailure {
    with_reason(&ChannelOpenFailure::ResourceShortage, description)
}

/// Returns a failure with the same reason code and this description, made printable.
///
/// russh sends fixed descriptions for the reason codes it knows, and a custom one only with `Other`.
pub fn with_reason(failure: &ChannelOpenFailure, description: &str) -> ChannelOpenFailure {
    ChannelOpenFailure::Other { code: failure.code(), reason: printable_up_to(description, MAX_DESCRIPTION) }
}
