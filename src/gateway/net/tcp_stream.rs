//! A TCP connection that ends when we say so, and not when the SSH library does; and what its kernel knows of the
//! other side.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::tcp_options::{TCP_CLOSE, retry_within, tcp_info};
use crate::lifecycle::{KEEPALIVE_EVERY, TcpHealth};

/// How much is read at once where the library asks for less: of every packet it asks for the length first, and a call of
/// the kernel for each would cost more than the packet's decryption.
const AHEAD: usize = 128 * 1024;
/// What is asked for at once from here on is read where it is wanted.
const ENOUGH: usize = 16 * 1024;
/// How many bytes cost a task one unit of its cooperative budget. The runtime grants 128 units a poll, so a bulk
/// transfer moves 32 KiB, less than 0.05 ms of work, before its worker polls other connections.
const BYTES_PER_BUDGET_UNIT: usize = 256;

/// A TCP stream that can be cut off from outside, whatever the library is waiting for.
pub struct Socket {
    stream: Arc<TcpStream>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    reads_ahead: bool,
    /// What was read and not asked for yet. It has no room while nothing comes, for most sessions are idle.
    ahead: BytesMut,
}

/// A look at a connection from outside, for as long as it is open.
#[derive(Clone, Debug, Default)]
pub struct Health(Weak<TcpStream>);

impl Socket {
    /// Wraps `stream`; cancelling `cut` ends every read and write with an error.
    pub fn new(stream: TcpStream, cut: CancellationToken) -> (Self, Health) {
        // Nothing but the kernel's own question reaches a side that has no room, and left to itself the kernel asks at
        // ever longer intervals, up to two minutes: for so long nobody would know whether that side is still there.
        // An older kernel does not let itself be told, and then a loss in this state takes that long to be seen.
        let _ = retry_within(&stream, KEEPALIVE_EVERY);
        let stream = Arc::new(stream);
        let health = Health(Arc::downgrade(&stream));
        (Self { stream, cut: Box::pin(cut.cancelled_owned()), reads_ahead: true, ahead: BytesMut::new() }, health)
    }

    /// Returns the stream without its read-ahead buffer, which would exceed the limits of an HTTP server's own buffer.
    pub fn without_read_ahead(self) -> Self {
        Self { reads_ahead: false, ..self }
    }

    /// Reads ahead what there is.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.ahead.reserve(AHEAD);
        let Self { stream, ahead, .. } = self;
        let read = poll_io(cx, |cx| stream.poll_read_ready(cx), || stream.try_read_buf(ahead));
        // A spent budget does not say whether anything has arrived.
        if read.is_pending() && coop::has_budget_remaining() {
            self.ahead = BytesMut::new();
        }
        read.map_ok(drop)
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

/// Charges the task's cooperative budget for bytes that it has moved. Once the budget is spent, the task's sockets and
/// queues report that they are not ready, until the runtime has polled other tasks.
fn charge(cx: &mut Context<'_>, bytes: usize) {
    for _ in 0..bytes / BYTES_PER_BUDGET_UNIT {
        match coop::poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}

/// Does something with the kernel as soon as it can be done at once.
fn poll_io(
    cx: &mut Context<'_>,
    mut ready: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    mut act: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(ready(cx))?;
        match act() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

impl Health {
    /// What the kernel knows of the connection; `None` when it is closed, or the kernel does not say.
    pub fn look(&self) -> Option<TcpHealth> {
        let info = tcp_info(&*self.0.upgrade()?).ok()?;
        let ago = |milliseconds: u32| Duration::from_millis(u64::from(milliseconds));
        Some(TcpHealth {
            since_data: ago(info.tcpi_last_data_recv),
            since_ack: ago(info.tcpi_last_ack_recv),
            unacknowledged: info.tcpi_unacked > 0,
            probing: info.tcpi_probes > 0,
        })
    }

    /// Returns whether the connection is open: its owner holds it, and the peer has not reset it.
    pub fn is_open(&self) -> bool {
        self.0.upgrade().is_some_and(|stream| !tcp_info(&*stream).is_ok_and(|info| info.tcpi_state == TCP_CLOSE))
    }

    /// Ends the connection in the kernel, whoever holds it.
    pub fn shut_down(&self) {
        if let Some(stream) = self.0.upgrade() {
            // It is at its end already, then.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        if self.ahead.is_empty() && (!self.reads_ahead || buf.remaining() >= ENOUGH) {
            let stream = &self.stream;
            let unfilled = buf.initialize_unfilled();
            let read = ready!(poll_io(cx, |cx| stream.poll_read_ready(cx), || stream.try_read(unfilled)))?;
            buf.advance(read);
            charge(cx, read);
            return Poll::Ready(Ok(()));
        }
        if self.ahead.is_empty() {
            ready!(self.poll_read_ahead(cx))?;
        }
        // What costs no call of the kernel takes turns with other connections all the same.
        ready!(coop::poll_proceed(cx)).made_progress();
        let wanted = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..wanted]);
        self.ahead.advance(wanted);
        charge(cx, wanted);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        let written = ready!(poll_io(cx, |cx| self.stream.poll_write_ready(cx), || self.stream.try_write(buf)))?;
        charge(cx, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has everything as soon as it is written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = Socket::new(listener.accept().await.unwrap().0, CancellationToken::new());
        (socket, peer)
    }

    #[tokio::test]
    async fn what_comes_is_read_in_order_whatever_is_asked_for_at_once() {
        let (mut socket, mut peer) = pair().await;
        let sent: Vec<u8> = (0_u32..1_000_000).flat_map(u32::to_le_bytes).collect();
        let sending = tokio::spawn({
            let sent = sent.clone();
            async move { peer.write_all(&sent).await }
        });
        let mut read = vec![0; sent.len()];
        let mut at = 0;
        for size in [4, 32 * 1024, 1, ENOUGH, ENOUGH - 1, 4, AHEAD, 2 * AHEAD].into_iter().cycle() {
            let end = sent.len().min(at + size);
            socket.read_exact(&mut read[at..end]).await.unwrap();
            at = end;
            if at == sent.len() {
                break;
            }
        }
        assert!(read == sent);
        sending.await.unwrap().unwrap();
        assert_eq!(socket.read(&mut [0; 4]).await.unwrap(), 0, "the peer has closed it");
    }

    #[tokio::test]
    async fn a_bulk_transfer_lets_other_tasks_run() {
        const TURN: usize = 128 * BYTES_PER_BUDGET_UNIT;
        let (mut socket, _peer) = pair().await;
        socket.ahead = BytesMut::zeroed(16 * TURN);
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let mut piece = vec![0; TURN / 4];
        for _ in 0..4 * 16 {
            socket.read_exact(&mut piece).await.unwrap();
        }
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= 15, "another task had {turns} turns during 16 of the transfer");
    }

    #[tokio::test]
    async fn a_connection_without_traffic_keeps_no_room() {
        let (mut socket, mut peer) = pair().await;
        peer.write_all(b"four").await.unwrap();
        let mut four = [0; 4];
        socket.read_exact(&mut four).await.unwrap();
        assert!(socket.ahead.capacity() > 0);
        assert!(futures::poll!(Box::pin(socket.read(&mut four))).is_pending());
        assert_eq!(socket.ahead.capacity(), 0);
    }
}
