//! Opens WebSockets to the bastion's own programs.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// An open WebSocket.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A header.
pub type Header = (&'static str, String);

/// Returns the `Authorization` header with this token.
pub fn bearer(token: &str) -> Header {
    ("authorization", format!("Bearer {token}"))
}

/// Opens a WebSocket with these headers. Returns the status and the body of a refusal.
pub async fn connect(url: &str, headers: &[Header]) -> Result<Socket, (StatusCode, String)> {
    let mut request = url.into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => {
            let body = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
            Err((answer.status(), body))
        }
        Err(error) => panic!("no WebSocket: {error}"),
    }
}
