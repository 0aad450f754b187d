//! The credentials of a request: a bearer token, or the console's sign-in cookie.

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::auth_error::AuthError;

/// The prefix of the WebSocket subprotocol in which Kubernetes takes a bearer token.
const TOKEN_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// The cookie of a browser that has signed in. Browsers accept the prefix `__Host-` only over TLS or from localhost,
/// and send such a cookie only to the host that set it (RFC 6265bis, section 4.1.3.2).
pub const SIGN_IN_COOKIE: &str = "__Host-bastion";

/// Credentials that are not verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The token of a Kubernetes user.
    Token(Zeroizing<String>),
    /// The value of the console's sign-in cookie.
    Cookie(String),
}

impl Credentials {
    /// Returns the credentials of a request. A token takes precedence over a cookie.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] if there are none.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, AuthError> {
        let token = bearer_token(headers).map(|token| Self::Token(Zeroizing::new(token.to_owned())));
        let credentials = token.or_else(|| cookie(headers, SIGN_IN_COOKIE).map(Self::Cookie));
        credentials.ok_or(AuthError::Unauthenticated("there is no token"))
    }

    /// Returns the credentials of a WebSocket. A page cannot set its headers except for the subprotocols, so that a
    /// token may come as one of these, as in Kubernetes.
    ///
    /// # Errors
    /// [`AuthError::Unauthenticated`] if there are none.
    pub fn from_websocket(headers: &HeaderMap) -> Result<Self, AuthError> {
        match subprotocol_token(headers) {
            Some(token) if bearer_token(headers).is_none() => Ok(Self::Token(Zeroizing::new(token))),
            _ => Self::from_headers(headers),
        }
    }
}

/// Returns the bearer token of the `Authorization` header (RFC 6750, section 2.1).
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn subprotocol_token(headers: &HeaderMap) -> Option<String> {
    let offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let encoded = offers.flat_map(|value| value.split(',')).find_map(|it| it.trim().strip_prefix(TOKEN_PROTOCOL))?;
    let token = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    Some(token).filter(|token| !token.is_empty())
}

/// Returns the value of a request's cookie.
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
    fn a_bearer_token_is_read(#[case] header: Option<&'static str>, #[case] token: Option<&str>) {
        let headers = header.map(|header| headers(&[(header::AUTHORIZATION, header)])).unwrap_or_default();
        assert_eq!(bearer_token(&headers), token);
    }

    #[rstest]
    #[case(&["feed.bastion.dev, base64url.bearer.authorization.k8s.io.YWJj"], Some("abc"))]
    #[case(&["feed.bastion.dev", "base64url.bearer.authorization.k8s.io.YWJj"], Some("abc"))]
    #[case(&["base64url.bearer.authorization.k8s.io.YWJj="], None)]
    #[case(&["base64url.bearer.authorization.k8s.io."], None)]
    #[case(&["feed.bastion.dev"], None)]
    #[case(&[], None)]
    fn a_token_in_a_subprotocol_is_read(#[case] protocols: &[&'static str], #[case] token: Option<&str>) {
        let of = |token: &str| Credentials::Token(Zeroizing::new(token.to_owned()));
        let mut headers = HeaderMap::new();
        for protocol in protocols {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, protocol.parse().unwrap());
        }
        assert_eq!(Credentials::from_websocket(&headers).ok(), token.map(of));
        headers.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        assert_eq!(Credentials::from_websocket(&headers).ok(), Some(of("xyz")));
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
        assert_eq!(Credentials::from_headers(&headers).ok(), value.map(|value| Credentials::Cookie(value.to_owned())));
        headers.insert(header::AUTHORIZATION, "Bearer xyz".parse().unwrap());
        let token = Credentials::Token(Zeroizing::new("xyz".to_owned()));
        assert_eq!(Credentials::from_headers(&headers).ok(), Some(token), "a token takes precedence");
    }
}
