//! The audience of the tokens with which consoles authenticate. Only the API server can sign a token for it.

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::certificate::Fingerprint;
use super::endpoint::Service;

/// Returns the audience of a request for a service. It names the instance by its certificate, and the user by the header, so
/// that a token is of no use at another instance or for another user.
pub fn audience(service: Service, certificate: &Fingerprint, user: &HeaderValue) -> String {
    let user = URL_SAFE_NO_PAD.encode(digest(&SHA256, user.as_bytes()));
    format!("bastion.dev/{}/{}/{user}", service.name, URL_SAFE_NO_PAD.encode(certificate.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::certificate;
    use super::*;

    #[test]
    fn an_audience_is_of_one_service_one_instance_and_one_user() {
        let ((_, here), (_, there)) = (certificate::generate().unwrap(), certificate::generate().unwrap());
        let (alice, bob) = (HeaderValue::from_static("alice"), HeaderValue::from_static("bob"));
        let of_alice = audience(Service::TERMINALS, &here, &alice);
        assert_eq!(of_alice, audience(Service::TERMINALS, &here, &alice));
        assert!(of_alice.starts_with("bastion.dev/terminals/"), "the admission policy knows it by its beginning");
        for other in [
            audience(Service::HISTORY, &here, &alice),
            audience(Service::TERMINALS, &there, &alice),
            audience(Service::TERMINALS, &here, &bob),
        ] {
            assert_ne!(of_alice, other);
        }
    }
}
