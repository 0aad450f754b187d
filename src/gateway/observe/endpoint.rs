//! Where a gateway instance lets sessions be followed, as its Lease says it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::certificate::Fingerprint;

/// The annotations of the Lease.
const ADDRESS: &str = "bastion.dev/follow-address";
const CERTIFICATE: &str = "bastion.dev/follow-certificate";

/// Where it is, and who it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, within the cluster.
    pub address: SocketAddr,
    /// The certificate.
    pub certificate: Fingerprint,
}

impl Endpoint {
    /// As annotations.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        [(ADDRESS.to_owned(), self.address.to_string()), (CERTIFICATE.to_owned(), self.certificate.to_text())].into()
    }

    /// As annotations say it; nothing where they say nothing, or nothing that makes sense.
    pub fn of(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let address = annotations.get(ADDRESS)?.parse().ok()?;
        let certificate = Fingerprint::of_text(annotations.get(CERTIFICATE)?)?;
        Some(Self { address, certificate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::observe::certificate;

    #[test]
    fn a_lease_says_it() {
        let (_, certificate) = certificate::new().unwrap();
        let place = Endpoint { address: "[2001:db8::1]:8443".parse().unwrap(), certificate };
        assert_eq!(Endpoint::of(&place.annotations()), Some(place));
        assert_eq!(Endpoint::of(&BTreeMap::new()), None);
    }
}
