//! One page of the feed: a WebSocket that receives the changes its user may see.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use futures::SinkExt;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::{Instant, interval, timeout};
use tracing::debug;

use super::super::client_request::ClientRequest;
use super::{FeedEvent, message};
use crate::console::Console;
use crate::console::access::Visibility;
use crate::console::activity::Reading;
use crate::console::api_error::{ApiError, ErrorResponses};
use crate::console::rights_watch::RightsWatch;
use crate::console::state::Auth;
use crate::http::Credentials;
use crate::http::websocket::{PEER_TIMEOUT, PING_INTERVAL, SEND_TIMEOUT, close_frame};
use crate::metrics::{METRICS, SnapshotLabels};
use crate::tasks::ticks;

/// The WebSocket subprotocol of the feed.
const PROTOCOL: &str = "feed.bastion.dev";
/// The maximum size of a page's message, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// How many sessions a page may watch the activity of.
const MAX_WATCHED: usize = 200;
const ACTIVITY_INTERVAL: Duration = Duration::from_secs(1);

/// Why a page's WebSocket closes.
enum CloseReason {
    /// The page closed it, or its network failed.
    Disconnected,
    /// The console shuts down.
    Shutdown,
    /// The page neither reads nor answers.
    Unresponsive,
    /// The user has the maximum number of pages open.
    TooManyPages,
    /// The user's rights or credentials were revoked.
    Forbidden(ApiError),
}

/// Sends the open sessions over a WebSocket: a snapshot in one or more messages, then deltas numbered from 1. A page that falls
/// behind gets a new snapshot, and so does every page after the console's own watch was interrupted. The token is sent as for
/// the other routes, or as for Kubernetes: as the WebSocket subprotocol `base64url.bearer.authorization.k8s.io.TOKEN`, with the
/// token in base64url without padding, beside `feed.bastion.dev`.
#[utoipa::path(get, path = "/api/v1/feed", responses((status = 101, description = "The feed begins"), ErrorResponses))]
pub async fn feed(
    State(console): State<Console>,
    request: ClientRequest,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    console.auth.origins.check(&request.headers)?;
    let credentials = Credentials::from_websocket(&request.headers)?;
    let caller = console.auth.authenticator.verify(&credentials, Some(request.address)).await?;
    let visibility = console.auth.authorizer.visibility(&caller).await?;
    let upgrade = upgrade.map_err(|rejection| ApiError::Malformed(rejection.body_text()))?;
    let permit = console.limits.sockets.clone().try_acquire_owned().map_err(|_| ApiError::Full)?;
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        METRICS.console_pages.inc();
        debug!(who = caller.name, "opened a page of the feed");
        let quota = console.limits.pages_per_user.clone();
        let page = Page {
            socket,
            console,
            credentials,
            visibility,
            sequence: 0,
            watched: HashSet::new(),
            sent_activity: BTreeMap::new(),
        };
        if quota.try_acquire(&caller.name) {
            Box::pin(page.run()).await;
            quota.release(&caller.name);
        } else {
            page.close(CloseReason::TooManyPages).await;
        }
        METRICS.console_pages.dec();
        drop(permit);
    }))
}

struct Page {
    socket: WebSocket,
    console: Console,
    credentials: Credentials,
    visibility: Visibility,
    /// How many deltas there were since the last snapshot.
    sequence: u64,
    /// The names of the sessions whose activity the page shows.
    watched: HashSet<String>,
    /// The activity that was sent last.
    sent_activity: BTreeMap<String, Reading>,
}

/// A message of a page.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Request {
    /// Subscribes to the activity of these sessions, instead of the previous ones.
    Watch { names: Vec<String> },
}

impl Page {
    async fn run(mut self) {
        let Err(reason) = self.serve().await;
        self.close(reason).await;
    }

    async fn close(mut self, reason: CloseReason) {
        let (code, text) = match reason {
            CloseReason::Disconnected => return,
            CloseReason::Shutdown => (close_code::AWAY, "the console shuts down; connect again".to_owned()),
            CloseReason::Unresponsive => (close_code::AGAIN, "the page did not respond; connect again".to_owned()),
            CloseReason::TooManyPages => (close_code::AGAIN, "you have the maximum number of pages open".to_owned()),
            CloseReason::Forbidden(error) => (close_code::POLICY, error.to_string()),
        };
        let _ = timeout(SEND_TIMEOUT, self.socket.send(close_frame(code, text))).await;
    }

