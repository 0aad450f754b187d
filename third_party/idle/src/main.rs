//! `idle N` opens N sessions over loopback, from this process to another, and prints the resident memory of each side a
//! session. A session has authenticated and has one channel, which has echoed some data.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use russh::keys::{Algorithm, PrivateKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, client, server};
use tokio::net::TcpListener;

/// Sessions that are opened before memory is first read: what all sessions share is allocated by then.
const WARM_UP: usize = 20;

/// The bytes that a channel echoes.
const ECHO_LEN: usize = 2000;

/// Returns the resident memory of this process, in KiB.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

struct Server;

impl server::Handler for Server {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Self::Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        mut channel: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        tokio::spawn(async move {
            while let Some(message) = channel.wait().await {
                if let ChannelMsg::Data { data } = message {
                    channel.data_bytes(data).await?;
                }
            }
            Ok::<(), russh::Error>(())
        });
        Ok(())
    }
}

struct Client;

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// Serves sessions, and answers each line of its input with its resident memory.
async fn serve() -> Result<(), Box<dyn Error>> {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
    let config = Arc::new(server::Config { keys: vec![key], inactivity_timeout: None, ..Default::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::thread::spawn(|| {
        for _ in std::io::stdin().lines() {
            println!("{}", resident().expect("resident memory"));
        }
    });
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(server::run_stream(config.clone(), stream, Server));
    }
}

/// Opens a session with a channel, and has it echo data.
async fn open(address: &str) -> Result<(client::Handle<Client>, Channel<client::Msg>), Box<dyn Error>> {
    let mut session = client::connect(Arc::new(client::Config::default()), address, Client).await?;
    if !session.authenticate_none("user").await?.success() {
        return Err("not authenticated".into());
    }
    let mut channel = session.channel_open_session().await?;
    channel.data_bytes(vec![0; ECHO_LEN]).await?;
    let mut received = 0;
    while received < ECHO_LEN {
        match channel.wait().await.ok_or("the channel ended")? {
            ChannelMsg::Data { data } => received += data.len(),
            _ => continue,
        }
    }
    Ok((session, channel))
}

async fn measure(sessions: usize) -> Result<(), Box<dyn Error>> {
    let mut server = Command::new(std::env::current_exe()?).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut ask = server.stdin.take().ok_or("no input")?;
    let mut answers = BufReader::new(server.stdout.take().ok_or("no output")?).lines();
    let mut answer = move || answers.next().unwrap_or_else(|| Ok(String::new()));
    let address = answer()?;
    let mut of_both = move || -> Result<(usize, usize), Box<dyn Error>> {
        writeln!(ask)?;
        Ok((answer()?.parse()?, resident()?))
    };

    let mut opened = Vec::new();
    for _ in 0..WARM_UP {
        opened.push(open(&address).await?);
    }
    let (server_before, client_before) = of_both()?;
    for _ in 0..sessions {
        opened.push(open(&address).await?);
    }
    let (server_after, client_after) = of_both()?;
    let (of_server, of_client) = ((server_after - server_before) / sessions, (client_after - client_before) / sessions);
    println!("server {of_server} KiB, client {of_client} KiB, both {} KiB a session", of_server + of_client);
    server.kill()?;
    server.wait()?;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(sessions) => measure(sessions.parse()?).await,
        None => serve().await,
    }
}
