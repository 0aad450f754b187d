//! A gateway: it renews its Lease by compare-and-swap, shows itself in Redis where there is one, and carries one session.

use std::time::Duration;

use bastion_operator::lifecycle::{Fence, REDIS_HEARTBEAT_INTERVAL, RENEW_INTERVAL, RENEW_RETRY_DELAY, RENEW_TIMEOUT};
use bastion_operator::redis::REDIS_TIMEOUT;

use crate::rules::{Rules, seconds};
use crate::steps::Trouble;
use crate::world::{Example, Lease, NOW, OLDEST, Process, Promise, Shown, World, Writer, moved_by};

/// One instance of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gateway {
    pub process: Process,
    /// Whether nothing passes between it and the API server.
    pub cut: bool,
    /// Whether nothing passes between it and Redis.
    pub cut_from_redis: bool,
    /// Whether its life is over: it knows that it was declared lost, or cut off, and has dropped its session.
    pub fenced: bool,
    /// The version of the Lease that it wrote last, as far as it knows.
    pub known: u8,
    /// A renewal that its sender has given up and that the API server still will receive.
    pub late: Option<LateRenewal>,
    session: Session,
    renew_in: u8,
    timeout_in: u8,
    /// By its own clock, since the renewal that it knows to have succeeded.
    unheard: u8,
    pub facts: Facts,
    /// What it does with Redis, where there is one.
    pub sign: Option<Sign>,
}

/// Facts that no process knows, for the promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Seconds since the last renewal that the API server accepted.
    pub silent: u8,
    /// Whether the gateway caused the silence: since that renewal it was frozen or cut off, or lost a message.
    pub ailing: bool,
    /// Whether a controller ever declared the gateway lost.
    pub declared: bool,
}

/// Its signs of life in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sign {
    /// When the next one is due, by its own clock.
    pub due_in: u8,
    fence: Fence,
    /// Seconds since the last one that Redis took, if it took one.
    unshown: u8,
    /// Whether it was frozen since either witness heard of it.
    paused: bool,
}

impl Sign {
    fn new() -> Self {
        Self { due_in: 1, fence: Fence::new(*NOW), unshown: OLDEST, paused: false }
    }
}

/// A renewal on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LateRenewal {
    pub expects: u8,
    pub lands_in: u8,
}

/// The session, as its gateway has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Session {
    Live,
    /// The user has left, and that is not yet written.
    Leaving,
    Over,
}

impl Gateway {
    /// One that has just begun: its Lease is created, its session Active.
    pub fn new(with_redis: bool) -> Self {
        Self {
            process: Process::Running,
            cut: false,
            cut_from_redis: false,
            fenced: false,
            known: 0,
            late: None,
            session: Session::Live,
            renew_in: seconds(RENEW_INTERVAL),
            timeout_in: 0,
            unheard: 0,
            facts: Facts::default(),
            sign: with_redis.then(Sign::new),
        }
    }

    /// Whether the API server cannot hear of it.
    pub fn is_gone(&self) -> bool {
        self.process != Process::Running || self.cut
    }

    /// Whether Redis, which is `up` or not, can hear of it.
    pub fn reaches_redis(&self, up: bool) -> bool {
        up && self.sign.is_some() && self.process == Process::Running && !self.cut_from_redis && !self.fenced
    }

    /// Whether it is cut off from both witnesses and had the time to end its sessions.
    pub fn should_be_fenced(&self, api_up: bool, redis_up: bool) -> bool {
        let ran = self.process == Process::Running && self.sign.as_ref().is_some_and(|sign| !sign.paused);
        ran && (self.cut || !api_up) && !self.reaches_redis(redis_up)
    }

    /// Whether a user is at work.
    pub fn carries(&self) -> bool {
        self.session == Session::Live && self.process != Process::Dead
    }

    /// Whether it reports to Redis, which is `up` or not, that its user has left, because it cannot write that.
    pub fn reports(&self, redis_up: bool) -> bool {
        self.session == Session::Leaving && self.cut && self.reaches_redis(redis_up)
    }

    pub fn user_leaves(&mut self) {
        self.session = Session::Leaving;
    }

    /// Whether its timers have anything to do now, after its clock has moved on.
    fn wakes(&mut self, trouble: Option<Trouble>) -> bool {
        let passed = Trouble::seconds(trouble);
        self.unheard = (self.unheard + passed).min(OLDEST);
        if self.timeout_in > 0 {
            self.timeout_in = self.timeout_in.saturating_sub(passed);
            if self.timeout_in == 0 {
                self.renew_in = seconds(RENEW_RETRY_DELAY);
            }
            return false;
        }
        self.renew_in = self.renew_in.saturating_sub(passed);
        self.renew_in == 0 && self.process == Process::Running && !self.fenced
    }
}

/// A second passes for gateway `g`.
pub fn pass(world: &mut World, g: usize, trouble: Option<Trouble>, rules: &Rules) {
    land(world, g);
    let (up, redis_up) = (world.api.up, world.redis_is_up());
    let gateway = &mut world.gateways[g];
    if gateway.process == Process::Dead {
        return;
    }
    gateway.facts.silent = (gateway.facts.silent + 1).min(OLDEST);
    gateway.facts.ailing |= gateway.is_gone() || trouble == Some(Trouble::SlowClock);
    let due = gateway.wakes(trouble);
    show(world, g, trouble, rules);
    let gateway = &mut world.gateways[g];
    let reaches = up && !gateway.is_gone();
    if let (true, Some(redis)) = (gateway.reports(redis_up), &mut world.redis) {
        redis.reports[g] = true;
    }
    if due {
        renew(world, g, reaches, trouble, rules);
    }
    if reaches {
        see_to_session(world, g, rules);
    }
}

