//! The user of the self-test: it trusts the published host key and no other, and runs one command.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use russh::client::{self, AuthResult};
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Disconnect};
use tokio::time::timeout;

/// How long the whole of it may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Signs in, runs a command, and returns what it wrote.
///
/// # Errors
/// When the gateway is another one, refuses, or the command does not end with status 0.
pub async fn run(gateway: &str, sign_in_name: &str, key: &PrivateKey, host_key: &PublicKey) -> anyhow::Result<String> {
    let ran = timeout(PATIENCE, session(gateway, sign_in_name, key, host_key)).await;
    ran.with_context(|| format!("nothing within {PATIENCE:?}"))?
}

async fn session(gateway: &str, sign_in_name: &str, key: &PrivateKey, host_key: &PublicKey) -> anyhow::Result<String> {
    let config = Arc::new(client::Config::default());
    let trust = Trust(host_key.clone());
    let mut handle = client::connect(config, gateway, trust).await.with_context(|| format!("gateway {gateway}"))?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None);
    let signed_in = handle.authenticate_publickey(sign_in_name, key).await.context("signing in")?;
    ensure!(matches!(signed_in, AuthResult::Success), "the gateway does not take the user's key");
    let mut channel = handle.channel_open_session().await.context("opening a channel")?;
    channel.exec(true, "self-test").await?;
    let (mut written, mut status) = (Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => written.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
    let written = String::from_utf8_lossy(&written).into_owned();
    ensure!(status == Some(0), "the command ended with {status:?}, and this was said: {written:?}");
    Ok(written)
}

struct Trust(PublicKey);

impl client::Handler for Trust {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(matches!(shown, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()))
    }
}
