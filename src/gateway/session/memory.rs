//! The memory that a session takes from the process's memory budget, besides its windows.

use std::sync::Arc;

use crate::gateway::bridge::INBOX_MEMORY;
use crate::memory_budget::{Charge, MEMORY_BUDGET, UserBudget};

/// The memory of the user's connection and of the session itself, in bytes.
const SESSION_MEMORY: usize = 64 * 1024;
/// The memory of a connection to the target, in bytes.
const CONNECTION_MEMORY: usize = 96 * 1024;
/// The memory of a channel with its smallest windows, in bytes. A channel has an inbox on each side.
const TUNNEL_MEMORY: usize = 2 * INBOX_MEMORY;
/// The notice to a user who may not take the memory of another channel.
pub const NO_CHANNEL_MEMORY: &str =
    "bastion: this gateway has no memory for another channel; close one, or try again in a moment";

/// The memory that a session takes, from the part of its user.
pub struct SessionMemory {
    user: Arc<UserBudget>,
    _session: Charge,
}

impl SessionMemory {
    /// Takes the memory of a session of this user. Other limits bound the number of sessions.
    pub fn new(user: &str) -> Self {
        let user = MEMORY_BUDGET.of_user(user);
        let session = user.take(SESSION_MEMORY);
        Self { user, _session: session }
    }

    /// Returns the part of the user.
    pub fn user(&self) -> Arc<UserBudget> {
        self.user.clone()
    }

    /// Takes the memory of a connection to the target, even beyond what the user may take. A session has at most 16 connections.
    pub fn connection(&self) -> Charge {
        self.user.take(CONNECTION_MEMORY)
    }

    /// Takes the memory of the session's first channel, even beyond what the user may take.
    pub fn first_channel(&self) -> Charge {
        self.user.take(TUNNEL_MEMORY)
    }

    /// Takes the memory of a further channel; `None` if the user may not take it.
    pub fn further_channel(&self) -> Option<Charge> {
        self.user.try_take(TUNNEL_MEMORY)
    }
}
