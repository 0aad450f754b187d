//! A request for a connection to a target.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::api::{BastionTarget, BastionUser};
use crate::gateway::bridge::Incoming;

/// Who wants to be signed in, and where.
#[derive(Clone, Debug)]
pub struct DialRequest {
    /// The session that the connection is for.
    pub session: Arc<str>,
    /// Its user.
    pub user: Arc<BastionUser>,
    /// Its target.
    pub target: Arc<BastionTarget>,
    /// Its login.
    pub login: String,
    /// Takes the channels that the target opens.
    pub incoming: mpsc::Sender<Incoming>,
}
