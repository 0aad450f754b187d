//! What a controller does about one session: a function of the object, of its gateway instance, and of the time.

use std::time::Duration;

use jiff::Timestamp;

use super::end::{Cause, End};
use super::timeouts::{ORDER_AFTER, ORDER_EVERY, TERMINATION_PATIENCE};
use crate::api::{AUDIT_FINALIZER, BastionSession, ObservedBy, Termination};

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
    /// How long a finished session is kept after its end; `None` where that is another controller's affair.
    pub retention: Option<Duration>,
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
    /// Tell the gateway through Redis to end it for this cause, and look again after this long.
    Order(Cause, Duration),
    /// Write this end.
    End(End),
    /// Delete the object, whose record is safe.
    Prune,
}

/// Decides what to do about `session`.
pub fn decide(session: &BastionSession, situation: &Situation) -> Action {
    if session.phase().is_final() {
        retire(session, situation)
    } else {
        attend(Some(session.spec.start_time.0), asked_to_end(session), situation)
    }
}

/// A finished session stays until its record is written, and a while longer for people to see it.
fn retire(session: &BastionSession, situation: &Situation) -> Action {
    let Some(retention) = situation.retention else { return Action::Wait };
    if session.metadata.deletion_timestamp.is_some() || !is_on_record(session) {
        return Action::Wait;
    }
    // A database that is restored from a back-up has the records of this time written anew: so it counts from the record,
    // with which the object changed last.
    let ended = session.status.as_ref().and_then(|status| status.end_time.as_ref()).map(|end| end.0);
    let changed =
        session.metadata.managed_fields.iter().flatten().filter_map(|entry| entry.time.as_ref()).map(|time| time.0);
    let since = changed.chain(ended).max().unwrap_or(situation.now);
    let age = Duration::try_from(situation.now.duration_since(since)).unwrap_or_default();
    match retention.checked_sub(age) {
        Some(left) if !left.is_zero() => Action::LookAgain(left),
        _ => Action::Prune,
    }
}

/// Decides what to do about an Active session, which may be unreadable; `asked` is the cause for which somebody asked for its
/// end. It is its gateway's affair, until the gateway is lost or does not do what it was asked. An end without a known start
/// is put at the gateway's last sign of life, or now.
pub fn attend(start: Option<Timestamp>, asked: Option<Cause>, situation: &Situation) -> Action {
    let end = |cause, last_seen: Option<Timestamp>| {
        let start = start.or(last_seen).unwrap_or(situation.now);
        Action::End(End::unseen(cause, ObservedBy::Controller, start, last_seen))
    };
    match situation.instance {
        InstanceState::Lost { mine_in, last_seen } if mine_in.is_zero() => {
            // By clocks that may be ahead of this one.
            end(Cause::GatewayLost, last_seen.map(|seen| seen.min(situation.now)))
        }
        InstanceState::Lost { mine_in, .. } => Action::LookAgain(mine_in),
        InstanceState::Alive => match asked {
            None => Action::Wait,
            Some(cause) => match TERMINATION_PATIENCE.checked_sub(situation.asked_for) {
                Some(left) if !left.is_zero() => match ORDER_AFTER.checked_sub(situation.asked_for) {
                    Some(soon) if !soon.is_zero() => Action::LookAgain(soon),
                    _ => Action::Order(cause, left.min(ORDER_EVERY)),
                },
                _ => end(cause, Some(situation.now)),
            },
        },
    }
}

/// The cause for which somebody asked that the session end, if anybody did.
pub fn asked_to_end(session: &BastionSession) -> Option<Cause> {
    let deleted = session.metadata.deletion_timestamp.is_some();
    cause_of_request(session.spec.termination.as_ref(), &session.spec.user.subject, deleted)
}

/// The cause that a termination or a deletion of a session of the user `subject` is.
pub fn cause_of_request(termination: Option<&Termination>, subject: &str, deleted: bool) -> Option<Cause> {
    match termination {
        Some(Termination { requested_by, reason, .. }) if requested_by == subject => {
            Some(Cause::ApiClosed { reason: reason.clone() })
        }
        Some(Termination { requested_by, reason, .. }) => {
            Some(Cause::Terminated { by: requested_by.clone(), reason: reason.clone() })
        }
        None => deleted.then_some(Cause::Deleted),
    }
}

