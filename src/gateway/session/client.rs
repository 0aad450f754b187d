//! The user's connection, as its session sees it: an SSH client's, or the WebSocket of a page.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::Disconnect;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::Protocol;
use crate::gateway::bridge::{Opened, UserConnection};
use crate::gateway::net::Health;
use crate::lifecycle::Cause;
use crate::text::printable;

/// How long the user's side has for each step of taking its leave, before its socket is cut.
pub const GOODBYE: Duration = Duration::from_secs(1);

/// The user's connection.
pub struct ClientSide {
    /// Where the user came from.
    pub peer: SocketAddr,
    /// What the client says that it is.
    pub software: String,
    /// The way to send to it.
    pub connection: Connected,
    /// Cancelled when the connection has ended.
    pub gone: CancellationToken,
    /// Cancelling it cuts the connection off.
    pub cut: CancellationToken,
    /// A look at its health.
    pub health: Health,
    /// Channels that the user opens.
    pub opened: mpsc::Receiver<Opened>,
    /// A channel that was opened before there was a session.
    pub first: Option<Opened>,
}

/// The way to send to the user's client, by what it speaks.
pub enum Connected {
    /// SSH.
    Ssh(UserConnection),
    /// The web terminal.
    Web(Page),
}

/// The page of a web terminal, as its session sees it. That it has left, as `gone` says, does not mean that it reads nothing
/// more: it is told of the end still.
pub struct Page {
    /// Takes what the page is told.
    pub news: mpsc::Sender<ClientEvent>,
    /// How it left, where that is known.
    pub left: Arc<OnceLock<Cause>>,
    /// Cancelled when nothing more can be told.
    pub closed: CancellationToken,
}

/// What a page is told of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The session is on record, under this name and uid.
    Opened(Arc<str>, String),
    /// There is no session, or no more.
    Over(CloseReason),
}

/// Why a client is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The user wanted to leave.
    Left,
    /// There is no session for the user, who reads why.
    Refused(String),
    /// The session has ended.
    Ended(Cause),
}

impl CloseReason {
    /// What the user reads; nothing where the user's side is gone or knows.
    pub fn words(&self) -> Option<String> {
        match self {
            Self::Left => None,
            Self::Refused(why) => Some(printable(why)),
            Self::Ended(cause) => cause.notice(),
        }
    }
}

impl ClientSide {
    /// What the user's client speaks.
    pub const fn protocol(&self) -> Protocol {
        match self.connection {
            Connected::Ssh(_) => Protocol::SSH,
            Connected::Web(_) => Protocol::Web,
        }
    }

    /// The IP address that the user came from.
    pub fn address(&self) -> String {
        self.peer.ip().to_canonical().to_string()
    }

    /// How the client left, where it said so, or its silence did.
    pub fn left(&self) -> Option<Cause> {
        match &self.connection {
            Connected::Ssh(_) => None,
            Connected::Web(page) => page.left.get().cloned(),
        }
    }

    /// Tells a page that its session is on record.
    pub fn recorded(&self, name: &Arc<str>, uid: String) {
        if let Connected::Web(page) = &self.connection {
            // There is room for the few things that are told.
            let _ = page.news.try_send(ClientEvent::Opened(name.clone(), uid));
        }
    }

    /// Ends the connection, with a word why, and cuts it off where the client does not go.
    pub async fn leave(&mut self, parting: CloseReason) {
        match &self.connection {
            Connected::Ssh(connection) => {
                // Most clients leave by themselves when their channels are closed.
                let _ = timeout(GOODBYE, self.gone.cancelled()).await;
                let words = parting.words().unwrap_or_else(|| "session ended".to_owned());
                let farewell = connection.handle.disconnect(Disconnect::ByApplication, words, "en".to_owned());
                let _ = timeout(GOODBYE, farewell).await;
                let _ = timeout(GOODBYE, self.gone.cancelled()).await;
            }
            Connected::Web(page) => {
                let _ = page.news.try_send(ClientEvent::Over(parting));
                let _ = timeout(2 * GOODBYE, page.closed.cancelled()).await;
            }
        }
        self.cut.cancel();
    }
}
