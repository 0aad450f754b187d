//! What the audit log of the gateway says of what users do.

use std::fs;

use serde_json::{Value, json};

use bastion_e2e::certificates::Authority;
use bastion_e2e::namespace::PEOPLE;
use bastion_e2e::security_key::SecurityKey;
use bastion_e2e::ssh::Ssh;
use bastion_e2e::sshd::free_port;
use bastion_e2e::{Bastion, PROMPT_BOUND, eventually};
use kube::ResourceExt;

/// The lines of the audit log, without what is the same in all of a session.
fn lines(bastion: &Bastion) -> Vec<Value> {
    let log = bastion.gateway.process.stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "audit").map(|line| line["fields"].clone()).collect()
}

/// Waits for a line that has these fields, and returns it.
async fn line(bastion: &Bastion, fields: Value) -> Value {
    let wanted = fields.as_object().expect("fields");
    eventually(PROMPT_BOUND, &format!("an audit line with {fields}"), async || {
        let lines = lines(bastion);
        let found = lines.iter().find(|line| wanted.iter().all(|(name, value)| line[name] == *value));
        found.cloned().ok_or_else(|| format!("{lines:#?}"))
    })
    .await
}

#[tokio::test]
async fn files_that_pass_over_sftp_are_named() {
    let bastion = Bastion::up().await;
    let folder = &bastion.namespace.dir;
    let (sent, batch) = (folder.join("sent"), folder.join("batch"));
    fs::write(&sent, vec![7; 3_000_000]).expect("a file");
    let there = |name: &str| folder.join(name).display().to_string();
    let (a, b, new, back) = (there("a"), there("b"), there("new"), there("back"));
    let commands = format!(
        "put {} {a}\nrename {a} {b}\nget {b} {back}\nmkdir {new}\nchmod 600 {b}\nrm {b}\nrmdir {new}\n-rm {b}\n",
        sent.display()
    );
    fs::write(&batch, commands).expect("a file");
    let ssh = bastion.ssh("alice:web-1").await.option("-b").option(&batch.display().to_string());
    let outcome = ssh.run_other("sftp", &["127.0.0.1"]).await;
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let session = bastion.watch.started("alice").await.name_any();
    line(
        &bastion,
        json!({"operation": "sftp", "result": "started", "session": session, "user": "alice",
        "target": "web-1", "login": bastion.sshd.login}),
    )
    .await;
    line(
        &bastion,
        json!({"operation": "sftp_close", "path": a, "bytes_in": 3_000_000, "bytes_out": 0, "result": "ok"}),
    )
    .await;
    line(&bastion, json!({"operation": "sftp_rename", "path": a, "to": b, "result": "ok"})).await;
    line(&bastion, json!({"operation": "sftp_close", "path": b, "bytes_in": 0, "bytes_out": 3_000_000})).await;
    line(&bastion, json!({"operation": "sftp_mkdir", "path": new, "result": "ok"})).await;
    line(&bastion, json!({"operation": "sftp_setstat", "path": b})).await;
    line(&bastion, json!({"operation": "sftp_remove", "path": b, "result": "ok"})).await;
    line(&bastion, json!({"operation": "sftp_rmdir", "path": new, "result": "ok"})).await;
    line(&bastion, json!({"operation": "sftp", "result": "exit status 0"})).await;
}

#[tokio::test]
async fn commands_are_named_and_how_they_ended() {
    let bastion = Bastion::up().await;
    bastion.ssh("alice:web-1").await.command("printf 12345; exit 7").run().await;
    let session = bastion.watch.started("alice").await.name_any();
    let command = "printf 12345; exit 7";
    line(
        &bastion,
        json!({"operation": "exec", "command": command, "result": "started", "session": session,
        "terminal": false, "recorded": false}),
    )
    .await;
    line(&bastion, json!({"operation": "exec", "command": command, "result": "exit status 7", "bytes_out": 5})).await;
}

