//! The causes that end a session, with the phase, reason and message of each.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::api::{ObservedBy, Phase, Reason, RecordingResult};
use crate::text::{printable, printable_up_to};

/// How a command or shell on the target ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status.
    pub code: Option<u32>,
    /// The name of the signal that killed the process, without the prefix `SIG` (RFC 4254, section 6.10).
    pub signal: Option<String>,
}

/// One of the two connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PeerSide {
    /// Between the user and the gateway.
    User,
    /// Between the gateway and the target.
    Target,
}

/// The cause of a session's end. It is serialised in the reports of ends through Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The last shell or command ended and the client left.
    UserExit(Exit),
    /// The client closed the connection. `with_channels` says whether a channel was open then.
    ClientDisconnected { with_channels: bool },
    /// The browser tab of the web terminal was closed.
    TabClosed,
    /// The session's own user set `spec.termination`.
    ApiClosed { reason: Option<String> },
    /// Another user set `spec.termination`.
    Terminated { by: String, reason: Option<String> },
    /// The object was deleted. The API server does not say by which user.
    Deleted,
    /// The object no longer exists, and no deletion was seen. Either it was deleted by force while the gateway could not watch
    /// it, or etcd was restored from a snapshot. The reason is AdminTerminated.
    Vanished,
    /// The target closed its connection.
    TargetClosed,
    /// The target could not be reached, verified or signed in to. `detail` is for administrators.
    TargetUnreachable { detail: String, user_message: String },
    /// The user sent no input for this long.
    IdleTimeout(Duration),
    /// The session lasted this long.
    MaxDuration(Duration),
    /// The network on one side went silent.
    NetworkLost(PeerSide),
    /// The user lost the right to the session. The text says why.
    AccessRevoked(String),
    /// The target requires a recording, and the recording failed. The text says why.
    RecordingFailed(String),
    /// The gateway shuts down.
    GatewayShutdown,
    /// A controller declared the gateway instance lost.
    GatewayLost,
    /// The gateway reached neither the API server nor Redis, and ended its own sessions.
    CutOff,
    /// An Active object names a gateway that has no connection for it. The reason is Stale.
    Stale,
    /// The session's task in the gateway made no progress. The reason is Stale.
    Stuck,
}

impl Cause {
    /// Returns the reason for `status.reason`.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::UserExit(_) => Reason::UserExit,
            Self::ClientDisconnected { .. } => Reason::ClientDisconnected,
            Self::TabClosed => Reason::TabClosed,
            Self::ApiClosed { .. } => Reason::ApiClosed,
            Self::Terminated { .. } | Self::Deleted | Self::Vanished => Reason::AdminTerminated,
            Self::TargetClosed => Reason::TargetClosed,
            Self::TargetUnreachable { .. } => Reason::TargetUnreachable,
            Self::IdleTimeout(_) => Reason::IdleTimeout,
            Self::MaxDuration(_) => Reason::MaxDuration,
            Self::NetworkLost(_) => Reason::NetworkLost,
            Self::AccessRevoked(_) => Reason::AccessRevoked,
            Self::RecordingFailed(_) => Reason::RecordingFailed,
            Self::GatewayShutdown => Reason::GatewayShutdown,
            Self::GatewayLost | Self::CutOff => Reason::GatewayLost,
            Self::Stale | Self::Stuck => Reason::Stale,
        }
    }

    /// Returns the text of `status.message`, for administrators: one printable line of at most 1024 characters. Text from users
    /// and targets is made printable.
    pub fn message(&self) -> String {
        let because = |reason: &Option<String>| reason.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        let text = match self {
            Self::UserExit(Exit { signal: Some(signal), .. }) => format!("the command was ended by signal {signal}"),
            Self::UserExit(Exit { code: Some(code), .. }) => format!("the command ended with exit status {code}"),
            Self::UserExit(_) => "the user left".to_owned(),
            Self::ClientDisconnected { with_channels: true } => "the client's connection broke off".to_owned(),
            Self::ClientDisconnected { with_channels: false } => "the client left without running anything".to_owned(),
            Self::TabClosed => "the browser tab was closed".to_owned(),
            Self::ApiClosed { reason } => format!("closed by its own user{}", because(reason)),
            Self::Terminated { by, reason } => format!("terminated by {by}{}", because(reason)),
            Self::Deleted => "the BastionSession was deleted".to_owned(),
            Self::Vanished => {
                "the BastionSession no longer exists; it was deleted by force, or the cluster was restored".to_owned()
            }
            Self::TargetClosed => "the target closed the connection".to_owned(),
            Self::TargetUnreachable { detail, .. } | Self::AccessRevoked(detail) => detail.clone(),
            Self::RecordingFailed(why) => format!("the recording that the target requires failed: {why}"),
            Self::IdleTimeout(limit) => format!("no input for {} seconds", limit.as_secs()),
            Self::MaxDuration(limit) => format!("the session reached its limit of {} seconds", limit.as_secs()),
            Self::NetworkLost(PeerSide::User) => "the network to the user went silent".to_owned(),
            Self::NetworkLost(PeerSide::Target) => "the network to the target went silent".to_owned(),
            Self::GatewayShutdown => "the gateway was shut down".to_owned(),
            Self::GatewayLost => "the gateway died or was cut off; the end is its last sign of life".to_owned(),
            Self::CutOff => "the gateway was cut off from the cluster and ended its sessions itself".to_owned(),
            Self::Stale => "the gateway has no such connection".to_owned(),
            Self::Stuck => "the session no longer moved in its gateway, which cut it off".to_owned(),
        };
        printable_up_to(&text, 1024)
    }

    /// Returns the notice for the user's terminal, or `None` if the user has left, already knows, or cannot be reached.
    pub fn notice(&self) -> Option<String> {
        let text = match self {
            Self::TabClosed
            | Self::UserExit(_)
            | Self::ClientDisconnected { .. }
            | Self::NetworkLost(PeerSide::User)
            | Self::Stuck => {
                return None;
            }
            Self::TargetUnreachable { user_message, .. } => user_message.clone(),
            Self::TargetClosed => self.message(),
            Self::IdleTimeout(_)
            | Self::MaxDuration(_)
            | Self::NetworkLost(PeerSide::Target)
            | Self::AccessRevoked(_)
            | Self::GatewayShutdown => {
                format!("session ended: {}", self.message())
            }
            // The detail may name the store of recordings, which users must not see.
            Self::RecordingFailed(_) => {
                "session ended: its required recording failed; ask an administrator of the bastion".to_owned()
            }
            Self::ApiClosed { .. } | Self::Terminated { .. } => format!("session {}", self.message()),
            Self::Deleted => "session terminated: its BastionSession was deleted".to_owned(),
            Self::Vanished => format!("session terminated: {}", self.message()),
            Self::GatewayLost | Self::CutOff | Self::Stale => {
                "session ended: this gateway was cut off from the cluster".to_owned()
            }
        };
        Some(format!("bastion: {}", printable(&text)))
    }

    /// Returns how the command ended. Both fields are `None` for every cause except [`Self::UserExit`].
    pub fn exit(&self) -> Exit {
        match self {
            Self::UserExit(exit) => exit.clone(),
            _ => Exit::default(),
        }
    }
}

