//! The user's side of a `session` channel. An SSH client's channel runs over its SSH connection; a web terminal's runs inside
//! this process.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use russh::Sig;
use russh::server::Handle;
use tokio::sync::{mpsc, watch};

use super::inbox::{ChannelMessage, Inbox};
use super::request::{END_OF_WRITE, FromUser, STDERR};
use super::side::UserSide;
use crate::memory_budget::UserBudget;
use crate::text::{printable, printable_up_to};

/// The window of a channel whose user is in this process, in bytes. It is fixed, because a page is told no larger one. Pages
/// send 512 KiB at most.
pub const PAGE_WINDOW: u32 = 512 * 1024;
/// The longest name of a custom signal that is passed on and kept, in characters.
pub const MAX_SIGNAL_NAME: usize = 32;
/// The longest message of `exit-signal`, and the longest language tag, in characters.
const MAX_SIGNAL_TEXT: usize = 255;
/// The maximum number of messages that wait for an in-process user. Each is at most as long as an SSH packet.
const TO_USER_CAPACITY: usize = 4;

/// The user's side of a `session` channel.
pub enum UserChannel {
    /// A channel of an SSH client.
    Ssh(SshChannel),
    /// A channel whose user is in this process.
    InProcess(InProcessChannel),
}

/// A channel of an SSH client.
pub struct SshChannel {
    /// Receives from and sends to the client.
    pub side: UserSide,
    /// The connection, for `exit-signal`, which the side cannot send.
    pub handle: Handle,
}

/// The gateway's end of a channel whose user is in this process.
pub struct InProcessChannel {
    inbox: Arc<Inbox<FromUser>>,
    granted: watch::Sender<u64>,
    to_user: mpsc::Sender<ToUser>,
}

/// A message to an in-process user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToUser {
    /// Output of the target.
    Data(Bytes),
    /// A notice of the gateway, without a line break.
    Notice(String),
}

/// The user's end of a channel in this process.
pub struct UserEnd {
    /// Takes the user's messages. At most [`PAGE_WINDOW`] bytes of data may wait in it.
    pub inbox: Arc<Inbox<FromUser>>,
    /// The total number of bytes granted beyond the initial window.
    pub granted: watch::Receiver<u64>,
    /// Receives the target's output and the gateway's notices until the channel is closed.
    pub from_target: mpsc::Receiver<ToUser>,
}

/// Returns both ends of a channel whose user is in this process. Returns `None` if the user may not take the memory of its window.
pub fn in_process(memory: &Arc<UserBudget>) -> Option<(UserChannel, UserEnd)> {
    let inbox = Arc::new(Inbox::with_fixed_window(memory, PAGE_WINDOW)?);
    let (to_user, from_target) = mpsc::channel(TO_USER_CAPACITY);
    let (sender, granted) = watch::channel(0);
    let channel = InProcessChannel { inbox: inbox.clone(), granted: sender, to_user };
    Some((UserChannel::InProcess(channel), UserEnd { inbox, granted, from_target }))
}

impl UserEnd {
    /// Returns the user's end of a channel that is refused: the user receives this notice, and the channel is closed.
    pub fn refused(memory: &Arc<UserBudget>, notice: &str) -> Self {
        let inbox = Arc::new(Inbox::new(memory));
        inbox.close(FromUser::Close);
        let (to_user, from_target) = mpsc::channel(TO_USER_CAPACITY);
        // The channel is empty and has room.
        let _ = to_user.try_send(ToUser::Notice(notice.to_owned()));
        Self { inbox, granted: watch::channel(0).1, from_target }
    }

    /// Sends the first requests of a new channel, which always has room for them.
    pub fn send_requests(&self, requests: impl IntoIterator<Item = FromUser>) {
        for request in requests {
            let bytes = request.size();
            let _ = self.inbox.push_control(request, bytes);
        }
    }
}

impl UserChannel {
    /// Returns the inbox of the user's messages.
    pub fn inbox(&self) -> &Inbox<FromUser> {
        match self {
            Self::Ssh(channel) => &channel.side.inbox,
            Self::InProcess(channel) => &channel.inbox,
        }
    }

    /// Waits for the user's next message.
    ///
    /// The caller has sent on all earlier messages, so the user first gets window for their data.
    pub async fn next(&self) -> ChannelMessage<FromUser> {
        match self {
            Self::Ssh(channel) => channel.side.next().await,
            Self::InProcess(InProcessChannel { inbox, granted, .. }) => {
                if let Some(bytes) = inbox.grant(Instant::now()) {
                    granted.send_modify(|granted| *granted += u64::from(bytes));
                }
                inbox.next().await
            }
        }
    }

