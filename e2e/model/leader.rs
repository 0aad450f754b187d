//! The election of a leader among the audit programs: the product's own `Election`, and around it what the product does
//! about its answers: it reads the Lease, claims it by compare-and-swap, and leads until a moment by its own clock.

use std::time::{Duration, Instant};

use bastion_operator::lifecycle::{Election, ElectionStep, LEADER_RETRY_PERIOD, RENEW_TIMEOUT};
use stateright::{Model, Property};

use crate::rules::seconds;
use crate::world::{NOW, Process, moved_by};

const PODS: [&str; 2] = ["ctl-0", "ctl-1"];
const IDS: [&str; 2] = ["ctl-0-aaaaaaaaaa", "ctl-1-aaaaaaaaaa"];
/// A controller leads again within this many seconds after the last claim.
const LED_WITHIN: u8 = 25;

pub const ONE_LEADS: &str = "no two lead at the same moment";
pub const ANOTHER_LEADS: &str = "where a controller works for 25 s and no other claims the Lease, a controller leads";
pub const CHANGES_HANDS: &str = "the lead changes hands";

/// Two candidates and this many faults.
#[derive(Clone, Debug)]
pub struct Campaign {
    pub faults: u8,
    pub rules: Rules,
}

/// What the product does, and ways to break it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The leader checks its lease term before each privileged action.
    pub checks_term: bool,
    /// The term is measured on a monotonic clock.
    pub clock_is_monotonic: bool,
    /// By how many seconds a term is too long.
    pub leads_longer: u8,
}

