//! The thin side of the SSH library: its callbacks become items in an inbox, and none of them waits for a target.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use russh::server::{
    self, Auth, ChannelOpenHandle, Handle, Msg, PublicKeyOffer, Response, Session, VerifiedCertificate,
    VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::jump_host;
use crate::api::Allow;
use crate::gateway::access::{Opening, Refusal};
use crate::gateway::bridge;
use crate::gateway::bridge::{
    BREAK, Destination, END_OF_WRITE, Forward, FromUser, Inboxes, LISTEN_TIMEOUT, Listening, Opened, PtyRequest,
    Request, Size, SshChannel, UserChannel, UserConnection, listened_at,
};
use crate::gateway::menu::target_selection;
use crate::gateway::menu::target_selection::PendingUser;
use crate::gateway::net::{Health, PreauthPermit};
use crate::gateway::session::{Activity, ClientSide, Connected, task};
use crate::gateway::sign_in::{KeyRestrictions, LastRefusal, SignIn, SignInName};
use crate::gateway::state::Gateway;

/// How many channels a connection may have open at once.
const MAX_CHANNELS: usize = 64;
/// How many channels somebody may open who gets no session.
const MAX_REFUSED_CHANNELS: usize = 8;
/// The length of the longest host name that there can be.
const MAX_HOST: usize = 255;
/// How many wishes for remote forwards may wait for the target.
const MAX_LISTENING: usize = 16;

/// One client's connection.
pub struct Connection {
    gateway: Arc<Gateway>,
    peer: SocketAddr,
    gone: CancellationToken,
    cut: CancellationToken,
    /// Held until there is a session.
    startup: Option<PreauthPermit>,
    health: Health,
    /// Cancelled when there is a session.
    signed_in: CancellationToken,
    sign_in: SignIn,
    state: State,
    inboxes: Arc<Inboxes<FromUser>>,
    /// Channels that the target opened.
    begun_on_target: HashSet<ChannelId>,
    /// Channels that have had their shell, command or subsystem: only one of these may succeed (RFC 4254, section 6.5).
    begun_by_user: HashSet<ChannelId>,
    /// Channels of somebody who gets no session, which are opened to say why.
    refused_channels: usize,
    /// What the user's client was refused before it had a channel to read it on.
    notices: Vec<&'static str>,
}

enum State {
    /// Not signed in.
    Before,
    /// Signed in, without a session.
    Refused(Refusal),
    /// Signed in, with a session.
    Session(Link),
}

/// What ties the connection to its session's task.
struct Link {
    restrictions: KeyRestrictions,
    /// Set once there is a target.
    target: Arc<OnceLock<Opening>>,
    activity: Arc<Activity>,
    opened: mpsc::Sender<Opened>,
    /// The way to whoever has the target listen, once there is somebody.
    listening: Option<mpsc::Sender<Listening>>,
}

impl Link {
    /// Passes a wish on, and waits for the answer. The answers to a client's global requests must come in their order
    /// (RFC 4254, section 4), so nothing else on the connection goes on meanwhile; the wait is bounded where the wish is
    /// fulfilled.
    async fn ask(&mut self, wish: impl FnOnce(oneshot::Sender<Option<u32>>) -> Listening) -> Option<u32> {
        // Whoever had the target listen may have lost it.
        if self.listening.as_ref().is_none_or(mpsc::Sender::is_closed) {
            let (listening, wishes) = mpsc::channel(MAX_LISTENING);
            self.opened.try_send(Opened::Listening(wishes)).ok()?;
            self.listening = Some(listening);
        }
        let (answer, answered) = oneshot::channel();
        self.listening.as_ref()?.try_send(wish(answer)).ok()?;
        timeout(LISTEN_TIMEOUT, answered).await.ok()?.ok()?
    }

    fn allow(&self) -> Allow {
        self.target.get().map_or(target_selection::ALLOW, |opening| opening.allow)
    }

    fn has_target(&self) -> bool {
        self.target.get().is_some()
    }

    fn audit_forward(&self, operation: &str, host: &str, port: u32, result: &str) {
        if let Some(opening) = self.target.get() {
            opening.audit.tunnel(operation, host, port, None, result);
        }
    }
}

impl Connection {
    /// A connection from `peer`. `gone` is cancelled when it has ended; cancelling `cut` ends it.
    pub fn new(
        gateway: Arc<Gateway>,
        peer: SocketAddr,
        gone: CancellationToken,
        cut: CancellationToken,
        startup: PreauthPermit,
    ) -> Self {
        Self {
            sign_in: SignIn::new(gateway.auth.clone(), peer),
            gateway,
            peer,
            gone,
            cut,
            startup: Some(startup),
            health: Health::default(),
            signed_in: CancellationToken::new(),
            state: State::Before,
            inboxes: Arc::default(),
            begun_on_target: HashSet::new(),
            begun_by_user: HashSet::new(),
            refused_channels: 0,
            notices: Vec::new(),
        }
    }

