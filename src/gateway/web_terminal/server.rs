//! The HTTP server of web terminals.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use ipnet::IpNet;
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;
use url::Url;

use super::connect::connect;
use super::error::TerminalError;
use super::listener::CancellableTransport;
use super::state::ServerState;
use crate::gateway::state::Gateway;
use crate::http::{self, Authenticator, Cookies, Origins, SecurityHeaders};
use crate::metrics::HttpPort;
use crate::tasks::Tasks;

/// The settings of the web terminal.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on, for browsers or a proxy that terminates TLS.
    pub listen: SocketAddr,
    /// The file with the keys of the console's sign-in cookies; `None` if browsers cannot sign in.
    pub cookie_key_file: Option<PathBuf>,
    /// The public URL of the console, if it has one.
    pub public_url: Option<Url>,
    /// The proxies whose `X-Forwarded-For` header is trusted.
    pub proxies: Vec<IpNet>,
}

/// Binds the port and returns the server, which accepts pages until `stop` is cancelled. Running sessions stay open.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    gateway: Arc<Gateway>,
    client: Client,
    settings: Settings,
    tasks: &Tasks,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let Settings { listen, cookie_key_file, public_url, proxies } = settings;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--web-listen {listen} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "listening for web terminals");
    let namespace = &gateway.sessions.namespace;
    let cookies = cookie_key_file.map(|file| Cookies::new(file, client.clone(), namespace, tasks));
    let state = ServerState {
        gateway,
        authenticator: Authenticator::new(client, cookies),
        origins: Origins::new(public_url.as_ref()),
        proxies: proxies.into(),
    };
    let routes = Router::new()
        .route("/terminal/v1/connect", get(connect))
        .fallback(async || TerminalError::NotFound)
        .with_state(state)
        .layer(from_fn_with_state(SecurityHeaders::new(public_url.as_ref(), None), SecurityHeaders::add));
    Ok(http::serve(listener, HttpPort::Terminal, CancellableTransport, routes, stop))
}
