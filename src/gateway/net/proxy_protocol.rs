//! Version 2 of the PROXY protocol: the header in which a load balancer says where a connection comes from. Only load
//! balancers that were named are believed, and those must say it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use ppp::v2::{Addresses, Command, Header, ParseError};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a load balancer has to send the header.
const TIME_TO_SEND: Duration = Duration::from_secs(5);
/// The part of the header that says how long the rest is.
const FIXED: usize = 16;
/// How long the rest may be: the addresses, and what else load balancers tell.
const MOST: usize = 2048;

/// Why a connection through a load balancer came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProxyHeaderError {
    #[error("it sent no header of the PROXY protocol, version 2, within {} s", TIME_TO_SEND.as_secs())]
    Late,
    #[error("the header of the PROXY protocol did not come: {0}")]
    Lost(#[from] io::Error),
    #[error("what it sent first is no header of the PROXY protocol, version 2: {0}")]
    Malformed(#[from] ParseError),
    #[error("its header of the PROXY protocol has {0} bytes; {MOST} may it have")]
    TooLong(usize),
}

/// Whether `peer` is one of the load balancers in `from`.
pub fn is_load_balancer(from: &[IpNet], peer: SocketAddr) -> bool {
    let address = peer.ip().to_canonical();
    from.iter().any(|network| network.contains(&address))
}

/// Reads the header, and nothing behind it. Returns where the client is; the load balancer itself where it speaks for
/// itself, as for a health check, or does not know.
///
/// # Errors
/// When no header comes, or another one.
pub async fn read(stream: &mut TcpStream, load_balancer: SocketAddr) -> Result<SocketAddr, ProxyHeaderError> {
    let header = timeout(TIME_TO_SEND, receive(stream)).await.map_err(|_| ProxyHeaderError::Late)??;
    Ok(client(&Header::try_from(&header[..])?).unwrap_or(load_balancer))
}

async fn receive(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyHeaderError> {
    let mut header = vec![0; FIXED];
    stream.read_exact(&mut header).await?;
    // What is no header has no length either.
    if let Err(error) = Header::try_from(&header[..])
        && !matches!(error, ParseError::Partial(..) | ParseError::Incomplete(_))
    {
        return Err(error.into());
    }
    let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if rest > MOST {
        return Err(ProxyHeaderError::TooLong(rest));
    }
    header.resize(FIXED + rest, 0);
    stream.read_exact(&mut header[FIXED..]).await?;
    Ok(header)
}

fn client(header: &Header<'_>) -> Option<SocketAddr> {
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
    use tokio::net::TcpListener;

    use super::*;

    const BALANCER: &str = "10.0.0.1:999";

    fn header(command: Command, from: &str) -> Vec<u8> {
        let source: SocketAddr = from.parse().unwrap();
        let own = if source.is_ipv4() { "10.0.0.9:22" } else { "[fd00::9]:22" };
        let addresses = Addresses::from((source, own.parse().unwrap()));
        let built = Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses);
        built.write_tlv(0xEA, b"vpce-08d2bf15fac5001c9").unwrap().build().unwrap()
    }

    /// What is read of these bytes, of which the last ones come later, and what is left then.
    async fn read_of(sent: &[u8], later: usize) -> (Result<SocketAddr, ProxyHeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let (first, last) = sent.split_at(sent.len() - later);
        peer.write_all(first).await.unwrap();
        let reading = read(&mut stream, BALANCER.parse().unwrap());
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
    #[case::a_health_check(header(Command::Local, "192.0.2.7:4711"), BALANCER)]
    #[tokio::test]
    async fn a_header_says_who_comes_and_is_all_that_is_read(#[case] mut sent: Vec<u8>, #[case] expected: &str) {
        sent.extend(b"SSH-2.0-x\r\n");
        for later in [0, 20, sent.len() - 3] {
            let (read, left) = read_of(&sent, later).await;
            assert_eq!(read.unwrap().to_string(), expected);
            assert_eq!(left, b"SSH-2.0-x\r\n");
        }
    }

    #[rstest]
    #[case::a_client_without_one(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec(), "is no header")]
    #[case::version_1(b"PROXY TCP4 192.0.2.7 10.0.0.9 4711 22\r\n".to_vec(), "is no header")]
    #[case::cut_off(header(Command::Proxy, "192.0.2.7:4711")[..20].to_vec(), "did not come")]
    #[case::nothing(vec![], "did not come")]
    #[tokio::test]
    async fn what_is_no_header_is_said_to_be_none(#[case] sent: Vec<u8>, #[case] expected: &str) {
        let said = read_of(&sent, 0).await.0.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }

    #[tokio::test]
    async fn an_endless_one_is_not_waited_for() {
        let mut sent = header(Command::Proxy, "192.0.2.7:4711");
        sent[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let said = read_of(&sent, 0).await.0.unwrap_err().to_string();
        assert!(said.contains("65535 bytes"), "{said}");
    }

    #[rstest]
    #[case("10.0.0.1:1", true)]
    #[case("[::ffff:10.0.0.1]:1", true)]
    #[case("10.0.1.1:1", false)]
    #[case("[fd00::1]:1", true)]
    fn only_those_that_were_named_are_load_balancers(#[case] peer: &str, #[case] expected: bool) {
        let from = ["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        assert_eq!(is_load_balancer(&from, peer.parse().unwrap()), expected);
    }
}