#[tokio::test]
async fn forwards_are_named_and_what_passed_through_them() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("open", sshd, json!({"allow": {"localForward": true}})).await;
    })
    .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let mut ssh = bastion.ssh("alice:open").await.option("-W").option(&address).start().await;
    ssh.say("1234").await;
    ssh.shows("1234").await;
    let session = bastion.watch.started("alice").await.name_any();
    line(&bastion, json!({"operation": "local_forward", "address": address, "result": "opened", "session": session}))
        .await;
    ssh.close_input();
    ssh.finish(PROMPT_BOUND).await;
    line(
        &bastion,
        json!({"operation": "local_forward", "address": address, "result": "closed", "bytes_in": 5,
        "bytes_out": 5}),
    )
    .await;

    let nowhere = format!("127.0.0.1:{}", free_port().await);
    bastion.ssh("alice:web-1").await.option("-W").option(&nowhere).run().await;
    let refused = line(&bastion, json!({"address": nowhere, "result": "refused: spec.allow.localForward"})).await;
    assert!(refused["session"].as_str().is_some_and(|it| it.starts_with("alice-web-1-")), "{refused}");
}

#[tokio::test]
async fn what_the_user_is_refused_is_named_and_who_does_not_allow_it() {
    let authority = Authority::new().await;
    let bastion = Bastion::with(async |namespace, sshd| {
        let line = authority.line("");
        namespace.user_with("carol", json!({"groups": [PEOPLE], "publicKeys": [line]})).await;
        let allow = json!({"localForward": true, "remoteForward": true, "agentForward": true});
        namespace.target_with("open", sshd, json!({"allow": allow})).await;
    })
    .await;
    let options = ["-n", "carol", "-O", "no-port-forwarding", "-O", "no-agent-forwarding"];
    let certificate = format!("CertificateFile={}", authority.sign(&options).await.display());
    let nowhere = format!("127.0.0.1:{}", free_port().await);
    let ssh = async |name: &str| bastion.ssh(name).await.set("ExitOnForwardFailure=no");
    let carol = async || ssh("carol:open").await.set(&certificate);
    carol().await.option("-W").option(&nowhere).run().await;
    let by_certificate = "refused: permit-port-forwarding";
    line(&bastion, json!({"operation": "local_forward", "address": nowhere, "result": by_certificate})).await;
    let listen = format!("127.0.0.1:0:{nowhere}");
    carol().await.option("-R").option(&listen).command("true").run().await;
    let asked = "127.0.0.1:0";
    line(&bastion, json!({"operation": "remote_listen", "address": asked, "result": by_certificate})).await;
    ssh("alice:web-1").await.option("-R").option(&listen).command("true").run().await;
    let by_target = "refused: spec.allow.remoteForward";
    line(&bastion, json!({"operation": "remote_listen", "address": asked, "result": by_target})).await;

    let agent = SecurityKey::new().await;
    let with_agent = async |ssh: Ssh| ssh.forwarding_agent(&agent.agent).command("true").run().await;
    with_agent(carol().await).await;
    let by_certificate = "refused: permit-agent-forwarding";
    line(&bastion, json!({"operation": "agent_forward", "target": "open", "result": by_certificate})).await;
    with_agent(ssh("alice:web-1").await).await;
    let by_target = "refused: spec.allow.agentForward";
    line(&bastion, json!({"operation": "agent_forward", "target": "web-1", "result": by_target})).await;
}

#[tokio::test]
async fn ports_that_the_target_listens_on_are_named_and_until_when() {
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("open", sshd, json!({"allow": {"remoteForward": true}})).await;
    })
    .await;
    let port = free_port().await;
    let (here, there) = (format!("127.0.0.1:{port}"), free_port().await);
    let listen = format!("127.0.0.1:{port}:127.0.0.1:{there}");
    let mut ssh = bastion.ssh("alice:open").await.option("-R").option(&listen).command("cat").start().await;
    ssh.say("1\n").await;
    ssh.shows("1").await;
    let begun = line(&bastion, json!({"operation": "remote_listen", "address": here, "result": "begun"})).await;
    assert!(begun["session"].as_str().is_some_and(|it| it.starts_with("alice-open-")), "{begun}");
    let second = bastion.ssh("alice:open").await.set("ExitOnForwardFailure=no").option("-R").option(&listen);
    second.command("true").run().await;
    let refused = "not begun: the target refused";
    line(&bastion, json!({"operation": "remote_listen", "address": here, "result": refused})).await;
    ssh.close_input();
    ssh.finish(PROMPT_BOUND).await;
    line(&bastion, json!({"operation": "remote_listen", "address": here, "result": "ended"})).await;
}
