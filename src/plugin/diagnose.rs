//! Decides where a session is stuck, from its object, its gateway, the controllers and the audit programs.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::leases::{LeaseState, ObservedLease};
use super::output::age;
use super::step::{Lookup, Step};
use crate::api::{AUDIT_FINALIZER, BastionSession, RecordingState};

/// How long an end or a record may take before it counts as stuck: the bastion's guarantee of 30 seconds.
pub const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// How long after the end a recording may be unfinished before it counts as stuck.
const RECORDED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// The advice for a problem that only a controller can solve.
pub const SEE_CONTROLLERS: &str = "check that a controller runs, and read its log: kubectl bastion check, kubectl logs";
/// The advice for a problem that only an audit program can solve.
pub const SEE_AUDIT: &str = "check that an audit program runs, and read its log: kubectl bastion check, kubectl logs";

/// The objects that the diagnosis reads.
#[derive(Debug)]
pub struct Snapshot {
    /// The session.
    pub session: BastionSession,
    /// The Lease of its gateway instance.
    pub lease: Lookup<ObservedLease>,
    /// The Pod of its gateway.
    pub pod: Lookup<Pod>,
    /// The Lease of the leading audit program.
    pub leader: Lookup<ObservedLease>,
    /// When the objects were read.
    pub now: Timestamp,
}

/// Returns one step for each part of a session's life, from its object to its recording.
pub fn diagnose(snapshot: &Snapshot) -> Vec<Step> {
    let mut steps = vec![session(snapshot)];
    steps.extend(termination(snapshot));
    steps.extend([pod(snapshot), lease(snapshot), record(snapshot), recording(snapshot)]);
    steps
}

fn session(snapshot: &Snapshot) -> Step {
    let (session, spec) = (&snapshot.session, &snapshot.session.spec);
    let status = session.status.clone().unwrap_or_default();
    let start = spec.start_time.0;
    let subject = format!("{} on {} as {}, from {}", spec.user.name, spec.target, spec.login, spec.client.address);
    if let Some(end) = status.end_time.map(|time| time.0) {
        let (reason, message) = (status.reason.unwrap_or_default(), status.message.unwrap_or_default());
        let (ago, lasted) = (age(end, snapshot.now), age(start, end));
        return Step::ok(
            "Session",
            format!("{subject}: {}/{reason} {ago} ago, after {lasted}: {message}", status.phase),
        );
    }
    let lasting = age(start, snapshot.now);
    match &session.metadata.deletion_timestamp {
        Some(_) => {
            Step::waiting("Session", format!("{subject}: Active for {lasting}; its object was deleted, which ends it"))
        }
        None => Step::ok("Session", format!("{subject}: Active for {lasting}")),
    }
}

fn termination(snapshot: &Snapshot) -> Option<Step> {
    let part = "Termination";
    let requested = snapshot.session.spec.termination.as_ref()?;
    let why = requested.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let by = format!("requested by {}{why}", requested.requested_by);
    if snapshot.session.phase().is_final() {
        return Some(Step::ok(part, by));
    }
    let Some(at) = requested_at(&snapshot.session) else { return Some(Step::waiting(part, by)) };
    let ago = age(at, snapshot.now);
    Some(if snapshot.now.duration_since(at) < SHOWN_WITHIN {
        Step::waiting(part, format!("{by}, {ago} ago; its gateway ends it at once, or a controller after 20s"))
    } else {
        Step::stuck(
            part,
            format!("{by}, {ago} ago, and neither its gateway nor a controller has ended it"),
            SEE_CONTROLLERS,
        )
    })
}

/// Returns when the end was requested, from the API server's `managedFields`.
pub fn requested_at(session: &BastionSession) -> Option<Timestamp> {
    let owners = session.metadata.managed_fields.as_ref()?;
    let owner = owners.iter().find(|owner| {
        owner.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:termination").is_some())
    })?;
    owner.time.as_ref().map(|time| time.0)
}