    /// A connection that has a session, and who hears of its channels: a fuzz target.
    #[cfg(fuzzing)]
    pub fn in_session(
        gateway: Arc<Gateway>,
        peer: SocketAddr,
        (gone, cut): (CancellationToken, CancellationToken),
        opening: Opening,
        activity: Arc<Activity>,
    ) -> (Self, mpsc::Receiver<Opened>) {
        let (opened, channels) = mpsc::channel(MAX_CHANNELS);
        let target = Arc::new(OnceLock::from(opening));
        let link = Link { restrictions: KeyRestrictions::ALL, target, activity, opened, listening: None };
        let connection = Self {
            sign_in: SignIn::new(gateway.auth.clone(), peer),
            gateway,
            peer,
            gone,
            cut,
            startup: None,
            health: Health::default(),
            signed_in: CancellationToken::new(),
            state: State::Session(link),
            inboxes: Arc::default(),
            begun_on_target: HashSet::new(),
            begun_by_user: HashSet::new(),
            refused_channels: 0,
            notices: Vec::new(),
        };
        (connection, channels)
    }

    /// Is cancelled when the connection has a session; without one its time is limited.
    pub fn signed_in(&self) -> CancellationToken {
        self.signed_in.clone()
    }

    /// Has what there is to tell of refusals when the connection has ended.
    pub fn refusals(&self) -> LastRefusal {
        self.sign_in.refusals()
    }

    /// Says how the connection's health can be looked at.
    pub fn watch_health(&mut self, health: Health) {
        self.health = health;
    }

    /// Opens the session of somebody who has signed in, or the menu where they named no target, or says why there is
    /// neither.
    async fn open_session(&self, handle: Handle, software: String) -> Result<Link, Refusal> {
        let gateway = &self.gateway;
        let signed_in = self.sign_in.done().ok_or(Refusal::RightsUnknown)?;
        let admitted = match gateway.access.admit(signed_in.clone(), self.sign_in.name()).await {
            Err(Refusal::NoTarget { .. }) => {
                Err(PendingUser { signed_in: signed_in.clone(), place: gateway.pending.enter()? })
            }
            admitted => Ok(admitted?),
        };
        let (opened, channels) = mpsc::channel(MAX_CHANNELS);
        let activity = Arc::new(Activity::new(Instant::now()));
        let restrictions = signed_in.restrictions;
        let link = Link { restrictions, target: Arc::default(), activity: activity.clone(), opened, listening: None };
        let client = ClientSide {
            peer: self.peer,
            software,
            connection: Connected::Ssh(UserConnection { handle, inboxes: self.inboxes.clone() }),
            gone: self.gone.clone(),
            cut: self.cut.clone(),
            health: self.health.clone(),
            opened: channels,
            first: None,
        };
        match admitted {
            Ok(admitted) => {
                let _ = link.target.set(admitted.opening());
                gateway.sessions.tasks.spawn(task::run(gateway.sessions.clone(), admitted, client, activity));
            }
            Err(pending_user) => {
                let target = link.target.clone();
                gateway.sessions.tasks.spawn(target_selection::run(
                    gateway.clone(),
                    pending_user,
                    client,
                    target,
                    activity,
                ));
            }
        }
        Ok(link)
    }

    /// Hands a channel to the session's task, or gives it back if there are too many.
    fn hand_over(&mut self, channel: ChannelId, opened: Opened) -> Result<(), Opened> {
        let given_back = match &self.state {
            State::Session(link) if self.inboxes.len() <= MAX_CHANNELS => {
                link.opened.try_send(opened).map_err(mpsc::error::TrySendError::into_inner)
            }
            _ => Err(opened),
        };
        if given_back.is_err() {
            self.inboxes.remove(channel);
        }
        given_back
    }

    /// The target that the user means by a host that they want to be connected to.
    async fn meant(&self, host: &str, port: u16) -> Option<jump_host::ResolvedTarget> {
        let signed_in = self.sign_in.done()?;
        self.gateway.access.directory.meant(&signed_in.user, host, port).await
    }

    fn connection(&self, session: &Session) -> UserConnection {
        UserConnection { handle: session.handle(), inboxes: self.inboxes.clone() }
    }

    fn resized(&self, columns: u32, rows: u32) {
        if let State::Session(link) = &self.state {
            link.activity.resized(columns, rows);
        }
    }

    fn put(&self, channel: ChannelId, said: FromUser) -> Result<(), russh::Error> {
        let bytes = said.size();
        Ok(self.inboxes.put(channel, said, bytes)?)
    }

