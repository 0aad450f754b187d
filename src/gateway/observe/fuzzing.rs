//! The entry point of the fuzz target for what consoles and pages send to the observers' port.

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::message::FromPage;
use crate::http::internal::ImpersonatedUser;

/// Returns whether a page may send this text frame.
pub fn is_message(text: &str) -> bool {
    matches!(serde_json::from_str(text), Ok(FromPage::Ping))
}

/// Reads the header in which a console names a person, who is this text before it becomes base64. Returns the name.
///
/// # Panics
/// The person has a name or group of Kubernetes' own, or the header with that person is read as another one.
pub fn person(text: &[u8]) -> Option<String> {
    let header = HeaderValue::try_from(STANDARD.encode(text)).ok()?;
    let user = ImpersonatedUser::from_header(&header).ok()?;
    let groups = user.info().groups.unwrap_or_default();
    assert!(!groups.iter().any(|group| group == "system:masters"), "{user:?}");
    assert!(!user.name().is_empty() && !user.name().starts_with("system:kube"), "{user:?}");
    let again = ImpersonatedUser::from_header(&ImpersonatedUser::header(&user.info()));
    assert_eq!(again.as_ref(), Ok(&user));
    Some(user.name().to_owned())
}
