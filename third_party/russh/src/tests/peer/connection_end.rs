//! The end of a connection is reported, however it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;
use tokio::sync::mpsc;

use super::*;
use crate::client::DisconnectReason;
use crate::keys::PublicKeyOrCertificate;

/// A stream that cannot be shut down, as a connection that was reset.
struct Reset(DuplexStream);

impl AsyncRead for Reset {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Reset {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
    }
}

/// Sends a message when the connection has ended.
struct Client(mpsc::UnboundedSender<()>);

impl client::Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }

    async fn disconnected(&mut self, _: DisconnectReason<Error>) -> Result<(), Error> {
        self.0.send(()).unwrap();
        Ok(())
    }
}

struct Server;

impl server::Handler for Server {
    type Error = Error;
}

#[tokio::test]
async fn client_reports_the_end_of_a_reset_connection() {
    for orderly in [false, true] {
        let (ours, theirs) = tokio::io::duplex(PIPE_LEN);
        let (sender, mut reports) = mpsc::unbounded_channel();
        let config = client::Config::default();
        let (mut peer, _client) =
            Peer::of_client_on(ours, Reset(theirs), config, Client(sender)).await;
        if orderly {
            peer.send(packet!(msg::DISCONNECT, 11u32, "", "")).await;
        }
        drop(peer);
        assert_eq!(within(reports.recv()).await, Some(()), "orderly: {orderly}");
    }
}

#[tokio::test]
async fn server_ends_in_order_on_a_reset_connection() {
    let (ours, theirs) = tokio::io::duplex(PIPE_LEN);
    let config = server::Config::default();
    let (mut peer, server) = Peer::of_server_on(ours, Reset(theirs), config, Server).await;
    peer.send(packet!(msg::DISCONNECT, 11u32, "", "")).await;
    drop(peer);
    within(server).await.unwrap().unwrap();
}

#[tokio::test]
async fn closed_is_ready_at_the_end_and_no_sooner() {
    use futures::FutureExt;

    let (sender, mut reports) = mpsc::unbounded_channel();
    let (peer, client) = Peer::of_client(client::Config::default(), Client(sender)).await;
    assert!(client.closed().now_or_never().is_none());
    let closed = client.closed();
    drop(client);
    drop(peer);
    within(closed).await;
    assert_eq!(within(reports.recv()).await, Some(()));
}
