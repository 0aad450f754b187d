//! A TCP stream that can be aborted from outside, and whose health can be observed.

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

use super::tcp_options::{TCP_CLOSE, set_max_retransmission_interval, tcp_info};
use crate::lifecycle::{KEEPALIVE_INTERVAL, TcpHealth, TcpPath};

/// The size of the read-ahead buffer, in bytes. The SSH library reads the length of each packet before the rest. Without the
/// buffer, these system calls would cost more than the decryption.
const READ_AHEAD_SIZE: usize = 128 * 1024;
/// Reads of at least this many bytes bypass the read-ahead buffer.
const DIRECT_READ_SIZE: usize = 16 * 1024;
/// The number of bytes that cost a task one unit of its cooperative budget. The runtime grants a task 128 units per poll. A
/// bulk transfer thus moves 32 KiB, in less than 0.05 ms, before the worker polls other connections.
const BYTES_PER_BUDGET_UNIT: usize = 256;

/// A TCP stream that can be aborted from outside while the SSH library waits on it.
pub struct AbortableStream {
    stream: Arc<TcpStream>,
    abort: Pin<Box<WaitForCancellationFutureOwned>>,
    reads_ahead: bool,
    /// The bytes that were read ahead. The buffer's memory is released while no data arrives, because most sessions are idle.
    buffer: BytesMut,
}

/// Observes a connection that another task owns. The observer does not keep the connection open.
#[derive(Clone, Debug, Default)]
pub struct ConnectionHealth {
    stream: Weak<TcpStream>,
    path: TcpPath,
}

impl AbortableStream {
    /// Wraps `stream`, and returns an observer of its health. Cancelling `abort` ends every read and write with an error.
    pub fn new(stream: TcpStream, abort: CancellationToken) -> (Self, ConnectionHealth) {
        // Only the kernel's zero-window probes reach a peer that does not read. By default their interval grows to two
        // minutes, and a lost peer stays unnoticed for as long. Kernels before Linux 6.15 keep that default.
        let _ = set_max_retransmission_interval(&stream, KEEPALIVE_INTERVAL);
        let stream = Arc::new(stream);
        let health = ConnectionHealth { stream: Arc::downgrade(&stream), path: TcpPath::Direct };
        (Self { stream, abort: Box::pin(abort.cancelled_owned()), reads_ahead: true, buffer: BytesMut::new() }, health)
    }

    /// Returns the stream without its read-ahead buffer, which would exceed the limits of an HTTP server's own buffer.
    pub fn without_read_ahead(self) -> Self {
        Self { reads_ahead: false, ..self }
    }

