//! Tests the order of messages at the end of a channel, with a real SSH client and server on in-memory streams.

use std::time::Instant;

use russh::server::{Auth, ChannelOpenHandle, Session, run_stream};
use russh::{Channel, ChannelControl, ChannelId, ChannelMsg, Disconnect, Preferred, client, server};
use tokio::io::duplex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::*;
use crate::api::{BastionTarget, RecordingMode};
use crate::gateway::access::Grant;
use crate::gateway::bridge::{INITIAL_WINDOW, Inboxes, SshChannel, UserConnection};
use crate::gateway::observe::{AuditLog, Broadcast, Observers};
use crate::gateway::sign_in::{KeyRestrictions, Proof};
use crate::gateway::target::fixtures;
use crate::recording::{SessionInfo, SessionRecording};

/// The command that the target refuses to run.
const REFUSED_BY_TARGET: &str = "refused by the target";
/// The command that the gateway refuses to pass on.
const REFUSED_BY_GATEWAY: &str = "refused by the gateway";

/// The user's client. Its window is granted by russh, or never.
struct UserClient;

impl client::Handler for UserClient {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &russh::keys::PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// The gateway's server. Passes each channel to the test, and pushes its messages into inboxes.
struct GatewayServer {
    inboxes: Arc<Inboxes<FromUser>>,
    opened: mpsc::Sender<UserChannel>,
}

impl server::Handler for GatewayServer {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let connection = UserConnection { handle: session.handle(), inboxes: self.inboxes.clone() };
        let channel = SshChannel { side: connection.side(channel), handle: session.handle() };
        self.opened.try_send(UserChannel::Ssh(channel)).ok().unwrap();
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let message = if command == REFUSED_BY_GATEWAY.as_bytes() {
            FromUser::Refused("bastion: not allowed")
        } else {
            FromUser::Request(Request::Exec(command.to_vec()))
        };
        self.inboxes.push_control(channel, message, command.len())?;
        session.channel_success(channel)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], _: &mut Session) -> Result<(), Self::Error> {
        self.inboxes.push_data(channel, None, data);
        Ok(())
    }

    async fn channel_eof(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        Ok(self.inboxes.push_control(channel, FromUser::Eof, 0)?)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.inboxes.close(channel, FromUser::Close);
        Ok(())
    }
}

/// The target's server. Passes each channel to the test.
struct TargetServer {
    opened: mpsc::Sender<Channel<server::Msg>>,
}

impl server::Handler for TargetServer {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.opened.try_send(channel).ok().unwrap();
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if command == REFUSED_BY_TARGET.as_bytes() {
            session.channel_failure(channel)
        } else {
            session.channel_success(channel)
        }
    }
}

fn server_config(host_key: russh::keys::ssh_key::PrivateKey) -> Arc<server::Config> {
    let keys = vec![host_key];
    let channel_control = ChannelControl::Application;
    Arc::new(server::Config { keys, window_size: INITIAL_WINDOW, channel_control, ..server::Config::default() })
}

/// Connects the user's client to the gateway, and opens a channel. Returns the client's and the gateway's ends of it.
async fn open_user_channel(config: client::Config) -> (client::Handle<UserClient>, Channel<client::Msg>, UserChannel) {
    let (near, far) = duplex(64 * 1024);
    let (sender, mut opened) = mpsc::channel(1);
    let handler = GatewayServer { inboxes: Arc::default(), opened: sender };
    tokio::spawn(async move { run_stream(server_config(fixtures::key()), far, handler).await.unwrap().await });
    let mut handle = client::connect_stream(Arc::new(config), near, UserClient).await.unwrap();
    handle.authenticate_none("alice").await.unwrap();
    let channel = handle.channel_open_session().await.unwrap();
    (handle, channel, opened.recv().await.unwrap())
}

/// A target, and the gateway's connection to it.
struct ConnectedTarget {
    target: Arc<BastionTarget>,
    connection: TargetConnection,
    /// The target's own handle of the connection.
    handle: server::Handle,
    /// Receives the channels that the gateway opens.
    opened: mpsc::Receiver<Channel<server::Msg>>,
}

async fn connect_target() -> ConnectedTarget {
    let (near, far) = duplex(64 * 1024);
    let (sender, opened) = mpsc::channel(1);
    let host_key = fixtures::key();
    let target = Arc::new(fixtures::target("web-1", &[host_key.public_key().to_openssh().unwrap()]));
    let running = run_stream(server_config(host_key), far, TargetServer { opened: sender });
    let preferred = Preferred::default();
    let connected = async {
        let running = running.await.unwrap();
        let handle = running.handle();
        tokio::spawn(running);
        handle
    };
    let connection = TargetConnection::over_stream(near, &target, preferred, mpsc::channel(1).0);
    let (handle, connection) = tokio::join!(connected, connection);
    ConnectedTarget { connection: connection.unwrap(), target, handle, opened }
}

