//! What can happen: a second passes, perhaps with trouble in it, or something breaks or is mended between two.

use crate::gateway::Gateway;
use crate::world::{Pod, Process, World};

/// One step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A second passes. Trouble is a fault that lasts for that second.
    Second(Option<(Who, Trouble)>),
    Crash(Who),
    Freeze(Who),
    Cut(Who),
    /// The watch of a controller stands still.
    Stall(Who),
    ApiDown,
    /// Nothing passes any more between a process and Redis.
    CutFromRedis(Who),
    /// Redis is frozen, perhaps between the two halves of a gateway's sign of life.
    FreezeRedis {
        with_set_of: Option<usize>,
    },
    /// Redis is flushed, or restarts empty.
    EmptyRedis,
    SetRedisBack,
    /// The Pod object of a gateway is gone. Its process may be alive, unseen.
    PodGone(usize),
    /// The Pod reports that its container terminated.
    PodTells(usize),
    /// A new process in the same Pod declares a gateway lost that is dead, and may die before it has swept.
    Successor {
        of: usize,
        sweeps: bool,
    },
    /// A person deletes the Lease of a gateway.
    DeleteLease(usize),
    /// The user of a gateway's session leaves.
    UserLeaves(usize),
    /// A controller that is no more is replaced.
    Start(usize),
    /// A frozen process goes on. A controller may look at its clock before it reads what came in meanwhile.
    Thaw {
        who: Who,
        looks_first: bool,
    },
    /// The connection recovers; the watch resumes or relists.
    Mend {
        who: Who,
        relist: bool,
    },
    ApiUp {
        relist: bool,
    },
    MendToRedis(Who),
    ThawRedis,
}

impl Step {
    pub const fn takes_a_second(&self) -> bool {
        matches!(self, Self::Second(_))
    }

    pub const fn is_only_time(&self) -> bool {
        matches!(self, Self::Second(None))
    }
}

/// Whom it happens to: a process, or one of the tasks of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    Gateway(usize),
    Controller(usize),
    Beat(usize),
    Judge(usize),
    Sweep(usize),
    Vouch(usize),
}

/// A fault of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The requests that are sent are never received.
    RequestLost,
    /// The requests are received, and their answers are not.
    AnswerLost,
    /// The requests are received so many seconds later, when their sender no longer waits for the answer.
    Late(u8),
    /// The clock stands still.
    SlowClock,
    /// The clock advances by two seconds.
    FastClock,
}

impl Trouble {
    /// By how much a clock moves on in a second with this trouble.
    pub fn seconds(trouble: Option<Self>) -> u8 {
        match trouble {
            Some(Self::SlowClock) => 0,
            Some(Self::FastClock) => 2,
            _ => 1,
        }
    }
}

/// The trouble in a second.
#[derive(Clone, Copy, Debug)]
pub struct Troubles(pub Option<(Who, Trouble)>);

impl Troubles {
    fn of(&self, who: Who) -> Option<Trouble> {
        self.0.filter(|(whom, _)| *whom == who).map(|(_, trouble)| trouble)
    }

    pub fn gateway(&self, g: usize) -> Option<Trouble> {
        self.of(Who::Gateway(g))
    }

    /// Of the clock of a controller.
    pub fn clock(&self, c: usize) -> Option<Trouble> {
        self.of(Who::Controller(c))
    }

    pub fn beat(&self, c: usize) -> Option<Trouble> {
        self.of(Who::Beat(c))
    }

    pub fn judge(&self, c: usize) -> Option<Trouble> {
        self.of(Who::Judge(c))
    }

    pub fn vouch(&self, c: usize) -> Option<Trouble> {
        self.of(Who::Vouch(c))
    }

    pub fn sweep(&self, c: usize) -> Option<Trouble> {
        self.of(Who::Sweep(c))
    }
}

