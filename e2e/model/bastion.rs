//! The model as the checker sees it: the first state, the steps, the promises and the examples.

use std::fmt::Debug;

use stateright::{Model, Path, Property};

use crate::controller::{self, Controller};
use crate::gateway::{self, Gateway};
use crate::redis::{self, Redis};
use crate::rules::Rules;
use crate::steps::{Scope, Step, Troubles, Who, possible};
use crate::world::{Api, Example, Examples, Lease, OLDEST, Pod, Process, Promise, Shown, World, Writer};

/// What is promised, in the words under which a counterexample is reported.
pub const fn name_of(promise: Promise) -> &'static str {
    match promise {
        Promise::RenewedInTime => "no gateway that renewed in time is declared lost, nor its session ended",
        Promise::Healthy => "no healthy gateway is declared lost, whatever happens around it",
        Promise::ShownInTime => "a session whose gateway is gone is shown as ended within 30 s",
        Promise::FinalPhase => "a session ends once",
        Promise::KnowsItsLoss => "a gateway that was declared lost learns it at its next contact",
        Promise::FencedInTime => "a gateway cut off from both witnesses ends its session before its loss is declared",
        Promise::FencedForCause => "no gateway ends its session that reaches a witness",
        Promise::ReportedForCause => "no session is ended by a report whose user is at work",
    }
}

/// What the model comes across, in words.
pub const fn name_of_example(example: Example) -> &'static str {
    match example {
        Example::LossDeclared => "a loss is declared",
        Example::SecondFinishesSweep => "another finishes the sweep",
        Example::SilenceForgiven => "a controller starts its count again",
        Example::SuspectShowsItself => "a suspect has shown itself",
        Example::LossLearnt => "a gateway learns its loss",
        Example::LateEndRefused => "a late end is refused",
        Example::LandsAfterDeath => "a renewal arrives after death",
        Example::LeaseRecreated => "a Lease is recreated",
        Example::FenceFalls => "a gateway ends its own session",
        Example::VouchedFor => "a controller vouches",
        Example::OnlyRedisHears => "only Redis hears of a gateway",
        Example::SuccessorSweeps => "a new process ends what an earlier one left",
        Example::EndReported => "a controller writes an end that its gateway reports",
    }
}

/// A model of this many processes and faults.
#[derive(Clone, Debug)]
pub struct Bastion {
    pub gateways: usize,
    pub controllers: usize,
    /// Whether there is Redis.
    pub redis: bool,
    /// Whether the gateways run in Pods, which are watched.
    pub pods: bool,
    pub faults: u8,
    /// Whether the first fault befalls a gateway.
    pub gateway_first: bool,
    pub scope: Scope,
    pub rules: Rules,
}

impl Default for Bastion {
    fn default() -> Self {
        Self {
            gateways: 1,
            controllers: 2,
            redis: false,
            pods: false,
            faults: 2,
            gateway_first: false,
            scope: Scope::ALL,
            rules: Rules::of_the_product(),
        }
    }
}

