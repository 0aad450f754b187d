//! An SSH client that sends messages that a test writes byte by byte, such as no honest client sends.
//! It speaks curve25519-sha256 and aes256-gcm@openssh.com (RFC 4253, 8731, 5647), trusts any host key, and never rekeys.

use std::net::SocketAddr;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::digest::{SHA256, digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const VERSION: &[u8] = b"SSH-2.0-raw";
const TAG: usize = 16;

/// Numbers of messages (RFC 4250, section 4.1.2).
pub mod message {
    pub const IGNORE: u8 = 2;
    pub const DEBUG: u8 = 4;
    pub const UNIMPLEMENTED: u8 = 3;
    pub const SERVICE_REQUEST: u8 = 5;
    pub const SERVICE_ACCEPT: u8 = 6;
    pub const EXT_INFO: u8 = 7;
    pub const KEXINIT: u8 = 20;
    pub const NEWKEYS: u8 = 21;
    pub const KEX_ECDH_INIT: u8 = 30;
    pub const KEX_ECDH_REPLY: u8 = 31;
    pub const USERAUTH_REQUEST: u8 = 50;
    pub const USERAUTH_FAILURE: u8 = 51;
    pub const USERAUTH_SUCCESS: u8 = 52;
    pub const USERAUTH_BANNER: u8 = 53;
    pub const GLOBAL_REQUEST: u8 = 80;
    pub const CHANNEL_OPEN: u8 = 90;
    pub const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
    pub const CHANNEL_OPEN_FAILURE: u8 = 92;
    pub const CHANNEL_WINDOW_ADJUST: u8 = 93;
    pub const CHANNEL_DATA: u8 = 94;
    pub const CHANNEL_CLOSE: u8 = 97;
    pub const CHANNEL_REQUEST: u8 = 98;
    pub const CHANNEL_SUCCESS: u8 = 99;
}

/// Messages that may come at any time and that no test waits for.
const PASSED_OVER: [u8; 6] = [
    message::IGNORE,
    message::DEBUG,
    message::EXT_INFO,
    message::USERAUTH_BANNER,
    message::GLOBAL_REQUEST,
    message::CHANNEL_WINDOW_ADJUST,
];

/// A connection after its key exchange.
pub struct RawClient {
    stream: TcpStream,
    sending: Direction,
    receiving: Direction,
    session_id: Vec<u8>,
}

impl RawClient {
    /// Connects and exchanges keys.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(&[VERSION, b"\r\n"].concat()).await.expect("a connection");
        let server_version = read_version(&mut stream).await;
        let kexinit = kexinit();
        write_clear(&mut stream, &kexinit).await;
        let server_kexinit = read_clear(&mut stream).await;
        let private = PrivateKey::generate(&X25519).expect("a random key");
        let public = private.compute_public_key().expect("its public key");
        write_clear(&mut stream, &[&[message::KEX_ECDH_INIT], text(public.as_ref()).as_slice()].concat()).await;
        let reply = read_clear(&mut stream).await;
        let mut rest = body(&reply, message::KEX_ECDH_REPLY);
        let (host_key, server_public) = (take(&mut rest), take(&mut rest));
        let secret = agree(&private, UnparsedPublicKey::new(&X25519, server_public), "no shared secret", |secret| {
            Ok(mpint(secret))
        });
        let secret = secret.expect("a shared secret");
        let exchanged = [VERSION, &server_version, &kexinit, &server_kexinit, host_key, public.as_ref(), server_public];
        let mut hashed: Vec<u8> = exchanged.into_iter().flat_map(text).collect();
        hashed.extend(&secret);
        let hash = digest(&SHA256, &hashed).as_ref().to_vec();
        write_clear(&mut stream, &[message::NEWKEYS]).await;
        body(&read_clear(&mut stream).await, message::NEWKEYS);
        let derived = |letter: u8| digest(&SHA256, &[&secret, &hash, &[letter][..], &hash].concat());
        let [sending, receiving] = [(b'A', b'C'), (b'B', b'D')]
            .map(|(nonce, key)| Direction::new(derived(nonce).as_ref(), derived(key).as_ref()));
        Self { stream, sending, receiving, session_id: hash }
    }

    /// Sends one message.
    pub async fn send(&mut self, payload: &[u8]) {
        let packet = self.sealed(payload);
        // The next read shows whether the server has closed the connection.
        let _ = self.stream.write_all(&packet).await;
    }

    /// Sends a message this many times at once, and reads nothing. Returns whether the connection is open still.
    pub async fn send_many(&mut self, payload: &[u8], times: usize) -> bool {
        let packets: Vec<u8> = (0..times).flat_map(|_| self.sealed(payload)).collect();
        self.stream.write_all(&packets).await.is_ok()
    }

    /// Returns the packet with a message, for the next place in the stream.
    fn sealed(&mut self, payload: &[u8]) -> Vec<u8> {
        let padding = 16 - (1 + payload.len()) % 16;
        let padding = if padding < 4 { padding + 16 } else { padding };
        let length = u32::try_from(1 + payload.len() + padding).expect("a short message").to_be_bytes();
        let number = u8::try_from(padding).expect("less than 32");
        let mut packet = [&[number], payload, &vec![0; padding]].concat();
        let nonce = self.sending.next_nonce();
        self.sending.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut packet).expect("a sealed packet");
        [&length[..], &packet].concat()
    }

    /// Returns the next message that is not in [`PASSED_OVER`]; `None` when the server has closed the connection.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let payload = self.receive_any().await?;
            if !payload.first().is_some_and(|number| PASSED_OVER.contains(number)) {
                return Some(payload);
            }
        }
    }

    async fn receive_any(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).await.ok()?;
        let mut packet = vec![0; u32::from_be_bytes(length) as usize + TAG];
        self.stream.read_exact(&mut packet).await.ok()?;
        let nonce = self.receiving.next_nonce();
        let plain = self.receiving.key.open_in_place(nonce, Aad::from(length), &mut packet).expect("a sealed packet");
        Some(unpadded(plain))
    }

    /// Requests a sign-in with this key, under the name `algorithm`. `sign` returns the signature with its label.
    /// Returns the answer, or `None` when the server has closed the connection.
    pub async fn sign_in(
        &mut self,
        name: &str,
        algorithm: &str,
        key: &[u8],
        sign: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Option<Vec<u8>> {
        self.send(&[&[message::SERVICE_REQUEST], text(b"ssh-userauth").as_slice()].concat()).await;
        body(&self.receive().await?, message::SERVICE_ACCEPT);
        let mut request = vec![message::USERAUTH_REQUEST];
        request.extend([name, "ssh-connection", "publickey"].iter().flat_map(|it| text(it.as_bytes())));
        request.push(1);
        request.extend([text(algorithm.as_bytes()), text(key)].concat());
        let signature = sign(&[text(&self.session_id), request.clone()].concat());
        request.extend(text(&signature));
        self.send(&request).await;
        self.receive().await
    }

    /// Asks for a channel of this type, which is called `number` here.
    pub async fn open_channel(&mut self, kind: &str, number: u32) {
        let numbers = [number, 1 << 20, 1 << 15].map(u32::to_be_bytes).concat();
        self.send(&[&[message::CHANNEL_OPEN], text(kind.as_bytes()).as_slice(), &numbers].concat()).await;
    }
}

