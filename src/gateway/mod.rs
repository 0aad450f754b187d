//! `bastion gateway`: the SSH front door. It owns the sessions that it accepts, and writes their start and end.

pub(crate) mod activity;
mod allowed;
mod audit_log;
mod banner;
pub(crate) mod channel;
pub(crate) mod client_side;
mod crypto;
pub(crate) mod directory;
mod environment;
mod forward;
pub(crate) mod front_door;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handler;
mod host_key;
mod hot_state;
pub(crate) mod inbox;
mod instance;
mod jump;
pub(crate) mod lobby;
mod menu;
mod predecessor;
mod proxy_header;
mod pulse;
mod redis_side;
pub(crate) mod refusal;
pub(crate) mod refusal_events;
mod registry;
pub(crate) mod request;
mod reverse;
mod revocation;
pub(crate) mod session;
mod session_limit;
pub(crate) mod sign_in;
mod sign_in_name;
pub(crate) mod socket;
mod source;
pub(crate) mod stage;
pub(crate) mod startups;
mod supervisor;
mod tap;
mod target;
mod tcp_options;
mod traffic;
mod tunnel;
pub(crate) mod user_channel;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Api, Client, ResourceExt};
use russh::keys::PrivateKey;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::api::{Allow, RecordingMode};
use crate::cluster::{self, EventSink, REQUEST_TIMEOUT, SessionWriter, UnreadableReports};
use crate::follow::{self, Door};
use crate::http::{self, Ready};
use crate::lifecycle::{Cause, RENEW_RETRY};
use crate::liveness::InstanceLease;
use crate::metrics::METRICS;
use crate::recording::Store;
use crate::redis_link::{RedisLink, RedisSettings};
use crate::terminal;
use audit_log::AuditLog;
use directory::{Directory, Grant};
pub use environment::AcceptEnv;
use instance::{Home, Instance};
use lobby::Lobby;
use refusal::Refusal;
use refusal_events::RefusalEvents;
use registry::Carried;
use session_limit::SessionLimit;
pub use sign_in::{LockOut, hash_password};
use sign_in::{SecondFactors, SignedIn, Throttle};
pub use sign_in_name::SignInName;
use stage::Stage;
use startups::Startups;
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
    /// How the web terminal is set up, where there is one.
    pub web: Option<terminal::Settings>,
    /// How long live sessions may go on after SIGTERM.
    pub grace_period: Duration,
    /// How many sessions the gateway carries at most.
    pub max_sessions: usize,
    /// How many connections from one address may have no session yet.
    pub max_startups_per_address: usize,
    /// The load balancers that say where clients are.
    pub proxy_protocol_from: Vec<IpNet>,
    /// Which variables of the clients' environment are passed on.
    pub accept_env: Vec<AcceptEnv>,
    /// How sessions can be followed, where they can.
    pub follow: Option<follow::Settings>,
    /// Where recordings go, where there are some.
    pub recording_url: Option<String>,
    /// The second witness, where there is one.
    pub redis: Option<RedisSettings>,
    /// How many wrong answers lock out.
    pub lock_out: LockOut,
    /// How long keys are in use.
    pub rekey_time: Duration,
    /// A file with what clients show before anybody signs in.
    pub banner_file: Option<PathBuf>,
}

/// What the connections and sessions of one gateway share.
pub(crate) struct Gateway {
    pub(crate) namespace: String,
    pub(crate) directory: Directory,
    throttle: Throttle,
    second_factors: SecondFactors,
    session_limit: SessionLimit,
    banner: Option<String>,
    pub(crate) refusals: RefusalEvents,
    pub(crate) events: EventSink,
    writer: SessionWriter,
    dialler: Dialler,
    recordings: Option<Store>,
    slots: Arc<Semaphore>,
    accept_env: Vec<AcceptEnv>,
    pub(crate) lobby: Lobby,
    pub(crate) sessions: TaskTracker,
    supervisor: Arc<Supervisor>,
    instance: watch::Receiver<Option<Arc<Instance>>>,
    stop: CancellationToken,
    grace_period: Duration,
    rekey_time: Duration,
}

