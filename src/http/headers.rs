//! What every answer tells a browser, so that no other site can make use of it.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use url::Url;

/// The page runs its own scripts and styles and speaks to its own site, and nobody shows it in a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
/// For a year nothing of this host is asked for in the clear.
const TRANSPORT_SECURITY: &str = "max-age=31536000";

/// The headers of every answer.
#[derive(Clone, Debug)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// For a site that people know by this URL, if they know it by one. Of an origin other than this site's, which is not
    /// there behind an Ingress, its pages may open WebSockets.
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

    /// Adds them to an answer. What says nothing of how long it may be kept may not be kept.
    pub async fn add(State(Self(all)): State<Self>, request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        // An answer that needs another policy brings it.
        let own = headers.get(header::CONTENT_SECURITY_POLICY).cloned();
        headers.extend(all);
        if let Some(policy) = own {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

/// Lets an answer's page have styles in its own text, as pages of others have: scripts it has none there.
pub async fn with_inline_styles(mut response: Response) -> Response {
    let policy = CONTENT_SECURITY_POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'");
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn content_security_policy(sockets: Option<&Url>) -> HeaderValue {
    let other = sockets.map(|url| {
        let (http, authority) = (url.origin().ascii_serialization(), url.authority());
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        CONTENT_SECURITY_POLICY
            .replace("connect-src 'self'", &format!("connect-src 'self' {http} {scheme}://{authority}"))
    });
    let other = other.and_then(|policy| HeaderValue::from_str(&policy).ok());
    other.unwrap_or(HeaderValue::from_static(CONTENT_SECURITY_POLICY))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(headers: &Headers) -> String {
        let policy = headers.0.iter().find(|(name, _)| name == header::CONTENT_SECURITY_POLICY).unwrap();
        policy.1.to_str().unwrap().to_owned()
    }

    #[test]
    fn no_script_in_a_page_runs_and_no_other_site_shows_it() {
        let headers = Headers::new(None, None);
        let policy = policy(&headers);
        assert!(policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(policy.contains("connect-src 'self';"), "{policy}");
    }

    #[test]
    fn a_terminal_elsewhere_may_be_reached() {
        let headers = Headers::new(None, Some(&"http://127.0.0.1:8082".parse().unwrap()));
        let policy = policy(&headers);
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:8082 ws://127.0.0.1:8082;"), "{policy}");
    }

    #[test]
    fn a_site_with_tls_is_never_asked_for_in_the_clear() {
        let strict = |url: &str| {
            let headers = Headers::new(Some(&url.parse().unwrap()), None);
            headers.0.iter().any(|(name, _)| name == header::STRICT_TRANSPORT_SECURITY)
        };
        assert!(strict("https://bastion.example.com"));
        assert!(!strict("http://127.0.0.1:8081"));
    }
}
