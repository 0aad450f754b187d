//! SSH packets without encryption (RFC 4253, section 6), on one end of a stream in memory.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;

/// More than the peer ever has on its way here: its loops are never to wait for us.
const ROOM: usize = 16 * 1024 * 1024;
/// How long, on the runtime's own clock, the gateway may take to read something. The clock moves when all else waits.
const PATIENCE: Duration = Duration::from_secs(60);

pub const KEXINIT: u8 = 20;
pub const NEWKEYS: u8 = 21;
const SERVICE_REQUEST: u8 = 5;
const SERVICE_ACCEPT: u8 = 6;
const USERAUTH_REQUEST: u8 = 50;
const USERAUTH_SUCCESS: u8 = 52;

/// One end.
pub struct Wire {
    stream: DuplexStream,
    received: Vec<u8>,
    greeted: bool,
    /// Whether the other end is gone.
    pub over: bool,
}

/// The payload of a packet that is being written.
#[derive(Clone, Debug, Default)]
pub struct Payload(pub Vec<u8>);

impl Payload {
    pub fn new(message: u8) -> Self {
        Self(vec![message])
    }

    pub fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub fn string(self, text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        let mut it = self.number(u32::try_from(text.len()).expect("a short text"));
        it.0.extend(text);
        it
    }
}

/// A packet that is being read.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn number(&mut self) -> u32 {
        let (number, rest) = self.0.split_first_chunk().expect("a number");
        self.0 = rest;
        u32::from_be_bytes(*number)
    }

    pub fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().expect("a byte");
        self.0 = rest;
        *byte
    }

    pub fn string(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }
}

impl Wire {
    /// One end, and the gateway's.
    pub fn new() -> (Self, DuplexStream) {
        let (stream, other) = duplex(ROOM);
        (Self { stream, received: Vec::new(), greeted: false, over: false }, other)
    }

    /// Signs in as a user's client does.
    pub async fn sign_in(&mut self) {
        self.greet("client").await;
        self.send(Payload::new(NEWKEYS)).await;
        self.send(Payload::new(SERVICE_REQUEST).string("ssh-userauth")).await;
        self.expect(SERVICE_ACCEPT).await;
        let request = Payload::new(USERAUTH_REQUEST).string("alice:web-1").string("ssh-connection").string("none");
        self.send(request).await;
        self.expect(USERAUTH_SUCCESS).await;
    }

    /// Lets the gateway sign in, as a target does. With no key exchange, russh's client awaits no NEWKEYS, and takes one for
    /// a packet out of turn.
    pub async fn let_in(&mut self) {
        self.greet("target").await;
        self.expect(SERVICE_REQUEST).await;
        self.send(Payload::new(SERVICE_ACCEPT).string("ssh-userauth")).await;
        self.expect(USERAUTH_REQUEST).await;
        self.send(Payload::new(USERAUTH_SUCCESS)).await;
    }

    async fn greet(&mut self, who: &str) {
        self.write(format!("SSH-2.0-{who}\r\n").as_bytes()).await;
        let mut offer = Payload::new(KEXINIT);
        offer.0.extend([0; 16]);
        for names in ["none", "ssh-ed25519", "none", "none", "none", "none", "none", "none", "", ""] {
            offer = offer.string(names);
        }
        self.send(offer.byte(0).number(0)).await;
        self.expect(KEXINIT).await;
        self.expect(NEWKEYS).await;
    }

    /// Sends a packet.
    pub async fn send(&mut self, payload: Payload) {
        let payload = payload.0;
        let padding = 8 - (payload.len() + 5) % 8;
        let padding = if padding < 4 { padding + 8 } else { padding };
        let mut packet = u32::try_from(payload.len() + padding + 1).expect("a short packet").to_be_bytes().to_vec();
        packet.push(padding as u8);
        packet.extend(&payload);
        packet.resize(packet.len() + padding, 0);
        self.write(&packet).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        match timeout(PATIENCE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.over = true,
            Err(_) => panic!("the gateway's loop stands still"),
        }
    }

    async fn expect(&mut self, message: u8) {
        loop {
            if let Some(packet) = self.packet() {
                assert_eq!(packet[0], message, "{packet:?}");
                return;
            }
            assert!(timeout(PATIENCE, self.fill()).await.expect("an answer"), "the gateway left");
        }
    }

    /// Reads what there is, without waiting.
    pub async fn packets(&mut self) -> Vec<Vec<u8>> {
        while let Ok(true) = timeout(Duration::ZERO, self.fill()).await {}
        std::iter::from_fn(|| self.packet()).collect()
    }

    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.received).await;
        self.over |= !matches!(read, Ok(1..));
        !self.over
    }

    fn packet(&mut self) -> Option<Vec<u8>> {
        if !self.greeted {
            let end = self.received.iter().position(|byte| *byte == b'\n')?;
            self.received.drain(..=end);
            self.greeted = true;
        }
        let length = u32::from_be_bytes(*self.received.first_chunk()?) as usize;
        if self.received.len() < 4 + length {
            return None;
        }
        let packet: Vec<u8> = self.received.drain(..4 + length).collect();
        let padding = usize::from(packet[4]);
        Some(packet[5..packet.len() - padding].to_vec())
    }
}