    /// Sends the feed and handles the page's messages until the WebSocket must close.
    async fn serve(&mut self) -> Result<Infallible, CloseReason> {
        let stop = self.console.stop.clone();
        let (console, credentials) = (self.console.clone(), self.credentials.clone());
        let mut events = self.send_snapshot("opened").await?;
        let mut rights = pin!(changed_visibility(&console, &credentials, self.visibility.clone()));
        let (mut heartbeat, mut activity) = (interval(PING_INTERVAL), ticks(ACTIVITY_INTERVAL));
        let mut last_received = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(CloseReason::Shutdown),
                received = self.socket.recv() => match received {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(CloseReason::Disconnected),
                    Some(Ok(message)) => {
                        last_received = Instant::now();
                        self.handle(&message);
                    }
                },
                visibility = &mut rights => {
                    self.visibility = visibility.map_err(CloseReason::Forbidden)?;
                    rights.set(changed_visibility(&console, &credentials, self.visibility.clone()));
                    events = self.send_snapshot("rights").await?;
                }
                _ = activity.tick(), if !self.watched.is_empty() => self.send_activity().await?,
                _ = heartbeat.tick() => {
                    if last_received.elapsed() > PEER_TIMEOUT {
                        return Err(CloseReason::Unresponsive);
                    }
                    let heartbeat = message::heartbeat(self.sequence, Timestamp::now());
                    self.send(vec![Message::Ping(vec![].into()), Message::Text(heartbeat)]).await?;
                }
                event = events.recv() => match event {
                    Ok(FeedEvent::Changes(changes)) => self.send_changes(&changes).await?,
                    Ok(FeedEvent::Stale) => self.send_text(message::stale(self.sequence, Timestamp::now())).await?,
                    Ok(FeedEvent::Reset) => events = self.send_snapshot("reset").await?,
                    Err(RecvError::Lagged(_)) => events = self.send_snapshot("slow").await?,
                    Err(RecvError::Closed) => return Err(CloseReason::Shutdown),
                },
            }
        }
    }

    /// Sends a snapshot. Returns the receiver of the events after it.
    async fn send_snapshot(&mut self, cause: &'static str) -> Result<broadcast::Receiver<FeedEvent>, CloseReason> {
        METRICS.console_snapshots.get_or_create(&SnapshotLabels { cause }).inc();
        let (snapshot, events) = self.console.feed.subscribe(&self.visibility);
        self.sequence = 0;
        for part in snapshot.iter() {
            self.send_text(part.clone()).await?;
        }
        Ok(events)
    }

    /// Handles a message of the page. Ignores unknown messages.
    fn handle(&mut self, message: &Message) {
        let Message::Text(text) = message else { return };
        if let (Some(_), Ok(Request::Watch { names })) = (&self.console.activity, serde_json::from_str(text)) {
            self.watched = names.into_iter().take(MAX_WATCHED).collect();
            self.sent_activity.clear();
        }
    }

    /// Sends the activity of the watched sessions if it has changed.
    async fn send_activity(&mut self) -> Result<(), CloseReason> {
        let Some(reader) = self.console.activity.clone() else { return Ok(()) };
        let visible = self.console.feed.visible(&self.watched, &self.visibility);
        let activity = reader.read(&visible).await;
        if activity == self.sent_activity {
            return Ok(());
        }
        self.sent_activity = activity;
        self.send_text(message::activity(self.sequence, &self.sent_activity, Timestamp::now())).await
    }

    /// Sends the changes that the user may see.
    async fn send_changes(&mut self, changes: &[message::EncodedDelta]) -> Result<(), CloseReason> {
        let mut messages = Vec::new();
        for delta in changes.iter().filter(|delta| self.visibility.includes(&delta.subject)) {
            self.sequence += 1;
            messages.push(Message::Text(delta.numbered(self.sequence)));
        }
        self.send(messages).await
    }

    async fn send_text(&mut self, text: Utf8Bytes) -> Result<(), CloseReason> {
        self.send(vec![Message::Text(text)]).await
    }

    async fn send(&mut self, messages: Vec<Message>) -> Result<(), CloseReason> {
        let sending = async {
            for message in messages {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        };
        match timeout(SEND_TIMEOUT, sending).await {
            Ok(sent) => sent.map_err(|_| CloseReason::Disconnected),
            Err(_) => Err(CloseReason::Unresponsive),
        }
    }
}

/// Waits until the user's visibility changes, and returns the new one.
async fn changed_visibility(
    console: &Console,
    credentials: &Credentials,
    visibility: Visibility,
) -> Result<Visibility, ApiError> {
    let mut watch = RightsWatch::new();
    loop {
        watch.wait().await;
        let Auth { authenticator, authorizer, .. } = &console.auth;
        let check = async { authorizer.visibility(&authenticator.verify(credentials, None).await?).await };
        let check = check.await.map(|now| Some(now).filter(|now| *now != visibility));
        if let Some(changed) = watch.evaluate(check) {
            return changed;
        }
    }
}
