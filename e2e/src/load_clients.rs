//! Load clients: SSH clients and a target inside the tests' own process, where as many real ones would need a process
//! each. Only for load; everything else uses the real `ssh` and sshd.

use std::borrow::Cow;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream as Socket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use russh::client::{self, AuthResult};
use russh::keys::PrivateKeyWithHashAlg;
use russh::keys::ssh_key::{Algorithm, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, SshId, kex};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::namespace::Namespace;
use crate::run::{Run, unique};
use crate::russh_client::Trusting;
use crate::target_server::{add_target, authenticate};
use crate::wait::default_timeout;

/// How many of a group of load clients sign in at the same time.
const CONCURRENT_SIGN_INS: usize = 16;

/// How much of what a load client has received is kept.
const MAX_KEPT_BYTES: usize = 4096;

/// Opens this many sessions with a shell, each of which answers.
pub async fn open_load_clients(gateway: SocketAddr, sign_in_name: &str, size: usize) -> Vec<LoadClient> {
    let open = async |_| {
        let load_client =
            LoadClient::open(gateway, sign_in_name).await.unwrap_or_else(|why| panic!("{sign_in_name}: {why}"));
        load_client.answers().await.unwrap_or_else(|why| panic!("{sign_in_name}: {why}"));
        load_client
    };
    stream::iter(0..size).map(open).buffer_unordered(CONCURRENT_SIGN_INS).collect().await
}

/// One client with one shell. It leaves by itself when its shell is closed, as `ssh` does.
pub struct LoadClient {
    /// What it says that it is, of which there is one in this run: `spec.client.software` of its session.
    pub software: String,
    shell: ChannelWriteHalf<client::Msg>,
    received: watch::Receiver<String>,
    gone: CancellationToken,
    socket: Socket,
}

impl LoadClient {
    /// Signs in with the key that all users of the run have, and opens a shell.
    pub async fn open(gateway: SocketAddr, sign_in_name: &str) -> Result<Self, String> {
        Self::open_as(gateway, sign_in_name, Self::unique_software()).await
    }

    /// Returns an SSH identification that no other load client sends.
    pub fn unique_software() -> String {
        format!("SSH-2.0-LoadClient_{}", unique())
    }

    /// As [`LoadClient::open`], so that its session is known by `software` also where it does not come to a shell.
    pub async fn open_as(gateway: SocketAddr, sign_in_name: &str, software: String) -> Result<Self, String> {
        let connected = async { with_socket(TcpStream::connect(gateway).await?) };
        let (stream, socket) = connected.await.map_err(|error| error.to_string())?;
        let limit = default_timeout();
        let opened = timeout(limit, shell(stream, sign_in_name, &software)).await;
        let why = match opened {
            Ok(Ok((shell, received, gone))) => return Ok(Self { software, shell, received, gone, socket }),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no shell within {limit:?}"),
        };
        // The library alone would leave it open.
        let _ = socket.shutdown(Shutdown::Both);
        Err(why)
    }

    /// Types a line.
    pub async fn say(&self, line: &str) -> Result<(), String> {
        self.shell.data_bytes(format!("{line}\n").into_bytes()).await.map_err(|error| error.to_string())
    }

    /// Types a unique line, and waits until the target's echo comes back.
    pub async fn answers(&self) -> Result<(), String> {
        let line = format!("line {};", unique());
        self.say(&line).await?;
        let mut received = self.received.clone();
        let limit = default_timeout();
        let heard = timeout(limit, received.wait_for(|text| text.contains(&line))).await;
        match heard {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(format!("the connection has ended; it said {:?}", self.received())),
            Err(_) => Err(format!("no answer within {limit:?}; it said {:?}", self.received())),
        }
    }

    /// The last of what it has received, on both streams.
    pub fn received(&self) -> String {
        self.received.borrow().clone()
    }

