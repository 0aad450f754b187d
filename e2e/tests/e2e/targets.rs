//! The way to a target: how it is known, what it is signed in to with, which addresses and algorithms it has, and what
//! people read when it does not work.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use bastion_operator::api::{BastionSession, Reason, credentials_namespace};
use kube::ResourceExt;
use nix::unistd::Uid;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use bastion_e2e::http::get;
use bastion_e2e::manifests::apply_one;
use bastion_e2e::network::skipped;
use bastion_e2e::process::{Process, command};
use bastion_e2e::programs::Setting;
use bastion_e2e::run::{Key, Run, unique};
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Bastion, IsolatedAddress, Namespace, Outcome, Sshd, default_timeout, eventually};

/// A password, and what /etc/shadow has of it.
const PASSWORD: &str = "correct horse";
const HASH: &str =
    "$6$bastionsalt$gEskJ3HlSOwuCP/sVpMJ/JznSz4rVu4CSL0DJW.67kDaIuennDMyQL2WII/nX4TgUB1Zsz5rdgqASSgE9BAPm0";

async fn run(bastion: &Bastion, sign_in_name: &str) -> Outcome {
    bastion.ssh(sign_in_name).await.command("echo through").run().await
}

async fn assert_gets_in(bastion: &Bastion, sign_in_name: &str) {
    let outcome = run(bastion, sign_in_name).await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), "through\n"), "as {sign_in_name}: {outcome:?}");
}

/// That the user reads one text, and that the session's object has another.
async fn assert_unreachable(bastion: &Bastion, sign_in_name: &str, told: &str, message: &str) {
    let outcome = run(bastion, sign_in_name).await;
    let said = outcome.stderr.lines().find(|line| line.starts_with("bastion: ")).unwrap_or_default();
    assert!(outcome.code == Some(255) && said.contains(told), "the user should read {told:?}: {outcome:?}");
    assert!(!outcome.stderr.contains("os error"), "{outcome:?}");
    let session = bastion.watch.started("alice").await;
    bastion.watch.ended(&session, Reason::TargetUnreachable).await;
    let name = session.name_any();
    let ended = bastion.namespace.api::<BastionSession>().get(&name).await.expect("the session");
    let written = ended.status.and_then(|status| status.message).unwrap_or_default();
    assert!(written.contains(message), "the message of {name} has {message:?}: {written:?}");
}

async fn new_key() -> Key {
    Key::make(Run::get().await.dir.join(format!("key-{}", unique())))
}

/// Puts values into a Secret of the credentials namespace.
async fn put_secret(namespace: &Namespace, name: &str, data: Value) {
    let metadata = json!({"name": name, "namespace": credentials_namespace(&namespace.name)});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data});
    apply_one(&namespace.admin(), secret).await;
}

/// Runs a program that makes keys, which must succeed.
async fn make(dir: &Path, program: &str, arguments: &[&str]) {
    let mut command = command(program);
    command.args(arguments).current_dir(dir);
    let outcome = Process::start(dir.join(format!("make-{}", unique())), command).await.finish(default_timeout()).await;
    assert_eq!(outcome.code, Some(0), "{program}: {outcome:?}");
}

/// An sshd that shows a host certificate, which `ssh-keygen` signed with this key and these arguments.
async fn certified(authority: &Key, arguments: &[&str]) -> Sshd {
    let dir = Run::get().await.dir.join(format!("certified-{}", unique()));
    fs::create_dir(&dir).expect("a folder");
    let host_key = Key::make(dir.join("key"));
    let sign = ["-q", "-s", authority.path.to_str().expect("a path"), "-I", "host", "-h"];
    make(&dir, "ssh-keygen", &[&sign[..], arguments, &["key.pub"]].concat()).await;
    Sshd::configured(Ipv4Addr::LOCALHOST, &[], |_, _| {
        format!("HostKey {key}\nHostCertificate {key}-cert.pub", key = host_key.path.display())
    })
    .await
}

