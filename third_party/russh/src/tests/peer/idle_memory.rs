//! An idle session takes little memory.

use super::*;
use crate::ChannelId;
use crate::ssh_read::SshRead;

/// Needs much memory while it handles data.
struct Deep;

const DEPTH: usize = 100_000;

impl server::Handler for Deep {
    type Error = Error;

    async fn data(
        &mut self,
        _: ChannelId,
        data: &[u8],
        _: &mut server::Session,
    ) -> Result<(), Error> {
        let mut room = [0; DEPTH];
        room[data.len()] = 1;
        tokio::task::yield_now().await;
        std::hint::black_box(&room);
        Ok(())
    }
}

/// Returns the size of the future that a function makes, without calling it.
fn future_len<A, F>(_: impl FnOnce(A) -> F) -> usize {
    size_of::<F>()
}

/// A queue keeps room for 32 messages.
#[test]
fn messages_are_small() {
    for len in [size_of::<client::Msg>(), size_of::<server::Msg>()] {
        assert!(len <= 192, "{len} bytes");
    }
}

#[test]
fn session_keeps_no_room_for_its_handler() {
    let len = future_len(
        |(session, stream): (server::Session, SshRead<DuplexStream>)| session.run(stream, Deep),
    );
    assert!(len < DEPTH, "{len} bytes");
}
