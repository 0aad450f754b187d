//! Decides which channels, programs and forwards a connection gets in each of its states.

use russh::ChannelOpenFailure;

use super::jump_host::SSH_PORT;
use crate::api::Allow;
use crate::gateway::access::Refusal;
use crate::gateway::bridge::{self, Request, resource_shortage};
use crate::gateway::menu::target_selection;
use crate::gateway::session::{MAX_SESSION_CHANNELS, session_channels_notice};
use crate::gateway::sign_in::{ForwardDenied, KeyRestrictions};

/// The number of channels that a connection without a session may open to read the refusal.
const MAX_REFUSED_CHANNELS: usize = 8;

/// The part of a connection's state that decides about its requests.
#[derive(Clone, Copy, Debug)]
pub enum Phase<'a> {
    /// Authentication has not succeeded.
    Unauthenticated,
    /// The user is authenticated and gets no session.
    Refused(&'a Refusal),
    /// The user is authenticated and chooses a target in the menu.
    SelectingTarget(&'a KeyRestrictions),
    /// The user has a session on a target.
    Session(&'a KeyRestrictions, Allow),
}

/// The reply to `CHANNEL_OPEN "session"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChannel {
    /// Reject the channel.
    Reject(ChannelOpenFailure),
    /// Accept a channel whose only purpose is to show the refusal.
    ShowRefusal,
    /// Hand the channel over to the session task.
    HandOver,
}

/// The reply to a shell, exec or subsystem request.
#[derive(Clone, Debug)]
pub enum Program {
    /// Send no reply: the library accepts no channel before authentication.
    Ignore,
    /// Show this notice and close the channel.
    ShowRefusal(String),
    /// Pass these requests to the target.
    Run(Vec<Request>),
    /// Show this notice; the bridge closes the channel.
    Deny(&'static str),
}

/// The reply to `CHANNEL_OPEN "direct-tcpip"` (RFC 4254, section 7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalForwardDecision {
    /// Reject the channel.
    Reject(ChannelOpenFailure),
    /// Reject the channel and explain how to name a target.
    NoTarget {
        /// The port that the client asked for.
        port: u16,
    },
    /// Reject the channel and write the denial to the audit log.
    Deny {
        /// The denial.
        denied: ForwardDenied,
        /// The port that the client asked for.
        port: u16,
        /// Whether the client probably uses the gateway as a jump host (`ssh -J`).
        is_jump: bool,
    },
    /// Connect to this port.
    Open {
        /// The port that the client asked for.
        port: u16,
    },
}

/// The reply to `tcpip-forward` (RFC 4254, section 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteForward {
    /// Reject the request.
    Reject,
    /// Reject the request and tell the user to name a target when they sign in.
    NoTarget,
    /// Reject the request and write the denial to the audit log.
    Deny(ForwardDenied),
    /// Ask the target to listen.
    Listen,
}

/// The reply to `auth-agent-req@openssh.com`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentForward {
    /// Reject the request.
    Reject,
    /// Reject the request and write the denial to the audit log.
    Deny(ForwardDenied),
    /// Pass the request on.
    Pass,
}

/// Decides about a session channel. `open` is the number of session channels that the client has open. `refused_channels` is the
/// number of channels that were opened to show a refusal.
pub fn session_channel(phase: Phase<'_>, open: usize, refused_channels: usize) -> SessionChannel {
    match phase {
        Phase::Unauthenticated => SessionChannel::Reject(ChannelOpenFailure::AdministrativelyProhibited),
        Phase::Refused(_) if refused_channels >= MAX_REFUSED_CHANNELS => {
            SessionChannel::Reject(ChannelOpenFailure::ResourceShortage)
        }
        Phase::Refused(_) => SessionChannel::ShowRefusal,
        Phase::SelectingTarget(_) | Phase::Session(..) if open >= MAX_SESSION_CHANNELS => {
            SessionChannel::Reject(resource_shortage(&session_channels_notice()))
        }
        Phase::SelectingTarget(_) | Phase::Session(..) => SessionChannel::HandOver,
    }
}

/// Decides about a shell, a command or a subsystem.
pub fn program(phase: Phase<'_>, request: Request) -> Program {
    let (restrictions, allow) = match phase {
        Phase::Unauthenticated => return Program::Ignore,
        Phase::Refused(refusal) => return Program::ShowRefusal(refusal.notice()),
        Phase::SelectingTarget(restrictions) => (restrictions, target_selection::ALLOW),
        Phase::Session(restrictions, allow) => (restrictions, allow),
    };
    match restrictions.filter(allow, request) {
        Ok(requests) => Program::Run(requests),
        Err(notice) => Program::Deny(notice),
    }
}

