//! `bastion gateway`: the SSH front door. It owns the sessions that it accepts, and writes their start and end.

mod activity;
mod channel;
mod crypto;
mod directory;
mod forward;
mod front_door;
mod handler;
mod host_key;
mod hot_state;
mod inbox;
mod instance;
mod jump;
mod predecessor;
mod pulse;
mod redis_side;
mod refusal;
mod registry;
mod request;
mod reverse;
mod revocation;
mod session;
mod sign_in_name;
mod socket;
mod supervisor;
mod target;
mod tcp_options;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::cluster::{EventSink, SessionWriter};
use crate::http::{self, Ready};
use crate::lifecycle::{Cause, RENEW_RETRY};
use crate::liveness::InstanceLease;
use crate::metrics::METRICS;
use crate::redis_link::{RedisLink, RedisSettings};
use directory::Directory;
use instance::Instance;
use supervisor::Supervisor;
use target::Dialler;

/// How long the ends of the last sessions may take to be written at a shutdown.
const LAST_ENDS: Duration = Duration::from_secs(20);

/// How long the last Events and answers to probes may take at a shutdown.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How long a new session waits for a gateway that has to find out whether it was declared lost.
const NEW_LIFE: Duration = Duration::from_secs(10);

/// How a gateway is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespace of the bastion.
    pub namespace: String,
    /// The name of the Pod that the gateway runs in.
    pub pod: String,
    /// Its uid, where it is known.
    pub pod_uid: Option<String>,
    /// Where SSH clients connect.
    pub listen: SocketAddr,
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    pub http_listen: SocketAddr,
    /// How long live sessions may go on after SIGTERM.
    pub grace_period: Duration,
    /// How many sessions the gateway carries at most.
    pub max_sessions: usize,
    /// The second witness, where there is one.
    pub redis: Option<RedisSettings>,
}

/// What the connections and sessions of one gateway share.
pub(crate) struct Gateway {
    directory: Directory,
    writer: SessionWriter,
    dialler: Dialler,
    slots: Arc<Semaphore>,
    sessions: TaskTracker,
    supervisor: Arc<Supervisor>,
    instance: watch::Receiver<Option<Arc<Instance>>>,
    stop: CancellationToken,
    grace_period: Duration,
}

impl Gateway {
    /// The present life, as soon as it is known that it was not declared lost while this process was paused or cut off;
    /// `None` when no new session may begin.
    async fn instance(&self) -> Option<Arc<Instance>> {
        let mut lives = self.instance.clone();
        let sure = async {
            loop {
                let life = lives.borrow_and_update().clone();
                let sure = async {
                    match &life {
                        Some(life) => life.pulse.fresh().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = sure => return life,
                    changed = lives.changed() => changed.ok()?,
                }
            }
        };
        self.stop.run_until_cancelled(timeout(NEW_LIFE, sure)).await?.ok()?
    }
}

/// Runs a gateway until `stop` is cancelled, then lets its sessions go on for the grace period, and ends them.
///
/// # Errors
/// When it cannot start, or ends could not be written before the end.
pub async fn run(config: kube::Config, settings: Settings, stop: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_from(config.clone())?;
    let redis = settings.redis.clone().map(RedisLink::new).transpose()?.map(Arc::new);
    let background = CancellationToken::new();
    let ready = Ready::default();
    let http = tokio::spawn(http::serve(settings.http_listen, ready.clone(), background.clone()).await?);

    let host_key = host_key::load_or_create(client.clone(), &settings.namespace).await?;
    let directory = Directory::watch(client.clone(), &settings.namespace).await?;
    let (events, publishing) = EventSink::new(client.clone(), "bastion-gateway", &settings.pod, background.clone());
    let publishing = tokio::spawn(publishing);
    let (life, instance) = watch::channel(None);
    let gateway = Arc::new(Gateway {
        directory,
        writer: SessionWriter::new(client.clone(), &settings.namespace, "bastion-gateway", events),
        dialler: Dialler::new(client.clone(), &settings.namespace),
        slots: Arc::new(Semaphore::new(settings.max_sessions)),
        sessions: TaskTracker::new(),
        supervisor: Arc::default(),
        instance,
        stop: stop.clone(),
        grace_period: settings.grace_period,
    });

    let (first, lease) = Instance::begin(client.clone(), &settings).await?;
    life.send_replace(Some(first.clone()));
    supervisor::start(gateway.supervisor.clone(), config, settings.clone(), background.clone())?;
    let mut companions = accompany(&gateway, client.clone(), settings.clone(), redis.clone(), first.id.clone());
    let living = CancellationToken::new();
    let lives =
        tokio::spawn(live(client, settings.clone(), redis, gateway.writer.clone(), life, first, lease, living.clone()));

    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("--listen {} cannot be bound", settings.listen))?;
    info!(address = %listener.local_addr()?, "listening for SSH");
    ready.set(true);
    front_door::run(gateway.clone(), listener, host_key, stop).await;

