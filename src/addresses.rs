//! IP addresses of clients: the networks that contain them, and the keys under which they are counted.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// Returns whether one of the `networks` contains the address. An IPv4 address that is mapped to IPv6 counts as IPv4.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Returns the key under which an address is counted. For an IPv6 address this is its /64 network, because one client may use
/// all addresses of such a network. For an IPv4 address, also if it is mapped to IPv6, this is the IPv4 address.
pub fn rate_limit_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("10.0.0.1", true)]
    #[case("::ffff:10.0.0.1", true)]
    #[case("10.0.1.1", false)]
    #[case("fd00::1", true)]
    fn an_address_is_in_one_of_the_networks(#[case] address: IpAddr, #[case] expected: bool) {
        let networks = ["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()];
        assert_eq!(contains(&networks, address), expected);
    }

    #[rstest]
    #[case("192.0.2.1", "192.0.2.1")]
    #[case("::ffff:192.0.2.1", "192.0.2.1")]
    #[case("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
    fn an_address_counts_as_its_network(#[case] address: &str, #[case] expected: &str) {
        assert_eq!(rate_limit_key(address.parse().unwrap()).to_string(), expected);
    }
}
