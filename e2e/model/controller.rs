//! A controller: the product's own `FailureDetector` and `decide()`, and around them what the product does about their
//! answers.

use std::time::{Duration, Instant};

use bastion_operator::lifecycle::{
    Action, FailureDetector, HEARTBEAT_INTERVAL, ObservedLease, RENEW_TIMEOUT, Situation, decide,
};
use jiff::Timestamp;

use crate::objects;
use crate::rules::{Rules, seconds};
use crate::steps::{Trouble, Troubles};
use crate::world::{Example, Lease, NOW, OLDEST, Pod, Process, Promise, Shown, World, Writer, moved_by};
use crate::{redis, redis_heartbeats};

/// What follows a timeout comes a little later than the timeout's full seconds.
const A_MOMENT: Duration = Duration::from_millis(1);
/// A session whose gateway is gone is shown as ended within this many seconds.
const SHOWN_WITHIN: u8 = 30;

/// The same where its Pod shows that, or is gone.
const fn shown_within(pod: Pod) -> u8 {
    match pod {
        Pod::Runs => SHOWN_WITHIN,
        Pod::Ended => 8,
        Pod::Gone => 20,
    }
}

/// One process of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each goes its own way")]
pub struct Controller {
    pub process: Process,
    /// Whether nothing passes between it and the API server.
    pub cut: bool,
    /// Whether nothing passes between it and Redis.
    pub cut_from_redis: bool,
    /// Whether its watch stands still, though its requests are answered.
    pub stalled: bool,
    lists: PendingLists,
    /// After a pause: whether it looks at its clock before it reads what came in meanwhile.
    pub looks_first: bool,
    pub observer: FailureDetector,
    beat: Beat,
    judge: Judge,
    pub asks: Asks,
    /// The gateways whose Leases are gone without its knowledge, where lists do not tell.
    untold: Vec<usize>,
    /// By gateway.
    pub views: Vec<View>,
}

/// Whether what a watch shows next is a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PendingLists {
    leases: bool,
    pods: bool,
}

impl PendingLists {
    const BOTH: Self = Self { leases: true, pods: true };
}

/// The renewal of its heartbeat Lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "each goes its own way")]
struct Beat {
    /// Whether the Lease exists.
    exists: bool,
    /// Whether the controller knows that.
    held: bool,
    due_in: u8,
    timeout_in: u8,
    after_a_timeout: bool,
    /// How many in a row were not received, up to two.
    lost: u8,
    /// Whether there is a heartbeat that its watch has not shown yet.
    unseen: bool,
}

/// The task that declares losses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Judge {
    /// Gateways, each with the version of the Lease that the observer named.
    suspects: Vec<(usize, Option<u8>)>,
    timeout_in: u8,
    late: Option<LateSwap>,
}

/// A swap on its way, given up by its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LateSwap {
    pub gateway: usize,
    pub version: Option<u8>,
    pub lands_in: u8,
}

/// The task that asks Redis for signs of life, and vouches for the gateways that give them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asks {
    /// How long it waits for an answer still, of Redis or of the API server.
    pub timeout_in: u8,
    pub late: Option<LateSwap>,
}

/// What it knows of a gateway and of its session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// As the watch showed it last.
    lease: Option<Lease>,
    pub ended: bool,
    /// Whether it was this controller that declared the loss.
    declared: bool,
    /// When it will look at the session again.
    look_in: Option<u8>,
    timeout_in: u8,
    /// For how long the gateway is gone, the session shown as Active, and this controller in a state to notice.
    overdue: u8,
    /// As the watch showed it last.
    pod: Pod,
    /// As `overdue`, since the Pod tells more than that it runs.
    pod_overdue: u8,
    /// For how long it has not heard of the gateway through Redis, if it ever did.
    pub unheard: Option<u8>,
}

/// What becomes of an attempt to declare a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    Won,
    Refused,
    NothingToSweep,
}

impl Controller {
    /// A process that has just started.
    pub fn new(gateways: usize) -> Self {
        // Every session that it finds is looked at.
        let view = View { look_in: Some(0), ..View::default() };
        Self {
            process: Process::Running,
            cut: false,
            cut_from_redis: false,
            stalled: false,
            lists: PendingLists::BOTH,
            looks_first: false,
            observer: FailureDetector::new(*NOW),
            beat: Beat { due_in: 1, ..Beat::default() },
            judge: Judge::default(),
            asks: Asks::default(),
            untold: vec![],
            views: vec![view; gateways],
        }
    }