    ready.set(false);
    let drained = drain(&gateway, settings.grace_period).await;
    living.cancel();
    let lease = lives.await.context("the Lease's task failed")?;
    if drained && let Some(lease) = lease {
        lease.release().await;
    }
    background.cancel();
    let _ = timeout(LAST_WORDS, async { tokio::join!(publishing, http) }).await;
    companions.shutdown().await;
    if drained {
        Ok(())
    } else {
        bail!("some sessions' ends could not be written; the controllers will end them as GatewayLost")
    }
}

/// Starts what goes on beside the sessions for as long as the gateway runs.
fn accompany(
    gateway: &Arc<Gateway>,
    client: Client,
    settings: Settings,
    redis: Option<Arc<RedisLink>>,
    own: String,
) -> JoinSet<()> {
    let mut companions = JoinSet::new();
    let writer = gateway.writer.clone();
    companions.spawn(async move { predecessor::end_sessions(client, &settings, &own, &writer).await });
    let revoking = gateway.clone();
    companions.spawn(async move { revocation::run(&revoking).await });
    if let Some(redis) = redis {
        let gateway = gateway.clone();
        companions.spawn(async move { hot_state::run(&gateway, &redis).await });
    }
    companions
}

/// Lets the sessions go on for the grace period, ends what is left, and waits until all ends are written.
async fn drain(gateway: &Gateway, grace: Duration) -> bool {
    gateway.sessions.close();
    info!(sessions = METRICS.sessions_active.get(), seconds = grace.as_secs(), "draining");
    if timeout(grace, gateway.sessions.wait()).await.is_ok() {
        return true;
    }
    if let Some(instance) = gateway.instance.borrow().as_ref() {
        instance.registry.end_all(&Cause::GatewayShutdown);
    }
    timeout(LAST_ENDS, gateway.sessions.wait()).await.is_ok()
}

/// Keeps an instance alive, and begins a new one whenever a controller has declared it lost or it was cut off. Returns
/// the last Lease.
async fn live(
    client: Client,
    settings: Settings,
    redis: Option<Arc<RedisLink>>,
    writer: SessionWriter,
    life: watch::Sender<Option<Arc<Instance>>>,
    mut instance: Arc<Instance>,
    mut lease: InstanceLease,
    stop: CancellationToken,
) -> Option<InstanceLease> {
    loop {
        let sessions = Api::namespaced(client.clone(), &settings.namespace);
        let held = tokio::select! {
            held = instance.stay_alive(lease, stop.clone()) => held,
            () = instance.pulse.beat() => None,
            () = redis_side::stay_in_touch(&instance, redis.as_deref(), sessions.clone()) => None,
            () = instance.obey(sessions, writer.clone()) => {
                error!("the watch of the gateway's own sessions has ended");
                return None;
            }
        };
        if held.is_some() {
            return held;
        }
        life.send_replace(None);
        (instance, lease) = loop {
            match Instance::begin(client.clone(), &settings).await {
                Ok(begun) => break begun,
                Err(error) => warn!(%error, "no new instance yet"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(RENEW_RETRY) => {}
            }
        };
        life.send_replace(Some(instance.clone()));
    }
}
