//! Reads a page's WebSocket: input, requests and acknowledgements.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use axum::extract::ws::{Message, WebSocket, close_code};
use futures::StreamExt;
use futures::stream::SplitStream;
use tokio::sync::{Notify, mpsc};

use super::files::FilesOpener;
use super::flow_control::{Inbound, Outbound, Violation, flow};
use super::message::{Channel, FromPage};
use crate::gateway::bridge::{Request, Size};
use crate::gateway::session::Activity;
use crate::lifecycle::Cause;

/// The bytes of an SFTP channel that a page may be sent before it acknowledges them.
const FILES_WINDOW: usize = 1024 * 1024;
/// The code that stands for a close frame without one (RFC 6455, section 7.4.1).
const NO_STATUS: u16 = 1005;

/// The reading half of a page's WebSocket.
pub struct Reader<'a> {
    /// Tells the writer to answer a ping.
    pub pong: &'a Notify,
    /// The input of the shell.
    pub shell: Inbound,
    /// The input of the SFTP channel.
    pub files: Option<Inbound>,
    /// Opens the SFTP channel.
    pub opener: FilesOpener,
    /// Hands the output of a new SFTP channel to the writer.
    pub opened: mpsc::Sender<Outbound>,
    /// Notes the user's activity.
    pub activity: &'a Activity,
    /// Set when the user closes the tab.
    pub left: &'a OnceLock<Cause>,
}

impl Reader<'_> {
    /// Reads until the page disconnects or breaks the protocol.
    pub async fn run(mut self, mut stream: SplitStream<WebSocket>) -> Result<(), Violation> {
        while let Some(Ok(message)) = stream.next().await {
            if self.receive(message)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Handles a message. Breaks at the page's close.
    ///
    /// # Errors
    /// The page breaks the protocol.
    pub fn receive(&mut self, message: Message) -> Result<ControlFlow<()>, Violation> {
        match message {
            Message::Binary(frame) => self.data(&frame)?,
            Message::Text(text) => {
                let message = serde_json::from_str(&text).map_err(|_| "bastion: the page sends an unknown message")?;
                self.handle(message)?;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(frame) => {
                let code = frame.map_or(NO_STATUS, |frame| frame.code);
                if matches!(code, close_code::NORMAL | close_code::AWAY | NO_STATUS) {
                    let _ = self.left.set(Cause::TabClosed);
                }
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn data(&mut self, frame: &[u8]) -> Result<(), Violation> {
        let (channel, bytes) = Channel::split(frame).ok_or("bastion: the page sends on an unknown channel")?;
        self.activity.record_input();
        // Data that was in flight when the channel closed is dropped.
        self.inbound(channel).map_or(Ok(()), |inbound| inbound.data(bytes))
    }

    fn handle(&mut self, message: FromPage) -> Result<(), Violation> {
        match message {
            FromPage::Resize { cols: 0, .. } | FromPage::Resize { rows: 0, .. } => Ok(()),
            FromPage::Resize { cols, rows } => {
                let size = Size { columns: cols.into(), rows: rows.into(), width: 0, height: 0 };
                self.activity.resized(size.columns, size.rows);
                self.shell.request(Request::WindowChange(size))
            }
            FromPage::Ack { channel, bytes } => {
                if let Some(inbound) = self.inbound(channel) {
                    inbound.acknowledged(bytes);
                }
                Ok(())
            }
            FromPage::OpenFiles => self.open_files(),
            FromPage::CloseFiles => {
                if let Some(files) = &self.files {
                    files.close();
                }
                Ok(())
            }
            FromPage::Ping => {
                self.pong.notify_one();
                Ok(())
            }
        }
    }

    fn open_files(&mut self) -> Result<(), Violation> {
        if self.files.as_ref().is_some_and(|files| !files.is_closed()) {
            return Err("bastion: the page has an open channel for files already");
        }
        if let Some(end) = self.opener.open() {
            let (inbound, outbound) = flow(Channel::Files, end, FILES_WINDOW);
            self.files = Some(inbound);
            // The previous channel is closed, so there is room. It fails only if the writer has ended.
            let _ = self.opened.try_send(outbound);
        }
        Ok(())
    }

    fn inbound(&mut self, channel: Channel) -> Option<&mut Inbound> {
        match channel {
            Channel::Shell => Some(&mut self.shell),
            Channel::Files => self.files.as_mut(),
        }
    }
}
