//! The settings of a controller.

use std::net::SocketAddr;
use std::time::Duration;

use crate::audit::AuditSettings;
use crate::redis::RedisSettings;

/// The settings of a controller, as the command line gives them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the controller's Pod.
    pub pod: String,
    /// The audit database.
    pub audit: AuditSettings,
    /// How long a finished session stays in the cluster after its end. It stays longer if it is not on record by then.
    pub retention: Duration,
    /// The maximum number of finished sessions in the cluster.
    pub max_finished: usize,
    /// Redis, where gateways also publish heartbeats; `None` without Redis.
    pub redis: Option<RedisSettings>,
    /// The address that serves `/metrics`, `/healthz` and `/readyz`.
    pub http_listen: SocketAddr,
}
