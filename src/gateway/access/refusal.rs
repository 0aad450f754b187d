//! The refusal of a session to an authenticated user.

use kube::core::Status;
use tracing::info;

use crate::gateway::sign_in::{SignInNameError, WebTerminalBlocker};
use crate::metrics::{METRICS, RefusalLabels};
use crate::text::printable;

/// Why an authenticated user gets no session. The user reads the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sign-in name cannot be parsed.
    #[error("{0}")]
    Malformed(#[from] SignInNameError),
    /// The sign-in name has no target.
    #[error("name a target: ssh {user}+TARGET@GATEWAY, or {user}+LOGIN@TARGET@GATEWAY")]
    NoTarget {
        /// The user who signed in.
        user: String,
    },
    /// The target does not exist, or the user may not connect to it. The text does not tell which.
    #[error("there is no target {target:?} that you may use; sign in without a target to choose from your targets")]
    NoSuchTarget {
        /// The target, as the user wrote it.
        target: String,
        /// Whether the target exists. Only the log and the metrics show it.
        exists: bool,
    },
    /// The target does not have the login.
    #[error("login {login:?} is not among the logins of target {target:?}: {}", logins.join(", "))]
    LoginNotAllowed {
        /// The login, as the user wrote it.
        login: String,
        /// The target.
        target: String,
        /// The logins of the target.
        logins: Vec<String>,
    },
    /// The user was disabled, or lost the key, in the menu.
    #[error("you may no longer sign in to this bastion")]
    Withdrawn,
    /// The API server did not answer a review of the user's rights.
    #[error("your rights cannot be checked right now, so no session is opened; try again in a moment")]
    RightsUnknown,
    /// The user has as many connections in the menu as one user may.
    #[error("you have {limit} connections open that wait for a choice of a target; close one of them and try again")]
    TooManyMenus {
        /// The most connections of one user in the menu.
        limit: usize,
    },
    /// The user's keys have restrictions, or the target allows no web terminals.
    #[error("{0}")]
    NoWebTerminal(#[from] WebTerminalBlocker),
    /// The user has `maxSessions` Active sessions, or without `maxSessions` as many on this gateway as one user may.
    #[error("you have reached your limit of sessions, {limit}; end one of them and try again")]
    TooManySessions {
        /// `spec.maxSessions` of the user, or `--max-sessions-per-user`.
        limit: i32,
    },
    /// The gateway has reached `--max-sessions`.
    #[error("this gateway is full; try again in a moment")]
    Full,
    /// 80 % of the gateway's open files are in use.
    #[error(
        "this gateway has almost as many connections as its limit of open files allows; try again in a moment, or tell an \
         administrator of the bastion"
    )]
    OpenFiles,
    /// The user may not take the memory of a web terminal.
    #[error("this gateway has no memory for another web terminal; close one, or try again in a moment")]
    NoMemory,
    /// The gateway shuts down, or its new instance is not ready.
    #[error("this gateway accepts no new sessions at the moment; sign in again to reach another gateway")]
    NotReady,
    /// The target requires recordings, and the gateway has no store for them.
    #[error(
        "target {target:?} requires that sessions are recorded, and this gateway has no place for recordings; ask an \
         administrator of the bastion to set --recording-url"
    )]
    NoRecordingStore {
        /// The target.
        target: String,
    },
    /// The ResourceQuota of sessions is used up.
    #[error(
        "there are as many sessions as this cluster's quota allows, so no session is opened; most of them have ended and wait \
         for the audit database. Try again in a few minutes, and tell an administrator of the bastion"
    )]
    OverQuota,
    /// The cluster has not counted the sessions for their ResourceQuota yet.
    #[error(
        "this cluster does not count sessions yet, so no session is opened; it does within half a minute after the bastion was \
         installed. Try again in a moment"
    )]
    QuotaUnknown,
    /// The session's object could not be created. Only the log has the reason, which tells about the inside of the cluster.
    #[error(
        "the session cannot be registered in the cluster, so it is not opened; try again in a moment, or ask an administrator of \
         the bastion, who can see why"
    )]
    NotRecorded,
}

impl Refusal {
    /// Returns the refusal for the API server's answer to the creation of the session's object.
    pub fn from_create_status(status: &Status) -> Self {
        // Quota errors have no reason of their own. The API server's quota plugin writes these words.
        let is_quota = |words| status.code == 403 && status.message.contains(words);
        if is_quota("exceeded quota: ") {
            Self::OverQuota
        } else if is_quota("status unknown for quota: ") {
            Self::QuotaUnknown
        } else {
            Self::NotRecorded
        }
    }

    /// Returns the value of the metrics' label `reason`, which the log has too.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NoTarget { .. } => "no_target",
            Self::NoSuchTarget { exists: true, .. } => "no_right",
            Self::NoSuchTarget { exists: false, .. } => "unknown_target",
            Self::LoginNotAllowed { .. } => "login_not_allowed",
            Self::Withdrawn => "withdrawn",
            Self::RightsUnknown => "rights_unknown",
            Self::TooManyMenus { .. } => "too_many_menus",
            Self::NoWebTerminal(_) => "no_web_terminal",
            Self::TooManySessions { .. } => "too_many_sessions",
            Self::Full => "full",
            Self::OpenFiles => "open_files",
            Self::NoMemory => "no_memory",
            Self::NotReady => "not_ready",
            Self::NoRecordingStore { .. } => "no_place_for_recordings",
            Self::OverQuota => "over_quota",
            Self::QuotaUnknown => "quota_unknown",
            Self::NotRecorded => "not_recorded",
        }
    }

    /// Counts and logs the refusal.
    pub fn report(&self, sign_in_name: &str) {
        info!(name = sign_in_name, reason = self.label(), "sign-in refused: {self}");
        METRICS.sign_ins_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
    }

    /// Returns the line that the user reads.
    pub fn notice(&self) -> String {
        format!("bastion: {}", printable(&self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(
        403,
        "x is forbidden: exceeded quota: bastion-sessions, requested: n=1, used: n=2, limited: n=2",
        "over_quota"
    )]
    #[case(403, "x is forbidden: status unknown for quota: bastion-sessions, resources: n", "quota_unknown")]
    #[case(403, "sessions are created by gateways", "not_recorded")]
    #[case(422, "exceeded quota: not of the quota plugin", "not_recorded")]
    fn quota_refusals_have_their_own_labels(#[case] code: u16, #[case] message: &str, #[case] label: &str) {
        let refusal = Refusal::from_create_status(&Status { code, ..Status::failure(message, "") });
        assert_eq!(refusal.label(), label);
        assert!(refusal.notice().starts_with("bastion: "));
    }

    #[test]
    fn a_refusal_cannot_control_a_terminal() {
        let refusal = Refusal::LoginNotAllowed {
            login: "\u{1b}[2J".to_owned(),
            target: "web-1".to_owned(),
            logins: vec!["ro\u{1b}]52;c;eA==\u{7}ot".to_owned()],
        };
        let notice = refusal.notice();
        assert!(!notice.chars().any(char::is_control), "{notice:?}");
        assert!(notice.ends_with("ro]52;c;eA==ot"), "{notice:?}");
    }
}
