//! One SSH connection of a client: its state, and the start of its session.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use kube::ResourceExt;
use russh::server::{ChannelOpenHandle, Handle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};
#[cfg(fuzzing)]
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use super::channel_policy::{self, Phase, Program};
use super::channels::Channels;
use super::jump_host;
use super::session_link::SessionLink;
#[cfg(fuzzing)]
use crate::gateway::access::ChannelPolicy;
use crate::gateway::access::Refusal;
use crate::gateway::bridge::{
    ChannelOpen, Destination, EXIT_STATUS_NOT_RUN, FromUser, LocalForward, Request, STDERR, UserConnection,
};
use crate::gateway::menu::target_selection::{self, PendingUser};
use crate::gateway::net::{ConnectionHealth, PreauthPermit, connection_span};
use crate::gateway::session::{Activity, ClientConnection, ClientSide, task};
#[cfg(fuzzing)]
use crate::gateway::sign_in::KeyRestrictions;
use crate::gateway::sign_in::{LastRefusal, SignIn, SignInName};
use crate::gateway::state::Gateway;
use crate::memory_budget::MEMORY_BUDGET;

/// One client's connection.
pub struct Connection {
    pub(super) gateway: Arc<Gateway>,
    pub(super) peer: SocketAddr,
    /// Cancelled when the connection has ended.
    pub(super) closed: CancellationToken,
    /// Ends the connection when cancelled.
    pub(super) abort: CancellationToken,
    /// Held until the user has a session.
    pub(super) preauth_permit: Option<PreauthPermit>,
    pub(super) health: ConnectionHealth,
    /// The span of the connection. Callbacks must enter it, because the library runs them in a task of its own, without a span.
    pub(super) span: Span,
    /// Cancelled once the user has a session.
    pub(super) signed_in: CancellationToken,
    pub(super) sign_in: SignIn,
    pub(super) state: State,
    pub(super) channels: Channels,
}

/// The state of a connection.
pub(super) enum State {
    /// Authentication has not succeeded.
    Unauthenticated,
    /// The user is authenticated and gets no session.
    Refused(Refusal),
    /// The user has a session, or is choosing a target in the menu.
    Session(SessionLink),
}

impl State {
    pub(super) fn phase(&self) -> Phase<'_> {
        match self {
            Self::Unauthenticated => Phase::Unauthenticated,
            Self::Refused(refusal) => Phase::Refused(refusal),
            Self::Session(link) => match link.allow() {
                None => Phase::SelectingTarget(&link.restrictions),
                Some(allow) => Phase::Session(&link.restrictions, allow),
            },
        }
    }

    pub(super) const fn link(&self) -> Option<&SessionLink> {
        match self {
            Self::Session(link) => Some(link),
            Self::Unauthenticated | Self::Refused(_) => None,
        }
    }
}

impl Connection {
    /// Returns the handler of a connection from `peer`. `closed` is cancelled when the connection has ended; cancelling
    /// `abort` ends it.
    pub fn new(
        gateway: Arc<Gateway>,
        peer: SocketAddr,
        closed: CancellationToken,
        abort: CancellationToken,
        preauth_permit: Option<PreauthPermit>,
    ) -> Self {
        Self {
            sign_in: SignIn::new(gateway.auth.clone(), peer),
            gateway,
            peer,
            closed,
            abort,
            preauth_permit,
            health: ConnectionHealth::default(),
            span: connection_span(peer),
            signed_in: CancellationToken::new(),
            state: State::Unauthenticated,
            // The user is known before the first channel is opened.
            channels: Channels::new(MEMORY_BUDGET.of_user("")),
        }
    }

    /// Puts the connection into a session without authentication, for fuzz targets. Returns the receiver of the channels
    /// that the connection hands over.
    #[cfg(fuzzing)]
    pub fn with_session(
        mut self,
        policy: ChannelPolicy,
        activity: Arc<Activity>,
    ) -> (Self, mpsc::Receiver<ChannelOpen>) {
        let target = Arc::new(OnceLock::from(policy));
        let (link, channels) = SessionLink::new(KeyRestrictions::UNRESTRICTED, target, activity, 1);
        self.state = State::Session(link);
        (self, channels)
    }

    /// Returns the span of the connection.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Returns a token that is cancelled once the user has a session.
    pub fn signed_in(&self) -> CancellationToken {
        self.signed_in.clone()
    }

    /// Returns the last refusal, for the Event that is written after the connection's end.
    pub fn last_refusal(&self) -> LastRefusal {
        self.sign_in.last_refusal()
    }

    /// Sets the TCP connection whose health is watched.
    pub fn watch_health(&mut self, health: ConnectionHealth) {
        self.health = health;
    }

