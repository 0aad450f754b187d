//! Following a session that goes on: passes on what its gateway shows, for as long as the person may see it.

use std::convert::Infallible;
use std::pin::pin;

use axum::extract::rejection::PathRejection;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::{SinkExt, StreamExt};
use kube::Api;
use tokio::time::{Instant, interval, timeout};
use tokio_tungstenite::tungstenite;

use super::Console;
use super::failure::{Failure, Refusals};
use super::observe_client::GatewaySocket;
use super::query::is_name;
use super::rights_watch::RightsWatch;
use crate::api::BastionSession;
use crate::cluster::Right;
use crate::gateway::{FROM_PAGE, PROTOCOL};
use crate::http::websocket::{HEARTBEAT, PATIENCE, SILENCE, close};
use crate::http::{Caller, Credentials, asked};

/// Why a page is left.
enum Bye {
    /// It has left itself, or its network has.
    Gone,
    /// The console ends.
    Leaving,
    /// It answers nothing, or takes nothing.
    Silent,
    /// The gateway has said why.
    EncodedDelta(Message),
    /// The gateway is gone.
    Lost,
    /// The person may see it no longer.
    Refused(Failure),
}

/// What a session's terminals show, as it comes, over a WebSocket that takes no input: text frames with JSON, and binary frames
/// that begin with the number of a terminal, in four bytes. Who has the session is told, and its Events have it. Tokens come as
/// for the feed, beside `follow.bastion.dev`.
#[utoipa::path(get, path = "/api/v1/sessions/{session}/follow",
    params(("session" = String, Path, description = "The name of the BastionSession")),
    responses((status = 101, description = "The session is followed"), Refusals))]
pub async fn follow(
    State(console): State<Console>,
    headers: HeaderMap,
    session: Result<Path<String>, PathRejection>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let Path(session) = session.map_err(|rejection| Failure::Malformed(rejection.body_text()))?;
    console.origins.check(&headers)?;
    let credentials = Credentials::of_socket(&headers)?;
    let caller = console.authenticator.known(&credentials).await?;
    console.bound(&caller)?;
    console.let_follow(&caller, &session).await?;
    let instance = console.carrier(&session).await?;
    let upgrade = upgrade.map_err(|rejection| Failure::NoSocket(rejection.body_text()))?;
    let place = console.places.clone().try_acquire_owned().map_err(|_| Failure::Full)?;
    let gateways = console.gateways.as_ref().ok_or(Failure::NoFollowing)?;
    let gateway = gateways.follow(&session, &instance, caller.user()).await?;
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(FROM_PAGE).max_frame_size(FROM_PAGE);
    Ok(upgrade.on_upgrade(async move |socket| {
        Following { page: socket, gateway, console, credentials, session }.run().await;
        drop(place);
    }))
}

impl Console {
    async fn let_follow(&self, caller: &Caller, session: &str) -> Result<(), Failure> {
        self.authorizer.require(caller, Right { name: Some(session), ..Right::OBSERVE }).await
    }

    /// The gateway instance that carries a session, which has not ended.
    async fn carrier(&self, name: &str) -> Result<String, Failure> {
        if !is_name(name) {
            return Err(Failure::no_session(name));
        }
        let sessions: Api<BastionSession> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = asked(sessions.get_opt(name)).await?.ok_or_else(|| Failure::no_session(name))?;
        if found.phase().is_final() { Err(Failure::ended(&found)) } else { Ok(found.spec.gateway.instance) }
    }
}

struct Following {
    page: WebSocket,
    gateway: GatewaySocket,
    console: Console,
    credentials: Credentials,
    session: String,
}

impl Following {
    async fn run(mut self) {
        let Err(bye) = self.pass_on().await;
        // The gateway stops showing it at once, whatever becomes of the page.
        let _ = timeout(PATIENCE, self.gateway.close(None)).await;
        let last = match bye {
            Bye::Gone => return,
            Bye::EncodedDelta(close) => close,
            Bye::Leaving => close(close_code::AWAY, "this console ends; connect again".to_owned()),
            Bye::Silent => close(close_code::AGAIN, "no sign of life; connect again".to_owned()),
            Bye::Lost => close(close_code::AGAIN, "the session's gateway is gone".to_owned()),
            Bye::Refused(failure) => close(close_code::POLICY, failure.to_string()),
        };
        let _ = timeout(PATIENCE, self.page.send(last)).await;
    }

    /// Passes everything on, until there is an end of it.
    async fn pass_on(&mut self) -> Result<Infallible, Bye> {
        let (console, credentials, session) = (self.console.clone(), self.credentials.clone(), self.session.clone());
        let stop = console.stop.clone();
        let mut withdrawn = pin!(withdrawn(&console, &credentials, &session));
        let (mut heartbeat, mut heard) = (interval(HEARTBEAT), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Bye::Leaving),
                failure = &mut withdrawn => return Err(Bye::Refused(failure)),
                said = self.page.recv() => {
                    heard = Instant::now();
                    self.pass_to_gateway(said).await?;
                }
                _ = heartbeat.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(Bye::Silent);
                    }
                    self.tell_page(Message::Ping(vec![].into())).await?;
                }
                shown = self.gateway.next() => self.shown(shown).await?,
            }
        }
    }

    async fn shown(&mut self, shown: Option<Result<tungstenite::Message, tungstenite::Error>>) -> Result<(), Bye> {
        match shown {
            Some(Ok(tungstenite::Message::Text(text))) => self.tell_page(Message::Text(text.as_str().into())).await,
            Some(Ok(tungstenite::Message::Binary(bytes))) => self.tell_page(Message::Binary(bytes)).await,
            Some(Ok(tungstenite::Message::Close(Some(told)))) => {
                Err(Bye::EncodedDelta(close(told.code.into(), told.reason.as_str().to_owned())))
            }
            Some(Ok(tungstenite::Message::Close(None)) | Err(_)) | None => Err(Bye::Lost),
            // Pings are answered as the stream is read.
            Some(Ok(_)) => Ok(()),
        }
    }

    /// What a page says is little; whether it may is for the gateway to say.
    async fn pass_to_gateway(&mut self, said: Option<Result<Message, axum::Error>>) -> Result<(), Bye> {
        let said = match said {
            Some(Ok(Message::Text(text))) => tungstenite::Message::text(text.as_str()),
            Some(Ok(Message::Binary(bytes))) => tungstenite::Message::Binary(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Bye::Gone),
        };
        match timeout(PATIENCE, self.gateway.send(said)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Bye::Lost),
        }
    }

    async fn tell_page(&mut self, what: Message) -> Result<(), Bye> {
        match timeout(PATIENCE, self.page.send(what)).await {
            Ok(sent) => sent.map_err(|_| Bye::Gone),
            Err(_) => Err(Bye::Silent),
        }
    }
}

/// Waits until a person may follow a session no longer.
async fn withdrawn(console: &Console, credentials: &Credentials, session: &str) -> Failure {
    let mut watch = RightsWatch::new();
    loop {
        watch.pause().await;
        let look = async { console.let_follow(&console.authenticator.known(credentials).await?, session).await };
        if let Some(Err(failure)) = watch.consider(look.await.map(|()| None::<Infallible>)) {
            return failure;
        }
    }
}