    /// One that is no more.
    pub fn die(&mut self) {
        let (judged, vouched) = (self.judge.late, self.asks.late);
        *self = Self { process: Process::Dead, ..Self::new(self.views.len()) };
        (self.judge.late, self.asks.late) = (judged, vouched);
    }

    pub fn start(&mut self) {
        let (judged, vouched) = (self.judge.late, self.asks.late);
        *self = Self::new(self.views.len());
        (self.judge.late, self.asks.late) = (judged, vouched);
    }

    /// Its watch relists; a list is no evidence of its own heartbeat.
    pub fn list_again(&mut self) {
        self.beat.unseen = false;
        self.lists = PendingLists::BOTH;
    }

    /// Whether its watch shows anything.
    fn sees(&self, up: bool) -> bool {
        up && self.process == Process::Running && !self.cut && !self.stalled
    }

    /// Whether it is in a state to notice a death: an API server that has not answered two heartbeats in a row is
    /// down, for it.
    fn is_well(&self, up: bool) -> bool {
        self.sees(up) && self.beat.lost < 2
    }

    /// Whether Redis, which is `up` or not, answers it.
    pub fn reaches_redis(&self, up: bool) -> bool {
        up && self.process == Process::Running && !self.cut_from_redis
    }

    /// Returns whether the controller works and got a heartbeat of gateway `g` through Redis in the last `within` seconds.
    fn has_heard_of(&self, g: usize, up: bool, within: u8) -> bool {
        self.is_well(up) && self.views[g].unheard.is_some_and(|unheard| unheard < within)
    }

    /// Whether it still holds a version of the Lease of gateway `g`.
    pub fn remembers(&self, g: usize, version: u8) -> bool {
        let named = (g, Some(version));
        self.views[g].lease.is_some_and(|lease| lease.has(version))
            || self.judge.suspects.contains(&named)
            || [self.judge.late, self.asks.late].into_iter().flatten().any(|late| (late.gateway, late.version) == named)
    }

    /// Returns the gateways whose Leases are missing from a list or deleted in the watch.
    fn observed_deletions(&mut self, leases: &[Option<Lease>], now: Instant, rules: &Rules) -> Vec<usize> {
        let there = |g: &usize| leases[*g].is_some();
        if std::mem::take(&mut self.lists.leases) {
            let names = (0..leases.len()).filter(there).map(|g| objects::name(g).to_owned()).collect();
            let gone = if rules.lists_tell_what_is_gone { self.observer.leases_listed(&names, now) } else { vec![] };
            self.untold = (0..leases.len()).filter(|g| !there(g) && !rules.lists_tell_what_is_gone).collect();
            return gone.iter().filter_map(|name| objects::index(name)).collect();
        }
        self.untold.retain(|g| !there(g));
        let gone = |g: &usize| !there(g) && self.views[*g].lease.is_some() && !self.untold.contains(g);
        let gone: Vec<_> = (0..leases.len()).filter(gone).collect();
        for g in &gone {
            self.observer.lease_deleted(objects::name(*g), now);
        }
        gone
    }

    /// What it waits for in vain while it is frozen is over when it wakes.
    fn sleep(&mut self) {
        let waits = self.views.iter_mut().map(|view| &mut view.timeout_in);
        for wait in waits.chain([&mut self.beat.timeout_in, &mut self.judge.timeout_in, &mut self.asks.timeout_in]) {
            *wait = (*wait).min(wait.saturating_sub(1).max(1));
        }
    }

    /// Lets its clock move on.
    fn age(&mut self, passed: u8) {
        self.observer.shift(moved_by(passed));
        self.observer.shift_redis_stamps(redis::a_second_older);
        self.beat.due_in = self.beat.due_in.saturating_sub(passed);
        for view in &mut self.views {
            view.look_in = view.look_in.map(|at| at.saturating_sub(passed));
            view.unheard = view.unheard.map(|unheard| unheard + 1).filter(|unheard| *unheard < OLDEST);
        }
    }
}

/// A second passes for controller `c`, and it asks Redis before anybody does anything: so it hears of what happened
/// in a second only in the next.
pub fn wake(world: &mut World, c: usize, troubles: &Troubles, rules: &Rules) {
    redis_heartbeats::land(world, c);
    let controller = &mut world.controllers[c];
    if controller.process != Process::Dead {
        controller.age(Trouble::seconds(troubles.clock(c)));
        redis_heartbeats::ask(world, c, troubles, rules);
    }
}

