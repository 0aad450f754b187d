//! The parameters of a connection to a target.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::api::{BastionTarget, BastionUser};
use crate::gateway::bridge::IncomingChannel;
use crate::memory_budget::UserBudget;

/// A request for a connection to a target.
#[derive(Clone, Debug)]
pub struct DialRequest {
    /// The name of the session that needs the connection.
    pub session: Arc<str>,
    /// The session's user.
    pub user: Arc<BastionUser>,
    /// The target to connect to.
    pub target: Arc<BastionTarget>,
    /// The login on the target.
    pub login: String,
    /// Takes the channels that the target opens.
    pub incoming: mpsc::Sender<IncomingChannel>,
    /// Takes the memory of the windows.
    pub memory: Arc<UserBudget>,
}
