//! Whether every session ended once, in time, and for a reason that fits what was done to it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bastion_operator::api::Reason::{
    AdminTerminated, ApiClosed, ClientDisconnected, GatewayLost, Stale, TargetClosed, TargetUnreachable, UserExit,
};
use bastion_operator::api::{BastionSession, Reason};
use bastion_operator::audit::SessionRecord;
use jiff::{SignedDuration, Timestamp};

use crate::environment::Environment;
use crate::ledger::{Action, ActionRecord, Fault, FaultRecord, Ledger};
use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::{Observation, SessionHistory, end_time, histories};

/// Within this time an end is shown.
const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// A gateway that was frozen for less must not be given up. Its last renewal is up to five seconds older.
const MAY_BE_LOST_AFTER: SignedDuration = SignedDuration::from_secs(14);
/// For how long the API server and Redis must have been away together for a gateway to end its own sessions: its last
/// sign of life may have been five seconds older, and its first one later comes when it has found its way back.
const MAY_BE_CUT_OFF_AFTER: SignedDuration = SignedDuration::from_secs(8);
/// A gateway that was frozen for longer must be given up.
const IS_LOST_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How long before a target's death a session must have begun, to be sure that it was connected.
const SURELY_CONNECTED: SignedDuration = SignedDuration::from_secs(5);

/// Something that can have ended a session.
struct Cause {
    at: Timestamp,
    /// Whether it must have ended the session, if nothing else did.
    certain: bool,
    reasons: &'static [Reason],
}

/// How long ends took to be shown, and of which sessions, by reason, where nothing stood in their way.
type Times = BTreeMap<String, Vec<(Duration, String)>>;

/// Prints figures, and returns all that was wrong.
pub async fn judge(environment: &Environment) -> Vec<String> {
    let seen = environment.watch.seen();
    let histories = histories(&seen);
    let (all_actions, faults) = (environment.ledger.actions(), environment.ledger.faults());
    let mut wrong = Vec::new();
    let mut times = Times::new();
    let mut unseen = Vec::new();
    for history in histories.values() {
        let actions = all_actions.get(history.software()).map(Vec::as_slice).unwrap_or_default();
        match history.only_end() {
            Ok(Some(end)) => {
                let case = Case { ledger: &environment.ledger, faults: &faults, session: history.session(), actions };
                wrong.extend(case.judge(end, &mut times));
            }
            // Ended and deleted while the API server was away for the watch too.
            Ok(None) => unseen.push(history.name),
            Err(why) => wrong.push(why),
        }
    }
    wrong.extend(recorded(environment, &histories, &unseen).await);
    wrong.extend(doubled(&histories));
    wrong.extend(unanswered(&environment.ledger, &histories, &faults));
    print(&histories, &faults, &mut times, unseen.len());
    wrong
}

/// One session, and all that is known of what was done to it.
struct Case<'a> {
    ledger: &'a Ledger,
    faults: &'a [FaultRecord],
    session: &'a BastionSession,
    actions: &'a [ActionRecord],
}