/// Decides about a local forward; `port` is `None` when the destination is invalid.
pub fn local_forward(phase: Phase<'_>, port: Option<u16>) -> LocalForwardDecision {
    match (phase, port) {
        (Phase::Unauthenticated, _) => LocalForwardDecision::Reject(ChannelOpenFailure::AdministrativelyProhibited),
        (Phase::Refused(refusal), _) => LocalForwardDecision::Reject(bridge::prohibited(&refusal.notice())),
        (Phase::SelectingTarget(_) | Phase::Session(..), None) => {
            LocalForwardDecision::Reject(bridge::connect_failed("bastion: the destination's host or port is invalid"))
        }
        (Phase::SelectingTarget(_), Some(port)) => LocalForwardDecision::NoTarget { port },
        (Phase::Session(restrictions, allow), Some(port)) => match restrictions.local_forward(allow) {
            Ok(()) => LocalForwardDecision::Open { port },
            Err(denied) => {
                LocalForwardDecision::Deny { denied, port, is_jump: port == SSH_PORT && !allow.local_forward }
            }
        },
    }
}

/// Decides about a remote forward.
pub fn remote_forward(phase: Phase<'_>) -> RemoteForward {
    match phase {
        Phase::Unauthenticated | Phase::Refused(_) => RemoteForward::Reject,
        Phase::SelectingTarget(_) => RemoteForward::NoTarget,
        Phase::Session(restrictions, allow) => {
            restrictions.remote_forward(allow).map_or_else(RemoteForward::Deny, |()| RemoteForward::Listen)
        }
    }
}

