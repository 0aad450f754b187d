//! The self-test: creates a user and a target, opens a session, waits for its end, and deletes what it created.

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

use super::{client, target};
use crate::api::{
    BastionSession, BastionTarget, BastionUser, KNOWN_HOSTS, KNOWN_HOSTS_CONFIG_MAP, Reason, credentials_namespace,
};
use crate::cluster::{Guarded, split};
use crate::gateway::SignInName;

/// The user's subject and group, and the target's group. While the test runs, the chart grants the user group `connect` on the
/// target group, and this program the right to create such a user.
const GROUP: &str = "bastion-self-test";

/// The only login of the target.
const LOGIN: &str = "self-test";

/// The timeout of the whole test. Gateways must see the new user, and the session must be shown as ended. The cluster must
/// also count sessions for their ResourceQuota, which takes half a minute after the CRDs are installed.
const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// The delay between two attempts.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The time after which the user expires, in case the test is killed before it deletes the user.
const EXPIRES_AFTER: Duration = Duration::from_mins(10);

/// The settings of `bastion self-test`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The gateways, as HOST:PORT.
    pub gateway: String,
    /// The IP address at which gateways connect to this program.
    pub address: String,
}

/// Opens a session, and checks its output and its end.
///
/// # Errors
/// The first step of the test that failed.
pub async fn run(api: Client, settings: Settings) -> anyhow::Result<()> {
    let fixture = Fixture::set_up(api, settings).await?;
    let tested = fixture.test().await;
    fixture.clean_up().await;
    tested
}

/// The temporary objects of the test.
struct Fixture {
    api: Client,
    settings: Settings,
    /// The name of the user, the target and its Secret.
    name: String,
    user_key: PrivateKey,
    answer: String,
}

impl Fixture {
    async fn set_up(api: Client, settings: Settings) -> anyhow::Result<Self> {
        let number: u64 = rand::rng().random();
        let (name, answer) = (format!("self-test-{number:016x}"), format!("the target's answer {number:016x}"));
        let (user_key, target_key) = (new_key()?, new_key()?);
        let target = target::serve(target_key.public_key().clone(), answer.clone()).await?;
        let fixture = Self { api, settings, name, user_key, answer };
        let created = fixture.create_objects(&target_key, &target).await;
        if created.is_err() {
            fixture.clean_up().await;
        }
        created.map(|()| fixture)
    }

    async fn create_objects(&self, target_key: &PrivateKey, target: &target::Target) -> anyhow::Result<()> {
        let Self { settings, name, .. } = self;
        let secret = json!({"stringData": {"ssh-privatekey": &*target_key.to_openssh(LineEnding::LF)?}});
        self.create::<Secret>(&credentials_namespace(&settings.namespace), secret).await?;
        let target = json!({"spec": {"description": "Made by bastion self-test", "address": settings.address, "port": target.port,
            "hostKeys": [target.host_key.to_openssh()?], "logins": [LOGIN], "groups": [GROUP], "credentials": {"privateKey": {"name": name}}}});
        self.create::<BastionTarget>(&settings.namespace, target).await?;
        let expires = jiff::Timestamp::now() + EXPIRES_AFTER;
        let key = self.user_key.public_key().to_openssh()?;
        let user = json!({"spec": {"subject": GROUP, "groups": [GROUP], "publicKeys": [key], "expires": expires}});
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
        let created = objects.create(&PostParams::default(), &serde_json::from_value(object)?).await;
        created.map(drop).with_context(|| format!("{} {} cannot be created", K::kind(&()), self.name))
    }

    async fn test(&self) -> anyhow::Result<()> {
        let host_key = self.host_key().await?;
        let deadline = Instant::now() + TEST_TIMEOUT;
        let output = loop {
            match client::run(&self.settings.gateway, &self.sign_in_name(), &self.user_key, &host_key).await {
                Ok(output) => break output,
                Err(error) if Instant::now() > deadline => return Err(error).context("no session"),
                // The gateways see the new user and its rights a moment later.
                Err(error) => info!(error = format!("{error:#}"), "no session yet; retrying"),
            }
            sleep(RETRY_DELAY).await;
        };
        ensure!(output == self.answer, "the command's output is {output:?}, not {:?}", self.answer);
        info!("session opened, and the target's answer received");
        self.wait_for_end(deadline).await
    }

    fn sign_in_name(&self) -> String {
        SignInName::new(&self.name, Some(LOGIN), Some(&self.name)).to_string()
    }

    async fn host_key(&self) -> anyhow::Result<PublicKey> {
        let maps: Api<ConfigMap> = Api::namespaced(self.api.clone(), &self.settings.namespace);
        let map = maps.get(KNOWN_HOSTS_CONFIG_MAP).await.context("no gateway has published its host key")?;
        let line = map.data.as_ref().and_then(|data| data.get(KNOWN_HOSTS)).map(String::as_str).unwrap_or_default();
        let key = line.trim().split_once(' ').map(|(_, key)| PublicKey::from_openssh(key));
        key.context("the published host key is empty")?.context("the published host key cannot be parsed")
    }

    /// Waits until the session's object has ended with the reason `UserExit`.
    async fn wait_for_end(&self, deadline: Instant) -> anyhow::Result<()> {
        let sessions: Api<Guarded<BastionSession>> = Api::namespaced(self.api.clone(), &self.settings.namespace);
        let own = ListParams::default().fields(&format!("spec.user.name={}", self.name));
        loop {
            let (seen, _) = split(sessions.list(&own).await.context("the sessions cannot be listed")?);
            let ended = seen.iter().find(|session| session.phase().is_final());
            if let Some(session) = ended {
                let reason = session.status.as_ref().and_then(|status| status.reason.clone()).unwrap_or_default();
                ensure!(
                    reason == Reason::UserExit.as_str(),
                    "session {} ended with {reason}, not UserExit",
                    session.name_any()
                );
                info!(session = session.name_any(), "session ended: UserExit");
                return Ok(());
            }
            if Instant::now() > deadline {
                let names: Vec<_> =
                    seen.iter().map(|session| format!("{} {}", session.name_any(), session.phase())).collect();
                bail!("the session has not ended; the sessions of the user are {names:?}");
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn clean_up(&self) {
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
            warn!(%error, "{} {} not deleted; delete it yourself", K::kind(&()), self.name);
        }
    }
}

fn new_key() -> anyhow::Result<PrivateKey> {
    Ok(PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519)?)
}