    /// Starts the session of an authenticated user, or the menu if the sign-in name has no target.
    pub(super) async fn open_session(&mut self, handle: Handle, software: String) -> Result<SessionLink, Refusal> {
        let signed_in = self.sign_in.signed_in().ok_or(Refusal::RightsUnknown)?;
        self.channels = Channels::new(MEMORY_BUDGET.of_user(&signed_in.user.name_any()));
        let gateway = &self.gateway;
        let admitted = match gateway.access.admit(signed_in.clone(), self.sign_in.name()).await {
            Err(Refusal::NoTarget { .. }) => {
                let slot = gateway.pending.acquire(&signed_in.user.name_any())?;
                Err(PendingUser { signed_in: signed_in.clone(), slot })
            }
            admitted => Ok(admitted?),
        };
        let activity = Arc::new(Activity::new(Instant::now()));
        let target = Arc::new(OnceLock::new());
        let (link, opened) =
            SessionLink::new(signed_in.restrictions, target.clone(), activity.clone(), gateway.sessions.max_forwards);
        let client = ClientSide {
            peer: self.peer,
            software,
            connection: ClientConnection::Ssh(UserConnection { handle, inboxes: self.channels.inboxes.clone() }),
            gone: self.closed.clone(),
            cut: self.abort.clone(),
            health: self.health.clone(),
            opened,
            first: None,
        };
        match admitted {
            Ok(admitted) => {
                let _ = target.set(admitted.channel_policy());
                gateway.sessions.tasks.spawn(task::run(gateway.sessions.clone(), admitted, client, activity));
            }
            Err(pending_user) => {
                let selection = target_selection::run(gateway.clone(), pending_user, client, target, activity);
                gateway.sessions.tasks.spawn(selection.in_current_span());
            }
        }
        Ok(link)
    }

    /// Hands a channel over to the session task. Returns the channel as the error if the connection has too many channels,
    /// or if the task cannot take it.
    pub(super) fn hand_over(&self, channel: ChannelId, opened: ChannelOpen) -> Result<(), ChannelOpen> {
        let handed_over = match self.state.link() {
            Some(link) => link.hand_over(opened, self.channels.inboxes.len()),
            None => Err(opened),
        };
        if handed_over.is_err() {
            self.channels.inboxes.remove(channel);
        }
        handed_over
    }

    pub(super) fn user_connection(&self, session: &Session) -> UserConnection {
        UserConnection { handle: session.handle(), inboxes: self.channels.inboxes.clone() }
    }

    pub(super) fn record_input(&self) {
        if let Some(link) = self.state.link() {
            link.activity.record_input();
        }
    }

    pub(super) fn record_size(&self, columns: u32, rows: u32) {
        if let Some(link) = self.state.link() {
            link.activity.resized(columns, rows);
        }
    }

    pub(super) fn audit_denial(&self, operation: &str, host: &str, port: u32, result: &str) {
        if let Some(link) = self.state.link() {
            link.audit_forward(operation, host, port, result);
        }
    }

    pub(super) fn put_data(&self, channel: ChannelId, stream: Option<u32>, data: &[u8]) {
        if self.state.link().is_none() {
            return;
        }
        // Replies of an agent or a forwarded server are not the user's input.
        if !data.is_empty() && !self.channels.is_opened_by_target(channel) {
            self.record_input();
        }
        self.channels.inboxes.push_data(channel, stream, data);
    }

    /// Passes a request for a shell, a command or a subsystem on to the target, if the request is allowed.
    ///
    /// The gateway replies before the target does, because the library keeps one reply flag per channel and replies must keep
    /// the order of the requests. If the target refuses later, the user reads so on standard error.
    pub(super) fn start_program(
        &mut self,
        channel: ChannelId,
        request: Request,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if !self.channels.start(channel) {
            return session.channel_failure(channel);
        }
        match channel_policy::program(self.state.phase(), request) {
            Program::Ignore => return Ok(()),
            Program::ShowRefusal(notice) => return show_refusal(channel, &notice, session),
            Program::Run(requests) => {
                self.record_input();
                self.channels.put_program(channel, requests)?;
            }
            Program::Deny(notice) => {
                self.channels.put(channel, FromUser::Refused(notice))?;
            }
        }
        session.channel_success(channel)
    }

    /// Returns whether the user's certificate permits no terminal.
    pub(super) fn is_terminal_denied(&self) -> bool {
        self.state.link().is_some_and(|link| !link.restrictions.pty)
    }

    /// Returns the reason for rejecting a forward before a target is chosen. It tells users of `ssh -J` what to type.
    pub(super) async fn no_target_reason(&self, host: &str, port: u16) -> String {
        let target = match self.sign_in.signed_in() {
            Some(signed_in) => self.gateway.access.directory.resolve_host(&signed_in.user, host, port).await,
            None => None,
        };
        jump_host::without_target(SignInName::user_of(self.sign_in.name()), host, target.as_ref())
    }

    pub(super) async fn open_local_forward(
        &self,
        channel: Channel<Msg>,
        destination: Destination,
        reply: ChannelOpenHandle,
        connection: UserConnection,
    ) {
        self.record_input();
        let id = channel.id();
        let forward =
            LocalForward { user: connection.side(channel), destination, reply, inboxes: self.channels.inboxes.clone() };
        if let Err(ChannelOpen::LocalForward(forward)) =
            self.hand_over(id, ChannelOpen::LocalForward(Box::new(forward)))
        {
            forward.refuse(ChannelOpenFailure::ResourceShortage).await;
        }
    }
}

/// Shows the user why no program runs: writes the notice to standard error, and closes the channel.
fn show_refusal(channel: ChannelId, notice: &str, session: &mut Session) -> Result<(), russh::Error> {
    session.channel_success(channel)?;
    session.extended_data(channel, STDERR, format!("{notice}\r\n").into_bytes())?;
    session.exit_status_request(channel, EXIT_STATUS_NOT_RUN)?;
    session.eof(channel)?;
    session.close(channel)
}