/// Which faults a model may use, beside what mends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "a list of switches")]
pub struct Scope {
    /// Processes die, freeze, and are cut off.
    pub gateways: bool,
    pub controllers: bool,
    /// Controllers' watches stand still.
    pub watches: bool,
    pub messages: bool,
    pub clocks: bool,
    pub api: bool,
    pub people: bool,
    /// The ways to Redis are cut.
    pub redis_links: bool,
    /// Redis is frozen.
    pub redis: bool,
    /// What a controller vouches for is lost on the way, or comes late.
    pub vouchers: bool,
    /// What is in Redis is lost, or its clock is set back.
    pub redis_data: bool,
    /// Pod objects are deleted.
    pub pods: bool,
}

impl Scope {
    pub const NONE: Self = Self {
        gateways: false,
        controllers: false,
        watches: false,
        messages: false,
        clocks: false,
        api: false,
        people: false,
        redis_links: false,
        redis: false,
        vouchers: false,
        redis_data: false,
        pods: false,
    };
    pub const GATEWAYS: Self = Self { gateways: true, ..Self::NONE };
    pub const ALL: Self = Self {
        gateways: true,
        controllers: true,
        watches: true,
        messages: true,
        clocks: true,
        api: true,
        people: true,
        redis_links: true,
        redis: true,
        vouchers: true,
        redis_data: true,
        pods: true,
    };
}

/// The steps that are possible now: each costs one fault, but for time and what mends.
pub fn possible(world: &World, scope: Scope) -> Vec<Step> {
    let mut steps = vec![Step::Second(None)];
    mending(world, &mut steps);
    if world.faults_left > 0 {
        of_gateways(world, scope, &mut steps);
        of_controllers(world, scope, &mut steps);
        of_redis(world, scope, &mut steps);
        if scope.api && world.api.up {
            steps.push(Step::ApiDown);
        }
    }
    steps
}

fn mending(world: &World, steps: &mut Vec<Step>) {
    if !world.api.up {
        steps.extend([false, true].map(|relist| Step::ApiUp { relist }));
    }
    of_the_dead(world, steps);
    if world.redis.as_ref().is_some_and(|redis| !redis.up) {
        steps.push(Step::ThawRedis);
    }
    for (g, gateway) in world.gateways.iter().enumerate() {
        let who = Who::Gateway(g);
        if gateway.cut_from_redis && gateway.process != Process::Dead {
            steps.push(Step::MendToRedis(who));
        }
        if gateway.process == Process::Frozen {
            steps.push(Step::Thaw { who, looks_first: false });
        }
        if gateway.cut && gateway.process != Process::Dead {
            steps.push(Step::Mend { who, relist: false });
        }
    }
    for (c, controller) in world.controllers.iter().enumerate() {
        let who = Who::Controller(c);
        if controller.cut_from_redis {
            steps.push(Step::MendToRedis(who));
        }
        match controller.process {
            Process::Dead => steps.push(Step::Start(c)),
            Process::Frozen => steps.extend([false, true].map(|looks_first| Step::Thaw { who, looks_first })),
            Process::Running => {}
        }
        if controller.cut || controller.stalled {
            steps.extend([false, true].map(|relist| Step::Mend { who, relist }));
        }
    }
}

/// What follows a death, if it follows.
fn of_the_dead(world: &World, steps: &mut Vec<Step>) {
    for (g, pod) in world.api.pods.iter().enumerate() {
        if world.gateways[g].process != Process::Dead || *pod == Pod::Gone || !world.api.up {
            continue;
        }
        steps.push(Step::PodGone(g));
        if *pod == Pod::Runs {
            steps.push(Step::PodTells(g));
        }
        if world.api.leases[g].is_some_and(|lease| !lease.lost) {
            steps.extend([false, true].map(|sweeps| Step::Successor { of: g, sweeps }));
        }
    }
}

