//! What a program counts, as its `/metrics` says it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait::{default_timeout, eventually};

/// The value of a sample, such as `bastion_audit_failures_total{cause="timeout"}`; nothing where the page lacks it.
pub async fn metric(http: SocketAddr, sample: &str) -> Option<f64> {
    let page = page(http).await;
    let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap_or_else(|_| panic!("{sample} is {value:?}")))
}

/// Waits until a sample is as it should be.
pub async fn metric_becomes(http: SocketAddr, sample: &str, fits: impl Fn(f64) -> bool) {
    eventually(default_timeout(), sample, async || match metric(http, sample).await {
        Some(value) if fits(value) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

async fn page(http: SocketAddr) -> String {
    let mut stream = TcpStream::connect(http).await.expect("the program serves HTTP");
    let request = "GET /metrics HTTP/1.1\r\nHost: program\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("it answers");
    page
}
