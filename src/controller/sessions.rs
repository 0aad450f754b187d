//! Reconciles sessions: carries out the actions that [`decide`] returns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kube::runtime::controller::{self, Action as Requeue, Controller};
use kube::runtime::reflector::{self, ObjectRef, Store, reflector};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Settings;
use super::reported_ends;
use super::shared_detector::SharedDetector;
use crate::api::{BastionSession, Phase};
use crate::clock;
use crate::cluster::{Guarded, SessionWriter, UnreadableReports, WriteError, code, watch};
use crate::lifecycle::{Action, Cause, END_TIMEOUT, End, Situation, decide, decide_active};
use crate::metrics::{METRICS, PhaseLabels};
use crate::redis::{EndOrder, OrderedCause, RedisClient, orders};
use crate::tasks::ticks;

/// How many sessions are reconciled at once. If the API server takes one second for an answer, this many ends are written per
/// second.
const CONCURRENCY: u16 = 32;
/// The pause between a failure and the next attempt.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How many end orders may wait for Redis.
const ORDERS_CAPACITY: usize = 1024;
/// How often sessions are counted by phase.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// A session as the watch delivers it: readable or not.
type Observed = Guarded<BastionSession>;

/// Reconciles sessions.
pub struct Reconciler {
    pub client: Client,
    pub settings: Settings,
    pub redis: Option<Arc<RedisClient>>,
    pub detector: SharedDetector,
    pub writer: SessionWriter,
    pub reports: UnreadableReports,
}

struct Context {
    reports: UnreadableReports,
    detector: SharedDetector,
    /// Sends end orders to gateways through Redis; `None` without Redis.
    orders: Option<mpsc::Sender<(String, EndOrder)>>,
    writer: SessionWriter,
    /// When this controller first saw the request to end a session, by the session's uid.
    end_requests: Mutex<HashMap<String, Instant>>,
}

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error("the end could not be written: {0}")]
    End(#[from] WriteError),
    #[error("the API server did not answer in time")]
    Timeout,
}

impl Reconciler {
    /// Reconciles sessions until `stop` is cancelled. A session is reconciled when it changes, when its next deadline comes,
    /// and when its instance is received from `lost`.
    pub async fn run(self, lost: mpsc::Receiver<String>, stop: CancellationToken) {
        let sessions: Api<Observed> = Api::namespaced(self.client, &self.settings.namespace);
        let (store, writer) = reflector::store();
        let (listed, lists) = mpsc::channel(1);
        let events = watch(sessions, watcher::Config::default()).map(Ok::<_, watcher::Error>);
        let events = reflector(writer, events).inspect(move |event| {
            if matches!(event, Ok(watcher::Event::InitDone)) {
                // A full queue has the same effect.
                let _ = listed.try_send(());
            }
        });
        let controller = Controller::for_stream(events.applied_objects(), store);
        let (orders, queued_orders) = mpsc::channel(ORDERS_CAPACITY);
        let context = Arc::new(Context {
            reports: self.reports,
            detector: self.detector,
            orders: self.redis.is_some().then_some(orders),
            writer: self.writer,
            end_requests: Mutex::default(),
        });
        let (store, lost) = (controller.store(), lost_sessions(lost, controller.store()));
        let reconciling = controller
            .with_config(controller::Config::default().concurrency(CONCURRENCY))
            .reconcile_on(lost)
            // While a list is read, the store still has the previous state, and its sessions are reconciled in that state.
            .reconcile_all_on(received(lists))
            .graceful_shutdown_on(stop.cancelled_owned())
            .run(reconcile, retry, context.clone())
            .for_each(async |outcome| {
                if let Err(error) = outcome {
                    debug!(%error, "reconciliation failed");
                }
            });
        tokio::select! {
            () = reconciling => {}
            () = send_orders(self.redis.as_deref(), queued_orders) => {}
            () = reported_ends::write_ends(
                self.redis.as_deref(), &context.detector, store.clone(), &context.writer,
            ) => {}
            () = count_phases(store) => {}
        }
    }
}

/// Converts the receiver of a channel into a stream.
fn received<T: Send>(queue: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(queue, async |mut queue| queue.recv().await.map(|item| (item, queue)))
}

/// Returns the active sessions of each lost instance.
fn lost_sessions(
    lost: mpsc::Receiver<String>,
    store: Store<Observed>,
) -> impl Stream<Item = ObjectRef<Observed>> + Send {
    received(lost).flat_map(move |instance| {
        let sessions = store.state_filter(|observed| observed.active_on() == Some(instance.as_str()));
        if !sessions.is_empty() {
            METRICS.sweeps.inc();
        }
        stream::iter(sessions.into_iter().map(|session| ObjectRef::from_obj(&*session)))
    })
}

