//! What a run does, drawn from a seed before it begins: the same seed draws the same faults and users. When each thing then
//! happens depends on the machine.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::faults::{ApiFault, Fault, Part, Program};
use super::history::Action;

pub const GATEWAYS: usize = 2;
pub const CONTROLLERS: usize = 2;
/// How many users open sessions, one after the other.
pub const USERS: usize = 30;
/// The time in which the faults of one round begin and end.
pub const FAULTY: Duration = Duration::from_secs(85);
/// The time after them in which nothing is broken, and users go on.
pub const CALM: Duration = Duration::from_secs(35);
/// How long a round lasts.
pub const ROUND: Duration = Duration::from_secs(FAULTY.as_secs() + CALM.as_secs());
/// The faults of one round.
const FAULTS: Range<usize> = 6..11;
/// How many of them may break the API server itself: while it is broken, most of the guarantee is in abeyance.
const MAX_API_FAULTS: usize = 2;
/// How long a part is whole before it breaks again.
const BETWEEN: Duration = Duration::from_secs(3);
/// How often a fault is drawn that finds no place in its round.
const ATTEMPTS: usize = 50;

/// Everything that a run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub seed: u64,
    pub database: DatabaseKind,
    /// After each round, users rest until everybody counts the same sessions.
    pub rounds: Vec<Round>,
    /// The sessions of each user, of which there are more than the user has time for.
    pub users: Vec<Vec<Visit>>,
    /// What administrators and users do over the API.
    pub requests: Vec<Request>,
}

/// The database of the audit records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    MariaDb,
}

/// The faults of one round, by their beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    pub faults: Vec<PlannedFault>,
}

/// A fault, and when it begins in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedFault {
    pub at: Duration,
    pub lasts: Duration,
    pub fault: Fault,
}

impl PlannedFault {
    fn end(self) -> Duration {
        self.at + self.lasts
    }
}

/// One session of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The pause before it.
    pub after: Duration,
    pub gateway: usize,
    /// The pauses after each line that the user types.
    pub lines: Vec<Duration>,
    pub end: Action,
}

/// A request over the API to end a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The pause before it.
    pub after: Duration,
    /// Selects one of the Active sessions, whose number is only known then.
    pub session: usize,
    pub way: RequestWay,
}

/// How the end of a session is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestWay {
    Terminate,
    Delete,
    CloseOwn,
}

impl Schedule {
    /// Draws the schedule of a run of about this time, of one round at least.
    pub fn draw(seed: u64, time: Duration) -> Self {
        let rounds = usize::try_from(time.as_secs() / ROUND.as_secs()).unwrap_or(usize::MAX).max(1);
        // Each list has random numbers of its own, so that a change of one leaves the others as they are.
        let random = |stream: u64| StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(stream));
        let time = ROUND * u32::try_from(rounds).unwrap_or(u32::MAX);
        Self {
            seed,
            database: *[DatabaseKind::Sqlite, DatabaseKind::MariaDb]
                .choose(&mut random(0))
                .unwrap_or(&DatabaseKind::Sqlite),
            rounds: (0..rounds).map(|number| Round::draw(&mut random(1_000 + number as u64))).collect(),
            users: (0..USERS).map(|number| visits(&mut random(100 + number as u64), time)).collect(),
            requests: requests(&mut random(1), time),
        }
    }
}

impl Round {
    fn draw(random: &mut StdRng) -> Self {
        let mut round = Self { faults: Vec::new() };
        // In most rounds one controller is left alone, since the guarantee needs one.
        let spared = random.random_bool(0.75).then(|| random.random_range(0..CONTROLLERS));
        for _ in 0..random.random_range(FAULTS) {
            for _ in 0..ATTEMPTS {
                let faults = draw_faults(random);
                if faults.iter().all(|it| round.has_place_for(*it, spared)) {
                    round.faults.extend(faults);
                    break;
                }
            }
        }
        round.faults.sort();
        round
    }