/// What controller `c` does in a second.
pub fn pass(world: &mut World, c: usize, troubles: &Troubles, rules: &Rules) {
    land(world, c, rules);
    let controller = &mut world.controllers[c];
    if controller.process == Process::Dead {
        return;
    }
    if controller.process == Process::Frozen {
        controller.sleep();
    } else {
        if std::mem::take(&mut controller.looks_first) {
            judge(world, c, troubles, rules);
        }
        beat(world, c, troubles, rules);
        follow(world, c, rules);
        for g in 0..world.gateways.len() {
            attend(world, c, g, troubles, rules);
        }
        judge(world, c, troubles, rules);
    }
}

/// After a second: how long each session has been shown as Active behind a gateway that is gone, while this
/// controller could have noticed.
pub fn count_overdue(world: &mut World, c: usize) {
    let redis_up = world.redis_is_up();
    let World { api, gateways, controllers, .. } = world;
    let well = controllers[c].is_well(api.up);
    let mut late = false;
    for (g, gateway) in gateways.iter().enumerate() {
        let gone = gateway.is_gone() && !gateway.reaches_redis(redis_up);
        // Or the user has left, and the gateway can report that.
        let reported = gateway.reports(redis_up) && controllers[c].reaches_redis(redis_up);
        let waiting = well && (gone || reported) && api.sessions[g] == Shown::Active;
        let view = &mut controllers[c].views[g];
        view.overdue = if waiting { view.overdue + 1 } else { 0 };
        let pod = api.pods.get(g).copied().unwrap_or_default();
        // Only the Lease says in which Pod it was.
        let known = pod != Pod::Runs && api.leases[g].is_some();
        view.pod_overdue = if waiting && gone && known { view.pod_overdue + 1 } else { 0 };
        late |= view.overdue >= SHOWN_WITHIN || view.pod_overdue >= shown_within(pod);
    }
    if late {
        world.breaks(Promise::ShownInTime);
    }
}

/// Renews its own Lease.
fn beat(world: &mut World, c: usize, troubles: &Troubles, rules: &Rules) {
    let up = world.api.up;
    let controller = &mut world.controllers[c];
    let reaches = up && !controller.cut;
    let beat = &mut controller.beat;
    beat.after_a_timeout = false;
    if beat.timeout_in > 0 {
        beat.timeout_in -= 1;
        if beat.timeout_in > 0 {
            return;
        }
        beat.after_a_timeout = true;
    } else if beat.due_in > 0 {
        return;
    }
    beat.due_in = seconds(HEARTBEAT_INTERVAL);
    let trouble = troubles.beat(c);
    if !reaches || matches!(trouble, Some(Trouble::RequestLost | Trouble::Late(_))) {
        beat.timeout_in = rules.heartbeat_timeout;
        beat.lost = (beat.lost + 1).min(2);
        return;
    }
    beat.lost = 0;
    if beat.exists && !beat.held && !rules.heartbeats_are_adopted {
        return;
    }
    beat.exists = true;
    beat.unseen = true;
    if trouble == Some(Trouble::AnswerLost) {
        beat.timeout_in = rules.heartbeat_timeout;
    } else {
        beat.held = true;
    }
}

/// Reads what its watch shows.
fn follow(world: &mut World, c: usize, rules: &Rules) {
    let World { api, controllers, .. } = world;
    let controller = &mut controllers[c];
    let now = *NOW + if controller.beat.after_a_timeout { A_MOMENT } else { Duration::ZERO };
    if !rules.controllers_doubt_themselves {
        controller.observer.observe_own_heartbeat(now);
    }
    if !controller.sees(api.up) {
        return;
    }
    if std::mem::take(&mut controller.beat.unseen) {
        controller.observer.observe_own_heartbeat(now);
    }
    for (g, lease) in api.leases.iter().enumerate() {
        let view = &mut controller.views[g];
        let Some(lease) = lease.filter(|lease| controller.lists.leases || view.lease != Some(*lease)) else { continue };
        view.lease = Some(lease);
        if controller.observer.observe_lease(objects::name(g), seen(lease, g, !api.pods.is_empty()), now)
            && rules.others_sweep_too
        {
            view.look_in = Some(0);
        }
    }
    for g in controller.observed_deletions(&api.leases, now, rules) {
        controller.views[g].lease = None;
        controller.views[g].look_in = Some(0);
    }
    follow_pods(controller, &api.pods, rules);
    for (view, session) in controller.views.iter_mut().zip(&api.sessions) {
        view.ended = *session != Shown::Active;
    }
}