    /// Sends data, and waits until the user has taken it or granted window for it. Discards it if the user has closed
    /// the channel.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn send(&self, extended: Option<u32>, data: Bytes) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.send(extended, data).await,
            Self::InProcess(channel) => {
                channel.send(ToUser::Data(data)).await;
                Ok(())
            }
        }
    }

    /// Sends a line of the gateway's own: `prefix`, then the text, made printable. An SSH client gets it on standard
    /// error.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn notice(&self, prefix: &str, text: &str) -> Result<(), russh::Error> {
        let text = printable(text);
        match self {
            Self::Ssh(channel) => channel.side.send(Some(STDERR), format!("{prefix}{text}\r\n").into()).await,
            Self::InProcess(channel) => {
                channel.send(ToUser::Notice(text)).await;
                Ok(())
            }
        }
    }

    /// Sends SSH_MSG_CHANNEL_EOF after all data.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn eof(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.eof().await,
            Self::InProcess(_) => Ok(()),
        }
    }

    /// Sends `exit-status`. An in-process user gets it from the session instead.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn exit_status(&self, code: u32) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.write.exit_status(code).await,
            Self::InProcess(_) => Ok(()),
        }
    }

    /// Sends `exit-signal`. An in-process user gets it from the session instead.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn exit_signal(
        &self,
        signal: Sig,
        core_dumped: bool,
        message: String,
        language: String,
    ) -> Result<(), russh::Error> {
        let Self::Ssh(channel) = self else { return Ok(()) };
        let (handle, id) = (&channel.handle, channel.side.write.id());
        // The target chose these texts, and some clients print them.
        let message = printable_up_to(&message, MAX_SIGNAL_TEXT);
        let language = printable_up_to(&language, MAX_SIGNAL_TEXT);
        let signal = match signal {
            Sig::Custom(name) => Sig::Custom(printable_up_to(&name, MAX_SIGNAL_NAME)),
            known => known,
        };
        let sent = handle.exit_signal_request(id, signal, core_dumped, message, language).await;
        sent.map_err(|()| russh::Error::SendError)
    }

    /// Sends `eow@openssh.com`: the program on the target reads no more data.
    pub async fn send_end_of_write(&self) {
        if let Self::Ssh(channel) = self {
            let _ = channel.side.write.custom_request(END_OF_WRITE, false, Bytes::new()).await;
        }
    }

    /// Sends SSH_MSG_CHANNEL_CLOSE. The channel of an in-process user closes when this value is dropped.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn close(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.write.close().await,
            Self::InProcess(_) => Ok(()),
        }
    }
}

impl InProcessChannel {
    async fn send(&self, message: ToUser) {
        tokio::select! {
            biased;
            // An error means that the user's end is gone, and the message is discarded.
            _ = self.to_user.send(message) => {}
            () = self.inbox.closed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_budget::MEMORY_BUDGET;

    fn in_process() -> (UserChannel, UserEnd) {
        super::in_process(&MEMORY_BUDGET.of_user("alice")).unwrap()
    }

    #[tokio::test]
    async fn a_refused_user_receives_the_notice_and_the_close() {
        let mut end = UserEnd::refused(&MEMORY_BUDGET.of_user("alice"), "refused");
        assert!(end.inbox.is_closed());
        assert_eq!(end.from_target.recv().await, Some(ToUser::Notice("refused".to_owned())));
        assert_eq!(end.from_target.recv().await, None);
    }

    #[tokio::test]
    async fn the_user_gets_window_for_data_that_the_target_has_taken() {
        let (channel, end) = in_process();
        let piece = vec![b'x'; 32 * 1024];
        for _ in 0..PAGE_WINDOW as usize / piece.len() {
            end.inbox.push_data(None, &piece);
        }
        assert_eq!(*end.granted.borrow(), 0);
        for _ in 0..PAGE_WINDOW as usize / piece.len() {
            channel.next().await;
        }
        end.inbox.close(FromUser::Close);
        assert!(matches!(channel.next().await, ChannelMessage::Control(FromUser::Close)));
        assert_eq!(*end.granted.borrow(), u64::from(PAGE_WINDOW));
    }

    #[tokio::test]
    async fn data_for_a_user_who_does_not_read_is_bounded() {
        let (channel, mut end) = in_process();
        for _ in 0..TO_USER_CAPACITY {
            channel.send(None, Bytes::from_static(b"x")).await.unwrap();
        }
        assert!(futures::poll!(Box::pin(channel.send(None, Bytes::from_static(b"x")))).is_pending());
        end.inbox.close(FromUser::Close);
        channel.notice("", "discarded").await.unwrap();
        assert_eq!(end.from_target.recv().await, Some(ToUser::Data(Bytes::from_static(b"x"))));
    }
}