/// What a session needs to begin.
pub(crate) struct Admitted {
    /// Who may have it, and on what.
    pub(crate) grant: Grant,
    audit: Arc<AuditLog>,
    /// Held as long as the session is online.
    slot: OwnedSemaphorePermit,
    instance: Arc<Instance>,
}

/// A session that can be followed.
pub(crate) struct Staged {
    /// What its terminals show.
    pub(crate) stage: Arc<Stage>,
    /// Where it is said who follows it.
    pub(crate) audit: Arc<AuditLog>,
    /// As Events name it.
    pub(crate) reference: ObjectReference,
}

impl Admitted {
    fn opening(&self) -> Opening {
        Opening { allow: self.grant.target.spec.allow, audit: self.audit.clone() }
    }
}

/// What a connection knows of its session.
pub(crate) struct Opening {
    /// What its target allows.
    allow: Allow,
    audit: Arc<AuditLog>,
}

impl Gateway {
    /// Lets a user who has signed in under `sign_in_name` have a session, or says why not.
    pub(crate) async fn admit(&self, signed_in: SignedIn, sign_in_name: &str) -> Result<Admitted, Refusal> {
        let SignedIn { user, proof, permits } = signed_in;
        let grant = self.directory.grant(user, proof, permits, sign_in_name).await?;
        self.session_limit.room_for(&grant.user).await?;
        let target = &grant.target;
        if target.spec.recording == RecordingMode::Required && self.recordings.is_none() {
            return Err(Refusal::NoPlaceForRecordings { target: target.name_any() });
        }
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| Refusal::Full)?;
        let instance = self.instance().await.ok_or(Refusal::NotReady)?;
        let audit = Arc::new(AuditLog::new(session::name_of(&grant), &grant));
        Ok(Admitted { grant, audit, slot, instance })
    }

    /// A session that this gateway carries, for somebody who follows it.
    pub(crate) fn staged(&self, session: &str) -> Option<Staged> {
        let instance = self.instance.borrow().clone()?;
        let (Carried { audit, stage, .. }, uid) = instance.registry.find(session)?;
        let reference = ObjectReference { uid: Some(uid), ..self.writer.reference(session) };
        Some(Staged { stage, audit, reference })
    }

    /// Whether no new session may begin any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

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
    let client = cluster::client(config.clone(), REQUEST_TIMEOUT)?;
    let recordings = settings.recording_url.as_deref().map(Store::open).transpose().context("--recording-url")?;
    let redis = settings.redis.clone().map(RedisLink::new).transpose()?.map(Arc::new);
    let banner = settings.banner_file.as_deref().map(banner::read).transpose()?;
    let background = CancellationToken::new();
    let ready = Ready::of("gateway");
    let http = tokio::spawn(http::serve_probes(settings.http_listen, ready.clone(), background.clone()).await?);

    let (events, publishing) = EventSink::new(client.clone(), "bastion-gateway", &settings.pod, background.clone());
    let publishing = tokio::spawn(publishing);
    let reports = UnreadableReports::new(events.clone());
    let prepared = stop.run_until_cancelled(prepare(client.clone(), &settings.namespace, &reports)).await;
    let Some((host_key, directory)) = prepared.transpose()? else { return Ok(()) };
    let (life, instance) = watch::channel(None);
    let gateway = Arc::new(Gateway {
        namespace: settings.namespace.clone(),
        directory,
        throttle: Throttle::new(settings.lock_out, redis.clone()),
        second_factors: SecondFactors::new(client.clone(), &settings.namespace, redis.clone())?,
        session_limit: SessionLimit::new(Api::namespaced(client.clone(), &settings.namespace)),
        banner,
        refusals: RefusalEvents::new(events.clone()),
        events: events.clone(),
        writer: SessionWriter::new(client.clone(), &settings.namespace, "bastion-gateway", events),
        dialler: Dialler::new(client.clone(), &settings.namespace, settings.rekey_time),
        recordings,
        slots: Arc::new(Semaphore::new(settings.max_sessions)),
        accept_env: settings.accept_env.clone(),
        lobby: Lobby::default(),
        sessions: TaskTracker::new(),
        supervisor: Arc::default(),
        instance,
        stop: stop.clone(),
        grace_period: settings.grace_period,
        rekey_time: settings.rekey_time,
    });

    let door = match settings.follow.clone() {
        Some(follow) => Some(Door::open(follow).await?),
        None => None,
    };
    let home = Home::new(client.clone(), &settings, door.as_ref().map(Door::place), reports);
    let Some((first, lease)) = begin(&home, &stop).await else { return Ok(()) };
    life.send_replace(Some(first.clone()));
    supervisor::start(gateway.supervisor.clone(), config, settings.clone(), background.clone())?;
    let mut companions = accompany(&gateway, client.clone(), settings.clone(), redis.clone(), first.id.clone());
    let living = CancellationToken::new();
    let lives = tokio::spawn(live(home, redis, gateway.writer.clone(), life, first, lease, living.clone()));
    if let Some(door) = door {
        companions.spawn(door.serve(gateway.clone(), client.clone(), background.clone()));
    }

    let listener = TcpListener::bind(settings.listen)
        .await
        .with_context(|| format!("--listen {} cannot be bound", settings.listen))?;
    if let Some(web) = settings.web.clone() {
        companions.spawn(terminal::serve(gateway.clone(), client, web, stop.clone()).await?);
    }
    info!(address = %listener.local_addr()?, "listening for SSH");
    ready.set(true);
    let startups = Startups::new(settings.max_startups_per_address);
    front_door::run(gateway.clone(), listener, host_key, startups, &settings.proxy_protocol_from, stop).await;

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

