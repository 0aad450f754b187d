//! The host key that all gateways share: a Secret holds it, and a ConfigMap publishes its public half.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use russh::keys::ssh_key::{Algorithm, LineEnding, PrivateKey};
use tracing::info;

use crate::api::{HOST_KEY_ALIAS, KNOWN_HOSTS, KNOWN_HOSTS_CONFIG_MAP};
use crate::cluster::{START_TIMEOUT, with_retries};

/// How often the gateway tries again while other gateways write the same object.
const ATTEMPTS: usize = 3;
/// The name of the Secret that holds the host key.
pub const HOST_KEY_SECRET: &str = "bastion-host-key";
const PRIVATE_KEY: &str = "ssh-privatekey";
const PUBLIC_KEY: &str = "ssh-publickey";

/// Returns the host key in the Secret. The first gateway that finds no Secret creates it.
///
/// # Errors
/// Fails when the Secret can be neither read nor created, or holds no usable key.
pub async fn load_or_create(client: Client, namespace: &str) -> anyhow::Result<PrivateKey> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let context = || format!("Secret {HOST_KEY_SECRET} in namespace {namespace}");
    for _ in 0..ATTEMPTS {
        let existing = with_retries(START_TIMEOUT, || api.get_opt(HOST_KEY_SECRET)).await;
        if let Some(secret) = existing.with_context(context)? {
            return parse(&secret).with_context(context);
        }
        let (params, new) = (PostParams::default(), new_secret()?);
        match with_retries(START_TIMEOUT, || api.create(&params, &new)).await {
            Ok(secret) => {
                info!(secret = HOST_KEY_SECRET, "created the host key");
                return parse(&secret).with_context(context);
            }
            // Another gateway created it first; read that key.
            Err(error) if error.code() == Some(409) => {}
            Err(error) => return Err(error).with_context(context),
        }
    }
    bail!("{} was deleted {ATTEMPTS} times while the gateway read it; check what deletes it, then restart", context())
}

/// Writes the host key's public half to the ConfigMap, as a line of a `known_hosts` file.
///
/// # Errors
/// Fails when the ConfigMap can be neither read nor written.
pub async fn publish(client: Client, namespace: &str, key: &PrivateKey) -> anyhow::Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let context = || format!("ConfigMap {KNOWN_HOSTS_CONFIG_MAP} in namespace {namespace}");
    let line = format!("{HOST_KEY_ALIAS} {}\n", key.public_key().to_openssh()?);
    let data = Some(BTreeMap::from([(KNOWN_HOSTS.to_owned(), line)]));
    let params = PostParams::default();
    for _ in 0..ATTEMPTS {
        let existing = with_retries(START_TIMEOUT, || api.get_opt(KNOWN_HOSTS_CONFIG_MAP)).await;
        let written = match existing.with_context(context)? {
            Some(map) if map.data == data => return Ok(()),
            Some(map) => {
                let map = ConfigMap { data: data.clone(), ..map };
                with_retries(START_TIMEOUT, || api.replace(KNOWN_HOSTS_CONFIG_MAP, &params, &map)).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(KNOWN_HOSTS_CONFIG_MAP.to_owned()), ..ObjectMeta::default() };
                let map = ConfigMap { metadata, data: data.clone(), ..ConfigMap::default() };
                with_retries(START_TIMEOUT, || api.create(&params, &map)).await
            }
        };
        match written {
            Ok(_) => return Ok(()),
            // Another gateway changed it meanwhile; compare again.
            Err(error) if error.code() == Some(409) => {}
            Err(error) => return Err(error).with_context(context),
        }
    }
    bail!("{} changed {ATTEMPTS} times while the gateway wrote it", context())
}

fn parse(secret: &Secret) -> anyhow::Result<PrivateKey> {
    let data = secret.data.as_ref().and_then(|data| data.get(PRIVATE_KEY));
    let Some(ByteString(bytes)) = data else {
        bail!("it has no key {PRIVATE_KEY}; delete the Secret and restart the gateways for a new host key");
    };
    PrivateKey::from_openssh(bytes)
        .with_context(|| format!("{PRIVATE_KEY} is not an OpenSSH private key without a passphrase"))
}

fn new_secret() -> anyhow::Result<Secret> {
    let key = PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?;
    let public = key.public_key().to_openssh()?;
    let private = key.to_openssh(LineEnding::LF)?;
    Ok(Secret {
        metadata: ObjectMeta { name: Some(HOST_KEY_SECRET.to_owned()), ..ObjectMeta::default() },
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([
            (PRIVATE_KEY.to_owned(), ByteString(private.as_bytes().to_vec())),
            (PUBLIC_KEY.to_owned(), ByteString(public.into_bytes())),
        ])),
        ..Secret::default()
    })
}
