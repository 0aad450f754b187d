//! The task of one session: creates its object, joins channels to the target, and writes the end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use jiff::Timestamp;
use kube::ResourceExt;
use russh::ChannelOpenFailure;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{sleep, sleep_until};
use tracing::{Instrument, debug, error, info, warn};

use super::activity::Activity;
use super::channels::{Channels, MAX_CHANNELS};
use super::client::{ClientConnection, ClientSide};
use super::deadlines::Deadlines;
use super::dial_queue::{AdmittedChannel, DialQueue, Dialled};
use super::incoming_queue::{IncomingQueue, MAX_INCOMING_WAIT};
use super::memory::{NO_CHANNEL_MEMORY, SessionMemory};
use super::object;
use super::registry::{EndSignal, SessionHandle, end_requested};
use super::span::session_span;
use super::target_links::TargetLinks;
use super::watchdog::WatchedSession;
use crate::api::{BastionSession, ObservedBy};
use crate::clock;
use crate::cluster::{CreateOutcome, regarding};
use crate::gateway::access::{Admitted, Grant, Refusal};
use crate::gateway::bridge::{
    ChannelContext, ChannelEnd, ChannelOpen, ChannelType, IncomingChannel, RequestedForwards, SessionNotice,
    UserConnection, resource_shortage,
};
use crate::gateway::instance::Instance;
use crate::gateway::observe::{Broadcast, Observers};
use crate::gateway::state::SessionDeps;
use crate::gateway::target::{DialError, DialRequest, TargetConnection};
use crate::lifecycle::{Cause, End, NetworkWatch, PeerSide, Verdict};
use crate::metrics::{METRICS, RefusalLabels, UnreachableLabels};
use crate::recording::{RecordingError, SessionRecording};
use crate::tasks::panic_message;

/// Runs a session from its admission to its written end.
///
/// The session holds its slot until the end is written. The gateway's session limit thus bounds the ends that wait to be
/// written, too.
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

/// Ends a session whose task has panicked, as the watchdog ends one whose task is stuck.
async fn end_after_panic(deps: &SessionDeps, instance: &Instance, name: &str, start: Timestamp) {
    deps.watchdog.remove(name);
    let mut session = deps.writer.reference(name);
    session.uid = instance.registry.find(name).map(|(_, uid)| uid);
    if session.uid.is_some() {
        METRICS.sessions_active.dec();
    }
    // From here on, the instance's session watch ends the object too, in case that this task cannot.
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
        dial_queue: DialQueue::new(client.first.take().and_then(|first| admit_first(first, &memory))),
        target_links: TargetLinks::default(),
        incoming: IncomingQueue::new(),
        requested,
        memory,
    };
    session.create_and_run(object, &instance, client, end_signal).await;
    instance.registry.remove(&name);
    drop(slot);
}

/// Takes memory for the channel that a client opened before its session, which always gets it.
fn admit_first(channel: ChannelOpen, memory: &SessionMemory) -> Option<AdmittedChannel> {
    memory.channel(true).map(|memory| AdmittedChannel { channel, memory })
}

/// One session, on the gateway that accepted it.
pub(super) struct Session {
    name: Arc<str>,
    pub(super) deps: Arc<SessionDeps>,
    pub(super) observers: Observers,
    grant: Grant,
    activity: Arc<Activity>,
    /// Sends announcements to all channels.
    pub(super) announce: watch::Sender<SessionNotice>,
    deadlines: Deadlines,
    user_network: NetworkWatch,
    pub(super) dial_queue: DialQueue,
    pub(super) target_links: TargetLinks,
    incoming: IncomingQueue,
    /// What the user has asked the target for.
    requested: Arc<RequestedForwards>,
    pub(super) channels: Channels,
    memory: SessionMemory,
}