    /// Reads the available bytes into the buffer.
    fn poll_read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.buffer.reserve(READ_AHEAD_SIZE);
        let Self { stream, buffer, .. } = self;
        let read = poll_io(cx, |cx| stream.poll_read_ready(cx), || stream.try_read_buf(buffer));
        // With a spent budget, `Pending` does not mean that no data has arrived.
        if read.is_pending() && coop::has_budget_remaining() {
            self.buffer = BytesMut::new();
        }
        read.map_ok(drop)
    }

    fn check_abort(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.abort.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

/// Charges the cooperative budget of the current task for the bytes that it has moved. Once the budget is spent, the task's
/// sockets and queues report that they are not ready, until the runtime has polled other tasks.
fn charge(cx: &mut Context<'_>, bytes: usize) {
    for _ in 0..bytes / BYTES_PER_BUDGET_UNIT {
        match coop::poll_proceed(cx) {
            Poll::Ready(unit) => unit.made_progress(),
            Poll::Pending => return,
        }
    }
}

/// Calls `act` whenever the stream is ready, until `act` succeeds or fails with another error than `WouldBlock`.
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

impl ConnectionHealth {
    /// Returns the observer of a connection that takes this path to its peer.
    #[must_use]
    pub fn with_path(self, path: TcpPath) -> Self {
        Self { path, ..self }
    }

    /// Returns the kernel's view of the connection, or `None` when the connection is closed.
    pub fn tcp_health(&self) -> Option<TcpHealth> {
        let info = tcp_info(&*self.stream.upgrade()?).ok()?;
        let ago = |milliseconds: u32| Duration::from_millis(u64::from(milliseconds));
        Some(TcpHealth {
            since_data: ago(info.tcpi_last_data_recv),
            since_ack: ago(info.tcpi_last_ack_recv),
            unacknowledged: info.tcpi_unacked > 0,
            probing: info.tcpi_probes > 0,
            retransmitting: info.tcpi_retransmits > 0 && info.tcpi_unacked > 0 && info.tcpi_snd_wnd > 0,
            path: self.path,
            written: (info.tcpi_bytes_sent + u64::from(info.tcpi_notsent_bytes))
                .saturating_sub(info.tcpi_bytes_retrans),
            acknowledged: info.tcpi_bytes_acked,
        })
    }

    /// Returns whether the connection is open: its owner holds it, and the peer has not reset it.
    pub fn is_open(&self) -> bool {
        self.stream.upgrade().is_some_and(|stream| !tcp_info(&*stream).is_ok_and(|info| info.tcpi_state == TCP_CLOSE))
    }

    /// Shuts the connection down in the kernel, in both directions.
    pub fn shut_down(&self) {
        if let Some(stream) = self.stream.upgrade() {
            // It fails only if the connection has already ended.
            let _ = SockRef::from(&*stream).shutdown(Shutdown::Both);
        }
    }
}

impl AsyncRead for AbortableStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check_abort(cx)?;
        if self.buffer.is_empty() && (!self.reads_ahead || buf.remaining() >= DIRECT_READ_SIZE) {
            let stream = &self.stream;
            let unfilled = buf.initialize_unfilled();
            let read = ready!(poll_io(cx, |cx| stream.poll_read_ready(cx), || stream.try_read(unfilled)))?;
            buf.advance(read);
            charge(cx, read);
            return Poll::Ready(Ok(()));
        }
        if self.buffer.is_empty() {
            ready!(self.poll_read_ahead(cx))?;
        }
        // Buffered data costs no system call, but must also yield to other connections.
        ready!(coop::poll_proceed(cx)).made_progress();
        let count = self.buffer.len().min(buf.remaining());
        buf.put_slice(&self.buffer[..count]);
        self.buffer.advance(count);
        charge(cx, count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AbortableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check_abort(cx)?;
        let written = ready!(poll_io(cx, |cx| self.stream.poll_write_ready(cx), || self.stream.try_write(buf)))?;
        charge(cx, written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Writes go straight to the kernel.
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

    async fn pair() -> (AbortableStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = AbortableStream::new(listener.accept().await.unwrap().0, CancellationToken::new());
        (stream, peer)
    }

    #[tokio::test]
    async fn reads_of_any_size_keep_the_order() {
        let (mut stream, mut peer) = pair().await;
        let sent: Vec<u8> = (0_u32..1_000_000).flat_map(u32::to_le_bytes).collect();
        let sending = tokio::spawn({
            let sent = sent.clone();
            async move { peer.write_all(&sent).await }
        });
        let mut read = vec![0; sent.len()];
        let mut at = 0;
        for size in [4, 32 * 1024, 1, DIRECT_READ_SIZE, DIRECT_READ_SIZE - 1, 4, READ_AHEAD_SIZE, 2 * READ_AHEAD_SIZE]
            .into_iter()
            .cycle()
        {
            let end = sent.len().min(at + size);
            stream.read_exact(&mut read[at..end]).await.unwrap();
            at = end;
            if at == sent.len() {
                break;
            }
        }
        assert!(read == sent);
        sending.await.unwrap().unwrap();
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap(), 0, "the peer has closed the connection");
    }

    #[tokio::test]
    async fn a_bulk_transfer_lets_other_tasks_run() {
        const TURN: usize = 128 * BYTES_PER_BUDGET_UNIT;
        let (mut stream, _peer) = pair().await;
        stream.buffer = BytesMut::zeroed(16 * TURN);
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let mut chunk = vec![0; TURN / 4];
        for _ in 0..4 * 16 {
            stream.read_exact(&mut chunk).await.unwrap();
        }
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= 15, "another task had {turns} turns during 16 of the transfer");
    }

    #[tokio::test]
    async fn an_idle_connection_keeps_no_buffer() {
        let (mut stream, mut peer) = pair().await;
        peer.write_all(b"four").await.unwrap();
        let mut four = [0; 4];
        stream.read_exact(&mut four).await.unwrap();
        assert!(stream.buffer.capacity() > 0);
        assert!(futures::poll!(Box::pin(stream.read(&mut four))).is_pending());
        assert_eq!(stream.buffer.capacity(), 0);
    }
}
