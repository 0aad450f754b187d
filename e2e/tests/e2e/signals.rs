//! Signal and break requests. OpenSSH's client never sends a signal, and its server takes neither for root: the target is
//! russh here.

use std::sync::Arc;

use bastion_operator::api::Reason;
use russh::server::{Auth, ChannelOpenHandle, Config, Msg, VerifiedPublicKey, run_stream};
use russh::{Channel, ChannelId, ChannelMsg, Disconnect, Pty, Sig, server};
use serde_json::json;
use tokio::net::TcpListener;

use bastion_e2e::run::{Key, Run, unique};
use bastion_e2e::{Bastion, PROMPT_BOUND, russh_client};

/// A target that ends every command with the exit status of the signal it is sent, as `sh` would.
struct Signalled;

impl server::Handler for Signalled {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _: &str, _: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(&mut self, id: ChannelId, _: &[u8], it: &mut server::Session) -> Result<(), Self::Error> {
        it.channel_success(id)?;
        it.data(id, "ready".to_owned().into_bytes())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        it: &mut server::Session,
    ) -> Result<(), Self::Error> {
        it.channel_success(id)
    }

    async fn custom_request(
        &mut self,
        id: ChannelId,
        name: &str,
        payload: &[u8],
        it: &mut server::Session,
    ) -> Result<bool, Self::Error> {
        if name == "break" {
            // OpenSSH asks for a break of one second.
            it.exit_status_request(id, if payload == 1000u32.to_be_bytes() { 7 } else { 8 })?;
            it.close(id)?;
        }
        Ok(true)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, it: &mut server::Session) -> Result<(), Self::Error> {
        it.exit_status_request(id, if matches!(signal, Sig::TERM) { 128 + 15 } else { 1 })?;
        it.close(id)
    }
}

/// Serves as a target at the port it returns.
async fn serve(host_key: &Key) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let key = russh::keys::load_secret_key(&host_key.path, None).expect("the host key");
    let config = Arc::new(Config { keys: vec![key], ..Config::default() });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let running = run_stream(config.clone(), stream, Signalled).await.expect("an SSH connection");
            tokio::spawn(running);
        }
    });
    port
}

/// With that target as `web-1`.
async fn signalled() -> Bastion {
    let host_key = Key::make(Run::get().await.dir.join(format!("signalled-{}", unique())));
    let port = serve(&host_key).await;
    Bastion::with(async |namespace, sshd| {
        let target = json!({"port": port, "hostKeys": [host_key.public]});
        namespace.target_with("web-1", sshd, target).await;
    })
    .await
}

#[tokio::test]
async fn a_signal_passes_to_the_target() {
    let bastion = signalled().await;
    let client = russh_client::sign_in(&bastion, "alice:web-1").await;
    let mut channel = client.channel_open_session().await.expect("a channel");
    channel.exec(true, "anything").await.expect("a command");
    let mut exit_status = None;
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { .. } => channel.signal(Sig::TERM).await.expect("a signal"),
            ChannelMsg::ExitStatus { exit_status: status } => exit_status = Some(status),
            _ => (),
        }
    }
    assert_eq!(exit_status, Some(128 + 15));
    client.disconnect(Disconnect::ByApplication, "done", "en").await.expect("a leave");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::UserExit).await;
}

/// RFC 4335, as OpenSSH's client sends it for `~B`.
#[tokio::test]
async fn a_break_passes_to_the_target_with_its_length() {
    let bastion = signalled().await;
    let mut ssh = bastion.ssh("alice:web-1").await.terminal().command("anything").start().await;
    ssh.shows("ready").await;
    ssh.say("\n~B").await;
    assert_eq!(ssh.finish(PROMPT_BOUND).await.code, Some(7));
}
