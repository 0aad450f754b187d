//! Connects to the gateway of a session to observe it.

use std::time::Duration;

use axum::http::{HeaderValue, header};
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::{Api, Client};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::cluster::LenientLease;
use crate::gateway::{SESSIONS_PATH, SUBPROTOCOL};
use crate::http::internal::{CallError, Endpoint, InternalClient, InternalStream, Service};
use crate::http::{AuthError, with_api_timeout};

/// How long a connection to a gateway may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A WebSocket to a gateway.
pub type GatewaySocket = WebSocketStream<InternalStream>;

/// Connects to the observe servers of gateways.
#[derive(Clone)]
pub struct ObserveClient {
    leases: Api<LenientLease>,
    client: InternalClient,
}

/// Why a session cannot be observed on its gateway.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The instance has no Lease, or its Lease has no endpoint.
    #[error("gateway instance {0} does not say where its sessions can be followed")]
    NoEndpoint(String),
    /// The Lease of the instance could not be read.
    #[error(transparent)]
    Cluster(#[from] AuthError),
    /// The request to the gateway failed.
    #[error("its gateway: {0}")]
    Call(#[from] CallError),
}

impl ObserveClient {
    /// Creates a client for the bastion in `namespace`, for the console in this Pod.
    pub fn new(client: Client, namespace: &str, pod: &str) -> Self {
        let internal = InternalClient::new(client.clone(), namespace, pod, Service::TERMINALS);
        Self { leases: Api::namespaced(client, namespace), client: internal }
    }

    /// Connects to a gateway instance to observe one of its sessions on behalf of a user.
    ///
    /// # Errors
    /// When the instance has no endpoint, the API server issues no token, or the connection fails or takes longer than 5 s.
    pub async fn connect(&self, session: &str, instance: &str, user: UserInfo) -> Result<GatewaySocket, ObserveError> {
        let endpoint = self.endpoint(instance).await?;
        let address = endpoint.address;
        let mut request = InternalClient::url("wss", &format!("{SESSIONS_PATH}{session}"))
            .into_client_request()
            .map_err(|error| CallError::unreachable(address, error))?;
        request.headers_mut().extend(self.client.headers(&endpoint, &user).await?);
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        let connecting = async {
            let stream = endpoint.connect().await?;
            let (socket, _) = client_async(request, stream).await.map_err(|error| match error {
                Error::Http(response) => {
                    CallError::refused(response.status(), response.body().as_deref().unwrap_or_default())
                }
                error => CallError::unreachable(address, error),
            })?;
            Ok(socket)
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected.unwrap_or_else(|_| Err(CallError::unreachable(address, "no answer in time").into()))
    }

    /// Reads the endpoint of a gateway instance from its Lease.
    async fn endpoint(&self, instance: &str) -> Result<Endpoint, ObserveError> {
        let lease = with_api_timeout(self.leases.get_opt(instance)).await?;
        let annotations = lease.and_then(|lease| lease.0.metadata.annotations).unwrap_or_default();
        let endpoint = Endpoint::from_annotations(Service::TERMINALS, &annotations);
        endpoint.ok_or_else(|| ObserveError::NoEndpoint(instance.to_owned()))
    }
}