    fn has_place_for(&self, new: PlannedFault, spared: Option<usize>) -> bool {
        let part = new.fault.part();
        let hits_spared = spared.is_some_and(|number| {
            let spared = Program::Controller(number);
            [Part::Process(spared), Part::ApiPath(spared), Part::RedisPath(spared)].contains(&part)
        });
        let of_part = || self.faults.iter().filter(|it| it.fault.part() == part);
        let is_free = of_part().all(|it| it.end() + BETWEEN <= new.at || new.end() + BETWEEN <= it.at);
        let is_one_too_many = part == Part::Api && of_part().count() >= MAX_API_FAULTS;
        is_free && !hits_spared && !is_one_too_many
    }
}

/// Draws one fault, or those that together cut a program off.
fn draw_faults(random: &mut StdRng) -> Vec<PlannedFault> {
    let gateway = Program::Gateway(random.random_range(0..GATEWAYS));
    let controller = Program::Controller(random.random_range(0..CONTROLLERS));
    let any = *[gateway, controller, Program::Audit, Program::Console].choose(random).unwrap_or(&gateway);
    let of_bastion = *[gateway, gateway, controller].choose(random).unwrap_or(&gateway);
    let (faults, lasts) = match random.random_range(0..100) {
        0..12 => (vec![Fault::Killed(gateway)], 500..50_000),
        12..17 => (vec![Fault::Stopped(gateway)], 500..6_000),
        17..29 => (vec![Fault::Frozen(gateway)], 5_000..45_000),
        29..35 => (vec![Fault::Killed(controller)], 500..25_000),
        35..39 => (vec![Fault::Frozen(controller)], 5_000..40_000),
        39..41 => (vec![Fault::Killed(Program::Audit)], 500..25_000),
        41..51 => (vec![Fault::CutFromApi(any)], 3_000..50_000),
        51..56 => (vec![Fault::CutFromRedis(of_bastion)], 3_000..50_000),
        56..63 => (vec![Fault::CutFromApi(gateway), Fault::CutFromRedis(gateway)], 10_000..50_000),
        63..68 => (vec![Fault::ApiStopped], 500..15_000),
        68..78 => (vec![Fault::Api(draw_api_fault(random))], 3_000..25_000),
        78..82 => (vec![Fault::RedisKilled], 500..20_000),
        82..87 => (vec![Fault::RedisFrozen], 3_000..40_000),
        87..90 => (vec![Fault::RedisFlushed], 100..200),
        90..94 => (vec![Fault::DatabaseAway], 3_000..30_000),
        94 => (vec![Fault::Frozen(Program::Audit)], 5_000..40_000),
        _ => (vec![Fault::TargetKilled], 500..6_000),
    };
    let lasts = milliseconds(random, lasts);
    let at = milliseconds(random, 0..u64::try_from(FAULTY.saturating_sub(lasts).as_millis()).unwrap_or(u64::MAX));
    faults.into_iter().map(|fault| PlannedFault { at, lasts, fault }).collect()
}

fn draw_api_fault(random: &mut StdRng) -> ApiFault {
    let share = *[100, 100, 50].choose(random).unwrap_or(&100);
    match random.random_range(0..10) {
        0..4 => ApiFault::Answers {
            status: *[429, 500, 503, 504].choose(random).unwrap_or(&503),
            retry_after: *[None, Some(1), Some(30)].choose(random).unwrap_or(&None),
            share,
        },
        4..6 => ApiFault::Slow { milliseconds: random.random_range(200..1000) },
        6 => ApiFault::LosesAnswers { share },
        7 => ApiFault::Silent,
        8 => ApiFault::CutsWatches { share: 30 },
        _ => ApiFault::ExpiresWatches { share: 30 },
    }
}

