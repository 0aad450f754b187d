//! What somebody may do who has signed in: what the target allows, less what their certificate does not permit.

use crate::api::Allow;

use crate::gateway::bridge::Request;

/// What a sign-in permits. A key of the user's own permits everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRestrictions {
    /// The one command that runs, whatever is asked for.
    pub command: Option<String>,
    /// A terminal.
    pub pty: bool,
    /// Forwards, local and remote.
    pub port_forwarding: bool,
    /// Forwarding of the agent.
    pub agent_forwarding: bool,
}

/// As a forced command it stands for the sftp subsystem, as it does for sshd.
const SFTP: &str = "internal-sftp";

impl KeyRestrictions {
    /// Everything.
    pub const ALL: Self = Self { command: None, pty: true, port_forwarding: true, agent_forwarding: true };

    /// What is passed to the target for a shell, a command or a subsystem.
    ///
    /// # Errors
    /// What the user reads when it is refused.
    pub fn pass(&self, allow: Allow, asked: Request) -> Result<Vec<Request>, &'static str> {
        let passed = match (self.command.as_deref(), asked) {
            (Some(SFTP), Request::Subsystem(name)) if name == "sftp" => vec![Request::Subsystem(name)],
            (Some(SFTP), _) => return Err("bastion: your certificate permits sftp and nothing else (force-command)"),
            (Some(_), Request::Subsystem(_)) => {
                return Err("bastion: your certificate permits one command and no sftp (force-command)");
            }
            (Some(command), Request::Exec(original)) => {
                let value = String::from_utf8_lossy(&original).into_owned();
                let original = Request::Env { name: "SSH_ORIGINAL_COMMAND".to_owned(), value };
                vec![original, Request::Exec(command.as_bytes().to_vec())]
            }
            (Some(command), _) => vec![Request::Exec(command.as_bytes().to_vec())],
            (None, asked) => vec![asked],
        };
        match passed.iter().find_map(|request| refused_by_target(allow, request)) {
            Some(notice) => Err(notice),
            None => Ok(passed),
        }
    }

    /// Whether the target may connect to somewhere for the user.
    ///
    /// # Errors
    /// Who does not allow it.
    pub const fn local_forward(&self, allow: Allow) -> Result<(), Denied> {
        match (allow.local_forward, self.port_forwarding) {
            (false, _) => Err(NO_LOCAL_FORWARD),
            (true, false) => Err(NO_FORWARD_PERMITTED),
            (true, true) => Ok(()),
        }
    }

    /// Whether the target may listen for the user.
    ///
    /// # Errors
    /// Who does not allow it.
    pub const fn remote_forward(&self, allow: Allow) -> Result<(), Denied> {
        match (allow.remote_forward, self.port_forwarding) {
            (false, _) => Err(NO_REMOTE_FORWARD),
            (true, false) => Err(NO_FORWARD_PERMITTED),
            (true, true) => Ok(()),
        }
    }

    /// Whether programs on the target may ask the user's agent.
    ///
    /// # Errors
    /// Who does not allow it.
    pub const fn agent(&self, allow: Allow) -> Result<(), Denied> {
        match (allow.agent_forward, self.agent_forwarding) {
            (false, _) => Err(NO_AGENT),
            (true, false) => Err(NO_AGENT_PERMITTED),
            (true, true) => Ok(()),
        }
    }

    /// What both permit.
    ///
    /// # Errors
    /// Two different commands are forced, so that neither can run.
    pub fn both(&self, other: &Self) -> Result<Self, TwoCommands> {
        let command = match (&self.command, &other.command) {
            (Some(one), Some(two)) if one != two => return Err(TwoCommands),
            (one, two) => one.clone().or_else(|| two.clone()),
        };
        Ok(Self {
            command,
            pty: self.pty && other.pty,
            port_forwarding: self.port_forwarding && other.port_forwarding,
            agent_forwarding: self.agent_forwarding && other.agent_forwarding,
        })
    }
}

/// A forward that somebody does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// What the user reads.
    pub notice: &'static str,
    /// What the audit log says.
    pub result: &'static str,
}

