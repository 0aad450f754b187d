//! The web terminal: the same sessions as over SSH, for a page that speaks over a WebSocket. Who sits before the page is what
//! the cluster says, or the console's cookie.

mod connect;
mod error;
mod flow_control;
mod forwarded;
mod handshake;
mod listener;
mod message;
mod prompt;
mod socket;

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

use super::Gateway;
use crate::http;
use crate::http::{Authenticator, CookieCipher, Headers, Origins};
use crate::metrics::HttpPort;
use error::Failure;
use listener::Cancellable;

/// How the web terminal is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where browsers connect, or what speaks TLS before it.
    pub listen: SocketAddr,
    /// The keys of the console's cookies, where people sign in with a browser.
    pub cookie_key_file: Option<PathBuf>,
    /// The URL by which people know the console, if it has one.
    pub public_url: Option<Url>,
    /// What is before the gateway, and says in X-Forwarded-For where a request comes from.
    pub proxies: Vec<IpNet>,
}

/// What every request needs.
#[derive(Clone)]
struct Terminal {
    gateway: Arc<Gateway>,
    authenticator: Authenticator,
    origins: Origins,
    proxies: Arc<[IpNet]>,
}

/// Binds the port. Returns the server, which takes pages until `stop` is cancelled; pages that have a session then keep it.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    client: Client,
    settings: Settings,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()>> {
    let Settings { listen, cookie_key_file, public_url, proxies } = settings;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--web-listen {listen} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "listening for web terminals");
    let terminal = Terminal {
        gateway,
        authenticator: Authenticator::new(client, cookie_key_file.map(CookieCipher::new)),
        origins: Origins::new(public_url.as_ref()),
        proxies: proxies.into(),
    };
    let routes = Router::new()
        .route("/terminal/v1/connect", get(connect::connect))
        .fallback(async || Failure::NotFound)
        .with_state(terminal)
        .layer(from_fn_with_state(Headers::new(public_url.as_ref(), None), Headers::add));
    Ok(http::serve(listener, HttpPort::Terminal, Cancellable, routes, stop))
}
