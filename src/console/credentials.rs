//! What a request comes with to say who sends it, and whether the console's own page sent it.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::failure::Failure;

/// What the subprotocol begins with that is a token.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// The cookie. A browser takes one of this prefix from a site that speaks TLS or is this machine, for that site alone.
pub const COOKIE: &str = "__Host-bastion";

/// Who sends a request, as they say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The token of a Kubernetes user.
    Token(Zeroizing<String>),
    /// What the console gave a browser.
    Cookie(String),
}

impl Credentials {
    /// Those of a request.
    ///
    /// # Errors
    /// When there are none.
    pub fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let token = bearer(headers).map(|token| Self::Token(Zeroizing::new(token.to_owned())));
        token.or_else(|| cookie(headers).map(Self::Cookie)).ok_or(Failure::Unknown("there is no token"))
    }

    /// Those of a WebSocket. Pages can send no header with it but the subprotocols that they speak, so that Kubernetes
    /// takes one of those for a token.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_socket(headers: &HeaderMap) -> Result<Self, Failure> {
        match token_protocol(headers) {
            Some(token) if bearer(headers).is_none() => Ok(Self::Token(Zeroizing::new(token))),
            _ => Self::of(headers),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn token_protocol(headers: &HeaderMap) -> Option<String> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded = offers.flat_map(|value| value.split(',')).find_map(|it| it.trim().strip_prefix(TOKEN_PROTOCOL))?;
    let token = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    Some(token).filter(|token| !token.is_empty())
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// A browser says from which site a WebSocket is opened, or something is changed: from another than this one it may be
/// somebody else's doing.
///
/// # Errors
/// When it is another site's.
pub fn check_origin(headers: &HeaderMap) -> Result<(), Failure> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    match (site, text(header::HOST)) {
        (Some(site), Some(host)) if site.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(Failure::Origin),
    }
}

/// The same for what relies on a cookie, which a browser sends by itself: where nothing is said of the site, it is not known
/// to be this one.
///
/// # Errors
/// When it is not known to be this site's.
pub fn check_writes(headers: &HeaderMap) -> Result<(), Failure> {
    if bearer(headers).is_none() && headers.get(header::ORIGIN).is_none() {
        return Err(Failure::Origin);
    }
    check_origin(headers)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[rstest]
    #[case(Some("Bearer abc"), Some("abc"))]
    #[case(Some("bearer  abc "), Some("abc"))]
    #[case(Some("Basic abc"), None)]
    #[case(Some("Bearer "), None)]
    #[case(Some("Bearer"), None)]
    #[case(None, None)]
    fn a_token_is_read(#[case] header: Option<&'static str>, #[case] token: Option<&str>) {
        let headers = header.map(|header| headers(&[(header::AUTHORIZATION, header)])).unwrap_or_default();
        assert_eq!(bearer(&headers), token);
    }

    #[rstest]
    #[case(&["feed.bastion.dev, base64url.bearer.authorization.k8s.io.YWJj"], Some("abc"))]
    #[case(&["feed.bastion.dev", "base64url.bearer.authorization.k8s.io.YWJj"], Some("abc"))]
    #[case(&["base64url.bearer.authorization.k8s.io.YWJj="], None)]
    #[case(&["base64url.bearer.authorization.k8s.io."], None)]
    #[case(&["feed.bastion.dev"], None)]
    #[case(&[], None)]
    fn a_token_of_a_page_is_read(#[case] protocols: &[&'static str], #[case] token: Option<&str>) {
        let of = |token: &str| Credentials::Token(Zeroizing::new(token.to_owned()));
        let mut headers = HeaderMap::new();
        for protocol in protocols {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
        }
        assert_eq!(Credentials::of_socket(&headers).ok(), token.map(of));
        headers.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        assert_eq!(Credentials::of_socket(&headers).ok(), Some(of("xyz")));
    }

    #[rstest]
    #[case(&["__Host-bastion=abc"], Some("abc"))]
    #[case(&["a=b; __Host-bastion=abc; c=d"], Some("abc"))]
    #[case(&["a=b", "__Host-bastion=abc"], Some("abc"))]
    #[case(&["bastion=abc"], None)]
    #[case(&["x__Host-bastion=abc"], None)]
    fn a_cookie_is_read(#[case] cookies: &[&'static str], #[case] value: Option<&str>) {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(header::COOKIE, cookie.parse().unwrap());
        }
        assert_eq!(Credentials::of(&headers).ok(), value.map(|value| Credentials::Cookie(value.to_owned())));
        headers.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        let token = Credentials::Token(Zeroizing::new("xyz".to_owned()));
        assert_eq!(Credentials::of(&headers).ok(), Some(token), "who sends a token means it");
    }

    #[rstest]
    #[case::a_program(None, true)]
    #[case::this_site(Some("https://console.example"), true)]
    #[case::this_site_in_capitals(Some("https://Console.Example"), true)]
    #[case::another_site(Some("https://evil.example"), false)]
    #[case::another_port(Some("https://console.example:8443"), false)]
    #[case::a_longer_name(Some("https://console.example.evil.example"), false)]
    #[case::a_file(Some("null"), false)]
    fn a_page_of_another_site_is_refused(#[case] origin: Option<&'static str>, #[case] welcome: bool) {
        let mut sent = headers(&[(header::HOST, "console.example")]);
        if let Some(origin) = origin {
            sent.insert(header::ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(check_origin(&sent).is_ok(), welcome);
        assert_eq!(check_writes(&sent).is_ok(), welcome && origin.is_some(), "a program has a token");
        sent.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        assert_eq!(check_writes(&sent).is_ok(), welcome);
    }
}