impl Model for Bastion {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            api: Api {
                up: true,
                leases: vec![Some(Lease { version: 0, renewal: 0, lost: false }); self.gateways],
                sessions: vec![Shown::Active; self.gateways],
                pods: vec![Pod::Runs; if self.pods { self.gateways } else { 0 }],
            },
            redis: self.redis.then(|| Redis::new(self.gateways)),
            gateways: vec![Gateway::new(self.redis); self.gateways],
            controllers: vec![Controller::new(self.gateways); self.controllers],
            faults_left: self.faults,
            broken: None,
            examples: Examples::default(),
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Step>) {
        if !world.is_over() {
            actions.extend(possible(world, self.scope_now(world)));
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut world = last.clone();
        world.examples = Examples::default();
        match step {
            Step::Second(trouble) => {
                self.second(&mut world, Troubles(trouble));
                if trouble.is_some() {
                    let mut without = last.clone();
                    without.examples = Examples::default();
                    self.second(&mut without, Troubles(None));
                    if without == world {
                        return None;
                    }
                    world.faults_left -= 1;
                }
            }
            step => happens(&mut world, step, &self.rules),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let promises: [fn(&Self, &World) -> bool; 8] = [
            |_, world| world.broken != Some(Promise::RenewedInTime),
            |_, world| world.broken != Some(Promise::Healthy),
            |_, world| world.broken != Some(Promise::ShownInTime),
            |_, world| world.broken != Some(Promise::FinalPhase),
            |_, world| world.broken != Some(Promise::KnowsItsLoss),
            |_, world| world.broken != Some(Promise::FencedInTime),
            |_, world| world.broken != Some(Promise::FencedForCause),
            |_, world| world.broken != Some(Promise::ReportedForCause),
        ];
        let examples: [fn(&Self, &World) -> bool; 13] = [
            |_, world| world.examples.has(Example::LossDeclared),
            |_, world| world.examples.has(Example::SecondFinishesSweep),
            |_, world| world.examples.has(Example::SilenceForgiven),
            |_, world| world.examples.has(Example::SuspectShowsItself),
            |_, world| world.examples.has(Example::LossLearnt),
            |_, world| world.examples.has(Example::LateEndRefused),
            |_, world| world.examples.has(Example::LandsAfterDeath),
            |_, world| world.examples.has(Example::LeaseRecreated),
            |_, world| world.examples.has(Example::FenceFalls),
            |_, world| world.examples.has(Example::VouchedFor),
            |_, world| world.examples.has(Example::OnlyRedisHears),
            |_, world| world.examples.has(Example::SuccessorSweeps),
            |_, world| world.examples.has(Example::EndReported),
        ];
        let promises = Promise::ALL.map(name_of).into_iter().zip(promises);
        let examples = Example::ALL.map(name_of_example).into_iter().zip(examples);
        let promises = promises.map(|(name, kept)| Property::always(name, kept));
        promises.chain(examples.map(|(name, met)| Property::sometimes(name, met))).collect()
    }
}

impl Bastion {
    /// What may break now.
    fn scope_now(&self, world: &World) -> Scope {
        if self.gateway_first && world.faults_left == self.faults { Scope::GATEWAYS } else { self.scope }
    }

    fn second(&self, world: &mut World, troubles: Troubles) {
        if let Some(redis) = &mut world.redis {
            redis.pass();
        }
        for c in 0..self.controllers {
            controller::wake(world, c, &troubles, &self.rules);
        }
        for g in 0..self.gateways {
            gateway::pass(world, g, troubles.gateway(g), &self.rules);
        }
        for c in 0..self.controllers {
            controller::pass(world, c, &troubles, &self.rules);
        }
        for g in 0..self.gateways {
            gateway::look_at_fence(world, g, &self.rules);
        }
        for c in 0..self.controllers {
            controller::count_overdue(world, c);
        }
    }
}

/// Something breaks between two seconds, or is mended.
fn happens(world: &mut World, step: Step, rules: &Rules) {
    match step {
        Step::Crash(who) => break_process(world, who, Process::Dead),
        Step::Freeze(who) => break_process(world, who, Process::Frozen),
        Step::Cut(Who::Gateway(g)) => world.gateways[g].cut = true,
        Step::Cut(Who::Controller(c)) => world.controllers[c].cut = true,
        Step::Stall(Who::Controller(c)) => world.controllers[c].stalled = true,
        Step::ApiDown => world.api.up = false,
        Step::DeleteLease(g) => {
            world.api.leases[g] = None;
            // The last renewal went with it, and is no evidence any more.
            world.gateways[g].facts.silent = OLDEST;
        }
        Step::PodGone(g) => {
            world.api.pods[g] = Pod::Gone;
            if world.gateways[g].process == Process::Dead {
                return;
            }
        }
        Step::UserLeaves(g) => world.gateways[g].user_leaves(),
        Step::CutFromRedis(Who::Gateway(g)) => world.gateways[g].cut_from_redis = true,
        Step::CutFromRedis(Who::Controller(c)) => world.controllers[c].cut_from_redis = true,
        Step::FreezeRedis { .. } | Step::EmptyRedis | Step::SetRedisBack => break_redis(world, step),
        _ => return mend(world, step, rules),
    }
    world.faults_left -= 1;
}

fn break_process(world: &mut World, who: Who, process: Process) {
    match (who, process) {
        (Who::Gateway(g), _) => world.gateways[g].process = process,
        (Who::Controller(c), Process::Dead) => world.controllers[c].die(),
        (Who::Controller(c), _) => world.controllers[c].process = process,
        _ => {}
    }
}

fn break_redis(world: &mut World, step: Step) {
    let World { redis: Some(redis), controllers, .. } = world else { return };
    match step {
        Step::FreezeRedis { with_set_of } => redis.freeze(with_set_of),
        Step::EmptyRedis => redis.empty(),
        Step::SetRedisBack => {
            redis.set_clock_back();
            for controller in controllers {
                controller.observer.shift_redis_stamps(redis::set_back);
            }
        }
        _ => {}
    }
}

fn mend(world: &mut World, step: Step, rules: &Rules) {
    let World { api, redis, gateways, controllers, .. } = world;
    match step {
        Step::PodTells(g) => api.pods[g] = Pod::Ended,
        Step::Successor { of, sweeps } => succeed(world, of, sweeps, rules),
        Step::MendToRedis(Who::Gateway(g)) => gateways[g].cut_from_redis = false,
        Step::MendToRedis(Who::Controller(c)) => controllers[c].cut_from_redis = false,
        Step::ThawRedis => redis.iter_mut().for_each(|redis| redis.thaw(rules)),
        Step::Start(c) => controllers[c].start(),
        Step::Thaw { who: Who::Gateway(g), .. } => gateways[g].process = Process::Running,
        Step::Thaw { who: Who::Controller(c), looks_first } => {
            controllers[c].process = Process::Running;
            controllers[c].looks_first = looks_first;
        }
        Step::Mend { who: Who::Gateway(g), .. } => gateways[g].cut = false,
        Step::Mend { who: Who::Controller(c), relist } => {
            controllers[c].cut = false;
            controllers[c].stalled = false;
            if relist {
                controllers[c].list_again();
            }
        }
        Step::ApiUp { relist } => {
            api.up = true;
            if relist {
                for controller in controllers {
                    controller.list_again();
                }
            }
        }
        _ => {}
    }
}

/// A new process in the Pod of gateway `g`, which is dead, declares the loss of that, and sweeps.
fn succeed(world: &mut World, g: usize, sweeps: bool, rules: &Rules) {
    let version = world.api.leases[g].map(|lease| lease.version);
    controller::swap(world, g, version, rules);
    if sweeps {
        world.end_session(g, Writer::Gateway, rules.phases_absorb);
        world.example(Example::SuccessorSweeps);
    }
}

/// Formats a path of the checker, one step a line.
pub fn format_path(path: &Path<World, Step>) -> String {
    let steps = format_steps(path.clone().into_actions(), Step::takes_a_second, Step::is_only_time);
    format!("{steps} {:?}", path.last_state().broken)
}

/// Formats steps with the second in which each is taken, without the steps that only pass time.
pub fn format_steps<S: Debug>(
    steps: Vec<S>,
    takes_a_second: impl Fn(&S) -> bool,
    is_only_time: impl Fn(&S) -> bool,
) -> String {
    let mut second = 0;
    let mut lines = Vec::new();
    for step in steps {
        if !is_only_time(&step) {
            lines.push(format!("    at {second} s: {step:?}"));
        }
        second += u32::from(takes_a_second(&step));
    }
    lines.push(format!("    at {second} s:"));
    lines.join("\n")
}