#[tokio::test]
async fn a_host_certificate_is_trusted_if_the_authority_made_it_out_to_the_target_and_it_is_valid() {
    let (authority, another) = (new_key().await, new_key().await);
    let good = certified(&authority, &["-n", "127.0.0.1", "-V", "-1m:+10m"]).await;
    let named = certified(&authority, &["-n", "named", "-V", "-1m:+10m"]).await;
    let expired = certified(&authority, &["-n", "127.0.0.1", "-V", "20200101:20200102"]).await;
    let line = |key: &Key| format!("@cert-authority {} hosts", key.public);
    let bastion = Bastion::with(async |namespace, _| {
        for (name, sshd, authority) in [
            ("good", &good, &authority),
            ("named", &named, &authority),
            ("other", &named, &authority),
            ("expired", &expired, &authority),
            ("strange", &good, &another),
        ] {
            namespace.target_with(name, sshd, json!({"hostKeys": [line(authority)]})).await;
        }
    })
    .await;
    assert_gets_in(&bastion, "alice:good").await;
    assert_gets_in(&bastion, "alice:named").await;
    for (target, words) in [
        ("other", r#"bastion: the host certificate of target "other" is issued for another host"#),
        ("expired", r#"bastion: the host certificate of target "expired" expired at 2020-01-02"#),
        ("strange", r#"bastion: the host certificate of target "strange" is signed by SHA256:"#),
    ] {
        let outcome = run(&bastion, &format!("alice:{target}")).await;
        assert!(outcome.code == Some(255) && outcome.stderr.contains(words), "{outcome:?}");
    }
}

#[tokio::test]
async fn an_authority_signs_a_certificate_for_each_session_that_says_whose_it_is() {
    let (authority, another) = (new_key().await, new_key().await);
    let public = authority.public.clone();
    let sshd = Sshd::configured(Ipv4Addr::LOCALHOST, &[], |dir, _| {
        fs::write(dir.join("authority.pub"), format!("{public}\n")).expect("a file");
        format!("AuthorizedKeysFile none\nTrustedUserCAKeys {}/authority.pub", dir.display())
    })
    .await;
    let bastion = Bastion::with(async |namespace, _| {
        for (name, key) in [("trusted", &authority), ("untrusted", &another)] {
            put_secret(namespace, name, json!({"ssh-privatekey": key.private()})).await;
            let credentials = json!({"certificateAuthority": {"name": name}});
            namespace.target_with(name, &sshd, json!({"credentials": credentials})).await;
        }
    })
    .await;
    assert_gets_in(&bastion, "alice:trusted").await;
    let session = bastion.watch.started("alice").await.name_any();
    let logged = format!("ID bastion session {session} user alice subject bastion:alice (serial ");
    eventually(default_timeout(), "sshd logs whose certificate it was", async || {
        let log = sshd.log();
        if log.contains(&logged) { Ok(()) } else { Err(log) }
    })
    .await;
    let terminal = bastion.ssh("alice:trusted").await.terminal().command("test -t 0 && echo terminal").run().await;
    assert!(terminal.stdout.contains("terminal"), "the certificate permits one: {terminal:?}");
    let outcome = run(&bastion, "alice:untrusted").await;
    let words = format!(
        r#"bastion: target "untrusted" refused the bastion's certificate for login "{}"; its sshd must have the authority's public key in TrustedUserCAKeys"#,
        sshd.login
    );
    assert!(outcome.code == Some(255) && outcome.stderr.contains(&words), "{outcome:?}");
}

#[tokio::test]
async fn a_certificate_is_for_a_principal_that_the_target_lists() {
    let authority = new_key().await;
    let public = authority.public.clone();
    let listing = async |principal: String| {
        Sshd::configured(Ipv4Addr::LOCALHOST, &[], |dir, _| {
            fs::write(dir.join("authority.pub"), format!("{public}\n")).expect("a file");
            fs::write(dir.join("principals"), format!("{principal}\n")).expect("a file");
            let dir = dir.display();
            format!("AuthorizedKeysFile none\nTrustedUserCAKeys {dir}/authority.pub\nAuthorizedPrincipalsFile {dir}/principals")
        })
        .await
    };
    let (one, other) = (listing(Sshd::shared().await.login.clone()).await, listing("somebody".to_owned()).await);
    let bastion = Bastion::with(async |namespace, _| {
        put_secret(namespace, "authority", json!({"ssh-privatekey": authority.private()})).await;
        for (name, sshd) in [("one", &one), ("other", &other)] {
            let credentials = json!({"certificateAuthority": {"name": "authority"}});
            namespace.target_with(name, sshd, json!({"credentials": credentials})).await;
        }
    })
    .await;
    assert_gets_in(&bastion, "alice:one").await;
    let refused = run(&bastion, "alice:other").await;
    assert!(refused.code == Some(255) && refused.stderr.contains("AuthorizedPrincipalsFile"), "{refused:?}");
}

/// An sshd with an account `guest` that has a password, in a user database of its own.
async fn with_password(first_lines: &'static str) -> Sshd {
    let files = ["/etc/passwd", "/etc/shadow", "/etc/pam.d/sshd"];
    Sshd::configured(Ipv4Addr::LOCALHOST, &files, |dir, _| {
        let passwd = fs::read_to_string("/etc/passwd").expect("the user database");
        fs::write(dir.join("passwd"), format!("{passwd}guest:x:65533:65534::/tmp:/bin/sh\n")).expect("a file");
        fs::write(dir.join("shadow"), format!("root:*:19000::::::\nsshd:!:19000::::::\nguest:{HASH}:19000::::::\n"))
            .expect("a file");
        let modules = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";
        fs::write(dir.join("sshd"), modules).expect("a file");
        first_lines.to_owned()
    })
    .await
}

#[tokio::test]
async fn a_password_signs_in_by_its_method_and_by_a_dialogue() {
    if !Uid::effective().is_root() {
        skipped("only root can give sshd another user database");
        return;
    }
    let by_method = with_password("PubkeyAuthentication no\nPasswordAuthentication yes").await;
    let by_dialogue = with_password("PubkeyAuthentication no\nKbdInteractiveAuthentication yes\nUsePAM yes").await;
    let bastion = Bastion::with(async |namespace, _| {
        put_secret(namespace, "right", json!({"password": format!("{PASSWORD}\n")})).await;
        put_secret(namespace, "wrong", json!({"password": "wrong horse"})).await;
        for (kind, sshd) in [("method", &by_method), ("dialogue", &by_dialogue)] {
            for password in ["right", "wrong"] {
                let spec = json!({"logins": ["guest"], "credentials": {"password": {"name": password}}});
                namespace.target_with(&format!("{kind}-{password}"), sshd, spec).await;
            }
        }
    })
    .await;
    for kind in ["method", "dialogue"] {
        assert_gets_in(&bastion, &format!("alice:{kind}-right")).await;
        let outcome = run(&bastion, &format!("alice:{kind}-wrong")).await;
        let words =
            format!(r#"bastion: target "{kind}-wrong" refused the bastion's password for login "guest"; it accepts "#);
        assert!(outcome.code == Some(255) && outcome.stderr.contains(&words), "{outcome:?}");
    }
    let log = bastion.gateway.process.stderr();
    assert!(!log.contains(PASSWORD) && !log.contains("wrong horse"), "no password is in the log");
}

#[tokio::test]
async fn a_target_of_former_days_is_reached_if_it_asks_for_what_it_has() {
    let dir = Run::get().await.dir.join(format!("old-{}", unique()));
    fs::create_dir(&dir).expect("a folder");
    make(&dir, "ssh-keygen", &["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "key"]).await;
    let public = fs::read_to_string(dir.join("key.pub")).expect("a public key");
    let old = Sshd::configured(Ipv4Addr::LOCALHOST, &[], |_, _| {
        format!(
            "HostKey {}\nHostKeyAlgorithms ssh-rsa\nKexAlgorithms diffie-hellman-group14-sha1\nCiphers aes128-cbc\nMACs hmac-sha1",
            dir.join("key").display()
        )
    })
    .await;
    let algorithms = ["diffie-hellman-group14-sha1", "ssh-rsa", "aes128-cbc", "hmac-sha1"];
    let bastion = Bastion::with(async |namespace, _| {
        for asked in 0..=algorithms.len() {
            let spec = json!({"hostKeys": [public.trim()], "legacyAlgorithms": algorithms[..asked]});
            namespace.target_with(&format!("old-{asked}"), &old, spec).await;
        }
    })
    .await;
    for (asked, missing) in algorithms.iter().enumerate() {
        let outcome = run(&bastion, &format!("alice:old-{asked}")).await;
        let words = format!("let its spec.legacyAlgorithms name one of {missing}");
        assert!(outcome.code == Some(255) && outcome.stderr.contains(&words), "{words:?}: {outcome:?}");
    }
    assert_gets_in(&bastion, "alice:old-4").await;
    let metrics = get(bastion.gateway.http, "/metrics").await.1;
    for algorithm in algorithms {
        let counted = format!("bastion_legacy_algorithms_negotiated_total{{algorithm=\"{algorithm}\"}} ");
        assert!(metrics.contains(&counted), "{counted} in {metrics}");
        assert!(
            bastion.gateway.process.stderr().contains(&format!("\"algorithm\":\"{algorithm}\"")),
            "{algorithm} is logged"
        );
    }
    assert!(metrics.contains("bastion_targets_unreachable_total{reason=\"algorithms\"} "), "{metrics}");
}

/// A gateway for which names lead to addresses as this says, and a target of that name with the shared sshd's port.
async fn named(hosts: &str, name: &str) -> Bastion {
    let setting = Setting { hosts: Some(hosts), ..Setting::default() };
    Bastion::in_setting(&setting, async |namespace, sshd| {
        namespace.target_with("web-1", sshd, json!({"address": name})).await;
    })
    .await
}

#[tokio::test]
async fn every_address_of_a_name_has_its_chance() {
    if !Uid::effective().is_root() {
        skipped("only root can give a gateway another /etc/hosts");
        return;
    }
    // The shared sshd listens at 127.0.0.1 alone.
    let bastion = named("127.0.0.9 many.test\n::1 many.test\n127.0.0.1 many.test\n", "many.test").await;
    assert_gets_in(&bastion, "alice:web-1").await;
}

#[tokio::test]
async fn an_address_that_swallows_packets_does_not_hold_up_the_others() {
    let Some(hole) = IsolatedAddress::new() else { return };
    if !Uid::effective().is_root() {
        skipped("only root can give a gateway another /etc/hosts");
        return;
    }
    hole.cut_off().await;
    let bastion = named(&format!("{} many.test\n127.0.0.1 many.test\n", hole.address), "many.test").await;
    assert_gets_in(&bastion, "alice:web-1").await;
    hole.reconnect().await;
}

#[tokio::test]
async fn the_session_names_every_address_that_was_tried_and_the_user_reads_none() {
    if !Uid::effective().is_root() {
        skipped("only root can give a gateway another /etc/hosts");
        return;
    }
    let bastion = named("127.0.0.8 many.test\n127.0.0.9 many.test\n", "many.test").await;
    let told = r#"bastion: target "web-1" cannot be reached: Connection refused"#;
    let port = bastion.sshd.port;
    assert_unreachable(&bastion, "alice:web-1", told, &format!("at 127.0.0.8:{port}: Connection refused")).await;
    assert_unreachable(&bastion, "alice:web-1", told, &format!("at 127.0.0.9:{port}: Connection refused")).await;
    let outcome = run(&bastion, "alice:web-1").await;
    assert!(!outcome.stderr.contains("127.0.0.8"), "{outcome:?}");
}

#[tokio::test]
async fn a_name_without_an_address_and_a_server_without_ssh_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("nowhere", sshd, json!({"address": "nowhere.invalid"})).await;
        namespace.target_with("http", sshd, json!({"port": port})).await;
    })
    .await;
    let told =
        r#"bastion: the address of target "nowhere" cannot be resolved; the bastion's administrators can see why"#;
    assert_unreachable(&bastion, "alice:nowhere", told, "nowhere.invalid").await;
    let told = r#"bastion: the SSH connection to target "http" failed: it closed the connection"#;
    assert_unreachable(&bastion, "alice:http", told, "is not an SSH server").await;
}

#[tokio::test]
async fn a_secret_and_a_target_that_have_changed_are_used_by_the_next_session() {
    let run_keys = Run::get().await;
    let bastion = Bastion::with(async |namespace, sshd| {
        put_secret(namespace, "rotated", json!({"ssh-privatekey": run_keys.wrong_key.private()})).await;
        let spec = json!({"credentials": {"privateKey": {"name": "rotated"}}});
        namespace.target_with("web-1", sshd, spec).await;
    })
    .await;
    let told = r#"bastion: target "web-1" refused the bastion's key for login"#;
    assert_unreachable(&bastion, "alice:web-1", told, "it accepts publickey").await;
    put_secret(&bastion.namespace, "rotated", json!({"ssh-privatekey": run_keys.target_key.private()})).await;
    assert_gets_in(&bastion, "alice:web-1").await;
    let admin = bastion.namespace.admin();
    let port = free_port().await;
    let moved = bastion.namespace.patch_target(&admin, "web-1", json!({"spec": {"port": port}})).await;
    moved.expect("a changed target");
    eventually(default_timeout(), "the target's new port is used", async || {
        let outcome = run(&bastion, "alice:web-1").await;
        if outcome.stderr.contains("Connection refused") { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
}

/// Runs `ssh -J`, whose jump has no options of the command line.
async fn jump(bastion: &Bastion, by_way_of: &str, to: &str) -> Outcome {
    let folder = &bastion.namespace.dir;
    let lines = format!(
        "Host gateway\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n UserKnownHostsFile {}\nHost *\n BatchMode yes\n \
         IdentitiesOnly yes\n IdentityAgent none\n GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n",
        bastion.gateway.address.port(),
        Run::get().await.user_key.path.display(),
        bastion.gateway.known_hosts().display(),
    );
    fs::write(folder.join("config"), lines).expect("a file");
    let mut command = command("ssh");
    command.arg("-F").arg(folder.join("config")).args(["-J", by_way_of, to, "true"]);
    let mut process = Process::start(folder.join(format!("jump-{}", unique())), command).await;
    process.close_input();
    process.finish(default_timeout()).await
}

#[tokio::test]
async fn who_takes_the_gateway_for_a_jump_host_reads_what_to_type() {
    let bastion = Bastion::with(async |namespace, _| namespace.user_with("stranger", json!({})).await).await;
    let (login, port) = (&bastion.sshd.login, bastion.sshd.port);
    let instead = "bastion: this is not a jump host; it signs in to targets itself. Without -J, type: ssh ";
    for (by_way_of, to, words) in [
        ("alice@gateway", "root@web-1".to_owned(), format!("{instead}alice+{login}@web-1@GATEWAY")),
        ("alice@gateway", format!("ssh://127.0.0.1:{port}"), format!("{instead}alice+{login}@web-1@GATEWAY")),
        (
            "alice@gateway",
            "root@web-9".to_owned(),
            format!("{instead}alice+LOGIN@TARGET@GATEWAY (there is no target \"web-9\""),
        ),
        (
            "stranger@gateway",
            "root@web-1".to_owned(),
            format!("{instead}stranger+LOGIN@TARGET@GATEWAY (there is no target \"web-1\""),
        ),
        ("alice:web-1@gateway", "root@web-1".to_owned(), format!("{instead}alice+web-1@GATEWAY")),
    ] {
        let outcome = jump(&bastion, by_way_of, &to).await;
        let line = format!("channel 0: open failed: administratively prohibited: {words}");
        let read = outcome.stderr.lines().any(|it| it.starts_with(&line));
        assert!(outcome.code == Some(255) && read, "-J {by_way_of} {to}: {outcome:?}");
    }
}
