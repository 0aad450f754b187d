//! `kubectl bastion report`: what whoever looks into a bug needs to see, in one ZIP file, without secrets.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, LogParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::cli::Report;
use super::output::{Tone, cell};
use super::rights::{Right, failed};
use super::{check, client, output, redact, rights};
use crate::api::{BastionSession, BastionTarget, BastionUser};
use crate::cluster::{Guarded, split};

/// How much of a container's log is taken, from its end of time backwards as far as `--since` says.
const LOG_BYTES: i64 = 10 * 1024 * 1024;
/// The ServiceAccounts of the bastion's programs begin with this.
const ACCOUNTS: &str = "bastion-";

/// Writes it, and says what is in it.
pub async fn run(flags: Report) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = flags.cluster.namespace.clone();
    let path = flags.file.clone().unwrap_or_else(|| {
        PathBuf::from(format!("bastion-report-{namespace}-{}.zip", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")))
    });
    let mut report = Archive::create(&path)?;
    let place = Place { client, namespace };
    report.add_json("versions.json", "of the plugin and the cluster", &versions(&place.client).await)?;
    let steps = check::look(&place.client, &place.namespace).await;
    report.add_json("check.json", "what kubectl bastion check finds", &json!(steps))?;
    place.objects::<BastionSession>(&mut report, "sessions.json", rights::LIST_SESSIONS).await?;
    place.objects::<BastionTarget>(&mut report, "targets.json", rights::LIST_TARGETS).await?;
    place.objects::<BastionUser>(&mut report, "users.json", rights::LIST_USERS).await?;
    place.objects::<Lease>(&mut report, "leases.json", rights::LIST_LEASES).await?;
    place.objects::<Event>(&mut report, "events.json", rights::LIST_EVENTS).await?;
    place.objects::<ResourceQuota>(&mut report, "quotas.json", rights::LIST_QUOTAS).await?;
    let pods = place.objects::<Pod>(&mut report, "pods.json", rights::LIST_PODS).await?;
    if !flags.no_logs {
        for pod in pods.iter().filter(|pod| is_ours(pod)) {
            place.logs(&mut report, pod, i64::from(flags.since) * 60 * 60).await?;
        }
    }
    report.finish(&path)
}

/// Whether one of the bastion's programs runs in it.
fn is_ours(pod: &Pod) -> bool {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    account.is_some_and(|account| account.starts_with(ACCOUNTS))
}

async fn versions(client: &Client) -> Value {
    let cluster = match client.apiserver_version().await {
        Ok(version) => json!(version),
        Err(error) => json!(error.to_string()),
    };
    json!({"plugin": env!("CARGO_PKG_VERSION"), "cluster": cluster})
}

/// The bastion's namespace.
struct Place {
    client: Client,
    namespace: String,
}

impl Place {
    /// Adds all objects of a kind.
    async fn objects<K>(&self, report: &mut Archive, file: &str, right: Right) -> anyhow::Result<Vec<Arc<K>>>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
        K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
    {
        let api: Api<Guarded<K>> = Api::namespaced(self.client.clone(), &self.namespace);
        let (objects, unreadable) = match api.list(&ListParams::default()).await {
            Ok(list) => split(list),
            Err(error) => {
                report.lacks(file, format!("{:#}", failed(error, right, Some(&self.namespace))));
                return Ok(Vec::new());
            }
        };
        for object in unreadable {
            report.lacks(file, format!("{} cannot be read: {}", object.name(), object.error));
        }
        let mut list = output::list(&objects)?;
        redact::object(&mut list);
        report.add_json(file, &format!("{} {}", objects.len(), right.resource), &list)?;
        Ok(objects)
    }

    /// Adds what the containers of a Pod log, and what they logged before they were last restarted.
    async fn logs(&self, report: &mut Archive, pod: &Pod, since_seconds: i64) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        for (container, previous) in containers(pod) {
            let params = LogParams {
                container: Some(container.clone()),
                since_seconds: Some(since_seconds),
                limit_bytes: Some(LOG_BYTES),
                timestamps: true,
                previous,
                ..LogParams::default()
            };
            let kind = if previous { "previous.log" } else { "log" };
            let file = format!("logs/{}/{container}.{kind}", pod.name_any());
            match pods.logs(&pod.name_any(), &params).await {
                Ok(text) => report.add(&file, "what it logged", redact::text(&text).as_bytes())?,
                Err(error) => {
                    report.lacks(&file, format!("{:#}", failed(error, rights::GET_LOGS, Some(&self.namespace))));
                }
            }
        }
        Ok(())
    }
}

/// The containers of a Pod, and once more those which were restarted.
fn containers(pod: &Pod) -> Vec<(String, bool)> {
    let named = pod.spec.iter().flat_map(|spec| spec.containers.iter().map(|it| (it.name.clone(), false)));
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let restarted = statuses.filter(|it| it.restart_count > 0).map(|it| (it.name.clone(), true));
    named.chain(restarted).collect()
}

/// A ZIP file that is being written.
struct Archive {
    zip: ZipWriter<File>,
    /// Name, size and meaning of each file in it.
    files: Vec<(String, usize, String)>,
    /// Name of each file that is not in it, and why.
    lacking: Vec<(String, String)>,
}

impl Archive {
    fn create(path: &Path) -> anyhow::Result<Self> {
        // Whom it is meant for decides who made it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.with_context(|| format!("{} cannot be made; name another file with --file", path.display()))?;
        Ok(Self { zip: ZipWriter::new(file), files: Vec::new(), lacking: Vec::new() })
    }

    fn add(&mut self, name: &str, what: &str, bytes: &[u8]) -> anyhow::Result<()> {
        self.zip.start_file(name, SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))?;
        self.zip.write_all(bytes)?;
        self.files.push((name.to_owned(), bytes.len(), what.to_owned()));
        Ok(())
    }

    fn add_json(&mut self, name: &str, what: &str, value: &Value) -> anyhow::Result<()> {
        self.add(name, what, (serde_json::to_string_pretty(value)? + "\n").as_bytes())
    }

    fn lacks(&mut self, name: &str, why: String) {
        self.lacking.push((name.to_owned(), why));
    }

    /// The files as a table.
    fn contents(&self) -> String {
        let row = |(name, size, what): &(String, usize, String)| {
            vec![cell(name, Tone::Plain), cell(size, Tone::Plain), cell(what, Tone::Plain)]
        };
        output::table(Some(&["FILE", "BYTES", "WHAT"]), self.files.iter().map(row).collect())
    }

    /// Writes the last of it, and tells what is in it and what is not.
    fn finish(mut self, path: &Path) -> anyhow::Result<ExitCode> {
        let contents = self.contents();
        let lacking: String = output::lines(self.lacking.iter().map(|(name, why)| format!("not in it: {name}: {why}")));
        self.add("contents.txt", "", format!("{contents}{lacking}").as_bytes())?;
        self.zip.finish()?.sync_all()?;
        output::print(&format!(
            "{contents}\n{} is written. No Secret was read. It names users, their addresses, targets and commands: look through \
             it before you pass it on.\n",
            path.display()
        ))?;
        for line in lacking.lines() {
            eprintln!("bastion: {line}");
        }
        Ok(if lacking.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
