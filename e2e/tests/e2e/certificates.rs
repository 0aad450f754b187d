//! Signing in with OpenSSH user certificates, made by the real ssh-keygen and shown by the real ssh, and with security keys.

use std::path::Path;

use bastion_operator::api::{BastionUser, Reason};
use kube::api::{Api, Patch, PatchParams};
use russh::keys::ssh_key::{Certificate, PublicKey};
use serde_json::json;

use bastion_e2e::certificates::Authority;
use bastion_e2e::namespace::{Namespace, PEOPLE};
use bastion_e2e::raw_client::{RawClient, message};
use bastion_e2e::security_key::{SecurityKey, TOUCHED, VERIFIED};
use bastion_e2e::ssh::Ssh;
use bastion_e2e::{Bastion, Outcome, PROMPT_BOUND, Sshd, default_timeout, eventually};

/// A bastion whose user `carol` has no key of her own, but this line.
async fn with_line(line: String) -> Bastion {
    Bastion::with(async |namespace: &Namespace, sshd: &Sshd| {
        namespace.user_with("carol", json!({"groups": [PEOPLE], "publicKeys": [line]})).await;
        let allow = json!({"allow": {"shell": true, "exec": true, "sftp": true, "localForward": true}});
        namespace.target_with("web-1", sshd, allow).await;
    })
    .await
}

async fn ssh(bastion: &Bastion, certificate: &Path) -> Ssh {
    bastion.ssh("carol:web-1").await.set(&format!("CertificateFile={}", certificate.display()))
}

async fn run(bastion: &Bastion, certificate: &Path) -> Outcome {
    ssh(bastion, certificate).await.command("echo through").run().await
}

fn assert_in(outcome: &Outcome) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "through\n"), "{outcome:?}");
}

fn assert_kept_out(outcome: &Outcome) {
    assert!(outcome.code == Some(255) && outcome.stdout.is_empty(), "{outcome:?}");
    assert!(outcome.stderr.contains("Permission denied (publickey)."), "{outcome:?}");
}

#[tokio::test]
async fn a_certificate_lets_its_principal_in_and_nobody_else() {
    let (authority, stranger) = (Authority::new().await, Authority::new().await);
    let bastion = with_line(authority.line("")).await;
    assert_in(&run(&bastion, &authority.sign(&["-n", "dave,carol", "-V", "-1m:+5m"]).await).await);
    for refused in [
        authority.sign(&["-n", "dave"]).await,
        authority.sign(&[]).await,
        authority.sign(&["-n", "carol", "-V", "-2m:-1m"]).await,
        authority.sign(&["-n", "carol", "-V", "+1h:+2h"]).await,
        authority.sign(&["-h", "-n", "carol"]).await,
        authority.sign(&["-n", "carol", "-O", "critical:unheard-of@example.com=1"]).await,
        stranger.sign(&["-n", "carol"]).await,
    ] {
        assert_kept_out(&run(&bastion, &refused).await);
    }
    let alone = bastion.ssh("carol:web-1").await.command("true").run().await;
    assert_kept_out(&alone);
    // A user who has a key of her own signs in with it as before.
    assert_in(&bastion.ssh("alice:web-1").await.command("echo through").run().await);
}

#[tokio::test]
async fn a_security_key_lets_its_user_in_and_only_with_its_own_signature() {
    let key = SecurityKey::new().await;
    let forged = SecurityKey::forged(&key).await;
    let bastion = with_line(key.public.clone()).await;
    let with = async |key: &SecurityKey| bastion.ssh("carol:web-1").await.key_in_agent(&key.path, &key.agent);
    assert_in(&with(&key).await.command("echo through").run().await);
    assert_kept_out(&with(&forged).await.command("echo through").run().await);
}

