//! Joins a page's WebSocket to the channels of its session: the shell and SFTP.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::ws::{WebSocket, close_code};
use futures::{SinkExt, StreamExt};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::files::FilesOpener;
use super::flow_control::flow;
use super::message::Channel;
use super::reader::Reader;
use super::writer::{SessionNames, Writer};
use crate::gateway::bridge::UserEnd;
use crate::gateway::session::{Activity, ClientEvent, DISCONNECT_TIMEOUT};
use crate::http::websocket::close_frame;
use crate::lifecycle::Cause;

/// The bytes of the shell that a page may be sent before it acknowledges them.
const SHELL_WINDOW: usize = 128 * 1024;
/// How long to read on after a failed write, for a close frame that was sent before.
const CLOSE_FRAME_TIMEOUT: Duration = Duration::from_millis(500);

/// A page whose session is running or about to start.
pub struct PageSocket {
    /// The user's end of the shell's channel.
    pub end: UserEnd,
    /// Receives the beginning and end of the session.
    pub events: mpsc::Receiver<ClientEvent>,
    /// Cancelled when the page has left, or its shell has closed.
    pub gone: CancellationToken,
    /// Cancelled to cut the connection.
    pub cut: CancellationToken,
    /// Cancelled when the WebSocket is closed.
    pub closed: CancellationToken,
    /// Set to the cause if the page leaves first.
    pub left: Arc<OnceLock<Cause>>,
    /// Notes the user's activity.
    pub activity: Arc<Activity>,
    /// The names that the page shows.
    pub names: SessionNames,
    /// Opens the SFTP channel.
    pub files: FilesOpener,
}

impl PageSocket {
    /// Joins both until the page leaves, or has been sent the end of the session.
    pub async fn run(self, socket: WebSocket) {
        let Self { end, mut events, gone, cut, closed, left, activity, names, files: opener } = self;
        let (mut sink, stream) = socket.split();
        let pong = &Notify::new();
        let (shell_input, shell) = flow(Channel::Shell, end, SHELL_WINDOW);
        let has_files = opener.is_permitted();
        // One SFTP channel is open at a time.
        let (file_channels, new_channels) = mpsc::channel(1);
        let reader = Reader {
            pong,
            shell: shell_input,
            files: None,
            opener,
            opened: file_channels,
            activity: &activity,
            left: &left,
        };
        let mut reading = pin!(reader.run(stream));
        let mut writer = Writer {
            sink: &mut sink,
            pong,
            shell,
            opened: new_channels,
            files: None,
            events: &mut events,
            gone: &gone,
            names: &names,
            has_files,
        };
        let end_sent = tokio::select! {
            biased;
            () = cut.cancelled() => Ok(false),
            read = &mut reading => read.map(|()| false),
            written = writer.run() => {
                if written.is_err() {
                    // A tab that is closed during output sends its close frame before it stops reading.
                    let _ = timeout(CLOSE_FRAME_TIMEOUT, &mut reading).await;
                }
                Ok(written.is_ok())
            }
        };
        gone.cancel();
        match end_sent {
            // Waits for the page's close frame.
            Ok(true) => drop(timeout(DISCONNECT_TIMEOUT, &mut reading).await),
            Ok(false) => {}
            Err(violation) => {
                let close = close_frame(close_code::POLICY, violation.to_owned());
                let _ = timeout(DISCONNECT_TIMEOUT, sink.send(close)).await;
            }
        }
        let _ = timeout(DISCONNECT_TIMEOUT, sink.close()).await;
        closed.cancel();
    }
}
