//! `kubectl bastion report`: writes the objects and logs for a bug report into a ZIP file, without secrets.

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
use super::rights::{Right, explain};
use super::{check, client, output, redact, rights};
use crate::api::{BastionSession, BastionTarget, BastionUser};
use crate::cluster::{Guarded, split};

/// The most bytes of a container's log.
const MAX_LOG_BYTES: i64 = 10 * 1024 * 1024;
/// The prefix of the ServiceAccounts of the bastion's programs.
const ACCOUNT_PREFIX: &str = "bastion-";

/// Writes the report, and prints its contents.
pub async fn run(flags: Report) -> anyhow::Result<ExitCode> {
    let client = client(&flags.cluster).await?;
    let namespace = flags.cluster.namespace.clone();
    let path = flags.file.clone().unwrap_or_else(|| {
        PathBuf::from(format!("bastion-report-{namespace}-{}.zip", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")))
    });
    let mut report = Archive::create(&path)?;
    let collector = Collector { client, namespace };
    report.add_json("versions.json", "of the plugin and the cluster", &versions(&collector.client).await)?;
    let steps = check::observe(&collector.client, &collector.namespace).await;
    report.add_json("check.json", "what kubectl bastion check finds", &json!(steps))?;
    collector.objects::<BastionSession>(&mut report, "sessions.json", rights::LIST_SESSIONS).await?;
    collector.objects::<BastionTarget>(&mut report, "targets.json", rights::LIST_TARGETS).await?;
    collector.objects::<BastionUser>(&mut report, "users.json", rights::LIST_USERS).await?;
    collector.objects::<Lease>(&mut report, "leases.json", rights::LIST_LEASES).await?;
    collector.objects::<Event>(&mut report, "events.json", rights::LIST_EVENTS).await?;
    collector.objects::<ResourceQuota>(&mut report, "quotas.json", rights::LIST_QUOTAS).await?;
    let pods = collector.objects::<Pod>(&mut report, "pods.json", rights::LIST_PODS).await?;
    if !flags.no_logs {
        for pod in pods.iter().filter(|pod| is_bastion_pod(pod)) {
            collector.logs(&mut report, pod, i64::from(flags.since) * 60 * 60).await?;
        }
    }
    report.finish(&path)
}

/// Returns whether the Pod runs a program of the bastion.
fn is_bastion_pod(pod: &Pod) -> bool {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    account.is_some_and(|account| account.starts_with(ACCOUNT_PREFIX))
}

async fn versions(client: &Client) -> Value {
    let cluster = match client.apiserver_version().await {
        Ok(version) => json!(version),
        Err(error) => json!(error.to_string()),
    };
    json!({"plugin": env!("CARGO_PKG_VERSION"), "cluster": cluster})
}

/// Reads the objects and logs of the bastion's namespace.
struct Collector {
    client: Client,
    namespace: String,
}

impl Collector {
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
                report.add_missing(file, format!("{:#}", explain(error, right, Some(&self.namespace))));
                return Ok(Vec::new());
            }
        };
        for object in unreadable {
            report.add_missing(file, format!("{} cannot be read: {}", object.name(), object.error));
        }
        let mut list = output::list(&objects)?;
        redact::object(&mut list);
        report.add_json(file, &format!("{} {}", objects.len(), right.resource), &list)?;
        Ok(objects)
    }

    /// Adds the logs of a Pod's containers, and the logs from before the last restart of each container.
    async fn logs(&self, report: &mut Archive, pod: &Pod, since_seconds: i64) -> anyhow::Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        for (container, previous) in containers(pod) {
            let params = LogParams {
                container: Some(container.clone()),
                since_seconds: Some(since_seconds),
                limit_bytes: Some(MAX_LOG_BYTES),
                timestamps: true,
                previous,
                ..LogParams::default()
            };
            let kind = if previous { "previous.log" } else { "log" };
            let file = format!("logs/{}/{container}.{kind}", pod.name_any());
            match pods.logs(&pod.name_any(), &params).await {
                Ok(text) => report.add(&file, "what it logged", redact::text(&text).as_bytes())?,
                Err(error) => {
                    report.add_missing(&file, format!("{:#}", explain(error, rights::GET_LOGS, Some(&self.namespace))));
                }
            }
        }
        Ok(())
    }
}

/// Returns the logs of a Pod to read, as pairs of the container's name and a flag. Each container has a pair with `false`; a
/// container that was restarted has a second pair with `true`, for the log from before the restart.
fn containers(pod: &Pod) -> Vec<(String, bool)> {
    let named = pod.spec.iter().flat_map(|spec| spec.containers.iter().map(|it| (it.name.clone(), false)));
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let restarted = statuses.filter(|it| it.restart_count > 0).map(|it| (it.name.clone(), true));
    named.chain(restarted).collect()
}

/// A ZIP file that is being written.
struct Archive {
    zip: ZipWriter<File>,
    /// The name, size in bytes and description of each file.
    files: Vec<(String, usize, String)>,
    /// The name of each missing file, and the reason.
    missing: Vec<(String, String)>,
}

impl Archive {
    fn create(path: &Path) -> anyhow::Result<Self> {
        // Only the user who creates the report decides who may read it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file =
            file.with_context(|| format!("{} cannot be created; name another file with --file", path.display()))?;
        Ok(Self { zip: ZipWriter::new(file), files: Vec::new(), missing: Vec::new() })
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

    fn add_missing(&mut self, name: &str, why: String) {
        self.missing.push((name.to_owned(), why));
    }

    /// Returns the files as a table.
    fn contents(&self) -> String {
        let row = |(name, size, what): &(String, usize, String)| {
            vec![cell(name, Tone::Plain), cell(size, Tone::Plain), cell(what, Tone::Plain)]
        };
        output::table(Some(&["FILE", "BYTES", "WHAT"]), self.files.iter().map(row).collect())
    }

    /// Finishes the file, and prints its contents and the missing files.
    fn finish(mut self, path: &Path) -> anyhow::Result<ExitCode> {
        let contents = self.contents();
        let missing: String = output::lines(self.missing.iter().map(|(name, why)| format!("not in it: {name}: {why}")));
        self.add("contents.txt", "", format!("{contents}{missing}").as_bytes())?;
        self.zip.finish()?.sync_all()?;
        output::print(&format!(
            "{contents}\n{} is written. No Secret was read. It names users, their addresses, targets and commands: review it \
             before you share it.\n",
            path.display()
        ))?;
        for line in missing.lines() {
            output::warn(line);
        }
        Ok(if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