#[tokio::test]
async fn a_security_key_must_say_that_it_was_touched_and_asked_for_a_pin_where_its_line_wants_that() {
    let (untouched, touched) = (SecurityKey::saying(0).await, SecurityKey::saying(TOUCHED).await);
    let verified = SecurityKey::saying(TOUCHED | VERIFIED).await;
    let bastion = with_line(touched.public.clone()).await;
    let users: Api<BastionUser> = bastion.namespace.api();
    let with = async |key: &SecurityKey| {
        let ssh = bastion.ssh("carol:web-1").await.key_in_agent(&key.path, &key.agent);
        ssh.command("echo through").run().await
    };
    // The gateway knows the new lines once the key that they allow signs in.
    let line_is = async |options: &str, others: &SecurityKey, one: &SecurityKey| {
        let lines = [format!("{options}{}", others.public), format!("{options}{}", one.public)];
        let patch = Patch::Merge(json!({"spec": {"publicKeys": lines}}));
        users.patch("carol", &PatchParams::default(), &patch).await.expect("a changed user");
        eventually(default_timeout(), "the new lines hold", async || {
            let outcome = with(one).await;
            if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
        })
        .await;
    };
    assert_in(&with(&touched).await);
    line_is("", &untouched, &verified).await;
    assert_kept_out(&with(&untouched).await);
    assert!(bastion.gateway.process.stderr().contains("the security key was not touched"), "the log says why");
    line_is("no-touch-required ", &touched, &untouched).await;
    line_is("verify-required ", &touched, &verified).await;
    assert_kept_out(&with(&touched).await);
    let log = bastion.gateway.process.stderr();
    assert!(log.contains("no security key asked for a PIN or a fingerprint"), "the log says why");
}