/// An event in a running session.
enum Event {
    /// The user's connection has ended.
    ClientGone,
    /// The registry passes on that the session must end.
    EndRequested(Cause),
    /// A channel has ended.
    ChannelEnded(Result<ChannelEnd, JoinError>),
    /// The connection that no channel uses has ended.
    SpareClosed,
    /// Channels wait for a target to which no connection is left.
    TargetLost,
    /// An attempt to connect to the target has finished.
    Dialled(Dialled),
    /// A required recording has failed.
    RecordingFailed(RecordingError),
    /// A limit is reached.
    LimitReached(Cause),
    /// The network on one side is lost.
    NetworkLost(PeerSide),
    /// The gateway shuts down; its sessions may continue for the grace period.
    Draining,
    /// The user has opened a channel.
    ChannelOpened(ChannelOpen),
    /// The limits, the network or a channel that waits for room are due for a check.
    CheckDue,
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

    /// Runs until something ends the session. Returns the cause.
    async fn run_until_end(&mut self, client: &mut ClientSide, mut end_signal: EndSignal) -> Cause {
        let mut drain_announced = false;
        loop {
            self.deps.watchdog.heartbeat(&self.name);
            let event = if let Some(event) = self.check(client) {
                event
            } else {
                self.admit_incoming(&client.connection).await;
                self.next_event(client, &mut end_signal, drain_announced).await
            };
            drain_announced |= matches!(event, Event::Draining);
            if let Some(cause) = self.handle(event, client).await {
                return cause;
            }
        }
    }

    /// Handles an event. Returns the cause if it ends the session. Each end is named by its reason.
    async fn handle(&mut self, event: Event, client: &ClientSide) -> Option<Cause> {
        match event {
            // UserExit, TabClosed, ClientDisconnected; NetworkLost behind a TCP proxy.
            Event::ClientGone => Some(self.client_gone(client).await),
            // ApiClosed, AdminTerminated, AccessRevoked, GatewayShutdown, GatewayLost; IdleTimeout, MaxDuration.
            Event::EndRequested(cause) | Event::LimitReached(cause) => Some(cause),
            // TargetClosed.
            Event::ChannelEnded(ended) => self.channel_ended(ended),
            Event::SpareClosed => self.spare_closed(),
            Event::TargetLost => {
                warn!("no connection to the target is left; the session ends");
                Some(Cause::TargetClosed)
            }
            // TargetUnreachable.
            Event::Dialled(dialled) => self.dialled(dialled).await,
            // RecordingFailed.
            Event::RecordingFailed(failure) => Some(Cause::RecordingFailed(failure.message)),
            // NetworkLost.
            Event::NetworkLost(side) => Some(Cause::NetworkLost(side)),
            // The rest ends no session.
            Event::Draining => {
                self.announce_drain();
                None
            }
            Event::ChannelOpened(channel) => {
                self.channel_opened(channel);
                None
            }
            Event::CheckDue => None,
        }
    }

    /// Waits for the next event. Of several, the first in this list is returned.
    async fn next_event(
        &mut self,
        client: &mut ClientSide,
        end_signal: &mut EndSignal,
        drain_announced: bool,
    ) -> Event {
        let waits_for_room = self.incoming.has_next();
        tokio::select! {
            biased;
            cause = end_requested(end_signal) => Event::EndRequested(cause),
            failure = self.observers.recording.wait_for_failure() => Event::RecordingFailed(failure),
            Some(dialled) = self.dial_queue.next() => Event::Dialled(dialled),
            Some(ended) = self.channels.next_end() => Event::ChannelEnded(ended),
            () = client.gone.cancelled() => Event::ClientGone,
            Some(channel) = client.opened.recv() => Event::ChannelOpened(channel),
            () = self.incoming.receive(), if !waits_for_room => Event::CheckDue,
            () = self.target_links.spare_closed() => Event::SpareClosed,
            () = self.deps.stop.cancelled(), if !drain_announced => Event::Draining,
            () = sleep_until(self.deadlines.next_check().into()) => Event::CheckDue,
            () = sleep(self.target_links.check_interval()) => Event::CheckDue,
        }
    }

