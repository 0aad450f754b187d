//! The gateway's HTTPS server for consoles that observe sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::connection::{ObservedSession, ObserverConnection};
use super::error::ObserveError;
use super::protocol::{MAX_PAGE_MESSAGE, SESSIONS_PATH, SUBPROTOCOL};
use crate::cluster::{EventSink, Right, SessionWriter};
use crate::gateway::instance::CurrentInstance;
use crate::http::internal::{ConsoleGuard, InternalServer, ServerSettings, Service};
use crate::metrics::HttpPort;

/// The most observers of one gateway at a time.
const MAX_OBSERVERS: usize = 256;

/// The dependencies of the observer server.
pub struct ObserveDeps {
    /// The namespace of the bastion.
    pub namespace: String,
    /// Writes an Event for each observer.
    pub events: EventSink,
    /// Returns the reference by which Events name a session.
    pub writer: SessionWriter,
    /// The gateway instance that runs the sessions.
    pub instance: CurrentInstance,
}

impl ObserveDeps {
    /// Returns a session of this gateway.
    fn find(&self, session: &str) -> Option<ObservedSession> {
        let (handle, uid) = self.instance.now()?.registry.find(session)?;
        let reference = ObjectReference { uid: Some(uid), ..self.writer.reference(session) };
        Some(ObservedSession { broadcast: handle.broadcast, audit: handle.audit, reference })
    }
}

/// The server, bound but not serving yet.
pub struct ObserverServer {
    server: InternalServer,
    console: String,
}

impl ObserverServer {
    /// Binds the port and generates the certificate.
    ///
    /// # Errors
    /// The address cannot be bound, or is unspecified without a Pod IP.
    pub async fn bind(settings: ServerSettings) -> anyhow::Result<Self> {
        let server = InternalServer::bind("--follow-listen", &settings).await?;
        Ok(Self { server, console: settings.console })
    }

    /// Returns the annotations by which consoles find the server.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.server.endpoint().annotations(Service::TERMINALS)
    }

    /// Serves consoles until `stop` is cancelled.
    pub async fn serve(self, deps: ObserveDeps, client: Client, stop: CancellationToken) {
        let Self { server, console } = self;
        info!(address = %server.endpoint().address, "listening for observers");
        let state = ServerState {
            guard: ConsoleGuard::new(client, &deps.namespace, &console, Service::TERMINALS, server.endpoint()),
            deps: Arc::new(deps),
            permits: Arc::new(Semaphore::new(MAX_OBSERVERS)),
            stop: stop.clone(),
        };
        let routes = Router::new()
            .route(&format!("{SESSIONS_PATH}{{session}}"), get(observe))
            .fallback(async || ObserveError::NotFound)
            .with_state(state);
        server.serve(HttpPort::Observers, routes, stop).await;
    }
}

/// The state that all requests share.
#[derive(Clone)]
struct ServerState {
    deps: Arc<ObserveDeps>,
    guard: ConsoleGuard,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Opens the WebSocket of an observer, for a console and on behalf of a user with the right to observe the session.
async fn observe(
    State(state): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(session): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ObserveError> {
    let user = state.guard.user(&headers, peer.ip()).await?;
    let observer = user.name().to_owned();
    let right = Right { name: Some(&session), ..Right::OBSERVE };
    if !state.guard.may(&user, right).await? {
        return Err(ObserveError::Forbidden(observer));
    }
    let session = state.deps.find(&session).ok_or(ObserveError::NotFound)?;
    let upgrade = upgrade?;
    let permit = state.permits.clone().try_acquire_owned().map_err(|_| ObserveError::TooManyObservers)?;
    state.deps.events.followed(session.reference.clone(), &observer);
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(MAX_PAGE_MESSAGE);
    Ok(upgrade.on_upgrade(async move |socket| {
        ObserverConnection { session, observer, socket, stop: state.stop }.run().await;
        drop(permit);
    }))
}
