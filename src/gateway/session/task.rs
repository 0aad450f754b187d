//! One task a session: its object is created, the target dialled, channels are joined, and whatever happens first
//! becomes its end, which is written before the session leaves the books.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use russh::ChannelOpenFailure;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::activity::Activity;
use super::client::{ClientSide, CloseReason, Connected};
use super::object;
use super::registry::{EndSignal, SessionHandle};
use crate::api::RecordingState;
use crate::cluster::{Created, regarding};
use crate::gateway::access::{Admitted, Grant, Refusal};
use crate::gateway::bridge::{
    Announcement, ChannelContext, ChannelEnd, Incoming, MAX_INCOMING, Opened, Purpose, channel, local_forward,
    remote_forward, resource_shortage,
};
use crate::gateway::instance::Instance;
use crate::gateway::net::Health;
use crate::gateway::observe::{Broadcast, ChannelObserver, Observers};
use crate::gateway::state::SessionDeps;
use crate::gateway::target::{ConnectionEnd, DialRequest, TargetConnection, Unreachable};
use crate::lifecycle::{Cause, End, Exit, LimitWatch, NetworkWatch, PeerSide, TargetConnections, TargetWatch, Verdict};
use crate::metrics::{METRICS, RefusalLabels, UnreachableLabels};
use crate::recording::SessionRecording;

/// How long a session that ends before it had a channel waits for one to say so on.
const FIRST_CHANNEL: Duration = Duration::from_millis(500);

/// How many connections to the target are made at once: an sshd as it comes refuses more than ten that are not signed in.
const DIALS_AT_ONCE: usize = 8;
/// How many channels a session may have open at once, whoever opened them.
const MAX_CHANNELS: usize = 128;
/// How long a channel that the target opens may wait for room.
const MAX_INCOMING_WAIT: Duration = Duration::from_secs(30);

/// Runs a session from sign-in to its written end. `slot` is held as long as the cluster thinks that the session
/// is online, so that ends that cannot be written are bounded by the sessions that a gateway may carry.
pub async fn run(deps: Arc<SessionDeps>, admitted: Admitted, mut client: ClientSide, activity: Arc<Activity>) {
    let Admitted { grant, audit, slot, instance } = admitted;
    let started = Instant::now();
    let name = audit.session.clone();
    let about = object::about(&deps.namespace, &name, &grant, &client);
    let (mode, tasks) = (grant.target.spec.recording, deps.tasks.clone());
    let recording = Arc::new(SessionRecording::new(mode, deps.recordings.clone(), about, tasks));
    let object = object::object(&name, &grant, &client, &instance, &recording, Timestamp::now());
    let (announce, announcements) = watch::channel(Announcement::None);
    let stage = Arc::new(Broadcast::new(announce.clone()));
    let carried = SessionHandle { grant, activity, audit, stage };
    let order = instance.registry.enter(&name, carried.clone());
    let SessionHandle { grant, activity, audit, stage } = carried;
    let mut session = Session {
        name: name.clone(),
        deps: deps.clone(),
        observers: Observers { audit, recording, stage },
        instance: instance.clone(),
        grant,
        activity,
        started,
        limits: LimitWatch::new(object.spec.limits),
        announcements,
        dials: JoinSet::new(),
        reached: false,
        spare: None,
        waiting: client.first.take().into_iter().collect(),
        channels: JoinSet::new(),
        incoming: mpsc::channel(MAX_INCOMING),
        next_incoming: None,
        user_network: NetworkWatch::default(),
        target_links: Vec::new(),
        target_interrupted: false,
        target_watch: TargetWatch::default(),
        target_lost: false,
        exit: None,
    };
    session.dial();
    let wanted = || instance.pulse.is_sure() && order.borrow().is_none();
    match deps.writer.create(&object, wanted).await {
        Created::Session(created) => {
            METRICS.sessions_started.inc();
            METRICS.sessions_active.inc();
            let (spec, reference) = (&created.spec, regarding(&created));
            instance.registry.recorded(&name, created.uid().unwrap_or_default(), spec.start_time.0);
            client.recorded(&name, created.uid().unwrap_or_default());
            deps.watchdog.enter(&name, reference.clone(), spec.start_time.0, client.health.clone());
            info!(session = %name, user = spec.user.name, target = spec.target, login = spec.login, client = %client.peer, "session started");
            let cause = match deps.session_limit.surplus(&session.grant.user, &created).await {
                Some(cause) => cause,
                None => session.live(&mut client, order, &announce).await,
            };
            deps.watchdog.leave(&name);
            let time = spec.start_time.0.checked_add(started.elapsed()).unwrap_or_else(|_| Timestamp::now());
            let end = End::seen(cause, time, session.activity.bytes());
            session.finish(&mut client, &announce, reference, end).await;
            METRICS.sessions_active.dec();
        }
        Created::Refused(status) => {
            session.not_recorded(&mut client, &name, Refusal::of_create(&status), status.message).await;
        }
        Created::Unknown(error) => {
            session.not_recorded(&mut client, &name, Refusal::NotRecorded, error).await;
            // The object may come into being all the same, and nobody is behind it.
            let start = object.spec.start_time.0;
            let end = End::unseen(Cause::Stale, crate::api::ObservedBy::Gateway, start, None);
            deps.writer.end_until_final(&deps.writer.reference(&name), &end).await;
        }
    }
    instance.registry.leave(&name);
    drop(slot);
}

