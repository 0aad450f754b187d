//! What a watch told of each session, from its first observation to its last.

use std::collections::BTreeMap;

use bastion_operator::api::BastionSession;
use jiff::Timestamp;

use crate::watch::Observation;

/// What a watch showed of one session.
#[derive(Debug)]
pub struct SessionHistory<'a> {
    pub name: &'a str,
    /// How it was seen first.
    pub first: &'a Observation,
    /// How it was seen last.
    pub last: &'a Observation,
    /// The first observation of each end: there is one end, unless something is very wrong.
    ends: Vec<&'a Observation>,
    /// Whether it was seen Active after it had been seen ended.
    revived: bool,
}

impl<'a> SessionHistory<'a> {
    /// Where it was first seen ended, if it was; panics where it ended in more than one way.
    pub fn end(&self) -> Option<&'a Observation> {
        self.only_end().unwrap_or_else(|why| panic!("{why}"))
    }

    /// Where it was first seen ended, if it was, or in which ways.
    pub fn only_end(&self) -> Result<Option<&'a Observation>, String> {
        let ends: Vec<_> = self.ends.iter().map(|it| what_is_final(it)).collect();
        if ends.len() > 1 {
            return Err(format!("session {} ended in more than one way: {ends:?}", self.name));
        }
        if self.revived {
            return Err(format!("session {} was Active after its end: {ends:?}", self.name));
        }
        Ok(self.ends.first().copied())
    }

    pub fn session(&self) -> &'a BastionSession {
        &self.last.session
    }

    /// What its client says that it is.
    pub fn software(&self) -> &'a str {
        self.session().spec.client.software.as_deref().unwrap_or_default()
    }
}

/// The histories of all sessions, by name.
pub fn histories(seen: &[Observation]) -> BTreeMap<&str, SessionHistory<'_>> {
    let mut histories: BTreeMap<&str, SessionHistory<'_>> = BTreeMap::new();
    for observation in seen {
        let new = SessionHistory {
            name: &observation.name,
            first: observation,
            last: observation,
            ends: Vec::new(),
            revived: false,
        };
        let history = histories.entry(&observation.name).or_insert(new);
        history.last = observation;
        if !observation.phase.is_final() {
            history.revived |= !history.ends.is_empty();
        } else if !history.ends.iter().any(|known| what_is_final(known) == what_is_final(observation)) {
            history.ends.push(observation);
        }
    }
    histories
}

/// Phase, reason, message and endTime.
fn what_is_final(observation: &Observation) -> (String, Option<&str>, Option<&str>, Option<Timestamp>) {
    let status = observation.session.status.as_ref();
    (
        observation.phase.to_string(),
        observation.reason.as_deref(),
        status.and_then(|status| status.message.as_deref()),
        end_time(observation),
    )
}

/// The `endTime` of an ended session.
pub fn end_time(observation: &Observation) -> Option<Timestamp> {
    observation.session.status.as_ref().and_then(|status| status.end_time.as_ref()).map(|time| time.0)
}
