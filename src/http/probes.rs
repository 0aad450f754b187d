//! The port for probes and metrics that each program has: `/healthz`, `/readyz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{Plain, serve};
use crate::metrics::{BuildLabels, HttpPort, METRICS, ProgramLabels};

/// The readiness of a program. It is false at the start, and again while the program drains.
#[derive(Clone, Debug)]
pub struct Readiness {
    program: &'static str,
    ready: Arc<AtomicBool>,
}

impl Readiness {
    /// Returns the readiness of a program that starts: false. `program` is the name of its subcommand.
    pub fn new(program: &'static str) -> Self {
        let build = BuildLabels { program, version: env!("CARGO_PKG_VERSION") };
        METRICS.build_info.get_or_create(&build).set(1);
        let this = Self { program, ready: Arc::default() };
        this.set(false);
        this
    }

    /// Changes the readiness, for `/readyz` and the metric.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
        METRICS.ready.get_or_create(&ProgramLabels { program: self.program }).set(i64::from(ready));
    }

    fn get(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// Binds `address` and returns the server, which runs until `stop` is cancelled.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve_probes(
    address: SocketAddr,
    ready: Readiness,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()>> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("--http-listen {address} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "serving HTTP");
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || readiness_response(ready.get())))
        .route("/metrics", get(metrics));
    Ok(serve(listener, HttpPort::Probes, Plain, routes, stop))
}

fn readiness_response(ready: bool) -> (StatusCode, &'static str) {
    if ready { (StatusCode::OK, "ok\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}

async fn metrics() -> axum::response::Response {
    match METRICS.encode() {
        Ok(page) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
