//! A client of the console's live feed, over a real WebSocket, with the sessions that it shows.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::http::StatusCode;
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::programs::Console;
use crate::wait::default_timeout;
use crate::websocket::{Header, Socket, connect};

/// An open page.
pub struct FeedPage {
    socket: Socket,
    /// What it shows: sessions by their uid.
    pub shown: BTreeMap<String, Value>,
    /// Whether the last message said the feed is live.
    pub live: bool,
    sequence: u64,
    missing_parts: u64,
}

impl FeedPage {
    /// Opens one with these headers, and reads until it is live.
    pub async fn open(console: &Console, headers: &[Header]) -> Self {
        let mut page = Self::try_open(console.address, headers).await.unwrap_or_else(|status| panic!("{status}"));
        // A console that has just started says first that it knows nothing yet.
        while !page.live {
            page.snapshot().await;
        }
        page
    }

    /// Tries to open one.
    pub async fn try_open(console: SocketAddr, headers: &[Header]) -> Result<Self, StatusCode> {
        let socket = connect(&format!("ws://{console}/api/v1/feed"), headers).await.map_err(|(status, _)| status)?;
        Ok(Self { socket, shown: BTreeMap::new(), live: false, sequence: 0, missing_parts: 0 })
    }

    /// Reads on to the end of the next snapshot.
    pub async fn snapshot(&mut self) {
        loop {
            let message = self.next().await;
            if message["type"] == "snapshot" && self.missing_parts == 0 {
                return;
            }
        }
    }

    /// Reads on to the next message of this type.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// Reads on until it shows the sessions of these names, in their order, and no other.
    pub async fn shows(&mut self, expected: &[String]) {
        let reading = async {
            while self.sorted_names() != expected {
                self.next().await;
            }
        };
        let read = timeout(default_timeout(), reading).await;
        assert!(read.is_ok(), "it shows {:?}, not {expected:?}", self.sorted_names());
    }

    fn sorted_names(&self) -> Vec<&str> {
        let mut names = self.names();
        names.sort_unstable();
        names
    }

    /// Reads the next message, and applies it to what the page shows.
    pub async fn next(&mut self) -> Value {
        self.try_next().await.unwrap_or_else(|close| panic!("the page was closed: {close:?}"))
    }

    /// The same, for a page that may be closed.
    pub async fn try_next(&mut self) -> Result<Value, Option<CloseFrame>> {
        let message = self.receive().await?;
        self.apply(&message);
        Ok(message)
    }

    /// Reads until the connection closes.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match self.receive().await {
                Ok(message) => self.apply(&message),
                Err(close) => return close,
            }
        }
    }

    /// Leaves, as a browser does whose tab is closed.
    pub async fn leave(mut self) {
        self.socket.close(None).await.expect("a close frame");
    }

    /// Sends a message.
    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("it is read");
    }

    async fn receive(&mut self) -> Result<Value, Option<CloseFrame>> {
        loop {
            let message =
                timeout(default_timeout() * 2, self.socket.next()).await.expect("heartbeats come at the least");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(close))) => return Err(close),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    fn apply(&mut self, message: &Value) {
        let sequence = message["sequence"].as_u64().unwrap_or_else(|| panic!("no number in {message}"));
        match message["type"].as_str().expect("a type") {
            "snapshot" => {
                let data = &message["data"];
                if data["part"] == 1 {
                    self.shown.clear();
                }
                let sessions = data["sessions"].as_array().expect("sessions");
                self.shown.extend(sessions.iter().map(|session| (id(session), session.clone())));
                self.live = data["live"] == true;
                self.missing_parts = data["parts"].as_u64().expect("parts") - data["part"].as_u64().expect("a part");
                self.sequence = 0;
            }
            "heartbeat" | "activity" => assert_eq!(sequence, self.sequence, "something is missing: {message}"),
            "stale" => self.live = false,
            kind => {
                self.sequence += 1;
                assert_eq!(sequence, self.sequence, "something is missing: {message}");
                let (id, session) = (id(&message["data"]), message["data"].clone());
                assert_eq!(message["session_id"], id.as_str());
                match kind {
                    "session_start" => assert!(self.shown.insert(id, session).is_none(), "{message}"),
                    "session_update" => assert!(self.shown.insert(id, session).is_some(), "{message}"),
                    "session_end" => drop(self.shown.remove(&id)),
                    other => panic!("what is {other}?"),
                }
            }
        }
    }

    /// The names of the sessions that it shows.
    pub fn names(&self) -> Vec<&str> {
        self.shown.values().filter_map(|session| session["name"].as_str()).collect()
    }
}

fn id(session: &Value) -> String {
    session["session_id"].as_str().expect("a uid").to_owned()
}
