//! The memory that a session takes from the process's memory budget, besides its windows.

use crate::gateway::bridge::INBOX_MEMORY;
use crate::memory_budget::{Charge, MEMORY_BUDGET};

/// The memory of the user's connection and of the session itself, in bytes.
const SESSION_MEMORY: usize = 64 * 1024;
/// The memory of a connection to the target, in bytes.
const CONNECTION_MEMORY: usize = 96 * 1024;
/// The memory of a channel with its smallest windows, in bytes. A channel has an inbox on each side.
const TUNNEL_MEMORY: usize = 2 * INBOX_MEMORY;

/// Takes the memory of a session, even if the budget has no room, because other limits bound the number of sessions.
pub fn session() -> Charge {
    MEMORY_BUDGET.take(SESSION_MEMORY)
}

/// Takes the memory of a connection to the target. Most sessions have one; the limit of channels bounds the others.
pub fn connection() -> Charge {
    MEMORY_BUDGET.take(CONNECTION_MEMORY)
}

/// Takes the memory of a channel of the user. The first channel of a session always gets it; a further one gets `None` if the
/// budget has no room.
pub fn channel(is_first: bool) -> Option<Charge> {
    if is_first { Some(MEMORY_BUDGET.take(TUNNEL_MEMORY)) } else { MEMORY_BUDGET.try_take(TUNNEL_MEMORY) }
}

/// Takes the memory of a channel that the target opens; `None` if the budget has no room.
pub fn incoming_channel() -> Option<Charge> {
    MEMORY_BUDGET.try_take(TUNNEL_MEMORY)
}
