//! The notices that a session sends to all its channels.

use std::sync::Arc;

use tokio::sync::watch;

/// A session's latest notice to its channels.
#[derive(Clone, Debug, Default)]
pub enum SessionNotice {
    /// No notice yet.
    #[default]
    None,
    /// A warning for users at a terminal; the channel continues.
    Warning(Arc<str>),
    /// The session has ended. The text is the final notice; `None` when the user's connection is gone.
    Ended(Option<Arc<str>>),
}

/// Waits until the session has ended, and returns its final notice. Also returns when the session's task is gone.
pub async fn session_ended(notices: &mut watch::Receiver<SessionNotice>) -> Option<Arc<str>> {
    match notices.wait_for(|notice| matches!(notice, SessionNotice::Ended(_))).await.as_deref() {
        Ok(SessionNotice::Ended(text)) => text.clone(),
        _ => None,
    }
}
