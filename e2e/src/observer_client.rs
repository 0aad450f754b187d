//! Somebody who follows a session, through a console: a real WebSocket, and what it was shown.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::programs::Console;
use crate::wait::patience;

/// An open page.
pub struct Follower {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What each terminal was shown to have, by its number.
    pub output: BTreeMap<u32, Vec<u8>>,
    /// What it was told besides, and what it has not asked for yet.
    pub told: Vec<Value>,
}

impl Follower {
    /// Follows the session of this name, with this token.
    pub async fn open(console: &Console, session: &str, token: &str) -> Self {
        Self::try_open(console, session, token).await.unwrap_or_else(|(status, said)| panic!("{status}: {said}"))
    }

    /// Tries to.
    pub async fn try_open(console: &Console, session: &str, token: &str) -> Result<Self, (StatusCode, String)> {
        let url = format!("ws://{}/api/v1/sessions/{session}/follow", console.address);
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("follow.bastion.dev"));
        headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).expect("a value"));
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self { socket, output: BTreeMap::new(), told: vec![] }),
            Err(Error::Http(answer)) => {
                let said = String::from_utf8_lossy(answer.body().as_deref().unwrap_or_default()).into_owned();
                Err((answer.status(), said))
            }
            Err(error) => panic!("no WebSocket: {error}"),
        }
    }

    /// Reads on until a terminal shows this text.
    pub async fn sees(&mut self, text: &str) {
        while !self.screens().contains(text) {
            if let Err(close) = self.next().await {
                panic!("closed ({close:?}) before it saw {text:?}: {:?}", self.told);
            }
        }
    }

    /// What all terminals show.
    pub fn screens(&self) -> String {
        self.output.values().map(|output| String::from_utf8_lossy(output)).collect()
    }

    /// Reads on until it was told something of this type, and takes it.
    pub async fn told(&mut self, kind: &str) -> Value {
        loop {
            if let Some(found) = self.told.iter().position(|it| it["type"] == kind) {
                return self.told.remove(found);
            }
            if let Err(close) = self.next().await {
                panic!("closed ({close:?}) before it was told {kind}: {:?}", self.told);
            }
        }
    }

    /// Says something.
    pub async fn says(&mut self, what: Message) {
        self.socket.send(what).await.expect("it is read");
    }

    /// A sign of life, which is answered.
    pub async fn pings(&mut self) {
        self.says(Message::text(json!({"type": "ping"}).to_string())).await;
        self.told("pong").await;
    }

    /// Reads on to the end.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            if let Err(close) = self.next().await {
                return close;
            }
        }
    }

    async fn next(&mut self) -> Result<(), Option<CloseFrame>> {
        match timeout(patience(), self.socket.next()).await.expect("pings come at the least") {
            Some(Ok(Message::Binary(frame))) => {
                let (number, bytes) = frame.split_first_chunk().expect("a number");
                self.output.entry(u32::from_be_bytes(*number)).or_default().extend_from_slice(bytes);
            }
            Some(Ok(Message::Text(text))) => self.told.push(serde_json::from_str(&text).expect("JSON")),
            Some(Ok(Message::Close(close))) => return Err(close),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
        Ok(())
    }
}
