//! Connections that have no session yet: one address leaves room for others.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

use crate::second_factors::assert_in;
use bastion_e2e::{Bastion, Setting, default_timeout, eventually};

/// Opens a connection and returns it with the first line that the gateway says.
async fn connect(bastion: &Bastion) -> (BufReader<TcpStream>, String) {
    let stream = TcpStream::connect(bastion.gateway.address).await.expect("a connection");
    let (mut stream, mut line) = (BufReader::new(stream), String::new());
    stream.read_line(&mut line).await.expect("a line");
    (stream, line)
}

#[tokio::test]
async fn an_address_with_too_many_of_them_is_turned_away_and_another_is_not() {
    let setting = Setting { env: vec![("BASTION_MAX_STARTUPS_PER_ADDRESS", "3".into())], ..Setting::default() };
    let bastion = Bastion::in_setting(&setting, async |_, _| ()).await;
    // A session is past it and takes no place.
    let mut alice = bastion.open("alice").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let (stream, line) = connect(&bastion).await;
        assert!(line.starts_with("SSH-2.0-"), "{line}");
        held.push(stream);
    }
    let (mut stream, line) = connect(&bastion).await;
    assert!(line.starts_with("bastion: too many connections from your address"), "{line}");
    assert_eq!(stream.read(&mut [0]).await.ok(), Some(0), "and it is closed");
    let counted = bastion.gateway.metric(r#"bastion_connections_refused_total{reason="address"}"#).await;
    assert_eq!(counted, 1);
    assert!(bastion.gateway.process.stderr().contains("connections are turned away"), "the log says so");

    let from = async |address: &str| {
        let ssh = bastion.ssh("alice:web-1").await.set(&format!("BindAddress={address}"));
        ssh.command("echo through").run().await
    };
    let refused = from("127.0.0.1").await;
    assert_eq!(refused.code, Some(255), "{refused:?}");
    assert_in(&from("127.0.0.2").await);
    alice.still_answers().await;
    held.pop();
    eventually(default_timeout(), "the place is free again", async || {
        let outcome = from("127.0.0.1").await;
        if outcome.code == Some(0) { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
}
