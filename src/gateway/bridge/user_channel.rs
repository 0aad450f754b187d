//! The user's side of a session channel: on an SSH client's connection, or with its other end in this process, as the web
//! terminal's.

use std::sync::Arc;

use bytes::Bytes;
use russh::Sig;
use russh::server::Handle;
use tokio::sync::{mpsc, watch};

use super::inbox::{Inbox, Item};
use super::request::FromUser;
use super::types::{END_OF_WRITE, UserSide};
use crate::text::printable;

const STDERR: u32 = 1;
/// How many pieces may wait for an end in this process; each is as long as a packet of SSH.
const PIECES: usize = 4;

/// The user's side of a session channel.
pub enum UserChannel {
    /// A channel of an SSH client.
    Ssh(SshChannel),
    /// One whose user's end is in this process.
    Inner(InnerChannel),
}

/// A channel of an SSH client.
pub struct SshChannel {
    /// What comes and goes.
    pub side: UserSide,
    /// For the one message that the side has no method for.
    pub handle: Handle,
}

/// A channel whose user's end is in this process.
pub struct InnerChannel {
    inbox: Arc<Inbox<FromUser>>,
    granted: watch::Sender<u64>,
    to_user: mpsc::Sender<ToUser>,
}

/// What comes to an end in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToUser {
    /// Bytes of the target's.
    Data(Bytes),
    /// A line of the bastion's own.
    Notice(String),
}

/// The user's end of a channel in this process.
pub struct UserEnd {
    /// Takes what the user sends. Of data, no more may wait in it than [`super::inbox::WINDOW`].
    pub inbox: Arc<Inbox<FromUser>>,
    /// How many bytes were taken out of it in all, so that as many more may be put in.
    pub granted: watch::Receiver<u64>,
    /// What comes from the target, to the end of the channel.
    pub from_target: mpsc::Receiver<ToUser>,
}

/// A channel with both of its ends in this process.
pub fn inner() -> (UserChannel, UserEnd) {
    let inbox = Arc::<Inbox<FromUser>>::default();
    let (to_user, from_target) = mpsc::channel(PIECES);
    let (sender, granted) = watch::channel(0);
    let channel = InnerChannel { inbox: inbox.clone(), granted: sender, to_user };
    (UserChannel::Inner(channel), UserEnd { inbox, granted, from_target })
}

impl UserEnd {
    /// Asks for something on a new channel, which has room for it.
    pub fn ask(&self, asked: impl IntoIterator<Item = FromUser>) {
        for asked in asked {
            let bytes = asked.size();
            let _ = self.inbox.put(asked, bytes);
        }
    }
}

impl UserChannel {
    /// What comes from the user.
    pub fn inbox(&self) -> &Inbox<FromUser> {
        match self {
            Self::Ssh(channel) => &channel.side.inbox,
            Self::Inner(channel) => &channel.inbox,
        }
    }

    /// The next thing that the user sent. Asking for it says that what came before was passed on, and grants the user the
    /// window for more.
    pub async fn next(&self) -> Item<FromUser> {
        match self {
            Self::Ssh(channel) => channel.side.next().await,
            Self::Inner(InnerChannel { inbox, granted, .. }) => {
                if let Some(bytes) = inbox.to_grant() {
                    granted.send_modify(|granted| *granted += u64::from(bytes));
                    inbox.granted(bytes);
                }
                inbox.next().await
            }
        }
    }

    /// Sends data as far as the user takes it, unless the user has closed the channel: then nobody wants it.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn send(&self, extended: Option<u32>, data: Bytes) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.send(extended, data).await,
            Self::Inner(channel) => {
                channel.give(ToUser::Data(data)).await;
                Ok(())
            }
        }
    }

    /// Has the user read a line of the bastion's own, which begins with `begin` where it is among others. The text may be
    /// untrusted, so it is made printable first.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn notice(&self, begin: &str, text: &str) -> Result<(), russh::Error> {
        let text = printable(text);
        match self {
            Self::Ssh(channel) => channel.side.send(Some(STDERR), format!("{begin}{text}\r\n").into()).await,
            Self::Inner(channel) => {
                channel.give(ToUser::Notice(text)).await;
                Ok(())
            }
        }
    }

    /// Says that no more data will come.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn eof(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.eof().await,
            Self::Inner(_) => Ok(()),
        }
    }

    /// Tells the exit status of what ran; an end in this process learns it from the session.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn exit_status(&self, code: u32) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.write.exit_status(code).await,
            Self::Inner(_) => Ok(()),
        }
    }

    /// Tells the signal that ended what ran; likewise.
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
        // The target chose this text, and some clients show it.
        let message = printable(&message);
        let sent = handle.exit_signal_request(id, signal, core_dumped, message, language).await;
        sent.map_err(|()| russh::Error::SendError)
    }

    /// Tells the user's client that the program on the target reads no more.
    pub async fn stop_writing(&self) {
        if let Self::Ssh(channel) = self {
            let _ = channel.side.write.custom_request(END_OF_WRITE, false, Bytes::new()).await;
        }
    }

    /// Closes the channel. One with its end in this process is closed when this side of it is gone.
    ///
    /// # Errors
    /// When the user's connection is gone.
    pub async fn close(&self) -> Result<(), russh::Error> {
        match self {
            Self::Ssh(channel) => channel.side.write.close().await,
            Self::Inner(_) => Ok(()),
        }
    }
}

impl InnerChannel {
    async fn give(&self, what: ToUser) {
        tokio::select! {
            biased;
            // The end may be gone already, and wants nothing then.
            _ = self.to_user.send(what) => {}
            () = self.inbox.closed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::bridge::inbox::WINDOW;

    #[tokio::test]
    async fn the_user_is_granted_what_the_target_has_taken() {
        let (channel, end) = inner();
        let piece = vec![b'x'; 32 * 1024];
        for _ in 0..WINDOW as usize / piece.len() {
            end.inbox.put_data(None, &piece).unwrap();
        }
        assert_eq!(*end.granted.borrow(), 0);
        for _ in 0..WINDOW as usize / piece.len() {
            channel.next().await;
        }
        end.inbox.close(FromUser::Close);
        assert!(matches!(channel.next().await, Item::Said(FromUser::Close)));
        assert_eq!(*end.granted.borrow(), u64::from(WINDOW));
    }

    #[tokio::test]
    async fn what_the_user_does_not_take_waits_and_is_bounded() {
        let (channel, mut end) = inner();
        for _ in 0..PIECES {
            channel.send(None, Bytes::from_static(b"x")).await.unwrap();
        }
        assert!(futures::poll!(Box::pin(channel.send(None, Bytes::from_static(b"x")))).is_pending());
        end.inbox.close(FromUser::Close);
        channel.notice("", "nobody wants it").await.unwrap();
        assert_eq!(end.from_target.recv().await, Some(ToUser::Data(Bytes::from_static(b"x"))));
    }
}