/// Loads the host key, publishes it, and reads all users and targets. Waits up to [`cluster::START_TIMEOUT`] for each answer
/// about the key, and for the lists without a limit.
async fn prepare(
    client: Client,
    namespace: &str,
    reports: &UnreadableReports,
) -> anyhow::Result<(PrivateKey, Directory)> {
    let host_key = host_key::load_or_create(client.clone(), namespace).await?;
    if let Err(error) = host_key::publish(client.clone(), namespace, &host_key).await {
        warn!(
            error = format!("{error:#}"),
            "the host key is not published; `kubectl bastion ssh` will not know this gateway"
        );
    }
    Ok((host_key, Directory::watch(client, namespace, reports).await?))
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
    home: Home,
    redis: Option<Arc<RedisLink>>,
    writer: SessionWriter,
    life: watch::Sender<Option<Arc<Instance>>>,
    mut instance: Arc<Instance>,
    mut lease: InstanceLease,
    stop: CancellationToken,
) -> Option<InstanceLease> {
    loop {
        let held = tokio::select! {
            held = instance.stay_alive(lease, stop.clone()) => held,
            () = instance.pulse.beat() => None,
            () = redis_side::stay_in_touch(&instance, redis.as_deref(), home.sessions()) => None,
            () = instance.obey(&home, writer.clone()) => {
                error!("the watch of the gateway's own sessions has ended");
                return None;
            }
        };
        if held.is_some() {
            return held;
        }
        life.send_replace(None);
        (instance, lease) = begin(&home, &stop).await?;
        life.send_replace(Some(instance.clone()));
    }
}

/// Begins an instance, and tries again until its Lease is created. Returns `None` if `stop` is cancelled first.
async fn begin(home: &Home, stop: &CancellationToken) -> Option<(Arc<Instance>, InstanceLease)> {
    loop {
        match Instance::begin(home).await {
            Ok(begun) => return Some(begun),
            Err(error) => warn!(%error, "the instance's Lease could not be created; trying again"),
        }
        stop.run_until_cancelled(sleep(RENEW_RETRY)).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            max_startups_per_address: 1,
            proxy_protocol_from: Vec::new(),
            accept_env: Vec::new(),
            follow: None,
            recording_url: None,
            redis: None,
            lock_out: LockOut { of_user_at_address: 1, of_user: 1, of_address: 1, time: Duration::ZERO },
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
