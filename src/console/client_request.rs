//! The headers and the client's address of a request.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::Console;
use crate::http::forwarded;

/// What a request says about its client.
pub struct ClientRequest {
    /// The headers.
    pub headers: HeaderMap,
    /// The address of the client, behind the trusted proxies.
    pub address: IpAddr,
}

impl FromRequestParts<Console> for ClientRequest {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Infallible> {
        // The server adds the peer to every request. Requests without one would count as from one address.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        let headers = parts.headers.clone();
        Ok(Self { address: forwarded::client(peer, &headers, &console.auth.proxies), headers })
    }
}
