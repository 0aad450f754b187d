//! The handler of a request for a terminal: authenticates it and upgrades it to a WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use tracing::Instrument;

use super::error::TerminalError;
use super::handshake::Handshake;
use super::listener::Peer;
use super::query::ConnectQuery;
use super::state::ServerState;
use crate::gateway::net::connection_span;
use crate::http::{Credentials, forwarded};
use crate::lifecycle::TcpPath;

/// The WebSocket subprotocol.
const SUBPROTOCOL: &str = "terminal.bastion.dev";
/// The longest message of a page, in bytes. Pages send more data in several messages.
const MAX_MESSAGE: usize = 256 * 1024;
/// The characters kept of a `User-Agent` header.
const MAX_USER_AGENT: usize = 255;

/// Opens the WebSocket. Later refusals are sent over it, because pages cannot read the HTTP response.
pub async fn connect(
    State(state): State<ServerState>,
    ConnectInfo(mut peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    query: Result<Query<ConnectQuery>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, TerminalError> {
    let credentials = Credentials::from_websocket(&headers)?;
    match &credentials {
        // A browser sends its cookie with any site's request. For a WebSocket it always sends the origin, too.
        Credentials::Cookie(_) if upgrade.is_ok() => state.origins.check_write(&headers)?,
        Credentials::Cookie(_) | Credentials::Token(_) => state.origins.check(&headers)?,
    }
    let address = forwarded::client(peer.address.ip(), &headers, &state.proxies);
    let caller = state.authenticator.verify(&credentials, Some(address)).await?;
    let Query(query) = query?;
    let upgrade = upgrade?;
    if state.gateway.access.instance.is_stopping() {
        return Err(TerminalError::Stopping);
    }
    let port = if address == peer.address.ip().to_canonical() { peer.address.port() } else { 0 };
    let user_agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let path =
        if is_proxied(&headers) { TcpPath::Proxied } else { state.gateway.tcp_paths.to_client(peer.address.ip()) };
    peer.health = peer.health.with_path(path);
    let handshake = Handshake {
        gateway: state.gateway.clone(),
        subject: Arc::from(caller.name),
        client: SocketAddr::new(address, port),
        user_agent: user_agent.unwrap_or_default().chars().take(MAX_USER_AGENT).collect(),
        peer,
        query,
    };
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    let span = connection_span(handshake.client);
    Ok(upgrade.on_upgrade(async move |socket| handshake.run(socket).instrument(span).await))
}

/// Returns whether a proxy is between the page and the gateway, whose kernel acknowledges in place of the page's. A client
/// that claims so without one is only judged more strictly.
fn is_proxied(headers: &HeaderMap) -> bool {
    ["x-forwarded-for", "forwarded", "via", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}
