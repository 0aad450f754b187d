//! The entry point of the fuzz target for what a page sends.

use std::sync::OnceLock;
use std::time::Instant;

use axum::extract::ws::{CloseFrame, Message};
use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::{Notify, mpsc};

use super::files::FilesOpener;
use super::flow_control::{Outbound, Violation, flow};
use super::message::Channel;
use super::reader::Reader;
use crate::gateway::bridge::{ChannelMessage, ChannelOpen, PAGE_WINDOW, Request, UserChannel, user_channel};
use crate::gateway::session::Activity;
use crate::memory_budget::MEMORY_BUDGET;

/// The bytes that a page may be sent before it acknowledges them.
const WINDOW: usize = 1024 * 1024;

/// What a page sends, and when the session takes it.
#[derive(Clone, Copy, Debug)]
pub enum PageEvent<'a> {
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
    /// A close frame with this code.
    Close(u16),
    /// The session takes the shell's next message, and the writer takes its next step.
    Take,
}

/// Has a web terminal take these events in turn.
///
/// # Errors
/// The page breaks the protocol.
///
/// # Panics
/// More input waits than the page has window for, or the memory budget, which fuzzing leaves without a limit, has no room.
pub fn receive(events: &[PageEvent<'_>]) -> Result<(), Violation> {
    let (pong, activity, left) = (Notify::new(), Activity::new(Instant::now()), OnceLock::new());
    let ((opened, mut opens), (to_writer, mut outputs)) = (mpsc::channel(16), mpsc::channel(1));
    let memory = MEMORY_BUDGET.of_user("fuzz");
    let (shell_channel, end) = user_channel::in_process(&memory).expect("the budget has no limit");
    let (shell, mut shell_output) = flow(Channel::Shell, end, WINDOW);
    let opener = FilesOpener { requests: Ok(vec![Request::Subsystem("sftp".to_owned())]), opened, memory };
    let mut reader =
        Reader { pong: &pong, shell, files: None, opener, opened: to_writer, activity: &activity, left: &left };
    let mut files_output: Option<Outbound> = None;
    let mut waiting = 0;
    for event in events {
        if let Some(message) = message(event) {
            if reader.receive(message)?.is_break() {
                return Ok(());
            }
            waiting += shell_bytes(event);
        } else {
            waiting -= take(&shell_channel);
            // A session without room closes the channel for files at once.
            while let Ok(ChannelOpen::Companion(_)) = opens.try_recv() {}
            files_output = outputs.try_recv().ok().or(files_output);
            for output in [Some(&mut shell_output), files_output.as_mut()].into_iter().flatten() {
                let _ = output.next().now_or_never();
            }
        }
        assert!(waiting <= PAGE_WINDOW as usize, "{waiting} bytes wait");
    }
    Ok(())
}

fn message(event: &PageEvent<'_>) -> Option<Message> {
    match event {
        PageEvent::Text(text) => Some(Message::Text((*text).into())),
        PageEvent::Binary(frame) => Some(Message::Binary(Bytes::copy_from_slice(frame))),
        PageEvent::Close(code) => Some(Message::Close(Some(CloseFrame { code: *code, reason: "".into() }))),
        PageEvent::Take => None,
    }
}

/// Returns the bytes of input for the shell.
fn shell_bytes(event: &PageEvent<'_>) -> usize {
    match event {
        PageEvent::Binary(frame) => match Channel::split(frame) {
            Some((Channel::Shell, bytes)) => bytes.len(),
            Some((Channel::Files, _)) | None => 0,
        },
        PageEvent::Text(_) | PageEvent::Close(_) | PageEvent::Take => 0,
    }
}

/// Takes the next message out of a channel. Returns the bytes of its data.
fn take(channel: &UserChannel) -> usize {
    match channel.next().now_or_never() {
        Some(ChannelMessage::Data(data) | ChannelMessage::ExtendedData(_, data)) => data.len(),
        Some(ChannelMessage::Control(_)) | None => 0,
    }
}