fn observer(target: Arc<BastionTarget>, announce: &watch::Sender<SessionNotice>) -> Arc<ChannelObserver> {
    let request = fixtures::request();
    let (proof, restrictions) = (Proof::Secrets, KeyRestrictions::UNRESTRICTED);
    let grant = Grant { user: request.user, proof, restrictions, target, login: request.login };
    let audit = Arc::new(AuditLog::new("sample".into(), &grant));
    let about = SessionInfo {
        namespace: "bastion".to_owned(),
        session: "sample".to_owned(),
        user: "alice".to_owned(),
        target: "sample".to_owned(),
        login: "root".to_owned(),
        client: "192.0.2.1".to_owned(),
    };
    let recording = Arc::new(SessionRecording::new(RecordingMode::Off, None, about, TaskTracker::new()));
    let broadcast = Arc::new(Broadcast::new(announce.clone()));
    Arc::new(ChannelObserver::new(Observers { audit, recording, broadcast }))
}

/// A relayed channel: the test plays the user and the target.
struct Relay {
    user: Channel<client::Msg>,
    target: Channel<server::Msg>,
    target_handle: server::Handle,
    notices: watch::Sender<SessionNotice>,
    joined: JoinHandle<ChannelEnd>,
    _client: client::Handle<UserClient>,
}

impl Relay {
    /// Opens a channel on which the user requests this command.
    async fn start(command: &str) -> Self {
        Self::start_with(command, client::Config::default()).await
    }

    async fn start_with(command: &str, config: client::Config) -> Self {
        let (client, user, channel) = open_user_channel(config).await;
        let ConnectedTarget { target, connection, handle, mut opened } = connect_target().await;
        let notices = watch::Sender::new(SessionNotice::None);
        let context = ChannelContext {
            requested: Arc::default(),
            activity: Arc::new(Activity::new(Instant::now())),
            pause_detector: Arc::default(),
            notices: notices.subscribe(),
            cleanup_tasks: TaskTracker::new(),
        };
        user.exec(true, command).await.unwrap();
        let joined = join(channel, Arc::new(connection), observer(target, &notices), context);
        let joined = tokio::spawn(async move { joined.await.ok().unwrap() });
        let target = opened.recv().await.unwrap();
        Self { user, target, target_handle: handle, notices, joined, _client: client }
    }

    /// Returns the messages that the user receives up to CLOSE, without answers and window adjustments.
    async fn received(&mut self) -> Vec<String> {
        let mut received = Vec::new();
        while let Some(message) = self.user.wait().await {
            received.push(match message {
                ChannelMsg::Data { data } => format!("data {:?}", String::from_utf8_lossy(&data)),
                ChannelMsg::ExtendedData { data, ext } => format!("stream {ext} {:?}", String::from_utf8_lossy(&data)),
                ChannelMsg::ExitStatus { exit_status } => format!("exit status {exit_status}"),
                ChannelMsg::Eof => "EOF".to_owned(),
                ChannelMsg::Close => break,
                ChannelMsg::Success | ChannelMsg::WindowAdjusted { .. } => continue,
                other => format!("{other:?}"),
            });
        }
        received
    }

    /// Answers the CLOSE of the gateway, which tells the target that the channel is over. Until then, it counts as open.
    async fn close_as_target(&mut self) {
        self.target_close().await;
        assert!(!self.joined.is_finished(), "the target has not closed the channel");
        self.target.close().await.unwrap();
    }

    /// Waits until the target receives CLOSE.
    async fn target_close(&mut self) {
        loop {
            match self.target.wait().await {
                Some(ChannelMsg::Close) => return,
                Some(_) => {}
                None => panic!("the target's connection ended before CLOSE"),
            }
        }
    }
}

fn exited(code: u32) -> ChannelEnd {
    ChannelEnd::Closed(Exit { code: Some(code), signal: None })
}

