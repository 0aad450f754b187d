//! `bastion console`: what the bastion knows, over HTTP, for those whom the cluster lets see it. It keeps no state.

mod access;
mod api;
mod failure;
mod view;

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::audit::{AuditSettings, Store};
use crate::http::{self, Ready};
use access::Gate;

pub use api::openapi;
pub use failure::Problem;
pub use view::{Session, SessionPage, Target, TargetPage};

/// How a console is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// The audit database, which is only read, where there is one that can be.
    pub audit: Option<AuditSettings>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_listen: SocketAddr,
}

/// What every request needs.
#[derive(Clone)]
struct Console {
    client: Client,
    namespace: String,
    store: Option<Store>,
    gate: Gate,
}

/// Runs a console until `stop` is cancelled.
///
/// # Errors
/// When it cannot start, or can serve no longer.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let Settings { namespace, listen, audit, http_listen } = settings;
    let store = audit.map(Store::new).transpose()?;
    let console = Console { store, gate: Gate::new(client.clone(), &namespace), client, namespace };
    let ready = Ready::default();
    let probes = http::serve(http_listen, ready.clone(), stop.clone()).await?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("--listen {listen} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "serving the API");
    let routes: Router = api::routes().with_state(console);
    let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned());
    ready.set(true);
    tokio::try_join!(probes, serving.into_future())?;
    Ok(())
}
