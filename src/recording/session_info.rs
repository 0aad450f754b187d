//! The description of a session in its recordings.

use serde::Serialize;

/// The session that is recorded. Each manifest contains it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionInfo {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the session.
    pub session: String,
    /// The name of the user.
    pub user: String,
    /// The name of the target.
    pub target: String,
    /// The login on the target.
    pub login: String,
    /// The IP address of the user's client.
    pub client: String,
}

impl SessionInfo {
    /// Returns the title of the session's recordings.
    pub fn title(&self) -> String {
        format!("{} on {}@{} ({})", self.user, self.login, self.target, self.session)
    }

    /// Returns the path of the session's recordings in the store.
    pub fn folder(&self) -> String {
        format!("{}/{}", self.namespace, self.session)
    }
}
