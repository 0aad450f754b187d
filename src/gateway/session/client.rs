//! The user's connection, as its session sees it: an SSH client or a web terminal.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::Disconnect;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::api::Protocol;
use crate::gateway::bridge::{ChannelOpen, UserConnection};
use crate::gateway::net::ConnectionHealth;
use crate::lifecycle::Cause;
use crate::text::printable;

/// How long each step of closing the user's connection may take before its socket is cut off.
pub const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The user's connection.
pub struct ClientSide {
    /// The client's IP address and TCP port.
    pub peer: SocketAddr,
    /// The client's software version: from its SSH identification string (RFC 4253, section 4.2) or its `User-Agent` header.
    pub software: String,
    /// Sends to the client.
    pub connection: ClientConnection,
    /// Cancelled when the connection has ended.
    pub gone: CancellationToken,
    /// Cuts the connection off when cancelled.
    pub cut: CancellationToken,
    /// The state of the TCP connection.
    pub health: ConnectionHealth,
    /// The channels that the user opens.
    pub opened: mpsc::Receiver<ChannelOpen>,
    /// A channel that the user opened before the session began.
    pub first: Option<ChannelOpen>,
}

/// Sends to the user's client.
pub enum ClientConnection {
    /// An SSH client.
    Ssh(UserConnection),
    /// A web terminal.
    Web(WebPage),
}

/// The page of a web terminal. After [`ClientSide::gone`] is cancelled, the page can still read the session's end.
pub struct WebPage {
    /// Sends events to the page.
    pub events: mpsc::Sender<ClientEvent>,
    /// Why the page closed its connection, if that is known.
    pub close_cause: Arc<OnceLock<Cause>>,
    /// Cancelled when the page reads no more events.
    pub closed: CancellationToken,
}

/// The events of a session that its page receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The session's object exists, with this name and uid.
    Started(Arc<str>, String),
    /// The session was refused or has ended.
    Closed(CloseReason),
}

/// Why the gateway closes the user's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The user left the menu.
    Left,
    /// The user gets no session, and reads this text.
    Refused(String),
    /// The session has ended.
    Ended(Cause),
}

impl CloseReason {
    /// Returns the text that the user reads, or `None` if the user is gone or knows the reason.
    pub fn notice(&self) -> Option<String> {
        match self {
            Self::Left => None,
            Self::Refused(why) => Some(printable(why)),
            Self::Ended(cause) => cause.notice(),
        }
    }
}

impl ClientSide {
    /// Returns the protocol of the user's client.
    pub const fn protocol(&self) -> Protocol {
        match self.connection {
            ClientConnection::Ssh(_) => Protocol::SSH,
            ClientConnection::Web(_) => Protocol::Web,
        }
    }

    /// Returns the client's IP address. An IPv4 address that is mapped to IPv6 is shown as IPv4.
    pub fn address(&self) -> String {
        self.peer.ip().to_canonical().to_string()
    }

    /// Returns why the connection to a web terminal ended, if the page gave a reason or fell silent; `None` for an SSH client.
    pub fn close_cause(&self) -> Option<Cause> {
        match &self.connection {
            ClientConnection::Ssh(_) => None,
            ClientConnection::Web(page) => page.close_cause.get().cloned(),
        }
    }

    /// Sends the name and uid of the session to a web terminal.
    pub fn notify_started(&self, name: &Arc<str>, uid: String) {
        if let ClientConnection::Web(page) = &self.connection {
            // The channel has room for all events of a session.
            let _ = page.events.try_send(ClientEvent::Started(name.clone(), uid));
        }
    }

    /// Closes the connection with a reason, and cuts off the socket if the client does not close the connection in time.
    pub async fn disconnect(&mut self, reason: CloseReason) {
        match &self.connection {
            ClientConnection::Ssh(connection) => {
                // Most clients disconnect by themselves once their channels are closed.
                let _ = timeout(DISCONNECT_TIMEOUT, self.gone.cancelled()).await;
                let text = reason.notice().unwrap_or_else(|| "session ended".to_owned());
                let disconnect = connection.handle.disconnect(Disconnect::ByApplication, text, "en".to_owned());
                let _ = timeout(DISCONNECT_TIMEOUT, disconnect).await;
                let _ = timeout(DISCONNECT_TIMEOUT, self.gone.cancelled()).await;
            }
            ClientConnection::Web(page) => {
                let _ = page.events.try_send(ClientEvent::Closed(reason));
                let _ = timeout(2 * DISCONNECT_TIMEOUT, page.closed.cancelled()).await;
            }
        }
        self.cut.cancel();
    }
}
