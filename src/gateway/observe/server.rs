//! The gateway's HTTPS server for consoles that observe sessions.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::Api;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::certificate;
use super::connection::{ObservedSession, ObserverConnection};
use super::endpoint::Endpoint;
use super::error::ObserveError;
use super::message::ImpersonatedUser;
use super::protocol::{MAX_PAGE_MESSAGE, SESSIONS_PATH, SUBPROTOCOL, TOKEN_AUDIENCE};
use crate::cluster::{EventSink, Right, SessionWriter};
use crate::gateway::instance::CurrentInstance;
use crate::http::{self, Authenticator, Credentials, Tls};
use crate::metrics::HttpPort;

/// The most observers of one gateway at a time.
const MAX_OBSERVERS: usize = 256;

/// The settings of the observer server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The Pod's IP address, which consoles connect to. Required if `listen` is unspecified, such as `0.0.0.0`.
    pub pod_ip: Option<IpAddr>,
    /// The Kubernetes user name of the consoles.
    pub console: String,
}

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
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    endpoint: Endpoint,
    console: String,
}

impl ObserverServer {
    /// Binds the port and generates the certificate.
    ///
    /// # Errors
    /// The address cannot be bound, or is unspecified without a Pod IP.
    pub async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let Settings { listen, pod_ip, console } = settings;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("--follow-listen {listen} cannot be bound"))?;
        let mut address = listener.local_addr()?;
        match pod_ip {
            Some(ip) => address.set_ip(ip),
            None if address.ip().is_unspecified() => {
                bail!("--follow-listen {listen} names no single address: set --pod-ip, which consoles connect to")
            }
            None => {}
        }
        let (tls, certificate) = certificate::generate()?;
        Ok(Self { listener, tls, endpoint: Endpoint { address, certificate }, console })
    }

    /// Returns the address and certificate for the instance's Lease.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves consoles until `stop` is cancelled.
    pub async fn serve(self, deps: ObserveDeps, client: Client, stop: CancellationToken) {
        let Self { listener, tls, endpoint, console } = self;
        info!(address = %endpoint.address, "listening for observers");
        let state = ServerState {
            reviews: Api::namespaced(client.clone(), &deps.namespace),
            deps: Arc::new(deps),
            authenticator: Authenticator::new(client, None),
            console: console.into(),
            permits: Arc::new(Semaphore::new(MAX_OBSERVERS)),
            stop: stop.clone(),
        };
        let routes = Router::new()
            .route(&format!("{SESSIONS_PATH}{{session}}"), get(observe))
            .fallback(async || ObserveError::NotFound)
            .with_state(state);
        http::serve(listener, HttpPort::Observers, Tls::new(tls), routes, stop).await;
    }
}

/// The state that all requests share.
#[derive(Clone)]
struct ServerState {
    deps: Arc<ObserveDeps>,
    authenticator: Authenticator,
    reviews: Api<LocalSubjectAccessReview>,
    console: Arc<str>,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Opens the WebSocket of an observer, for a console and on behalf of a user with the right to observe the session.
async fn observe(
    State(state): State<ServerState>,
    Path(session): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ObserveError> {
    let Credentials::Token(token) = Credentials::from_headers(&headers)? else {
        return Err(ObserveError::NotTheConsole);
    };
    if state.authenticator.verify_token_for(&token, TOKEN_AUDIENCE).await?.name != *state.console {
        return Err(ObserveError::NotTheConsole);
    }
    let ImpersonatedUser { user } = ImpersonatedUser::from_headers(&headers).ok_or(ObserveError::NoObserver)?;
    let observer = user.username.clone().ok_or(ObserveError::NoObserver)?;
    // The console has checked this too, but the gateway does not rely on it.
    let right = Right { name: Some(&session), ..Right::OBSERVE };
    if !http::is_allowed(&state.reviews, &state.deps.namespace, user, right).await? {
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
