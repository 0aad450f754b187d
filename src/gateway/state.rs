//! What the parts of a gateway depend on, in narrow structs: sign-in, access, and session tasks each get their own.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{AccessDeps, Directory, RefusalEvents, SessionLimit};
use super::menu::PendingUsers;
use super::session::Watchdog;
use super::sign_in::AuthDeps;
use super::ssh::AcceptEnv;
use super::target::Dialer;
use crate::cluster::SessionWriter;
use crate::recording::Store;

/// What the connections of one gateway share.
pub struct Gateway {
    /// Authentication.
    pub auth: Arc<AuthDeps>,
    /// Admission of authenticated users to sessions.
    pub access: Arc<AccessDeps>,
    /// What session tasks need.
    pub sessions: Arc<SessionDeps>,
    /// Users who are choosing a target.
    pub pending: PendingUsers,
    /// Events of refused sign-ins.
    pub refusals: RefusalEvents,
    /// What clients show before authentication (RFC 4252, section 5.4).
    pub banner: Option<String>,
    /// The environment variables that clients may set.
    pub accept_env: Vec<AcceptEnv>,
}

/// What the task of a session needs.
pub struct SessionDeps {
    /// The namespace of the bastion.
    pub namespace: String,
    /// Targets as they are now.
    pub directory: Arc<Directory>,
    /// Writes the session's start and end.
    pub writer: SessionWriter,
    /// Connects to targets.
    pub dialer: Dialer,
    /// Where recordings go, if anywhere.
    pub recordings: Option<Store>,
    /// Finds sessions that exceed `maxSessions`.
    pub session_limit: SessionLimit,
    /// Ends sessions whose task is stuck.
    pub watchdog: Arc<Watchdog>,
    /// The session tasks, and what is left to do after their end. A drain waits for all of them.
    pub tasks: TaskTracker,
    /// Cancelled when the gateway shuts down.
    pub stop: CancellationToken,
    /// How long sessions may continue after `stop`.
    pub grace_period: Duration,
}
