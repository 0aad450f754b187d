//! What a run recorded.

use std::collections::{BTreeMap, BTreeSet};

use bastion_operator::audit::SessionRecord;
use jiff::Timestamp;

use super::faults::{Fault, FaultRecord, Program};

/// A whole run. Each list is in the order of time.
#[derive(Clone, Debug)]
pub struct History {
    pub began: Timestamp,
    pub ended: Timestamp,
    pub controllers: usize,
    /// What a watch showed that no fault concerns but those that stop the API server itself.
    pub shown: Vec<Shown>,
    pub actions: Vec<ActionRecord>,
    pub lines: Vec<Line>,
    pub faults: Vec<FaultRecord>,
    pub feed: Vec<FeedEvent>,
    pub counts: Vec<Counts>,
    /// The audit database at the end of the run.
    pub rows: Vec<SessionRecord>,
}

/// One event of the watch of sessions. As a row, it has all that an audit record must have.
#[derive(Clone, Debug)]
pub struct Shown {
    pub at: Timestamp,
    pub session: SessionRecord,
}

/// Something that a user, an administrator or the target did to one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The user typed `exit`.
    Exited,
    /// The client's process was killed.
    ClientKilled,
    /// The target broke the connection off.
    TargetHungUp,
    /// The client did not come as far as a shell, and its connection was ended.
    NotOpened,
    /// Somebody else asked for the end, or deleted the object.
    Terminated,
    /// The user asked for the end over the API.
    ClosedByItsUser,
}

/// An action, its time, and whether it was certainly done.
#[derive(Clone, Debug)]
pub struct ActionRecord {
    pub at: Timestamp,
    /// What the client says that it is: each client has one session.
    pub client: String,
    pub action: Action,
    pub certain: bool,
}

/// A line that a user typed.
#[derive(Clone, Debug)]
pub struct Line {
    pub client: String,
    pub sent: Timestamp,
    pub at: Timestamp,
    pub answer: Answer,
}

/// What became of a line, or of a connection, by the moment `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The target's echo came.
    Echoed,
    /// Neither the echo nor the end of the connection came.
    Silent,
    /// The connection was still open long after its end was asked for at `sent`.
    StillConnected,
}

/// What an open page of the console showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    pub at: Timestamp,
    pub change: FeedChange,
}

/// A change of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedChange {
    /// It shows these sessions, and no other, from now on.
    Shows(BTreeSet<String>),
    /// It says that it is live, or that it is not.
    Live(bool),
}

/// Everybody's number of sessions, once faults and users have rested for long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub at: Timestamp,
    /// Sessions that the API server lists as Active.
    pub listed: usize,
    /// Sessions that the gateways say that they carry.
    pub gateways: usize,
    /// The target's open connections.
    pub target: usize,
    /// Connected clients.
    pub users: usize,
    /// Sessions that the page shows.
    pub page: usize,
}

/// All that the watch showed of one session.
#[derive(Clone, Debug)]
pub struct Session<'a> {
    pub name: &'a str,
    pub client: &'a str,
    pub gateway: usize,
    pub started: Timestamp,
    pub shown: Vec<&'a Shown>,
}

impl History {
    /// The sessions by name.
    pub fn sessions(&self) -> BTreeMap<&str, Session<'_>> {
        let mut sessions: BTreeMap<&str, Session<'_>> = BTreeMap::new();
        for shown in &self.shown {
            let new = || Session::of(&shown.session);
            sessions.entry(&shown.session.name).or_insert_with(new).shown.push(shown);
        }
        sessions
    }

    /// When these faults happened.
    pub fn faults_of(&self, fault: impl Fn(Fault) -> bool) -> impl Iterator<Item = FaultRecord> {
        self.faults.iter().copied().filter(move |it| fault(it.fault))
    }

    pub fn actions_on(&self, client: &str) -> impl Iterator<Item = &ActionRecord> {
        self.actions.iter().filter(move |it| it.client == client)
    }

    pub fn lines_of(&self, client: &str) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(move |it| it.client == client)
    }
}

impl<'a> Session<'a> {
    fn of(record: &'a SessionRecord) -> Self {
        let number = record.gateway_name.strip_prefix("gateway-").and_then(|number| number.parse().ok());
        Self {
            name: &record.name,
            client: record.client_software.as_deref().unwrap_or_default(),
            gateway: number.unwrap_or(usize::MAX),
            started: Timestamp::from_microsecond(record.start_time).unwrap_or(Timestamp::MIN),
            shown: vec![],
        }
    }

    pub const fn program(&self) -> Program {
        Program::Gateway(self.gateway)
    }

    /// Where it was first shown as ended.
    pub fn end(&self) -> Option<&'a Shown> {
        self.shown.iter().copied().find(|it| it.session.is_final)
    }

    /// How it was shown last.
    pub fn last(&self) -> Option<&'a Shown> {
        self.shown.last().copied()
    }
}
