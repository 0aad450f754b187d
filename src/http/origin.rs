//! Protects against cross-site requests by the `Origin` header (RFC 6454), which browsers set.

use axum::http::{HeaderMap, header};
use url::{Origin, Url};

use super::auth_error::AuthError;
use super::credentials::bearer_token;

/// The origins whose pages may send requests: that of the `Host` header, and that of the public URL if there is one. A
/// reverse proxy may change the `Host` header. If the public URL uses HTTPS, HTTP origins with the same host are refused, because
/// anybody on the network can forge their pages.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    public: Option<Origin>,
}

impl Origins {
    /// Allows the public URL in addition to the `Host` header.
    pub fn new(public: Option<&Url>) -> Self {
        Self { public: public.map(Url::origin) }
    }

    /// Accepts a request that has no `Origin` header, or one of this site.
    ///
    /// # Errors
    /// [`AuthError::ForeignOrigin`] if the header names another site.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        match headers.get(header::ORIGIN) {
            Some(origin) if origin.to_str().is_ok_and(|origin| self.contains(origin, headers)) => Ok(()),
            Some(_) => Err(AuthError::ForeignOrigin),
            None => Ok(()),
        }
    }

    /// Checks a request that changes something. It needs an `Origin` header of this site unless it carries a bearer
    /// token, because a browser sends cookies with any site's request.
    ///
    /// # Errors
    /// [`AuthError::ForeignOrigin`] if the header is missing or names another site.
    pub fn check_write(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        if bearer_token(headers).is_none() && headers.get(header::ORIGIN).is_none() {
            return Err(AuthError::ForeignOrigin);
        }
        self.check(headers)
    }

    fn contains(&self, origin: &str, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let site = origin.split_once("://").map(|(_, site)| site);
        let same_host = matches!((site, host), (Some(site), Some(host)) if site.eq_ignore_ascii_case(host));
        let origin = Url::parse(origin).ok().map(|origin| origin.origin());
        match (&origin, &self.public) {
            (Some(origin), Some(public)) if origin == public => true,
            (Some(origin), Some(public)) if is_downgrade(origin, public) => false,
            _ => same_host,
        }
    }
}

/// Returns whether `origin` has the host of an HTTPS public URL, but does not use HTTPS itself.
fn is_downgrade(origin: &Origin, public: &Origin) -> bool {
    match (origin, public) {
        (Origin::Tuple(scheme, host, _), Origin::Tuple(public_scheme, public_host, _)) => {
            host == public_host && public_scheme == "https" && scheme != "https"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::a_program(None, true)]
    #[case::this_site(Some("https://console.example"), true)]
    #[case::this_site_in_capitals(Some("https://Console.Example"), true)]
    #[case::the_public_site(Some("https://bastion.example.com"), true)]
    #[case::the_public_site_without_tls(Some("http://bastion.example.com"), false)]
    #[case::another_site(Some("https://evil.example"), false)]
    #[case::another_port(Some("https://console.example:8443"), false)]
    #[case::a_longer_name(Some("https://console.example.evil.example"), false)]
    #[case::a_file(Some("null"), false)]
    fn a_page_of_another_site_is_refused(#[case] origin: Option<&'static str>, #[case] accepted: bool) {
        let origins = Origins::new(Some(&"https://bastion.example.com/".parse().unwrap()));
        let mut sent = HeaderMap::new();
        sent.insert(header::HOST, "console.example".parse().unwrap());
        if let Some(origin) = origin {
            sent.insert(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(origins.check(&sent).is_ok(), accepted);
        assert_eq!(
            origins.check_write(&sent).is_ok(),
            accepted && origin.is_some(),
            "without an origin, a write needs a token"
        );
        sent.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        assert_eq!(origins.check_write(&sent).is_ok(), accepted);
    }

    #[rstest]
    #[case::with_tls("https://bastion.example.com", true)]
    #[case::without_tls("http://bastion.example.com", false)]
    #[case::another_port("https://bastion.example.com:8443", false)]
    fn a_page_without_tls_is_not_the_public_site(#[case] origin: &'static str, #[case] accepted: bool) {
        let origins = Origins::new(Some(&"https://bastion.example.com/".parse().unwrap()));
        let mut sent = HeaderMap::new();
        sent.insert(header::HOST, "bastion.example.com".parse().unwrap());
        sent.insert(header::ORIGIN, origin.parse().unwrap());
        assert_eq!(origins.check(&sent).is_ok(), accepted);
    }
}
