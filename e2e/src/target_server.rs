//! What the targets that run in this process share.

use std::net::SocketAddr;

use russh::keys::ssh_key::PrivateKey;
use russh::server::{Auth, VerifiedPublicKey};
use serde_json::{Value, json};

use crate::namespace::Namespace;
use crate::objects::{bastion_target, merge};
use crate::run::Run;

/// Accepts the key with which bastions of this run sign in to targets.
pub async fn authenticate(key: &VerifiedPublicKey<'_>) -> Result<Auth, russh::Error> {
    let shown = key.public_key.to_openssh()?;
    Ok(if Run::get().await.target_key.public.starts_with(&shown) { Auth::Accept } else { Auth::reject() })
}

/// Makes the server at this address a BastionTarget of this name, with this login, and with this more in its spec.
pub async fn add_target(
    namespace: &Namespace,
    name: &str,
    address: SocketAddr,
    host_key: &PrivateKey,
    login: &str,
    spec: Value,
) {
    let host_key = host_key.public_key().to_openssh().expect("a public key");
    let mut target = bastion_target(name);
    let own = json!({"address": address.ip(), "port": address.port(), "hostKeys": [host_key], "logins": [login]});
    merge(&mut target["spec"], own);
    merge(&mut target["spec"], spec);
    namespace.add(target).await;
}
