//! Each session ends once, for a reason that fits what was done to it, and within its bound.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::causes::{Cause, causes};
use super::{Kind, SHOWN_WITHIN, Violation};
use crate::robustness::conditions::Conditions;
use crate::robustness::faults::{Fault, Part};
use crate::robustness::history::{Answer, History, Session, Shown};
use crate::robustness::spans::{Span, Spans};
use crate::wait::PROMPT_BOUND;

/// "At once": what a live gateway sees is shown within this time, if nothing was broken shortly before.
const AT_ONCE: SignedDuration = SignedDuration::from_secs(PROMPT_BOUND.as_secs().cast_signed());
/// How long nothing must have been broken for an end to be shown at once: programs find their way back meanwhile.
const CALM: SignedDuration = SignedDuration::from_secs(15);
/// How long after its end was shown a session may still echo what is on its way.
const ECHO_ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(5);

pub fn check(history: &History, session: &Session<'_>) -> Vec<Violation> {
    let causes = causes(history, session);
    let late = || late(history, session, &causes);
    let Some(end) = session.end() else {
        return if ended_unseen(history, session) { vec![] } else { late().into_iter().collect() };
    };
    let once = ended_twice(session, end);
    let explained = unexplained(session, end, &causes);
    once.into_iter().chain(explained).chain(late()).chain(alive_after(history, session, end)).collect()
}

/// What never changes once the phase is final.
fn what_is_final(shown: &Shown) -> impl PartialEq + std::fmt::Debug {
    let record = &shown.session;
    (&record.status, record.reason.as_deref(), record.message.as_deref(), record.end_time, record.exit_code)
}

fn ended_twice(session: &Session<'_>, end: &Shown) -> Option<Violation> {
    let later = session.shown.iter().skip_while(|it| !it.session.is_final);
    let other = later.into_iter().find(|it| what_is_final(it) != what_is_final(end))?;
    let what = format!("it was shown as {:?}, and then as {:?}", what_is_final(end), what_is_final(other));
    Some(Violation::of(Kind::EndedTwice, session, other.at, what))
}

fn unexplained(session: &Session<'_>, end: &Shown, causes: &[Cause]) -> Option<Violation> {
    let reason = end.session.reason.as_deref().unwrap_or_default();
    let fits = |cause: &Cause| cause.at <= end.at && cause.reasons.iter().any(|it| it.as_str() == reason);
    (!causes.iter().any(fits)).then(|| {
        Violation::of(
            Kind::Unexplained,
            session,
            end.at,
            format!("it was shown as ended by {reason}; nothing explains it"),
        )
    })
}

/// By when the end must be shown, and why.
fn deadline(history: &History, session: &Session<'_>, causes: &[Cause]) -> Option<(Timestamp, &'static str)> {
    let conditions = Conditions(history);
    let bound = |set: &Spans, from| Some(set.first_lasting(from, SHOWN_WITHIN)? + SHOWN_WITHIN);
    let silent = conditions.loss_is_seen(session).filter_map(|set| bound(&set, session.started));
    let silent = silent.map(|at| (at, "its gateway was dead or unheard for 30 s"));
    let of_causes = causes.iter().filter(|it| it.certain).flat_map(|cause| {
        let written = bound(&conditions.gateway_writes(session), cause.at);
        let carried = conditions.redis_carries_ends(session).filter_map(move |set| bound(&set, cause.at));
        let requested = conditions.request_is_seen().filter(|_| cause.by_request);
        let requested = requested.filter_map(move |set| bound(&set, cause.at));
        written
            .map(|at| (at, "its gateway could write its end for 30 s"))
            .into_iter()
            .chain(carried.map(|at| (at, "its gateway could leave its end with Redis for 30 s")))
            .chain(requested.map(|at| (at, "a controller could see the request for 30 s")))
    });
    let at_once = causes.iter().filter(|it| it.certain && is_calm(history, session, it.at));
    let at_once = at_once.map(|cause| (cause.at + AT_ONCE, "nothing was in the way of its gateway"));
    silent.chain(of_causes).chain(at_once).min()
}

/// Whether nothing was broken around this moment that concerns the session.
fn is_calm(history: &History, session: &Session<'_>, at: Timestamp) -> bool {
    let around = Span { from: at - CALM, to: at + AT_ONCE };
    !history.faults_of(|fault| delays(fault, session)).any(|it| it.span().meets(around))
}

/// Whether the fault can delay an end that the session's own gateway sees.
fn delays(fault: Fault, session: &Session<'_>) -> bool {
    let own = session.program();
    [Part::Api, Part::Machine, Part::Process(own), Part::ApiPath(own)].contains(&fault.part())
}

fn late(history: &History, session: &Session<'_>, causes: &[Cause]) -> Option<Violation> {
    let (deadline, because) = deadline(history, session, causes)?;
    let shown = session.end().map(|end| end.at);
    if shown.unwrap_or(history.ended) <= deadline {
        return None;
    }
    let what = match shown {
        Some(shown) => {
            format!("its end was shown {:.1} s late: {because}", shown.duration_since(deadline).as_secs_f64())
        }
        None => format!("its end was never shown: {because}"),
    };
    Some(Violation::of(Kind::Late, session, shown.unwrap_or(deadline), what))
}

/// It ended and was deleted while the watch was blind, which it is while the API server is stopped.
pub fn ended_unseen(history: &History, session: &Session<'_>) -> bool {
    let Some(last) = session.last() else { return false };
    let blind = history.faults_of(|fault| fault == Fault::ApiStopped).any(|it| it.to >= last.at);
    blind && history.rows.iter().any(|row| row.name == session.name && row.is_final)
}

/// Nobody can type in a session that is shown as ended.
fn alive_after(history: &History, session: &Session<'_>, end: &Shown) -> Option<Violation> {
    let mut echoes = history.lines_of(session.client).filter(|it| it.answer == Answer::Echoed);
    let late = echoes.find(|it| it.sent > end.at && it.at > end.at + ECHO_ON_ITS_WAY)?;
    let between = Span { from: end.at, to: late.at };
    if history.faults_of(|fault| fault == Fault::MachineStalled).any(|it| it.span().meets(between)) {
        return None;
    }
    let after = late.at.duration_since(end.at).as_secs_f64();
    let what = format!("a line was echoed {after:.1} s after it was shown as ended");
    Some(Violation::of(Kind::AliveAfterEnd, session, late.at, what))
}

/// Whether there was a moment in the run by which the end of the session had to be shown.
pub fn is_bounded(history: &History, session: &Session<'_>) -> bool {
    deadline(history, session, &causes(history, session)).is_some_and(|(at, _)| at <= history.ended)
}

/// How long the ends with nothing in their way took to be shown: the reason, the time, and the session.
pub fn prompt_ends(history: &History) -> Vec<(String, Duration, String)> {
    let prompt = |session: Session<'_>| {
        let end = session.end()?;
        let causes = causes(history, &session);
        let cause = causes.iter().find(|it| it.certain && it.at <= end.at)?;
        let took = Duration::try_from(end.at.duration_since(cause.at)).ok()?;
        let free = is_calm(history, &session, cause.at);
        free.then(|| (end.session.reason.clone().unwrap_or_default(), took, session.name.to_owned()))
    };
    history.sessions().into_values().filter_map(prompt).collect()
}
