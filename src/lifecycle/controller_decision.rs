//! Decides what a controller does about one session.

use std::time::Duration;

use jiff::Timestamp;

use super::end::{Cause, End};
use super::requested_end::requested_end;
use super::timeouts::{ORDER_DELAY, ORDER_INTERVAL, TERMINATION_TIMEOUT};
use crate::api::{BastionSession, ObservedBy};

/// The state of a gateway instance, as one controller sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// No controller has declared the instance lost.
    Alive,
    /// A controller has declared the instance lost by taking over its Lease.
    Lost {
        /// How long this controller waits before it ends the sessions itself; zero if it declared the loss.
        sweep_after: Duration,
        /// The instance's last renewal, by the instance's own clock.
        last_seen: Option<Timestamp>,
    },
}

/// The inputs of a decision, besides the session object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Situation {
    /// The state of the session's gateway instance.
    pub instance: InstanceState,
    /// How long this controller has known that the end of the session was requested; zero if it has just learnt it.
    pub requested_for: Duration,
    /// The wall-clock time.
    pub now: Timestamp,
}

/// The action of a controller on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Waits for the next change of the object.
    Wait,
    /// Decides again after this long.
    RequeueAfter(Duration),
    /// Orders the gateway through Redis to end the session for this cause, and decides again after this long.
    Order(Cause, Duration),
    /// Writes this end.
    End(End),
}

/// Decides what to do about `session`.
pub fn decide(session: &BastionSession, situation: &Situation) -> Action {
    if session.phase().is_final() {
        return Action::Wait;
    }
    decide_active(Some(session.spec.start_time.0), requested_end(session), situation)
}

