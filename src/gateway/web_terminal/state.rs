//! The state that the requests of the web terminal share.

use std::sync::Arc;

use ipnet::IpNet;

use crate::gateway::state::Gateway;
use crate::http::{Authenticator, Origins};

/// The state that all requests share.
#[derive(Clone)]
pub struct ServerState {
    /// The dependencies of sessions.
    pub gateway: Arc<Gateway>,
    /// Authenticates pages.
    pub authenticator: Authenticator,
    /// The origins of the pages.
    pub origins: Origins,
    /// The trusted proxies.
    pub proxies: Arc<[IpNet]>,
}
