//! Handles the SSH library's callbacks: it queues what channels receive and never waits for a target's data.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use russh::server::{
    self, Auth, ChannelOpenHandle, Handle, Msg, PublicKeyOffer, Response, Session, VerifiedCertificate,
    VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
#[cfg(fuzzing)]
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};
use zeroize::Zeroizing;

use super::channel_policy::{self, AgentForward, LocalForwardDecision, Phase, Program, RemoteForward, SessionChannel};
use super::channels::Channels;
use super::jump_host;
use super::session_link::{MAX_CHANNELS, SessionLink};
#[cfg(fuzzing)]
use crate::gateway::access::ChannelPolicy;
use crate::gateway::access::Refusal;
use crate::gateway::bridge;
use crate::gateway::bridge::{
    BREAK, ChannelOpen, Destination, END_OF_WRITE, ForwardRequest, FromUser, LocalForward, PtyRequest, Request, Size,
    SshChannel, UserChannel, UserConnection, bind_address_text,
};
use crate::gateway::menu::target_selection;
use crate::gateway::menu::target_selection::PendingUser;
use crate::gateway::net::{ConnectionHealth, PreauthPermit, connection_span};
use crate::gateway::session::{Activity, ClientConnection, ClientSide, task};
#[cfg(fuzzing)]
use crate::gateway::sign_in::KeyRestrictions;
use crate::gateway::sign_in::{LastRefusal, SignIn, SignInName};
use crate::gateway::state::Gateway;

/// The longest host name, in bytes (RFC 1035).
const MAX_HOST_LENGTH: usize = 255;
/// The exit status of a program that was not started; `ssh` uses the same for its own failures.
const EXIT_STATUS_REFUSED: u32 = 255;
/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254, section 5.2).
const STDERR: u32 = 1;

/// One client's connection.
pub struct Connection {
    gateway: Arc<Gateway>,
    peer: SocketAddr,
    /// Cancelled when the connection has ended.
    closed: CancellationToken,
    /// Cancelling it ends the connection.
    abort: CancellationToken,
    /// Held until the user has a session.
    preauth_permit: Option<PreauthPermit>,
    health: ConnectionHealth,
    /// The library runs the callbacks in a task of its own, outside of any span.
    span: Span,
    /// Cancelled once the user has a session.
    signed_in: CancellationToken,
    sign_in: SignIn,
    state: State,
    channels: Channels,
}

enum State {
    /// Authentication has not succeeded.
    Unauthenticated,
    /// The user is authenticated and gets no session.
    Refused(Refusal),
    /// The user has a session, or the menu.
    Session(SessionLink),
}

