//! What was done to whom, and when.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

use jiff::Timestamp;

/// An action on one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Exited,
    ClientKilled,
    TargetHungUp,
    /// The client did not come as far as a shell, and its connection was ended.
    NotOpened,
    Terminated,
    ClosedByItsUser,
}

/// What broke.
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

/// A deed, and whether it was certainly done.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    pub deed: Deed,
    pub at: Timestamp,
    pub certain: bool,
}

/// A fault, from its beginning to its repair.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    pub fault: Fault,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// All of it.
#[derive(Debug)]
pub struct Ledger {
    began: (Instant, Timestamp),
    /// By the software of the session's client.
    deeds: Mutex<HashMap<String, Vec<Done>>>,
    faults: Mutex<Vec<Broken>>,
    /// Shells that did not answer.
    unanswered: Mutex<Vec<(String, Timestamp)>>,
}

impl Default for Ledger {
    fn default() -> Self {
        let began = (Instant::now(), Timestamp::now());
        Self { began, deeds: Mutex::default(), faults: Mutex::default(), unanswered: Mutex::default() }
    }
}

impl Ledger {
    pub fn done(&self, software: &str, deed: Deed, at: Timestamp, certain: bool) {
        let mut deeds = self.deeds.lock().expect("no panic");
        deeds.entry(software.to_owned()).or_default().push(Done { deed, at, certain });
    }

    /// A fault that was just repaired.
    pub fn broke(&self, fault: Fault, from: Timestamp) {
        let to = Timestamp::now();
        println!("{} {fault:?} for {:.1} s", self.age(), to.duration_since(from).as_secs_f64());
        self.faults.lock().expect("no panic").push(Broken { fault, from, to });
    }

    pub fn did_not_answer(&self, software: &str) {
        self.unanswered.lock().expect("no panic").push((software.to_owned(), Timestamp::now()));
    }

    pub fn deeds(&self) -> HashMap<String, Vec<Done>> {
        self.deeds.lock().expect("no panic").clone()
    }

    pub fn faults(&self) -> Vec<Broken> {
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
