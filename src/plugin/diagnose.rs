//! Where a session is stuck: decided from what is known of it, of its gateway, and of those who put it on record.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::leases::{Life, Seen};
use super::output::age;
use super::step::{Known, Step};
use crate::api::{AUDIT_FINALIZER, BastionSession, RecordingState};

/// How long what takes seconds may take before it is called stuck: the bastion's own guarantee.
pub const SHOWN_WITHIN: SignedDuration = SignedDuration::from_secs(30);
/// How long a gateway goes on trying to write what became of recordings.
const RECORDED_WITHIN: SignedDuration = SignedDuration::from_secs(60);

/// What to do when nobody does what only controllers can.
pub const SEE_CONTROLLERS: &str =
    "see whether a controller runs, and what it logs: kubectl bastion check, kubectl logs";

/// What is known.
#[derive(Debug)]
pub struct Snapshot {
    /// The session.
    pub session: BastionSession,
    /// The Lease of its gateway's life.
    pub lease: Known<Seen>,
    /// The Pod of its gateway.
    pub pod: Known<Pod>,
    /// The Lease of the leading controller.
    pub leader: Known<Seen>,
    /// When.
    pub now: Timestamp,
}

/// Walks from the session to its recording.
pub fn walk(facts: &Snapshot) -> Vec<Step> {
    let mut steps = vec![session(facts)];
    steps.extend(termination(facts));
    steps.extend([pod(facts), lease(facts), record(facts), recording(facts)]);
    steps
}

fn session(facts: &Snapshot) -> Step {
    let (session, spec) = (&facts.session, &facts.session.spec);
    let status = session.status.clone().unwrap_or_default();
    let start = spec.start_time.0;
    let who = format!("{} on {} as {}, from {}", spec.user.name, spec.target, spec.login, spec.client.address);
    if let Some(end) = status.end_time.map(|time| time.0) {
        let (reason, message) = (status.reason.unwrap_or_default(), status.message.unwrap_or_default());
        let (ago, lasted) = (age(end, facts.now), age(start, end));
        return Step::ok("Session", format!("{who}: {}/{reason} {ago} ago, after {lasted}: {message}", status.phase));
    }
    let lasting = age(start, facts.now);
    match &session.metadata.deletion_timestamp {
        Some(_) => {
            Step::waiting("Session", format!("{who}: Active for {lasting}; its object was deleted, which ends it"))
        }
        None => Step::ok("Session", format!("{who}: Active for {lasting}")),
    }
}

fn termination(facts: &Snapshot) -> Option<Step> {
    let part = "Termination";
    let asked = facts.session.spec.termination.as_ref()?;
    let why = asked.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let by = format!("asked for by {}{why}", asked.requested_by);
    if facts.session.phase().is_final() {
        return Some(Step::ok(part, by));
    }
    let Some(at) = asked_at(&facts.session) else { return Some(Step::waiting(part, by)) };
    let ago = age(at, facts.now);
    Some(if facts.now.duration_since(at) < SHOWN_WITHIN {
        Step::waiting(part, format!("{by}, {ago} ago; its gateway ends it at once, or a controller after 20s"))
    } else {
        Step::stuck(
            part,
            format!("{by}, {ago} ago, and neither its gateway nor a controller has ended it"),
            SEE_CONTROLLERS,
        )
    })
}

/// When the end was asked for: the API server notes who wrote which field when.
pub fn asked_at(session: &BastionSession) -> Option<Timestamp> {
    let owners = session.metadata.managed_fields.as_ref()?;
    let owner = owners.iter().find(|owner| {
        owner.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:termination").is_some())
    })?;
    owner.time.as_ref().map(|time| time.0)
}

fn pod(facts: &Snapshot) -> Step {
    let part = "Gateway";
    let name = &facts.session.spec.gateway.name;
    if facts.session.phase().is_final() {
        return Step::ok(part, format!("it was carried by {name}, which has no more to do with it"));
    }
    let pod = match &facts.pod {
        Known::Is(pod) => pod,
        Known::IsNot => return Step::waiting(part, format!("Pod {name} is gone; a controller ends the session")),
        Known::Hidden(why) => return Step::unknown(part, why),
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
            Step::ok(part, format!("Pod {name} is being stopped; the session may go on for its grace period"))
        }
        (false, false, true) => Step::ok(part, format!("Pod {name} is ready")),
        (false, false, false) => Step::ok(part, format!("Pod {name} is there, and not ready for new sessions")),
    }
}

