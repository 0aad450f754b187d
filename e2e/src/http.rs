//! A minimal HTTP client for the programs' own ports, and one for those that only consoles use.

use std::net::SocketAddr;

use axum::http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::console_token::person_header;

/// Returns the status code and body of a GET.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    try_get(address, path).await.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the status code and body of a GET.
///
/// # Errors
/// When the connection fails or is closed without an answer.
pub async fn try_get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: program\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_string(&mut answer).await
    };
    exchange.await.map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no head in {answer:?}"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.ok_or_else(|| format!("no status in {head}"))?, body.to_owned()))
}

/// Sends a GET as a console does: over TLS, with this token if it is not empty, and on behalf of this person. Returns the status
/// and the body.
pub async fn get_as_a_console(
    address: SocketAddr,
    path: &str,
    token: &str,
    person: Option<Value>,
) -> (StatusCode, String) {
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build().expect("a client");
    let mut request = client.get(format!("https://{address}{path}"));
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if let Some(person) = person {
        request = request.header("bastion-person", person_header(&person));
    }
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.text().await.expect("text"))
}
