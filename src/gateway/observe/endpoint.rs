//! The address and certificate of a gateway instance's observer server, as annotations of its Lease.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::certificate::Fingerprint;

const ADDRESS_ANNOTATION: &str = "bastion.dev/follow-address";
const CERTIFICATE_ANNOTATION: &str = "bastion.dev/follow-certificate";

/// Where consoles connect, and the certificate that they accept there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address within the cluster.
    pub address: SocketAddr,
    /// The fingerprint of the certificate.
    pub certificate: Fingerprint,
}

impl Endpoint {
    /// Returns the annotations that publish the endpoint.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let (address, certificate) = (self.address.to_string(), self.certificate.to_base64());
        [(ADDRESS_ANNOTATION.to_owned(), address), (CERTIFICATE_ANNOTATION.to_owned(), certificate)].into()
    }

    /// Parses the annotations of a Lease. Returns `None` if they are missing or invalid.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Option<Self> {
        let address = annotations.get(ADDRESS_ANNOTATION)?.parse().ok()?;
        let certificate = Fingerprint::from_base64(annotations.get(CERTIFICATE_ANNOTATION)?)?;
        Some(Self { address, certificate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::observe::certificate;

    #[test]
    fn an_endpoint_is_read_from_its_annotations() {
        let (_, certificate) = certificate::generate().unwrap();
        let endpoint = Endpoint { address: "[2001:db8::1]:8443".parse().unwrap(), certificate };
        assert_eq!(Endpoint::from_annotations(&endpoint.annotations()), Some(endpoint));
        assert_eq!(Endpoint::from_annotations(&BTreeMap::new()), None);
    }
}
