//! The task of one session: creates its object, runs it until an event ends it, and has its end written.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use jiff::Timestamp;
use kube::ResourceExt;
use tokio::sync::watch;
use tracing::{Instrument, error, info};

use super::activity::Activity;
use super::channels::Channels;
use super::client::ClientSide;
use super::deadlines::Deadlines;
use super::dial_queue::{AdmittedChannel, DialQueue};
use super::incoming_queue::IncomingQueue;
use super::memory::SessionMemory;
use super::object;
use super::registry::{EndSignal, SessionHandle};
use super::span::session_span;
use super::target_links::TargetLinks;
use super::watchdog::WatchedSession;
use crate::api::{BastionSession, ObservedBy};
use crate::cluster::{CreateOutcome, regarding};
use crate::gateway::access::{Admitted, Grant, Refusal};
use crate::gateway::bridge::{ChannelContext, RequestedForwards, SessionNotice};
use crate::gateway::instance::Instance;
use crate::gateway::observe::{Broadcast, Observers};
use crate::gateway::state::SessionDeps;
use crate::lifecycle::{Cause, End, NetworkWatch};
use crate::metrics::METRICS;
use crate::recording::SessionRecording;
use crate::tasks::panic_message;

/// Runs a session from its admission to its written end.
///
/// The session holds its slot until the end is written. The gateway's session limit thus also bounds the number of unwritten
/// ends.
pub async fn run(deps: Arc<SessionDeps>, admitted: Admitted, client: ClientSide, activity: Arc<Activity>) {
    let span = session_span(&admitted.audit.session, &admitted.grant, client.peer);
    let (name, instance) = (admitted.audit.session.clone(), admitted.instance.clone());
    let (start, cut) = (Timestamp::now(), client.cut.clone());
    let running = async {
        let session = Box::pin(run_in_span(deps.clone(), admitted, client, activity));
        if let Err(panic) = AssertUnwindSafe(session).catch_unwind().await {
            error!(panic = panic_message(&*panic), "the session's task has panicked; the session is cut off and ends");
            cut.cancel();
            end_after_panic(&deps, &instance, &name, start).await;
        }
    };
    running.instrument(span).await;
}

/// Ends a session whose task has panicked, in the same way as the watchdog ends a session whose task is stuck.
async fn end_after_panic(deps: &SessionDeps, instance: &Instance, name: &str, start: Timestamp) {
    deps.watchdog.remove(name);
    let mut session = deps.writer.reference(name);
    session.uid = instance.registry.find(name).map(|(_, uid)| uid);
    if session.uid.is_some() {
        METRICS.sessions_active.dec();
    }
    // From here on, the instance's session watch also ends the object, in case this task cannot.
    instance.registry.remove(name);
    let end = End::inferred(Cause::Stuck, ObservedBy::Gateway, start, Some(Timestamp::now()));
    deps.end_reports.write(&deps.writer, &session, &end, instance.end_signer.as_ref()).await;
}

async fn run_in_span(deps: Arc<SessionDeps>, admitted: Admitted, mut client: ClientSide, activity: Arc<Activity>) {
    let started = Instant::now();
    let Admitted { grant, audit, slot, instance } = admitted;
    let name = audit.session.clone();
    let (mode, about) = (grant.target.spec.recording, object::about(&deps.namespace, &name, &grant, &client));
    let recording = Arc::new(SessionRecording::new(mode, deps.recordings.clone(), about, deps.tasks.clone()));
    let object = object::object(&name, &grant, &client, &instance, &recording, Timestamp::now());
    let announce = watch::Sender::new(SessionNotice::None);
    let broadcast = Arc::new(Broadcast::new(announce.clone()));
    let handle = SessionHandle {
        grant: grant.clone(),
        activity: activity.clone(),
        audit: audit.clone(),
        broadcast: broadcast.clone(),
    };
    let end_signal = instance.registry.register(&name, handle);
    let observers = Observers { audit, recording, broadcast };
    let requested = Arc::<RequestedForwards>::default();
    let context = ChannelContext {
        activity: activity.clone(),
        pause_detector: instance.pause_detector.clone(),
        requested: requested.clone(),
        notices: announce.subscribe(),
        cleanup_tasks: deps.tasks.clone(),
    };
    let memory = SessionMemory::new(&grant.user.name_any());
    let first = client.first.take().map(|channel| AdmittedChannel { channel, memory: memory.first_channel() });
    let mut session = Session {
        name: name.clone(),
        deps,
        channels: Channels::new(observers.clone(), context),
        observers,
        grant,
        activity,
        announce,
        deadlines: Deadlines::new(object.spec.limits, started),
        user_network: NetworkWatch::default(),
        dial_queue: DialQueue::new(first),
        target_links: TargetLinks::default(),
        incoming: IncomingQueue::new(),
        requested,
        memory,
    };
    session.create_and_run(object, &instance, client, end_signal).await;
    instance.registry.remove(&name);
    drop(slot);
}

