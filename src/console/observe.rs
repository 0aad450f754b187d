//! Live observation of a session: relays the terminal output from its gateway to a page while the user has the right.

use std::convert::Infallible;
use std::pin::pin;

use axum::extract::rejection::PathRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::tungstenite;

use super::Console;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::observe_client::GatewaySocket;
use super::query::read_path;
use super::rights_watch::RightsWatch;
use crate::cluster::Right;
use crate::gateway::{MAX_PAGE_MESSAGE, SUBPROTOCOL};
use crate::http::websocket::{PEER_TIMEOUT, PING_INTERVAL, SEND_TIMEOUT, close_frame};
use crate::http::{Caller, Credentials};

/// Why a relay ends.
enum CloseReason {
    /// The page closed the WebSocket, or its network failed.
    Disconnected,
    /// The console shuts down.
    Shutdown,
    /// The page neither reads nor answers.
    Unresponsive,
    /// The gateway closed its WebSocket with this message.
    FromGateway(Message),
    /// The connection to the gateway failed.
    GatewayLost,
    /// The user's rights were revoked.
    Forbidden(ApiError),
}

/// Observes a session live: a WebSocket with the output of its terminals. Text frames contain JSON. Binary frames begin with the
/// terminal's number in four bytes. The session's user and its Events show that it is observed. The token is sent as for the
/// feed, beside the subprotocol `follow.bastion.dev`.
#[utoipa::path(get, path = "/api/v1/sessions/{session}/follow",
    params(("session" = String, Path, description = "The name of the BastionSession")),
    responses((status = 101, description = "The observation begins"), ErrorResponses))]
pub async fn follow(
    State(console): State<Console>,
    request: ClientRequest,
    session: Result<Path<String>, PathRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let session = read_path(session)?;
    console.auth.origins.check(&request.headers)?;
    let credentials = Credentials::from_websocket(&request.headers)?;
    let caller = console.auth.authenticator.verify(&credentials, Some(request.address)).await?;
    console.limits.check_request(&caller)?;
    console.require_observe(&caller, &session).await?;
    let instance = console.instance_of(&session).await?;
    let upgrade = upgrade.map_err(|rejection| ApiError::NotWebSocket(rejection.body_text()))?;
    let permit = console.limits.sockets.clone().try_acquire_owned().map_err(|_| ApiError::Full)?;
    let gateway = console.observe_client.connect(&session, &instance, caller.user()).await?;
    let upgrade = upgrade.protocols([SUBPROTOCOL]).max_message_size(MAX_PAGE_MESSAGE).max_frame_size(MAX_PAGE_MESSAGE);
    Ok(upgrade.on_upgrade(async move |socket| {
        Box::pin(Relay { page: socket, gateway, console, credentials, session }.run()).await;
        drop(permit);
    }))
}

impl Console {
    /// Checks that the caller may observe the session.
    pub async fn require_observe(&self, caller: &Caller, session: &str) -> Result<(), ApiError> {
        self.auth.authorizer.require(caller, Right { name: Some(session), ..Right::OBSERVE }).await
    }

    /// Returns the gateway instance of an open session.
    async fn instance_of(&self, name: &str) -> Result<String, ApiError> {
        let found = self.find_session(name).await?.ok_or_else(|| ApiError::no_session(name))?;
        if found.phase().is_final() { Err(ApiError::ended(&found)) } else { Ok(found.spec.gateway.instance) }
    }
}

/// Relays between a page and the gateway of the observed session.
struct Relay {
    page: WebSocket,
    gateway: GatewaySocket,
    console: Console,
    credentials: Credentials,
    session: String,
}

impl Relay {
    async fn run(mut self) {
        let Err(reason) = self.relay().await;
        // The gateway stops the observation at once, even if the page is unresponsive.
        let _ = timeout(SEND_TIMEOUT, self.gateway.close(None)).await;
        let last = match reason {
            CloseReason::Disconnected => return,
            CloseReason::FromGateway(close) => close,
            CloseReason::Shutdown => close_frame(close_code::AWAY, "the console shuts down; connect again".to_owned()),
            CloseReason::Unresponsive => {
                close_frame(close_code::AGAIN, "the page did not respond; connect again".to_owned())
            }
            CloseReason::GatewayLost => close_frame(close_code::AGAIN, "the session's gateway is gone".to_owned()),
            CloseReason::Forbidden(error) => close_frame(close_code::POLICY, error.to_string()),
        };
        let _ = timeout(SEND_TIMEOUT, self.page.send(last)).await;
    }

    async fn relay(&mut self) -> Result<Infallible, CloseReason> {
        let (console, credentials, session) = (self.console.clone(), self.credentials.clone(), self.session.clone());
        let stop = console.stop.clone();
        let mut revoked = pin!(revoked(&console, &credentials, &session));
        let (mut heartbeat, mut last_received) = (interval(PING_INTERVAL), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(CloseReason::Shutdown),
                error = &mut revoked => return Err(CloseReason::Forbidden(error)),
                received = self.page.recv() => {
                    last_received = Instant::now();
                    self.relay_to_gateway(received).await?;
                }
                _ = heartbeat.tick() => {
                    if last_received.elapsed() > PEER_TIMEOUT {
                        return Err(CloseReason::Unresponsive);
                    }
                    self.send_to_page(Message::Ping(vec![].into())).await?;
                }
                received = self.gateway.next() => self.relay_to_page(received).await?,
            }
        }
    }

    async fn relay_to_page(
        &mut self,
        received: Option<Result<tungstenite::Message, tungstenite::Error>>,
    ) -> Result<(), CloseReason> {
        match received {
            Some(Ok(tungstenite::Message::Text(text))) => self.send_to_page(Message::Text(text.as_str().into())).await,
            Some(Ok(tungstenite::Message::Binary(bytes))) => self.send_to_page(Message::Binary(bytes)).await,
            Some(Ok(tungstenite::Message::Close(Some(frame)))) => {
                Err(CloseReason::FromGateway(close_frame(frame.code.into(), frame.reason.as_str().to_owned())))
            }
            Some(Ok(tungstenite::Message::Close(None)) | Err(_)) | None => Err(CloseReason::GatewayLost),
            // The library answers pings while the stream is read.
            Some(Ok(_)) => Ok(()),
        }
    }

    /// Relays a message of the page unchecked; the gateway validates it.
    async fn relay_to_gateway(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), CloseReason> {
        let message = match received {
            Some(Ok(Message::Text(text))) => tungstenite::Message::text(text.as_str()),
            Some(Ok(Message::Binary(bytes))) => tungstenite::Message::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(CloseReason::Disconnected),
        };
        match timeout(SEND_TIMEOUT, self.gateway.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(CloseReason::GatewayLost),
        }
    }

    async fn send_to_page(&mut self, message: Message) -> Result<(), CloseReason> {
        match timeout(SEND_TIMEOUT, self.page.send(message)).await {
            Ok(sent) => sent.map_err(|_| CloseReason::Disconnected),
            Err(_) => Err(CloseReason::Unresponsive),
        }
    }
}

/// Waits until the user may no longer observe the session.
async fn revoked(console: &Console, credentials: &Credentials, session: &str) -> ApiError {
    let mut watch = RightsWatch::new();
    loop {
        watch.wait().await;
        let check = async {
            console.require_observe(&console.auth.authenticator.verify(credentials, None).await?, session).await
        };
        if let Some(Err(error)) = watch.evaluate(check.await.map(|()| None::<Infallible>)) {
            return error;
        }
    }
}