fn lease(facts: &Snapshot) -> Step {
    let part = "Lease";
    let instance = &facts.session.spec.gateway.instance;
    if facts.session.phase().is_final() {
        return Step::ok(part, format!("of {instance}, which has no more to do with it"));
    }
    let seen = match &facts.lease {
        Known::Is(seen) => seen,
        Known::IsNot => {
            return Step::stuck(
                part,
                format!("{instance} has none: this life of the gateway is over"),
                SEE_CONTROLLERS,
            );
        }
        Known::Hidden(why) => return Step::unknown(part, why),
    };
    let told = format!("{instance} {}", seen.told(facts.now));
    match &seen.life {
        Life::Fresh => Step::ok(part, told),
        Life::Silent(Some(since)) if facts.now.duration_since(*since) < SHOWN_WITHIN => {
            Step::waiting(part, format!("{told}; a controller ends its sessions after 20s"))
        }
        Life::Silent(_) => {
            Step::stuck(part, format!("{told}, and no controller has declared it lost"), SEE_CONTROLLERS)
        }
        Life::Lost | Life::Vacant => {
            Step::stuck(part, format!("{told}, and nobody has ended this session of it"), SEE_CONTROLLERS)
        }
    }
}

/// Whether the audit holds the session: the finalizer goes when the row is there.
pub fn waits_for_record(session: &BastionSession) -> bool {
    session.metadata.finalizers.iter().flatten().any(|it| it == AUDIT_FINALIZER)
}

fn record(facts: &Snapshot) -> Step {
    let part = "Audit row";
    let held = waits_for_record(&facts.session);
    let status = facts.session.status.clone().unwrap_or_default();
    let Some(end) = status.end_time.map(|time| time.0) else {
        return if held {
            Step::ok(part, "there while the session is open; its end is added when it ends")
        } else {
            let advice = "its end may never be on record; see who takes finalizers off: kubectl get -o yaml --show-managed-fields";
            Step::stuck(part, format!("the finalizer {AUDIT_FINALIZER} was taken off an open session"), advice)
        };
    };
    let ago = age(end, facts.now);
    if !held {
        return Step::ok(part, "on record: the finalizer is off");
    }
    if facts.now.duration_since(end) < SHOWN_WITHIN {
        return Step::waiting(part, format!("not yet written; it ended {ago} ago"));
    }
    match &facts.leader {
        Known::Is(leader) if leader.life == Life::Fresh => {
            let pod = leader.holder().rsplit_once('-').map_or("", |(pod, _)| pod);
            let advice = format!(
                "its log says why: kubectl logs {pod}, \"sessions wait to be recorded\"; docs/operations.md, \"What happens when it \
                 fails\", has each cause"
            );
            Step::stuck(part, format!("not written, {ago} after the end, by the leading controller {pod}"), advice)
        }
        Known::Is(_) | Known::IsNot => {
            Step::stuck(part, format!("not written, {ago} after the end: no controller leads"), SEE_CONTROLLERS)
        }
        Known::Hidden(why) => {
            Step::stuck(part, format!("not written, {ago} after the end; who leads is unknown: {why}"), SEE_CONTROLLERS)
        }
    }
}