/// Decides what to do about an Active session, which may be unreadable. `requested` is the cause of a requested end.
///
/// The gateway ends its own sessions. A controller ends a session only when its gateway is lost, or has ignored the request to
/// end it for [`TERMINATION_TIMEOUT`]. If the start is unknown, the end time is the gateway's last sign of life, or now.
pub fn decide_active(start: Option<Timestamp>, requested: Option<Cause>, situation: &Situation) -> Action {
    let end = |cause, last_seen: Option<Timestamp>| {
        let start = start.or(last_seen).unwrap_or(situation.now);
        Action::End(End::inferred(cause, ObservedBy::Controller, start, last_seen))
    };
    match situation.instance {
        InstanceState::Lost { sweep_after, last_seen } if sweep_after.is_zero() => {
            // The gateway's clock may be ahead of this controller's.
            end(Cause::GatewayLost, last_seen.map(|seen| seen.min(situation.now)))
        }
        InstanceState::Lost { sweep_after, .. } => Action::RequeueAfter(sweep_after),
        InstanceState::Alive => match requested {
            None => Action::Wait,
            Some(cause) => match TERMINATION_TIMEOUT.checked_sub(situation.requested_for) {
                Some(left) if !left.is_zero() => match ORDER_DELAY.checked_sub(situation.requested_for) {
                    Some(delay) if !delay.is_zero() => Action::RequeueAfter(delay),
                    _ => Action::Order(cause, left.min(ORDER_INTERVAL)),
                },
                _ => end(cause, Some(situation.now)),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{AUDIT_FINALIZER, Phase, Reason};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Returns a session that starts at second 0.
    #[allow(clippy::needless_pass_by_value, reason = "lets callers pass `json!` directly")]
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

    fn requested(by: &str) -> BastionSession {
        let termination = json!({ "requestedBy": by, "reason": "maintenance" });
        session(json!({ "phase": "Active" }), json!([AUDIT_FINALIZER]), termination, false)
    }

    fn deleted() -> BastionSession {
        session(json!({ "phase": "Active" }), json!([AUDIT_FINALIZER]), Value::Null, true)
    }

    /// Returns a situation at second `now`, with a live gateway.
    fn now(second: i64) -> Situation {
        Situation { instance: InstanceState::Alive, requested_for: Duration::ZERO, now: at(second) }
    }

    fn lost(sweep_after: u64, last_seen: Option<i64>) -> Situation {
        let instance =
            InstanceState::Lost { sweep_after: Duration::from_secs(sweep_after), last_seen: last_seen.map(at) };
        Situation { instance, ..now(100) }
    }

    fn requested_for(seconds: u64) -> Situation {
        Situation { requested_for: Duration::from_secs(seconds), ..now(100) }
    }

    fn end(cause: Cause, second: i64) -> Action {
        Action::End(End::inferred(cause, ObservedBy::Controller, at(0), Some(at(second))))
    }

    fn by_ops() -> Cause {
        Cause::Terminated { by: "ops".into(), reason: Some("maintenance".into()) }
    }

    fn by_its_user() -> Cause {
        Cause::ApiClosed { reason: Some("maintenance".into()) }
    }

    #[rstest]
    #[case::gateway_alive(active(), now(100), Action::Wait)]
    #[case::gateway_declared_lost_by_this_controller(active(), lost(0, Some(80)), end(Cause::GatewayLost, 80))]
    #[case::gateway_declared_lost_by_another_controller(
        active(),
        lost(3, Some(80)),
        Action::RequeueAfter(Duration::from_secs(3))
    )]
    #[case::gateway_clock_ahead(active(), lost(0, Some(4_000)), end(Cause::GatewayLost, 100))]
    #[case::started_after_the_last_renewal(active(), lost(0, Some(-5)), end(Cause::GatewayLost, 0))]
    #[case::instance_never_seen(active(), lost(0, None), end(Cause::GatewayLost, 0))]
    #[case::termination_just_requested(requested("ops"), requested_for(0), Action::RequeueAfter(ORDER_DELAY))]
    #[case::termination_requested_a_second_ago(
        requested("ops"),
        requested_for(1),
        Action::Order(by_ops(), ORDER_INTERVAL)
    )]
    #[case::termination_almost_timed_out(
        requested("ops"),
        requested_for(19),
        Action::Order(by_ops(), Duration::from_secs(1))
    )]
    #[case::termination_timed_out(requested("ops"), requested_for(20), end(by_ops(), 100))]
    #[case::termination_by_its_own_user(requested("bastion:alice"), requested_for(20), end(by_its_user(), 100))]
    #[case::just_deleted(deleted(), requested_for(0), Action::RequeueAfter(ORDER_DELAY))]
    #[case::deleted_seconds_ago(deleted(), requested_for(5), Action::Order(Cause::Deleted, ORDER_INTERVAL))]
    #[case::deletion_timed_out(deleted(), requested_for(25), end(Cause::Deleted, 100))]
    #[case::termination_requested_but_gateway_lost(requested("ops"), lost(0, Some(80)), end(Cause::GatewayLost, 80))]
    #[case::ended_and_in_the_audit_database(ended(json!([])), now(10_000), Action::Wait)]
    #[case::ended_and_not_in_the_audit_database(ended(json!([AUDIT_FINALIZER])), now(10_000), Action::Wait)]
    #[case::ended_and_gateway_lost(ended(json!([AUDIT_FINALIZER])), lost(0, Some(80)), Action::Wait)]
    fn decides_what_to_do_about_a_session(
        #[case] session: BastionSession,
        #[case] situation: Situation,
        #[case] action: Action,
    ) {
        assert_eq!(decide(&session, &situation), action);
    }

    #[rstest]
    #[case::gateway_lost(
        None,
        lost(0, Some(80)),
        Action::End(End::inferred(Cause::GatewayLost, ObservedBy::Controller, at(80), Some(at(80))))
    )]
    #[case::instance_never_seen(
        None,
        lost(0, None),
        Action::End(End::inferred(Cause::GatewayLost, ObservedBy::Controller, at(100), None))
    )]
    #[case::gateway_alive(None, now(100), Action::Wait)]
    #[case::termination_timed_out(Some(by_ops()), requested_for(20), end(by_ops(), 100))]
    fn decides_about_a_session_with_an_unreadable_start(
        #[case] requested: Option<Cause>,
        #[case] situation: Situation,
        #[case] action: Action,
    ) {
        assert_eq!(decide_active(None, requested, &situation), action);
    }

    #[test]
    fn a_session_without_a_status_is_active() {
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
            lost.prop_map(|(sweep_after, seen)| InstanceState::Lost {
                sweep_after: Duration::from_secs(sweep_after),
                last_seen: seen.map(at)
            }),
        ];
        (instance, 0..40_u64, -100..2_000_i64).prop_map(|(instance, requested, second)| Situation {
            instance,
            requested_for: Duration::from_secs(requested),
            ..now(second)
        })
    }

    proptest! {
        #[test]
        fn a_finished_session_is_left_alone(session in sessions(), situation in situations()) {
            prop_assume!(session.phase().is_final());
            prop_assert_eq!(decide(&session, &situation), Action::Wait);
        }

        #[test]
        fn a_session_of_a_live_gateway_ends_only_on_request(session in sessions(), situation in situations()) {
            let situation = Situation { instance: InstanceState::Alive, ..situation };
            if let Action::End(end) = decide(&session, &situation) {
                prop_assert!(requested_end(&session).is_some());
                prop_assert!(end.cause.reason() != Reason::GatewayLost);
                prop_assert!(situation.requested_for >= TERMINATION_TIMEOUT);
            }
        }

        #[test]
        fn a_session_of_a_lost_gateway_ends_within_the_head_start(session in sessions(), situation in situations()) {
            prop_assume!(!session.phase().is_final());
            if let InstanceState::Lost { sweep_after, .. } = situation.instance {
                match decide(&session, &situation) {
                    Action::RequeueAfter(after) => prop_assert!(after == sweep_after && !after.is_zero()),
                    Action::End(end) => prop_assert!(sweep_after.is_zero() && end.time >= session.spec.start_time.0),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
        }
    }
}
