//! A session writes the data that waits for it in parts, and looks at its peer
//! between them.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;
use crate::Channel;
use crate::keys::PublicKeyOrCertificate;

/// The bytes of one message of data.
const MESSAGE_LEN: usize = 32 * 1024;

/// More messages than a session takes in one turn.
const MESSAGES: usize = 32;

/// A stream that records the most bytes of one write.
struct Recorded {
    stream: DuplexStream,
    most: Arc<AtomicUsize>,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.most.fetch_max(buf.len(), Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Returns a pipe's ends, and the most bytes that were written at once to the
/// first.
fn recorded_pipe() -> (Recorded, DuplexStream, Arc<AtomicUsize>) {
    let (stream, theirs) = tokio::io::duplex(2 * MESSAGES * MESSAGE_LEN);
    let most = Arc::new(AtomicUsize::new(0));
    let recorded = Recorded {
        stream,
        most: most.clone(),
    };
    (recorded, theirs, most)
}

/// Receives all messages, and asserts that several were written together, but
/// never all.
async fn assert_written_in_parts(peer: &mut Peer, most: &AtomicUsize) {
    for _ in 0..MESSAGES {
        let data = peer.expect(msg::CHANNEL_DATA).await;
        assert_eq!(data.len(), 1 + 4 + 4 + MESSAGE_LEN);
    }
    let most = most.load(Ordering::Relaxed);
    assert!(most > 2 * MESSAGE_LEN, "{most} bytes: not batched");
    assert!(
        most < 128 * 1024 + 2 * MESSAGE_LEN,
        "{most} bytes in one write"
    );
}

/// Sends its channel to the test.
struct Server(tokio::sync::mpsc::UnboundedSender<Channel<server::Msg>>);

impl server::Handler for Server {
    type Error = Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        self.0.send(channel).unwrap();
        Ok(())
    }
}

struct Client;

impl client::Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

#[tokio::test]
async fn server_writes_in_parts() {
    let (theirs, ours, most) = recorded_pipe();
    let (sender, mut channels) = tokio::sync::mpsc::unbounded_channel();
    let config = server::Config {
        event_buffer_size: MESSAGES,
        ..Default::default()
    };
    let (mut peer, _server) = Peer::of_server_on(ours, theirs, config, Server(sender)).await;
    peer.authenticate().await;
    peer.open_session().await;
    let channel = within(channels.recv()).await.unwrap();
    for _ in 0..MESSAGES {
        within(channel.data_bytes(vec![0; MESSAGE_LEN]))
            .await
            .unwrap();
    }
    assert_written_in_parts(&mut peer, &most).await;
}

#[tokio::test]
async fn client_writes_in_parts() {
    let (theirs, ours, most) = recorded_pipe();
    let (mut peer, client) =
        Peer::of_client_on(ours, theirs, client::Config::default(), Client).await;
    let (channel, _) = peer.accept_session(&client).await;
    let sending = tokio::spawn(async move {
        for _ in 0..MESSAGES {
            channel.data_bytes(vec![0; MESSAGE_LEN]).await.unwrap();
        }
        channel
    });
    assert_written_in_parts(&mut peer, &most).await;
    within(sending).await.unwrap();
}