/// One session, on the gateway that accepted it.
pub(super) struct Session {
    pub(super) name: Arc<str>,
    pub(super) deps: Arc<SessionDeps>,
    pub(super) observers: Observers,
    pub(super) grant: Grant,
    pub(super) activity: Arc<Activity>,
    /// Sends announcements to all channels.
    pub(super) announce: watch::Sender<SessionNotice>,
    pub(super) deadlines: Deadlines,
    pub(super) user_network: NetworkWatch,
    pub(super) dial_queue: DialQueue,
    pub(super) target_links: TargetLinks,
    pub(super) incoming: IncomingQueue,
    /// The forwards that the user has requested from the target.
    pub(super) requested: Arc<RequestedForwards>,
    pub(super) channels: Channels,
    pub(super) memory: SessionMemory,
}

impl Session {
    /// Creates the session's object, runs the session, and writes its end. No data passes before the object exists.
    async fn create_and_run(
        &mut self,
        object: BastionSession,
        instance: &Instance,
        mut client: ClientSide,
        end_signal: EndSignal,
    ) {
        // The target is dialled while the object is created.
        self.dial();
        let is_wanted = || instance.pause_detector.is_confirmed() && end_signal.borrow().is_none();
        match self.deps.writer.create(&object, is_wanted).await {
            CreateOutcome::Session(created) => self.run_created(&created, instance, &mut client, end_signal).await,
            CreateOutcome::Refused(status) => {
                self.reject(&mut client, Refusal::from_create_status(&status), status.message).await;
            }
            CreateOutcome::Unknown(error) => {
                self.reject(&mut client, Refusal::NotRecorded, error).await;
                // The API server may have created the object although its answer was lost.
                let end = End::inferred(Cause::Stale, ObservedBy::Gateway, object.spec.start_time.0, None);
                self.deps.writer.end_until_final(&self.deps.writer.reference(&self.name), &end).await;
            }
        }
    }

    /// Runs the session whose object is `created`, and writes its end.
    async fn run_created(
        &mut self,
        created: &BastionSession,
        instance: &Instance,
        client: &mut ClientSide,
        end_signal: EndSignal,
    ) {
        METRICS.sessions_started.inc();
        METRICS.sessions_active.inc();
        let (start, uid, reference) =
            (created.spec.start_time.0, created.uid().unwrap_or_default(), regarding(created));
        instance.registry.set_created(&self.name, uid.clone(), start);
        client.notify_started(&self.name, uid);
        let watched = WatchedSession::new(reference.clone(), start, client.health.clone(), instance.end_signer.clone());
        self.deps.watchdog.watch(&self.name, watched);
        info!(login = created.spec.login, "session started");
        let cause = match self.excluded(created).await {
            Some(cause) => cause,
            None => self.run_until_end(client, end_signal).await,
        };
        self.deps.watchdog.remove(&self.name);
        let time = start.checked_add(self.deadlines.age()).unwrap_or_else(|_| Timestamp::now());
        let end = End::observed(cause, time, self.activity.bytes());
        self.finish(client, instance, reference, end).await;
        METRICS.sessions_active.dec();
    }

    /// Returns why the session must end at once: the grant's facts changed before the session was registered, or there are too
    /// many sessions of the user.
    async fn excluded(&self, created: &BastionSession) -> Option<Cause> {
        if let Err(reason) = self.deps.directory.check_facts(&self.grant) {
            return Some(Cause::AccessRevoked(reason.to_string()));
        }
        self.deps.session_limit.excess(&self.grant.user, created).await
    }
}
