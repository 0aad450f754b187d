//! The phases of a session and the reasons of its end.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The phase of a session. All phases but `Active` are final.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The connection is open or being opened.
    #[default]
    Active,
    /// The user, the target or a gateway that shut down closed the session.
    Closed,
    /// The session reached a limit, or its network or gateway was lost.
    Timeout,
    /// An administrator or a rule ended the session.
    Terminated,
}

impl Phase {
    /// Every phase; `Active` comes first.
    pub const ALL: [Self; 4] = [Self::Active, Self::Closed, Self::Timeout, Self::Terminated];

    /// Returns whether the session has ended.
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Active)
    }

    /// Returns the phase's name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Closed => "Closed",
            Self::Timeout => "Timeout",
            Self::Terminated => "Terminated",
        }
    }

    /// Returns the phase's name in the audit database and the live feed.
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

/// The reason of a session's end. In the API it is a string, so that an older program can read the reasons of a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The user's shell or command ended.
    UserExit,
    /// The client disconnected while a channel was open, or before it opened one.
    ClientDisconnected,
    /// The browser tab with the terminal was closed.
    TabClosed,
    /// The session's own user closed it through the API.
    ApiClosed,
    /// The target closed its connection.
    TargetClosed,
    /// The target could not be reached, verified or signed in to.
    TargetUnreachable,
    /// Another user terminated the session or deleted the object.
    AdminTerminated,
    /// The user sent no input for the session's `idleSeconds`.
    IdleTimeout,
    /// The session lasted for its `maxSeconds`.
    MaxDuration,
    /// The network to the user or to the target went silent.
    NetworkLost,
    /// The user was disabled, expired, lost their key or their right, or exceeded `maxSessions`.
    AccessRevoked,
    /// The target requires a recording, and the recording failed.
    RecordingFailed,
    /// The gateway shut down.
    GatewayShutdown,
    /// The gateway died or was cut off from the cluster.
    GatewayLost,
    /// The gateway runs but has no such session.
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

    /// Returns the phase of a session that ended for this reason.
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

    /// Returns the meaning of the reason, in one sentence.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::UserExit => "The user's shell or command ended.",
            Self::ClientDisconnected => "The client disconnected while a channel was open, or before it opened one.",
            Self::TabClosed => "The browser tab with the terminal was closed.",
            Self::ApiClosed => "The session's own user closed it through the API.",
            Self::TargetClosed => "The target closed its connection.",
            Self::TargetUnreachable => "The target could not be reached, verified or signed in to.",
            Self::AdminTerminated => "Another user terminated the session or deleted the object.",
            Self::IdleTimeout => "The user sent no input for the session's `idleSeconds`.",
            Self::MaxDuration => "The session lasted for its `maxSeconds`.",
            Self::NetworkLost => "The network to the user or to the target went silent.",
            Self::AccessRevoked => {
                "The user was disabled, expired, lost their key or their right, or exceeded `maxSessions`."
            }
            Self::RecordingFailed => "The target requires a recording, and the recording failed.",
            Self::GatewayShutdown => "The gateway shut down.",
            Self::GatewayLost => "The gateway died or was cut off from the cluster.",
            Self::Stale => "The gateway runs but has no such session.",
        }
    }

    /// Returns the reason's name in the API, the audit database and the metrics.
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
