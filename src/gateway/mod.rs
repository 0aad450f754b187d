//! `bastion gateway`: accepts SSH connections, owns the sessions that it accepts, and writes their start and end.

mod access;
mod bridge;
mod drain;
#[cfg(fuzzing)]
pub mod fuzzing;
mod instance;
mod menu;
mod net;
mod observe;
mod session;
mod settings;
mod sign_in;
mod ssh;
mod state;
mod target;
mod web_terminal;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Api, Client};
use russh::keys::PrivateKey;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::cluster::{self, EventSink, REQUEST_TIMEOUT, SessionWriter, UnreadableReports};
use crate::http::{self, Readiness};
use crate::memory_budget::{self, MEMORY_BUDGET};
use crate::recording::Store;
use crate::redis::RedisClient;
use crate::slots::Slots;
use crate::tasks::Tasks;
use access::{AccessDeps, Directory, RefusalEvents, SessionLimit, end_revoked_sessions};
use drain::drain_sessions;
use instance::{CurrentInstance, EndReports, InstanceConfig, activity_publisher, previous_process};
use menu::PendingUsers;
use net::{PreauthLimits, listener};
use observe::{ObserveDeps, ObserverServer};
use session::{Watchdog, watchdog};
use sign_in::{AuthDeps, SecondFactors, Throttle};
use ssh::{banner, host_key};
use state::{Gateway, SessionDeps};
use target::Dialer;

pub use net::TcpPaths;
pub use observe::{MAX_PAGE_MESSAGE, SESSIONS_PATH, SUBPROTOCOL};
pub use settings::Settings;
pub use sign_in::{LockoutLimits, SignInName, WebTerminalBlocker, hash_password};
pub use ssh::AcceptEnv;
pub use web_terminal::Settings as WebTerminalSettings;

/// How long the last Events and answers to probes may take at a shutdown.
const LAST_EVENTS_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs a gateway until `stop` is cancelled, lets its sessions continue for the grace period, and then ends them. If a
/// background task fails, the sessions end at once.
///
/// # Errors
/// When the gateway cannot start, a background task failed, or the ends of some sessions could not be written.
pub async fn run(config: kube::Config, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let client = cluster::client(config.clone(), REQUEST_TIMEOUT)?;
    let recordings = settings.recording_url.as_deref().map(Store::open).transpose().context("--recording-url")?;
    let banner = settings.banner_file.as_deref().map(banner::read).transpose()?;
    let redis = settings.redis.clone().map(RedisClient::new).transpose()?.map(Arc::new);
    MEMORY_BUDGET.set_limit(settings.memory_budget.unwrap_or_else(memory_budget::default_limit));
    info!(bytes = MEMORY_BUDGET.limit(), "the memory budget of sessions");
    let (tasks, background) = (Tasks::default(), CancellationToken::new());
    let ready = Readiness::new("gateway");
    let probes = http::serve_probes(settings.http_listen, ready.clone(), background.clone()).await?;
    let probes = tasks.spawn("probe server", &background, probes);
    let (events, publishing) = EventSink::new(client.clone(), "bastion-gateway", &settings.pod, background.clone());
    // It ends with its last sender, which is when the program does.
    let publishing = tasks.spawn_finite("Event publisher", publishing);
    let reports = UnreadableReports::new(events.clone());
    let prepared = stop.run_until_cancelled(prepare(client.clone(), &settings.namespace, &reports, &tasks)).await;
    let Some((host_key, directory)) = prepared.transpose()? else { return Ok(()) };
    let (instance_sender, instance) = watch::channel(None);
    let instance = CurrentInstance::new(instance, stop.clone());
    let parts = Parts { client: client.clone(), directory: Arc::new(directory), redis, events, instance };
    let gateway = Arc::new(parts.gateway(&settings, recordings, banner, stop.clone())?);

    let observers = match settings.observe.clone() {
        Some(observe) => Some(ObserverServer::bind(observe).await?),
        None => None,
    };
    let annotations = InstanceConfig::lease_annotations(
        settings.pod_uid.clone(),
        observers.as_ref().map(ObserverServer::annotations),
    );
    let (namespace, pod) = (settings.namespace.clone(), settings.pod.clone());
    let lease_client = cluster::client(config.clone(), REQUEST_TIMEOUT)?;
    let instances = InstanceConfig { client: client.clone(), lease_client, namespace, pod, annotations, reports };
    let Some((first, lease)) = instance::start(&instances, &stop).await else { return Ok(()) };
    instance_sender.send_replace(Some(first.clone()));
    let (namespace, pod) = (settings.namespace.clone(), settings.pod.clone());
    let (watched, reports) = (gateway.sessions.watchdog.clone(), gateway.sessions.end_reports.clone());
    let watching = watchdog::start(watched, reports, config, namespace, pod, background.clone())?;
    tasks.spawn("watchdog", &background, watching);
    parts.spawn_background(&tasks, &gateway, &settings, first.id.clone());
    let stop_instance = CancellationToken::new();
    let writer = gateway.sessions.writer.clone();
    let instances =
        instance::run(instances, parts.redis.clone(), writer, instance_sender, first, lease, stop_instance.clone());
    let instances = Box::pin(instances);
    let (held, lease) = oneshot::channel();
    tasks.spawn("instance", &stop_instance, async move { drop(held.send(instances.await)) });
    if let Some(observers) = observers {
        let serving = observers.serve(parts.observe_deps(&gateway), client.clone(), background.clone());
        tasks.spawn("observer server", &background, serving);
    }

    tokio::select! {
        accepted = accept_connections(&gateway, &settings, client, host_key, &ready, &tasks, stop.clone()) => accepted?,
        _ = tasks.failed() => ready.set(false),
    }
    stop.cancel();
    let drained = drain_sessions(&gateway, tasks.failed()).await;
    stop_instance.cancel();
    // The sender is dropped without a Lease if the task failed.
    if let (Ok(Some(lease)), true) = (lease.await, drained) {
        lease.release().await;
    }
    background.cancel();
    let _ = timeout(LAST_EVENTS_TIMEOUT, async { tokio::join!(publishing, probes) }).await;
    tasks.shut_down().await;
    tasks.check()?;
    if drained {
        Ok(())
    } else {
        bail!("some sessions' ends could not be written; the controllers will end them as GatewayLost")
    }
}