/// Decides about agent forwarding. Before a target is chosen, passes the request to the menu, which decides after the choice.
pub fn agent_forward(phase: Phase<'_>) -> AgentForward {
    match phase {
        Phase::Unauthenticated | Phase::Refused(_) => AgentForward::Reject,
        Phase::SelectingTarget(_) => AgentForward::Pass,
        Phase::Session(restrictions, allow) => {
            restrictions.agent_forward(allow).map_or_else(AgentForward::Deny, |()| AgentForward::Pass)
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const REFUSED: Phase<'static> = Phase::Refused(&Refusal::RightsUnknown);
    const SELECTING: Phase<'static> = Phase::SelectingTarget(&KeyRestrictions::UNRESTRICTED);
    const SESSION: Phase<'static> = session(&KeyRestrictions::UNRESTRICTED, true);
    /// A session on a target that allows nothing.
    const CLOSED: Phase<'static> = session(&KeyRestrictions::UNRESTRICTED, false);
    /// A session of a certificate that permits no forwards.
    const RESTRICTED: Phase<'static> = session(&NO_FORWARDS, true);
    const NO_FORWARDS: KeyRestrictions =
        KeyRestrictions { command: None, pty: true, port_forwarding: false, agent_forwarding: false };

    const fn session(restrictions: &KeyRestrictions, allowed: bool) -> Phase<'_> {
        let allow = Allow {
            shell: allowed,
            exec: allowed,
            sftp: allowed,
            local_forward: allowed,
            remote_forward: allowed,
            agent_forward: allowed,
            web: None,
        };
        Phase::Session(restrictions, allow)
    }

    #[rstest]
    #[case(Phase::Unauthenticated, 0, 0, SessionChannel::Reject(ChannelOpenFailure::AdministrativelyProhibited))]
    #[case(REFUSED, 0, 0, SessionChannel::ShowRefusal)]
    #[case(REFUSED, 0, MAX_REFUSED_CHANNELS - 1, SessionChannel::ShowRefusal)]
    #[case(REFUSED, 0, MAX_REFUSED_CHANNELS, SessionChannel::Reject(ChannelOpenFailure::ResourceShortage))]
    #[case(SELECTING, MAX_SESSION_CHANNELS - 1, 0, SessionChannel::HandOver)]
    #[case(SELECTING, MAX_SESSION_CHANNELS, 0, too_many())]
    #[case(SESSION, MAX_SESSION_CHANNELS - 1, 0, SessionChannel::HandOver)]
    #[case(SESSION, MAX_SESSION_CHANNELS, 0, too_many())]
    #[case(CLOSED, 0, 0, SessionChannel::HandOver)]
    fn a_session_channel_depends_on_the_phase(
        #[case] phase: Phase<'_>,
        #[case] open: usize,
        #[case] refused_channels: usize,
        #[case] expected: SessionChannel,
    ) {
        assert_eq!(session_channel(phase, open, refused_channels), expected);
    }

    fn too_many() -> SessionChannel {
        let notice = "bastion: this session has 64 shells, commands and file transfers open, as many as it may";
        SessionChannel::Reject(resource_shortage(notice))
    }

    #[rstest]
    #[case(Phase::Unauthenticated, Request::Shell, "Ignore")]
    #[case(REFUSED, Request::Shell, r#"ShowRefusal("bastion: your rights cannot be checked"#)]
    #[case(REFUSED, Request::Exec("id".into()), r#"ShowRefusal("bastion: your rights cannot be checked"#)]
    #[case(SELECTING, Request::Shell, "Run([Shell])")]
    #[case(SELECTING, Request::Exec("id".into()), r#"Deny("bastion: "#)]
    #[case(SELECTING, Request::Subsystem("sftp".into()), r#"Deny("bastion: "#)]
    #[case(SESSION, Request::Shell, "Run([Shell])")]
    #[case(SESSION, Request::Exec("id".into()), "Run([Exec(")]
    #[case(SESSION, Request::Subsystem("sftp".into()), "Run([Subsystem(")]
    #[case(CLOSED, Request::Shell, r#"Deny("bastion: "#)]
    #[case(CLOSED, Request::Exec("id".into()), r#"Deny("bastion: "#)]
    fn a_program_depends_on_the_phase(#[case] phase: Phase<'_>, #[case] request: Request, #[case] expected: &str) {
        let decision = format!("{:?}", program(phase, request));
        assert!(decision.starts_with(expected), "{decision}");
    }

    #[rstest]
    #[case(Phase::Unauthenticated, Some(80), "Reject(AdministrativelyProhibited)")]
    #[case(Phase::Unauthenticated, None, "Reject(AdministrativelyProhibited)")]
    #[case(REFUSED, Some(80), r#"Reject(Other { code: 1, reason: "bastion: your rights cannot be checked"#)]
    #[case(SELECTING, None, r#"Reject(Other { code: 2, reason: "bastion: the destination"#)]
    #[case(SELECTING, Some(22), "NoTarget { port: 22 }")]
    #[case(SESSION, None, r#"Reject(Other { code: 2, reason: "bastion: the destination"#)]
    #[case(SESSION, Some(22), "Open { port: 22 }")]
    #[case(SESSION, Some(80), "Open { port: 80 }")]
    fn a_local_forward_depends_on_the_phase(
        #[case] phase: Phase<'_>,
        #[case] port: Option<u16>,
        #[case] expected: &str,
    ) {
        let decision = format!("{:?}", local_forward(phase, port));
        assert!(decision.starts_with(expected), "{decision}");
    }

    #[rstest]
    #[case(CLOSED, 80, "refused: spec.allow.localForward", false)]
    #[case(CLOSED, SSH_PORT, "refused: spec.allow.localForward", true)]
    #[case(RESTRICTED, 80, "refused: permit-port-forwarding", false)]
    #[case(RESTRICTED, SSH_PORT, "refused: permit-port-forwarding", false)]
    fn a_denied_local_forward_is_audited(
        #[case] phase: Phase<'_>,
        #[case] asked: u16,
        #[case] result: &str,
        #[case] jump: bool,
    ) {
        let LocalForwardDecision::Deny { denied, port, is_jump } = local_forward(phase, Some(asked)) else {
            panic!("the forward is not denied");
        };
        assert_eq!((denied.result, port, is_jump), (result, asked, jump));
    }

    #[rstest]
    #[case(Phase::Unauthenticated, "Reject")]
    #[case(REFUSED, "Reject")]
    #[case(SELECTING, "NoTarget")]
    #[case(SESSION, "Listen")]
    #[case(CLOSED, "refused: spec.allow.remoteForward")]
    #[case(RESTRICTED, "refused: permit-port-forwarding")]
    fn a_remote_forward_depends_on_the_phase(#[case] phase: Phase<'_>, #[case] expected: &str) {
        let decision = match remote_forward(phase) {
            RemoteForward::Deny(denied) => denied.result.to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(decision, expected);
    }

    #[rstest]
    #[case(Phase::Unauthenticated, "Reject")]
    #[case(REFUSED, "Reject")]
    #[case(SELECTING, "Pass")]
    #[case(SESSION, "Pass")]
    #[case(CLOSED, "refused: spec.allow.agentForward")]
    #[case(RESTRICTED, "refused: permit-agent-forwarding")]
    fn agent_forwarding_depends_on_the_phase(#[case] phase: Phase<'_>, #[case] expected: &str) {
        let decision = match agent_forward(phase) {
            AgentForward::Deny(denied) => denied.result.to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(decision, expected);
    }
}
