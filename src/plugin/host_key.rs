//! Reads the gateways' host key from the cluster, so that no key is trusted on first use.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::Api;
use russh::keys::ssh_key::{HashAlg, PublicKey};

use crate::api::{HOST_KEY_ALIAS, KNOWN_HOSTS, KNOWN_HOSTS_CONFIG_MAP};
use crate::cluster::code;

/// Writes the published host key into a known_hosts file for ssh, and returns its path.
///
/// # Errors
/// When no key is published, or the key cannot be read. The error says what to do.
pub async fn known_hosts(client: &Client, namespace: &str) -> anyhow::Result<PathBuf> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = maps.get(KNOWN_HOSTS_CONFIG_MAP).await.map_err(|error| match code(&error) {
        Some(404) => anyhow!(
            "there is no ConfigMap {KNOWN_HOSTS_CONFIG_MAP} in namespace {namespace}, where a gateway publishes its host \
             key when it starts; name the bastion's namespace with -n, or ask an administrator of the bastion"
        ),
        Some(403) => anyhow!(
            "you may not get the ConfigMap {KNOWN_HOSTS_CONFIG_MAP} in namespace {namespace}, which has the gateway's host \
             key; have the Role bastion-ssh bound to you"
        ),
        _ => anyhow::Error::new(error).context(format!("the ConfigMap {KNOWN_HOSTS_CONFIG_MAP} cannot be read")),
    })?;
    let line = map.data.as_ref().and_then(|data| data.get(KNOWN_HOSTS)).map(|line| line.trim());
    let key = line.and_then(host_key).with_context(|| {
        format!("the ConfigMap {KNOWN_HOSTS_CONFIG_MAP} in namespace {namespace} holds no host key of {HOST_KEY_ALIAS}")
    })?;
    // The name contains the fingerprint, so a file never changes while another ssh reads it.
    let name = format!("known_hosts-{}", hex(key.fingerprint(HashAlg::Sha256).as_bytes()));
    let path = cache_folder()?.join(name);
    let text = format!("{HOST_KEY_ALIAS} {}\n", key.to_openssh()?);
    write(&path, &text).with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// Returns the key of a known_hosts line, if the line is for the gateways.
fn host_key(line: &str) -> Option<PublicKey> {
    let (host, key) = line.split_once(' ')?;
    PublicKey::from_openssh(key).ok().filter(|_| host == HOST_KEY_ALIAS && !line.contains('\n'))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Returns the folder of the known_hosts files.
fn cache_folder() -> anyhow::Result<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let Some(base) = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache"))) else {
        bail!("no folder for the gateway's host key; set HOME or XDG_CACHE_HOME");
    };
    Ok(base.join("kubectl-bastion"))
}

/// Writes a file atomically.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_added_extension(std::process::id().to_string());
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    fs::rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[rstest]
    #[case(format!("bastion-gateway {KEY}"), true)]
    #[case(format!("* {KEY}"), false)]
    #[case(format!("@cert-authority * {KEY}"), false)]
    #[case(format!("bastion-gateway {KEY}\n* {KEY}"), false)]
    #[case(KEY.to_owned(), false)]
    #[case("bastion-gateway nonsense".to_owned(), false)]
    fn only_a_single_key_of_the_gateways_is_accepted(#[case] line: String, #[case] expected: bool) {
        assert_eq!(host_key(&line).is_some(), expected);
    }
}