/// Reads what the watch shows of Pods.
fn follow_pods(controller: &mut Controller, pods: &[Pod], rules: &Rules) {
    let there = |pod: &Pod| *pod != Pod::Gone || !rules.gone_pods_prove_nothing;
    for (g, pod) in pods.iter().enumerate() {
        let (known, name) = (std::mem::replace(&mut controller.views[g].pod, *pod), objects::pod(g));
        match there(pod) {
            true if known != *pod => controller.observer.pods().update(name, objects::container(*pod), *NOW),
            false if known != *pod => controller.observer.pods().remove(name),
            _ => {}
        }
    }
    if !pods.is_empty() && std::mem::take(&mut controller.lists.pods) {
        let listed = pods.iter().enumerate().filter(|(_, pod)| there(pod));
        let listed = listed.map(|(g, pod)| (objects::pod(g).to_owned(), objects::container(*pod)));
        controller.observer.pods().replace_all(listed.collect(), *NOW);
    }
}

/// What the watch shows of the Lease of gateway `g`.
fn seen(lease: Lease, g: usize, with_pod: bool) -> ObservedLease {
    ObservedLease {
        resource_version: lease.version.to_string(),
        renewed: Timestamp::from_second(lease.renewal.into()).ok(),
        acquired: objects::acquired().filter(|_| with_pod),
        pod_uid: with_pod.then(|| objects::pod(g).to_owned()),
        end_key: Some(String::new()),
        lost: lease.lost,
    }
}

/// Sees to the session of gateway `g`, when its time has come.
fn attend(world: &mut World, c: usize, g: usize, troubles: &Troubles, rules: &Rules) {
    let controller = &mut world.controllers[c];
    let view = &mut controller.views[g];
    if view.timeout_in > 0 {
        view.timeout_in -= 1;
        if view.timeout_in == 0 {
            view.look_in = Some(1);
        }
        return;
    }
    if view.look_in != Some(0) {
        return;
    }
    view.look_in = None;
    let instance = controller.observer.state(objects::name(g), *NOW, !view.ended);
    let situation = Situation { instance, requested_for: Duration::ZERO, now: Timestamp::UNIX_EPOCH };
    match decide(objects::session(g, view.ended), &situation) {
        Action::Wait => {}
        Action::RequeueAfter(after) | Action::Order(_, after) => view.look_in = Some(seconds(after)),
        Action::End(_) => end(world, c, g, troubles, rules),
    }
}

/// Writes that the session of gateway `g` has ended.
fn end(world: &mut World, c: usize, g: usize, troubles: &Troubles, rules: &Rules) {
    let trouble = troubles.sweep(c);
    let reaches = world.api.up && !world.controllers[c].cut;
    let arrives = reaches && !matches!(trouble, Some(Trouble::RequestLost | Trouble::Late(_)));
    if arrives {
        let gateway = &world.gateways[g];
        if gateway.carries() && gateway.facts.silent < protection_seconds(world, g, rules) {
            world.breaks(Promise::RenewedInTime);
        }
        if world.api.sessions[g] == Shown::Active
            && world.api.leases[g].is_some_and(|lease| lease.lost)
            && !world.controllers[c].views[g].declared
        {
            world.example(Example::SecondFinishesSweep);
        }
        world.end_session(g, Writer::Controller, rules.phases_absorb);
    }
    if !arrives || trouble == Some(Trouble::AnswerLost) {
        world.controllers[c].views[g].timeout_in = rules.end_timeout;
    }
}

/// Looks for suspects, and declares lost the suspects that the API server has not heard from either.
fn judge(world: &mut World, c: usize, troubles: &Troubles, rules: &Rules) {
    let controller = &mut world.controllers[c];
    let judge = &mut controller.judge;
    let mut now = *NOW;
    if judge.timeout_in > 0 {
        judge.timeout_in -= 1;
        if judge.timeout_in > 0 {
            if rules.waiting_is_no_pause {
                controller.observer.tick(now);
            }
            return;
        }
        now += A_MOMENT;
    }
    if controller.judge.suspects.is_empty() {
        look(world, c, now, rules);
    }
    while let Some((g, version)) = world.controllers[c].judge.suspects.pop() {
        if !declare_lost(world, c, g, version, troubles, rules) {
            return;
        }
    }
}

