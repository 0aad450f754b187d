//! The thin side of the SSH library: its callbacks become items in an inbox, and none of them waits for a target.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use russh::keys::ssh_key::PublicKey;
use russh::server::{self, Auth, ChannelOpenHandle, Handle, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Admitted;
use super::Gateway;
use super::activity::Activity;
use super::channel::{Opened, UserChannel};
use super::forward::{self, Destination, Forward};
use super::inbox::{Inbox, Item, PtyRequest, Request, Size, TRICKLE, WINDOW};
use super::lobby::{self, Guest};
use super::refusal::Refusal;
use super::session::{self, ClientSide};
use super::sign_in_name::SignInName;
use super::socket::Health;
use crate::api::{Allow, BastionUser};
use crate::metrics::{METRICS, RefusalLabels};

/// How many channels a connection may have open at once.
const MAX_CHANNELS: usize = 64;
/// The length of the longest host name that there can be.
const MAX_HOST: usize = 255;
/// How long a client that is held back waits for its next byte or two of window.
const TRICKLE_PACE: Duration = Duration::from_millis(10);

/// One client's connection.
pub struct Connection {
    gateway: Arc<Gateway>,
    peer: SocketAddr,
    gone: CancellationToken,
    cut: CancellationToken,
    /// Held until there is a session.
    startup: Option<OwnedSemaphorePermit>,
    health: Health,
    /// Cancelled when there is a session.
    signed_in: CancellationToken,
    signed_in_as: Option<(Arc<BastionUser>, PublicKey)>,
    sign_in_name: String,
    state: State,
    inboxes: HashMap<ChannelId, Arc<Inbox>>,
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
    /// Set once there is a target.
    allow: Arc<OnceLock<Allow>>,
    activity: Arc<Activity>,
    opened: mpsc::Sender<Opened>,
}

impl Link {
    fn allow(&self) -> Allow {
        self.allow.get().copied().unwrap_or(lobby::ALLOW)
    }

    fn has_target(&self) -> bool {
        self.allow.get().is_some()
    }
}

impl Connection {
    /// A connection from `peer`. `gone` is cancelled when it has ended; cancelling `cut` ends it.
    pub fn new(
        gateway: Arc<Gateway>,
        peer: SocketAddr,
        gone: CancellationToken,
        cut: CancellationToken,
        startup: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            gateway,
            peer,
            gone,
            cut,
            startup: Some(startup),
            health: Health::default(),
            signed_in: CancellationToken::new(),
            signed_in_as: None,
            sign_in_name: String::new(),
            state: State::Before,
            inboxes: HashMap::new(),
        }
    }

    /// Is cancelled when the connection has a session; without one its time is limited.
    pub fn signed_in(&self) -> CancellationToken {
        self.signed_in.clone()
    }

    /// Says how the connection's health can be looked at.
    pub fn watch_health(&mut self, health: Health) {
        self.health = health;
    }

    fn find_user(&self, sign_in_name: &str, key: &PublicKey) -> Option<Arc<BastionUser>> {
        let name = SignInName::user_of(sign_in_name);
        match self.gateway.directory.user_with_key(name, key) {
            Ok(user) => Some(user),
            Err(reason) => {
                METRICS.sign_ins_refused.get_or_create(&RefusalLabels { reason: "key" }).inc();
                info!(user = name, client = %self.peer, %reason, "sign-in refused");
                None
            }
        }
    }

    /// Opens the session of somebody who has signed in, or the menu where they named no target, or says why there is
    /// neither.
    async fn open_session(&self, handle: Handle, software: String) -> Result<Link, Refusal> {
        let gateway = &self.gateway;
        let Some((user, key)) = self.signed_in_as.clone() else { return Err(Refusal::RightsUnknown) };
        let admitted = match gateway.admit(user.clone(), key.clone(), &self.sign_in_name).await {
            Err(Refusal::NoTarget { .. }) => Err(Guest { user, key, place: gateway.lobby.enter()? }),
            admitted => Ok(admitted?),
        };
        let (opened, channels) = mpsc::channel(MAX_CHANNELS);
        let activity = Arc::new(Activity::new(Instant::now()));
        let link = Link { allow: Arc::default(), activity: activity.clone(), opened };
        let client = ClientSide {
            peer: self.peer,
            software,
            handle,
            gone: self.gone.clone(),
            cut: self.cut.clone(),
            health: self.health.clone(),
            opened: channels,
            first: None,
        };
        match admitted {
            Ok(Admitted { grant, slot, instance }) => {
                let _ = link.allow.set(grant.target.spec.allow);
                gateway.sessions.spawn(session::run(gateway.clone(), instance, grant, client, activity, slot));
            }
            Err(guest) => {
                let allow = link.allow.clone();
                gateway.sessions.spawn(lobby::run(gateway.clone(), guest, client, allow, activity));
            }
        }
        Ok(link)
    }

    /// Hands a channel to the session's task, or gives it back if there are too many.
    fn hand_over(&mut self, opened: Opened) -> Result<(), Opened> {
        self.inboxes.retain(|_, inbox| !inbox.is_discarded());
        let State::Session(link) = &self.state else { return Err(opened) };
        if self.inboxes.len() >= MAX_CHANNELS {
            return Err(opened);
        }
        let UserChannel { id, inbox, .. } = opened.channel();
        let (id, inbox) = (*id, inbox.clone());
        link.opened.try_send(opened).map_err(mpsc::error::TrySendError::into_inner)?;
        self.inboxes.insert(id, inbox);
        Ok(())
    }

    fn resized(&self, columns: u32, rows: u32) {
        if let State::Session(link) = &self.state {
            link.activity.resized(columns, rows);
        }
    }

    fn put(&self, channel: ChannelId, item: Item) -> Result<(), russh::Error> {
        match self.inboxes.get(&channel) {
            Some(inbox) => inbox.put(item).map_err(|_| russh::Error::Inconsistent),
            None => Ok(()),
        }
    }

    /// Passes a request on if it is allowed. It is answered here and now, so that answers come in the order of the
    /// requests: the library has one flag a channel for them. A target that refuses says so on standard error.
    fn request(
        &self,
        channel: ChannelId,
        allowed: impl FnOnce(&Allow) -> bool,
        request: Request,
        refused: &'static str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match &self.state {
            State::Before => Ok(()),
            State::Refused(refusal) => {
                session.channel_success(channel)?;
                session.extended_data(channel, 1, format!("{}\r\n", refusal.notice()).into_bytes())?;
                session.exit_status_request(channel, 255)?;
                session.eof(channel)?;
                session.close(channel)
            }
            State::Session(link) if allowed(&link.allow()) => {
                link.activity.input();
                self.put(channel, Item::Request(request))?;
                session.channel_success(channel)
            }
            State::Session(_) => {
                self.put(channel, Item::Request(Request::Refused(refused)))?;
                session.channel_success(channel)
            }
        }
    }
}

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.find_user(user, offer.public_key).map_or_else(Auth::reject, |_| Auth::Accept))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let found = self.find_user(user, key.public_key);
        self.signed_in_as = found.map(|found| (found, key.public_key.clone()));
        user.clone_into(&mut self.sign_in_name);
        Ok(if self.signed_in_as.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let software = String::from_utf8_lossy(session.remote_sshid()).into_owned();
        self.state = match self.open_session(session.handle(), software).await {
            Ok(link) => {
                self.startup = None;
                self.signed_in.cancel();
                State::Session(link)
            }
            Err(refusal) => {
                refusal.report(&self.sign_in_name, self.peer);
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
            State::Refused(_) => reply.accept().await,
            State::Session(_) => match self.hand_over(Opened::Session(user_channel(channel, session))) {
                Ok(()) => reply.accept().await,
                Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
            },
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
            (State::Refused(refusal), _) => forward::prohibited(&refusal.notice()),
            (State::Session(_), None) => forward::connect_failed("bastion: there is no such destination"),
            (State::Session(link), _) if !link.has_target() => {
                let refusal = Refusal::NoTarget { user: SignInName::user_of(&self.sign_in_name).to_owned() };
                forward::prohibited(&refusal.notice())
            }
            (State::Session(link), Some(port)) if !link.allow().local_forward => {
                info!(name = self.sign_in_name, client = %self.peer, host, port, "local forward refused: not allowed");
                forward::prohibited("bastion: this target allows no local forwards (spec.allow.localForward)")
            }
            (State::Session(link), Some(port)) => {
                link.activity.input();
                let (host, originator) = (host.to_owned(), originator.to_owned());
                let destination = Destination { host, port, originator, originator_port };
                let forward = Forward { channel: user_channel(channel, session), destination, reply };
                if let Err(Opened::Forward(forward)) = self.hand_over(Opened::Forward(Box::new(forward))) {
                    forward.refuse(ChannelOpenFailure::ResourceShortage).await;
                }
                return Ok(());
            }
        };
        reply.reject(refused).await;
        Ok(())
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        let (State::Session(link), Some(inbox)) = (&self.state, self.inboxes.get(&channel)) else {
            return Ok(());
        };
        link.activity.input();
        inbox.put_data(data).map_err(|_| russh::Error::Inconsistent)?;
        if data.len() <= TRICKLE as usize && inbox.is_full() {
            // Held back, the client sends its byte or two as fast as they are granted; this paces it. Everything
            // else on the connection waits that long too, which nobody notices.
            sleep(TRICKLE_PACE).await;
        }
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        // The library has one size for all channels of a connection, so the fullest inbox rules.
        if self.inboxes.values().any(|inbox| inbox.is_full()) { TRICKLE } else { WINDOW }
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.put(channel, Item::Eof)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        let put = self.put(channel, Item::Close);
        self.inboxes.remove(&channel);
        put
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
        self.resized(columns, rows);
        let size = Size { columns, rows, width, height };
        let modes = modes.iter().copied().filter(|(mode, _)| *mode != Pty::TTY_OP_END).collect();
        self.put(channel, Item::Request(Request::Pty(PtyRequest { term: term.to_owned(), size, modes })))?;
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
        self.put(channel, Item::Request(Request::Env { name: name.to_owned(), value: value.to_owned() }))?;
        session.channel_success(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let refused = "bastion: this target allows no shell (spec.allow.shell)";
        self.request(channel, |allow| allow.shell, Request::Shell, refused, session)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let refused = "bastion: this target allows no commands (spec.allow.exec)";
        self.request(channel, |allow| allow.exec, Request::Exec(command.to_vec()), refused, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let refused =
            "bastion: this target allows no such subsystem (spec.allow.sftp is for sftp, and there are no others)";
        let sftp = name == "sftp";
        self.request(channel, |allow| allow.sftp && sftp, Request::Subsystem(name.to_owned()), refused, session)
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
        self.put(channel, Item::Request(Request::WindowChange(Size { columns, rows, width, height })))
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, _: &mut Session) -> Result<(), Self::Error> {
        self.put(channel, Item::Request(Request::Signal(signal)))
    }
}

/// The user's side of a new channel. Its reading half is dropped: with it, the connection's loop would wait for whoever
/// reads.
fn user_channel(channel: Channel<Msg>, session: &Session) -> UserChannel {
    let (_, write) = channel.split();
    UserChannel { id: write.id(), inbox: Arc::default(), write, handle: session.handle() }
}