struct Session {
    name: Arc<str>,
    deps: Arc<SessionDeps>,
    observers: Observers,
    instance: Arc<Instance>,
    grant: Grant,
    activity: Arc<Activity>,
    started: Instant,
    limits: LimitWatch,
    announcements: watch::Receiver<Announcement>,
    /// Connections to the target that are being made: as many as channels wait for one, up to a limit, and one ahead at
    /// the start.
    dials: JoinSet<Result<TargetConnection, Unreachable>>,
    /// Whether there was a connection to the target.
    reached: bool,
    spare: Option<TargetConnection>,
    waiting: VecDeque<Opened>,
    channels: JoinSet<ChannelEnd>,
    /// Channels that the target opens.
    incoming: (mpsc::Sender<Incoming>, mpsc::Receiver<Incoming>),
    /// The channel that has waited longest, taken out of `incoming`.
    next_incoming: Option<Incoming>,
    user_network: NetworkWatch,
    /// The connections to the target, until their end was announced to their channels.
    target_links: Vec<TargetLink>,
    /// Whether the end of one of them interrupted a channel.
    target_interrupted: bool,
    target_watch: TargetWatch,
    /// Whether the target broke off a channel's connection, and no channel has ended in order since.
    target_lost: bool,
    /// How the last channel ended, if any has.
    exit: Option<Exit>,
}

/// What the session observes of one connection to the target.
struct TargetLink {
    health: Health,
    network: NetworkWatch,
    end: ConnectionEnd,
}

impl Session {
    /// Lives until something ends the session, and says what.
    async fn live(
        &mut self,
        client: &mut ClientSide,
        mut order: EndSignal,
        announce: &watch::Sender<Announcement>,
    ) -> Cause {
        let mut told = false;
        loop {
            self.deps.watchdog.moves(&self.name);
            let next_look = match self.judge(announce) {
                Ok(next) => self.started + next,
                Err(cause) => return cause,
            };
            if let Some(leg) = self.lost_leg(client) {
                return Cause::NetworkLost(leg);
            }
            if self.has_lost_target() {
                warn!(session = %self.name, "no connection to the target is left; the session ends");
                return Cause::TargetClosed;
            }
            self.join_incoming(&client.connection).await;
            tokio::select! {
                biased;
                cause = end_requested(&mut order) => return cause,
                failure = self.observers.recording.failed() => return Cause::RecordingFailed(failure.why),
                Some(dialled) = self.dials.join_next() => match dialled {
                    Ok(Ok(connection)) => self.connected(connection),
                    Ok(Err(unreachable)) => {
                        if let Some(cause) = self.unreachable(unreachable).await {
                            return cause;
                        }
                    }
                    Err(failure) => {
                        warn!(%failure, "dialling failed");
                        return Cause::TargetClosed;
                    }
                },
                Some(ended) = self.channels.join_next() => match ended {
                    Ok(ChannelEnd::Closed(exit)) => {
                        self.exit = Some(exit);
                        self.target_lost = false;
                    }
                    Ok(ChannelEnd::TunnelClosed) => self.tunnel_closed(),
                    // Each channel has a connection of its own; that of another may still be there.
                    Ok(ChannelEnd::TargetLost) if self.channels.is_empty() => return Cause::TargetClosed,
                    Ok(ChannelEnd::Dependent) if self.channels.is_empty() && self.target_lost => {
                        return Cause::TargetClosed;
                    }
                    Ok(ChannelEnd::TargetLost) => self.target_lost = true,
                    Ok(ChannelEnd::Interrupted | ChannelEnd::NotOpened | ChannelEnd::Dependent) => {}
                    Err(failure) => {
                        warn!(%failure, "a channel failed");
                        return Cause::TargetClosed;
                    }
                },
                () = client.gone.cancelled() => return self.client_gone(client.left(), announce).await,
                Some(channel) = client.opened.recv() => self.opened(channel),
                Some(incoming) = self.incoming.1.recv(), if self.next_incoming.is_none() => {
                    self.next_incoming = Some(incoming);
                }
                () = ended(self.spare.as_ref()) => {
                    self.spare = None;
                    if self.channels.is_empty() {
                        return Cause::TargetClosed;
                    }
                }
                () = self.deps.stop.cancelled(), if !told => {
                    told = true;
                    self.say_drain(announce);
                }
                () = sleep_until(next_look.into()) => {}
                () = sleep(self.target_watch.next_look()) => {}
            }
        }
    }