/// Accepts connections over SSH and from web terminals until the gateway shuts down. Until then, sets `ready` while the gateway
/// has an instance.
async fn accept_connections(
    gateway: &Arc<Gateway>,
    settings: &Settings,
    client: Client,
    host_key: PrivateKey,
    ready: &Readiness,
    tasks: &Tasks,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("--listen {} cannot be bound", settings.listen))?;
    if let Some(web) = settings.web.clone() {
        let serving = web_terminal::serve(gateway.clone(), client, web, tasks, stop.clone()).await?;
        tasks.spawn("web terminal server", &stop, serving);
    }
    info!(address = %listener.local_addr()?, "listening for SSH");
    let limits = PreauthLimits::new(settings.max_startups_per_address);
    let config = listener::config(host_key, settings.rekey_time);
    let load_balancers = settings.proxy_protocol_from.clone();
    let accepting = listener::run(gateway.clone(), listener, config, limits, load_balancers, stop.clone());
    let accepting = tasks.spawn("SSH listener", &stop, accepting);
    tokio::select! {
        _ = accepting => {}
        () = gateway.access.instance.show_readiness(ready) => {}
    }
    ready.set(false);
    Ok(())
}

/// Loads the host key, publishes it, and reads all users and targets. Waits up to [`cluster::START_TIMEOUT`] for each request
/// about the key, and without a limit for the lists of users and targets.
async fn prepare(
    client: Client,
    namespace: &str,
    reports: &UnreadableReports,
    tasks: &Tasks,
) -> anyhow::Result<(PrivateKey, Directory)> {
    let host_key = host_key::load_or_create(client.clone(), namespace).await?;
    if let Err(error) = host_key::publish(client.clone(), namespace, &host_key).await {
        warn!(
            error = format!("{error:#}"),
            "the host key is not published; `kubectl bastion ssh` will not know this gateway"
        );
    }
    Ok((host_key, Directory::watch(client, namespace, reports, tasks).await?))
}

/// The objects from which the dependencies of the gateway's parts are made.
struct Parts {
    client: Client,
    directory: Arc<Directory>,
    redis: Option<Arc<RedisClient>>,
    events: EventSink,
    instance: CurrentInstance,
}