    fn put_data(&self, channel: ChannelId, stream: Option<u32>, data: &[u8]) -> Result<(), russh::Error> {
        let State::Session(link) = &self.state else { return Ok(()) };
        // What answers the target, an agent or a forwarded server, is no user at work.
        if !data.is_empty() && !self.begun_on_target.contains(&channel) {
            link.activity.input();
        }
        Ok(self.inboxes.put_data(channel, stream, data)?)
    }

    /// Keeps what the user is to be told on the first channel, once however often it was asked for.
    fn note(&mut self, notice: &'static str) {
        self.notices.push(notice);
        self.notices.dedup();
    }

    /// Has the user told, on this channel, of what was refused before there was one.
    fn give_notices(&mut self, channel: ChannelId) -> Result<(), russh::Error> {
        for notice in std::mem::take(&mut self.notices) {
            self.put(channel, FromUser::Request(Request::Notice(notice)))?;
        }
        Ok(())
    }

    /// Passes a shell, a command or a subsystem on if it is allowed. It is answered here and now, so that answers come in
    /// the order of the requests: the library has one flag a channel for them. A target that refuses says so on
    /// standard error.
    fn run(&mut self, channel: ChannelId, asked: Request, session: &mut Session) -> Result<(), russh::Error> {
        if !self.begun_by_user.insert(channel) {
            return session.channel_failure(channel);
        }
        match &self.state {
            State::Before => Ok(()),
            State::Refused(refusal) => {
                session.channel_success(channel)?;
                session.extended_data(channel, 1, format!("{}\r\n", refusal.notice()).into_bytes())?;
                session.exit_status_request(channel, 255)?;
                session.eof(channel)?;
                session.close(channel)
            }
            State::Session(link) => {
                match link.restrictions.pass(link.allow(), asked) {
                    Ok(requests) => {
                        link.activity.input();
                        for request in requests {
                            self.put(channel, FromUser::Request(request))?;
                        }
                    }
                    Err(notice) => self.put(channel, FromUser::Refused(notice))?,
                }
                session.channel_success(channel)
            }
        }
    }

    /// Whether the user's certificate keeps the user from having a terminal.
    fn no_terminal(&self) -> bool {
        matches!(&self.state, State::Session(link) if !link.restrictions.pty)
    }
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Self::Error> {
        Ok(self.gateway.banner.clone())
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, Self::Error> {
        Ok(self.sign_in.methods(user))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let first = |mut answers: Response<'a>| answers.next().map(|answer| answer.to_vec()).unwrap_or_default();
        let answer = response.map(|answers| Zeroizing::new(first(answers)));
        Ok(self.sign_in.asked(user, answer).await)
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.sign_in.offered(user, offer.public_key, offer.algorithm))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(self.sign_in.with_key(user, key))
    }