const NO_LOCAL_FORWARD: Denied = Denied {
    notice: "bastion: this target allows no local forwards (spec.allow.localForward)",
    result: "refused: spec.allow.localForward",
};
const NO_REMOTE_FORWARD: Denied = Denied {
    notice: "bastion: this target allows no remote forwards (spec.allow.remoteForward)",
    result: "refused: spec.allow.remoteForward",
};
const NO_FORWARD_PERMITTED: Denied = Denied {
    notice: "bastion: your certificate permits no forwards (permit-port-forwarding)",
    result: "refused: permit-port-forwarding",
};
const NO_AGENT: Denied = Denied {
    notice: "bastion: this target allows no agent forwarding (spec.allow.agentForward)",
    result: "refused: spec.allow.agentForward",
};
const NO_AGENT_PERMITTED: Denied = Denied {
    notice: "bastion: your certificate permits no agent forwarding (permit-agent-forwarding)",
    result: "refused: permit-agent-forwarding",
};

/// The line and the certificate force different commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoCommands;

fn refused_by_target(allow: Allow, request: &Request) -> Option<&'static str> {
    let (allowed, notice) = match request {
        Request::Shell => (allow.shell, "bastion: this target allows no shell (spec.allow.shell)"),
        Request::Exec(_) => (allow.exec, "bastion: this target allows no commands (spec.allow.exec)"),
        Request::Subsystem(name) => (
            allow.sftp && name == "sftp",
            "bastion: this target allows no such subsystem (spec.allow.sftp is for sftp, and there are no others)",
        ),
        _ => return None,
    };
    (!allowed).then_some(notice)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const ALLOW: Allow = Allow {
        shell: true,
        exec: true,
        sftp: true,
        local_forward: false,
        remote_forward: false,
        agent_forward: false,
    };

    fn passed(command: Option<&str>, allow: Allow, asked: Request) -> Result<String, &'static str> {
        let restrictions = KeyRestrictions { command: command.map(Into::into), ..KeyRestrictions::ALL };
        restrictions.pass(allow, asked).map(|requests| format!("{requests:?}"))
    }

    fn exec(command: &str) -> Request {
        Request::Exec(command.into())
    }

    #[rstest]
    #[case(None, Request::Shell, Ok(vec![Request::Shell]))]
    #[case(None, exec("id"), Ok(vec![exec("id")]))]
    #[case(Some("date"), Request::Shell, Ok(vec![exec("date")]))]
    #[case(Some("date"), exec("id"), Ok(vec![
        Request::Env { name: "SSH_ORIGINAL_COMMAND".into(), value: "id".into() }, exec("date")]))]
    #[case(Some("date"), Request::Subsystem("sftp".into()), Err("no sftp"))]
    #[case(Some(SFTP), Request::Subsystem("sftp".into()), Ok(vec![Request::Subsystem("sftp".into())]))]
    #[case(Some(SFTP), Request::Shell, Err("sftp and nothing else"))]
    #[case(Some(SFTP), exec("id"), Err("sftp and nothing else"))]
    #[case(None, Request::Subsystem("netconf".into()), Err("spec.allow.sftp"))]
    fn a_forced_command_takes_the_place_of_what_is_asked(
        #[case] command: Option<&str>,
        #[case] asked: Request,
        #[case] expected: Result<Vec<Request>, &str>,
    ) {
        match (passed(command, ALLOW, asked), expected) {
            (Ok(passed), Ok(expected)) => assert_eq!(passed, format!("{expected:?}")),
            (Err(notice), Err(words)) => assert!(notice.contains(words), "{notice}"),
            (passed, expected) => panic!("{passed:?}, but expected {expected:?}"),
        }
    }

    #[test]
    fn what_the_target_does_not_allow_stays_refused() {
        let none = Allow { shell: false, exec: false, sftp: false, ..ALLOW };
        for asked in [Request::Shell, exec("id"), Request::Subsystem("sftp".into())] {
            assert!(passed(None, none, asked).unwrap_err().contains("this target allows no"));
        }
        // A forced command is a command, also where a shell was asked for.
        let no_exec = Allow { exec: false, ..ALLOW };
        assert!(passed(Some("date"), no_exec, Request::Shell).unwrap_err().contains("spec.allow.exec"));
    }

    #[test]
    fn of_two_the_narrower_holds() {
        let line = KeyRestrictions { pty: false, ..KeyRestrictions::ALL };
        let certificate =
            KeyRestrictions { command: Some("date".into()), port_forwarding: false, ..KeyRestrictions::ALL };
        let both = KeyRestrictions {
            command: Some("date".into()),
            pty: false,
            port_forwarding: false,
            agent_forwarding: true,
        };
        assert_eq!(line.both(&certificate), Ok(both));
        let other = KeyRestrictions { command: Some("id".into()), ..KeyRestrictions::ALL };
        assert_eq!(certificate.both(&other), Err(TwoCommands));
        assert!(certificate.both(&certificate).is_ok());
    }
}