/// Whether the audit database has what there is to say of a finished session.
pub fn is_on_record(session: &BastionSession) -> bool {
    !session.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == AUDIT_FINALIZER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{Phase, Reason};

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A session that starts at second 0.
    #[allow(clippy::needless_pass_by_value, reason = "so that `json!` can be written in its place")]
    fn session(status: Value, finalizers: Value, termination: Value, deleted: bool) -> BastionSession {
        let mut session: BastionSession = serde_json::from_value(json!({
            "apiVersion": "bastion.dev/v1alpha1",
            "kind": "BastionSession",
            "metadata": { "name": "alice-web-1-abc", "finalizers": finalizers },
            "spec": {
                "user": { "name": "alice", "subject": "bastion:alice" },
                "target": "web-1",
                "login": "root",
                "protocol": "SSH",
                "client": { "address": "192.0.2.7", "port": 50022 },
                "gateway": { "name": "gw-1", "instance": "gw-1-abcdefghij" },
                "startTime": at(0),
                "termination": termination,
            },
            "status": status,
        }))
        .unwrap();
        if deleted {
            session.metadata.deletion_timestamp = Some(at(5).into());
        }
        session
    }

    fn active() -> BastionSession {
        session(json!({ "phase": "Active" }), json!([AUDIT_FINALIZER]), Value::Null, false)
    }

    fn ended(finalizers: Value) -> BastionSession {
        let status = json!({ "phase": "Closed", "reason": "UserExit", "endTime": at(0) });
        session(status, finalizers, Value::Null, false)
    }

    fn asked(by: &str) -> BastionSession {
        let termination = json!({ "requestedBy": by, "reason": "maintenance" });
        session(json!({ "phase": "Active" }), json!([AUDIT_FINALIZER]), termination, false)
    }

    fn deleted() -> BastionSession {
        session(json!({ "phase": "Active" }), json!([AUDIT_FINALIZER]), Value::Null, true)
    }

    /// A situation in which the time is `now`.
    fn now(now: i64) -> Situation {
        Situation {
            instance: InstanceState::Alive,
            asked_for: Duration::ZERO,
            retention: Some(10 * MINUTE),
            now: at(now),
        }
    }

    fn follower(second: i64) -> Situation {
        Situation { retention: None, ..now(second) }
    }

    fn lost(mine_in: u64, last_seen: Option<i64>) -> Situation {
        let instance = InstanceState::Lost { mine_in: Duration::from_secs(mine_in), last_seen: last_seen.map(at) };
        Situation { instance, ..now(100) }
    }

    fn asked_for(seconds: u64) -> Situation {
        Situation { asked_for: Duration::from_secs(seconds), ..now(100) }
    }

    fn end(cause: Cause, second: i64) -> Action {
        Action::End(End::unseen(cause, ObservedBy::Controller, at(0), Some(at(second))))
    }

    fn by_ops() -> Cause {
        Cause::Terminated { by: "ops".into(), reason: Some("maintenance".into()) }
    }

    fn by_its_user() -> Cause {
        Cause::ApiClosed { reason: Some("maintenance".into()) }
    }

    #[rstest]
    #[case::of_a_living_gateway(active(), now(100), Action::Wait)]
    #[case::of_a_lost_one_that_this_controller_declared(active(), lost(0, Some(80)), end(Cause::GatewayLost, 80))]
    #[case::of_a_lost_one_that_another_declared(active(), lost(3, Some(80)), Action::LookAgain(Duration::from_secs(3)))]
    #[case::last_seen_by_a_clock_ahead_of_ours(active(), lost(0, Some(4_000)), end(Cause::GatewayLost, 100))]
    #[case::that_began_after_the_last_renewal(active(), lost(0, Some(-5)), end(Cause::GatewayLost, 0))]
    #[case::of_an_instance_never_seen(active(), lost(0, None), end(Cause::GatewayLost, 0))]
    #[case::just_asked_to_end(asked("ops"), asked_for(0), Action::LookAgain(ORDER_AFTER))]
    #[case::asked_to_end_a_moment_ago(asked("ops"), asked_for(1), Action::Order(by_ops(), ORDER_EVERY))]
    #[case::asked_to_end_a_while_ago(asked("ops"), asked_for(19), Action::Order(by_ops(), Duration::from_secs(1)))]
    #[case::asked_to_end_in_vain(asked("ops"), asked_for(20), end(by_ops(), 100))]
    #[case::asked_to_end_by_its_own_user(asked("bastion:alice"), asked_for(20), end(by_its_user(), 100))]
    #[case::just_deleted(deleted(), asked_for(0), Action::LookAgain(ORDER_AFTER))]
    #[case::deleted_a_moment_ago(deleted(), asked_for(5), Action::Order(Cause::Deleted, ORDER_EVERY))]
    #[case::deleted_in_vain(deleted(), asked_for(25), end(Cause::Deleted, 100))]
    #[case::asked_to_end_of_a_lost_gateway(asked("ops"), lost(0, Some(80)), end(Cause::GatewayLost, 80))]
    #[case::ended_and_not_on_record(ended(json!([AUDIT_FINALIZER])), now(10_000), Action::Wait)]
    #[case::ended_and_on_record(ended(json!([])), now(60), Action::LookAgain(9 * MINUTE))]
    #[case::ended_long_ago(ended(json!([])), now(600), Action::Prune)]
    #[case::ended_long_ago_and_held_by_others(ended(json!(["example.com/x"])), now(600), Action::Prune)]
    #[case::ended_by_a_clock_ahead_of_ours(ended(json!([])), now(-30), Action::LookAgain(10 * MINUTE))]
    #[case::ended_long_ago_and_not_ours_to_delete(ended(json!([])), follower(600), Action::Wait)]
    #[case::ended_of_a_lost_gateway(ended(json!([AUDIT_FINALIZER])), lost(0, Some(80)), Action::Wait)]
    fn a_session(#[case] session: BastionSession, #[case] situation: Situation, #[case] action: Action) {
        assert_eq!(decide(&session, &situation), action);
    }

    #[rstest]
    #[case::of_a_lost_gateway(
        None,
        lost(0, Some(80)),
        Action::End(End::unseen(Cause::GatewayLost, ObservedBy::Controller, at(80), Some(at(80))))
    )]
    #[case::of_an_instance_never_seen(
        None,
        lost(0, None),
        Action::End(End::unseen(Cause::GatewayLost, ObservedBy::Controller, at(100), None))
    )]
    #[case::of_a_living_gateway(None, now(100), Action::Wait)]
    #[case::asked_to_end_in_vain(Some(by_ops()), asked_for(20), end(by_ops(), 100))]
    fn a_session_whose_start_cannot_be_read(
        #[case] asked: Option<Cause>,
        #[case] situation: Situation,
        #[case] action: Action,
    ) {
        assert_eq!(attend(None, asked, &situation), action);
    }

    #[test]
    fn the_retention_counts_from_the_record() {
        let mut session = ended(json!([]));
        let finalizer_off = json!([{ "manager": "bastion-controller", "operation": "Update", "time": at(4_000) }]);
        session.metadata.managed_fields = serde_json::from_value(finalizer_off).unwrap();
        assert_eq!(decide(&session, &now(4_060)), Action::LookAgain(9 * MINUTE));
        assert_eq!(decide(&session, &now(4_600)), Action::Prune);
    }

    #[test]
    fn one_without_a_status_is_active() {
        let session = session(Value::Null, json!([AUDIT_FINALIZER]), Value::Null, false);
        assert_eq!(decide(&session, &lost(0, Some(80))), end(Cause::GatewayLost, 80));
    }

    fn sessions() -> impl Strategy<Value = BastionSession> {
        let phase = prop::sample::select(Phase::ALL.to_vec());
        let finalizers = prop_oneof![Just(json!([])), Just(json!([AUDIT_FINALIZER]))];
        let termination = prop_oneof![Just(Value::Null), Just(json!({ "requestedBy": "ops" }))];
        (phase, finalizers, termination, any::<bool>()).prop_map(|(phase, finalizers, termination, deleted)| {
            let status = json!({ "phase": phase, "reason": "UserExit", "endTime": at(0) });
            session(status, finalizers, termination, deleted)
        })
    }

    fn situations() -> impl Strategy<Value = Situation> {
        let lost = (0..5_u64, prop::option::of(-100..1_000_i64));
        let instance = prop_oneof![
            Just(InstanceState::Alive),
            lost.prop_map(|(mine_in, seen)| InstanceState::Lost {
                mine_in: Duration::from_secs(mine_in),
                last_seen: seen.map(at)
            }),
        ];
        (instance, 0..40_u64, -100..2_000_i64).prop_map(|(instance, asked, second)| Situation {
            instance,
            asked_for: Duration::from_secs(asked),
            ..now(second)
        })
    }

    proptest! {
        #[test]
        fn a_final_phase_never_changes(session in sessions(), situation in situations()) {
            prop_assume!(session.phase().is_final());
            prop_assert!(!matches!(decide(&session, &situation), Action::End(_)));
        }

        #[test]
        fn an_active_session_is_never_deleted(session in sessions(), situation in situations()) {
            prop_assume!(!session.phase().is_final());
            prop_assert!(!matches!(decide(&session, &situation), Action::Prune));
        }

        #[test]
        fn nothing_is_deleted_before_it_is_on_record(session in sessions(), situation in situations()) {
            prop_assume!(!is_on_record(&session));
            prop_assert!(!matches!(decide(&session, &situation), Action::Prune));
        }

        #[test]
        fn a_session_of_a_living_gateway_ends_only_if_somebody_asked(session in sessions(), situation in situations()) {
            let situation = Situation { instance: InstanceState::Alive, ..situation };
            if let Action::End(end) = decide(&session, &situation) {
                prop_assert!(asked_to_end(&session).is_some());
                prop_assert!(end.cause.reason() != Reason::GatewayLost);
                prop_assert!(situation.asked_for >= TERMINATION_PATIENCE);
            }
        }

        #[test]
        fn a_session_of_a_lost_gateway_ends_within_the_head_start(session in sessions(), situation in situations()) {
            prop_assume!(!session.phase().is_final());
            if let InstanceState::Lost { mine_in, .. } = situation.instance {
                match decide(&session, &situation) {
                    Action::LookAgain(after) => prop_assert!(after == mine_in && !after.is_zero()),
                    Action::End(end) => prop_assert!(mine_in.is_zero() && end.time >= session.spec.start_time.0),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