/// Draws more sessions than a user has time for.
fn visits(random: &mut StdRng, time: Duration) -> Vec<Visit> {
    let mut visits = Vec::new();
    let mut planned = Duration::ZERO;
    while planned < time {
        let lines = (0..random.random_range(0..9)).map(|_| milliseconds(random, 200..8_000)).collect();
        let end = [Action::Exited, Action::TargetHungUp, Action::ClientKilled].choose(random).copied();
        let visit = Visit {
            after: milliseconds(random, 100..3_000),
            gateway: random.random_range(0..GATEWAYS),
            lines,
            end: end.unwrap_or(Action::Exited),
        };
        planned += visit.after + visit.lines.iter().sum::<Duration>();
        visits.push(visit);
    }
    visits
}

fn requests(random: &mut StdRng, time: Duration) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut planned = Duration::ZERO;
    while planned < time {
        let way = [RequestWay::Terminate, RequestWay::Delete, RequestWay::CloseOwn].choose(random).copied();
        let request = Request {
            after: milliseconds(random, 500..4_000),
            session: random.random_range(0..1_000_000),
            way: way.unwrap_or(RequestWay::Terminate),
        };
        planned += request.after;
        requests.push(request);
    }
    requests
}

fn milliseconds(random: &mut StdRng, range: Range<u64>) -> Duration {
    Duration::from_millis(random.random_range(range))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem::{Discriminant, discriminant};

    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_mins(15);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_seed_draws_the_same_schedule_again_and_another_seed_another(seed: u64) {
            let schedule = Schedule::draw(seed, LONG);
            prop_assert_eq!(&schedule, &Schedule::draw(seed, LONG));
            prop_assert_ne!(schedule.rounds, Schedule::draw(seed.wrapping_add(1), LONG).rounds);
        }

        #[test]
        fn a_longer_run_begins_like_a_shorter_one(seed: u64) {
            let (short, long) = (Schedule::draw(seed, ROUND), Schedule::draw(seed, LONG));
            prop_assert_eq!(&short.rounds[..], &long.rounds[..1]);
            for (short, long) in short.users.iter().zip(&long.users) {
                prop_assert!(long.starts_with(short));
            }
        }

        #[test]
        fn the_faults_of_a_part_do_not_overlap_and_end_before_the_calm(seed: u64) {
            for round in Schedule::draw(seed, LONG).rounds {
                prop_assert!(round.faults.iter().all(|it| it.end() <= FAULTY));
                for (number, one) in round.faults.iter().enumerate() {
                    for other in round.faults[number + 1..].iter().filter(|it| it.fault.part() == one.fault.part()) {
                        prop_assert!(one.end() + BETWEEN <= other.at, "{one:?} and {other:?}");
                    }
                }
                let api = round.faults.iter().filter(|it| it.fault.part() == Part::Api);
                prop_assert!(api.count() <= MAX_API_FAULTS);
            }
        }

        #[test]
        fn users_have_sessions_for_the_whole_run(seed: u64) {
            let schedule = Schedule::draw(seed, LONG);
            let time = |visits: &[Visit]| visits.iter().map(|it| it.after + it.lines.iter().sum::<Duration>()).sum::<Duration>();
            let all = ROUND * u32::try_from(schedule.rounds.len()).expect("few rounds");
            prop_assert!(schedule.users.iter().all(|visits| time(visits) >= all));
        }
    }

    #[test]
    fn some_seeds_draw_every_kind_of_fault() {
        let drawn = (0..40).flat_map(|seed| Schedule::draw(seed, LONG).rounds).flat_map(|round| round.faults);
        let kinds: BTreeSet<String> = drawn.map(|it| kind(it.fault)).collect();
        assert_eq!(kinds.len(), 17, "{kinds:?}");
    }

    fn kind(fault: Fault) -> String {
        let name = match fault {
            Fault::Api(api) => format!("{api:?}"),
            other => format!("{other:?}"),
        };
        name.split(['(', ' ']).next().unwrap_or_default().to_owned()
    }

    #[test]
    fn both_databases_are_drawn() {
        let kinds = (0..20).map(|seed| discriminant(&Schedule::draw(seed, ROUND).database));
        let kinds: std::collections::HashSet<Discriminant<DatabaseKind>> = kinds.collect();
        assert_eq!(kinds.len(), 2);
    }
}
