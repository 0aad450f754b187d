//! Where connections come from: what counts as one place when something is counted by address.

use std::net::{IpAddr, Ipv6Addr};

/// The network that an address stands for. That of an IPv6 address has 64 bits, since anybody has plenty of addresses in
/// theirs; an IPv4 address stands for itself, however it is written.
pub fn source(address: IpAddr) -> IpAddr {
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
    #[case("192.0.2.1", "192.0.2.1")]
    #[case("::ffff:192.0.2.1", "192.0.2.1")]
    #[case("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
    fn an_address_stands_for_what_one_party_has(#[case] address: &str, #[case] expected: &str) {
        assert_eq!(source(address.parse().unwrap()).to_string(), expected);
    }
}