impl Rules {
    /// The product's.
    pub const fn of_the_product() -> Self {
        Self { checks_term: true, clock_is_monotonic: true, leads_longer: 0 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    up: bool,
    lease: Lease,
    candidates: Vec<Candidate>,
    faults_left: u8,
    /// Whether a claim has just put one name in the place of another.
    changed_hands: bool,
}

/// The leader's Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lease {
    holder: Option<usize>,
    version: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Candidate {
    process: Process,
    cut: bool,
    election: Election,
    /// Until when it leads, as those know who act on it.
    leading: Option<Instant>,
    doing: Doing,
    /// The version of the Lease that `election` saw last.
    seen: Option<u8>,
    /// A claim that it has given up, against this version, and in how many seconds it arrives.
    late: Option<(u8, u8)>,
    /// For how many seconds no candidate has led or claimed the Lease, though it works.
    leaderless: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    Sleeping(u8),
    /// For so many seconds it waits for the Lease, which comes then, or not.
    Reading(u8, Option<Lease>),
    /// It waits in vain for the answer to a claim.
    Claiming(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Second(Option<(usize, Trouble)>),
    Crash(usize),
    Freeze(usize),
    Cut(usize),
    /// SIGTERM: it gives the Lease back.
    Stop(usize),
    SetClockBack(usize),
    ApiDown,
    Start(usize),
    Thaw(usize),
    Mend(usize),
    ApiUp,
}

impl Step {
    pub const fn takes_a_second(&self) -> bool {
        matches!(self, Self::Second(_))
    }

    pub const fn is_only_time(&self) -> bool {
        matches!(self, Self::Second(None))
    }
}

/// A fault of one second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    ReadLost,
    /// The answer comes at the last moment.
    ReadSlow,
    ClaimLost,
    ClaimAnswerLost,
    /// The claim is received when its sender no longer waits for the answer.
    ClaimLate,
    SlowClock,
    FastClock,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::ReadLost,
    Trouble::ReadSlow,
    Trouble::ClaimLost,
    Trouble::ClaimAnswerLost,
    Trouble::ClaimLate,
    Trouble::SlowClock,
    Trouble::FastClock,
];

impl Candidate {
    fn new(c: usize) -> Self {
        Self {
            process: Process::Running,
            cut: false,
            election: Election::new(PODS[c], IDS[c]),
            leading: None,
            doing: Doing::Sleeping(1),
            seen: None,
            late: None,
            leaderless: 0,
        }
    }

    /// Whether it would do now what only the leader may.
    fn leads(&self, rules: &Rules) -> bool {
        let may = |until: Instant| !rules.checks_term || *NOW < until;
        self.process == Process::Running && self.leading.is_some_and(may)
    }

    fn age(&mut self, passed: u8) {
        let moved = moved_by(passed);
        self.election.shift(&moved);
        self.leading = self.leading.map(moved);
        // What a frozen process waits for comes when it goes on.
        let least = u8::from(self.process == Process::Frozen);
        let (Doing::Sleeping(left) | Doing::Reading(left, _) | Doing::Claiming(left)) = &mut self.doing;
        *left = left.saturating_sub(passed).max(least);
    }

    /// What it does between two rounds.
    fn rest(&mut self, rules: &Rules) {
        let longer = Duration::from_secs(rules.leads_longer.into());
        self.leading = self.election.leads_until(*NOW).map(|until| until + longer);
        self.doing = Doing::Sleeping(seconds(LEADER_RETRY_PERIOD));
    }
}

impl State {
    fn new_version(&self) -> u8 {
        let remembered = |version: u8| {
            self.lease.version == version
                || self.candidates.iter().any(|candidate| {
                    let read = matches!(candidate.doing, Doing::Reading(_, Some(lease)) if lease.version == version);
                    read || candidate.seen == Some(version) || candidate.late.is_some_and(|late| late.0 == version)
                })
        };
        (0..u8::MAX).find(|version| !remembered(*version)).unwrap_or(u8::MAX)
    }

    /// Puts a name into the Lease, if nothing has changed since it was read.
    fn swap(&mut self, expects: u8, holder: Option<usize>) -> bool {
        if self.lease.version != expects {
            return false;
        }
        self.changed_hands |= self.lease.holder.is_some() && holder.is_some() && self.lease.holder != holder;
        self.lease = Lease { holder, version: self.new_version() };
        for candidate in &mut self.candidates {
            candidate.leaderless = 0;
        }
        true
    }

    fn pass(&mut self, c: usize, trouble: Option<Trouble>, rules: &Rules) {
        if let Some((expects, lands_in)) = self.candidates[c].late {
            self.candidates[c].late = Some((expects, lands_in - 1)).filter(|_| lands_in > 1);
            if lands_in == 1 && self.up {
                self.swap(expects, Some(c));
            }
        }
        let candidate = &mut self.candidates[c];
        if candidate.process == Process::Dead {
            return;
        }
        candidate.age(match trouble {
            Some(Trouble::SlowClock) => 0,
            Some(Trouble::FastClock) => 2,
            _ => 1,
        });
        if candidate.process == Process::Running {
            if matches!(candidate.doing, Doing::Sleeping(_)) {
                candidate.leading = candidate.leading.filter(|until| *NOW < *until);
            }
            match candidate.doing {
                Doing::Sleeping(0) => self.read(c, trouble, rules),
                Doing::Reading(0, Some(lease)) => self.consider(c, lease, trouble, rules),
                Doing::Reading(0, None) | Doing::Claiming(0) => candidate.rest(rules),
                _ => {}
            }
        }
    }

    fn reaches(&self, c: usize) -> bool {
        self.up && !self.candidates[c].cut
    }

    fn read(&mut self, c: usize, trouble: Option<Trouble>, rules: &Rules) {
        let wait = seconds(RENEW_TIMEOUT);
        match trouble {
            _ if !self.reaches(c) => self.candidates[c].doing = Doing::Reading(wait, None),
            Some(Trouble::ReadLost) => self.candidates[c].doing = Doing::Reading(wait, None),
            Some(Trouble::ReadSlow) => self.candidates[c].doing = Doing::Reading(wait, Some(self.lease)),
            _ => self.consider(c, self.lease, trouble, rules),
        }
    }

    fn consider(&mut self, c: usize, lease: Lease, trouble: Option<Trouble>, rules: &Rules) {
        let holder = lease.holder.map_or("", |holder| IDS[holder]);
        let candidate = &mut self.candidates[c];
        candidate.seen = Some(lease.version);
        if candidate.election.observe(holder, &lease.version.to_string(), *NOW) == ElectionStep::Wait {
            candidate.election.claim_failed();
            candidate.rest(rules);
            return;
        }
        let lost = matches!(trouble, Some(Trouble::ClaimLost | Trouble::ClaimLate));
        if !self.reaches(c) || lost {
            let late = trouble == Some(Trouble::ClaimLate) && self.reaches(c);
            self.candidates[c].late = late.then_some((lease.version, 4));
            self.candidates[c].doing = Doing::Claiming(seconds(RENEW_TIMEOUT));
            return;
        }
        let won = self.swap(lease.version, Some(c));
        let candidate = &mut self.candidates[c];
        if trouble == Some(Trouble::ClaimAnswerLost) {
            candidate.doing = Doing::Claiming(seconds(RENEW_TIMEOUT));
            return;
        }
        if won {
            candidate.election.claim_succeeded(*NOW);
        } else {
            candidate.election.claim_failed();
        }
        candidate.rest(rules);
    }

    fn second(&mut self, trouble: Option<(usize, Trouble)>, rules: &Rules) {
        for c in 0..self.candidates.len() {
            self.pass(c, trouble.filter(|(whom, _)| *whom == c).map(|(_, trouble)| trouble), rules);
        }
        let led = self.candidates.iter().any(|candidate| candidate.leads(rules));
        for c in 0..self.candidates.len() {
            let works = self.reaches(c) && self.candidates[c].process == Process::Running;
            let candidate = &mut self.candidates[c];
            candidate.leaderless = if works && !led { candidate.leaderless + 1 } else { 0 };
        }
    }

    fn happens(&mut self, step: Step, rules: &Rules) {
        match step {
            Step::Crash(c) => self.die(c),
            Step::Freeze(c) => self.candidates[c].process = Process::Frozen,
            Step::Cut(c) => self.candidates[c].cut = true,
            Step::Stop(c) => {
                if self.candidates[c].leads(rules) && self.reaches(c) && self.lease.holder == Some(c) {
                    self.swap(self.lease.version, None);
                }
                self.die(c);
            }
            Step::SetClockBack(c) => {
                let leading = &mut self.candidates[c].leading;
                let back = Duration::from_secs(if rules.clock_is_monotonic { 0 } else { 10 });
                *leading = leading.map(|until| until + back);
            }
            Step::ApiDown => self.up = false,
            Step::Start(c) => {
                let late = self.candidates[c].late;
                self.candidates[c] = Candidate { late, ..Candidate::new(c) };
            }
            Step::Thaw(c) => self.candidates[c].process = Process::Running,
            Step::Mend(c) => self.candidates[c].cut = false,
            Step::ApiUp => self.up = true,
            Step::Second(_) => {}
        }
    }

    fn die(&mut self, c: usize) {
        let late = self.candidates[c].late;
        self.candidates[c] = Candidate { process: Process::Dead, late, ..Candidate::new(c) };
    }
}

impl Model for Campaign {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            up: true,
            lease: Lease { holder: None, version: 0 },
            candidates: (0..2).map(Candidate::new).collect(),
            faults_left: self.faults,
            changed_hands: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        steps.push(Step::Second(None));
        if !state.up {
            steps.push(Step::ApiUp);
        }
        for (c, candidate) in state.candidates.iter().enumerate() {
            match candidate.process {
                Process::Dead => steps.push(Step::Start(c)),
                Process::Frozen => steps.push(Step::Thaw(c)),
                Process::Running => {}
            }
            if candidate.cut {
                steps.push(Step::Mend(c));
            }
            if state.faults_left == 0 || candidate.process != Process::Running {
                continue;
            }
            steps.extend([Step::Crash(c), Step::Freeze(c), Step::Stop(c), Step::SetClockBack(c)]);
            steps.extend(TROUBLES.map(|trouble| Step::Second(Some((c, trouble)))));
            if !candidate.cut {
                steps.push(Step::Cut(c));
            }
        }
        if state.faults_left > 0 && state.up {
            steps.push(Step::ApiDown);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = State { changed_hands: false, ..last.clone() };
        match step {
            Step::Second(trouble) => state.second(trouble, &self.rules),
            step => state.happens(step, &self.rules),
        }
        let free = matches!(step, Step::Second(None) | Step::Start(_) | Step::Thaw(_) | Step::Mend(_) | Step::ApiUp);
        state.faults_left -= u8::from(!free);
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.candidates.iter().all(|candidate| candidate.leaderless <= LED_WITHIN)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let one_leads = |model: &Self, state: &State| {
            state.candidates.iter().filter(|candidate| candidate.leads(&model.rules)).count() <= 1
        };
        let another_leads =
            |_: &Self, state: &State| state.candidates.iter().all(|candidate| candidate.leaderless < LED_WITHIN);
        vec![
            Property::always(ONE_LEADS, one_leads),
            Property::always(ANOTHER_LEADS, another_leads),
            Property::sometimes(CHANGES_HANDS, |_, state: &State| state.changed_hands),
        ]
    }
}
