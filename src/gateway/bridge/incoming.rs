//! Channels that the target opens.

use std::sync::Arc;
use std::time::Instant;

use russh::{ChannelOpenFailure, client};

use super::inboxes::Inboxes;
use super::request::FromTarget;
use super::side::TargetSide;
use crate::gateway::observe::AuditLog;

/// The maximum number of channels opened by the target that wait until their session has room for them.
pub const MAX_INCOMING: usize = 512;

/// A channel that the target asked to open and that is not confirmed yet.
pub struct IncomingChannel {
    /// The channel's type.
    pub channel_type: ChannelType,
    /// The target's side.
    pub target: TargetSide,
    /// Confirms or refuses the channel.
    pub reply: client::ChannelOpenHandle,
    /// The inboxes of the target's connection.
    pub inboxes: Arc<Inboxes<FromTarget>>,
    /// When the target asked for the channel.
    pub requested_at: Instant,
}

impl IncomingChannel {
    /// Refuses the channel with SSH_MSG_CHANNEL_OPEN_FAILURE.
    pub async fn refuse(self, failure: ChannelOpenFailure) {
        self.inboxes.remove(self.target.write.id());
        self.reply.reject(failure).await;
    }
}

/// The type of a channel that the target opens.
#[derive(Clone, Debug)]
pub enum ChannelType {
    /// `forwarded-tcpip`: a connection to a port that the target listens on for the user (RFC 4254, section 7.2).
    ForwardedTcpip {
        /// The address that the target was asked to listen on.
        address: String,
        /// The port that was connected to.
        port: u32,
        /// The IP address that the connection comes from, as the target reports it.
        originator: String,
        /// The TCP port that the connection comes from, as the target reports it.
        originator_port: u32,
    },
    /// `auth-agent@openssh.com`: a program on the target connects to the user's SSH agent.
    Agent,
}

impl ChannelType {
    /// Returns the name of the type in logs.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::ForwardedTcpip { .. } => "forwarded-tcpip",
            Self::Agent => "auth-agent@openssh.com",
        }
    }

    /// Writes a channel's result, and the bytes it carried to the target and back, to the audit log.
    pub fn write_audit(&self, audit: &AuditLog, bytes: Option<(u64, u64)>, result: &str) {
        match self {
            Self::ForwardedTcpip { address, port, .. } => {
                audit.tunnel("remote_forward", address, *port, bytes, result);
            }
            Self::Agent => audit.tunnel("agent_forward", "", 0, bytes, result),
        }
    }
}
