//! The address and certificate of a program's server for consoles, as annotations of the instance's Lease.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::certificate::Fingerprint;

/// A service that instances of one program offer to consoles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// The service's name in the audience of the consoles' tokens.
    pub name: &'static str,
    /// The annotation with the address.
    address: &'static str,
    /// The annotation with the fingerprint of the certificate.
    certificate: &'static str,
}

impl Service {
    /// The gateways' live terminals.
    pub const TERMINALS: Self = Self {
        name: "terminals",
        address: "bastion.dev/follow-address",
        certificate: "bastion.dev/follow-certificate",
    };
    /// The history of the audit database.
    pub const HISTORY: Self = Self {
        name: "history",
        address: "bastion.dev/history-address",
        certificate: "bastion.dev/history-certificate",
    };
}

/// Where consoles connect, and the certificate that they accept there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address within the cluster.
    pub address: SocketAddr,
    /// The fingerprint of the certificate.
    pub certificate: Fingerprint,
}

impl Endpoint {
    /// Returns the annotations that publish the endpoint of a service.
    pub fn annotations(&self, service: Service) -> BTreeMap<String, String> {
        let (address, certificate) = (self.address.to_string(), self.certificate.to_base64());
        [(service.address.to_owned(), address), (service.certificate.to_owned(), certificate)].into()
    }

    /// Parses the annotations of a Lease. Returns `None` if those of the service are missing or invalid.
    pub fn from_annotations(service: Service, annotations: &BTreeMap<String, String>) -> Option<Self> {
        let address = annotations.get(service.address)?.parse().ok()?;
        let certificate = Fingerprint::from_base64(annotations.get(service.certificate)?)?;
        Some(Self { address, certificate })
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate;
    use super::*;

    #[test]
    fn an_endpoint_is_read_from_the_annotations_of_its_service() {
        let (_, certificate) = certificate::generate().unwrap();
        let endpoint = Endpoint { address: "[2001:db8::1]:8443".parse().unwrap(), certificate };
        let annotations = endpoint.annotations(Service::HISTORY);
        assert_eq!(Endpoint::from_annotations(Service::HISTORY, &annotations), Some(endpoint));
        assert_eq!(Endpoint::from_annotations(Service::TERMINALS, &annotations), None);
        assert_eq!(Endpoint::from_annotations(Service::HISTORY, &BTreeMap::new()), None);
    }
}