/// Carries out what [`decide`] returns for a session. An unreadable session is reported and ended like any other.
async fn reconcile(observed: Arc<Observed>, context: Arc<Context>) -> Result<Requeue, ReconcileError> {
    let (instance, is_active) = match &observed.0 {
        Ok(session) => (session.spec.gateway.instance.as_str(), !session.phase().is_final()),
        Err(unreadable) => {
            context.reports.report::<BastionSession>(unreadable);
            let Some(instance) = unreadable.session.instance.as_deref().filter(|_| unreadable.is_active()) else {
                return Ok(Requeue::await_change());
            };
            (instance, true)
        }
    };
    let situation = context.situation(&observed, instance, is_active);
    let action = match &observed.0 {
        Ok(session) => decide(session, &situation),
        Err(unreadable) => decide_active(unreadable.session.start, unreadable.requested_end(), &situation),
    };
    match action {
        Action::Wait => Ok(Requeue::await_change()),
        Action::RequeueAfter(after) => Ok(Requeue::requeue(after)),
        Action::Order(cause, again) => {
            context.order(observed.name_any(), instance, &cause);
            Ok(Requeue::requeue(again))
        }
        Action::End(end) => context.end(&observed, &end).await,
    }
}

/// Sends queued orders through Redis, one at a time, so that a slow Redis delays only orders. Without Redis, waits forever.
async fn send_orders(redis: Option<&RedisClient>, mut orders: mpsc::Receiver<(String, EndOrder)>) {
    let Some(redis) = redis else { return std::future::pending().await };
    while let Some((instance, order)) = orders.recv().await {
        // Errors are counted and logged. The session is reconciled again, which repeats the order.
        if orders::send(redis, &instance, &order).await.is_ok() {
            METRICS.orders_sent.inc();
        }
    }
}

/// Counts the sessions by phase at every tick. Never returns.
async fn count_phases(store: Store<Observed>) {
    let mut ticks = ticks(COUNT_INTERVAL);
    loop {
        ticks.tick().await;
        set_phase_metrics(&store.state());
    }
}

/// Sets the metrics of readable sessions by phase.
fn set_phase_metrics(sessions: &[Arc<Observed>]) {
    let mut by_phase = Phase::ALL.map(|phase| (phase, 0));
    for session in sessions.iter().filter_map(|observed| observed.0.as_ref().ok()) {
        by_phase.iter_mut().filter(|(phase, _)| *phase == session.phase()).for_each(|(_, count)| *count += 1);
    }
    for (phase, count) in by_phase {
        METRICS.session_objects.get_or_create(&PhaseLabels { phase: phase.as_str() }).set(count);
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the signature is kube's")]
fn retry(session: Arc<Observed>, error: &ReconcileError, _: Arc<Context>) -> Requeue {
    METRICS.reconcile_failures.inc();
    warn!(session = session.name_any(), %error, "could not reconcile the session; retrying");
    Requeue::requeue(RETRY_PAUSE)
}

impl Context {
    fn situation(&self, observed: &Observed, instance: &str, is_active: bool) -> Situation {
        let now = clock::now();
        Situation {
            instance: self.detector.lock().state(instance, now, is_active),
            requested_for: self.since_end_request(observed, now),
            now: Timestamp::now(),
        }
    }

    /// Returns how long this controller has known of a request to end the session; zero if there is no request.
    fn since_end_request(&self, observed: &Observed, now: Instant) -> Duration {
        let mut requests = self.end_requests.lock();
        let uid = observed.uid().unwrap_or_default();
        if observed.has_ended() || observed.requested_end().is_none() {
            requests.remove(&uid);
            return Duration::ZERO;
        }
        now.duration_since(*requests.entry(uid).or_insert(now))
    }

    /// Writes the end of a session.
    async fn end(&self, observed: &Observed, end: &End) -> Result<Requeue, ReconcileError> {
        let version = observed.resource_version().unwrap_or_default();
        let written =
            timeout(END_TIMEOUT, self.writer.end_if_unchanged(&observed.object_ref(&()), &version, end)).await;
        match written.map_err(|_| ReconcileError::Timeout)? {
            Ok(_) => Ok(Requeue::await_change()),
            // Another controller usually wrote the end. The watch then delivers it before the retry.
            Err(WriteError::Kube(error)) if code(&error) == Some(409) => Ok(Requeue::requeue(RETRY_PAUSE)),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the session's gateway an order through Redis to end the session, in case the gateway cannot reach the API server.
    fn order(&self, session: String, instance: &str, cause: &Cause) {
        let (Some(orders), Some(cause)) = (&self.orders, OrderedCause::of(cause)) else { return };
        let order = EndOrder { session, cause };
        // The queue is full while Redis is slow. The next reconciliation repeats the order.
        let _ = orders.try_send((instance.to_owned(), order));
    }
}
