//! The state of the modelled cluster, and the API server in it: Leases and sessions, each written atomically.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::controller::Controller;
use crate::gateway::Gateway;
use crate::redis::Redis;

/// The present, on every clock: when time passes, what is remembered moves into the past instead.
pub static NOW: LazyLock<Instant> = LazyLock::new(|| Instant::now() + Duration::from_hours(1));
/// Ages are counted up to this, a little beyond the longest time that anything is measured by.
pub const OLDEST: u8 = 22;

/// Moves a moment so many seconds into the past.
pub fn moved_by(passed: u8) -> impl Fn(Instant) -> Instant {
    let oldest = NOW.checked_sub(Duration::from_secs(OLDEST.into())).unwrap_or(*NOW);
    let passed = Duration::from_secs(passed.into());
    move |at| at.checked_sub(passed).unwrap_or(oldest).max(oldest)
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub api: Api,
    /// The second witness, where there is one.
    pub redis: Option<Redis>,
    pub gateways: Vec<Gateway>,
    pub controllers: Vec<Controller>,
    /// How many faults may still happen.
    pub faults_left: u8,
    /// The first promise that was broken.
    pub broken: Option<Promise>,
    /// What the last step was an example of.
    pub examples: Examples,
}

/// The API server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Api {
    pub up: bool,
    /// The Lease of each gateway.
    pub leases: Vec<Option<Lease>>,
    /// The session of each gateway, as everybody sees it.
    pub sessions: Vec<Shown>,
    /// The Pod of each gateway; none where Pods have no part in it.
    pub pods: Vec<Pod>,
}

/// A gateway's Pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pod {
    #[default]
    Runs,
    /// Its container has ended, and may have been started again.
    Ended,
    /// There is no such object any more.
    Gone,
}

impl Api {
    /// Whether the Pod of gateway `g` is gone, which proves no death.
    pub fn pod_is_gone(&self, g: usize) -> bool {
        self.pods.get(g) == Some(&Pod::Gone)
    }
}

/// A gateway's Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Different from every version that anybody still remembers.
    pub version: u8,
    /// The version that its holder wrote last: what `renewTime` tells of it.
    pub renewal: u8,
    pub lost: bool,
}

impl Lease {
    /// Whether this version is in it.
    pub const fn has(self, version: u8) -> bool {
        self.version == version || self.renewal == version
    }
}

/// How a session is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    Active,
    EndedBy(Writer),
}

/// Who wrote an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Writer {
    Gateway,
    Controller,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Process {
    Running,
    Frozen,
    Dead,
}

/// What is promised, and how it was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// A loss was declared of, or a session ended behind, a gateway that had renewed in time.
    RenewedInTime,
    /// A loss was declared of a gateway that nothing ailed but its surroundings.
    Healthy,
    /// A session was still shown as Active 30 seconds after its gateway was gone.
    ShownInTime,
    /// An end was replaced by another.
    FinalPhase,
    /// A gateway that was declared lost renewed its Lease.
    KnowsItsLoss,
    /// A gateway was cut off from both witnesses, and declared lost before it had ended its session.
    FencedInTime,
    /// A gateway ended its session that had reached a witness.
    FencedForCause,
    /// A session was shown as ended by a report, though its user was at work.
    ReportedForCause,
}

impl Promise {
    pub const ALL: [Self; 8] = [
        Self::RenewedInTime,
        Self::Healthy,
        Self::ShownInTime,
        Self::FinalPhase,
        Self::KnowsItsLoss,
        Self::FencedInTime,
        Self::FencedForCause,
        Self::ReportedForCause,
    ];
}

/// What a step can be an example of: the model must come across each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Example {
    LossDeclared,
    SecondFinishesSweep,
    SilenceForgiven,
    SuspectShowsItself,
    LossLearnt,
    LateEndRefused,
    LandsAfterDeath,
    LeaseRecreated,
    FenceFalls,
    VouchedFor,
    OnlyRedisHears,
    SuccessorSweeps,
    EndReported,
}

impl Example {
    pub const ALL: [Self; 13] = [
        Self::LossDeclared,
        Self::SecondFinishesSweep,
        Self::SilenceForgiven,
        Self::SuspectShowsItself,
        Self::LossLearnt,
        Self::LateEndRefused,
        Self::LandsAfterDeath,
        Self::LeaseRecreated,
        Self::FenceFalls,
        Self::VouchedFor,
        Self::OnlyRedisHears,
        Self::SuccessorSweeps,
        Self::EndReported,
    ];
}

/// A set of [`Example`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Examples(u16);

impl Examples {
    pub fn has(self, example: Example) -> bool {
        self.0 & (1 << example as u8) != 0
    }
}

impl World {
    pub fn example(&mut self, example: Example) {
        self.examples.0 |= 1 << example as u8;
    }

    /// Whether Redis is there and runs.
    pub fn redis_is_up(&self) -> bool {
        self.redis.as_ref().is_some_and(|redis| redis.up)
    }

    pub fn breaks(&mut self, promise: Promise) {
        self.broken.get_or_insert(promise);
    }

    /// Returns the smallest version for the Lease of gateway `g` that no process remembers, so that the number of states
    /// stays finite.
    pub fn new_version(&self, g: usize) -> u8 {
        let gateway = &self.gateways[g];
        let remembered = |version: u8| {
            self.api.leases[g].is_some_and(|lease| lease.has(version))
                || gateway.known == version
                || gateway.late.is_some_and(|late| late.expects == version)
                || self.controllers.iter().any(|controller| controller.remembers(g, version))
        };
        (0..u8::MAX).find(|version| !remembered(*version)).unwrap_or(u8::MAX)
    }

    /// Whether no promise can be broken any more.
    pub fn is_over(&self) -> bool {
        self.broken.is_some()
            || (0..self.gateways.len()).all(|g| {
                let gateway = &self.gateways[g];
                let unaware = gateway.facts.declared && !gateway.fenced;
                self.api.sessions[g] != Shown::Active
                    && (gateway.process == Process::Dead || !unaware && !gateway.carries())
            })
    }

    /// Writes the end of a session. With `absorbing`, which is the rule of the schema, the first end stays.
    pub fn end_session(&mut self, g: usize, writer: Writer, absorbing: bool) {
        match self.api.sessions[g] {
            Shown::EndedBy(_) if absorbing => self.example(Example::LateEndRefused),
            Shown::EndedBy(first) if first != writer => self.breaks(Promise::FinalPhase),
            _ => self.api.sessions[g] = Shown::EndedBy(writer),
        }
    }
}
