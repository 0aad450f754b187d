//! What can break in a run.

use std::fmt::{self, Display, Formatter};

use jiff::Timestamp;

use super::spans::Span;

/// A program of the bastion. Gateways and controllers are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Gateway(usize),
    Controller(usize),
    Audit,
    Console,
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway(number) => write!(f, "gateway-{number}"),
            Self::Controller(number) => write!(f, "controller-{number}"),
            Self::Audit => f.write_str("audit-0"),
            Self::Console => f.write_str("console-0"),
        }
    }
}

/// What the API server does to the requests of all programs. Shares are in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApiFault {
    /// Answers this in place of doing what was asked.
    Answers { status: u16, retry_after: Option<u32>, share: u8 },
    /// Answers, and passes events of watches on, this much later.
    Slow { milliseconds: u16 },
    /// Does what was asked, and closes the connection in place of an answer.
    LosesAnswers { share: u8 },
    /// Neither answers nor closes the connection.
    Silent,
    /// Cuts watches off in the middle of an event.
    CutsWatches { share: u8 },
    /// Ends watches with 410.
    ExpiresWatches { share: u8 },
}

impl ApiFault {
    /// Whether no request is done and answered meanwhile.
    pub const fn is_outage(self) -> bool {
        match self {
            Self::Answers { share, .. } | Self::LosesAnswers { share } => share == 100,
            Self::Silent => true,
            Self::Slow { .. } | Self::CutsWatches { .. } | Self::ExpiresWatches { .. } => false,
        }
    }
}

/// A fault, from its beginning to its repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process gets SIGKILL; another one is started for the repair.
    Killed(Program),
    /// The process gets SIGTERM; another one is started for the repair.
    Stopped(Program),
    /// The process gets SIGSTOP.
    Frozen(Program),
    /// Nothing passes between the program and the API server, and no connection is closed.
    CutFromApi(Program),
    /// Nothing passes between the program and Redis, and no connection is closed.
    CutFromRedis(Program),
    /// The API server's process gets SIGKILL.
    ApiStopped,
    Api(ApiFault),
    /// Redis gets SIGKILL, and comes back empty.
    RedisKilled,
    RedisFrozen,
    RedisFlushed,
    /// SQLite's write lock is held, or MariaDB is killed.
    DatabaseAway,
    TargetKilled,
    /// The machine of the run was so busy that a request straight to the API server took seconds. Not scheduled.
    MachineStalled,
}

/// What a fault breaks. Two faults of one part do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Process(Program),
    ApiPath(Program),
    RedisPath(Program),
    Api,
    Redis,
    Database,
    Target,
    Machine,
}

impl Fault {
    pub const fn part(self) -> Part {
        match self {
            Self::Killed(program) | Self::Stopped(program) | Self::Frozen(program) => Part::Process(program),
            Self::CutFromApi(program) => Part::ApiPath(program),
            Self::CutFromRedis(program) => Part::RedisPath(program),
            Self::ApiStopped | Self::Api(_) => Part::Api,
            Self::RedisKilled | Self::RedisFrozen | Self::RedisFlushed => Part::Redis,
            Self::DatabaseAway => Part::Database,
            Self::TargetKilled => Part::Target,
            Self::MachineStalled => Part::Machine,
        }
    }

    /// Whether it keeps the whole API server from answering.
    pub const fn is_api_outage(self) -> bool {
        match self {
            Self::ApiStopped | Self::MachineStalled => true,
            Self::Api(fault) => fault.is_outage(),
            _ => false,
        }
    }

    /// Whether it can matter to the sessions of this gateway.
    pub const fn concerns(self, gateway: usize) -> bool {
        match self.part() {
            Part::Process(Program::Gateway(number))
            | Part::ApiPath(Program::Gateway(number))
            | Part::RedisPath(Program::Gateway(number)) => number == gateway,
            _ => true,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(program) => write!(f, "{program} is killed"),
            Self::Stopped(program) => write!(f, "{program} is stopped with SIGTERM"),
            Self::Frozen(program) => write!(f, "{program} is frozen"),
            Self::CutFromApi(program) => write!(f, "{program} is cut off from the API server"),
            Self::CutFromRedis(program) => write!(f, "{program} is cut off from Redis"),
            Self::ApiStopped => f.write_str("the API server is killed"),
            Self::Api(fault) => write!(f, "the API server: {fault:?}"),
            Self::RedisKilled => f.write_str("Redis is killed"),
            Self::RedisFrozen => f.write_str("Redis is frozen"),
            Self::RedisFlushed => f.write_str("Redis is flushed"),
            Self::DatabaseAway => f.write_str("the database is away"),
            Self::TargetKilled => f.write_str("the target is killed"),
            Self::MachineStalled => f.write_str("the machine stalls"),
        }
    }
}

/// A fault that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultRecord {
    pub fault: Fault,
    /// When it began, at the latest.
    pub from: Timestamp,
    /// When it was repaired; where a process was started, when that did its work.
    pub to: Timestamp,
}

impl FaultRecord {
    pub const fn span(self) -> Span {
        Span { from: self.from, to: self.to }
    }
}
