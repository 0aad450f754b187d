//! The settings of a controller.

use std::net::SocketAddr;

use crate::redis::RedisSettings;

/// The settings of a controller, as the command line gives them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the controller's Pod.
    pub pod: String,
    /// Redis, where gateways also publish heartbeats; `None` without Redis.
    pub redis: Option<RedisSettings>,
    /// The address that serves `/metrics`, `/healthz` and `/readyz`.
    pub http_listen: SocketAddr,
}