    async fn auth_openssh_certificate_verified(
        &mut self,
        user: &str,
        certificate: VerifiedCertificate<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self.sign_in.with_certificate(user, certificate))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let software = String::from_utf8_lossy(session.remote_sshid()).into_owned();
        // In a box of its own: a connection would keep the room for it to its end.
        self.state = match Box::pin(self.open_session(session.handle(), software)).await {
            Ok(link) => {
                self.startup = None;
                self.signed_in.cancel();
                State::Session(link)
            }
            Err(refusal) => {
                refusal.report(self.sign_in.name(), self.peer);
                self.sign_in.refused(&refusal);
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
        match &self.state {
            State::Before => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
            State::Refused(_) if self.refused_channels >= MAX_REFUSED_CHANNELS => {
                reply.reject(ChannelOpenFailure::ResourceShortage).await;
            }
            State::Refused(_) => {
                self.refused_channels += 1;
                reply.accept().await;
            }
            State::Session(_) => {
                let id = channel.id();
                let opened = SshChannel { side: self.connection(session).side(channel), handle: session.handle() };
                match self.hand_over(id, Opened::Session(UserChannel::Ssh(opened))) {
                    Ok(()) => {
                        self.give_notices(id)?;
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
        let port = u16::try_from(port).ok().filter(|_| host.len() <= MAX_HOST);
        let refused = match (&self.state, port) {
            (State::Before, _) => ChannelOpenFailure::AdministrativelyProhibited,
            (State::Refused(refusal), _) => bridge::prohibited(&refusal.notice()),
            (State::Session(_), None) => bridge::connect_failed("bastion: there is no such destination"),
            (State::Session(link), Some(port)) if !link.has_target() => {
                let user = SignInName::user_of(self.sign_in.name());
                bridge::prohibited(&jump_host::without_target(user, host, self.meant(host, port).await.as_ref()))
            }
            (State::Session(link), Some(port)) => {
                if let Err(denied) = link.restrictions.local_forward(link.allow()) {
                    link.audit_forward("local_forward", host, u32::from(port), denied.result);
                    let refused = match port {
                        jump_host::SSH_PORT if !link.allow().local_forward => {
                            jump_host::with_target(self.sign_in.name())
                        }
                        _ => denied.notice.to_owned(),
                    };
                    reply.reject(bridge::prohibited(&refused)).await;
                    return Ok(());
                }
                link.activity.input();
                let (host, originator) = (host.to_owned(), originator.to_owned());
                let destination = Destination { host, port, originator, originator_port };
                let id = channel.id();
                let (user, inboxes) = (self.connection(session).side(channel), self.inboxes.clone());
                let forward = Forward { user, destination, reply, inboxes };
                if let Err(Opened::Forward(forward)) = self.hand_over(id, Opened::Forward(Box::new(forward))) {
                    forward.refuse(ChannelOpenFailure::ResourceShortage).await;
                }
                return Ok(());
            }
        };
        reply.reject(refused).await;
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
        // What comes on it next must find an inbox.
        self.inboxes.expect(channel);
        self.begun_on_target.insert(channel);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.put(channel, FromUser::Eof)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.begun_on_target.remove(&channel);
        self.begun_by_user.remove(&channel);
        self.inboxes.close(channel, FromUser::Close);
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
        if self.no_terminal() {
            // OpenSSH says so, and shows nothing more.
            return session.channel_failure(channel);
        }
        self.resized(columns, rows);
        let size = Size { columns, rows, width, height };
        let modes = modes.iter().copied().filter(|(mode, _)| *mode != Pty::TTY_OP_END).collect();
        self.put(channel, FromUser::Request(Request::Pty(PtyRequest { term: term.to_owned(), size, modes })))?;
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
        if matches!(self.state, State::Session(_)) {
            let notice = "bastion: X11 is not forwarded (-X, -Y); the rest goes on";
            self.put(channel, FromUser::Request(Request::Notice(notice)))?;
        }
        // Without an answer, the client would take the next one for it.
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
        self.put(channel, FromUser::Request(Request::Env { name: name.to_owned(), value: value.to_owned() }))?;
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.run(channel, Request::Shell, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.run(channel, Request::Exec(command.to_vec()), session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.run(channel, Request::Subsystem(name.to_owned()), session)
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
        self.resized(columns, rows);
        self.put(channel, FromUser::Request(Request::WindowChange(Size { columns, rows, width, height })))
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Self::Error> {
        self.put(channel, FromUser::Request(Request::Signal(signal)))
    }

    async fn agent_request(&mut self, channel: ChannelId, _: &mut Session) -> Result<bool, Self::Error> {
        let request = match &self.state {
            // Where the target is still to be chosen, the lobby says whether it allows it.
            State::Session(link) if !link.has_target() => Request::AgentForward,
            State::Session(link) => match link.restrictions.agent(link.allow()) {
                Ok(()) => Request::AgentForward,
                Err(denied) => {
                    link.audit_forward("agent_forward", "", 0, denied.result);
                    Request::Notice(denied.notice)
                }
            },
            State::Before | State::Refused(_) => return Ok(false),
        };
        let allowed = matches!(request, Request::AgentForward);
        self.put(channel, FromUser::Request(request))?;
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
                if let Some(inbox) = self.inboxes.get(channel) {
                    inbox.stop_reading();
                }
                Ok(true)
            }
            // A length in milliseconds.
            BREAK if payload.len() == 4 => {
                self.put(channel, FromUser::Request(Request::Break(Bytes::copy_from_slice(payload))))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    async fn tcpip_forward(&mut self, address: &str, port: &mut u32, _: &mut Session) -> Result<bool, Self::Error> {
        let State::Session(link) = &mut self.state else { return Ok(false) };
        if !link.has_target() {
            self.note("bastion: -R needs a target in the sign-in name; chosen in the menu, it comes too late");
            return Ok(false);
        }
        if let Err(denied) = link.restrictions.remote_forward(link.allow()) {
            link.audit_forward("remote_listen", listened_at(address), *port, denied.result);
            self.note(denied.notice);
            return Ok(false);
        }
        let (address, asked) = (address.to_owned(), *port);
        let listening = link.ask(|answer| Listening::Begin { address, port: asked, answer }).await;
        *port = listening.unwrap_or_default();
        if listening.is_none() {
            self.notices.push("bastion: the target does not listen for -R; the port is taken, or its sshd allows none");
            self.notices.dedup();
        }
        Ok(listening.is_some())
    }

    async fn cancel_tcpip_forward(&mut self, address: &str, port: u32, _: &mut Session) -> Result<bool, Self::Error> {
        let State::Session(link) = &mut self.state else { return Ok(false) };
        let address = address.to_owned();
        Ok(link.ask(|answer| Listening::Stop { address, port, answer }).await.is_some())
    }
}
