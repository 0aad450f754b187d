//! The header in which a console names the user on whose behalf it asks.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::UserInfo;

/// The header with the user: a Kubernetes user, as JSON in base64.
const USER_HEADER: HeaderName = HeaderName::from_static("bastion-person");

/// The user on whose behalf a console asks. The user has a name.
#[derive(Clone, Debug, PartialEq)]
pub struct ImpersonatedUser(UserInfo);

impl ImpersonatedUser {
    /// Returns the user; `None` if the user has no name.
    pub fn new(user: UserInfo) -> Option<Self> {
        let is_named = user.username.as_ref().is_some_and(|name| !name.is_empty());
        is_named.then_some(Self(user))
    }

    /// Returns the Kubernetes user name, never empty.
    pub fn name(&self) -> &str {
        self.0.username.as_deref().unwrap_or_default()
    }

    /// Returns the user, in the form that a SubjectAccessReview takes.
    pub fn info(&self) -> UserInfo {
        self.0.clone()
    }

    /// Adds the user to the headers of a request.
    pub fn write(user: &UserInfo, headers: &mut HeaderMap) {
        // The serialization of strings cannot fail, and base64 is a valid header. Without the header, the request is refused.
        let text = STANDARD.encode(serde_json::to_vec(user).unwrap_or_default());
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(USER_HEADER, value);
        }
    }

    /// Returns the user in the headers of a request. Returns `None` if the header is missing or malformed.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = STANDARD.decode(headers.get(USER_HEADER)?).ok()?;
        Self::new(serde_json::from_slice(&text).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_round_trips_through_the_header() {
        let (username, groups) = (Some("oidc:j\u{fc}rgen".to_owned()), Some(vec!["a, b".to_owned()]));
        let user = UserInfo { username, groups, ..UserInfo::default() };
        let mut headers = HeaderMap::new();
        assert_eq!(ImpersonatedUser::from_headers(&headers), None);
        ImpersonatedUser::write(&user, &mut headers);
        assert_eq!(ImpersonatedUser::from_headers(&headers).map(|user| user.info()), Some(user));
    }

    #[test]
    fn a_user_without_a_name_is_nobody() {
        let mut headers = HeaderMap::new();
        ImpersonatedUser::write(&UserInfo::default(), &mut headers);
        assert_eq!(ImpersonatedUser::from_headers(&headers), None);
    }
}
