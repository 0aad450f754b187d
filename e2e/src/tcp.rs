//! TCP servers that forwards lead to, and what goes through forwards.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::wait::PROMPT_BOUND;

pub const MEBIBYTE: usize = 1 << 20;

/// A server that the target reaches, and that serves each connection in the same way.
pub struct Destination {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Destination {
    pub async fn serving<F: Future<Output = ()> + Send + 'static>(
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Self { address, task }
    }

    /// Sends back what comes, and ends when that ends.
    pub async fn echo() -> Self {
        Self::serving(async |mut stream| {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        })
        .await
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// So many random bytes.
pub fn random(mebibytes: usize) -> Vec<u8> {
    let mut bytes = vec![0; mebibytes * MEBIBYTE];
    rand::fill(&mut bytes[..]);
    bytes
}

/// Sends the bytes and nothing more, reads until the other side has ended too, and returns what came.
pub async fn exchange(stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (mut read, mut write) = stream.into_split();
    let mut received = Vec::new();
    let sending = async {
        write.write_all(bytes).await.expect("the connection takes everything");
        write.shutdown().await.expect("an end");
    };
    let ((), got) = tokio::join!(sending, read.read_to_end(&mut received));
    got.expect("the connection ends in order");
    received
}

/// Waits until the connection has ended, with or without an error.
pub async fn ends(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PROMPT_BOUND, stream.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is still there after {PROMPT_BOUND:?}");
}