impl State {
    fn phase(&self) -> Phase<'_> {
        match self {
            Self::Unauthenticated => Phase::Unauthenticated,
            Self::Refused(refusal) => Phase::Refused(refusal),
            Self::Session(link) => match link.allow() {
                None => Phase::SelectingTarget(&link.restrictions),
                Some(allow) => Phase::Session(&link.restrictions, allow),
            },
        }
    }

    const fn link(&self) -> Option<&SessionLink> {
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
            channels: Channels::default(),
        }
    }

    /// Puts the connection into a session without authentication, for fuzz targets. Returns the receiver of its channels.
    #[cfg(fuzzing)]
    pub fn with_session(
        mut self,
        opening: ChannelPolicy,
        activity: Arc<Activity>,
    ) -> (Self, mpsc::Receiver<ChannelOpen>) {
        let target = Arc::new(OnceLock::from(opening));
        let (link, channels) = SessionLink::new(KeyRestrictions::UNRESTRICTED, target, activity);
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
    async fn open_session(&self, handle: Handle, software: String) -> Result<SessionLink, Refusal> {
        let gateway = &self.gateway;
        let signed_in = self.sign_in.signed_in().ok_or(Refusal::RightsUnknown)?;
        let admitted = match gateway.access.admit(signed_in.clone(), self.sign_in.name()).await {
            Err(Refusal::NoTarget { .. }) => {
                Err(PendingUser { signed_in: signed_in.clone(), permit: gateway.pending.acquire()? })
            }
            admitted => Ok(admitted?),
        };
        let activity = Arc::new(Activity::new(Instant::now()));
        let target = Arc::new(OnceLock::new());
        let (link, opened) = SessionLink::new(signed_in.restrictions, target.clone(), activity.clone());
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

    /// Hands a channel over to the session task, or returns it if the connection has too many.
    fn hand_over(&self, channel: ChannelId, opened: ChannelOpen) -> Result<(), ChannelOpen> {
        let handed_over = match self.state.link() {
            Some(link) if self.channels.inboxes.len() <= MAX_CHANNELS => link.hand_over(opened),
            _ => Err(opened),
        };
        if handed_over.is_err() {
            self.channels.inboxes.remove(channel);
        }
        handed_over
    }

    fn user_connection(&self, session: &Session) -> UserConnection {
        UserConnection { handle: session.handle(), inboxes: self.channels.inboxes.clone() }
    }

    fn record_input(&self) {
        if let Some(link) = self.state.link() {
            link.activity.record_input();
        }
    }

    fn record_size(&self, columns: u32, rows: u32) {
        if let Some(link) = self.state.link() {
            link.activity.resized(columns, rows);
        }
    }

    fn audit_denial(&self, operation: &str, host: &str, port: u32, result: &str) {
        if let Some(link) = self.state.link() {
            link.audit_forward(operation, host, port, result);
        }
    }

    fn put_data(&self, channel: ChannelId, stream: Option<u32>, data: &[u8]) -> Result<(), russh::Error> {
        if self.state.link().is_none() {
            return Ok(());
        }
        // Replies of an agent or a forwarded server are not the user's input.
        if !data.is_empty() && !self.channels.is_opened_by_target(channel) {
            self.record_input();
        }
        Ok(self.channels.inboxes.push_data(channel, stream, data)?)
    }

    /// Passes a shell, a command or a subsystem on if it is allowed.
    ///
    /// The reply is sent before the target's, because the library keeps one reply flag per channel and replies must keep
    /// the order of the requests. A target that refuses is reported on standard error.
    fn start_program(
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
                for request in requests {
                    self.channels.put(channel, FromUser::Request(request))?;
                }
            }
            Program::Deny(notice) => self.channels.put(channel, FromUser::Refused(notice))?,
        }
        session.channel_success(channel)
    }

    /// Returns whether the user's certificate permits no terminal.
    fn is_terminal_denied(&self) -> bool {
        self.state.link().is_some_and(|link| !link.restrictions.pty)
    }

    /// Returns the reason for rejecting a forward before a target is chosen. It tells users of `ssh -J` what to type.
    async fn no_target_reason(&self, host: &str, port: u16) -> String {
        let target = match self.sign_in.signed_in() {
            Some(signed_in) => self.gateway.access.directory.resolve_host(&signed_in.user, host, port).await,
            None => None,
        };
        jump_host::without_target(SignInName::user_of(self.sign_in.name()), host, target.as_ref())
    }

    async fn open_local_forward(
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

/// Shows why no program runs: writes the notice to standard error, and closes the channel.
fn show_refusal(channel: ChannelId, notice: &str, session: &mut Session) -> Result<(), russh::Error> {
    session.channel_success(channel)?;
    session.extended_data(channel, STDERR, format!("{notice}\r\n").into_bytes())?;
    session.exit_status_request(channel, EXIT_STATUS_REFUSED)?;
    session.eof(channel)?;
    session.close(channel)
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(self.gateway.banner.clone())
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.list_methods(user)))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let first = |mut answers: Response<'a>| answers.next().map(|answer| answer.to_vec()).unwrap_or_default();
        let answer = response.map(|answers| Zeroizing::new(first(answers)));
        Ok(self.sign_in.keyboard_interactive(user, answer).instrument(self.span.clone()).await)
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.key_offered(user, offer.public_key, offer.algorithm)))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.key_verified(user, key)))
    }

    async fn auth_openssh_certificate_verified(
        &mut self,
        user: &str,
        certificate: VerifiedCertificate<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.span.in_scope(|| self.sign_in.certificate_verified(user, certificate)))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let software = String::from_utf8_lossy(session.remote_sshid()).into_owned();
        // Boxed, so that the handler's future does not keep room for it after it has run.
        self.state = match Box::pin(self.open_session(session.handle(), software)).instrument(self.span.clone()).await {
            Ok(link) => {
                self.preauth_permit = None;
                self.signed_in.cancel();
                State::Session(link)
            }
            Err(refusal) => {
                self.span.in_scope(|| refusal.report(self.sign_in.name()));
                self.sign_in.record_refusal(&refusal);
                State::Refused(refusal)
            }
        };
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match channel_policy::session_channel(self.state.phase(), self.channels.refused) {
            SessionChannel::Reject(failure) => reply.reject(failure).await,
            SessionChannel::ShowRefusal => {
                self.channels.refused += 1;
                reply.accept().await;
            }
            SessionChannel::HandOver => {
                let id = channel.id();
                let side = self.user_connection(session).side(channel);
                let opened = SshChannel { side, handle: session.handle() };
                match self.hand_over(id, ChannelOpen::Session(UserChannel::Ssh(opened))) {
                    Ok(()) => {
                        self.channels.send_notices(id)?;
                        reply.accept().await;
                    }
                    Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
                }
            }
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let port = u16::try_from(port).ok().filter(|_| host.len() <= MAX_HOST_LENGTH);
        let failure = match channel_policy::local_forward(self.state.phase(), port) {
            LocalForwardDecision::Reject(failure) => failure,
            LocalForwardDecision::NoTarget { port } => bridge::prohibited(&self.no_target_reason(host, port).await),
            LocalForwardDecision::Deny { denied, port, is_jump } => {
                self.audit_denial("local_forward", host, u32::from(port), denied.result);
                if is_jump {
                    bridge::prohibited(&jump_host::with_target(self.sign_in.name()))
                } else {
                    bridge::prohibited(denied.notice)
                }
            }
            LocalForwardDecision::Open { port } => {
                let (host, originator) = (host.to_owned(), originator.to_owned());
                let destination = Destination { host, port, originator, originator_port };
                let connection = self.user_connection(session);
                self.open_local_forward(channel, destination, reply, connection).await;
                return Ok(());
            }
        };
        reply.reject(failure).await;
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        self.put_data(channel, None, data)
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.put_data(channel, Some(stream), data)
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.confirm(channel);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.put(channel, FromUser::Eof)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.close(channel);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.is_terminal_denied() {
            // OpenSSH prints that the terminal was refused; a notice of ours would repeat it.
            return session.channel_failure(channel);
        }
        self.record_size(columns, rows);
        let size = Size { columns, rows, width, height };
        let modes = modes.iter().copied().filter(|(mode, _)| *mode != Pty::TTY_OP_END).collect();
        self.channels
            .put(channel, FromUser::Request(Request::Pty(PtyRequest { term: term.to_owned(), size, modes })))?;
        session.channel_success(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.state.link().is_some() {
            let notice = "bastion: X11 forwarding (-X, -Y) is not supported; the session continues without it";
            self.channels.put(channel, FromUser::Request(Request::Notice(notice)))?;
        }
        // A missing reply would shift all later replies on the channel.
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if !self.gateway.accept_env.iter().any(|accepted| accepted.accepts(name)) {
            return session.channel_failure(channel);
        }
        self.channels
            .put(channel, FromUser::Request(Request::Env { name: name.to_owned(), value: value.to_owned() }))?;
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.start_program(channel, Request::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start_program(channel, Request::Exec(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start_program(channel, Request::Subsystem(name.to_owned()), session)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.record_size(columns, rows);
        self.channels.put(channel, FromUser::Request(Request::WindowChange(Size { columns, rows, width, height })))
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Self::Error> {
        self.channels.put(channel, FromUser::Request(Request::Signal(signal)))
    }

    async fn agent_request(&mut self, channel: ChannelId, _: &mut Session) -> Result<bool, Self::Error> {
        let request = match channel_policy::agent_forward(self.state.phase()) {
            AgentForward::Reject => return Ok(false),
            AgentForward::Deny(denied) => {
                self.audit_denial("agent_forward", "", 0, denied.result);
                Request::Notice(denied.notice)
            }
            AgentForward::Pass => Request::AgentForward,
        };
        let allowed = matches!(request, Request::AgentForward);
        self.channels.put(channel, FromUser::Request(request))?;
        Ok(allowed)
    }

    async fn custom_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        payload: &[u8],
        _: &mut Session,
    ) -> Result<bool, Self::Error> {
        match name {
            END_OF_WRITE => {
                if let Some(inbox) = self.channels.inboxes.get(channel) {
                    inbox.mark_end_of_write();
                }
                Ok(true)
            }
            // The payload is the break's length in milliseconds, a uint32 (RFC 4335, section 3).
            BREAK if payload.len() == 4 => {
                self.channels.put(channel, FromUser::Request(Request::Break(Bytes::copy_from_slice(payload))))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, Self::Error> {
        match channel_policy::remote_forward(self.state.phase()) {
            RemoteForward::Reject => return Ok(false),
            RemoteForward::NoTarget => {
                let notice = "bastion: -R needs a target in the sign-in name; the menu opens too late for it";
                self.channels.add_notice(notice);
                return Ok(false);
            }
            RemoteForward::Deny(denied) => {
                self.audit_denial("remote_listen", bind_address_text(address), *port, denied.result);
                self.channels.add_notice(denied.notice);
                return Ok(false);
            }
            RemoteForward::Listen => {}
        }
        let State::Session(link) = &mut self.state else { return Ok(false) };
        let (address, requested) = (address.to_owned(), *port);
        let bound = link.request_listening(|answer| ForwardRequest::Listen { address, port: requested, answer }).await;
        *port = bound.unwrap_or_default();
        if bound.is_none() {
            let notice =
                "bastion: the target does not listen for -R: the port is in use, or its sshd permits no forwards";
            self.channels.add_notice(notice);
        }
        Ok(bound.is_some())
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _: &mut Session) -> Result<bool, Self::Error> {
        let State::Session(link) = &mut self.state else { return Ok(false) };
        let address = address.to_owned();
        Ok(link.request_listening(|answer| ForwardRequest::Cancel { address, port, answer }).await.is_some())
    }
}
