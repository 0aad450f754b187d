//! Reads PROXY protocol version 2 headers, in which load balancers send the client's address. The configured load balancers
//! must send one; headers from other peers are not accepted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::v2::{Addresses, Command, Header, ParseError};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// The time within which a load balancer must send the header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The size of the header's fixed part, in bytes. Its last two bytes are the length of the rest.
const FIXED_SIZE: usize = 16;
/// The largest variable part (addresses and TLVs), in bytes.
const MAX_VARIABLE_SIZE: usize = 2048;

/// Why a load balancer's header is not accepted. In the texts, `it` is the load balancer.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("it sent no header of the PROXY protocol, version 2, within {} s", HEADER_TIMEOUT.as_secs())]
    Timeout,
    #[error("the connection ended before its header of the PROXY protocol: {0}")]
    Io(#[from] io::Error),
    #[error("its first bytes are no header of the PROXY protocol, version 2: {0}")]
    Malformed(#[from] ParseError),
    #[error("the variable part of its header has {0} bytes; at most {MAX_VARIABLE_SIZE} are accepted")]
    TooLong(usize),
}

/// Reads the header, and no bytes after it. Returns the client's address. Returns the load balancer's own address for the
/// command LOCAL, which health checks use, and for a header without an IP address.
///
/// # Errors
/// Fails when no valid header arrives within [`HEADER_TIMEOUT`].
pub async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    load_balancer: SocketAddr,
) -> Result<SocketAddr, ProxyHeaderError> {
    let header = timeout(HEADER_TIMEOUT, read_header(stream)).await.map_err(|_| ProxyHeaderError::Timeout)??;
    Ok(client_address(&Header::try_from(&header[..])?).unwrap_or(load_balancer))
}

async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ProxyHeaderError> {
    let mut header = vec![0; FIXED_SIZE];
    stream.read_exact(&mut header).await?;
    // The length is read only from a valid fixed part.
    if let Err(error) = Header::try_from(&header[..])
        && !matches!(error, ParseError::Partial(..) | ParseError::Incomplete(_))
    {
        return Err(error.into());
    }
    let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if rest > MAX_VARIABLE_SIZE {
        return Err(ProxyHeaderError::TooLong(rest));
    }
    header.resize(FIXED_SIZE + rest, 0);
    stream.read_exact(&mut header[FIXED_SIZE..]).await?;
    Ok(header)
}

fn client_address(header: &Header<'_>) -> Option<SocketAddr> {
    match (header.command, header.addresses) {
        (Command::Proxy, Addresses::IPv4(it)) => Some((it.source_address, it.source_port).into()),
        (Command::Proxy, Addresses::IPv6(it)) => Some((it.source_address, it.source_port).into()),
        (Command::Local, _) | (Command::Proxy, Addresses::Unspecified | Addresses::Unix(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use ppp::v2::{Builder, Protocol, Version};
    use rstest::rstest;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LOAD_BALANCER: &str = "10.0.0.1:999";

    fn header(command: Command, from: &str) -> Vec<u8> {
        let source: SocketAddr = from.parse().unwrap();
        let own = if source.is_ipv4() { "10.0.0.9:22" } else { "[fd00::9]:22" };
        let addresses = Addresses::from((source, own.parse().unwrap()));
        let built = Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses);
        built.write_tlv(0xEA, b"vpce-08d2bf15fac5001c9").unwrap().build().unwrap()
    }

    /// Sends `sent`, with a delay before the last `later` bytes. Returns the address that was read, and the bytes left on the
    /// stream.
    async fn read_of(sent: &[u8], later: usize) -> (Result<SocketAddr, ProxyHeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let (first, last) = sent.split_at(sent.len() - later);
        peer.write_all(first).await.unwrap();
        let reading = read(&mut stream, LOAD_BALANCER.parse().unwrap());
        let writing = async {
            tokio::task::yield_now().await;
            peer.write_all(last).await.unwrap();
            peer.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(reading, writing);
        let mut left = vec![];
        let _ = stream.read_to_end(&mut left).await;
        (read, left)
    }

    #[rstest]
    #[case::over_ipv4(header(Command::Proxy, "192.0.2.7:4711"), "192.0.2.7:4711")]
    #[case::over_ipv6(header(Command::Proxy, "[2001:db8::7]:4711"), "[2001:db8::7]:4711")]
    #[case::a_health_check(header(Command::Local, "192.0.2.7:4711"), LOAD_BALANCER)]
    #[tokio::test]
    async fn the_header_gives_the_client_and_no_more_is_read(#[case] mut sent: Vec<u8>, #[case] expected: &str) {
        sent.extend(b"SSH-2.0-x\r\n");
        for later in [0, 20, sent.len() - 3] {
            let (read, left) = read_of(&sent, later).await;
            assert_eq!(read.unwrap().to_string(), expected);
            assert_eq!(left, b"SSH-2.0-x\r\n");
        }
    }

    #[rstest]
    #[case::a_client_without_one(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), "are no header")]
    #[case::version_1(b"PROXY TCP4 192.0.2.7 10.0.0.9 4711 22\r\n".to_vec(), "are no header")]
    #[case::cut_off(header(Command::Proxy, "192.0.2.7:4711")[..20].to_vec(), "ended before")]
    #[case::nothing(vec![], "ended before")]
    #[tokio::test]
    async fn a_missing_header_is_refused(#[case] sent: Vec<u8>, #[case] expected: &str) {
        let error = read_of(&sent, 0).await.0.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[tokio::test]
    async fn a_long_header_is_refused() {
        let mut sent = header(Command::Proxy, "192.0.2.7:4711");
        sent[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let error = read_of(&sent, 0).await.0.unwrap_err().to_string();
        assert!(error.contains("65535 bytes"), "{error}");
    }
}
