//! The phases of a session and the reasons for its end.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a session is in its life. All but `Active` are final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The connection is open, or being opened.
    #[default]
    Active,
    /// One of the two sides, or the gateway in an orderly way, closed it.
    Closed,
    /// It ran out of time, or out of signs of life.
    Timeout,
    /// Somebody, or a rule, put an end to it.
    Terminated,
}

impl Phase {
    /// Every phase, in the order of a session's life.
    pub const ALL: [Self; 4] = [Self::Active, Self::Closed, Self::Timeout, Self::Terminated];

    /// Whether nothing can follow.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Active)
    }

    /// The name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Closed => "Closed",
            Self::Timeout => "Timeout",
            Self::Terminated => "Terminated",
        }
    }

    /// The name in the audit database and the live feed.
    pub const fn record_name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Terminated => "terminated",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a session ended. In the API it is a string, so that an older program can read what a newer one wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The user's shell or command ended.
    UserExit,
    /// The client's connection went away with channels open, or before it opened one.
    ClientDisconnected,
    /// The browser tab with the terminal was closed.
    TabClosed,
    /// The session's own user closed it through the API.
    ApiClosed,
    /// The target closed its connection.
    TargetClosed,
    /// The target could not be reached, verified or signed in to.
    TargetUnreachable,
    /// Somebody else terminated it, or deleted the object.
    AdminTerminated,
    /// The user typed nothing for the session's `idleSeconds`.
    IdleTimeout,
    /// The session lasted for the session's `maxSeconds`.
    MaxDuration,
    /// The network to the user or to the target went silent.
    NetworkLost,
    /// The user was disabled or expired, their key removed, their right withdrawn, or it was one session more than `maxSessions`.
    AccessRevoked,
    /// What the target requires to be recorded could not be recorded.
    RecordingFailed,
    /// The gateway was stopped in an orderly way.
    GatewayShutdown,
    /// The gateway died, or was cut off.
    GatewayLost,
    /// The gateway lives and has no such session.
    Stale,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 15] = [
        Self::UserExit,
        Self::ClientDisconnected,
        Self::TabClosed,
        Self::ApiClosed,
        Self::TargetClosed,
        Self::TargetUnreachable,
        Self::AdminTerminated,
        Self::IdleTimeout,
        Self::MaxDuration,
        Self::NetworkLost,
        Self::AccessRevoked,
        Self::RecordingFailed,
        Self::GatewayShutdown,
        Self::GatewayLost,
        Self::Stale,
    ];

    /// The phase that a session with this reason is in.
    pub const fn phase(self) -> Phase {
        match self {
            Self::UserExit
            | Self::ClientDisconnected
            | Self::TabClosed
            | Self::ApiClosed
            | Self::TargetClosed
            | Self::TargetUnreachable
            | Self::GatewayShutdown => Phase::Closed,
            Self::IdleTimeout | Self::MaxDuration | Self::NetworkLost | Self::GatewayLost | Self::Stale => {
                Phase::Timeout
            }
            Self::AdminTerminated | Self::AccessRevoked | Self::RecordingFailed => Phase::Terminated,
        }
    }

    /// What it means, in a sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::UserExit => "The user's shell or command ended.",
            Self::ClientDisconnected => {
                "The client's connection went away with channels open, or before it opened one."
            }
            Self::TabClosed => "The browser tab with the terminal was closed.",
            Self::ApiClosed => "The session's own user closed it through the API.",
            Self::TargetClosed => "The target closed its connection.",
            Self::TargetUnreachable => "The target could not be reached, verified or signed in to.",
            Self::AdminTerminated => "Somebody else terminated it, or deleted the object.",
            Self::IdleTimeout => "The user typed nothing for the session's `idleSeconds`.",
            Self::MaxDuration => "The session lasted for its `maxSeconds`.",
            Self::NetworkLost => "The network to the user or to the target went silent.",
            Self::AccessRevoked => {
                "The user was disabled or expired, their key removed, their right withdrawn, or it was one session more than `maxSessions`."
            }
            Self::RecordingFailed => "What the target requires to be recorded could not be recorded.",
            Self::GatewayShutdown => "The gateway was stopped in an orderly way.",
            Self::GatewayLost => "The gateway died, or was cut off.",
            Self::Stale => "The gateway lives and has no such session.",
        }
    }

    /// The name in the API, the audit database and the metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserExit => "UserExit",
            Self::ClientDisconnected => "ClientDisconnected",
            Self::TabClosed => "TabClosed",
            Self::ApiClosed => "ApiClosed",
            Self::TargetClosed => "TargetClosed",
            Self::TargetUnreachable => "TargetUnreachable",
            Self::AdminTerminated => "AdminTerminated",
            Self::IdleTimeout => "IdleTimeout",
            Self::MaxDuration => "MaxDuration",
            Self::NetworkLost => "NetworkLost",
            Self::AccessRevoked => "AccessRevoked",
            Self::RecordingFailed => "RecordingFailed",
            Self::GatewayShutdown => "GatewayShutdown",
            Self::GatewayLost => "GatewayLost",
            Self::Stale => "Stale",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
