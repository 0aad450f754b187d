//! A page asks for a terminal: who asks, and whether it is a page of ours.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::error::Failure;
use super::handshake::{ConnectQuery, Handshake};
use super::listener::Peer;
use super::{Terminal, forwarded};
use crate::http::Credentials;

/// What the page says that it speaks, and is told that it does.
const PROTOCOL: &str = "terminal.bastion.dev";
/// No message of a page is longer: it sends more in pieces.
const LONGEST_MESSAGE: usize = 256 * 1024;
/// As much is kept of what a browser says that it is.
const LONGEST_SOFTWARE: usize = 255;

/// Opens the WebSocket. Whatever else is to say of the session is said there, where the page can read it.
pub async fn connect(
    State(terminal): State<Terminal>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    query: Result<Query<ConnectQuery>, QueryRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let credentials = Credentials::of_socket(&headers)?;
    match &credentials {
        // A browser sends a cookie by itself, whichever site's page asks; with a WebSocket it says which.
        Credentials::Cookie(_) if upgrade.is_ok() => terminal.origins.check_write(&headers)?,
        Credentials::Cookie(_) | Credentials::Token(_) => terminal.origins.check(&headers)?,
    }
    let caller = terminal.authenticator.known(&credentials).await?;
    let Query(query) = query.map_err(|rejection| Failure::Malformed(rejection.body_text()))?;
    let upgrade = upgrade.map_err(|rejection| Failure::NoSocket(rejection.body_text()))?;
    if terminal.gateway.access.instance.is_stopping() {
        return Err(Failure::Stopping);
    }
    let address = forwarded::client(peer.address.ip(), &headers, &terminal.proxies);
    let port = if address == peer.address.ip().to_canonical() { peer.address.port() } else { 0 };
    let software = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let handshake = Handshake {
        gateway: terminal.gateway.clone(),
        subject: Arc::from(caller.name),
        client: SocketAddr::new(address, port),
        proxied: is_proxied(&headers),
        software: software.unwrap_or_default().chars().take(LONGEST_SOFTWARE).collect(),
        peer,
        query,
    };
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(LONGEST_MESSAGE).max_frame_size(LONGEST_MESSAGE);
    Ok(upgrade.on_upgrade(async move |socket| handshake.run(socket).await))
}

/// Whether something is between the page and this gateway. Who says so without need is asked more often, and nothing else.
fn is_proxied(headers: &HeaderMap) -> bool {
    ["x-forwarded-for", "forwarded", "via", "x-real-ip"].iter().any(|name| headers.contains_key(*name))
}
