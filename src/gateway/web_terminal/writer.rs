//! Writes a page's WebSocket: output, notices, acknowledgements, pings and the end of the session.

use axum::extract::ws::{Message, WebSocket, close_code};
use bytes::Bytes;
use futures::SinkExt;
use futures::stream::SplitSink;
use tokio::sync::{Notify, mpsc};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::flow_control::{Outbound, Step};
use super::message::{Channel, ToPage, end_frame};
use crate::gateway::session::ClientEvent;
use crate::http::websocket::close_frame;
use crate::lifecycle::KEEPALIVE_INTERVAL;

/// The names that the page shows of its session.
pub struct SessionNames {
    /// The BastionUser.
    pub user: String,
    /// The target.
    pub target: String,
    /// The login on the target.
    pub login: String,
}

/// The writing half of a page's WebSocket.
pub struct Writer<'a> {
    /// The WebSocket.
    pub sink: &'a mut SplitSink<WebSocket, Message>,
    /// Notified when the page wants a pong.
    pub pong: &'a Notify,
    /// The output of the shell.
    pub shell: Outbound,
    /// The output of new SFTP channels.
    pub opened: mpsc::Receiver<Outbound>,
    /// The output of the SFTP channel, and its last notice.
    pub files: Option<(Outbound, String)>,
    /// Receives the beginning and end of the session.
    pub events: &'a mut mpsc::Receiver<ClientEvent>,
    /// Cancelled when the shell closes.
    pub gone: &'a CancellationToken,
    /// The names that the page shows.
    pub names: &'a SessionNames,
    /// Whether the user may transfer files.
    pub has_files: bool,
}

impl Writer<'_> {
    /// Writes until the page has been sent the end of the session.
    pub async fn run(&mut self) -> Result<(), axum::Error> {
        let mut pings = interval(KEEPALIVE_INTERVAL);
        loop {
            tokio::select! {
                // The shell takes precedence over files.
                biased;
                event = self.events.recv() => match event {
                    Some(ClientEvent::Started(name, id)) => {
                        let SessionNames { user, target, login } = self.names;
                        let files = self.has_files;
                        self.send(ToPage::Session { name: &name, id: &id, user, target, login, files }).await?;
                    }
                    Some(ClientEvent::Closed(reason)) => {
                        while let Some(step) = self.shell.remaining() {
                            self.shell_step(step).await?;
                        }
                        self.sink.send(Message::Text(end_frame(&reason))).await?;
                        return self.sink.send(close_frame(close_code::NORMAL, String::new())).await;
                    }
                    None => return Ok(()),
                },
                _ = pings.tick() => self.sink.send(Message::Ping(Bytes::new())).await?,
                () = self.pong.notified() => self.send(ToPage::Pong).await?,
                step = self.shell.next() => self.shell_step(step).await?,
                step = next_files_step(&mut self.files) => self.files_step(step).await?,
                Some(files) = self.opened.recv() => self.files = Some((files, String::new())),
            }
        }
    }

    async fn shell_step(&mut self, step: Step) -> Result<(), axum::Error> {
        match step {
            Step::Frame(frame) => self.sink.send(Message::Binary(frame)).await,
            Step::Acknowledge(bytes) => self.send(ToPage::Ack { channel: Channel::Shell, bytes }).await,
            Step::Notice(text) => self.send(ToPage::Notice { text: &text }).await,
            Step::Closed => {
                self.gone.cancel();
                Ok(())
            }
        }
    }

    async fn files_step(&mut self, step: Step) -> Result<(), axum::Error> {
        match step {
            Step::Frame(frame) => self.sink.send(Message::Binary(frame)).await,
            Step::Acknowledge(bytes) => self.send(ToPage::Ack { channel: Channel::Files, bytes }).await,
            Step::Notice(text) => {
                if let Some((_, notice)) = &mut self.files {
                    *notice = text;
                }
                Ok(())
            }
            Step::Closed => {
                let message = self.files.take().map(|(_, notice)| notice).unwrap_or_default();
                self.send(ToPage::FilesClosed { message: &message }).await
            }
        }
    }

    async fn send(&mut self, message: ToPage<'_>) -> Result<(), axum::Error> {
        self.sink.send(Message::Text(message.frame())).await
    }
}

async fn next_files_step(files: &mut Option<(Outbound, String)>) -> Step {
    match files {
        Some((outbound, _)) => outbound.next().await,
        None => std::future::pending().await,
    }
}