/// The end of a session, as it is written to its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The cause of the end.
    pub cause: Cause,
    /// When the session ended. If no program saw the end, the last sign of life.
    pub time: Timestamp,
    /// The last sign of life, if no program saw the end itself.
    pub last_seen: Option<Timestamp>,
    /// The program that reports the end.
    pub observed_by: ObservedBy,
    /// Bytes from the user to the target, and from the target to the user, if known.
    pub bytes: Option<(u64, u64)>,
    /// The result of the recordings, if the session was recorded.
    pub recording: Option<RecordingResult>,
}

impl End {
    /// Creates an end that the gateway saw happen.
    pub const fn observed(cause: Cause, time: Timestamp, bytes: (u64, u64)) -> Self {
        Self { cause, time, last_seen: None, observed_by: ObservedBy::Gateway, bytes: Some(bytes), recording: None }
    }

    /// Creates an end that no program saw. Its time is the last sign of life, but never before the start.
    pub fn inferred(cause: Cause, observed_by: ObservedBy, start: Timestamp, last_seen: Option<Timestamp>) -> Self {
        let last_seen = last_seen.map_or(start, |seen| seen.max(start));
        Self { cause, time: last_seen, last_seen: Some(last_seen), observed_by, bytes: None, recording: None }
    }

    /// Returns the final phase of the session.
    pub const fn phase(&self) -> Phase {
        self.cause.reason().phase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_to_the_length_of_the_schema() {
        let cause = Cause::Terminated { by: "ö".repeat(253), reason: Some("因".repeat(2000)) };
        assert_eq!(cause.message().chars().count(), 1024);
    }

    #[test]
    fn untrusted_text_cannot_control_a_terminal() {
        let evil = || "\u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{9b}2J\nbastion: forged".to_owned();
        let causes = [
            Cause::Terminated { by: evil(), reason: Some(evil()) },
            Cause::ApiClosed { reason: Some(evil()) },
            Cause::TargetUnreachable { detail: evil(), user_message: evil() },
            Cause::AccessRevoked(evil()),
            Cause::RecordingFailed(evil()),
            Cause::UserExit(Exit { code: None, signal: Some(evil()) }),
        ];
        for cause in causes {
            for text in [Some(cause.message()), cause.notice()].into_iter().flatten() {
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    }

    #[test]
    fn an_inferred_end_is_never_before_the_start() {
        let start = Timestamp::from_second(1_000).unwrap();
        let earlier = Timestamp::from_second(990).unwrap();
        let later = Timestamp::from_second(1_010).unwrap();
        let end = |seen| End::inferred(Cause::GatewayLost, ObservedBy::Controller, start, seen).time;
        assert_eq!(end(None), start);
        assert_eq!(end(Some(earlier)), start);
        assert_eq!(end(Some(later)), later);
    }

    #[test]
    fn every_reason_has_a_final_phase() {
        for reason in Reason::ALL {
            assert!(reason.phase().is_final(), "{reason}");
        }
    }
}
