//! The settings of a gateway, as its command line gives them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::sign_in::LockOut;
use super::ssh::AcceptEnv;
use super::{observe, web_terminal};
use crate::redis::RedisSettings;

/// The settings of a gateway.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the Pod that the gateway runs in.
    pub pod: String,
    /// Its uid, where it is known.
    pub pod_uid: Option<String>,
    /// Where SSH clients connect.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_listen: SocketAddr,
    /// How the web terminal is set up, where there is one.
    pub web: Option<web_terminal::Settings>,
    /// How long live sessions may go on after SIGTERM.
    pub grace_period: Duration,
    /// How many sessions the gateway carries at most.
    pub max_sessions: usize,
    /// How many connections from one address may have no session yet.
    pub max_startups_per_address: usize,
    /// The load balancers that say where clients are.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Which variables of the clients' environment are passed on.
    pub accept_env: Vec<AcceptEnv>,
    /// How sessions can be followed, where they can.
    pub observe: Option<observe::Settings>,
    /// Where recordings go, where there are some.
    pub recording_url: Option<String>,
    /// The second witness, where there is one.
    pub redis: Option<RedisSettings>,
    /// How many wrong answers lock out.
    pub lock_out: LockOut,
    /// How long keys are in use.
    pub rekey_time: Duration,
    /// A file with what clients show before anybody signs in.
    pub banner_file: Option<PathBuf>,
}
