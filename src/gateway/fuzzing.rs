//! Entry points for the fuzz targets in fuzz/: an authenticated connection and its channels to a target, on in-memory
//! streams, and the parsers of what else arrives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use kube::Client;
use russh::keys::ssh_key::PrivateKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Msg, Session, run_stream};
use russh::{Channel, ChannelId, Preferred, Pty, Sig, cipher, compression, kex, mac, server};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Parts;
use super::access::{ChannelPolicy, Directory, Grant};
use super::bridge::{ChannelContext, ChannelEnd, ChannelOpen, SessionNotice, channel, local_forward};
use super::instance::{CurrentInstance, Instance, InstanceConfig};
use super::net::listener;
pub use super::net::read_proxy_header;
pub use super::observe::fuzzing as observers;
use super::observe::{AuditLog, Broadcast, ChannelObserver, Observers};
pub use super::observe::{Operation, SftpParser};
use super::session::Activity;
use super::settings::Settings;
pub use super::sign_in::KeyLine;
use super::sign_in::{KeyRestrictions, Proof};
use super::ssh::Connection;
use super::state::Gateway;
use super::target::TargetConnection;
pub use super::web_terminal::fuzzing as web_terminal;
use crate::api::{Allow, BastionTarget, BastionUser, RecordingMode};
use crate::cluster::{EventSink, UnreadableReports};
use crate::recording::{SessionInfo, SessionRecording};
use crate::tasks::Tasks;

const NAMESPACE: &str = "fuzz";
/// Allows every kind of channel that the bridge can carry, except commands.
const ALLOW: Allow = Allow { exec: false, local_forward: true, agent_forward: true, ..Allow::DEFAULT };

/// A gateway for all sessions of one fuzz target.
pub struct FuzzGateway {
    gateway: Arc<Gateway>,
    instance: Arc<Instance>,
    config: Arc<Config>,
    grant: Grant,
}

impl FuzzGateway {
    /// Returns a gateway without users, on an API server that stores nothing.
    ///
    /// # Errors
    /// The API server refuses a request.
    pub async fn new(client: Client, settings: Settings, host_key: PrivateKey) -> anyhow::Result<Self> {
        let grant = grant(&host_key.public_key().to_openssh()?)?;
        let stop = CancellationToken::new();
        let (events, _) = EventSink::new(client.clone(), "fuzz", &settings.pod, stop.clone());
        let reports = UnreadableReports::new(events.clone());
        let (namespace, pod) = (NAMESPACE.to_owned(), settings.pod.clone());
        let annotations = InstanceConfig::lease_annotations(None, None);
        let instances = InstanceConfig {
            client: client.clone(),
            lease_client: client.clone(),
            namespace,
            pod,
            annotations,
            reports: reports.clone(),
        };
        let (instance, _) = Instance::start(&instances).await?;
        let directory = Arc::new(Directory::watch(client.clone(), NAMESPACE, &reports, &Tasks::default()).await?);
        let current = CurrentInstance::new(watch::channel(Some(instance.clone())).1, stop.clone());
        let settings = Settings { namespace: NAMESPACE.to_owned(), ..settings };
        let gateway =
            Parts { client, directory, redis: None, events, instance: current }.gateway(&settings, None, None, stop)?;
        let config = Arc::new(Config { preferred: plain(), ..listener::config(host_key, settings.rekey_time) });
        Ok(Self { gateway: Arc::new(gateway), instance, config, grant })
    }

    /// Starts a session. The other end of `stream` is the user's client.
    pub fn begin(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> FuzzSession {
        assure(&self.instance);
        let audit = Arc::new(AuditLog::new("fuzz".into(), &self.grant));
        let (gone, cut) = (CancellationToken::new(), CancellationToken::new());
        let peer = SocketAddr::from(([127, 0, 0, 1], 50_000));
        let activity = Arc::new(Activity::new(Instant::now()));
        let opening = ChannelPolicy { allow: ALLOW, audit: audit.clone() };
        let (connection, opened) =
            Connection::new(self.gateway.clone(), peer, gone, cut, None).with_session(opening, activity.clone());
        let served = run_stream(self.config.clone(), stream, PreauthenticatedHandler(connection));
        let (announce, notices) = watch::channel(SessionNotice::None);
        let about = SessionInfo {
            namespace: NAMESPACE.to_owned(),
            session: "fuzz".to_owned(),
            user: "alice".to_owned(),
            target: "web-1".to_owned(),
            login: "root".to_owned(),
            client: peer.to_string(),
        };
        let recording = SessionRecording::new(RecordingMode::Off, None, about, TaskTracker::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Ok(running) = served.await {
                let _ = running.await;
            }
        });
        FuzzSession {
            opened,
            observers: Observers {
                audit,
                recording: Arc::new(recording),
                broadcast: Arc::new(Broadcast::new(announce.clone())),
            },
            activity,
            instance: self.instance.clone(),
            target: self.grant.target.clone(),
            announce,
            notices,
            cleanup_tasks: TaskTracker::new(),
            channels: JoinSet::new(),
            client: tasks,
        }
    }
}

/// A session without a session task. The fuzz target does the work of that task.
pub struct FuzzSession {
    opened: mpsc::Receiver<ChannelOpen>,
    observers: Observers,
    activity: Arc<Activity>,
    instance: Arc<Instance>,
    target: Arc<BastionTarget>,
    announce: watch::Sender<SessionNotice>,
    notices: watch::Receiver<SessionNotice>,
    cleanup_tasks: TaskTracker,
    channels: JoinSet<ChannelEnd>,
    client: JoinSet<()>,
}