    /// Ends as a killed process does: its kernel closes the connection without a word of SSH.
    pub fn kill(&self) {
        // It may have ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Whether its connection has ended.
    pub fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits until its connection has ended.
    pub async fn gone(&self) {
        let limit = default_timeout();
        let gone = self.gone_within(limit).await;
        assert!(gone, "still connected after {limit:?}; it received {:?}", self.received());
    }

    /// Whether its connection ends within this time.
    pub async fn gone_within(&self, deadline: Duration) -> bool {
        timeout(deadline, self.gone.cancelled()).await.is_ok()
    }
}

type Shell = (ChannelWriteHalf<client::Msg>, watch::Receiver<String>, CancellationToken);

/// Signs in and opens a shell. Returns its input, its output, and a token that is cancelled at its end.
async fn shell(stream: TcpStream, sign_in_name: &str, software: &str) -> Result<Shell, russh::Error> {
    let client_id = SshId::Standard(software.to_owned().into());
    let config = client::Config { client_id, preferred: algorithms(), ..client::Config::default() };
    let mut handle = client::connect_stream(Arc::new(config), stream, Trusting).await?;
    let key = PrivateKey::from_openssh(Run::get().await.user_key.private())?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    if !matches!(handle.authenticate_publickey(sign_in_name, key).await?, AuthResult::Success) {
        return Err(russh::Error::NotAuthenticated);
    }
    let (read, shell) = handle.channel_open_session().await?.split();
    shell.request_shell(true).await?;
    let (receive, received) = watch::channel(String::new());
    let gone = CancellationToken::new();
    tokio::spawn(listen(handle, read, receive, gone.clone()));
    Ok((shell, received, gone))
}

/// Reads until the shell is closed, and leaves.
async fn listen(
    handle: client::Handle<Trusting>,
    mut shell: ChannelReadHalf,
    received: watch::Sender<String>,
    gone: CancellationToken,
) {
    while let Some(message) = shell.wait().await {
        let (ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) = message else { continue };
        received.send_modify(|text| {
            text.push_str(&String::from_utf8_lossy(&data));
            let surplus = text.len().saturating_sub(MAX_KEPT_BYTES);
            text.drain(..text.ceil_char_boundary(surplus));
        });
    }
    let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
    let _ = handle.await;
    gone.cancel();
}

/// A target that takes the bastion's key and sends back what is typed, but for two lines: `exit N`, and `hang up`, at
/// which it breaks the connection off.
pub struct Echo {
    pub address: SocketAddr,
    host_key: PrivateKey,
    open: Arc<AtomicUsize>,
    /// Cancelled when it is killed.
    killed: CancellationToken,
}

impl Echo {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// Starts one on a free port of this address.
    pub async fn start_at(address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let host_key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).expect("a random key");
        let mut echo = Self { address, host_key, open: Arc::default(), killed: CancellationToken::new() };
        echo.serve(listener);
        echo
    }

    /// Makes it a BastionTarget of this name, with this more in its spec.
    pub async fn add_to(&self, namespace: &Namespace, name: &str, spec: Value) {
        add_target(namespace, name, self.address, &self.host_key, "echo", spec).await;
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Closes the listening port and every connection, as the kernel does for a killed process.
    pub fn kill(&self) {
        self.killed.cancel();
    }

    /// Starts again on the same port.
    pub async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its own port again");
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let config = server::Config {
            keys: vec![self.host_key.clone()],
            preferred: algorithms(),
            inactivity_timeout: None,
            nodelay: true,
            ..server::Config::default()
        };
        self.killed = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::new(config), self.open.clone(), self.killed.clone()));
    }
}

async fn accept(listener: TcpListener, config: Arc<server::Config>, open: Arc<AtomicUsize>, killed: CancellationToken) {
    while let Some(accepted) = killed.run_until_cancelled(listener.accept()).await {
        let Ok((stream, socket)) = accepted.and_then(|(stream, _)| with_socket(stream)) else { continue };
        let (config, open, killed) = (config.clone(), open.clone(), killed.clone());
        open.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let session = async {
                if let Ok(session) = server::run_stream(config, stream, Login).await {
                    let _ = session.await;
                }
            };
            if killed.run_until_cancelled(session).await.is_none() {
                let _ = socket.shutdown(Shutdown::Both);
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// One connection to the target.
struct Login;

impl server::Handler for Login {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        authenticate(&key).await
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn data(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        // What was held up on the way comes as several lines at once.
        for line in String::from_utf8_lossy(data).split_inclusive('\n') {
            match line.trim().split_once(' ') {
                Some(("exit", status)) => {
                    session.exit_status_request(channel, status.parse().unwrap_or(1))?;
                    session.eof(channel)?;
                    return session.close(channel);
                }
                Some(("hang", "up")) => return Err(russh::Error::Disconnect),
                _ => session.data(channel, line.as_bytes().to_vec())?,
            }
        }
        Ok(())
    }
}

/// One key exchange that costs little: on this side nothing is to be kept secret.
fn algorithms() -> Preferred {
    Preferred { kex: Cow::Borrowed(&[kex::CURVE25519]), ..Preferred::default() }
}

/// Returns the stream and a second handle to its socket, to shut it down whatever the SSH library does.
fn with_socket(stream: TcpStream) -> io::Result<(TcpStream, Socket)> {
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    let socket = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, socket))
}
