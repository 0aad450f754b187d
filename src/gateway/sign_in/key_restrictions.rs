//! Combines what a target allows with what the user's certificate permits.

use crate::api::Allow;

use crate::gateway::bridge::Request;

/// The restrictions of a key or a certificate. The user's own keys have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRestrictions {
    /// `force-command`: the only command that runs.
    pub command: Option<String>,
    /// Permits a terminal.
    pub pty: bool,
    /// Permits local and remote forwards.
    pub port_forwarding: bool,
    /// Permits agent forwarding.
    pub agent_forwarding: bool,
}

/// The forced command that runs the sftp subsystem, as in sshd.
const INTERNAL_SFTP: &str = "internal-sftp";

impl KeyRestrictions {
    /// Permits everything.
    pub const UNRESTRICTED: Self = Self { command: None, pty: true, port_forwarding: true, agent_forwarding: true };

    /// Returns the requests to send to the target for a shell, a command or a subsystem.
    ///
    /// # Errors
    /// The notice that the user reads when the request is denied.
    pub fn filter(&self, allow: Allow, request: Request) -> Result<Vec<Request>, &'static str> {
        let requests = match (self.command.as_deref(), request) {
            (Some(INTERNAL_SFTP), Request::Subsystem(name)) if name == "sftp" => vec![Request::Subsystem(name)],
            (Some(INTERNAL_SFTP), _) => {
                return Err("bastion: your certificate permits sftp and nothing else (force-command)");
            }
            (Some(_), Request::Subsystem(_)) => {
                return Err("bastion: your certificate permits one command and no sftp (force-command)");
            }
            (Some(command), Request::Exec(original)) => {
                let value = String::from_utf8_lossy(&original).into_owned();
                let original = Request::Env { name: "SSH_ORIGINAL_COMMAND".to_owned(), value };
                vec![original, Request::Exec(command.as_bytes().to_vec())]
            }
            (Some(command), _) => vec![Request::Exec(command.as_bytes().to_vec())],
            (None, request) => vec![request],
        };
        match requests.iter().find_map(|request| denied_by_target(allow, request)) {
            Some(notice) => Err(notice),
            None => Ok(requests),
        }
    }

    /// Checks that the user may open local forwards.
    ///
    /// # Errors
    /// The denial by the target or the certificate.
    pub const fn local_forward(&self, allow: Allow) -> Result<(), ForwardDenied> {
        check(allow.local_forward, self.port_forwarding, LOCAL_BY_TARGET, PORTS_BY_CERTIFICATE)
    }

    /// Checks that the target may listen for the user.
    ///
    /// # Errors
    /// The denial by the target or the certificate.
    pub const fn remote_forward(&self, allow: Allow) -> Result<(), ForwardDenied> {
        check(allow.remote_forward, self.port_forwarding, REMOTE_BY_TARGET, PORTS_BY_CERTIFICATE)
    }

    /// Checks that programs on the target may use the user's agent.
    ///
    /// # Errors
    /// The denial by the target or the certificate.
    pub const fn agent_forward(&self, allow: Allow) -> Result<(), ForwardDenied> {
        check(allow.agent_forward, self.agent_forwarding, AGENT_BY_TARGET, AGENT_BY_CERTIFICATE)
    }

    /// Returns the restrictions that permit only what both `self` and `other` permit.
    ///
    /// # Errors
    /// Fails when the two force different commands, so that neither can run.
    pub fn intersect(&self, other: &Self) -> Result<Self, ConflictingCommands> {
        let command = match (&self.command, &other.command) {
            (Some(one), Some(two)) if one != two => return Err(ConflictingCommands),
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

const fn check(
    by_target: bool,
    by_certificate: bool,
    target_denies: ForwardDenied,
    certificate_denies: ForwardDenied,
) -> Result<(), ForwardDenied> {
    match (by_target, by_certificate) {
        (false, _) => Err(target_denies),
        (true, false) => Err(certificate_denies),
        (true, true) => Ok(()),
    }
}

/// A forward that the target or the certificate denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardDenied {
    /// The line that the user reads.
    pub notice: &'static str,
    /// The `result` in the audit log.
    pub result: &'static str,
}

const LOCAL_BY_TARGET: ForwardDenied = ForwardDenied {
    notice: "bastion: this target allows no local forwards (spec.allow.localForward)",
    result: "refused: spec.allow.localForward",
};
const REMOTE_BY_TARGET: ForwardDenied = ForwardDenied {
    notice: "bastion: this target allows no remote forwards (spec.allow.remoteForward)",
    result: "refused: spec.allow.remoteForward",
};
const PORTS_BY_CERTIFICATE: ForwardDenied = ForwardDenied {
    notice: "bastion: your certificate permits no forwards (permit-port-forwarding)",
    result: "refused: permit-port-forwarding",
};
const AGENT_BY_TARGET: ForwardDenied = ForwardDenied {
    notice: "bastion: this target allows no agent forwarding (spec.allow.agentForward)",
    result: "refused: spec.allow.agentForward",
};
const AGENT_BY_CERTIFICATE: ForwardDenied = ForwardDenied {
    notice: "bastion: your certificate permits no agent forwarding (permit-agent-forwarding)",
    result: "refused: permit-agent-forwarding",
};

/// The certificate and its `cert-authority` line force different commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConflictingCommands;

/// Returns the notice for a request that the target does not allow.
fn denied_by_target(allow: Allow, request: &Request) -> Option<&'static str> {
    let (allowed, notice) = match request {
        Request::Shell => (allow.shell, "bastion: this target allows no shell (spec.allow.shell)"),
        Request::Exec(_) => (allow.exec, "bastion: this target allows no commands (spec.allow.exec)"),
        Request::Subsystem(name) => (
            allow.sftp && name == "sftp",
            "bastion: this target allows no such subsystem (only sftp exists, with spec.allow.sftp)",
        ),
        _ => return None,
    };
    (!allowed).then_some(notice)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn filtered(command: Option<&str>, allow: Allow, request: Request) -> Result<String, &'static str> {
        let restrictions = KeyRestrictions { command: command.map(Into::into), ..KeyRestrictions::UNRESTRICTED };
        restrictions.filter(allow, request).map(|requests| format!("{requests:?}"))
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
    #[case(Some(INTERNAL_SFTP), Request::Subsystem("sftp".into()), Ok(vec![Request::Subsystem("sftp".into())]))]
    #[case(Some(INTERNAL_SFTP), Request::Shell, Err("sftp and nothing else"))]
    #[case(Some(INTERNAL_SFTP), exec("id"), Err("sftp and nothing else"))]
    #[case(None, Request::Subsystem("netconf".into()), Err("spec.allow.sftp"))]
    fn a_forced_command_replaces_the_request(
        #[case] command: Option<&str>,
        #[case] request: Request,
        #[case] expected: Result<Vec<Request>, &str>,
    ) {
        match (filtered(command, Allow::DEFAULT, request), expected) {
            (Ok(requests), Ok(expected)) => assert_eq!(requests, format!("{expected:?}")),
            (Err(notice), Err(words)) => assert!(notice.contains(words), "{notice}"),
            (requests, expected) => panic!("{requests:?}, but expected {expected:?}"),
        }
    }

    #[test]
    fn the_target_denies_what_it_does_not_allow() {
        let none = Allow { shell: false, exec: false, sftp: false, ..Allow::DEFAULT };
        for request in [Request::Shell, exec("id"), Request::Subsystem("sftp".into())] {
            assert!(filtered(None, none, request).unwrap_err().contains("this target allows no"));
        }
        // A forced command needs `exec`, even if the client requests a shell.
        let no_exec = Allow { exec: false, ..Allow::DEFAULT };
        assert!(filtered(Some("date"), no_exec, Request::Shell).unwrap_err().contains("spec.allow.exec"));
    }

    #[test]
    fn an_intersection_permits_what_both_permit() {
        let line = KeyRestrictions { pty: false, ..KeyRestrictions::UNRESTRICTED };
        let certificate =
            KeyRestrictions { command: Some("date".into()), port_forwarding: false, ..KeyRestrictions::UNRESTRICTED };
        let both = KeyRestrictions {
            command: Some("date".into()),
            pty: false,
            port_forwarding: false,
            agent_forwarding: true,
        };
        assert_eq!(line.intersect(&certificate), Ok(both));
        let other = KeyRestrictions { command: Some("id".into()), ..KeyRestrictions::UNRESTRICTED };
        assert_eq!(certificate.intersect(&other), Err(ConflictingCommands));
        assert!(certificate.intersect(&certificate).is_ok());
    }
}
