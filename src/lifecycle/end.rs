//! What can end a session, and how each cause is told: phase, reason, and a sentence.

use std::time::Duration;

use jiff::Timestamp;

use crate::api::{ObservedBy, Phase, Reason, RecordingResult};
use crate::text::{printable, printable_up_to};

/// How a command or shell on the target ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status.
    pub code: Option<u32>,
    /// The signal that killed it, without SIG.
    pub signal: Option<String>,
}

/// One of the two connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerSide {
    /// Between the user and the gateway.
    User,
    /// Between the gateway and the target.
    Target,
}

/// Why a session ends. Each cause is one row of the design's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The last shell or command ended and the client left.
    UserExit(Exit),
    /// The client went away; `with_channels`: while a channel was open.
    ClientDisconnected { with_channels: bool },
    /// The tab of the web terminal was closed.
    TabClosed,
    /// `spec.termination` by the session's own user.
    ApiClosed { reason: Option<String> },
    /// `spec.termination` by somebody else.
    Terminated { by: String, reason: Option<String> },
    /// The object was deleted, which names nobody.
    Deleted,
    /// The target closed its connection.
    TargetClosed,
    /// The target could not be reached, verified or signed in to; the sentences say which, one for those who run the
    /// bastion and one for the user.
    TargetUnreachable { why: String, told: String },
    /// Nothing typed for this long.
    IdleTimeout(Duration),
    /// Open for this long.
    MaxDuration(Duration),
    /// The network on one side went silent.
    NetworkLost(PeerSide),
    /// Whoever is in may not be any more; the sentence says why.
    AccessRevoked(String),
    /// The target requires a recording, and there is none, or none any more; the sentence says why.
    RecordingFailed(String),
    /// The gateway was told to stop.
    GatewayShutdown,
    /// A controller declared the gateway instance lost.
    GatewayLost,
    /// The gateway could reach neither the API server nor Redis, and ended its sessions itself.
    CutOff,
    /// The gateway has no connection for an Active object of its own.
    Stale,
    /// The session's task in the gateway did not move any more.
    Stuck,
}

impl Cause {
    /// The reason in one word.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::UserExit(_) => Reason::UserExit,
            Self::ClientDisconnected { .. } => Reason::ClientDisconnected,
            Self::TabClosed => Reason::TabClosed,
            Self::ApiClosed { .. } => Reason::ApiClosed,
            Self::Terminated { .. } | Self::Deleted => Reason::AdminTerminated,
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

    /// The sentence that an administrator reads in `status.message`: one printable line of at most 1024 characters, whatever
    /// a person or a target wrote into it.
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
            Self::TargetClosed => "the target closed the connection".to_owned(),
            Self::TargetUnreachable { why, .. } | Self::AccessRevoked(why) => why.clone(),
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

    /// What the session's own user reads in the terminal; nothing where the user's side is gone or knows.
    pub fn notice(&self) -> Option<String> {
        let told = match self {
            // Gone, or told already, or out of reach.
            Self::TabClosed
            | Self::UserExit(_)
            | Self::ClientDisconnected { .. }
            | Self::NetworkLost(PeerSide::User)
            | Self::Stuck => {
                return None;
            }
            Self::TargetUnreachable { told, .. } => told.clone(),
            Self::TargetClosed => self.message(),
            Self::IdleTimeout(_)
            | Self::MaxDuration(_)
            | Self::NetworkLost(PeerSide::Target)
            | Self::AccessRevoked(_)
            | Self::GatewayShutdown => {
                format!("session ended: {}", self.message())
            }
            // Where recordings are stored is not the user's business.
            Self::RecordingFailed(_) => {
                "session ended: it must be recorded, and that failed; whoever runs the bastion can \
                see why"
                    .to_owned()
            }
            Self::ApiClosed { .. } | Self::Terminated { .. } => format!("session {}", self.message()),
            Self::Deleted => "session terminated: its BastionSession was deleted".to_owned(),
            Self::GatewayLost | Self::CutOff | Self::Stale => {
                "session ended: this gateway was cut off from the cluster".to_owned()
            }
        };
        Some(format!("bastion: {}", printable(&told)))
    }

    /// How the command ended, for the one cause that knows.
    pub fn exit(&self) -> Exit {
        match self {
            Self::UserExit(exit) => exit.clone(),
            _ => Exit::default(),
        }
    }
}

/// The end of a session, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Why.
    pub cause: Cause,
    /// When it happened, never when it was noticed.
    pub time: Timestamp,
    /// The last sign of life, where nobody saw the end itself.
    pub last_seen: Option<Timestamp>,
    /// Who saw it.
    pub observed_by: ObservedBy,
    /// Bytes from the user to the target and back, where the observer knows them.
    pub bytes: Option<(u64, u64)>,
    /// What became of its recordings, where there were some.
    pub recording: Option<RecordingResult>,
}

impl End {
    /// An end that the gateway saw happen.
    pub const fn seen(cause: Cause, time: Timestamp, bytes: (u64, u64)) -> Self {
        Self { cause, time, last_seen: None, observed_by: ObservedBy::Gateway, bytes: Some(bytes), recording: None }
    }

    /// An end that nobody saw: it is put at the last sign of life, which is never before the start.
    pub fn unseen(cause: Cause, observed_by: ObservedBy, start: Timestamp, last_seen: Option<Timestamp>) -> Self {
        let last_seen = last_seen.map_or(start, |seen| seen.max(start));
        Self { cause, time: last_seen, last_seen: Some(last_seen), observed_by, bytes: None, recording: None }
    }

    /// The phase that it leads to.
    pub const fn phase(&self) -> Phase {
        self.cause.reason().phase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_the_schema_whatever_a_person_wrote() {
        let cause = Cause::Terminated { by: "ö".repeat(253), reason: Some("因".repeat(2000)) };
        assert_eq!(cause.message().chars().count(), 1024);
    }

    #[test]
    fn what_others_wrote_does_not_steer_the_terminals_that_show_it() {
        let evil = || "\u{1b}]52;c;eA==\u{7}\u{1b}[2J\u{9b}2J\nbastion: forged".to_owned();
        let causes = [
            Cause::Terminated { by: evil(), reason: Some(evil()) },
            Cause::ApiClosed { reason: Some(evil()) },
            Cause::TargetUnreachable { why: evil(), told: evil() },
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
    fn an_unseen_end_is_never_before_the_start() {
        let start = Timestamp::from_second(1_000).unwrap();
        let earlier = Timestamp::from_second(990).unwrap();
        let later = Timestamp::from_second(1_010).unwrap();
        let end = |seen| End::unseen(Cause::GatewayLost, ObservedBy::Controller, start, seen).time;
        assert_eq!(end(None), start);
        assert_eq!(end(Some(earlier)), start);
        assert_eq!(end(Some(later)), later);
    }

    #[test]
    fn every_reason_has_a_cause_and_a_final_phase() {
        for reason in Reason::ALL {
            assert!(reason.phase().is_final(), "{reason}");
        }
    }
}
