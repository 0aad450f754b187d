//! The application sends and answers channel requests that russh does not know.

use tokio::sync::mpsc;

use super::*;
use crate::keys::PublicKeyOrCertificate;
use crate::{Channel, ChannelId, ChannelMsg};

type Requests = mpsc::UnboundedSender<(String, Vec<u8>)>;

/// Knows the request `break`, and records all.
struct Server(Requests, mpsc::UnboundedSender<Channel<server::Msg>>);

impl server::Handler for Server {
    type Error = Error;

    async fn auth_none(&mut self, _: &str) -> Result<server::Auth, Error> {
        Ok(server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<server::Msg>,
        reply: server::ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Result<(), Error> {
        reply.accept().await;
        self.1.send(channel).unwrap();
        Ok(())
    }

    async fn custom_request(
        &mut self,
        _: ChannelId,
        name: &str,
        payload: &[u8],
        _: &mut server::Session,
    ) -> Result<bool, Error> {
        self.0.send((name.to_string(), payload.to_vec())).unwrap();
        Ok(name == "break")
    }
}

/// Knows the request `eow@openssh.com`, and records all.
struct Client(Requests);

impl client::Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }

    async fn custom_request(
        &mut self,
        _: ChannelId,
        name: &str,
        payload: &[u8],
        _: &mut client::Session,
    ) -> Result<bool, Error> {
        self.0.send((name.to_string(), payload.to_vec())).unwrap();
        Ok(name == "eow@openssh.com")
    }
}

#[tokio::test]
async fn server_answers_and_sends() {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let (opened, mut channels) = mpsc::unbounded_channel();
    let (mut peer, _server) =
        Peer::of_server(server::Config::default(), Server(sender, opened)).await;
    peer.authenticate().await;
    let theirs = peer.open_session().await;

    // RFC 4335: a break of 500 ms.
    for (name, answer) in [
        ("break", msg::CHANNEL_SUCCESS),
        ("other", msg::CHANNEL_FAILURE),
    ] {
        peer.send(packet!(msg::CHANNEL_REQUEST, theirs, name, 1u8, 500u32))
            .await;
        assert_eq!(
            within(requests.recv()).await,
            Some((name.to_string(), 500u32.to_be_bytes().to_vec()))
        );
        assert_eq!(peer.receive().await, Some(packet!(answer, 0u32)));
    }

    let (_read, write) = within(channels.recv()).await.unwrap().split();
    within(write.custom_request("eow@openssh.com", false, vec![7]))
        .await
        .unwrap();
    let expected = packet!(msg::CHANNEL_REQUEST, 0u32, "eow@openssh.com", 0u8, 7u8);
    assert_eq!(peer.receive().await, Some(expected));
}

#[tokio::test]
async fn client_answers_and_sends() {
    let (sender, mut requests) = mpsc::unbounded_channel();
    let (mut peer, client) = Peer::of_client(client::Config::default(), Client(sender)).await;
    let (channel, theirs) = peer.accept_session(&client).await;
    let (mut read, write) = channel.split();

    for (name, answer) in [
        ("eow@openssh.com", msg::CHANNEL_SUCCESS),
        ("other", msg::CHANNEL_FAILURE),
    ] {
        peer.send(packet!(msg::CHANNEL_REQUEST, theirs, name, 1u8))
            .await;
        assert_eq!(
            within(requests.recv()).await,
            Some((name.to_string(), vec![]))
        );
        assert_eq!(peer.receive().await, Some(packet!(answer, 0u32)));
    }

    within(write.custom_request("break", true, 500u32.to_be_bytes().to_vec()))
        .await
        .unwrap();
    let expected = packet!(msg::CHANNEL_REQUEST, 0u32, "break", 1u8, 500u32);
    assert_eq!(peer.receive().await, Some(expected));
    peer.send(packet!(msg::CHANNEL_FAILURE, theirs)).await;
    assert!(matches!(
        within(read.wait()).await,
        Some(ChannelMsg::Failure)
    ));
}
