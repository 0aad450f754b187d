//! The SSH client of the self-test: trusts only the published host key, and runs one command.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use russh::client::{self, AuthResult};
use russh::keys::ssh_key::{PrivateKey, PublicKey};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{ChannelMsg, Disconnect};
use tokio::time::timeout;

/// The timeout of one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);

/// Signs in, runs a command, and returns its output.
///
/// # Errors
/// When the gateway has another host key, refuses the sign-in, or the command does not end with status 0.
pub async fn run(gateway: &str, sign_in_name: &str, key: &PrivateKey, host_key: &PublicKey) -> anyhow::Result<String> {
    let ran = timeout(ATTEMPT_TIMEOUT, session(gateway, sign_in_name, key, host_key)).await;
    ran.with_context(|| format!("timeout after {ATTEMPT_TIMEOUT:?}"))?
}

async fn session(gateway: &str, sign_in_name: &str, key: &PrivateKey, host_key: &PublicKey) -> anyhow::Result<String> {
    let config = Arc::new(client::Config::default());
    let trusted = TrustedHostKey(host_key.clone());
    let mut handle = client::connect(config, gateway, trusted).await.with_context(|| format!("gateway {gateway}"))?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key.clone()), None);
    let signed_in = handle.authenticate_publickey(sign_in_name, key).await.context("signing in")?;
    ensure!(matches!(signed_in, AuthResult::Success), "the gateway refused the user's key");
    let mut channel = handle.channel_open_session().await.context("opening a channel")?;
    channel.exec(true, "self-test").await?;
    let (mut output, mut status) = (Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => output.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            _ => {}
        }
    }
    let _ = handle.disconnect(Disconnect::ByApplication, "", "").await;
    let output = String::from_utf8_lossy(&output).into_owned();
    ensure!(status == Some(0), "the command ended with status {status:?} and the output {output:?}");
    Ok(output)
}

/// A client handler that accepts only this host key.
struct TrustedHostKey(PublicKey);

impl client::Handler for TrustedHostKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(matches!(shown, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()))
    }
}
