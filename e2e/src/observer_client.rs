//! A client that observes a session through a console, over a real WebSocket.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::programs::Console;
use crate::wait::default_timeout;
use crate::websocket::{Socket, bearer, connect};

/// An open connection, with the output that it received.
pub struct ObserverClient {
    socket: Socket,
    /// The output of each terminal, by the terminal's number.
    pub output: BTreeMap<u32, Vec<u8>>,
    /// The other messages that it received and that [`ObserverClient::wait_for`] has not taken yet.
    pub messages: Vec<Value>,
}

impl ObserverClient {
    /// Observes the session of this name, with this token.
    pub async fn open(console: &Console, session: &str, token: &str) -> Self {
        Self::try_open(console, session, token).await.unwrap_or_else(|(status, body)| panic!("{status}: {body}"))
    }

    /// Tries to observe it. Returns the status and the body of a refusal.
    pub async fn try_open(console: &Console, session: &str, token: &str) -> Result<Self, (StatusCode, String)> {
        let url = format!("ws://{}/api/v1/sessions/{session}/follow", console.address);
        let protocol = ("sec-websocket-protocol", "follow.bastion.dev".to_owned());
        let socket = connect(&url, &[protocol, bearer(token)]).await?;
        Ok(Self { socket, output: BTreeMap::new(), messages: vec![] })
    }

    /// Reads until a terminal shows this text.
    pub async fn sees(&mut self, text: &str) {
        while !self.screens().contains(text) {
            if let Err(close) = self.next().await {
                panic!("closed ({close:?}) before it saw {text:?}: {:?}", self.messages);
            }
        }
    }

    /// Returns the output of all terminals.
    pub fn screens(&self) -> String {
        self.output.values().map(|output| String::from_utf8_lossy(output)).collect()
    }

    /// Reads until a message of this type arrives, and takes it.
    pub async fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            if let Some(found) = self.messages.iter().position(|it| it["type"] == kind) {
                return self.messages.remove(found);
            }
            if let Err(close) = self.next().await {
                panic!("closed ({close:?}) before a message {kind}: {:?}", self.messages);
            }
        }
    }

    /// Sends a message.
    pub async fn says(&mut self, what: Message) {
        self.socket.send(what).await.expect("it is read");
    }

    /// Sends a ping, and waits for the answer.
    pub async fn pings(&mut self) {
        self.says(Message::text(json!({"type": "ping"}).to_string())).await;
        self.wait_for("pong").await;
    }

    /// Reads until the connection closes.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Err(close) = self.next().await {
                return close;
            }
        }
    }

    async fn next(&mut self) -> Result<(), Option<CloseFrame>> {
        match timeout(default_timeout(), self.socket.next()).await.expect("pings come at the least") {
            Some(Ok(Message::Binary(frame))) => {
                let (number, bytes) = frame.split_first_chunk().expect("a number");
                self.output.entry(u32::from_be_bytes(*number)).or_default().extend_from_slice(bytes);
            }
            Some(Ok(Message::Text(text))) => self.messages.push(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(close))) => return Err(close),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
        Ok(())
    }
}
