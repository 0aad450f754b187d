//! A security key in software, behind an agent that the real `ssh` asks for signatures (PROTOCOL.u2f, PROTOCOL.agent).

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use russh::keys::ssh_key::PublicKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::raw_client::{take, text};
use crate::run::{Run, unique};

const KIND: &str = "sk-ssh-ed25519@openssh.com";
const APPLICATION: &str = "ssh:";
/// What a key says of its user: they have touched it, and have been asked for a PIN.
pub const TOUCHED: u8 = 1;
pub const VERIFIED: u8 = 4;

/// A key, and what signs in its name.
pub struct SecurityKey {
    /// The public key in one line.
    pub public: String,
    /// The file of the public key.
    pub path: PathBuf,
    /// The agent's socket.
    pub agent: PathBuf,
    key: Arc<Ed25519KeyPair>,
    flags: u8,
}

impl SecurityKey {
    /// One whose agent signs with it when it is touched.
    pub async fn new() -> Self {
        Self::saying(TOUCHED).await
    }

    /// One that says this of its user with each signature.
    pub async fn saying(flags: u8) -> Self {
        let key = random();
        let blob = blob(&key);
        Self::signing_with(key, flags, blob).await
    }

    /// One whose agent has another key and signs with that.
    pub async fn forged(public: &Self) -> Self {
        let parsed = PublicKey::from_openssh(&public.public).expect("a public key");
        Self::signing_with(random(), TOUCHED, parsed.to_bytes().expect("a public key")).await
    }

    async fn signing_with(key: Ed25519KeyPair, flags: u8, blob: Vec<u8>) -> Self {
        let base = Run::get().await.dir.join(format!("security-key-{}", unique()));
        let (path, agent) = (base.with_added_extension("pub"), base.with_added_extension("agent"));
        let public = PublicKey::from_bytes(&blob).expect("a public key").to_openssh().expect("a line");
        std::fs::write(&path, format!("{public}\n")).expect("a file");
        let listener = UnixListener::bind(&agent).expect("a socket");
        let key = Arc::new(key);
        let signing = key.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // The client has left when it is over.
                let _ = serve(stream, &signing, flags, &blob).await;
            }
        });
        Self { public, path, agent, key, flags }
    }

    /// Returns the signature of `data` under this label. Flags and counter follow the signature under a security key's
    /// label, and are its last bytes under any other, so that it still verifies.
    pub fn sign(&self, label: &str, data: &[u8]) -> Vec<u8> {
        let (signed, trailer) = assertion(&self.key, self.flags, data);
        let signature = if label.starts_with("sk-") {
            [text(&signed), trailer].concat()
        } else {
            text(&[signed, trailer].concat())
        };
        [text(label.as_bytes()), signature].concat()
    }
}

async fn serve(mut stream: UnixStream, key: &Ed25519KeyPair, flags: u8, blob: &[u8]) -> std::io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let mut request = vec![0; length as usize];
        stream.read_exact(&mut request).await?;
        let answer = match request.split_first() {
            Some((11, _)) => [&[12, 0, 0, 0, 1], text(blob).as_slice(), &text(b"security key")].concat(),
            Some((13, mut rest)) => {
                let (_, data) = (take(&mut rest), take(&mut rest));
                [&[14], text(&signature(key, flags, data)).as_slice()].concat()
            }
            _ => vec![5],
        };
        stream.write_all(&text(&answer)).await?;
    }
}

fn random() -> Ed25519KeyPair {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a random key");
    Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key")
}

fn blob(key: &Ed25519KeyPair) -> Vec<u8> {
    [text(KIND.as_bytes()), text(key.public_key().as_ref()), text(APPLICATION.as_bytes())].concat()
}

fn signature(key: &Ed25519KeyPair, flags: u8, data: &[u8]) -> Vec<u8> {
    let (signed, trailer) = assertion(key, flags, data);
    [text(KIND.as_bytes()), text(&signed), trailer].concat()
}

/// Returns the raw signature, and the flags and counter that it covers.
fn assertion(key: &Ed25519KeyPair, flags: u8, data: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let trailer = [&[flags], 7_u32.to_be_bytes().as_slice()].concat();
    let (application, message) = (digest(&SHA256, APPLICATION.as_bytes()), digest(&SHA256, data));
    let signed = key.sign(&[application.as_ref(), &trailer, message.as_ref()].concat());
    (signed.as_ref().to_vec(), trailer)
}
