//! The header of the PROXY protocol: exactly it is read, and nobody but it names the client.

use std::net::SocketAddr;
use std::sync::LazyLock;

use bastion_operator::gateway::fuzzing::read_proxy_header;
use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().expect("a runtime"));

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The length of the fixed part.
const FIXED: usize = 16;

/// Reads it from the beginning of a stream with these bytes.
pub fn check(data: &[u8]) {
    let load_balancer = SocketAddr::from(([10, 0, 0, 1], 999));
    let mut rest = data;
    let Ok(client) = RUNTIME.block_on(read_proxy_header(&mut rest, load_balancer)) else { return };
    assert!(data.starts_with(SIGNATURE) && data[12] >> 4 == 2, "no header of version 2");
    let length = FIXED + usize::from(u16::from_be_bytes([data[14], data[15]]));
    assert_eq!(rest.len(), data.len() - length, "more than the header is read, or less");
    if data[12] & 0xf == 0 {
        assert_eq!(client, load_balancer, "a health check names no client");
    }
}
