//! Decides whether a connection leads to its peer itself or to a proxy, by the networks in the settings.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::addresses::contains;
use crate::lifecycle::TcpPath;

/// The networks that decide whether a connection leads to its peer itself or to a proxy.
#[derive(Clone, Debug, Default)]
pub struct TcpPaths {
    /// The proxies that end the clients' TCP connections and send no PROXY header.
    pub tcp_proxies: Vec<IpNet>,
    /// The targets that the gateway reaches without a proxy that ends TCP connections.
    pub direct_targets: Vec<IpNet>,
}

impl TcpPaths {
    /// Returns the path of a connection that comes from `peer` without a PROXY header.
    pub fn to_client(&self, peer: IpAddr) -> TcpPath {
        if contains(&self.tcp_proxies, peer) { TcpPath::Proxied } else { TcpPath::Direct }
    }

    /// Returns the path of a connection to a target at `address`. Outside of `direct_targets`, the path counts as proxied,
    /// because the gateway cannot see the sidecar of a service mesh: the connection still has the target's own address.
    pub fn to_target(&self, address: Option<IpAddr>) -> TcpPath {
        let is_direct = address.is_some_and(|address| contains(&self.direct_targets, address));
        if is_direct { TcpPath::Direct } else { TcpPath::Proxied }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("127.0.0.6", TcpPath::Proxied, TcpPath::Proxied)]
    #[case("::ffff:127.0.0.6", TcpPath::Proxied, TcpPath::Proxied)]
    #[case("10.1.2.3", TcpPath::Direct, TcpPath::Direct)]
    #[case("192.0.2.1", TcpPath::Direct, TcpPath::Proxied)]
    fn the_settings_tell_the_path(#[case] address: IpAddr, #[case] client: TcpPath, #[case] target: TcpPath) {
        let network = |text: &str| vec![text.parse().unwrap()];
        let paths = TcpPaths { tcp_proxies: network("127.0.0.6/32"), direct_targets: network("10.0.0.0/8") };
        assert_eq!((paths.to_client(address), paths.to_target(Some(address))), (client, target));
        assert_eq!(paths.to_target(None), TcpPath::Proxied);
    }
}