    /// Looks at the limits: the time from the start until the next look, or the end.
    fn judge(&mut self, announce: &watch::Sender<Announcement>) -> Result<Duration, Cause> {
        let now = Instant::now();
        let age = now.duration_since(self.started);
        let idle = now.saturating_duration_since(self.activity.last_input());
        match self.limits.judge(age, idle) {
            Verdict::End(cause) => Err(cause),
            Verdict::Warn(text) => {
                announce.send_replace(Announcement::Warning(text.into()));
                Ok(age)
            }
            // A day is as good as never: the loop comes round and looks again.
            Verdict::Fine(next) => Ok(age + next.unwrap_or(Duration::from_hours(24))),
        }
    }

    /// Tells users at a terminal that the gateway is being stopped, and how long they have.
    fn say_drain(&self, announce: &watch::Sender<Announcement>) {
        let seconds = self.deps.grace_period.as_secs();
        if seconds > 0 {
            let text = format!("bastion: this gateway is being stopped; the session ends in {seconds} seconds");
            announce.send_replace(Announcement::Warning(text.into()));
        }
    }

    /// The side to which the network is lost, if it is.
    fn lost_leg(&mut self, client: &ClientSide) -> Option<PeerSide> {
        let now = Instant::now();
        if client.health.look().is_some_and(|health| self.user_network.is_lost(health, now)) {
            return Some(PeerSide::User);
        }
        let mut lost = false;
        for TargetLink { health, network, .. } in &mut self.target_links {
            lost |= health.look().is_some_and(|health| network.is_lost(health, now));
        }
        lost.then_some(PeerSide::Target)
    }

    /// Returns whether channels wait for a target to which no connection is left.
    fn has_lost_target(&mut self) -> bool {
        let interrupted = &mut self.target_interrupted;
        self.target_links.retain(|link| {
            let is_over = !link.health.is_open() && link.end.is_announced();
            *interrupted |= is_over && link.end.has_interrupted();
            !is_over
        });
        let is_needed = !self.channels.is_empty() || self.spare.is_some();
        *interrupted &= is_needed;
        let connections = if !is_needed || self.target_links.iter().any(|link| link.health.is_open()) {
            TargetConnections::Open
        } else if !self.target_links.is_empty() {
            TargetConnections::Vanished
        } else if *interrupted {
            TargetConnections::Interrupted
        } else {
            TargetConnections::Closed
        };
        let (_, passed) = self.activity.bytes();
        self.target_watch.is_lost(connections, passed, Instant::now())
    }

    fn dial(&mut self) {
        let dialer = self.deps.dialer.clone();
        let Grant { user, login, .. } = &self.grant;
        // As it is now: its keys, its credentials or its address may have changed since the session began.
        let target = self.deps.directory.present(&self.grant.target);
        let (session, user, login) = (self.name.clone(), user.clone(), login.clone());
        let incoming = self.incoming.0.clone();
        self.dials.spawn(dialer.dial(DialRequest { session, user, target, login, incoming }));
    }

    fn connected(&mut self, connection: TargetConnection) {
        debug!(session = %self.name, "signed in to the target");
        self.deps.watchdog.joined(&self.name, connection.health());
        self.reached = true;
        let (health, end) = (connection.health(), connection.end());
        self.target_links.push(TargetLink { health, network: NetworkWatch::default(), end });
        match self.waiting.pop_front() {
            Some(channel) => self.join(channel, connection),
            None => self.spare = Some(connection),
        }
        self.dial_for_waiting();
    }

