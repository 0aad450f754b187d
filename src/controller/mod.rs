//! `bastion controller`: ends what no gateway can end any more, keeps the audit database in step, and clears away
//! what is on record.

mod failure_detector;
mod leader;
mod pods;
mod quota;
mod redis_heartbeats;
mod retention;
mod sessions;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::audit::AuditSettings;
use crate::cluster::{EventSink, SessionWriter, UnreadableReports};
use crate::http::Ready;
use crate::leases::new_instance;
use crate::lifecycle::FailureDetector;
use crate::redis::{RedisLink, RedisSettings};
use crate::{audit, http};
use leader::LeadershipGuard;

/// How a controller is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the Pod that the controller runs in.
    pub pod: String,
    /// The audit database.
    pub audit: AuditSettings,
    /// How long finished sessions stay in the cluster once they have ended and are on record.
    pub retention: Duration,
    /// How many finished sessions stay in the cluster at most.
    pub max_finished: usize,
    /// The gateways' second witness, where there is one.
    pub redis: Option<RedisSettings>,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_listen: SocketAddr,
}

/// Runs a controller until `stop` is cancelled.
///
/// # Errors
/// When it cannot start.
pub async fn run(client: Client, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let redis = settings.redis.clone().map(RedisLink::new).transpose()?.map(Arc::new);
    let ready = Ready::of("controller");
    let mut tasks = JoinSet::new();
    let http = http::serve_probes(settings.http_listen, ready.clone(), stop.clone()).await?;
    tasks.spawn(async move {
        http.await;
        Ok(())
    });

    let store = audit::Store::new(settings.audit.clone())?;
    let (events, publishing) = EventSink::new(client.clone(), "bastion-controller", &settings.pod, stop.clone());
    tasks.spawn(async move {
        publishing.await;
        Ok(())
    });
    let reports = UnreadableReports::new(events.clone());
    let writer = SessionWriter::new(client.clone(), &settings.namespace, "bastion-controller", events);
    let observer = Arc::new(Mutex::new(FailureDetector::new(Instant::now())));
    // Losses come a few at a time; the sessions of each are found in the controller's own store.
    let (losses, lost) = mpsc::channel(64);

    let observing =
        failure_detector::run(client.clone(), settings.clone(), redis.clone(), observer.clone(), losses, stop.clone());
    tasks.spawn(observing);
    let stop_mirror = stop.clone();
    let (campaign, until) = watch::channel(None);
    let guard = LeadershipGuard::new(until);
    let (campaigning, pod) = (Api::namespaced(client.clone(), &settings.namespace), settings.pod.clone());
    let (candidate, campaign_stop) = (new_instance(&pod), stop.clone());
    tasks.spawn(async move {
        leader::campaign(campaigning, &pod, &candidate, campaign, campaign_stop).await;
        Ok(())
    });
    tasks.spawn(sessions::run(
        client.clone(),
        settings.clone(),
        redis,
        observer,
        writer,
        reports.clone(),
        lost,
        guard.clone(),
        stop.clone(),
    ));
    let (counting, namespace, stop_counting) = (client.clone(), settings.namespace.clone(), stop.clone());
    tasks.spawn(async move {
        quota::run(counting, &namespace, stop_counting).await;
        Ok(())
    });
    tasks.spawn(async move {
        mirror_while_leading(client, &settings.namespace, store, &reports, guard, &stop_mirror).await;
        Ok(())
    });

    info!("controller is running");
    ready.set(true);
    while let Some(ended) = tasks.join_next().await {
        ended??;
        anyhow::ensure!(stop.is_cancelled(), "a task of the controller ended by itself");
    }
    Ok(())
}

/// Mirrors sessions into the audit database for as long as this controller leads, and again when it leads again.
async fn mirror_while_leading(
    client: Client,
    namespace: &str,
    store: audit::Store,
    reports: &UnreadableReports,
    mut guard: LeadershipGuard,
    stop: &CancellationToken,
) {
    let mirroring = async {
        while guard.begins().await {
            // It may be cut off anywhere.
            let mirror = audit::mirror::run(client.clone(), namespace, store.clone(), reports.clone(), stop.clone());
            tokio::select! {
                biased;
                () = guard.ends() => {}
                () = mirror => {}
            }
            audit::mirror::show_nothing();
        }
    };
    stop.run_until_cancelled(Box::pin(mirroring)).await;
}
