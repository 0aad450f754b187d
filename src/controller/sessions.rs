//! The reconciler of sessions: `decide()` says what to do, and this does it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::runtime::controller::{self, Action as Next, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Settings;
use super::leader::LeadershipGuard;
use super::retention::surplus;
use crate::api::{BastionSession, Phase};
use crate::cluster::{
    Guarded, REQUEST_TIMEOUT, SessionWriter, UnreadableReports, WATCH_SECONDS, WriteError, code, regarding,
};
use crate::lifecycle::{Action, Cause, END_TIMEOUT, FailureDetector, Situation, attend, decide};
use crate::metrics::{METRICS, PhaseLabels};
use crate::redis::{EndOrder, OrderedCause, RedisLink, orders};

/// How many sessions are seen to at once.
const CONCURRENCY: u16 = 8;
/// How long after a failure a session is looked at again.
const RETRY: Duration = Duration::from_secs(1);
/// How many orders through Redis may wait.
const ORDERS: usize = 1024;
/// How often it is looked at whether there are too many finished sessions.
const SURPLUS_EVERY: Duration = Duration::from_secs(5);

/// A session as the watch delivers it, which may be unreadable.
type Seen = Guarded<BastionSession>;

struct Context {
    api: Api<BastionSession>,
    reports: UnreadableReports,
    observer: Arc<Mutex<FailureDetector>>,
    /// The way of orders to gateways that may not see the API, where there is Redis.
    orders: Option<mpsc::Sender<(String, EndOrder)>>,
    writer: SessionWriter,
    retention: Duration,
    guard: LeadershipGuard,
    /// Since when this controller has known that somebody asked for the end of a session, by uid.
    asked: Mutex<HashMap<String, Instant>>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("its end could not be written: {0}")]
    End(#[from] WriteError),
    #[error("it could not be deleted: {0}")]
    Prune(#[from] kube::Error),
    #[error("the API server did not answer")]
    Timeout,
}

/// Reconciles sessions until `stop` is cancelled: whenever one changes, when its time has come, and all sessions of
/// an instance whose name comes out of `lost`.
///
/// # Errors
/// None at present; the watch goes on through every outage.
pub async fn run(
    client: Client,
    settings: Settings,
    redis: Option<Arc<RedisLink>>,
    observer: Arc<Mutex<FailureDetector>>,
    writer: SessionWriter,
    reports: UnreadableReports,
    lost: mpsc::Receiver<String>,
    guard: LeadershipGuard,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let seen: Api<Seen> = Api::namespaced(client.clone(), &settings.namespace);
    let controller = Controller::new(seen, watcher::Config::default().timeout(WATCH_SECONDS));
    let store = controller.store();
    let losses = stream::unfold(lost, async |mut lost| lost.recv().await.map(|instance| (instance, lost)));
    let of_the_lost = losses.flat_map(move |instance| {
        let sessions = store.state_filter(|seen| runs_on(seen, &instance));
        if !sessions.is_empty() {
            METRICS.sweeps.inc();
        }
        stream::iter(sessions.into_iter().map(|session| ObjectRef::from_obj(&*session)))
    });
    let (orders, ordered) = mpsc::channel(ORDERS);
    let context = Arc::new(Context {
        api: Api::namespaced(client, &settings.namespace),
        reports,
        observer,
        orders: redis.is_some().then_some(orders),
        writer,
        retention: settings.retention,
        guard: guard.clone(),
        asked: Mutex::default(),
    });
    let finished = controller.store();
    let reconciling = controller
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .trigger_backoff(watcher::ExponentialBackoff::from(crate::cluster::retry_pace()))
        .reconcile_on(of_the_lost)
        // What the leader has to see to was left alone before it led.
        .reconcile_all_on(stream::unfold(guard, async |mut guard| {
            guard.ends().await;
            guard.begins().await.then_some(((), guard))
        }))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, retry, context.clone())
        .for_each(async |outcome| {
            if let Err(error) = outcome {
                debug!(%error, "reconciliation");
            }
        });
    tokio::select! {
        () = reconciling => {}
        () = deliver(redis.as_deref(), ordered) => {}
        () = context.prune_surplus(finished, settings.max_finished) => {}
    }
    Ok(())
}

/// Whether the session has not ended and is carried by this gateway instance.
fn runs_on(seen: &Seen, instance: &str) -> bool {
    match &seen.0 {
        Ok(session) => session.spec.gateway.instance == instance && !session.phase().is_final(),
        Err(unreadable) => unreadable.session.instance.as_deref() == Some(instance) && unreadable.is_active(),
    }
}