    /// Checks the limits, the network of both sides, and the connections to the target.
    fn check(&mut self, client: &ClientSide) -> Option<Event> {
        let now = Instant::now();
        match self.deadlines.check(self.activity.last_input(), now) {
            Verdict::End(cause) => return Some(Event::LimitReached(cause)),
            Verdict::Warn(text) => drop(self.announce.send_replace(SessionNotice::Warning(text.into()))),
            Verdict::Within(_) => {}
        }
        let network_now = clock::now();
        if client.health.tcp_health().is_some_and(|health| self.user_network.is_lost(health, network_now)) {
            return Some(Event::NetworkLost(PeerSide::User));
        }
        if self.target_links.is_network_lost(network_now) {
            return Some(Event::NetworkLost(PeerSide::Target));
        }
        let (_, passed) = self.activity.bytes();
        self.target_links.is_target_lost(!self.channels.is_empty(), passed, now).then_some(Event::TargetLost)
    }

    /// Returns why the session ends after the user's connection has ended.
    async fn client_gone(&mut self, client: &ClientSide) -> Cause {
        self.announce.send_replace(SessionNotice::Ended(None));
        self.channels.client_gone(!self.dial_queue.is_empty(), client.close_cause()).await
    }

    fn channel_ended(&mut self, ended: Result<ChannelEnd, JoinError>) -> Option<Cause> {
        match ended {
            Ok(end) => self.channels.record(end),
            Err(error) => {
                warn!(%error, "a channel's task failed; the session ends");
                Some(Cause::TargetClosed)
            }
        }
    }

    fn spare_closed(&mut self) -> Option<Cause> {
        self.target_links.take_spare();
        self.channels.is_empty().then_some(Cause::TargetClosed)
    }

    async fn dialled(&mut self, dialled: Dialled) -> Option<Cause> {
        match dialled {
            Ok(Ok(connection)) => {
                self.connected(connection);
                None
            }
            Ok(Err(unreachable)) => self.unreachable(unreachable).await,
            Err(error) => {
                warn!(%error, "a task that connects to the target failed; the session ends");
                Some(Cause::TargetClosed)
            }
        }
    }

    fn connected(&mut self, connection: TargetConnection) {
        debug!("signed in to the target");
        self.deps.watchdog.add_connection(&self.name, connection.health());
        self.target_links.add(&connection);
        match self.dial_queue.connected() {
            Some(channel) => self.channels.join(channel, connection),
            None => self.target_links.set_spare(connection),
        }
        self.dial_for_waiting();
    }

    /// Handles a failed attempt to connect to the target. Returns the cause if this ends the session; otherwise one channel is
    /// refused.
    async fn unreachable(&mut self, failure: DialError) -> Option<Cause> {
        METRICS.targets_unreachable.get_or_create(&UnreachableLabels { reason: failure.label() }).inc();
        let cause = self.dial_queue.cause_of_failure(&failure);
        if cause.is_none() {
            warn!(error = %failure, "a further connection to the target could not be made");
            if let Some(channel) = self.dial_queue.pop() {
                channel.channel.refuse(&format!("bastion: {}", failure.user_message())).await;
            }
            self.dial_for_waiting();
        }
        cause
    }

    fn dial_for_waiting(&mut self) {
        for _ in 0..self.dial_queue.missing() {
            self.dial();
        }
    }

    fn dial(&mut self) {
        let Grant { user, login, .. } = &self.grant;
        // The keys, credentials or address of the target may have changed since the session began.
        let target = self.deps.directory.current_target(&self.grant.target);
        let (session, user, login) = (self.name.clone(), user.clone(), login.clone());
        let (incoming, memory) = (self.incoming.sender(), self.memory.user());
        let request = DialRequest { session, user, target, login, incoming, memory };
        self.dial_queue.dial(self.deps.dialer.clone(), request);
    }

