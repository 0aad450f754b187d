//! The TCP connection to a target: every address of its name has its chance, and one that swallows packets holds up none
//! of the others (RFC 8305).

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

/// How long the target's name may take to be resolved.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long each address may take to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an address is given before the next one is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How many addresses of a name are tried.
const MAX_ADDRESSES: usize = 8;

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The name has no address.
    Unresolved(String),
    /// None of the addresses took the connection.
    Failed(Tried),
}

/// The addresses that were tried, and why each of them failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Tried(Vec<(SocketAddr, String)>);

impl Tried {
    /// Why, without saying where.
    pub fn reasons(&self) -> String {
        let mut reasons: Vec<&str> = self.0.iter().map(|(_, why)| why.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        reasons.join("; ")
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (address, why)) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}at {address}: {why}")?;
        }
        Ok(())
    }
}

/// Connects to the first address of `host` that takes the connection.
///
/// # Errors
/// When none does.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let addresses = match timeout(RESOLVE_TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => in_turns(addresses.collect()),
        Ok(Err(error)) => return Err(ConnectError::Unresolved(plain(&error))),
        Err(_) => return Err(ConnectError::Unresolved("the name server did not answer".to_owned())),
    };
    if addresses.is_empty() {
        return Err(ConnectError::Unresolved("the name has no address".to_owned()));
    }
    let attempt = async |address| TcpStream::connect(address).await.and_then(|it| it.set_nodelay(true).map(|()| it));
    race(addresses, attempt).await.map_err(ConnectError::Failed)
}

/// What an I/O error says, without the system's number for it.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The addresses as the resolver has them, but of both families in turns, so that a family that leads nowhere costs little.
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().copied() else { return addresses };
    let (mut one, mut other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|it| it.is_ipv4() == first.is_ipv4());
    one.dedup();
    other.dedup();
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let turns = std::iter::from_fn(|| match (one.next(), other.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1]),
    });
    turns.flatten().flatten().take(MAX_ADDRESSES).collect()
}

/// Tries the addresses in their order: the next one as soon as one has failed, or beside those that have not answered yet.
async fn race<T>(addresses: Vec<SocketAddr>, connect: impl AsyncFn(SocketAddr) -> io::Result<T>) -> Result<T, Tried> {
    let attempt = async |address| {
        let why = match timeout(CONNECT_TIMEOUT, connect(address)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => plain(&error),
            Err(_) => format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs()),
        };
        Err((address, why))
    };
    let (mut waiting, mut under_way, mut failed) = (addresses.into_iter(), FuturesUnordered::new(), Vec::new());
    loop {
        under_way.extend(waiting.next().map(&attempt));
        tokio::select! {
            answer = under_way.next() => match answer {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(why)) => failed.push(why),
                None => return Err(Tried(failed)),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
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

    /// Connects to addresses whose last number says what happens: 1 swallows packets, 2 refuses, others answer after a second.
    async fn behave(address: SocketAddr) -> io::Result<SocketAddr> {
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
    #[case::an_only_one(&FOUR[2..3], 1000, "192.0.2.3:22")]
    #[case::behind_a_black_hole(&[FOUR[0], FOUR[2]], 1250, "192.0.2.3:22")]
    #[case::behind_a_refusal(&[FOUR[1], FOUR[2]], 1000, "192.0.2.3:22")]
    #[case::the_first_of_two(&FOUR[2..4], 1000, "192.0.2.3:22")]
    #[case::behind_both(&FOUR[..3], 1250, "192.0.2.3:22")]
    #[tokio::test(start_paused = true)]
    async fn a_bad_address_costs_little(#[case] tried: &[&str], #[case] milliseconds: u128, #[case] reached: &str) {
        let start = Instant::now();
        let answer = race(addresses(tried), behave).await.unwrap();
        assert_eq!(answer, reached.parse().unwrap());
        assert_eq!(start.elapsed().as_millis(), milliseconds);
    }

    #[tokio::test(start_paused = true)]
    async fn every_address_has_the_whole_time_and_its_own_word() {
        let start = Instant::now();
        let tried = race(addresses(&FOUR[..2]), behave).await.unwrap_err();
        assert_eq!(start.elapsed(), CONNECT_TIMEOUT);
        let told = "at 192.0.2.2:22: Connection refused; at 192.0.2.1:22: no answer within 10 seconds";
        assert_eq!(tried.to_string(), told);
        assert_eq!(tried.reasons(), "Connection refused; no answer within 10 seconds");
    }

    #[rstest]
    #[case::none(&[], &[])]
    #[case::one_family(&["192.0.2.1:22", "192.0.2.2:22"], &["192.0.2.1:22", "192.0.2.2:22"])]
    #[case::two(
        &["[2001:db8::1]:22", "[2001:db8::2]:22", "192.0.2.1:22"],
        &["[2001:db8::1]:22", "192.0.2.1:22", "[2001:db8::2]:22"]
    )]
    #[case::twice_the_same(&["192.0.2.1:22", "192.0.2.1:22"], &["192.0.2.1:22"])]
    fn families_take_turns(#[case] resolved: &[&str], #[case] turns: &[&str]) {
        assert_eq!(in_turns(addresses(resolved)), addresses(turns));
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_and_a_port_that_nobody_has_are_told_apart() {
        assert!(matches!(connect("nowhere.invalid", 22).await, Err(ConnectError::Unresolved(_))));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let Err(ConnectError::Failed(tried)) = connect("127.0.0.1", port).await else { panic!("somebody listens") };
        assert_eq!(tried.to_string(), format!("at 127.0.0.1:{port}: Connection refused"));
    }
}