/// Carries out what [`decide`] returns for a session. A session that cannot be read is reported. It ends as any other, but it
/// is not deleted, since it is not on record.
async fn reconcile(seen: Arc<Seen>, context: Arc<Context>) -> Result<Next, Failure> {
    let (instance, runs) = match &seen.0 {
        Ok(session) => (session.spec.gateway.instance.as_str(), !session.phase().is_final()),
        Err(unreadable) => {
            context.reports.report::<BastionSession>(unreadable);
            let Some(instance) = unreadable.session.instance.as_deref().filter(|_| unreadable.is_active()) else {
                return Ok(Next::await_change());
            };
            (instance, true)
        }
    };
    let now = Instant::now();
    let situation = Situation {
        instance: context.observer.lock().unwrap_or_else(PoisonError::into_inner).state(instance, now, runs),
        asked_for: context.asked_for(&seen, now),
        retention: context.guard.holds().then_some(context.retention),
        now: Timestamp::now(),
    };
    let (action, reference) = match &seen.0 {
        Ok(session) => (decide(session, &situation), regarding(session)),
        Err(unreadable) => (
            attend(unreadable.session.start, unreadable.asked_to_end(), &situation),
            unreadable.reference::<BastionSession>(),
        ),
    };
    match action {
        Action::Wait => Ok(Next::await_change()),
        Action::LookAgain(after) => Ok(Next::requeue(after)),
        Action::Order(cause, again) => {
            context.order(seen.name_any(), instance, &cause);
            Ok(Next::requeue(again))
        }
        Action::End(end) => {
            let version = seen.resource_version().unwrap_or_default();
            let written = timeout(END_TIMEOUT, context.writer.end_as_seen(&reference, &version, &end)).await;
            match written.map_err(|_| Failure::Timeout)? {
                Ok(_) => Ok(Next::await_change()),
                // By another controller, as a rule: this one is told of it by its watch, and then nothing is left to do.
                Err(WriteError::Kube(error)) if code(&error) == Some(409) => Ok(Next::requeue(RETRY)),
                Err(error) => Err(error.into()),
            }
        }
        Action::Prune => {
            context.prune(&*seen).await?;
            Ok(Next::await_change())
        }
    }
}

/// Sends orders through Redis, one after the other, so that a Redis which takes its time holds up nothing else.
async fn deliver(redis: Option<&RedisLink>, mut orders: mpsc::Receiver<(String, EndOrder)>) {
    let Some(redis) = redis else { return std::future::pending().await };
    while let Some((instance, order)) = orders.recv().await {
        // A failure is counted and logged; the order comes round again.
        if orders::send(redis, &instance, &order).await.is_ok() {
            METRICS.orders_sent.inc();
        }
    }
}

/// Shows how many sessions there are in each phase.
fn count(sessions: &[Arc<BastionSession>]) {
    let mut by_phase = Phase::ALL.map(|phase| (phase, 0));
    for session in sessions {
        by_phase.iter_mut().filter(|(phase, _)| *phase == session.phase()).for_each(|(_, count)| *count += 1);
    }
    for (phase, count) in by_phase {
        METRICS.session_objects.get_or_create(&PhaseLabels { phase: phase.as_str() }).set(count);
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn retry(session: Arc<Seen>, failure: &Failure, _: Arc<Context>) -> Next {
    METRICS.reconcile_failures.inc();
    warn!(session = session.name_any(), error = %failure, "session could not be seen to; trying again");
    Next::requeue(RETRY)
}

impl Context {
    /// For how long it has been known that somebody asked for the session's end.
    fn asked_for(&self, seen: &Seen, now: Instant) -> Duration {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = seen.uid().unwrap_or_default();
        if seen.has_ended() || seen.asked_to_end().is_none() {
            asked.remove(&uid);
            return Duration::ZERO;
        }
        now.duration_since(*asked.entry(uid).or_insert(now))
    }

    /// Tells the session's gateway through Redis, where there is one, what it may not have heard from the API.
    fn order(&self, session: String, instance: &str, cause: &Cause) {
        let (Some(orders), Some(cause)) = (&self.orders, OrderedCause::of(cause)) else { return };
        let order = EndOrder { session, cause };
        // Where Redis takes its time an order finds no room. It comes round again.
        let _ = orders.try_send((instance.to_owned(), order));
    }

    /// While this controller leads, deletes the oldest finished sessions whenever there are more than `max`.
    async fn prune_surplus(&self, store: Store<Seen>, max: usize) {
        let mut ticks = interval(SURPLUS_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sessions: Vec<_> = store.state().iter().filter_map(|seen| seen.0.as_ref().ok().cloned()).collect();
            count(&sessions);
            if !self.guard.holds() || sessions.len() <= max {
                continue;
            }
            for session in surplus(sessions, max) {
                if !self.guard.holds() {
                    break;
                }
                if let Err(error) = self.prune(&*session).await {
                    METRICS.reconcile_failures.inc();
                    warn!(session = session.name_any(), %error, "a finished session too many; trying again");
                    break;
                }
            }
        }
    }

    async fn prune(&self, session: &impl Resource<DynamicType = ()>) -> Result<(), Failure> {
        let same = Preconditions { uid: session.uid(), resource_version: session.resource_version() };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
        match timeout(REQUEST_TIMEOUT, self.api.delete(&session.name_any(), &params)).await {
            Ok(Ok(_)) => {
                METRICS.sessions_pruned.inc();
                debug!(session = session.name_any(), "finished session deleted");
                Ok(())
            }
            // Gone already, or changed, and then it comes round again.
            Ok(Err(error)) if matches!(code(&error), Some(404 | 409)) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(Failure::Timeout),
        }
    }
}