impl Parts {
    fn gateway(
        &self,
        settings: &Settings,
        recordings: Option<Store>,
        banner: Option<String>,
        stop: CancellationToken,
    ) -> anyhow::Result<Gateway> {
        let (client, namespace, directory) = (&self.client, &settings.namespace, &self.directory);
        let session_limit = SessionLimit::new(Api::namespaced(client.clone(), namespace));
        let auth = AuthDeps {
            directory: directory.clone(),
            throttle: Throttle::new(settings.lock_out, self.redis.clone()),
            second_factors: SecondFactors::new(client.clone(), namespace, self.redis.clone())?,
        };
        let access = AccessDeps {
            directory: directory.clone(),
            session_limit: session_limit.clone(),
            slots: Slots::new(settings.max_sessions),
            max_sessions_per_user: settings.max_sessions_per_user,
            instance: self.instance.clone(),
            has_recordings: recordings.is_some(),
        };
        let tcp_paths = Arc::new(settings.tcp_paths.clone());
        let sessions = SessionDeps {
            namespace: namespace.clone(),
            directory: directory.clone(),
            writer: SessionWriter::new(client.clone(), namespace, "bastion-gateway", self.events.clone()),
            end_reports: Arc::<EndReports>::default(),
            dialer: Dialer::new(client.clone(), namespace, settings.rekey_time, tcp_paths.clone()),
            recordings,
            session_limit,
            watchdog: Arc::<Watchdog>::default(),
            tasks: TaskTracker::new(),
            stop,
            grace_period: settings.grace_period,
            max_forwards: settings.max_forwards,
        };
        Ok(Gateway {
            auth: Arc::new(auth),
            access: Arc::new(access),
            sessions: Arc::new(sessions),
            pending: PendingUsers::default(),
            refusals: RefusalEvents::new(self.events.clone()),
            tcp_paths,
            banner,
            accept_env: settings.accept_env.clone(),
        })
    }

    fn observe_deps(&self, gateway: &Gateway) -> ObserveDeps {
        ObserveDeps {
            namespace: gateway.sessions.namespace.clone(),
            events: self.events.clone(),
            writer: gateway.sessions.writer.clone(),
            instance: self.instance.clone(),
        }
    }

    /// Starts the tasks that run beside the sessions while the gateway runs.
    fn spawn_background(&self, tasks: &Tasks, gateway: &Gateway, settings: &Settings, own: String) {
        let (client, writer) = (self.client.clone(), gateway.sessions.writer.clone());
        let (namespace, pod_uid) = (settings.namespace.clone(), settings.pod_uid.clone());
        tasks.spawn_finite("end of earlier sessions", async move {
            previous_process::end_sessions(client, &namespace, pod_uid.as_ref(), &own, &writer).await;
        });
        let (directory, instance) = (self.directory.clone(), self.instance.clone());
        tasks.spawn_endless("revocation", async move { end_revoked_sessions(&directory, &instance).await });
        if let Some(redis) = self.redis.clone() {
            let end_reports = gateway.sessions.end_reports.clone();
            tasks.spawn_endless("end reports", async move { end_reports.run(&redis).await });
        }
        if let Some(redis) = self.redis.clone() {
            let instance = self.instance.clone();
            tasks.spawn_endless("activity publisher", async move { activity_publisher::run(&instance, &redis).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sign_in::LockoutLimits;
    use super::*;
    use std::net::SocketAddr;

    fn settings() -> Settings {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Settings {
            namespace: "bastion".to_owned(),
            pod: "gateway-0".to_owned(),
            pod_uid: None,
            listen: any,
            http_listen: any,
            web: None,
            grace_period: Duration::ZERO,
            max_sessions: 1,
            max_sessions_per_user: 1,
            max_forwards: 1,
            memory_budget: None,
            max_startups_per_address: 1,
            proxy_protocol_from: Vec::new(),
            tcp_paths: TcpPaths::default(),
            accept_env: Vec::new(),
            observe: None,
            recording_url: None,
            redis: None,
            lock_out: LockoutLimits { per_user_and_address: 1, per_user: 1, per_address: 1, duration: Duration::ZERO },
            rekey_time: Duration::from_hours(1),
            banner_file: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_waits_for_the_api_stops_at_once() {
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", api.local_addr().unwrap());
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(kube::Config::new(url.parse().unwrap()), settings(), stop.clone()));
        let unanswered = api.accept().await.unwrap();
        stop.cancel();
        timeout(Duration::from_secs(1), running).await.expect("it stops").unwrap().unwrap();
        drop(unanswered);
    }
}
