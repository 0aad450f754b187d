//! Somebody follows a session: its user is told, the audit log and the session's Events have it, and what its terminals show
//! goes out, until the session or the one who follows has had enough.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, close_code};
use k8s_openapi::api::core::v1::ObjectReference;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::audit_log::AuditLog;
use super::broadcast::{Broadcast, TerminalEvent, View};
use super::message;
use super::message::{FromPage, ToPage};
use crate::http::websocket::{HEARTBEAT, PATIENCE, SILENCE, close};
use crate::metrics::METRICS;

/// Why it is over.
enum CloseReason {
    /// The session is over, and they know.
    Over,
    /// They have left, or their network has.
    Gone,
    /// They answer nothing, or take nothing.
    Silent,
    /// They say what nobody says who only looks.
    Spoke,
    /// The gateway ends.
    Leaving,
}

/// A session that can be observed.
pub struct ObservedSession {
    /// What its terminals show.
    pub stage: Arc<Broadcast>,
    /// Where observers are noted.
    pub audit: Arc<AuditLog>,
    /// The name and uid of its object.
    pub reference: ObjectReference,
}

/// Somebody who follows a session.
pub struct ObserverConnection {
    /// The session.
    pub staged: ObservedSession,
    /// The Kubernetes user name.
    pub who: String,
    /// The way to them.
    pub socket: WebSocket,
    /// Is cancelled when the gateway ends.
    pub stop: CancellationToken,
}

impl ObserverConnection {
    /// Shows the session until that is over.
    pub async fn run(mut self) {
        METRICS.followers.inc();
        self.staged.stage.tell(format!("bastion: {} is watching this session", self.who));
        self.staged.audit.followed(&self.who, "started");
        let Err(reason) = self.show().await;
        self.staged.audit.followed(&self.who, "ended");
        self.staged.stage.tell(format!("bastion: {} is no longer watching this session", self.who));
        METRICS.followers.dec();
        self.part(&reason).await;
    }

    async fn part(mut self, reason: &CloseReason) {
        let (code, reason) = match reason {
            CloseReason::Gone => return,
            CloseReason::Over => (close_code::NORMAL, ""),
            CloseReason::Silent => (close_code::AGAIN, "no sign of life; connect again"),
            CloseReason::Spoke => (close_code::POLICY, "a session that is followed takes no input"),
            CloseReason::Leaving => (close_code::AWAY, "this gateway ends"),
        };
        let _ = timeout(PATIENCE, self.socket.send(close(code, reason.to_owned()))).await;
    }

    async fn show(&mut self) -> Result<Infallible, CloseReason> {
        let audit = self.staged.audit.clone();
        let [session, user, target, login] = audit.about();
        self.say(ToPage::Following { session, user, target, login }.frame()).await?;
        let (stop, mut view) = (self.stop.clone(), self.view(false).await?);
        let (mut heartbeat, mut heard) = (interval(HEARTBEAT), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(CloseReason::Leaving),
                said = self.socket.recv() => {
                    heard = Instant::now();
                    self.heed(said).await?;
                }
                _ = heartbeat.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(CloseReason::Silent);
                    }
                    self.say(Message::Ping(vec![].into())).await?;
                }
                what = view.then.recv() => match what {
                    Ok(what) => self.shown(&what).await?,
                    Err(RecvError::Lagged(_)) => view = self.view(true).await?,
                    // It says that it is over before it goes.
                    Err(RecvError::Closed) => return Err(CloseReason::Over),
                },
            }
        }
    }

    /// Shows what there is. Whoever could not keep up learns of each terminal that something of it is left out.
    async fn view(&mut self, again: bool) -> Result<View, CloseReason> {
        let view = self.staged.stage.view();
        for what in &view.now {
            self.shown(what).await?;
            if let (true, TerminalEvent::Terminal { number, .. }) = (again, what) {
                METRICS.followers_skipped.inc();
                self.say(ToPage::Skipped { number: *number }.frame()).await?;
            }
        }
        Ok(view)
    }

    async fn shown(&mut self, what: &TerminalEvent) -> Result<(), CloseReason> {
        self.say(message::shown(what)).await?;
        if matches!(what, TerminalEvent::Over(_)) { Err(CloseReason::Over) } else { Ok(()) }
    }

    async fn heed(&mut self, said: Option<Result<Message, axum::Error>>) -> Result<(), CloseReason> {
        match said {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                Ok(FromPage::Ping) => self.say(ToPage::Pong.frame()).await,
                Err(_) => Err(CloseReason::Spoke),
            },
            Some(Ok(Message::Binary(_))) => Err(CloseReason::Spoke),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(CloseReason::Gone),
        }
    }

    async fn say(&mut self, what: Message) -> Result<(), CloseReason> {
        match timeout(PATIENCE, self.socket.send(what)).await {
            Ok(sent) => sent.map_err(|_| CloseReason::Gone),
            Err(_) => Err(CloseReason::Silent),
        }
    }
}
