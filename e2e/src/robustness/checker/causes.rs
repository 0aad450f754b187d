//! What can have ended a session, and which reasons fit it.

use bastion_operator::api::Reason::{
    self, AdminTerminated, ApiClosed, ClientDisconnected, GatewayLost, GatewayShutdown, Stale, TargetClosed,
    TargetUnreachable, UserExit,
};
use jiff::{SignedDuration, Timestamp};

use crate::robustness::conditions::Conditions;
use crate::robustness::faults::{Fault, Part};
use crate::robustness::history::{Action, Answer, History, Session};
use crate::robustness::spans::Span;

/// A gateway must have been unheard for at least this long to be declared lost: controllers wait for 20 s after the last
/// evidence, and the last renewal of its Lease is up to 5 s old.
const MAY_BE_LOST_AFTER: SignedDuration = SignedDuration::from_secs(14);
/// A gateway must have reached no witness for at least this long to end its own sessions: it does so 15 s after it sent its
/// last heartbeat that arrived, which is up to 5 s old, and may take some seconds to find its way back.
const MAY_BE_CUT_OFF_AFTER: SignedDuration = SignedDuration::from_secs(8);

/// How long a gateway tries to create an object before it refuses the user, and ends the object should it exist.
const CREATED_WITHIN: SignedDuration = SignedDuration::from_secs(20);

/// Something that can have ended a session.
pub struct Cause {
    pub at: Timestamp,
    /// Whether it must have ended the session, if nothing else did.
    pub certain: bool,
    /// Whether it was asked for over the API, where every controller sees it.
    pub by_request: bool,
    pub reasons: &'static [Reason],
}

/// Everything that can have ended the session, in the order of time.
pub fn causes(history: &History, session: &Session<'_>) -> Vec<Cause> {
    let mut causes: Vec<Cause> = actions(history, session)
        .chain(dead_gateway(history, session))
        .chain(silent_gateway(history, session))
        .chain(dead_target(history, session))
        .chain(lost_create(history, session))
        .collect();
    causes.sort_by_key(|it| it.at);
    causes
}

/// The table of reasons.
fn actions(history: &History, session: &Session<'_>) -> impl Iterator<Item = Cause> {
    history.actions_on(session.client).map(|record| {
        let reasons: &[Reason] = match record.action {
            Action::Exited => &[UserExit],
            Action::ClientKilled => &[ClientDisconnected],
            Action::TargetHungUp => &[TargetClosed],
            Action::NotOpened => &[ClientDisconnected, TargetUnreachable, TargetClosed, Stale],
            Action::Terminated => &[AdminTerminated],
            Action::ClosedByItsUser => &[ApiClosed],
        };
        let by_request = matches!(record.action, Action::Terminated | Action::ClosedByItsUser);
        Cause { at: record.at, certain: record.certain, by_request, reasons }
    })
}

/// The death of the process that had accepted the session. The guarantee bounds its end without this cause.
fn dead_gateway(history: &History, session: &Session<'_>) -> impl Iterator<Item = Cause> {
    let (killed, stopped) = (Fault::Killed(session.program()), Fault::Stopped(session.program()));
    let records = history.faults_of(move |fault| fault == killed || fault == stopped);
    // The process may have accepted it after the fault had begun.
    records.filter(|it| session.started <= it.to).map(move |it| {
        let reasons: &[Reason] = if it.fault == stopped { &[GatewayShutdown, GatewayLost] } else { &[GatewayLost] };
        Cause { at: it.from, certain: false, by_request: false, reasons }
    })
}

/// A silence for which controllers may declare the gateway lost, or in which it ends its sessions itself.
fn silent_gateway(history: &History, session: &Session<'_>) -> impl Iterator<Item = Cause> {
    let conditions = Conditions(history);
    let unheard = conditions.unheard(session.program());
    let cut_off = conditions.cut_off(session.program());
    let unheard: Vec<_> = unheard.lasting(MAY_BE_LOST_AFTER).map(|it| (it, MAY_BE_LOST_AFTER)).collect();
    let cut_off: Vec<_> = cut_off.lasting(MAY_BE_CUT_OFF_AFTER).map(|it| (it, MAY_BE_CUT_OFF_AFTER)).collect();
    unheard.into_iter().chain(cut_off).filter(|(silence, _)| session.started <= silence.to).map(|(silence, after)| {
        let at = silence.from.saturating_add(after).unwrap_or(silence.from);
        Cause { at, certain: false, by_request: false, reasons: &[GatewayLost] }
    })
}

/// The target's death ends every session that was connected to it, which one is for certain whose shell had answered.
fn dead_target(history: &History, session: &Session<'_>) -> impl Iterator<Item = Cause> {
    let records = history.faults_of(|fault| fault == Fault::TargetKilled).filter(|it| session.started <= it.to);
    records.map(|it| {
        let certain = history.lines_of(session.client).any(|line| line.answer == Answer::Echoed && line.at <= it.from);
        Cause { at: it.from, certain, by_request: false, reasons: &[TargetClosed, TargetUnreachable] }
    })
}

/// A create without an answer, after which the gateway refused the user: nothing ever passed through the session.
fn lost_create(history: &History, session: &Session<'_>) -> Option<Cause> {
    let creation = Span { from: session.started, to: session.started + CREATED_WITHIN };
    let own = session.program();
    let hinders =
        |fault: Fault| [Part::Api, Part::Machine, Part::ApiPath(own), Part::Process(own)].contains(&fault.part());
    let hindered = history.faults_of(hinders).any(|it| it.span().meets(creation));
    let unused = history.lines_of(session.client).all(|line| line.answer != Answer::Echoed);
    let cause = Cause { at: session.started, certain: false, by_request: false, reasons: &[Stale] };
    (hindered && unused).then_some(cause)
}