    /// A connection to the target could not be made. The first one is the session; without a later one only its
    /// channel fails.
    async fn unreachable(&mut self, why: Unreachable) -> Option<Cause> {
        METRICS.targets_unreachable.get_or_create(&UnreachableLabels { reason: why.label() }).inc();
        let (why, told) = (why.to_string(), why.told());
        if !self.reached {
            return Some(Cause::TargetUnreachable { why, told });
        }
        warn!(session = %self.name, error = why, "a further connection to the target could not be made");
        if let Some(channel) = self.waiting.pop_front() {
            channel.refuse(&format!("bastion: {told}")).await;
        }
        self.dial_for_waiting();
        None
    }

    fn opened(&mut self, channel: Opened) {
        if let Some(connection) = self.spare.take() {
            self.join(channel, connection);
            return;
        }
        if self.waiting.len() + self.channels.len() >= MAX_CHANNELS {
            // Channels that were closed may still hold what is on its way to the target.
            self.deps.tasks.spawn(async move { channel.refuse("bastion: too many channels are open").await });
            return;
        }
        self.waiting.push_back(channel);
        self.dial_for_waiting();
    }

    fn dial_for_waiting(&mut self) {
        while self.dials.len() < self.waiting.len().min(DIALS_AT_ONCE) {
            self.dial();
        }
    }

    fn join(&mut self, channel: Opened, connection: TargetConnection) {
        let context = self.channel_context();
        let observer = || Arc::new(ChannelObserver::new(self.observers.clone()));
        let audit = self.observers.audit.clone();
        match channel {
            Opened::Session(channel) => self.channels.spawn(channel::join(channel, connection, observer(), context)),
            Opened::Companion(channel) => {
                let join = channel::join(channel, connection, observer(), context);
                self.channels.spawn(join.map(|_| ChannelEnd::Dependent))
            }
            Opened::Forward(forward) => self.channels.spawn(local_forward::join(*forward, connection, audit, context)),
            Opened::Listening(wishes) => {
                self.channels.spawn(remote_forward::listen(wishes, connection, audit, context))
            }
        };
    }

    fn channel_context(&self) -> ChannelContext {
        ChannelContext {
            activity: self.activity.clone(),
            pause_detector: self.instance.pulse.clone(),
            announcements: self.announcements.clone(),
            cleanup_tasks: self.deps.tasks.clone(),
        }
    }

    /// Joins the longest-waiting channel that the target opens once there is room for it, or has it refused after
    /// [`MAX_INCOMING_WAIT`].
    async fn join_incoming(&mut self, user: &Connected) {
        let is_full = self.channels.len() >= MAX_CHANNELS;
        let due = self.next_incoming.take_if(|next| !is_full || next.since.elapsed() >= MAX_INCOMING_WAIT);
        if let Some(incoming) = due {
            self.incoming(incoming, user).await;
        }
    }

    /// A channel that the target opens, where the user may have such ones.
    async fn incoming(&mut self, incoming: Incoming, user: &Connected) {
        let allow = self.grant.target.spec.allow;
        let restrictions = &self.grant.restrictions;
        let allowed = match incoming.purpose {
            Purpose::Agent => restrictions.agent(allow),
            Purpose::Forward { .. } => restrictions.remote_forward(allow),
        };
        let Connected::Ssh(user) = user else {
            // A page asks for no such thing.
            incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await;
            return;
        };
        if let Err(denied) = allowed {
            incoming.purpose.tell(&self.observers.audit, None, denied.result);
            incoming.refuse(ChannelOpenFailure::AdministrativelyProhibited).await;
        } else if self.channels.len() >= MAX_CHANNELS {
            let seconds = MAX_INCOMING_WAIT.as_secs();
            let why = format!("{MAX_CHANNELS} channels of the session were open for {seconds} s");
            METRICS.remote_opens_refused.get_or_create(&RefusalLabels { reason: "waited" }).inc();
            warn!(session = %self.name, why, "a channel that the target opens is refused");
            incoming.purpose.tell(&self.observers.audit, None, "not opened: too many channels");
            incoming.refuse(resource_shortage(&format!("bastion: {why}"))).await;
        } else {
            let (audit, context) = (self.observers.audit.clone(), self.channel_context());
            self.channels.spawn(remote_forward::join(incoming, user.clone(), audit, context));
        }
    }