/// The labels under which an untouched security key's signature is tried. All but the first are another key type's.
const LABELS: [&str; 6] = [
    "sk-ssh-ed25519@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// Returns the number of the message that answers a sign-in with this key or certificate, under this algorithm and label.
async fn answer(bastion: &Bastion, key: &SecurityKey, blob: &[u8], named: &str, label: &str) -> Option<u8> {
    let mut client = RawClient::connect(bastion.gateway.address).await;
    let answer = client.sign_in("carol:web-1", named, blob, |data| key.sign(label, data)).await;
    answer.and_then(|payload| payload.first().copied())
}

/// Returns the name of the certificate's algorithm for a key's algorithm.
fn certificate_of(algorithm: &str) -> String {
    match algorithm.split_once('@') {
        Some((name, _)) => format!("{name}-cert-v01@openssh.com"),
        None => format!("{algorithm}-cert-v01@openssh.com"),
    }
}

#[tokio::test]
async fn no_label_of_a_signature_replaces_the_touch_of_a_security_key() {
    let (untouched, touched) = (SecurityKey::saying(0).await, SecurityKey::new().await);
    let bastion = Bastion::with(async |namespace: &Namespace, sshd: &Sshd| {
        let keys = [&untouched.public, &touched.public];
        namespace.user_with("carol", json!({"groups": [PEOPLE], "publicKeys": keys})).await;
        namespace.target("web-1", sshd).await;
    })
    .await;
    let blob = |key: &SecurityKey| PublicKey::from_openssh(&key.public).expect("a key").to_bytes().expect("a key");
    for label in LABELS {
        let refused = answer(&bastion, &untouched, &blob(&untouched), label, label).await;
        assert_eq!(refused, Some(message::USERAUTH_FAILURE), "named and labelled {label}");
        let refused = answer(&bastion, &untouched, &blob(&untouched), LABELS[0], label).await;
        assert_ne!(refused, Some(message::USERAUTH_SUCCESS), "labelled {label}");
    }
    let signed_in = answer(&bastion, &touched, &blob(&touched), LABELS[0], LABELS[0]).await;
    assert_eq!(signed_in, Some(message::USERAUTH_SUCCESS));
}

#[tokio::test]
async fn no_label_of_a_signature_replaces_the_touch_of_a_security_key_with_a_certificate() {
    let authority = Authority::new().await;
    let (untouched, touched) = (SecurityKey::saying(0).await, SecurityKey::new().await);
    let bastion = with_line(authority.line("")).await;
    let blob = async |key: &SecurityKey| {
        let path = authority.sign_key(&key.path.with_extension(""), &["-n", "carol"]).await;
        let line = std::fs::read_to_string(path).expect("a certificate");
        Certificate::from_openssh(line.trim()).expect("a certificate").to_bytes().expect("a certificate")
    };
    let certificate = blob(&untouched).await;
    for label in LABELS {
        let named = certificate_of(label);
        let refused = answer(&bastion, &untouched, &certificate, &named, label).await;
        assert_eq!(refused, Some(message::USERAUTH_FAILURE), "named {named}, labelled {label}");
        for named in [label, &certificate_of(LABELS[0])] {
            let refused = answer(&bastion, &untouched, &certificate, named, label).await;
            assert_ne!(refused, Some(message::USERAUTH_SUCCESS), "named {named}, labelled {label}");
        }
    }
    let signed_in = answer(&bastion, &touched, &blob(&touched).await, &certificate_of(LABELS[0]), LABELS[0]).await;
    assert_eq!(signed_in, Some(message::USERAUTH_SUCCESS));
}

#[tokio::test]
async fn the_principals_of_the_line_count_in_place_of_the_name() {
    let authority = Authority::new().await;
    let bastion = with_line(authority.line(r#",principals="dev,ops""#)).await;
    assert_in(&run(&bastion, &authority.sign(&["-n", "ops"]).await).await);
    for refused in [&["-n", "carol"][..], &[], &["-n", "dev,ops", "-h"], &["-n", "ops", "-V", "-2m:-1m"]] {
        assert_kept_out(&run(&bastion, &authority.sign(refused).await).await);
    }
}

#[tokio::test]
async fn a_certificate_holds_for_its_source_addresses() {
    let authority = Authority::new().await;
    let bastion = with_line(authority.line("")).await;
    let from = |list: &str| format!("source-address={list}");
    let here = authority.sign(&["-n", "carol", "-O", &from("10.0.0.0/8,127.0.0.0/8")]).await;
    assert_in(&run(&bastion, &here).await);
    let elsewhere = authority.sign(&["-n", "carol", "-O", &from("10.0.0.0/8")]).await;
    assert_kept_out(&run(&bastion, &elsewhere).await);
}

#[tokio::test]
async fn a_forced_command_runs_in_place_of_what_is_asked_for() {
    let authority = Authority::new().await;
    let bastion = with_line(authority.line("")).await;
    let forced = authority.sign(&["-n", "carol", "-O", "force-command=echo forced"]).await;
    let command = run(&bastion, &forced).await;
    assert_eq!((command.code, command.stdout.as_str()), (Some(0), "forced\n"), "{command:?}");
    let shell = ssh(&bastion, &forced).await.no_terminal().run().await;
    assert_eq!((shell.code, shell.stdout.as_str()), (Some(0), "forced\n"), "{shell:?}");
    let sftp = ssh(&bastion, &forced).await.run_other("sftp", &["127.0.0.1"]).await;
    assert_ne!(sftp.code, Some(0), "{sftp:?}");
    assert!(sftp.stderr.contains("bastion: your certificate permits one command and no sftp"), "{sftp:?}");

    let sftp_only = authority.sign(&["-n", "carol", "-O", "force-command=internal-sftp"]).await;
    let command = run(&bastion, &sftp_only).await;
    assert!(command.stderr.contains("bastion: your certificate permits sftp and nothing else"), "{command:?}");
    let sftp = ssh(&bastion, &sftp_only).await.run_other("sftp", &["127.0.0.1"]).await;
    assert_eq!(sftp.code, Some(0), "{sftp:?}");
}

#[tokio::test]
async fn what_a_certificate_does_not_permit_is_refused() {
    let authority = Authority::new().await;
    let bastion = with_line(authority.line("")).await;
    let clear = authority.sign(&["-n", "carol", "-O", "clear"]).await;
    let port = bastion.sshd.port.to_string();
    let forward = ssh(&bastion, &clear).await.option("-W").option(&format!("127.0.0.1:{port}")).run().await;
    assert!(forward.stderr.contains("bastion: your certificate permits no forwards"), "{forward:?}");
    let terminal = ssh(&bastion, &clear).await.terminal().command("tty").run().await;
    assert!(terminal.stderr.contains("PTY allocation request failed"), "{terminal:?}");
    let permits = authority.sign(&["-n", "carol", "-O", "clear", "-O", "permit-port-forwarding"]).await;
    let forward = ssh(&bastion, &permits).await.option("-W").option(&format!("127.0.0.1:{port}")).run().await;
    assert!(forward.stdout.starts_with("SSH-2.0-OpenSSH"), "{forward:?}");
}

#[tokio::test]
async fn taking_the_authority_away_ends_the_sessions_that_it_let_in() {
    let authority = Authority::new().await;
    let bastion = with_line(authority.line("")).await;
    let certificate = authority.sign(&["-n", "carol"]).await;
    let ssh = ssh(&bastion, &certificate).await.no_terminal().start().await;
    let mut open = bastion.opened(ssh, "carol").await;
    let other = Authority::new().await;
    let users: Api<BastionUser> = bastion.namespace.api();
    let patch = Patch::Merge(json!({"spec": {"publicKeys": [other.line("")]}}));
    users.patch("carol", &PatchParams::default(), &patch).await.expect("a changed user");
    bastion.watch.ended_within(PROMPT_BOUND, &open.session, Reason::AccessRevoked).await;
    let outcome = open.ssh.finish(PROMPT_BOUND).await;
    assert!(outcome.stderr.contains("bastion: "), "the user reads why: {outcome:?}");
}
