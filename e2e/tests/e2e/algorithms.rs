//! The algorithms that the gateway offers, read from its KEXINIT (RFC 4253, section 7.1) as ssh-audit does.

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use bastion_e2e::Bastion;

const CLIENT: &str = "kex-strict-c-v00@openssh.com";
const SERVER: &str = "kex-strict-s-v00@openssh.com";
const CIPHERS: &[&str] = &["aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"];
const MACS: &[&str] = &["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"];
const KEX: &[&str] = &["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"];

/// The name-lists of a KEXINIT that both directions have alike.
#[derive(Debug)]
struct Offer {
    key_exchange: Vec<String>,
    /// What stands among the key exchange methods and is none: strict key exchange, and the wish for EXT_INFO.
    extensions: Vec<String>,
    host_keys: Vec<String>,
    ciphers: Vec<String>,
    macs: Vec<String>,
    compression: Vec<String>,
}

impl Offer {
    /// Exchanges identification strings with the other side, and reads its first packet.
    async fn of(stream: TcpStream) -> Self {
        let mut stream = BufReader::new(stream);
        stream.write_all(b"SSH-2.0-audit\r\n").await.expect("a connection");
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("an identification string");
        assert!(line.starts_with("SSH-2.0-"), "{line:?}");
        let length = stream.read_u32().await.expect("a packet's length");
        assert!(length < 35_000, "RFC 4253, section 6.1: {length}");
        let padding = stream.read_u8().await.expect("the length of the padding");
        let mut payload = vec![0; length as usize - 1];
        stream.read_exact(&mut payload).await.expect("a packet");
        payload.truncate(payload.len() - usize::from(padding));
        Self::parse(&payload)
    }

    fn parse(payload: &[u8]) -> Self {
        assert_eq!(payload[0], 20, "SSH_MSG_KEXINIT");
        let mut rest = &payload[17..];
        let lists: [Vec<String>; 10] = std::array::from_fn(|_| name_list(&mut rest));
        let [methods, host_keys, to_server, to_client, macs, macs_back, compression, compression_back, speech, answer] =
            lists;
        assert_eq!((&to_server, &macs, &compression), (&to_client, &macs_back, &compression_back), "both directions");
        assert!(speech.is_empty() && answer.is_empty(), "languages: {speech:?}, {answer:?}");
        let is_extension = |name: &String| name.starts_with("kex-strict-") || name.starts_with("ext-info-");
        let (extensions, key_exchange) = methods.into_iter().partition(is_extension);
        Self { key_exchange, extensions, host_keys, ciphers: to_server, macs, compression }
    }

    /// That it is what docs/security.md promises, with nothing besides.
    fn assert_modern(&self, strict: &str) {
        assert_eq!(self.key_exchange, KEX);
        assert!(self.extensions.iter().any(|it| it == strict), "{strict} is among {:?}", self.extensions);
        assert_eq!(self.host_keys, ["ssh-ed25519"]);
        assert_eq!(self.ciphers, CIPHERS);
        assert_eq!(self.macs, MACS);
        assert_eq!(self.compression, ["none"]);
    }
}

/// Takes a name-list from the front (RFC 4251, section 5).
fn name_list(rest: &mut &[u8]) -> Vec<String> {
    let (length, behind) = rest.split_first_chunk().expect("a length");
    let (names, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
    *rest = behind;
    let names = std::str::from_utf8(names).expect("names in ASCII");
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn users_are_offered_modern_algorithms_only() {
    let bastion = Bastion::up().await;
    let stream = TcpStream::connect(bastion.gateway.address).await.expect("a connection");
    Offer::of(stream).await.assert_modern(SERVER);
}

#[tokio::test]
async fn targets_are_offered_modern_algorithms_only() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let bastion = Bastion::with(async |namespace, sshd| {
        namespace.target_with("listener", sshd, json!({"port": port})).await;
    })
    .await;
    let ssh = bastion.ssh("alice:listener").await.command("true").start().await;
    let (stream, _) = listener.accept().await.expect("the gateway's connection");
    Offer::of(stream).await.assert_modern(CLIENT);
    drop(ssh);
}