    /// A session that had nothing but tunnels ends without an exit code, another with that of its command.
    fn tunnel_closed(&mut self) {
        self.exit.get_or_insert_default();
    }

    /// The user's connection has ended, which was said to be so, or nothing was said. It was the user's own doing if no
    /// channel was open any more.
    async fn client_gone(&mut self, left: Option<Cause>, announce: &watch::Sender<Announcement>) -> Cause {
        announce.send_replace(Announcement::Over(None));
        let mut with_channels = !self.waiting.is_empty();
        while let Some(ended) = self.channels.join_next().await {
            match ended {
                Ok(ChannelEnd::Closed(exit)) => self.exit = Some(exit),
                Ok(ChannelEnd::TunnelClosed) => self.tunnel_closed(),
                Ok(ChannelEnd::TargetLost) => self.target_lost = true,
                Ok(ChannelEnd::NotOpened | ChannelEnd::Dependent) => {}
                Ok(ChannelEnd::Interrupted) | Err(_) => with_channels = true,
            }
        }
        match self.exit.take() {
            _ if with_channels => left.unwrap_or(Cause::ClientDisconnected { with_channels }),
            // The client left because its channel was closed, and that was the target's doing.
            _ if self.target_lost => Cause::TargetClosed,
            Some(exit) => Cause::UserExit(exit),
            None => Cause::ClientDisconnected { with_channels },
        }
    }

    /// Writes the end, and takes leave of both sides meanwhile.
    async fn finish(
        &mut self,
        client: &mut ClientSide,
        announce: &watch::Sender<Announcement>,
        session: ObjectReference,
        mut end: End,
    ) {
        let (writer, recording) = (self.deps.writer.clone(), self.observers.recording.clone());
        let parting = CloseReason::Ended(end.cause.clone());
        self.observers.stage.over(&end.cause);
        let write = async {
            end.recording = recording.close(end.cause.reason().as_str()).await;
            writer.end_until_final(&session, &end).await;
        };
        tokio::join!(write, self.goodbye(client, announce, parting));
        if end.recording.is_some_and(|recording| recording.state == RecordingState::Unfinished) {
            self.deps.tasks.spawn(async move {
                if let Some(result) = recording.settled().await {
                    writer.recorded(&session, &result).await;
                }
            });
        }
    }

    /// Nothing may pass that is not on record.
    async fn not_recorded(&mut self, client: &mut ClientSide, name: &str, refusal: Refusal, error: String) {
        warn!(session = name, error, "session not opened: its object cannot be created");
        METRICS.sign_ins_refused.get_or_create(&RefusalLabels { reason: refusal.label() }).inc();
        let (announce, announcements) = watch::channel(Announcement::None);
        self.announcements = announcements;
        self.goodbye(client, &announce, CloseReason::Refused(refusal.notice())).await;
    }

    /// Tells the user on every channel, then ends the connections on both sides.
    async fn goodbye(&mut self, client: &mut ClientSide, announce: &watch::Sender<Announcement>, parting: CloseReason) {
        let text: Option<Arc<str>> = parting.words().map(Into::into);
        self.dials.abort_all();
        if text.is_some() {
            // A client opens its first channel right after signing in, and on that the text is best read.
            if self.channels.is_empty() && self.waiting.is_empty() && self.exit.is_none() {
                let opened = timeout(FIRST_CHANNEL, client.opened.recv()).await;
                self.waiting.extend(opened.ok().flatten());
            }
        }
        announce.send_replace(Announcement::Over(text.clone()));
        if let Some(text) = &text {
            join_all(self.waiting.drain(..).map(async |channel| channel.refuse(text).await)).await;
        }
        while self.channels.join_next().await.is_some() {}
        if let Some(spare) = self.spare.take() {
            spare.disconnect().await;
        }
        client.leave(parting).await;
    }
}

/// Waits until the connection, where there is one, has ended.
async fn ended(connection: Option<&TargetConnection>) {
    match connection {
        Some(connection) => connection.end().announced().await,
        None => std::future::pending().await,
    }
}

async fn end_requested(order: &mut EndSignal) -> Cause {
    match order.wait_for(Option::is_some).await.map(|cause| cause.clone()) {
        Ok(Some(cause)) => cause,
        // The registry keeps the other end for as long as the session is in it.
        _ => std::future::pending().await,
    }
}