fn of_gateways(world: &World, scope: Scope, faults: &mut Vec<Step>) {
    for (g, gateway) in world.gateways.iter().enumerate() {
        let who = Who::Gateway(g);
        if gateway.process == Process::Running && !gateway.fenced {
            if scope.gateways {
                faults.extend([Step::Crash(who), Step::Freeze(who)]);
                if !gateway.cut {
                    faults.push(Step::Cut(who));
                }
            }
            if scope.messages {
                faults.extend(MESSAGES.map(|trouble| Step::Second(Some((who, trouble)))));
            }
            if scope.clocks {
                faults.extend(CLOCKS.map(|trouble| Step::Second(Some((who, trouble)))));
            }
            if scope.people && gateway.carries() {
                faults.push(Step::UserLeaves(g));
            }
        }
        if scope.pods && world.api.up && world.api.pods.get(g) == Some(&Pod::Runs) && gateway.process != Process::Dead {
            faults.push(Step::PodGone(g));
        }
        if scope.people && world.api.up && world.api.leases[g].is_some() {
            faults.push(Step::DeleteLease(g));
        }
    }
}

fn of_redis(world: &World, scope: Scope, faults: &mut Vec<Step>) {
    let Some(redis) = &world.redis else { return };
    let gateways = world.gateways.iter().enumerate();
    if scope.redis_links {
        let gateways = gateways.clone().filter(|(_, gateway)| gateway.reaches_redis(true));
        faults.extend(gateways.map(|(g, _)| Step::CutFromRedis(Who::Gateway(g))));
        let controllers = world.controllers.iter().enumerate();
        let controllers = controllers.filter(|(_, controller)| controller.reaches_redis(true));
        faults.extend(controllers.map(|(c, _)| Step::CutFromRedis(Who::Controller(c))));
    }
    if scope.redis && redis.up {
        faults.push(Step::FreezeRedis { with_set_of: None });
        let due = |gateway: &Gateway| gateway.sign.as_ref().is_some_and(|sign| sign.due_in <= 1);
        let showing = gateways.filter(|(_, gateway)| gateway.reaches_redis(true) && due(gateway));
        faults.extend(showing.map(|(g, _)| Step::FreezeRedis { with_set_of: Some(g) }));
    }
    if scope.redis_data && redis.keys.iter().any(Option::is_some) {
        faults.extend([Step::EmptyRedis, Step::SetRedisBack]);
    }
}

const MESSAGES: [Trouble; 4] = [Trouble::RequestLost, Trouble::AnswerLost, Trouble::Late(1), Trouble::Late(3)];
const CLOCKS: [Trouble; 2] = [Trouble::SlowClock, Trouble::FastClock];

fn of_controllers(world: &World, scope: Scope, faults: &mut Vec<Step>) {
    for (c, controller) in world.controllers.iter().enumerate() {
        let who = Who::Controller(c);
        if controller.process != Process::Running {
            continue;
        }
        if scope.controllers {
            faults.extend([Step::Crash(who), Step::Freeze(who)]);
        }
        let follows = !controller.cut && !controller.stalled;
        if scope.controllers && follows {
            faults.push(Step::Cut(who));
        }
        if scope.watches && follows {
            faults.push(Step::Stall(who));
        }
        if scope.clocks {
            faults.extend(CLOCKS.map(|trouble| Step::Second(Some((who, trouble)))));
        }
        if scope.messages {
            let lost = [Trouble::RequestLost, Trouble::AnswerLost];
            for task in [Who::Beat(c), Who::Sweep(c)] {
                faults.extend(lost.map(|trouble| Step::Second(Some((task, trouble)))));
            }
            faults.extend(MESSAGES.map(|trouble| Step::Second(Some((Who::Judge(c), trouble)))));
        }
        if scope.vouchers && world.redis.is_some() {
            let troubles = [Trouble::RequestLost, Trouble::Late(3)];
            faults.extend(troubles.map(|trouble| Step::Second(Some((Who::Vouch(c), trouble)))));
        }
    }
}
