//! The actions on sessions and the faults of a run, with their times.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;

/// An action on one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Exited,
    ClientKilled,
    TargetHungUp,
    /// The client did not come as far as a shell, and its connection was ended.
    NotOpened,
    Terminated,
    ClosedByItsUser,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    GatewayKilled(usize),
    GatewayFrozen(usize),
    ControllerKilled,
    ControllerFrozen,
    ApiStopped,
    /// Killed, and back with nothing in it; or frozen.
    RedisAway,
    RedisFlushed,
    TargetKilled,
}

/// An action, its time, and whether it was certainly done.
#[derive(Clone, Copy, Debug)]
pub struct ActionRecord {
    pub action: Action,
    pub at: Timestamp,
    pub certain: bool,
}

/// A fault, from its beginning to its repair.
#[derive(Clone, Copy, Debug)]
pub struct FaultRecord {
    pub fault: Fault,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// All actions and faults of a run.
#[derive(Debug)]
pub struct Ledger {
    began: (Instant, Timestamp),
    /// By the software of the session's client.
    actions: Mutex<HashMap<String, Vec<ActionRecord>>>,
    faults: Mutex<Vec<FaultRecord>>,
    /// Shells that did not answer.
    unanswered: Mutex<Vec<(String, Timestamp)>>,
}

impl Default for Ledger {
    fn default() -> Self {
        let began = (Instant::now(), Timestamp::now());
        Self { began, actions: Mutex::default(), faults: Mutex::default(), unanswered: Mutex::default() }
    }
}

impl Ledger {
    pub fn record_action(&self, software: &str, action: Action, at: Timestamp, certain: bool) {
        let mut actions = self.actions.lock().expect("no panic");
        actions.entry(software.to_owned()).or_default().push(ActionRecord { action, at, certain });
    }

    /// Records a fault that began at `from` and was just repaired.
    pub fn record_fault(&self, fault: Fault, from: Timestamp) {
        let to = Timestamp::now();
        println!("{} {fault:?} for {:.1} s", self.age(), to.duration_since(from).as_secs_f64());
        self.faults.lock().expect("no panic").push(FaultRecord { fault, from, to });
    }

    pub fn did_not_answer(&self, software: &str) {
        self.unanswered.lock().expect("no panic").push((software.to_owned(), Timestamp::now()));
    }

    pub fn actions(&self) -> HashMap<String, Vec<ActionRecord>> {
        self.actions.lock().expect("no panic").clone()
    }

    pub fn faults(&self) -> Vec<FaultRecord> {
        self.faults.lock().expect("no panic").clone()
    }

    pub fn unanswered(&self) -> Vec<(String, Timestamp)> {
        self.unanswered.lock().expect("no panic").clone()
    }

    /// The time of day of a moment.
    pub fn time(&self, at: Instant) -> Timestamp {
        let (instant, timestamp) = self.began;
        timestamp + at.saturating_duration_since(instant)
    }

    /// How long it has been going on, for the log.
    pub fn age(&self) -> String {
        format!("[{:6.1} s]", self.began.0.elapsed().as_secs_f64())
    }
}
