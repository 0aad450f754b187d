//! A page with the gateway's web terminal: a real WebSocket, what it shows, what it may still send, and its files.

use std::net::SocketAddr;

use axum::http::StatusCode;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::wait::default_timeout;
use crate::websocket::{Header, Socket, connect};

/// How many bytes a page may send before the gateway grants more.
const MAY_SEND: u64 = 512 * 1024;
/// As much is sent at once.
const PIECE: usize = 16 * 1024;
/// After so many bytes shown the page says so.
const SHOWN: u64 = 16 * 1024;

/// The first byte of a frame of the terminal's, and of one of files.
const SHELL: u8 = 0;
const FILES: u8 = 1;

/// An open page.
pub struct TerminalPage {
    socket: Socket,
    /// Everything that the terminal was sent.
    pub output: Vec<u8>,
    /// Everything that came of files.
    pub files: Vec<u8>,
    /// The other messages that it received.
    pub messages: Vec<Value>,
    /// Whether it says what it has shown.
    pub shows_on: bool,
    shown: u64,
    credit: u64,
}

impl TerminalPage {
    /// Opens one with these headers.
    pub async fn open(gateway: SocketAddr, query: &str, headers: &[Header]) -> Self {
        Self::try_open(gateway, query, headers).await.unwrap_or_else(|(status, body)| panic!("{status}: {body}"))
    }

    /// Tries to open one.
    pub async fn try_open(gateway: SocketAddr, query: &str, headers: &[Header]) -> Result<Self, (StatusCode, String)> {
        let url = format!("ws://{gateway}/terminal/v1/connect?{query}");
        let protocol = ("sec-websocket-protocol", "terminal.bastion.dev".to_owned());
        let socket = connect(&url, &[&[protocol], headers].concat()).await?;
        let (output, files, messages) = Default::default();
        Ok(Self { socket, output, files, messages, shows_on: true, shown: 0, credit: MAY_SEND })
    }

    /// Types text and Enter.
    pub async fn types(&mut self, line: &str) {
        self.sends(format!("{line}\r").as_bytes()).await;
    }

    /// Sends bytes, as far as there is room for them at a time.
    pub async fn sends(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            while self.credit < piece.len() as u64 {
                assert!(self.next().await.is_ok(), "it is told of more room");
            }
            self.credit -= piece.len() as u64;
            self.send_on(SHELL, piece).await;
        }
    }

    /// Sends bytes about files: a little.
    pub async fn asks_of_files(&mut self, bytes: &[u8]) {
        self.send_on(FILES, bytes).await;
    }

    async fn send_on(&mut self, channel: u8, bytes: &[u8]) {
        let frame = Bytes::from([&[channel], bytes].concat());
        self.socket.send(Message::Binary(frame)).await.expect("it is read");
    }

    /// Sends another message.
    pub async fn says(&mut self, what: Value) {
        self.socket.send(Message::text(what.to_string())).await.expect("it is read");
    }

    /// Reads on until the terminal shows this text.
    pub async fn shows(&mut self, text: &str) {
        while !self.text().contains(text) {
            if let Err(close) = self.next().await {
                panic!("closed ({close:?}) before it showed {text:?}: {} {:?}", self.text(), self.messages);
            }
        }
    }

    /// Reads on until so many bytes have come of files, and takes them all.
    pub async fn hears_of_files(&mut self, bytes: usize) -> Vec<u8> {
        while self.files.len() < bytes {
            if let Err(close) = self.next().await {
                panic!("closed ({close:?}) after {} bytes of files: {:?}", self.files.len(), self.messages);
            }
        }
        std::mem::take(&mut self.files)
    }

    /// What the terminal shows.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Reads until a message of this type arrives.
    pub async fn wait_for(&mut self, kind: &str) -> Value {
        loop {
            if let Some(found) = self.messages.iter().find(|it| it["type"] == kind) {
                return found.clone();
            }
            if let Err(close) = self.next().await {
                panic!("closed ({close:?}) before a message {kind}: {} {:?}", self.text(), self.messages);
            }
        }
    }

    /// Reads until the connection closes.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Err(close) = self.next().await {
                return close;
            }
        }
    }

    /// Leaves, as a browser does whose tab is closed.
    pub async fn close_tab(mut self) {
        let close = CloseFrame { code: CloseCode::Away, reason: "".into() };
        self.socket.close(Some(close)).await.expect("a close frame");
        // A browser takes what is on its way, and waits for the answer.
        while self.socket.next().await.is_some_and(|message| message.is_ok()) {}
    }

    /// Reads what comes next.
    async fn next(&mut self) -> Result<(), Option<CloseFrame>> {
        match timeout(default_timeout(), self.socket.next()).await.expect("pings come at the least") {
            Some(Ok(Message::Binary(frame))) => match frame.split_first() {
                Some((&SHELL, bytes)) => self.show(bytes).await,
                Some((&FILES, bytes)) => self.files.extend_from_slice(bytes),
                _ => panic!("a frame of no channel: {frame:?}"),
            },
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                if message["type"] == "ack" && message["channel"] == "shell" {
                    self.credit += message["bytes"].as_u64().expect("a number");
                } else {
                    self.messages.push(message);
                }
            }
            Some(Ok(Message::Close(close))) => return Err(close),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
        Ok(())
    }

    async fn show(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
        if self.shows_on && self.output.len() as u64 - self.shown >= SHOWN {
            self.says_shown().await;
        }
    }

    /// Says that everything was shown that came.
    pub async fn says_shown(&mut self) {
        let bytes = self.output.len() as u64 - self.shown;
        self.shown += bytes;
        self.says(json!({"type": "ack", "channel": "shell", "bytes": bytes})).await;
    }
}
