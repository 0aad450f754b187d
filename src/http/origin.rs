//! Whether a page of this site's has a request sent: a browser says which site's page it is.

use axum::http::{HeaderMap, header};
use url::{Origin, Url};

use super::auth_error::AuthError;
use super::credentials::bearer;

/// The site's own pages: those of the host that the request is for, and those of the public URL, where it has one and what
/// is before it changes the host.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    public: Option<Origin>,
}

impl Origins {
    /// With the URL by which people know the site, if it has one.
    pub fn new(public: Option<&Url>) -> Self {
        Self { public: public.map(Url::origin) }
    }

    /// Lets through what a page of this site's has sent, or no page.
    ///
    /// # Errors
    /// When it is another site's.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        match headers.get(header::ORIGIN) {
            Some(origin) if origin.to_str().is_ok_and(|origin| self.has(origin, headers)) => Ok(()),
            Some(_) => Err(AuthError::Origin),
            None => Ok(()),
        }
    }

    /// The same for what changes something, and may rely on a cookie, which a browser sends by itself: where nothing is
    /// said of the site, it is not known to be this one.
    ///
    /// # Errors
    /// When it is not known to be this site's.
    pub fn check_write(&self, headers: &HeaderMap) -> Result<(), AuthError> {
        if bearer(headers).is_none() && headers.get(header::ORIGIN).is_none() {
            return Err(AuthError::Origin);
        }
        self.check(headers)
    }

    fn has(&self, origin: &str, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let site = origin.split_once("://").map(|(_, site)| site);
        let same = matches!((site, host), (Some(site), Some(host)) if site.eq_ignore_ascii_case(host));
        same || self.public.as_ref().is_some_and(|public| Url::parse(origin).is_ok_and(|it| it.origin() == *public))
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
    #[case::the_public_site_in_the_clear(Some("http://bastion.example.com"), false)]
    #[case::another_site(Some("https://evil.example"), false)]
    #[case::another_port(Some("https://console.example:8443"), false)]
    #[case::a_longer_name(Some("https://console.example.evil.example"), false)]
    #[case::a_file(Some("null"), false)]
    fn a_page_of_another_site_is_refused(#[case] origin: Option<&'static str>, #[case] welcome: bool) {
        let origins = Origins::new(Some(&"https://bastion.example.com/".parse().unwrap()));
        let mut sent = HeaderMap::new();
        sent.insert(header::HOST, "console.example".parse().unwrap());
        if let Some(origin) = origin {
            sent.insert(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(origins.check(&sent).is_ok(), welcome);
        assert_eq!(origins.check_write(&sent).is_ok(), welcome && origin.is_some(), "a program has a token");
        sent.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        assert_eq!(origins.check_write(&sent).is_ok(), welcome);
    }
}
