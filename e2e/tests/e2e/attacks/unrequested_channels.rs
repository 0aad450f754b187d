//! A target that opens channels which its user never asked for.

use russh::ChannelMsg;
use russh::client::Handle;
use serde_json::json;
use tokio::time::timeout;

use bastion_e2e::hostile_target::HostileTarget;
use bastion_e2e::russh_client::{self, Trusting};
use bastion_e2e::{Bastion, default_timeout};

/// Runs a command on the target, of which the client asked for its agent before if `with_agent`. Returns what it says.
async fn run(client: &Handle<Trusting>, command: &str, with_agent: bool) -> String {
    let mut channel = client.channel_open_session().await.expect("a channel");
    if with_agent {
        channel.agent_forward(true).await.expect("a connection");
    }
    channel.exec(true, command).await.expect("a connection");
    let mut text = String::new();
    let reading = async {
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::Data { data } = message {
                text.push_str(&String::from_utf8_lossy(&data));
            }
        }
    };
    timeout(default_timeout(), reading).await.expect("an answer");
    text
}

async fn bastion() -> Bastion {
    let target = HostileTarget::start(1 << 20).await;
    Bastion::with(async |namespace, _| {
        let allow = json!({"agentForward": true, "remoteForward": true});
        target.add_to(namespace, "evil", json!({"allow": allow})).await;
    })
    .await
}

/// The client here accepts every channel, as OpenSSH's does not.
#[tokio::test]
async fn a_target_cannot_use_an_agent_that_was_not_offered() {
    let bastion = bastion().await;
    let client = russh_client::sign_in(&bastion, "alice:evil").await;
    let said = run(&client, "agent", false).await;
    assert!(said.starts_with("not opened: "), "{said}");
    assert!(bastion.gateway.process.stderr().contains("the user did not ask for it"), "it is logged");
    let refused = bastion.gateway.metric("bastion_remote_opens_refused_total{reason=\"not_requested\"}").await;
    assert_eq!(refused, 1);
    assert_eq!(run(&client, "agent", true).await, "opened\n", "once it is offered");
}

#[tokio::test]
async fn a_target_cannot_open_connections_of_ports_that_nobody_forwards() {
    let bastion = bastion().await;
    let client = russh_client::sign_in(&bastion, "alice:evil").await;
    let said = run(&client, "port 8080", false).await;
    assert!(said.starts_with("not opened: "), "{said}");
}
