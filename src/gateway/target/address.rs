//! Connects to a target over TCP. Tries all addresses of its name with staggered attempts (Happy Eyeballs, RFC 8305).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// How long the resolution of the target's name may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long each connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an attempt runs alone before the next address is tried in parallel (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The maximum number of addresses that are tried.
const MAX_ADDRESSES: usize = 8;

/// Why there is no TCP connection to a target.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// Every attempt failed.
    #[error(transparent)]
    Failed(#[from] FailedAttempts),
}

/// Why a target's name could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver answered with an error.
    #[error("{}", plain(.0))]
    Lookup(#[source] io::Error),
    /// The resolver did not answer.
    #[error("the name server did not answer")]
    Timeout,
    /// The resolver returned no address.
    #[error("the name has no address")]
    NoAddress,
}

/// The addresses that were tried, and why each attempt failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct FailedAttempts(Vec<(SocketAddr, String)>);

impl FailedAttempts {
    /// Returns each reason once, without the addresses.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<&str> = self.0.iter().map(|(_, reason)| reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons.join("; ")
    }
}

impl fmt::Display for FailedAttempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (address, reason)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}at {address}: {reason}")?;
        }
        Ok(())
    }
}

/// Connects to the first address of `host` that accepts the connection.
///
/// # Errors
/// When the name cannot be resolved, or every attempt failed.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let addresses = match timeout(RESOLVE_TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => interleave_families(addresses.collect()),
        Ok(Err(error)) => return Err(ResolveError::Lookup(error).into()),
        Err(_) => return Err(ResolveError::Timeout.into()),
    };
    if addresses.is_empty() {
        return Err(ResolveError::NoAddress.into());
    }
    let attempt = async |address| TcpStream::connect(address).await.and_then(|it| it.set_nodelay(true).map(|()| it));
    Ok(race(addresses, attempt).await?)
}

/// Returns an I/O error's text without the system's error number.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// Returns the addresses so that the families alternate, in the resolver's order within each family (RFC 8305, section 4).
///
/// An unreachable family then delays the connection by only one attempt.
fn interleave_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return addresses };
    let (mut same, mut other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|it| it.is_ipv4() == first.is_ipv4());
    same.dedup();
    other.dedup();
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    let pairs = std::iter::from_fn(|| match (same.next(), other.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    });
    pairs.flatten().flatten().take(MAX_ADDRESSES).collect()
}

/// Tries the addresses in order, and returns the first connection. Starts the next attempt when an attempt has failed, or
/// [`ATTEMPT_DELAY`] after the previous start.
async fn race<T>(
    addresses: Vec<SocketAddr>,
    connect: impl AsyncFn(SocketAddr) -> io::Result<T>,
) -> Result<T, FailedAttempts> {
    let attempt = async |address| {
        let reason = match timeout(CONNECT_TIMEOUT, connect(address)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => plain(&error),
            Err(_) => format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
        };
        Err((address, reason))
    };
    let (mut remaining, mut attempts, mut failed) = (addresses.into_iter(), FuturesUnordered::new(), Vec::new());
    loop {
        attempts.extend(remaining.next().map(&attempt));
        tokio::select! {
            outcome = attempts.next() => match outcome {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(failure)) => failed.push(failure),
                None => return Err(FailedAttempts(failed)),
            },
            () = sleep(ATTEMPT_DELAY), if remaining.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use rstest::rstest;
    use tokio::time::Instant;

    use super::*;

    const FOUR: [&str; 4] = ["192.0.2.1:22", "192.0.2.2:22", "192.0.2.3:22", "192.0.2.4:22"];

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    /// Simulates an attempt by the address's last number: 1 drops packets, 2 refuses, others accept after a second.
    async fn attempt(address: SocketAddr) -> io::Result<SocketAddr> {
        match address.to_string().as_bytes()[8] {
            b'1' => pending().await,
            b'2' => Err(io::Error::from_raw_os_error(111)),
            _ => {
                sleep(Duration::from_secs(1)).await;
                Ok(address)
            }
        }
    }

    #[rstest]
    #[case::one_address(&FOUR[2..3], 1000, "192.0.2.3:22")]
    #[case::after_one_that_drops_packets(&[FOUR[0], FOUR[2]], 1250, "192.0.2.3:22")]
    #[case::after_one_that_refuses(&[FOUR[1], FOUR[2]], 1000, "192.0.2.3:22")]
    #[case::two_that_accept(&FOUR[2..4], 1000, "192.0.2.3:22")]
    #[case::after_both(&FOUR[..3], 1250, "192.0.2.3:22")]
    #[tokio::test(start_paused = true)]
    async fn a_bad_address_delays_little(#[case] tried: &[&str], #[case] milliseconds: u128, #[case] reached: &str) {
        let start = Instant::now();
        let connected = race(addresses(tried), attempt).await.unwrap();
        assert_eq!(connected, reached.parse().unwrap());
        assert_eq!(start.elapsed().as_millis(), milliseconds);
    }

    #[tokio::test(start_paused = true)]
    async fn every_attempt_gets_the_full_timeout_and_reports_its_reason() {
        let start = Instant::now();
        let failed = race(addresses(&FOUR[..2]), attempt).await.unwrap_err();
        assert_eq!(start.elapsed(), CONNECT_TIMEOUT);
        let expected = "at 192.0.2.2:22: Connection refused; at 192.0.2.1:22: no answer within 10 seconds";
        assert_eq!(failed.to_string(), expected);
        assert_eq!(failed.reasons(), "Connection refused; no answer within 10 seconds");
    }

    #[rstest]
    #[case::none(&[], &[])]
    #[case::one_family(&["192.0.2.1:22", "192.0.2.2:22"], &["192.0.2.1:22", "192.0.2.2:22"])]
    #[case::two_families(
        &["[2001:db8::1]:22", "[2001:db8::2]:22", "192.0.2.1:22"],
        &["[2001:db8::1]:22", "192.0.2.1:22", "[2001:db8::2]:22"]
    )]
    #[case::duplicates(&["192.0.2.1:22", "192.0.2.1:22"], &["192.0.2.1:22"])]
    fn families_alternate(#[case] resolved: &[&str], #[case] expected: &[&str]) {
        assert_eq!(interleave_families(addresses(resolved)), addresses(expected));
    }

    #[tokio::test]
    async fn an_unknown_name_and_a_closed_port_are_distinct_errors() {
        assert!(matches!(connect("nowhere.invalid", 22).await, Err(ConnectError::Resolve(_))));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let Err(ConnectError::Failed(failed)) = connect("127.0.0.1", port).await else { panic!("the port is open") };
        assert_eq!(failed.to_string(), format!("at 127.0.0.1:{port}: Connection refused"));
    }
}