/// One direction's key and the nonce of its next packet.
struct Direction {
    key: LessSafeKey,
    fixed: [u8; 4],
    counter: u64,
}

impl Direction {
    fn new(nonce: &[u8], key: &[u8]) -> Self {
        let (fixed, rest) = nonce.split_first_chunk().expect("a digest");
        let counter = rest.first_chunk().expect("a digest");
        let key = UnboundKey::new(&AES_256_GCM, key).expect("a key");
        Self { key: LessSafeKey::new(key), fixed: *fixed, counter: u64::from_be_bytes(*counter) }
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.fixed);
        bytes[4..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter = self.counter.wrapping_add(1);
        Nonce::assume_unique_for_key(bytes)
    }
}

/// A string as SSH writes it.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("a short one").to_be_bytes(), bytes].concat()
}

/// Takes a string off the beginning.
pub fn take<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (length, behind) = rest.split_first_chunk().expect("a length");
    let (bytes, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
    *rest = behind;
    bytes
}

/// Takes a number off the beginning.
pub fn take_number(rest: &mut &[u8]) -> u32 {
    let (number, behind) = rest.split_first_chunk().expect("a number");
    *rest = behind;
    u32::from_be_bytes(*number)
}

/// Returns what follows the number of a message, which must be `expected`.
pub fn body(payload: &[u8], expected: u8) -> &[u8] {
    let (number, rest) = payload.split_first().expect("a message");
    assert_eq!(*number, expected, "{:?}", String::from_utf8_lossy(payload));
    rest
}

/// A positive number as SSH writes it (RFC 4251, section 5).
fn mpint(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    let sign: &[u8] = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    text(&[sign, bytes].concat())
}

fn kexinit() -> Vec<u8> {
    let cipher = "aes256-gcm@openssh.com";
    let mac = "hmac-sha2-256-etm@openssh.com";
    let lists = ["curve25519-sha256", "ssh-ed25519", cipher, cipher, mac, mac, "none", "none", "", ""];
    let mut payload = vec![message::KEXINIT];
    payload.extend([7; 16]);
    payload.extend(lists.iter().flat_map(|list| text(list.as_bytes())));
    payload.extend([0; 5]);
    payload
}

async fn read_version(stream: &mut TcpStream) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.expect("the server's version"));
    }
    line.truncate(line.len() - 2);
    line
}

async fn write_clear(stream: &mut TcpStream, payload: &[u8]) {
    let padding = 8 - (5 + payload.len()) % 8;
    let padding = if padding < 4 { padding + 8 } else { padding };
    let length = u32::try_from(1 + payload.len() + padding).expect("a short message").to_be_bytes();
    let number = u8::try_from(padding).expect("less than 16");
    stream.write_all(&[&length[..], &[number], payload, &vec![0; padding]].concat()).await.expect("a connection");
}

async fn read_clear(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u32().await.expect("a message");
    let mut packet = vec![0; length as usize];
    stream.read_exact(&mut packet).await.expect("a message");
    unpadded(&packet)
}

fn unpadded(packet: &[u8]) -> Vec<u8> {
    let (padding, rest) = packet.split_first().expect("a padding length");
    let end = rest.len().checked_sub(usize::from(*padding)).expect("its padding");
    rest[..end].to_vec()
}
