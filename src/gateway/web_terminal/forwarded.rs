//! Where a request comes from that proxies have passed on.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Whether what has sent a request is one of these proxies.
pub fn is_proxy(proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|network| network.contains(&address))
}

/// The address that a request comes from: of those in X-Forwarded-For the last that is no proxy's, where a proxy has sent it.
/// What stands before that anybody may have written.
pub fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let said = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let said: Vec<&str> = said.flat_map(|value| value.split(',')).map(str::trim).collect();
    for address in said.into_iter().rev() {
        if !is_proxy(proxies, client) {
            break;
        }
        match address.parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::direct("192.0.2.7", &[], "192.0.2.7")]
    #[case::direct_and_boasting("192.0.2.7", &["10.0.0.1"], "192.0.2.7")]
    #[case::behind_a_proxy("10.0.0.9", &["198.51.100.4"], "198.51.100.4")]
    #[case::behind_two("10.0.0.9", &["198.51.100.4, 10.0.0.8"], "198.51.100.4")]
    #[case::in_two_headers("10.0.0.9", &["198.51.100.4", "10.0.0.8"], "198.51.100.4")]
    #[case::forged("10.0.0.9", &["127.0.0.1, 198.51.100.4"], "198.51.100.4")]
    #[case::not_an_address("10.0.0.9", &["198.51.100.4, unknown"], "10.0.0.9")]
    #[case::nothing_said("10.0.0.9", &[], "10.0.0.9")]
    #[case::v4_in_v6("::ffff:10.0.0.9", &["2001:db8::1"], "2001:db8::1")]
    fn a_client_is_whom_the_nearest_stranger_was(#[case] peer: &str, #[case] said: &[&str], #[case] expected: &str) {
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let proxies = ["10.0.0.0/24".parse().unwrap()];
        assert_eq!(client(peer.parse().unwrap(), &headers, &proxies).to_string(), expected);
    }
}
