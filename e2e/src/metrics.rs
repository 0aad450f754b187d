//! What a program counts, as its `/metrics` says it.

use std::net::SocketAddr;

use crate::http::get;
use crate::wait::{default_timeout, eventually};

/// The value of a sample, such as `bastion_audit_failures_total{cause="timeout"}`; nothing where the page lacks it.
pub async fn metric(http: SocketAddr, sample: &str) -> Option<f64> {
    let (_, page) = get(http, "/metrics").await;
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
