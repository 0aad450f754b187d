//! `bastion self-test`: one session, from a user of its own to a target of its own, through the gateways as everybody
//! reaches them. What it makes for that it clears away.

mod client;
mod target;

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use rand::RngExt;
use russh::keys::ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::api::{
    BastionSession, BastionTarget, BastionUser, KNOWN_HOSTS, KNOWN_HOSTS_CONFIG_MAP, Reason, credentials_namespace,
};
use crate::cluster::{Guarded, split};
use crate::gateway::SignInName;

/// The group of targets and of users between which the chart grants `connect` for the time of the test.
const GROUP: &str = "bastion-self-test";

/// The only login of the target.
const LOGIN: &str = "self-test";

/// How long the gateways may take to hear of the new user, the cluster to count sessions for their quota (half a minute after
/// the CRDs are installed), and the session's end to be shown.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// The user expires by itself where the test is killed before it clears away.
const EXPIRES_AFTER: Duration = Duration::from_mins(10);

/// What is tested, and from where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// Where the gateways are, as HOST:PORT.
    pub gateway: String,
    /// Where gateways reach this program.
    pub address: String,
}

/// Opens a session, and checks what its user and the cluster see of it.
///
/// # Errors
/// What did not go as it should.
pub async fn run(api: Client, settings: Settings) -> anyhow::Result<()> {
    let stage = Stage::set_up(api, settings).await?;
    let tested = stage.test().await;
    stage.clear_away().await;
    tested
}

/// What the test made for itself.
struct Stage {
    api: Client,
    settings: Settings,
    /// Of the user, the target and its Secret alike.
    name: String,
    user_key: PrivateKey,
    answer: String,
}

impl Stage {
    async fn set_up(api: Client, settings: Settings) -> anyhow::Result<Self> {
        let number: u64 = rand::rng().random();
        let (name, answer) = (format!("self-test-{number:016x}"), format!("the target's answer {number:016x}"));
        let (user_key, target_key) = (new_key()?, new_key()?);
        let target = target::serve(target_key.public_key().clone(), answer.clone()).await?;
        let stage = Self { api, settings, name, user_key, answer };
        let made = stage.make(&target_key, &target).await;
        if made.is_err() {
            stage.clear_away().await;
        }
        made.map(|()| stage)
    }

    async fn make(&self, target_key: &PrivateKey, target: &target::Target) -> anyhow::Result<()> {
        let Self { settings, name, .. } = self;
        let secret = json!({"stringData": {"ssh-privatekey": &*target_key.to_openssh(LineEnding::LF)?}});
        self.create::<Secret>(&credentials_namespace(&settings.namespace), secret).await?;
        let target = json!({"spec": {"description": "Made by bastion self-test", "address": settings.address, "port": target.port,
            "hostKeys": [target.host_key.to_openssh()?], "logins": [LOGIN], "groups": [GROUP], "credentials": {"privateKey": {"name": name}}}});
        self.create::<BastionTarget>(&settings.namespace, target).await?;
        let expires = jiff::Timestamp::now() + EXPIRES_AFTER;
        let key = self.user_key.public_key().to_openssh()?;
        let user = json!({"spec": {"groups": [GROUP], "publicKeys": [key], "expires": expires}});
        self.create::<BastionUser>(&settings.namespace, user).await
    }

    async fn create<K>(&self, namespace: &str, mut object: Value) -> anyhow::Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned + serde::Serialize,
    {
        object["apiVersion"] = json!(K::api_version(&()));
        object["kind"] = json!(K::kind(&()));
        object["metadata"] = json!({"name": self.name});
        let objects: Api<K> = Api::namespaced(self.api.clone(), namespace);
        let made = objects.create(&PostParams::default(), &serde_json::from_value(object)?).await;
        made.map(drop).with_context(|| format!("{} {} cannot be made", K::kind(&()), self.name))
    }

    async fn test(&self) -> anyhow::Result<()> {
        let host_key = self.host_key().await?;
        let deadline = Instant::now() + PATIENCE;
        let said = loop {
            match client::run(&self.settings.gateway, &self.sign_in_name(), &self.user_key, &host_key).await {
                Ok(said) => break said,
                Err(error) if Instant::now() > deadline => return Err(error).context("no session"),
                // The gateways hear of the user a moment later, and of the right too.
                Err(error) => info!(error = format!("{error:#}"), "no session yet; trying again"),
            }
            sleep(PAUSE).await;
        };
        ensure!(said == self.answer, "through the gateway came {said:?} in place of {:?}", self.answer);
        info!("a session was opened, and the target's answer came through");
        self.see_the_end(deadline).await
    }

    fn sign_in_name(&self) -> String {
        SignInName::new(&self.name, Some(LOGIN), Some(&self.name)).to_string()
    }

    async fn host_key(&self) -> anyhow::Result<PublicKey> {
        let maps: Api<ConfigMap> = Api::namespaced(self.api.clone(), &self.settings.namespace);
        let map = maps.get(KNOWN_HOSTS_CONFIG_MAP).await.context("no gateway has published its host key")?;
        let line = map.data.as_ref().and_then(|data| data.get(KNOWN_HOSTS)).map(String::as_str).unwrap_or_default();
        let key = line.trim().split_once(' ').map(|(_, key)| PublicKey::from_openssh(key));
        key.context("the published host key is none")?.context("the published host key cannot be read")
    }

    /// What `kubectl get bastionsessions` shows.
    async fn see_the_end(&self, deadline: Instant) -> anyhow::Result<()> {
        let sessions: Api<Guarded<BastionSession>> = Api::namespaced(self.api.clone(), &self.settings.namespace);
        let own = ListParams::default().fields(&format!("spec.user.name={}", self.name));
        loop {
            let (seen, _) = split(sessions.list(&own).await.context("the sessions cannot be listed")?);
            let ended = seen.iter().find(|session| session.phase().is_final());
            if let Some(session) = ended {
                let reason = session.status.as_ref().and_then(|status| status.reason.clone()).unwrap_or_default();
                ensure!(reason == Reason::UserExit.as_str(), "session {} ended as {reason}", session.name_any());
                info!(session = session.name_any(), "the session is shown as ended: UserExit");
                return Ok(());
            }
            if Instant::now() > deadline {
                let names: Vec<_> =
                    seen.iter().map(|session| format!("{} {}", session.name_any(), session.phase())).collect();
                bail!("the session is not shown as ended; there are: {names:?}");
            }
            sleep(PAUSE).await;
        }
    }

    async fn clear_away(&self) {
        let namespace = &self.settings.namespace;
        self.delete::<BastionUser>(namespace).await;
        self.delete::<BastionTarget>(namespace).await;
        self.delete::<Secret>(&credentials_namespace(namespace)).await;
    }

    async fn delete<K>(&self, namespace: &str)
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + DeserializeOwned,
    {
        let objects: Api<K> = Api::namespaced(self.api.clone(), namespace);
        if let Err(error) = objects.delete(&self.name, &DeleteParams::default()).await {
            warn!(%error, "{} {} is left behind; delete it", K::kind(&()), self.name);
        }
    }
}

fn new_key() -> anyhow::Result<PrivateKey> {
    Ok(PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?)
}
