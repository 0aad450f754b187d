//! The settings of a console.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use url::Url;

use super::oidc;
use crate::redis::RedisSettings;

/// The settings of a console, as the command line gives them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The address that serves the API.
    pub listen: SocketAddr,
    /// A file with the keys that encrypt sign-in cookies; `None` if nobody can sign in with a browser.
    pub cookie_key_file: Option<PathBuf>,
    /// The OpenID Connect provider, which requires a public URL; `None` without one.
    pub oidc: Option<oidc::Settings>,
    /// The URL of the console in browsers.
    pub public_url: Option<Url>,
    /// The origin of the web terminal, if it differs from the console's.
    pub terminal_origin: Option<Url>,
    /// Redis, where gateways publish the activity of sessions; `None` without Redis.
    pub redis: Option<RedisSettings>,
    /// The URL of the store of recordings; `None` without recordings.
    pub recording_url: Option<String>,
    /// The proxies whose `X-Forwarded-For` header is trusted.
    pub proxies: Vec<IpNet>,
    /// The name of the console's Pod, for Events and tokens.
    pub pod_name: String,
    /// The address that serves `/metrics`, `/healthz` and `/readyz`.
    pub http_listen: SocketAddr,
}
