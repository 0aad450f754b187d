//! A client learns why a server did not open its channel (RFC 4254 §5.1).

use super::*;
use crate::ChannelOpenFailure;
use crate::keys::PublicKeyOrCertificate;

struct Client;

impl client::Handler for Client {
    type Error = Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// Refuses the channel that a client opens, in these words.
async fn refuse(peer: &mut Peer, words: &str) {
    let open = peer.expect(msg::CHANNEL_OPEN).await;
    let number = u32::from_be_bytes(open[12..16].try_into().unwrap());
    let connect_failed = ChannelOpenFailure::ConnectFailed.code();
    peer.send(packet!(
        msg::CHANNEL_OPEN_FAILURE,
        number,
        connect_failed,
        words,
        "en"
    ))
    .await;
}

#[tokio::test]
async fn the_error_has_the_description() {
    let (mut peer, client) = Peer::of_client(client::Config::default(), Client).await;
    let (opened, ()) = within(async {
        tokio::join!(
            client.channel_open_session(),
            refuse(&mut peer, "no route to host")
        )
    })
    .await;
    let Err(Error::ChannelOpenFailure(failure)) = opened else {
        panic!("it was opened");
    };
    assert_eq!((failure.code(), failure.description()), (2, "no route to host"));
}
