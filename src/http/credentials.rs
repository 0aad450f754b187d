//! What a request comes with to say who sends it.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::auth_error::AuthError;

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
    pub fn of(headers: &HeaderMap) -> Result<Self, AuthError> {
        let token = bearer(headers).map(|token| Self::Token(Zeroizing::new(token.to_owned())));
        token.or_else(|| cookie(headers, COOKIE).map(Self::Cookie)).ok_or(AuthError::Unknown("there is no token"))
    }

    /// Those of a WebSocket. Pages can send no header with it but the subprotocols that they speak, so that Kubernetes
    /// takes one of those for a token.
    ///
    /// # Errors
    /// When there are none.
    pub fn of_socket(headers: &HeaderMap) -> Result<Self, AuthError> {
        match token_protocol(headers) {
            Some(token) if bearer(headers).is_none() => Ok(Self::Token(Zeroizing::new(token))),
            _ => Self::of(headers),
        }
    }
}

/// The token of the header that programs send it in.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn token_protocol(headers: &HeaderMap) -> Option<String> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded = offers.flat_map(|value| value.split(',')).find_map(|it| it.trim().strip_prefix(TOKEN_PROTOCOL))?;
    let token = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    Some(token).filter(|token| !token.is_empty())
}

/// The value of the cookie of this name.
pub fn cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let sent = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = sent.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned())
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
}