impl FuzzSession {
    /// Returns a channel that the user's client has opened and that is not joined to a target yet.
    pub fn opened(&mut self) -> Option<ChannelOpen> {
        assure(&self.instance);
        self.opened.try_recv().ok()
    }

    /// Joins a channel to a target. The other end of `stream` is the target.
    pub async fn join(&mut self, channel: ChannelOpen, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let incoming = mpsc::channel(1).0;
        let Ok(connection) = TargetConnection::over_stream(stream, &self.target, plain(), incoming).await else {
            return channel.refuse("bastion: no target").await;
        };
        let connection = Arc::new(connection);
        let context = ChannelContext {
            requested: Arc::default(),
            activity: self.activity.clone(),
            pause_detector: self.instance.pause_detector.clone(),
            notices: self.notices.clone(),
            cleanup_tasks: self.cleanup_tasks.clone(),
        };
        match channel {
            ChannelOpen::Session(user) | ChannelOpen::Companion(user) => {
                let tap = Arc::new(ChannelObserver::new(self.observers.clone()));
                let join = channel::join(user, connection, tap, context);
                self.channels.spawn(join.map(|ended| ended.unwrap_or(ChannelEnd::NotOpened)));
            }
            ChannelOpen::LocalForward(forward) => {
                let audit = self.observers.audit.clone();
                let join = local_forward::join(*forward, connection, audit, context);
                self.channels.spawn(join.map(|ended| ended.unwrap_or(ChannelEnd::NotOpened)));
            }
            ChannelOpen::RemoteForwards(wishes) => drop(wishes),
        }
    }

    /// Sends a warning to users at a terminal.
    pub fn warn(&self) {
        self.announce.send_replace(SessionNotice::Warning("bastion: a warning".into()));
    }

    /// Ends the session on all its channels.
    pub fn end(&self) {
        self.announce.send_replace(SessionNotice::Ended(Some("bastion: session ended".into())));
    }

    /// Returns whether the client is connected.
    pub fn is_connected(&mut self) -> bool {
        self.client.try_join_next().is_none() && !self.client.is_empty()
    }

    /// Returns the number of channels that are joined to a target. Passes on the panic of a channel's task.
    pub fn joined(&mut self) -> usize {
        while let Some(ended) = self.channels.try_join_next() {
            if let Err(failure) = ended
                && failure.is_panic()
            {
                std::panic::resume_unwind(failure.into_panic());
            }
        }
        self.channels.len()
    }
}

/// Confirms the instance, as a renewal of its Lease does, because the fuzzer may have paused the process.
fn assure(instance: &Instance) {
    instance.pause_detector.is_confirmed();
    instance.pause_detector.lease_renewed(crate::clock::now());
}

/// Returns algorithms without encryption, so that the fuzz target reads and writes plain packets.
fn plain() -> Preferred {
    Preferred {
        kex: vec![kex::NONE].into(),
        cipher: vec![cipher::NONE].into(),
        mac: vec![mac::NONE].into(),
        compression: vec![compression::NONE].into(),
        ..Preferred::default()
    }
}

fn grant(host_key: &str) -> anyhow::Result<Grant> {
    let user: BastionUser = serde_json::from_value(json!({"metadata": {"name": "alice"}, "spec": {}}))?;
    let spec = json!({"address": "192.0.2.7", "hostKeys": [host_key], "logins": ["root"],
        "credentials": {"privateKey": {"name": "key"}}});
    let target: BastionTarget = serde_json::from_value(json!({"metadata": {"name": "web-1"}, "spec": spec}))?;
    Ok(Grant {
        user: Arc::new(user),
        proof: Proof::Secrets,
        restrictions: KeyRestrictions::UNRESTRICTED,
        target: Arc::new(target),
        login: "root".to_owned(),
    })
}

/// The gateway's connection after authentication.
struct PreauthenticatedHandler(Connection);

impl server::Handler for PreauthenticatedHandler {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.channel_open_session(channel, reply, session).await
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
        self.0.channel_open_direct_tcpip(channel, host, port, originator, originator_port, reply, session).await
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        self.0.data(channel, data, session).await
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        stream: u32,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.extended_data(channel, stream, data, session).await
    }

    async fn channel_eof(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.0.channel_eof(channel, session).await
    }

    async fn channel_close(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.0.channel_close(channel, session).await
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
        self.0.pty_request(channel, term, columns, rows, width, height, modes, session).await
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.x11_request(channel, single, protocol, cookie, screen, session).await
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.env_request(channel, name, value, session).await
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.0.shell_request(channel, session).await
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.exec_request(channel, command, session).await
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.subsystem_request(channel, name, session).await
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.0.window_change_request(channel, columns, rows, width, height, session).await
    }

    async fn signal(&mut self, channel: ChannelId, signal: Sig, session: &mut Session) -> Result<(), Self::Error> {
        self.0.signal(channel, signal, session).await
    }

    async fn agent_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<bool, Self::Error> {
        self.0.agent_request(channel, session).await
    }

    async fn custom_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        payload: &[u8],
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.0.custom_request(channel, name, payload, session).await
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        self.0.tcpip_forward(address, port, session).await
    }
}
