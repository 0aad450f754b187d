//! What a controller does about one session: a function of the object, of its gateway instance, and of the time.

use std::time::Duration;

use jiff::Timestamp;

use super::budget::TERMINATION_PATIENCE;
use super::end::{Cause, End};
use crate::api::{AUDIT_FINALIZER, BastionSession, ObservedBy};

/// How the gateway instance of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Heard of within its time, or not yet long enough unheard of.
    Alive,
    /// Declared lost, by the swap of its Lease.
    Lost {
        /// How long this controller still leaves the sweep to the one that declared the loss.
        mine_in: Duration,
        /// The instance's last renewal, by its own clock.
        last_seen: Option<Timestamp>,
    },
}

/// What a decision rests on, beside the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// How the session's gateway instance is.
    pub instance: InstanceState,
    /// For how long this controller has known that somebody asked for the end; zero when it just learnt it.
    pub asked_for: Duration,
    /// How long a finished session is kept after its end.
    pub retention: Duration,
    /// The time of day, which only the retention is measured by.
    pub now: Timestamp,
}

/// What a controller does about a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until something changes.
    Wait,
    /// Nothing for this long.
    LookAgain(Duration),
    /// Write this end.
    End(End),
    /// Delete the object, whose record is safe.
    Prune,
}

/// Decides what to do about `session`.
pub fn decide(session: &BastionSession, situation: &Situation) -> Action {
    if session.phase().is_final() { retire(session, situation) } else { attend(session, situation) }
}

/// A finished session stays until its record is written, and a while longer for people to see it.
fn retire(session: &BastionSession, situation: &Situation) -> Action {
    if session.metadata.deletion_timestamp.is_some() || held_for_audit(session) {
        return Action::Wait;
    }
    let ended = session.status.as_ref().and_then(|status| status.end_time.as_ref()).map_or(situation.now, |end| end.0);
    let age = Duration::try_from(situation.now.duration_since(ended)).unwrap_or_default();
    match situation.retention.checked_sub(age) {
        Some(left) if !left.is_zero() => Action::LookAgain(left),
        _ => Action::Prune,
    }
}

/// An Active session is its gateway's affair, until the gateway is lost or does not do what it was asked.
fn attend(session: &BastionSession, situation: &Situation) -> Action {
    let start = session.spec.start_time.0;
    match situation.instance {
        InstanceState::Lost { mine_in, last_seen } if mine_in.is_zero() => {
            Action::End(End::unseen(Cause::GatewayLost, ObservedBy::Controller, start, last_seen))
        }
        InstanceState::Lost { mine_in, .. } => Action::LookAgain(mine_in),
        InstanceState::Alive => match asked_to_end(session) {
            None => Action::Wait,
            Some(cause) => match TERMINATION_PATIENCE.checked_sub(situation.asked_for) {
                Some(left) if !left.is_zero() => Action::LookAgain(left),
                _ => Action::End(End::unseen(cause, ObservedBy::Controller, start, Some(situation.now))),
            },
        },
    }
}

/// The cause for which somebody asked that the session end, if anybody did.
pub fn asked_to_end(session: &BastionSession) -> Option<Cause> {
    if let Some(termination) = &session.spec.termination {
        let reason = termination.reason.clone();
        return Some(if termination.requested_by == session.spec.user.subject {
            Cause::ApiClosed { reason }
        } else {
            Cause::Terminated { by: termination.requested_by.clone(), reason }
        });
    }
    session.metadata.deletion_timestamp.as_ref().map(|_| Cause::Deleted)
}

fn held_for_audit(session: &BastionSession) -> bool {
    session.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == AUDIT_FINALIZER)
}
