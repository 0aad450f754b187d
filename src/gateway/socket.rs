//! A TCP connection that ends when we say so, and not when the SSH library does; and what its kernel knows of the
//! other side.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::tcp_options::{retry_within, tcp_info};
use crate::lifecycle::{KEEPALIVE_EVERY, TcpHealth};

/// A TCP stream that can be cut off from outside, whatever the library is waiting for.
pub struct Socket {
    stream: Arc<TcpStream>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
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
        (Self { stream, cut: Box::pin(cut.cancelled_owned()) }, health)
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
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

    /// Whether somebody still holds the connection.
    pub fn is_open(&self) -> bool {
        self.0.strong_count() > 0
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
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buf.initialize_unfilled()) {
                Ok(read) => {
                    buf.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kernel has everything as soon as it is written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}