#[tokio::test(start_paused = true)]
async fn data_exit_status_eof_and_close_keep_the_targets_order() {
    let mut relay = Relay::start("true").await;
    relay.target.data_bytes("out").await.unwrap();
    relay.target.extended_data_bytes(1, "err").await.unwrap();
    relay.target.exit_status(3).await.unwrap();
    relay.target.eof().await.unwrap();
    relay.target.close().await.unwrap();
    assert_eq!(relay.received().await, [r#"data "out""#, r#"stream 1 "err""#, "exit status 3", "EOF"]);
    assert_eq!(relay.joined.await.unwrap(), exited(3));
}

#[tokio::test(start_paused = true)]
async fn an_eof_before_the_exit_status_stays_before_it() {
    let mut relay = Relay::start("true").await;
    relay.target.eof().await.unwrap();
    relay.target.exit_status(0).await.unwrap();
    relay.target.close().await.unwrap();
    assert_eq!(relay.received().await, ["EOF", "exit status 0"]);
    assert_eq!(relay.joined.await.unwrap(), exited(0));
}

/// The exit status of a command that ends because its user left is still recorded.
#[tokio::test(start_paused = true)]
async fn the_targets_exit_status_counts_after_the_users_close() {
    let mut relay = Relay::start("cat").await;
    relay.user.data_bytes("last words").await.unwrap();
    relay.user.close().await.unwrap();
    relay.target_close().await;
    assert!(!relay.joined.is_finished(), "the target closes the channel");
    relay.target.exit_status(7).await.unwrap();
    relay.target.close().await.unwrap();
    assert_eq!(relay.joined.await.unwrap(), exited(7));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_after_the_users_close_does_not_interrupt_the_channel() {
    let mut relay = Relay::start("cat").await;
    relay.user.close().await.unwrap();
    relay.target_close().await;
    relay.notices.send_replace(SessionNotice::Ended(None));
    assert_eq!(relay.joined.await.unwrap(), ChannelEnd::Closed(Exit::default()));
}

#[tokio::test(start_paused = true)]
async fn a_lost_target_ends_the_channel_after_its_data() {
    let mut relay = Relay::start("cat").await;
    relay.target.data_bytes("out").await.unwrap();
    let text = String::new();
    relay.target_handle.disconnect(Disconnect::ByApplication, text.clone(), text).await.unwrap();
    let notice = format!("stream 1 {:?}", format!("{}\r\n", Cause::TargetClosed.notice().unwrap()));
    assert_eq!(relay.received().await, [r#"data "out""#, &notice, "exit status 255", "EOF"]);
    assert_eq!(relay.joined.await.unwrap(), ChannelEnd::TargetLost);
}

#[tokio::test(start_paused = true)]
async fn a_command_that_the_target_refuses_ends_with_a_notice() {
    let mut relay = Relay::start(REFUSED_BY_TARGET).await;
    let notice = r#"stream 1 "bastion: the target refused the command\r\n""#;
    assert_eq!(relay.received().await, [notice, "exit status 255", "EOF"]);
    relay.close_as_target().await;
    assert_eq!(relay.joined.await.unwrap(), exited(EXIT_STATUS_NOT_RUN));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_gateway_refuses_ends_with_a_notice() {
    let mut relay = Relay::start(REFUSED_BY_GATEWAY).await;
    assert_eq!(relay.received().await, [r#"stream 1 "bastion: not allowed\r\n""#, "exit status 255", "EOF"]);
    relay.close_as_target().await;
    assert_eq!(relay.joined.await.unwrap(), ChannelEnd::Closed(Exit::default()));
}

#[tokio::test(start_paused = true)]
async fn the_sessions_end_interrupts_the_channel_with_a_notice() {
    let mut relay = Relay::start("cat").await;
    relay.notices.send_replace(SessionNotice::Ended(Some("bastion: session ended".into())));
    assert_eq!(relay.received().await, [r#"stream 1 "bastion: session ended\r\n""#, "exit status 255", "EOF"]);
    assert_eq!(relay.joined.await.unwrap(), ChannelEnd::Interrupted);
}

/// The notice needs window that the client never grants; exit status, EOF and CLOSE need none.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_misses_the_notice_but_not_the_close() {
    let channel_control = ChannelControl::Application;
    let config = client::Config { window_size: 3, channel_control, ..client::Config::default() };
    let mut relay = Relay::start_with("cat", config).await;
    relay.target.data_bytes("output").await.unwrap();
    assert!(matches!(relay.user.wait().await, Some(ChannelMsg::Success)));
    assert!(matches!(relay.user.wait().await, Some(ChannelMsg::Data { data }) if data == b"out"[..]));
    relay.notices.send_replace(SessionNotice::Ended(Some("bastion: session ended".into())));
    assert_eq!(relay.received().await, ["exit status 255", "EOF"]);
    assert_eq!(relay.joined.await.unwrap(), ChannelEnd::Interrupted);
}

/// The receive windows bound what the gateway holds for a client that does not read.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_target() {
    let channel_control = ChannelControl::Application;
    let config = client::Config { window_size: 1024, channel_control, ..client::Config::default() };
    let relay = Relay::start_with("cat", config).await;
    relay.target.data_bytes(vec![b'x'; INITIAL_WINDOW as usize]).await.unwrap();
    let more = relay.target.data_bytes(vec![b'x'; INITIAL_WINDOW as usize]);
    assert!(timeout(std::time::Duration::from_mins(1), more).await.is_err(), "the window is used up");
}
