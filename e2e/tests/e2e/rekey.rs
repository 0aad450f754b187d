//! New keys in the middle of a transfer, whichever side asks for them: nothing may be lost, and nothing may stand still.

use std::fs::{self, File};
use std::time::Duration;

use serde_json::json;

use bastion_e2e::{Bastion, Namespace, Outcome, Setting, Sshd, default_timeout, eventually, weight};

/// How long a transfer may take on a busy machine.
const DEADLINE: Duration = Duration::from_mins(3);

/// How often a side has got new keys, by what OpenSSH says of itself.
fn new_keys(log: &str) -> usize {
    log.matches("SSH2_MSG_NEWKEYS received").count()
}

/// A bastion whose target is an sshd of its own with these lines in its configuration, that tells all it does.
async fn before(lines: &str) -> (Bastion, Sshd) {
    let sshd = Sshd::start_with(&format!("LogLevel DEBUG1\n{lines}")).await;
    let bastion = Bastion::with(async |namespace, _| namespace.target_with("rekeys", &sshd, json!({})).await).await;
    (bastion, sshd)
}

#[tokio::test]
async fn a_transfer_in_both_directions_survives_new_keys_every_few_mebibytes_on_both_legs() {
    let _held = weight::take(1).await;
    let (bastion, sshd) = before("RekeyLimit 2M").await;
    let (sent, received) = (bastion.namespace.dir.join("sent"), bastion.namespace.dir.join("received"));
    let mut bytes = vec![0; 128 << 20];
    rand::fill(&mut bytes[..]);
    fs::write(&sent, &bytes).expect("a file");
    let files = (File::open(&sent).expect("a file"), File::create(&received).expect("a file"));
    let ssh = bastion.ssh("alice:rekeys").await.option("-v").set("RekeyLimit=2M").command("cat");
    let outcome = ssh.start_with(files.0, files.1).await.finish(DEADLINE).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let arrived = fs::read(&received).expect("a file");
    assert!(arrived == bytes, "{} of {} bytes came back, or came back changed", arrived.len(), bytes.len());
    let (user, target) = (new_keys(&outcome.stderr), new_keys(&sshd.log()));
    assert!(user >= 32 && target >= 32, "new keys {user} times for the user and {target} times for the target");
}

/// OpenSSH asks for new keys after 64 GiB of this cipher, so the gateway asked for the new keys here.
#[tokio::test]
async fn the_gateway_asks_for_new_keys_after_a_gibibyte_on_both_legs() {
    let _held = weight::take(1).await;
    let (bastion, sshd) = before("").await;
    let null = || File::options().read(true).write(true).open("/dev/null").expect("/dev/null");
    let ssh = bastion.ssh("alice:rekeys").await.option("-v").command("head -c 1100M /dev/zero");
    let outcome: Outcome = ssh.start_with(null(), null()).await.finish(DEADLINE).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (user, target) = (new_keys(&outcome.stderr), new_keys(&sshd.log()));
    assert!(user >= 2 && target >= 2, "new keys {user} times for the user and {target} times for the target");
}

#[tokio::test]
async fn the_gateway_asks_for_new_keys_after_a_time_on_both_legs() {
    let sshd = Sshd::start_with("LogLevel DEBUG1").await;
    let setting = Setting { env: vec![("BASTION_REKEY_TIME", "1s".into())], ..Setting::default() };
    let prepare = async |namespace: &Namespace, _: &Sshd| namespace.target_with("rekeys", &sshd, json!({})).await;
    let bastion = Bastion::in_setting(&setting, prepare).await;
    let ssh = bastion.ssh("alice:rekeys").await.option("-v").no_terminal().start().await;
    let mut alice = bastion.opened(ssh, "alice").await;
    eventually(default_timeout(), "new keys, and more than once", async || {
        let times = (new_keys(&alice.ssh.stderr()), new_keys(&sshd.log()));
        if times.0 >= 3 && times.1 >= 3 { Ok(()) } else { Err(format!("{times:?} times for the user and the target")) }
    })
    .await;
    alice.still_answers().await;
}
