//! Text that others chose, on its way to a terminal, a log or a table.

use std::ffi::OsString;
use std::sync::Arc;

use bastion_operator::api::Reason;
use russh::client;
use russh::keys::PrivateKeyWithHashAlg;
use serde_json::json;

use bastion_e2e::hostile_target::{EVIL, HostileTarget};
use bastion_e2e::run::Run;
use bastion_e2e::russh_client::Trusting;
use bastion_e2e::{Bastion, Setting, default_timeout, eventually};

fn controls_no_terminal(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r'))
}

async fn bastion_with_text_log() -> Bastion {
    let target = HostileTarget::start(1 << 20).await;
    let setting = Setting { env: vec![("BASTION_LOG_FORMAT", OsString::from("text"))], ..Setting::default() };
    Bastion::in_setting(&setting, async |namespace, _| target.add_to(namespace, "evil", json!({})).await).await
}

/// A user who has signed in chooses the rest of the name, up to a packet's 256 KiB.
#[tokio::test]
async fn a_sign_in_name_fills_and_forges_no_log() {
    let bastion = bastion_with_text_log().await;
    let config = Arc::new(client::Config::default());
    let mut client = client::connect(config, bastion.gateway.address, Trusting).await.expect("a connection");
    let key = russh::keys::load_secret_key(&Run::get().await.user_key.path, None).expect("the user's key");
    let name = format!("alice:{EVIL}{}@web-1", "x".repeat(60_000));
    let _ = client.authenticate_publickey(name, PrivateKeyWithHashAlg::new(Arc::new(key), None)).await;
    let log = eventually(default_timeout(), "the refusal is logged", async || {
        let log = bastion.gateway.process.stderr();
        if log.contains("sign-in refused") { Ok(log) } else { Err(log) }
    })
    .await;
    assert!(controls_no_terminal(&log), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("audit: forged")), "{log}");
    let longest = log.lines().map(str::len).max();
    assert!(longest < Some(4096), "{longest:?} bytes");
}

/// OpenSSH shows no text of `exit-signal`, but other clients do, and the name of the signal is in the session's status.
#[tokio::test]
async fn a_targets_banner_and_signal_reach_no_terminal_and_no_log() {
    let bastion = bastion_with_text_log().await;
    let outcome = bastion.ssh("alice:evil").await.option("-v").command("signal").run().await;
    assert!(controls_no_terminal(&outcome.stdout) && controls_no_terminal(&outcome.stderr), "{outcome:?}");
    assert!(!outcome.stderr.contains("forged"), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    let end = bastion.watch.ended(&session, Reason::UserExit).await;
    let signal = end.session.status.expect("a status").exit_signal.expect("a signal");
    assert!(controls_no_terminal(&signal) && signal.chars().count() <= 32, "{signal:?}");
    assert!(controls_no_terminal(&bastion.gateway.process.stderr()), "the log");
}
