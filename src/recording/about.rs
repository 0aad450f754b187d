//! What a recording says about its session.

use serde::Serialize;

/// Whose recordings they are; each manifest says it.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the session.
    pub session: String,
    /// The user.
    pub user: String,
    /// The target.
    pub target: String,
    /// The login on it.
    pub login: String,
    /// The IP address that the user came from.
    pub client: String,
}

impl About {
    /// A recording's title.
    pub fn title(&self) -> String {
        format!("{} on {}@{} ({})", self.user, self.login, self.target, self.session)
    }

    /// Where the session's recordings are in their store.
    pub fn folder(&self) -> String {
        format!("{}/{}", self.namespace, self.session)
    }
}