impl Case<'_> {
    fn judge(&self, end: &Observation, times: &mut Times) -> Option<String> {
        let (name, shown) = (&end.name, self.ledger.time(end.at));
        let reason = end.reason.as_deref().unwrap_or_default();
        let mut causes: Vec<Cause> = self.causes().filter(|cause| cause.at <= shown).collect();
        causes.sort_by_key(|cause| cause.at);
        let description = || {
            let actions: Vec<_> = self.actions.iter().map(|it| format!("{:?} at {}", it.action, it.at)).collect();
            format!("{name} on {}, from {}", self.session.spec.gateway.instance, self.session.spec.start_time.0)
                + &format!(
                    ", was shown as {reason} at {shown} with endTime {:?}; done to it: {actions:?}",
                    end_time(end)
                )
        };
        if !causes.iter().any(|cause| cause.reasons.iter().any(|fits| fits.as_str() == reason)) {
            return Some(format!("nothing explains {}", description()));
        }
        let first = causes.iter().find(|cause| cause.certain)?;
        let deadline = self.deadline(first.at);
        if shown > deadline {
            return Some(format!("late by {:.1?}: {}", shown.duration_since(deadline), description()));
        }
        if self.delays(first.at, shown).next().is_none() {
            let took = Duration::try_from(shown.duration_since(first.at)).unwrap_or_default();
            times.entry(reason.to_owned()).or_default().push((took, name.clone()));
        }
        None
    }

    /// The table of reasons: what can have ended the session, and how that is then called.
    fn causes(&self) -> impl Iterator<Item = Cause> {
        let actions = self.actions.iter().map(|record| {
            let reasons: &[Reason] = match record.action {
                Action::Exited => &[UserExit],
                Action::ClientKilled => &[ClientDisconnected],
                Action::TargetHungUp => &[TargetClosed],
                Action::NotOpened => &[ClientDisconnected, TargetUnreachable, TargetClosed, Stale],
                Action::Terminated => &[AdminTerminated],
                Action::ClosedByItsUser => &[ApiClosed],
            };
            Cause { at: record.at, certain: record.certain, reasons }
        });
        actions.chain(self.faults.iter().filter_map(|record| self.cause(record))).chain(self.cut_off())
    }

    /// When the gateways could reach neither the API server nor Redis.
    fn cut_off(&self) -> impl Iterator<Item = Cause> {
        let of = |fault| self.faults.iter().filter(move |it| it.fault == fault);
        let both = of(Fault::ApiStopped).flat_map(move |api| {
            of(Fault::RedisAway).map(move |redis| (api.from.max(redis.from), api.to.min(redis.to)))
        });
        let long = both.filter(|(from, to)| to.duration_since(*from) >= MAY_BE_CUT_OFF_AFTER);
        long.map(|(from, _)| Cause { at: from, certain: false, reasons: &[GatewayLost] })
    }

    fn cause(&self, record: &FaultRecord) -> Option<Cause> {
        let FaultRecord { fault, from, to } = *record;
        let start = self.session.spec.start_time.0;
        let lasted = to.duration_since(from);
        let (happened, certain, reasons): (_, _, &[Reason]) = match fault {
            Fault::GatewayKilled(number) => (self.is_on(number) && start <= from, true, &[GatewayLost]),
            Fault::GatewayFrozen(number) => {
                let long = lasted >= MAY_BE_LOST_AFTER;
                (self.is_on(number) && start <= to && long, start <= from && lasted > IS_LOST_AFTER, &[GatewayLost])
            }
            Fault::TargetKilled => (start <= to, start + SURELY_CONNECTED <= from, &[TargetClosed, TargetUnreachable]),
            Fault::ControllerKilled
            | Fault::ControllerFrozen
            | Fault::ApiStopped
            | Fault::RedisAway
            | Fault::RedisFlushed => return None,
        };
        happened.then_some(Cause { at: from, certain, reasons })
    }

    /// Until when an end must be shown.
    fn deadline(&self, cause: Timestamp) -> Timestamp {
        let mut deadline = cause + SHOWN_WITHIN;
        while let Some(later) = self.delays(cause, deadline).map(|it| it + SHOWN_WITHIN).max()
            && later > deadline
        {
            deadline = later;
        }
        deadline
    }

    /// Until when, in this time, the API did not answer, or the one gateway that knew of the end was frozen; or when
    /// that was killed.
    fn delays(&self, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Timestamp> {
        self.faults.iter().filter(move |it| it.from <= to && it.to >= from).filter_map(move |it| match it.fault {
            Fault::ApiStopped => Some(it.to),
            Fault::GatewayFrozen(number) if self.is_on(number) => Some(it.to),
            Fault::GatewayKilled(number) if self.is_on(number) && it.from > from => Some(it.from),
            _ => None,
        })
    }

    fn is_on(&self, gateway: usize) -> bool {
        self.session.spec.gateway.name == format!("gateway-{gateway}")
    }
}