/// The gateway shows itself in Redis, when that is due.
fn show(world: &mut World, g: usize, trouble: Option<Trouble>, rules: &Rules) {
    let World { redis: Some(redis), gateways, .. } = world else { return };
    let gateway = &mut gateways[g];
    let (reaches, runs) = (gateway.reaches_redis(redis.up), gateway.process == Process::Running);
    let Some(sign) = &mut gateway.sign else { return };
    let passed = Trouble::seconds(trouble);
    sign.fence.shift(moved_by(passed));
    sign.unshown = (sign.unshown + 1).min(OLDEST);
    sign.paused |= !runs;
    sign.due_in = sign.due_in.saturating_sub(passed);
    if sign.due_in > 0 || !runs {
        return;
    }
    if reaches {
        redis.set_now(g);
        sign.due_in = seconds(REDIS_HEARTBEAT_INTERVAL);
        sign.fence.heartbeat_sent(*NOW + Duration::from_secs(rules.fence_falls_later.into()));
        sign.unshown = 0;
        sign.paused = false;
    } else {
        sign.due_in = seconds(REDIS_TIMEOUT + RENEW_RETRY_DELAY);
    }
}

/// After a second, when everybody else has done what they had to: the gateway looks whether it is cut off.
pub fn look_at_fence(world: &mut World, g: usize, rules: &Rules) {
    let gateway = &mut world.gateways[g];
    let Some(sign) = &mut gateway.sign else { return };
    if gateway.process != Process::Running || gateway.fenced || !sign.fence.is_cut_off(*NOW) {
        return;
    }
    let reached = gateway.facts.silent.min(sign.unshown) < rules.cut_off_for;
    gateway.fenced = true;
    if gateway.session == Session::Live {
        // Its end is written as soon as the API server can be reached.
        gateway.session = Session::Leaving;
        world.example(Example::FenceFalls);
        if reached {
            world.breaks(Promise::FencedForCause);
        }
    }
}

/// A renewal of the past arrives.
fn land(world: &mut World, g: usize) {
    let Some(late) = &mut world.gateways[g].late else { return };
    late.lands_in -= 1;
    if late.lands_in > 0 {
        return;
    }
    let expects = late.expects;
    let unchanged = world.api.leases[g].is_some_and(|lease| lease.version == expects);
    if world.api.up && unchanged {
        commit(world, g);
        if world.gateways[g].is_gone() {
            world.example(Example::LandsAfterDeath);
        }
    }
    world.gateways[g].late = None;
}

/// The gateway asks the API server to renew its Lease.
fn renew(world: &mut World, g: usize, reaches: bool, trouble: Option<Trouble>, rules: &Rules) {
    let lost = matches!(trouble, Some(Trouble::RequestLost | Trouble::Late(_)));
    let gateway = &mut world.gateways[g];
    gateway.facts.ailing |= lost;
    if !reaches || lost {
        if let (true, Some(Trouble::Late(lands_in))) = (reaches, trouble) {
            gateway.late = Some(LateRenewal { expects: gateway.known, lands_in });
        }
        gateway.timeout_in = seconds(RENEW_TIMEOUT);
        return;
    }
    let forgotten = rules.silences_are_remembered && gateway.unheard >= rules.forgotten_after;
    let version = match world.api.leases[g] {
        Some(Lease { lost: true, .. }) => None,
        None if forgotten => None,
        // Ours, or ours but for a lost answer: then the conflict leads to a GET, and that to another attempt.
        Some(_) => Some(commit(world, g)),
        None => {
            world.example(Example::LeaseRecreated);
            Some(commit(world, g))
        }
    };
    answered(world, g, version, trouble, rules);
}

/// The Lease is renewed, at the API server.
fn commit(world: &mut World, g: usize) -> u8 {
    let version = world.new_version(g);
    world.api.leases[g] = Some(Lease { version, renewal: version, lost: false });
    let gateway = &mut world.gateways[g];
    gateway.facts.silent = 0;
    gateway.facts.ailing = false;
    if let Some(sign) = &mut gateway.sign {
        sign.paused = false;
    }
    version
}

/// The API server's answer: the new version, or that the instance is lost.
fn answered(world: &mut World, g: usize, version: Option<u8>, trouble: Option<Trouble>, rules: &Rules) {
    let gateway = &mut world.gateways[g];
    if trouble == Some(Trouble::AnswerLost) {
        gateway.timeout_in = seconds(RENEW_TIMEOUT);
        return;
    }
    if let Some(version) = version {
        if let Some(sign) = &mut gateway.sign {
            sign.fence.heartbeat_sent(*NOW + Duration::from_secs(rules.fence_falls_later.into()));
        }
        gateway.known = version;
        gateway.renew_in = seconds(RENEW_INTERVAL);
        gateway.unheard = 0;
        if gateway.facts.declared {
            world.breaks(Promise::KnowsItsLoss);
        }
    } else {
        gateway.fenced = true;
        gateway.session = Session::Over;
        world.example(Example::LossLearnt);
    }
}

/// The gateway writes the end that it has seen, and drops a session that another process has ended.
fn see_to_session(world: &mut World, g: usize, rules: &Rules) {
    if world.gateways[g].session == Session::Leaving {
        world.end_session(g, Writer::Gateway, rules.phases_absorb);
        world.gateways[g].session = Session::Over;
    } else if world.api.sessions[g] != Shown::Active {
        world.gateways[g].session = Session::Over;
    }
}
