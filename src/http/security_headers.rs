//! The security headers of every response: content security policy, HSTS, framing, referrer and caching.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use url::Url;

/// Pages run only their own scripts and styles, connect only to their own site, and cannot be framed.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// HSTS (RFC 6797): for a year, browsers use only TLS for this host.
const TRANSPORT_SECURITY: &str = "max-age=31536000";

/// The headers that are added to every response.
#[derive(Clone, Debug)]
pub struct SecurityHeaders(Vec<(HeaderName, HeaderValue)>);

impl SecurityHeaders {
    /// Returns the headers of a site with this public URL, if it has one; HSTS needs an `https` URL. Its pages may open
    /// WebSockets to the origin of `sockets`, which serves web terminals when no Ingress joins them to this site.
    pub fn new(public: Option<&Url>, sockets: Option<&Url>) -> Self {
        let fixed = [
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        ];
        let mut headers: Vec<_> =
            fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        headers.push((header::CONTENT_SECURITY_POLICY, content_security_policy(sockets)));
        if public.is_some_and(|url| url.scheme() == "https") {
            headers.push((header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(TRANSPORT_SECURITY)));
        }
        Self(headers)
    }

    /// Adds the headers to a response. A response without `Cache-Control` is not stored.
    pub async fn add(State(Self(all)): State<Self>, request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        // A handler may set a policy of its own.
        let own = headers.get(header::CONTENT_SECURITY_POLICY).cloned();
        headers.extend(all);
        if let Some(policy) = own {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

/// Allows inline styles in a response's page, for pages of third-party libraries. Inline scripts stay forbidden.
pub async fn allow_inline_styles(mut response: Response) -> Response {
    let policy = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn content_security_policy(sockets: Option<&Url>) -> HeaderValue {
    let with_sockets = sockets.map(|url| {
        let (http, authority) = (url.origin().ascii_serialization(), url.authority());
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        CONTENT_SECURITY_POLICY
            .replace("connect-src 'self'", &format!("connect-src 'self' {http} {scheme}://{authority}"))
    });
    let with_sockets = with_sockets.and_then(|policy| HeaderValue::from_str(&policy).ok());
    with_sockets.unwrap_or(HeaderValue::from_static(CONTENT_SECURITY_POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(headers: &SecurityHeaders) -> String {
        let policy = headers.0.iter().find(|(name, _)| name == header::CONTENT_SECURITY_POLICY).unwrap();
        policy.1.to_str().unwrap().to_owned()
    }

    #[test]
    fn inline_scripts_and_framing_are_forbidden() {
        let headers = SecurityHeaders::new(None, None);
        let policy = policy(&headers);
        assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(policy.contains("connect-src 'self';"), "{policy}");
    }

    #[test]
    fn a_terminal_of_another_origin_is_allowed() {
        let headers = SecurityHeaders::new(None, Some(&"http://127.0.0.1:8082".parse().unwrap()));
        let policy = policy(&headers);
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:8082 ws://127.0.0.1:8082;"), "{policy}");
    }

    #[test]
    fn only_a_site_with_tls_has_hsts() {
        let strict = |url: &str| {
            let headers = SecurityHeaders::new(Some(&url.parse().unwrap()), None);
            headers.0.iter().any(|(name, _)| name == header::STRICT_TRANSPORT_SECURITY)
        };
        assert!(strict("https://bastion.example.com"));
        assert!(!strict("http://127.0.0.1:8081"));
    }
}