fn recording(facts: &Snapshot) -> Step {
    let part = "Recording";
    let Some(plan) = &facts.session.spec.recording else { return Step::ok(part, "none: the target asks for none") };
    let status = facts.session.status.clone().unwrap_or_default();
    let place = plan.location.as_deref().unwrap_or("nowhere: the gateway has no --recording-url");
    let Some(end) = status.end_time.map(|time| time.0) else { return Step::ok(part, format!("goes to {place}")) };
    let Some(result) = status.recording else { return Step::ok(part, "none: no shell or command was opened") };
    let size = format!("{} of {} bytes at {place}", result.channels.len(), result.bytes);
    let why = result.message.unwrap_or_default();
    match result.state {
        RecordingState::Complete => Step::ok(part, size),
        RecordingState::Unfinished if facts.now.duration_since(end) < RECORDED_WITHIN => {
            Step::waiting(part, format!("the store has not taken all of it yet: {place}"))
        }
        RecordingState::Unfinished => {
            let advice = "its gateway died before the store had taken all of it; what is there stays there";
            Step::stuck(part, format!("was never finished: {place}"), advice)
        }
        RecordingState::Failed => {
            Step::stuck(part, format!("something is missing: {why}"), "see docs/recordings.md for the store's failures")
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugin::leases::judge;
    use crate::plugin::leases::tests::lease as lease_of;
    use crate::plugin::samples::{active, at, ended};
    use crate::plugin::step::State;

    fn seen(holder: &str, renewed: i64, now: i64) -> Known<Seen> {
        let lease = lease_of("gateway-0-abcdefghij", "gateway", holder, renewed);
        Known::Is(Seen { life: judge(&lease, at(now)), lease })
    }

    /// A session whose gateway lives, and a controller that leads.
    fn facts(session: BastionSession, now: i64) -> Snapshot {
        let pod =
            serde_json::from_value(json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})).unwrap();
        let leader = seen("bastion-controller-1-abcdefghij", now - 2, now);
        Snapshot {
            session,
            lease: seen("gateway-0-abcdefghij", now - 3, now),
            pod: Known::Is(pod),
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

    /// The steps that are not as they should be.
    fn told(facts: &Snapshot) -> Vec<String> {
        let steps = walk(facts);
        assert!(steps.iter().all(|step| (step.state == State::Stuck) == step.advice.is_some()), "{steps:?}");
        let bad = steps.into_iter().filter(|step| step.state != State::Ok);
        bad.map(|step| format!("{:?} {}: {}", step.state, step.part, step.says)).collect()
    }

    fn asked(seconds: i64) -> BastionSession {
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
    #[case::open(facts(active("a"), 100), &[])]
    #[case::on_record(facts(with(ended("a"), json!({"metadata": {"finalizers": []}})), 900), &[])]
    #[case::just_ended(facts(ended("a"), 100), &["Waiting Audit row: not yet written; it ended 10s ago"])]
    #[case::asked_just_now(facts(asked(95), 100), &["Waiting Termination: asked for by ops: maintenance, 5s ago; its gateway"])]
    #[case::asked_long_ago(facts(asked(10), 100), &["Stuck Termination: asked for by ops: maintenance, 90s ago, and neither"])]
    #[case::record_late(facts(ended("a"), 300), &["Stuck Audit row: not written, 3m30s after the end, by the leading controller bastion-controller-1"])]
    #[case::no_leader(Snapshot { leader: Known::IsNot, ..facts(ended("a"), 300) }, &["Stuck Audit row: not written, 3m30s after the end: no controller leads"])]
    #[case::leader_given_back(Snapshot { leader: seen("", 290, 300), ..facts(ended("a"), 300) }, &["Stuck Audit row: not written, 3m30s after the end: no controller"])]
    #[case::finalizer_taken_off(facts(with(active("a"), json!({"metadata": {"finalizers": []}})), 100), &["Stuck Audit row: the finalizer bastion.dev/audit was taken off"])]
    #[case::gateway_silent(Snapshot { lease: seen("g", 75, 100), ..facts(active("a"), 100) }, &["Waiting Lease: gateway-0-abcdefghij has not renewed its Lease for 25s"])]
    #[case::gateway_dead(Snapshot { lease: seen("g", 57, 100), ..facts(active("a"), 100) }, &["Stuck Lease: gateway-0-abcdefghij has not renewed its Lease for 43s, and no controller"])]
    #[case::gateway_lost(Snapshot { lease: seen("lost", 57, 100), ..facts(active("a"), 100) }, &["Stuck Lease: gateway-0-abcdefghij was declared lost by a controller, and nobody"])]
    #[case::gateway_gone(Snapshot { lease: Known::IsNot, pod: Known::IsNot, ..facts(active("a"), 100) }, &["Waiting Gateway: Pod gateway-0 is gone", "Stuck Lease: gateway-0-abcdefghij has none"])]
    #[case::a_dead_gateway_of_an_ended_session(Snapshot { lease: Known::IsNot, pod: Known::IsNot, ..facts(recorded(&json!(null)), 900) }, &[])]
    #[case::no_rights(Snapshot { lease: Known::Hidden("you may not".into()), pod: Known::Hidden("you may not".into()), ..facts(active("a"), 100) },
        &["Unknown Gateway: you may not", "Unknown Lease: you may not"])]
    #[case::recorded(facts(recorded(&json!({"state": "Complete", "bytes": 7})), 900), &[])]
    #[case::store_slow(facts(recorded(&json!({"state": "Unfinished", "bytes": 7})), 120), &["Waiting Recording: the store has not taken all of it yet"])]
    #[case::never_finished(facts(recorded(&json!({"state": "Unfinished", "bytes": 7})), 900), &["Stuck Recording: was never finished: s3://bucket/a"])]
    #[case::recording_failed(facts(recorded(&json!({"state": "Failed", "bytes": 7, "message": "full"})), 900), &["Stuck Recording: something is missing: full"])]
    fn a_session_is_walked(#[case] facts: Snapshot, #[case] expected: &[&str]) {
        let told = told(&facts);
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told} is not {expected}");
        }
    }
}
