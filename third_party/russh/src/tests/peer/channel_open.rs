//! A request for a channel is answered once (RFC 4254 §5.1).

use super::*;
use crate::Channel;
use crate::keys::PublicKeyOrCertificate;

/// SSH_OPEN_ADMINISTRATIVELY_PROHIBITED (RFC 4254 §5.1).
const PROHIBITED: u32 = 1;

/// SSH_OPEN_UNKNOWN_CHANNEL_TYPE.
const UNKNOWN_TYPE: u32 = 3;

struct Server;

impl server::Handler for Server {
    type Error = Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        Ok(())
    }
}

struct Client;

impl client::Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// Receives the answers before the confirmation of the channel that was
/// requested last.
async fn answers(peer: &mut Peer) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    loop {
        let packet = peer.receive().await.expect("the connection ended");
        if packet[0] == msg::CHANNEL_OPEN_CONFIRMATION {
            return answers;
        }
        answers.push(packet);
    }
}

fn assert_refused_once(answers: &[Vec<u8>], reason: u32, channel_type: &str) {
    let [answer] = answers else {
        panic!("{channel_type}: {answers:?}");
    };
    let expected = packet!(msg::CHANNEL_OPEN_FAILURE, 5u32, reason);
    assert_eq!(answer[..expected.len()], expected, "{channel_type}");
}

#[tokio::test]
async fn server_answers_once() {
    for (channel_type, reason) in [
        ("unknown@example.com", UNKNOWN_TYPE),
        ("auth-agent@openssh.com", PROHIBITED),
        ("forwarded-streamlocal@openssh.com", PROHIBITED),
    ] {
        let (mut peer, _server) = Peer::of_server(server::Config::default(), Server).await;
        peer.authenticate().await;
        let mut open = packet!(
            msg::CHANNEL_OPEN,
            channel_type,
            5u32,
            1u32 << 20,
            1u32 << 15
        );
        if channel_type.starts_with("forwarded") {
            open.extend(packet!(0, "/socket", "").split_off(1));
        }
        peer.send(open).await;
        let session = packet!(msg::CHANNEL_OPEN, "session", 6u32, 1u32 << 20, 1u32 << 15);
        peer.send(session).await;
        assert_refused_once(&answers(&mut peer).await, reason, channel_type);
    }
}

#[tokio::test]
async fn client_answers_once() {
    let (mut peer, _client) = Peer::of_client(client::Config::default(), Client).await;
    let channel_type = "unknown@example.com";
    peer.send(packet!(
        msg::CHANNEL_OPEN,
        channel_type,
        5u32,
        1u32 << 20,
        1u32 << 15
    ))
    .await;
    peer.send(packet!(
        msg::CHANNEL_OPEN,
        "forwarded-tcpip",
        6u32,
        1u32 << 20,
        1u32 << 15,
        "localhost",
        80u32,
        "localhost",
        1234u32
    ))
    .await;
    assert_refused_once(&answers(&mut peer).await, UNKNOWN_TYPE, channel_type);
}
