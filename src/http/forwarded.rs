//! The client's address behind trusted proxies, by the `X-Forwarded-For` header.

use std::net::IpAddr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::addresses::contains;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Returns the rightmost `X-Forwarded-For` address that is not a trusted proxy's, or `peer` if that is no trusted
/// proxy. Addresses further left may be forged.
pub fn client(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let mut client = peer.to_canonical();
    let values = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let addresses: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
    for address in addresses.into_iter().rev() {
        if !contains(proxies, client) {
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
    #[case::direct_with_a_forged_header("192.0.2.7", &["10.0.0.1"], "192.0.2.7")]
    #[case::behind_a_proxy("10.0.0.9", &["198.51.100.4"], "198.51.100.4")]
    #[case::behind_two("10.0.0.9", &["198.51.100.4, 10.0.0.8"], "198.51.100.4")]
    #[case::in_two_headers("10.0.0.9", &["198.51.100.4", "10.0.0.8"], "198.51.100.4")]
    #[case::forged("10.0.0.9", &["127.0.0.1, 198.51.100.4"], "198.51.100.4")]
    #[case::not_an_address("10.0.0.9", &["198.51.100.4, unknown"], "10.0.0.9")]
    #[case::no_header("10.0.0.9", &[], "10.0.0.9")]
    #[case::v4_in_v6("::ffff:10.0.0.9", &["2001:db8::1"], "2001:db8::1")]
    fn the_client_is_the_rightmost_untrusted_address(
        #[case] peer: &str,
        #[case] values: &[&str],
        #[case] expected: &str,
    ) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(FORWARDED_FOR, value.parse().unwrap());
        }
        let proxies = ["10.0.0.0/24".parse().unwrap()];
        assert_eq!(client(peer.parse().unwrap(), &headers, &proxies).to_string(), expected);
    }
}