    /// Warns users at a terminal that the gateway shuts down.
    fn announce_drain(&self) {
        let seconds = self.deps.grace_period.as_secs();
        if seconds > 0 {
            let text = format!("bastion: this gateway is being stopped; the session ends in {seconds} seconds");
            self.announce.send_replace(SessionNotice::Warning(text.into()));
        }
    }

    /// Joins a channel of the user to the spare connection, or dials for it.
    fn channel_opened(&mut self, channel: ChannelOpen) {
        if self.dial_queue.len() + self.channels.len() >= MAX_CHANNELS {
            // A closed channel still counts while it passes data on to the target.
            return self.refuse_channel(channel, "bastion: too many channels are open");
        }
        let channel = match self.admit_channel(channel) {
            Ok(channel) => channel,
            Err(channel) => {
                METRICS.channels_without_memory.inc();
                return self.refuse_channel(channel, NO_CHANNEL_MEMORY);
            }
        };
        if let Some(connection) = self.target_links.take_spare() {
            self.channels.join(channel, connection);
        } else {
            self.dial_queue.push(channel);
            self.dial_for_waiting();
        }
    }

    fn refuse_channel(&self, channel: ChannelOpen, notice: &'static str) {
        self.deps.tasks.spawn(async move { channel.refuse(notice).await }.in_current_span());
    }

    /// Takes memory for a channel of the user. Returns the channel if the user may not take memory for another one.
    pub(super) fn admit_channel(&self, channel: ChannelOpen) -> Result<AdmittedChannel, ChannelOpen> {
        let is_first = self.channels.is_empty() && self.dial_queue.is_empty();
        match self.memory.channel(is_first) {
            Some(memory) => Ok(AdmittedChannel { channel, memory }),
            None => Err(channel),
        }
    }

    /// Opens the next channel of the target to the user if it is due: there is room for it, or it has waited too long.
    async fn admit_incoming(&mut self, client: &ClientConnection) {
        let is_full = self.channels.is_full();
        let Some(incoming) = self.incoming.take_due(is_full, &self.requested) else { return };
        match client {
            ClientConnection::Ssh(user) => self.open_incoming(incoming, user).await,
            // The web terminal requests no such channel.
            ClientConnection::Web(_) => incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await,
        }
    }

    /// Opens a channel of the target to the user, or refuses it.
    async fn open_incoming(&mut self, incoming: IncomingChannel, user: &UserConnection) {
        let (allow, restrictions) = (self.grant.target.spec.allow, &self.grant.restrictions);
        let allowed = match incoming.channel_type {
            ChannelType::Agent => restrictions.agent_forward(allow),
            ChannelType::ForwardedTcpip { .. } => restrictions.remote_forward(allow),
        };
        if let Err(denied) = allowed {
            incoming.channel_type.write_audit(&self.observers.audit, None, denied.result);
            incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if !self.requested.includes(&incoming.channel_type) {
            METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "not_requested" }).inc();
            warn!(
                channel_type = incoming.channel_type.label(),
                "a channel that the target opens is refused: the user did not ask for it"
            );
            incoming.channel_type.write_audit(&self.observers.audit, None, "refused: the user did not ask for it");
            incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if self.channels.is_full() {
            let seconds = MAX_INCOMING_WAIT.as_secs();
            let why = format!("{MAX_CHANNELS} channels of the session were open for {seconds} s");
            METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "waited" }).inc();
            warn!(why, "a channel that the target opens is refused");
            incoming.channel_type.write_audit(&self.observers.audit, None, "not opened: too many channels");
            incoming.refuse(resource_shortage(&format!("bastion: {why}"))).await;
        } else if let Some(memory) = self.memory.incoming_channel() {
            self.channels.join_incoming(incoming, user.clone(), memory);
        } else {
            METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "memory" }).inc();
            incoming.channel_type.write_audit(&self.observers.audit, None, "not opened: no memory");
            incoming.refuse(resource_shortage("bastion: this gateway has no memory for another channel")).await;
        }
    }
}
