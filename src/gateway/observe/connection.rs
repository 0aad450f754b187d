//! Streams a session's terminals to one observer. The session's user, the audit log and the session's Events learn of
//! it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, close_code};
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::audit_log::AuditLog;
use super::broadcast::{Broadcast, Subscription, TerminalEvent};
use super::message::{FromPage, ToPage, event_frame};
use crate::http::websocket::{PEER_TIMEOUT, PING_INTERVAL, SEND_TIMEOUT, close_frame};
use crate::metrics::METRICS;

/// Why a connection ends.
enum CloseReason {
    /// The session ended, and the observer was told.
    SessionEnded,
    /// The observer closed the connection, or it broke.
    Disconnected,
    /// The observer answers no pings, or does not read.
    TimedOut,
    /// The observer sent something other than a ping.
    UnexpectedMessage,
    /// The gateway shuts down.
    Shutdown,
}

/// A session that can be observed.
pub struct ObservedSession {
    /// The session's terminals.
    pub broadcast: Arc<Broadcast>,
    /// The session's audit log.
    pub audit: Arc<AuditLog>,
    /// The name and uid of the session's object.
    pub reference: ObjectReference,
}

/// The WebSocket of an observer.
pub struct ObserverConnection {
    /// The observed session.
    pub session: ObservedSession,
    /// The observer's Kubernetes user name.
    pub observer: String,
    /// The WebSocket.
    pub socket: WebSocket,
    /// Cancelled when the gateway shuts down.
    pub stop: CancellationToken,
}

impl ObserverConnection {
    /// Streams the session until it ends or the observer leaves.
    pub async fn run(mut self) {
        METRICS.followers.inc();
        self.session.broadcast.announce(format!("bastion: {} is watching this session", self.observer));
        self.session.audit.observed(&self.observer, "started");
        let Err(reason) = self.stream().await;
        self.session.audit.observed(&self.observer, "ended");
        self.session.broadcast.announce(format!("bastion: {} is no longer watching this session", self.observer));
        METRICS.followers.dec();
        self.close(&reason).await;
    }

    async fn close(mut self, reason: &CloseReason) {
        let (code, reason) = match reason {
            CloseReason::Disconnected => return,
            CloseReason::SessionEnded => (close_code::NORMAL, ""),
            CloseReason::TimedOut => (close_code::AGAIN, "no sign of life; connect again"),
            CloseReason::UnexpectedMessage => (close_code::POLICY, "an observed session takes no input"),
            CloseReason::Shutdown => (close_code::AWAY, "this gateway shuts down"),
        };
        let _ = timeout(SEND_TIMEOUT, self.socket.send(close_frame(code, reason.to_owned()))).await;
    }

    async fn stream(&mut self) -> Result<Infallible, CloseReason> {
        let audit = self.session.audit.clone();
        let [session, user, target, login] = audit.names();
        self.send(ToPage::Following { session, user, target, login }.frame()).await?;
        let (stop, mut subscription) = (self.stop.clone(), self.subscribe(false).await?);
        let (mut pings, mut last_received) = (interval(PING_INTERVAL), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(CloseReason::Shutdown),
                message = self.socket.recv() => {
                    last_received = Instant::now();
                    self.handle(message).await?;
                }
                _ = pings.tick() => {
                    if last_received.elapsed() > PEER_TIMEOUT {
                        return Err(CloseReason::TimedOut);
                    }
                    self.send(Message::Ping(vec![].into())).await?;
                }
                event = subscription.events.recv() => match event {
                    Ok(event) => self.send_event(&event).await?,
                    Err(RecvError::Lagged(_)) => subscription = self.subscribe(true).await?,
                    // The broadcast sends `SessionEnded` before it is dropped.
                    Err(RecvError::Closed) => return Err(CloseReason::SessionEnded),
                },
            }
        }
    }

    /// Subscribes and sends the snapshot. After a lag, also sends that output of each terminal was skipped.
    async fn subscribe(&mut self, lagged: bool) -> Result<Subscription, CloseReason> {
        let subscription = self.session.broadcast.subscribe();
        for event in &subscription.snapshot {
            self.send_event(event).await?;
            if let (true, TerminalEvent::Terminal { number, .. }) = (lagged, event) {
                METRICS.followers_skipped.inc();
                self.send(ToPage::Skipped { number: *number }.frame()).await?;
            }
        }
        Ok(subscription)
    }

    async fn send_event(&mut self, event: &TerminalEvent) -> Result<(), CloseReason> {
        self.send(event_frame(event)).await?;
        if matches!(event, TerminalEvent::SessionEnded(_)) { Err(CloseReason::SessionEnded) } else { Ok(()) }
    }

    async fn handle(&mut self, received: Option<Result<Message, axum::Error>>) -> Result<(), CloseReason> {
        match received {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(FromPage::Ping) => self.send(ToPage::Pong.frame()).await,
                Err(_) => Err(CloseReason::UnexpectedMessage),
            },
            Some(Ok(Message::Binary(_))) => Err(CloseReason::UnexpectedMessage),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(CloseReason::Disconnected),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), CloseReason> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(sent) => sent.map_err(|_| CloseReason::Disconnected),
            Err(_) => Err(CloseReason::TimedOut),
        }
    }
}
