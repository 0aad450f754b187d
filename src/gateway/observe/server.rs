//! The gateway's side: takes consoles, over TLS, and nobody else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::api::authorization::v1::LocalSubjectAccessReview;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::Api;
use rustls::ServerConfig;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::certificate;
use super::connection::{ObservedSession, ObserverConnection};
use super::endpoint::Endpoint;
use super::message::ImpersonatedUser;
use super::protocol::{AUDIENCE, FROM_PAGE, PATH, PROTOCOL};
use crate::cluster::{EventSink, Right, SessionWriter};
use crate::gateway::instance::CurrentInstance;
use crate::http;
use crate::http::{AuthError, Authenticator, Credentials, Tls};
use crate::metrics::{HttpPort, METRICS, RefusalLabels};

/// How many may follow sessions of one gateway at a time.
const MOST: usize = 256;

/// How a gateway lets sessions be followed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where consoles connect.
    pub listen: SocketAddr,
    /// The address of the Pod, where `listen` is all that there are.
    pub pod_ip: Option<IpAddr>,
    /// The Kubernetes user that the consoles are.
    pub console: String,
}

/// What the observer server depends on.
pub struct ObserveDeps {
    /// The namespace of the bastion.
    pub namespace: String,
    /// Writes an Event for each observer.
    pub events: EventSink,
    /// Knows how Events name a session.
    pub writer: SessionWriter,
    /// The instance that carries the sessions.
    pub instance: CurrentInstance,
}

impl ObserveDeps {
    /// Returns a session that this gateway carries.
    fn find(&self, session: &str) -> Option<ObservedSession> {
        let (carried, uid) = self.instance.now()?.registry.find(session)?;
        let reference = ObjectReference { uid: Some(uid), ..self.writer.reference(session) };
        Some(ObservedSession { stage: carried.stage, audit: carried.audit, reference })
    }
}

/// Where consoles come in.
pub struct ObserverServer {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    place: Endpoint,
    console: String,
}

impl ObserverServer {
    /// Opens it; nobody is let in yet.
    ///
    /// # Errors
    /// When the address cannot be bound, or consoles could not find it.
    pub async fn open(settings: Settings) -> anyhow::Result<Self> {
        let Settings { listen, pod_ip, console } = settings;
        let listener =
            TcpListener::bind(listen).await.with_context(|| format!("--follow-listen {listen} cannot be bound"))?;
        let mut address = listener.local_addr()?;
        match pod_ip {
            Some(ip) => address.set_ip(ip),
            None if address.ip().is_unspecified() => {
                bail!(
                    "--follow-listen {listen} is every address there is: give --pod-ip too, by which consoles connect"
                )
            }
            None => {}
        }
        let (tls, certificate) = certificate::new()?;
        Ok(Self { listener, tls, place: Endpoint { address, certificate }, console })
    }

    /// Where it is.
    pub const fn place(&self) -> &Endpoint {
        &self.place
    }

    /// Lets consoles in until `stop` is cancelled.
    pub async fn serve(self, deps: ObserveDeps, client: Client, stop: CancellationToken) {
        let Self { listener, tls, place, console } = self;
        info!(address = %place.address, "listening for those who follow sessions");
        let inside = Inside {
            rights: Api::namespaced(client.clone(), &deps.namespace),
            deps: Arc::new(deps),
            authenticator: Authenticator::new(client, None),
            console: console.into(),
            places: Arc::new(Semaphore::new(MOST)),
            stop: stop.clone(),
        };
        let routes = Router::new()
            .route(&format!("{PATH}{{session}}"), get(follow))
            .fallback(async || Failure::Missing)
            .with_state(inside);
        http::serve(listener, HttpPort::Observers, Tls::new(tls), routes, stop).await;
    }
}

/// What every request needs.
#[derive(Clone)]
struct Inside {
    deps: Arc<ObserveDeps>,
    authenticator: Authenticator,
    rights: Api<LocalSubjectAccessReview>,
    console: Arc<str>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Lets a console follow a session, for a person who may.
async fn follow(
    State(inside): State<Inside>,
    Path(session): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let Credentials::Token(token) = Credentials::of(&headers)? else { return Err(Failure::NotTheConsole) };
    if inside.authenticator.vouched(&token, AUDIENCE).await?.name != *inside.console {
        return Err(Failure::NotTheConsole);
    }
    let ImpersonatedUser { user } = ImpersonatedUser::of(&headers).ok_or(Failure::Nobody)?;
    let who = user.username.clone().ok_or(Failure::Nobody)?;
    // The console has asked it too; a gateway shows nothing on its word alone.
    let right = Right { name: Some(&session), ..Right::OBSERVE };
    if !http::may(&inside.rights, &inside.deps.namespace, user, right).await? {
        return Err(Failure::MayNot(who));
    }
    let staged = inside.deps.find(&session).ok_or(Failure::Missing)?;
    let upgrade = upgrade.map_err(|rejection| Failure::NoSocket(rejection.body_text()))?;
    let place = inside.places.clone().try_acquire_owned().map_err(|_| Failure::Full)?;
    inside.deps.events.followed(staged.reference.clone(), &who);
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(FROM_PAGE);
    Ok(upgrade.on_upgrade(async move |socket| {
        ObserverConnection { staged, who, socket, stop: inside.stop }.run().await;
        drop(place);
    }))
}

/// Why somebody is not let follow a session.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Web(#[from] AuthError),
    #[error("consoles alone may follow sessions here")]
    NotTheConsole,
    #[error("it is not said who follows")]
    Nobody,
    #[error("{0} may not get bastionsessions/observe")]
    MayNot(String),
    #[error("this gateway has no such session")]
    Missing,
    #[error("this is a WebSocket: {0}")]
    NoSocket(String),
    #[error("as many follow sessions of this gateway as may; try again in a moment")]
    Full,
}

impl Failure {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Web(refusal) => refusal.status(),
            Self::NotTheConsole | Self::MayNot(_) => StatusCode::FORBIDDEN,
            Self::Nobody => StatusCode::BAD_REQUEST,
            Self::Missing => StatusCode::NOT_FOUND,
            Self::NoSocket(_) => StatusCode::UPGRADE_REQUIRED,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Web(refusal) => refusal.label(),
            Self::NotTheConsole => "not_the_console",
            Self::Nobody | Self::NoSocket(_) => "malformed",
            Self::MayNot(_) => "forbidden",
            Self::Missing => "missing",
            Self::Full => "full",
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        METRICS.follows_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
        warn!(reason = self.label(), "somebody is not let follow a session: {self}");
        (self.status(), Json(json!({ "error": self.to_string() }))).into_response()
    }
}