fn pod(snapshot: &Snapshot) -> Step {
    let part = "Gateway";
    let name = &snapshot.session.spec.gateway.name;
    if snapshot.session.phase().is_final() {
        return Step::ok(part, format!("it was carried by {name}, which no longer matters"));
    }
    let pod = match &snapshot.pod {
        Lookup::Found(pod) => pod,
        Lookup::Absent => return Step::waiting(part, format!("Pod {name} is gone; a controller ends the session")),
        Lookup::Unknown(why) => return Step::unknown(part, why),
    };
    let status = pod.status.clone().unwrap_or_default();
    let containers = status.container_statuses.unwrap_or_default();
    let ended = containers.iter().any(|it| it.state.as_ref().is_some_and(|state| state.terminated.is_some()));
    let ready = status.conditions.iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
    match (ended, pod.metadata.deletion_timestamp.is_some(), ready) {
        (true, _, _) => {
            Step::waiting(part, format!("the container of Pod {name} has ended; a controller ends the session"))
        }
        (false, true, _) => {
            Step::ok(part, format!("Pod {name} is terminating; the session may continue for its grace period"))
        }
        (false, false, true) => Step::ok(part, format!("Pod {name} is ready")),
        (false, false, false) => Step::ok(part, format!("Pod {name} runs, but is not ready for new sessions")),
    }
}

fn lease(snapshot: &Snapshot) -> Step {
    let part = "Lease";
    let instance = &snapshot.session.spec.gateway.instance;
    if snapshot.session.phase().is_final() {
        return Step::ok(part, format!("of {instance}, which no longer matters"));
    }
    let seen = match &snapshot.lease {
        Lookup::Found(seen) => seen,
        Lookup::Absent => {
            return Step::stuck(part, format!("{instance} has none: this gateway instance has ended"), SEE_CONTROLLERS);
        }
        Lookup::Unknown(why) => return Step::unknown(part, why),
    };
    let text = format!("{instance} {}", seen.describe(snapshot.now));
    match &seen.state {
        LeaseState::Fresh => Step::ok(part, text),
        LeaseState::Silent(Some(since)) if snapshot.now.duration_since(*since) < SHOWN_WITHIN => {
            Step::waiting(part, format!("{text}; a controller ends its sessions after 20s"))
        }
        LeaseState::Silent(_) => {
            Step::stuck(part, format!("{text}, and no controller has declared it lost"), SEE_CONTROLLERS)
        }
        LeaseState::Lost | LeaseState::Vacant => {
            Step::stuck(part, format!("{text}, and no controller has ended this session"), SEE_CONTROLLERS)
        }
    }
}

fn record(snapshot: &Snapshot) -> Step {
    let part = "Audit row";
    let held = !snapshot.session.is_in_audit_database();
    let status = snapshot.session.status.clone().unwrap_or_default();
    let Some(end) = status.end_time.map(|time| time.0) else {
        return if held {
            Step::ok(part, "written; the end is added when the session ends")
        } else {
            let advice = "its end may be missing in the audit database; find the client that removed the finalizer: kubectl get -o yaml --show-managed-fields";
            Step::stuck(part, format!("the finalizer {AUDIT_FINALIZER} was removed from an open session"), advice)
        };
    };
    let ago = age(end, snapshot.now);
    if !held {
        return Step::ok(part, "written, with the end");
    }
    if snapshot.now.duration_since(end) < SHOWN_WITHIN {
        return Step::waiting(part, format!("not yet written; it ended {ago} ago"));
    }
    match &snapshot.leader {
        Lookup::Found(leader) if leader.state == LeaseState::Fresh => {
            let pod = leader.holder().rsplit_once('-').map_or("", |(pod, _)| pod);
            let advice = format!(
                "its log says why: kubectl logs {pod}, \"could not write session records\"; docs/operations.md, \"What happens when it \
                 fails\", has each cause"
            );
            Step::stuck(part, format!("not written, {ago} after the end, by the leading audit program {pod}"), advice)
        }
        Lookup::Found(_) | Lookup::Absent => {
            Step::stuck(part, format!("not written, {ago} after the end: no audit program leads"), SEE_AUDIT)
        }
        Lookup::Unknown(why) => {
            Step::stuck(part, format!("not written, {ago} after the end; who leads is unknown: {why}"), SEE_AUDIT)
        }
    }
}

