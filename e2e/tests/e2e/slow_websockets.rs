//! A WebSocket client that sends a byte a second: it is alive, and costs nobody else anything.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bastion_e2e::{Bastion, Setting, default_timeout, eventually};
use bastion_operator::api::{Phase, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::sleep;

/// The pace of the client.
const SECOND: Duration = Duration::from_secs(1);
/// Within this time a silent network is shown as lost.
const NETWORK_LOST: Duration = Duration::from_secs(30);
/// Within this time a request header must be complete, and a little more for a busy machine.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection whose bytes the test writes one by one.
struct SlowClient {
    writer: OwnedWriteHalf,
    received: Arc<Mutex<Vec<u8>>>,
}

impl SlowClient {
    async fn connect(bastion: &Bastion) -> Self {
        let stream = TcpStream::connect(bastion.gateway.web).await.expect("a connection");
        let (mut reader, writer) = stream.into_split();
        let received = Arc::<Mutex<Vec<u8>>>::default();
        let all = received.clone();
        tokio::spawn(async move {
            let mut bytes = vec![0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut bytes).await {
                all.lock().expect("no reader panics").extend_from_slice(&bytes[..length]);
            }
        });
        Self { writer, received }
    }

    async fn sends(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).await.expect("the gateway reads");
    }

    async fn receives(&self, text: &str) {
        eventually(default_timeout(), text, async || {
            let received = String::from_utf8_lossy(&self.received.lock().expect("no reader panics")).into_owned();
            if received.contains(text) { Ok(()) } else { Err(received) }
        })
        .await;
    }
}

/// A request for a web terminal, as a proxy passes it on.
fn request(bastion: &Bastion) -> String {
    format!(
        "GET /terminal/v1/connect?target=web-1&cols=100&rows=30 HTTP/1.1\r\nHost: bastion\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: terminal.bastion.dev\r\nX-Forwarded-For: 203.0.113.9\r\nAuthorization: Bearer {}\r\n\r\n",
        bastion.namespace.control_plane.person_token()
    )
}

/// A frame of the shell (RFC 6455, section 5.2), masked with zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(1 + text.len()).expect("a short frame");
    [&[0x82, 0x80 | length, 0, 0, 0, 0, 0], text.as_bytes()].concat()
}

async fn bastion() -> Bastion {
    Bastion::in_setting(&Setting::default(), async |namespace, _| {
        namespace.person().await;
    })
    .await
}

#[tokio::test]
async fn a_page_that_sends_a_byte_a_second_keeps_its_session_and_loses_it_when_it_is_silent() {
    let bastion = bastion().await;
    let mut alice = bastion.open("alice").await;
    let mut page = SlowClient::connect(&bastion).await;
    page.sends(request(&bastion).as_bytes()).await;
    page.receives("101 Switching Protocols").await;
    let session = bastion.watch.started("person").await;
    // The frame takes longer than any silence that ends a session, and no pong fits into the middle of it.
    for byte in frame("echo answer $((6 * 7))     \r") {
        page.sends(&[byte]).await;
        sleep(SECOND).await;
        assert_eq!(bastion.watch.phase(&session), Phase::Active);
    }
    page.receives("answer 42").await;
    alice.still_answers().await;
    // From now on it answers no ping.
    let silent = Instant::now();
    bastion.watch.ended_within(NETWORK_LOST, &session, Reason::NetworkLost).await;
    eprintln!("the silent page was shown as lost after {:?}", silent.elapsed());
}

#[tokio::test]
async fn a_request_that_comes_a_byte_a_second_gets_no_terminal() {
    let bastion = bastion().await;
    let mut page = SlowClient::connect(&bastion).await;
    let start = Instant::now();
    for byte in request(&bastion).into_bytes() {
        if page.writer.write_all(&[byte]).await.is_err() {
            break;
        }
        assert!(start.elapsed() < HEADER_TIMEOUT, "it is still read");
        sleep(SECOND).await;
    }
    assert!(page.received.lock().expect("no reader panics").is_empty());
}
