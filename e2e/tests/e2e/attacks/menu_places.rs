//! One user who takes all the places of the menu.

use russh::ChannelMsg;
use tokio::time::timeout;

use bastion_e2e::russh_client;
use bastion_e2e::{Bastion, default_timeout};

/// How many connections of one user may stand in the menu.
const PLACES: usize = 8;

#[tokio::test]
async fn one_user_cannot_fill_the_menu() {
    let bastion = Bastion::with_users(&["bob"]).await;
    let mut held = Vec::new();
    for _ in 0..PLACES {
        held.push(russh_client::sign_in(&bastion, "alice").await);
    }
    let more = russh_client::sign_in(&bastion, "alice").await;
    let mut channel = more.channel_open_session().await.expect("a channel");
    channel.request_shell(true).await.expect("a connection");
    let mut text = String::new();
    let reading = async {
        while let Some(message) = channel.wait().await {
            if let ChannelMsg::ExtendedData { data, .. } = message {
                text.push_str(&String::from_utf8_lossy(&data));
            }
        }
    };
    timeout(default_timeout(), reading).await.expect("a refusal");
    assert!(text.contains("you have 8 connections open that wait for a choice of a target"), "{text}");
    // Another user finds a place.
    let bob = russh_client::sign_in(&bastion, "bob").await;
    let channel = bob.channel_open_session().await.expect("a channel");
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a connection");
    assert_eq!(bastion.gateway.metric("bastion_menus_open").await, PLACES + 1);
    assert_eq!(bastion.gateway.metric("bastion_sign_ins_refused_total{reason=\"too_many_menus\"}").await, 1);
}
