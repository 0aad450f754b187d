//! Why somebody who has signed in gets no session. They read the text; the label is counted.

use std::net::SocketAddr;

use kube::core::Status;
use tracing::info;

use crate::gateway::sign_in::Malformed;
use crate::metrics::{METRICS, RefusalLabels};
use crate::text::printable;

/// A refusal of a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The sign-in name cannot be taken apart.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// The sign-in name has no target.
    #[error("name a target: ssh {user}+TARGET@GATEWAY, or {user}+LOGIN@TARGET@GATEWAY")]
    NoTarget {
        /// The user who signed in.
        user: String,
    },
    /// There is no such target, or the user may not connect to it. Which of the two is not for them to know.
    #[error(
        "there is no target {target:?} that you may use; sign in without a target to choose from those that there are"
    )]
    NoSuchTarget {
        /// As the user wrote it.
        target: String,
        /// For the log alone.
        exists: bool,
    },
    /// The login is not one of the target's.
    #[error("login {login:?} is not among the logins of target {target:?}: {}", logins.join(", "))]
    LoginNotAllowed {
        /// As the user wrote it.
        login: String,
        /// The target.
        target: String,
        /// What the target has.
        logins: Vec<String>,
    },
    /// The user was disabled, or lost the key, while choosing a target.
    #[error("you may no longer sign in to this bastion")]
    Withdrawn,
    /// The API server could not be asked for the user's rights.
    #[error("your rights cannot be checked right now, so no session is opened; try again in a moment")]
    RightsUnknown,
    /// `maxSessions` of the user.
    #[error("you have as many sessions as you may, {limit}; end one of them and try again")]
    TooManySessions {
        /// How many that are.
        limit: i32,
    },
    /// The gateway carries all the sessions that it may.
    #[error("this gateway is full; try again in a moment")]
    Full,
    /// The gateway is stopping, or begins a new life.
    #[error("this gateway takes no new sessions at the moment; sign in again to reach another")]
    NotReady,
    /// The target requires a recording, and the gateway has nowhere to put one.
    #[error(
        "target {target:?} requires that sessions are recorded, and this gateway has no place for recordings; whoever runs \
         the bastion starts it with --recording-url"
    )]
    NoPlaceForRecordings {
        /// The target.
        target: String,
    },
    /// The ResourceQuota of sessions has no room for one more.
    #[error(
        "there are as many sessions as this cluster's quota allows, most of which have ended and wait to be put on record, so \
         no session is opened; try again in a few minutes, and tell whoever runs the bastion"
    )]
    OverQuota,
    /// Nobody has counted the sessions for their ResourceQuota yet.
    #[error(
        "this cluster does not count sessions yet, as in the first half minute after the bastion was installed, so no session \
         is opened; try again in a moment"
    )]
    QuotaUnknown,
    /// The session's object could not be created. Why is for the log: it tells of the cluster's inside.
    #[error(
        "the session cannot be put on record, so it is not opened; try again in a moment, or ask whoever runs the bastion, \
         who can see why"
    )]
    NotRecorded,
}

impl Refusal {
    /// Why the API server refused to create the session's object.
    pub fn of_create(status: &Status) -> Self {
        // They have no reason of their own, but these words, from the API server's quota plugin.
        let quota_says = |words| status.code == 403 && status.message.contains(words);
        if quota_says("exceeded quota: ") {
            Self::OverQuota
        } else if quota_says("status unknown for quota: ") {
            Self::QuotaUnknown
        } else {
            Self::NotRecorded
        }
    }

    /// A bounded word for the metrics and the log.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NoTarget { .. } => "no_target",
            Self::NoSuchTarget { exists: true, .. } => "no_right",
            Self::NoSuchTarget { exists: false, .. } => "unknown_target",
            Self::LoginNotAllowed { .. } => "login_not_allowed",
            Self::Withdrawn => "withdrawn",
            Self::RightsUnknown => "rights_unknown",
            Self::TooManySessions { .. } => "too_many_sessions",
            Self::Full => "full",
            Self::NotReady => "not_ready",
            Self::NoPlaceForRecordings { .. } => "no_place_for_recordings",
            Self::OverQuota => "over_quota",
            Self::QuotaUnknown => "quota_unknown",
            Self::NotRecorded => "not_recorded",
        }
    }

    /// Counts it, and writes it into the log.
    pub fn report(&self, sign_in_name: &str, client: SocketAddr) {
        info!(name = sign_in_name, %client, reason = self.label(), "sign-in refused: {self}");
        METRICS.sign_ins_refused.get_or_create(&RefusalLabels { reason: self.label() }).inc();
    }

    /// The line that the user reads.
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
    fn a_quota_is_told_from_other_refusals(#[case] code: u16, #[case] message: &str, #[case] label: &str) {
        let refusal = Refusal::of_create(&Status { code, ..Status::failure(message, "") });
        assert_eq!(refusal.label(), label);
        assert!(refusal.notice().starts_with("bastion: "));
    }

    #[test]
    fn no_refusal_steers_a_terminal() {
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
