//! The settings of a gateway, from its command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::net::TcpPaths;
use super::sign_in::LockoutLimits;
use super::ssh::AcceptEnv;
use super::web_terminal;
use crate::http::internal::ServerSettings;
use crate::redis::RedisSettings;

/// The settings of a gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the gateway's Pod.
    pub pod: String,
    /// The uid of the gateway's Pod, if known.
    pub pod_uid: Option<String>,
    /// The address for SSH clients.
    pub listen: SocketAddr,
    /// The address of `/metrics`, `/healthz` and `/readyz`.
    pub http_listen: SocketAddr,
    /// The settings of the web terminal, if it is enabled.
    pub web: Option<web_terminal::Settings>,
    /// How long sessions may continue after SIGTERM.
    pub grace_period: Duration,
    /// The most sessions that the gateway accepts.
    pub max_sessions: usize,
    /// The most sessions of a user without `maxSessions`.
    pub max_sessions_per_user: usize,
    /// The most forwarded connections of a session.
    pub max_forwards: usize,
    /// The memory budget in bytes; by default three quarters of the available memory.
    pub memory_budget: Option<usize>,
    /// The most connections without a session from one address.
    pub max_startups_per_address: usize,
    /// The load balancers that send the client's address in a PROXY protocol header.
    pub proxy_protocol_from: Vec<IpNet>,
    /// The networks that decide whether a connection leads to its peer itself or to a proxy.
    pub tcp_paths: TcpPaths,
    /// The environment variables that clients may set.
    pub accept_env: Vec<AcceptEnv>,
    /// The settings of the server for observers, if it is enabled.
    pub observe: Option<ServerSettings>,
    /// The URL of the store for recordings, if there is one.
    pub recording_url: Option<String>,
    /// The settings of Redis, if it is configured.
    pub redis: Option<RedisSettings>,
    /// How many wrong answers lock a user or address out, and for how long.
    pub lock_out: LockoutLimits,
    /// How long the keys of an SSH connection are in use before they are exchanged again (RFC 4253, section 9).
    pub rekey_time: Duration,
    /// A file with the banner that clients show before authentication.
    pub banner_file: Option<PathBuf>,
}
