//! Keeps the channel requests that arrive before a target is chosen.

use super::model::Action;
use super::terminal_menu::Menu;
use crate::api::Allow;
use crate::gateway::bridge::{ChannelMessage, FromUser, PtyRequest, Request, UserChannel};
use crate::gateway::observe::AuditLog;
use crate::gateway::sign_in::KeyRestrictions;

/// The number of environment variables that are kept for the target.
const MAX_VARIABLES: usize = 128;
/// The total size of these variables, in bytes.
const MAX_VARIABLE_BYTES: usize = 64 * 1024;
/// The number of notices that are kept until the menu closes.
const MAX_NOTICES: usize = 16;

/// The client has closed the channel.
pub struct ChannelClosed;

/// The requests of one session channel, to be sent to the target.
#[derive(Default)]
pub struct PendingRequests {
    /// The terminal, with its current size.
    pub pty: Option<PtyRequest>,
    variables: Vec<(String, String)>,
    variable_bytes: usize,
    /// Whether the client offers its agent.
    agent_forward: bool,
    /// Notices to show before the target's output.
    notices: Vec<&'static str>,
    /// The input that came after the choice of a target. It is passed on to the target.
    unread_input: Vec<u8>,
}

impl PendingRequests {
    /// Reads requests up to the request for a shell. Returns `None` if the channel is closed first. The result has no `pty` if
    /// the client requests no terminal, or requests a command or a subsystem instead of a shell.
    pub async fn read(channel: &UserChannel) -> Option<Self> {
        let mut requests = Self::default();
        loop {
            match channel.next().await {
                ChannelMessage::Control(FromUser::Request(Request::Shell)) => return Some(requests),
                ChannelMessage::Control(
                    FromUser::Refused(_) | FromUser::Request(Request::Exec(_) | Request::Subsystem(_)),
                ) => {
                    return Some(Self::default());
                }
                ChannelMessage::Control(FromUser::Request(request)) => requests.add(request),
                ChannelMessage::Control(FromUser::Close) => return None,
                ChannelMessage::Control(FromUser::Eof) | ChannelMessage::Data(_) | ChannelMessage::ExtendedData(..) => {
                }
            }
        }
    }

    fn add(&mut self, request: Request) {
        match request {
            Request::Pty(pty) => self.pty = Some(pty),
            Request::WindowChange(size) => {
                if let Some(pty) = &mut self.pty {
                    pty.size = size;
                }
            }
            Request::Env { name, value } => {
                let bytes = self.variable_bytes + name.len() + value.len();
                if bytes <= MAX_VARIABLE_BYTES && self.variables.len() < MAX_VARIABLES {
                    self.variable_bytes = bytes;
                    self.variables.push((name, value));
                }
            }
            Request::AgentForward => self.agent_forward = true,
            Request::Notice(notice) => {
                if self.notices.len() < MAX_NOTICES {
                    self.notices.push(notice);
                }
            }
            // No program runs yet that could receive a signal or a break. A second program is not possible on a channel.
            Request::Signal(_) | Request::Break(_) | Request::Shell | Request::Exec(_) | Request::Subsystem(_) => {}
        }
    }

    /// Returns an environment variable of the client.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Handles an item that arrives while the menu is open. Returns the user's action, if there is one.
    ///
    /// # Errors
    /// Fails when the client closes the channel.
    pub fn handle(&mut self, item: ChannelMessage<FromUser>, menu: &mut Menu) -> Result<Option<Action>, ChannelClosed> {
        match item {
            ChannelMessage::Data(bytes) => {
                let found = bytes.iter().enumerate().find_map(|(at, byte)| Some((at, menu.input(*byte)?)));
                let Some((at, action)) = found else { return Ok(None) };
                self.unread_input = bytes.slice(at + 1..).to_vec();
                Ok(Some(action))
            }
            ChannelMessage::ExtendedData(..) | ChannelMessage::Control(FromUser::Refused(_)) => Ok(None),
            ChannelMessage::Control(FromUser::Request(request)) => {
                if let Request::WindowChange(size) = &request {
                    menu.resize(*size);
                }
                self.add(request);
                Ok(None)
            }
            ChannelMessage::Control(FromUser::Eof) => Ok(Some(Action::Quit)),
            ChannelMessage::Control(FromUser::Close) => Err(ChannelClosed),
        }
    }

    /// Returns the requests and the unread input as items for the target's channel. Denied requests become notices.
    pub fn into_items(
        self,
        restrictions: &KeyRestrictions,
        allow: Allow,
        audit: &AuditLog,
    ) -> Vec<ChannelMessage<FromUser>> {
        let agent = self.agent_forward.then(|| match restrictions.agent_forward(allow) {
            Ok(()) => Request::AgentForward,
            Err(denied) => {
                audit.tunnel("agent_forward", "", 0, None, denied.result);
                Request::Notice(denied.notice)
            }
        });
        let notices = self.notices.into_iter().map(Request::Notice).chain(agent);
        let variables = self.variables.into_iter().map(|(name, value)| Request::Env { name, value });
        // The menu lists targets without looking at `spec.allow.shell`.
        let shell = FromUser::from_decision(restrictions.filter(allow, Request::Shell));
        let before_shell = notices.chain(self.pty.map(Request::Pty)).chain(variables).map(FromUser::Request);
        let input = (!self.unread_input.is_empty()).then(|| ChannelMessage::Data(self.unread_input.into()));
        before_shell.chain(shell).map(ChannelMessage::Control).chain(input).collect()
    }
}