/// The audit database has every session, as the watch saw it end.
async fn recorded(
    environment: &Environment,
    histories: &BTreeMap<&str, SessionHistory<'_>>,
    unseen: &[&str],
) -> Vec<String> {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        let rows = rows(environment).await;
        let rows: HashMap<&str, &SessionRecord> = rows.iter().map(|row| (row.name.as_str(), row)).collect();
        let mut wrong = Vec::new();
        for history in histories.values() {
            let row = rows.get(history.name).copied();
            match (row.map(|row| (row.reason.as_deref(), row.end_time)), history.only_end()) {
                (Some((_, None)) | None, _) => wrong.push(format!("session {} has no row with an end", history.name)),
                (Some((reason, time)), Ok(Some(end))) => {
                    let shown = (end.reason.as_deref(), end_time(end).map(Timestamp::as_microsecond));
                    if shown != (reason, time) {
                        wrong.push(format!("session {} was shown as {shown:?}, recorded as {row:?}", history.name));
                    }
                }
                (Some(_), Ok(None)) if !unseen.contains(&history.name) => {
                    wrong.push(format!("session {} has a row, and no end was seen", history.name));
                }
                _ => {}
            }
        }
        if wrong.is_empty() || tokio::time::Instant::now() > deadline {
            return wrong;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn rows(environment: &Environment) -> Vec<SessionRecord> {
    all_rows(&audit_store(&environment.namespace)).await.expect("its rows")
}

/// Each client has one session.
fn doubled(histories: &BTreeMap<&str, SessionHistory<'_>>) -> Vec<String> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for history in histories.values() {
        names.entry(history.software()).or_default().push(history.name);
    }
    let doubled = names.into_iter().filter(|(_, names)| names.len() > 1);
    doubled.map(|(software, names)| format!("{software} had the sessions {names:?}")).collect()
}

/// A shell that does not answer is one whose gateway was frozen or killed, or whose target was.
fn unanswered(ledger: &Ledger, histories: &BTreeMap<&str, SessionHistory<'_>>, faults: &[FaultRecord]) -> Vec<String> {
    let effect_limit = SignedDuration::from_secs(35);
    let excused = |software: &str, at: Timestamp| {
        let history = histories.values().find(|history| history.software() == software);
        let gateway = history.map(|history| history.session().spec.gateway.name.as_str()).unwrap_or_default();
        faults.iter().filter(|it| it.from <= at && it.to + effect_limit >= at).any(|it| match it.fault {
            Fault::GatewayFrozen(number) | Fault::GatewayKilled(number) => gateway == format!("gateway-{number}"),
            Fault::TargetKilled => true,
            _ => false,
        })
    };
    let silent = ledger.unanswered().into_iter().filter(|(software, at)| !excused(software, *at));
    silent.map(|(software, at)| format!("the shell of {software} did not answer until {at}")).collect()
}

fn print(histories: &BTreeMap<&str, SessionHistory<'_>>, faults: &[FaultRecord], times: &mut Times, unseen: usize) {
    let mut kinds: BTreeMap<Fault, usize> = BTreeMap::new();
    for record in faults {
        *kinds.entry(record.fault).or_default() += 1;
    }
    println!("\n{} sessions, of which {unseen} ended while the watch was blind; faults: {kinds:?}", histories.len());
    println!("{:20} {:>8} {:>8} {:>10} {:>10}", "ended as", "sessions", "free", "median s", "last s");
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for end in histories.values().filter_map(|history| history.only_end().ok().flatten()) {
        *reasons.entry(end.reason.as_deref().unwrap_or_default()).or_default() += 1;
    }
    for (reason, sessions) in reasons {
        let times = times.entry(reason.to_owned()).or_default();
        times.sort();
        let at = |index: usize| times.get(index).cloned().unwrap_or_default();
        let ((median, _), (last, name)) = (at(times.len() / 2), at(times.len().saturating_sub(1)));
        let (median, last) = (median.as_secs_f64(), last.as_secs_f64());
        println!("{reason:20} {sessions:8} {:8} {median:10.3} {last:10.3} {name}", times.len());
    }
    println!("(free: no API server was stopped and no gateway frozen between the cause and the watch)");
}
