//! The application grants window and answers CHANNEL_CLOSE (RFC 4254 §5.2,
//! §5.3), where it has asked for it.

use tokio::sync::mpsc;

use super::*;
use crate::ChannelControl::{Application, Library};
use crate::keys::PublicKeyOrCertificate;
use crate::{Channel, ChannelControl, ChannelId, ChannelMsg};

const WINDOW: u32 = 1000;

/// Sends its channel to the test.
struct Server(mpsc::UnboundedSender<Channel<server::Msg>>);

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
        self.0.send(channel).unwrap();
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

/// Opens a channel at a server. The peer's number of it is 0.
async fn at_server(
    control: ChannelControl,
) -> (
    Peer,
    Channel<server::Msg>,
    u32,
    JoinHandle<Result<(), Error>>,
) {
    let (sender, mut channels) = mpsc::unbounded_channel();
    let config = server::Config {
        window_size: WINDOW,
        channel_control: control,
        ..Default::default()
    };
    let (mut peer, server) = Peer::of_server(config, Server(sender)).await;
    peer.authenticate().await;
    let theirs = peer.open_session().await;
    let channel = within(channels.recv()).await.unwrap();
    (peer, channel, theirs, server)
}

/// Opens a channel at a client. The peer's number of it is 0.
async fn at_client(
    control: ChannelControl,
) -> (Peer, Channel<client::Msg>, u32, client::Handle<Client>) {
    let config = client::Config {
        window_size: WINDOW,
        channel_control: control,
        ..Default::default()
    };
    let (mut peer, client) = Peer::of_client(config, Client).await;
    let (channel, theirs) = peer.accept_session(&client).await;
    (peer, channel, theirs, client)
}

/// Sends data that uses up the window.
async fn fill_window(peer: &mut Peer, theirs: u32) {
    peer.send(packet!(
        msg::CHANNEL_DATA,
        theirs,
        vec![0u8; WINDOW as usize]
    ))
    .await;
}

/// Asserts that the next packet is the answer to a request that is sent now.
async fn assert_nothing_follows(peer: &mut Peer) {
    peer.send(packet!(msg::GLOBAL_REQUEST, "unknown@example.com", 1u8))
        .await;
    peer.expect(msg::REQUEST_FAILURE).await;
}

/// Asserts that window comes only when the application grants it, and that a
/// peer that exceeds it loses its connection.
async fn assert_window_is_granted<S>(mut peer: Peer, mut channel: Channel<S>, theirs: u32)
where
    S: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
{
    fill_window(&mut peer, theirs).await;
    let received = within(channel.wait()).await;
    assert!(
        matches!(received, Some(ChannelMsg::Data { .. })),
        "{received:?}"
    );
    let (_read, write) = channel.split();
    within(write.grant_window(300)).await.unwrap();
    let granted = packet!(msg::CHANNEL_WINDOW_ADJUST, 0u32, 300u32);
    assert_eq!(peer.receive().await, Some(granted));
    peer.send(packet!(msg::CHANNEL_DATA, theirs, vec![0u8; 301]))
        .await;
    assert_eq!(peer.receive().await, None, "the window was exceeded");
}

#[tokio::test]
async fn server_grants_window_by_the_application() {
    let (peer, channel, theirs, _server) = at_server(Application).await;
    assert_window_is_granted(peer, channel, theirs).await;
}

#[tokio::test]
async fn client_grants_window_by_the_application() {
    let (peer, channel, theirs, _client) = at_client(Application).await;
    assert_window_is_granted(peer, channel, theirs).await;
}

#[tokio::test]
async fn server_closes_by_the_application() {
    let (mut peer, mut channel, theirs, _server) = at_server(Application).await;
    peer.send(packet!(msg::CHANNEL_CLOSE, theirs)).await;
    let received = within(channel.wait()).await;
    assert!(matches!(received, Some(ChannelMsg::Close)), "{received:?}");
    within(channel.exit_status(7)).await.unwrap();
    within(channel.close()).await.unwrap();
    within(channel.exit_status(8)).await.unwrap();
    let status = packet!(msg::CHANNEL_REQUEST, 0u32, "exit-status", 0u8, 7u32);
    assert_eq!(peer.receive().await, Some(status));
    assert_eq!(
        peer.receive().await,
        Some(packet!(msg::CHANNEL_CLOSE, 0u32))
    );
    assert_nothing_follows(&mut peer).await;
}

#[tokio::test]
async fn client_closes_by_the_application() {
    let (mut peer, mut channel, theirs, _client) = at_client(Application).await;
    peer.send(packet!(msg::CHANNEL_CLOSE, theirs)).await;
    let received = within(channel.wait()).await;
    assert!(matches!(received, Some(ChannelMsg::Close)), "{received:?}");
    within(channel.data_bytes(vec![1])).await.unwrap();
    within(channel.close()).await.unwrap();
    within(channel.data_bytes(vec![2])).await.unwrap();
    let data = packet!(msg::CHANNEL_DATA, 0u32, vec![1u8]);
    assert_eq!(peer.receive().await, Some(data));
    assert_eq!(
        peer.receive().await,
        Some(packet!(msg::CHANNEL_CLOSE, 0u32))
    );
    assert_nothing_follows(&mut peer).await;
}

/// A request that the peer sent before it knew of CHANNEL_CLOSE has no answer.
#[tokio::test]
async fn server_answers_no_request_after_its_close() {
    let (mut peer, channel, theirs, _server) = at_server(Application).await;
    within(channel.close()).await.unwrap();
    assert_eq!(
        peer.receive().await,
        Some(packet!(msg::CHANNEL_CLOSE, 0u32))
    );
    peer.send(packet!(msg::CHANNEL_REQUEST, theirs, "unknown", 1u8))
        .await;
    assert_nothing_follows(&mut peer).await;
}

#[tokio::test]
async fn library_grants_and_closes_by_default() {
    let (mut peer, _channel, theirs, _server) = at_server(Library).await;
    fill_window(&mut peer, theirs).await;
    let granted = peer.expect(msg::CHANNEL_WINDOW_ADJUST).await;
    assert_eq!(granted, packet!(msg::CHANNEL_WINDOW_ADJUST, 0u32, WINDOW));
    peer.send(packet!(msg::CHANNEL_CLOSE, theirs)).await;
    assert_eq!(
        peer.receive().await,
        Some(packet!(msg::CHANNEL_CLOSE, 0u32))
    );

    let (mut peer, _channel, theirs, _client) = at_client(Library).await;
    fill_window(&mut peer, theirs).await;
    peer.expect(msg::CHANNEL_WINDOW_ADJUST).await;
    peer.send(packet!(msg::CHANNEL_CLOSE, theirs)).await;
    assert_eq!(
        peer.receive().await,
        Some(packet!(msg::CHANNEL_CLOSE, 0u32))
    );
}
