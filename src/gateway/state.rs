//! The dependencies of a gateway's parts. Sign-in, access and session tasks each have a struct of their own.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::{AccessDeps, Directory, RefusalEvents, SessionLimit};
use super::instance::EndReports;
use super::menu::PendingUsers;
use super::net::TcpPaths;
use super::session::Watchdog;
use super::sign_in::AuthDeps;
use super::ssh::AcceptEnv;
use super::target::Dialer;
use crate::cluster::SessionWriter;
use crate::recording::Store;

/// The state that all connections of a gateway share.
pub struct Gateway {
    /// The dependencies of authentication.
    pub auth: Arc<AuthDeps>,
    /// The dependencies of admission, which gives authenticated users their sessions.
    pub access: Arc<AccessDeps>,
    /// The dependencies of session tasks.
    pub sessions: Arc<SessionDeps>,
    /// Limits the users who choose a target in the menu.
    pub pending: PendingUsers,
    /// Publishes Events of refused sign-ins.
    pub refusals: RefusalEvents,
    /// Decides whether a connection leads to its peer itself or to a proxy.
    pub tcp_paths: Arc<TcpPaths>,
    /// The banner that clients show before authentication (RFC 4252, section 5.4).
    pub banner: Option<String>,
    /// The environment variables that clients may set.
    pub accept_env: Vec<AcceptEnv>,
}

/// The dependencies of session tasks.
pub struct SessionDeps {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The current targets.
    pub directory: Arc<Directory>,
    /// Writes the start and end of sessions.
    pub writer: SessionWriter,
    /// The ends that are not written yet, for reports through Redis.
    pub end_reports: Arc<EndReports>,
    /// Connects to targets.
    pub dialer: Dialer,
    /// The store for recordings, if there is one.
    pub recordings: Option<Store>,
    /// Finds sessions that exceed `maxSessions`.
    pub session_limit: SessionLimit,
    /// Ends sessions whose task is stuck.
    pub watchdog: Arc<Watchdog>,
    /// The session tasks and their cleanup tasks. A drain waits for all of them.
    pub tasks: TaskTracker,
    /// Cancelled when the gateway shuts down.
    pub stop: CancellationToken,
    /// How long sessions may continue after `stop` is cancelled.
    pub grace_period: Duration,
    /// The most forwarded connections of a session.
    pub max_forwards: usize,
}