/// Asks the observer whom it suspects.
fn look(world: &mut World, c: usize, now: Instant, rules: &Rules) {
    let World { api, gateways, controllers, .. } = world;
    let controller = &mut controllers[c];
    if !rules.controllers_doubt_themselves {
        controller.observer.observe_own_heartbeat(now);
    }
    let suspects = controller.observer.suspects(now);
    let named = |suspect: bastion_operator::lifecycle::LeaseVersion| {
        let version = suspect.resource_version.and_then(|version| version.parse().ok());
        Some((objects::index(&suspect.instance)?, version))
    };
    controller.judge.suspects = suspects.into_iter().filter_map(named).collect();
    let overdue = gateways
        .iter()
        .zip(&api.leases)
        .any(|(gateway, lease)| gateway.facts.silent == OLDEST && lease.is_some_and(|lease| !lease.lost));
    let forgiven = overdue && controller.judge.suspects.is_empty();
    if forgiven {
        world.example(Example::SilenceForgiven);
    }
}

/// Sends the swap. Returns whether there was an answer.
fn declare_lost(
    world: &mut World,
    c: usize,
    g: usize,
    version: Option<u8>,
    troubles: &Troubles,
    rules: &Rules,
) -> bool {
    let trouble = troubles.judge(c);
    let reaches = world.api.up && !world.controllers[c].cut;
    if !reaches || matches!(trouble, Some(Trouble::RequestLost | Trouble::Late(_))) {
        if let (true, Some(Trouble::Late(lands_in))) = (reaches, trouble) {
            world.controllers[c].judge.late = Some(LateSwap { gateway: g, version, lands_in });
        }
        world.controllers[c].judge.timeout_in = seconds(RENEW_TIMEOUT);
        return false;
    }
    let swap = swap(world, g, version, rules);
    let controller = &mut world.controllers[c];
    if trouble == Some(Trouble::AnswerLost) {
        controller.judge.timeout_in = seconds(RENEW_TIMEOUT);
        return false;
    }
    match swap {
        Swap::Won => {
            controller.observer.mark_lost(objects::name(g), *NOW);
            controller.views[g].declared = true;
            controller.views[g].look_in = Some(0);
        }
        Swap::NothingToSweep => controller.observer.remove(objects::name(g)),
        Swap::Refused => {}
    }
    true
}

/// A swap of the past arrives.
fn land(world: &mut World, c: usize, rules: &Rules) {
    let Some(late) = &mut world.controllers[c].judge.late else { return };
    late.lands_in -= 1;
    if late.lands_in == 0 {
        let LateSwap { gateway, version, .. } = *late;
        world.controllers[c].judge.late = None;
        if world.api.up {
            swap(world, gateway, version, rules);
        }
    }
}

/// Whether a user is at work behind a gateway of which a witness tells.
fn shows_life(world: &World, g: usize, rules: &Rules) -> bool {
    let (gateway, protection_seconds) = (&world.gateways[g], protection_seconds(world, g, rules));
    let heard =
        |controller: &Controller| controller.has_heard_of(g, world.api.up, protection_seconds.min(rules.cut_off_for));
    gateway.carries() && (gateway.facts.silent < protection_seconds || world.controllers.iter().any(heard))
}

/// For how many seconds a renewal protects gateway `g`.
fn protection_seconds(world: &World, g: usize, rules: &Rules) -> u8 {
    if world.api.pod_is_gone(g) { rules.renewed_in_time_without_pod } else { rules.renewed_in_time }
}

/// The API server swaps the holder of a Lease, if it is still the version that was seen.
pub fn swap(world: &mut World, g: usize, version: Option<u8>, rules: &Rules) -> Swap {
    match (world.api.leases[g], version) {
        (None, Some(_)) => return Swap::Refused,
        (None, None) if world.api.sessions[g] != Shown::Active => return Swap::NothingToSweep,
        (Some(lease), _) if lease.lost => return Swap::Refused,
        (Some(lease), _) if rules.losses_are_swapped && version != Some(lease.version) => {
            world.example(Example::SuspectShowsItself);
            return Swap::Refused;
        }
        _ => {}
    }
    if shows_life(world, g, rules) {
        world.breaks(Promise::RenewedInTime);
    }
    let gateway = &world.gateways[g];
    let healthy = !gateway.facts.ailing && !gateway.is_gone();
    let should_be_fenced = gateway.should_be_fenced(world.api.up, world.redis_is_up());
    if gateway.carries() && healthy {
        world.breaks(Promise::Healthy);
    } else if gateway.carries() && should_be_fenced && !world.api.pod_is_gone(g) {
        world.breaks(Promise::FencedInTime);
    }
    let version = world.new_version(g);
    let renewal = world.api.leases[g].map_or(version, |lease| lease.renewal);
    world.api.leases[g] = Some(Lease { version, renewal, lost: true });
    world.gateways[g].facts.declared = true;
    world.example(Example::LossDeclared);
    Swap::Won
}