fn recording(snapshot: &Snapshot) -> Step {
    let part = "Recording";
    let Some(plan) = &snapshot.session.spec.recording else { return Step::ok(part, "none: the target asks for none") };
    let status = snapshot.session.status.clone().unwrap_or_default();
    let place = plan.location.as_deref().unwrap_or("nowhere: the gateway has no --recording-url");
    let Some(end) = status.end_time.map(|time| time.0) else { return Step::ok(part, format!("goes to {place}")) };
    let Some(result) = status.recording else { return Step::ok(part, "none: no shell or command was opened") };
    let size = format!("{} of {} bytes at {place}", result.channels.len(), result.bytes);
    let why = result.message.unwrap_or_default();
    match result.state {
        RecordingState::Complete => Step::ok(part, size),
        RecordingState::Unfinished if snapshot.now.duration_since(end) < RECORDED_WITHIN => {
            Step::waiting(part, format!("parts are not stored yet: {place}"))
        }
        RecordingState::Unfinished => {
            let advice = "its gateway died before everything was stored; the stored part is kept";
            Step::stuck(part, format!("was never finished: {place}"), advice)
        }
        RecordingState::Failed => {
            Step::stuck(part, format!("parts are missing: {why}"), "see docs/recordings.md for the store's failures")
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugin::leases::state_of;
    use crate::plugin::leases::tests::lease as lease_of;
    use crate::plugin::samples::{active, at, ended};
    use crate::plugin::step::State;

    fn seen(holder: &str, renewed: i64, now: i64) -> Lookup<ObservedLease> {
        let lease = lease_of("gateway-0-abcdefghij", "gateway", holder, renewed);
        Lookup::Found(ObservedLease { state: state_of(&lease, at(now)), lease })
    }

    /// Returns a snapshot with a live gateway and a leading audit program.
    fn snapshot(session: BastionSession, now: i64) -> Snapshot {
        let pod =
            serde_json::from_value(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})).unwrap();
        let leader = seen("bastion-audit-1-abcdefghij", now - 2, now);
        Snapshot {
            session,
            lease: seen("gateway-0-abcdefghij", now - 3, now),
            pod: Lookup::Found(pod),
            leader,
            now: at(now),
        }
    }

    fn with(mut session: BastionSession, patch: Value) -> BastionSession {
        let mut value = serde_json::to_value(&session).unwrap();
        let merge = |into: &mut Value, from: Value| {
            for (key, part) in from.as_object().unwrap() {
                for (name, field) in part.as_object().unwrap() {
                    into[key][name] = field.clone();
                }
            }
        };
        merge(&mut value, patch);
        session.clone_from(&serde_json::from_value(value).unwrap());
        session
    }

    /// Returns the steps that are not ok, as text.
    fn problems_of(snapshot: &Snapshot) -> Vec<String> {
        let steps = diagnose(snapshot);
        assert!(steps.iter().all(|step| (step.state == State::Stuck) == step.advice.is_some()), "{steps:?}");
        let bad = steps.into_iter().filter(|step| step.state != State::Ok);
        bad.map(|step| format!("{:?} {}: {}", step.state, step.part, step.says)).collect()
    }

    fn requested(seconds: i64) -> BastionSession {
        let owner = json!({"time": at(seconds).to_string(), "fieldsV1": {"f:spec": {"f:termination": {}}}});
        let termination = json!({"requestedBy": "ops", "reason": "maintenance"});
        with(active("a"), json!({"spec": {"termination": termination}, "metadata": {"managedFields": [owner]}}))
    }

    fn recorded(result: &Value) -> BastionSession {
        let plan = json!({"mode": "Required", "location": "s3://bucket/a"});
        with(
            ended("a"),
            json!({"spec": {"recording": plan}, "status": {"recording": result}, "metadata": {"finalizers": []}}),
        )
    }

    #[rstest]
    #[case::open(snapshot(active("a"), 100), &[])]
    #[case::on_record(snapshot(with(ended("a"), json!({"metadata": {"finalizers": []}})), 900), &[])]
    #[case::just_ended(snapshot(ended("a"), 100), &["Waiting Audit row: not yet written; it ended 10s ago"])]
    #[case::end_requested_just_now(snapshot(requested(95), 100), &["Waiting Termination: requested by ops: maintenance, 5s ago; its gateway"])]
    #[case::end_requested_long_ago(snapshot(requested(10), 100), &["Stuck Termination: requested by ops: maintenance, 90s ago, and neither"])]
    #[case::record_late(snapshot(ended("a"), 300), &["Stuck Audit row: not written, 3m30s after the end, by the leading audit program bastion-audit-1"])]
    #[case::no_leader(Snapshot { leader: Lookup::Absent, ..snapshot(ended("a"), 300) }, &["Stuck Audit row: not written, 3m30s after the end: no audit program leads"])]
    #[case::leader_given_back(Snapshot { leader: seen("", 290, 300), ..snapshot(ended("a"), 300) }, &["Stuck Audit row: not written, 3m30s after the end: no audit program"])]
    #[case::finalizer_removed(snapshot(with(active("a"), json!({"metadata": {"finalizers": []}})), 100), &["Stuck Audit row: the finalizer bastion.dev/audit was removed"])]
    #[case::gateway_silent(Snapshot { lease: seen("g", 75, 100), ..snapshot(active("a"), 100) }, &["Waiting Lease: gateway-0-abcdefghij has not renewed its Lease for 25s"])]
    #[case::gateway_dead(Snapshot { lease: seen("g", 57, 100), ..snapshot(active("a"), 100) }, &["Stuck Lease: gateway-0-abcdefghij has not renewed its Lease for 43s, and no controller"])]
    #[case::gateway_lost(Snapshot { lease: seen("lost", 57, 100), ..snapshot(active("a"), 100) }, &["Stuck Lease: gateway-0-abcdefghij was declared lost by a controller, and no controller"])]
    #[case::gateway_gone(Snapshot { lease: Lookup::Absent, pod: Lookup::Absent, ..snapshot(active("a"), 100) }, &["Waiting Gateway: Pod gateway-0 is gone", "Stuck Lease: gateway-0-abcdefghij has none"])]
    #[case::a_dead_gateway_of_an_ended_session(Snapshot { lease: Lookup::Absent, pod: Lookup::Absent, ..snapshot(recorded(&json!(null)), 900) }, &[])]
    #[case::no_rights(Snapshot { lease: Lookup::Unknown("you may not".into()), pod: Lookup::Unknown("you may not".into()), ..snapshot(active("a"), 100) },
        &["Unknown Gateway: you may not", "Unknown Lease: you may not"])]
    #[case::recorded(snapshot(recorded(&json!({"state": "Complete", "bytes": 7})), 900), &[])]
    #[case::store_slow(snapshot(recorded(&json!({"state": "Unfinished", "bytes": 7})), 120), &["Waiting Recording: parts are not stored yet"])]
    #[case::never_finished(snapshot(recorded(&json!({"state": "Unfinished", "bytes": 7})), 900), &["Stuck Recording: was never finished: s3://bucket/a"])]
    #[case::recording_failed(snapshot(recorded(&json!({"state": "Failed", "bytes": 7, "message": "full"})), 900), &["Stuck Recording: parts are missing: full"])]
    fn problems_of_a_session_are_found(#[case] snapshot: Snapshot, #[case] expected: &[&str]) {
        let problems = problems_of(&snapshot);
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem} is not {expected}");
        }
    }
}
