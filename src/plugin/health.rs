//! Decides whether the bastion works, from the objects of its API.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::diagnose::{SEE_AUDIT, SEE_CONTROLLERS, SHOWN_WITHIN, requested_at};
use super::leases::{LeaseState, ObservedLease};
use super::output::age;
use super::step::{Lookup, State, Step};
use crate::api::{BastionSession, LEADER_LEASE, LEASE_LABEL, LEASE_OF_AUDIT, LEASE_OF_CONTROLLER, LEASE_OF_GATEWAY};

/// The resources of the bastion.
pub const RESOURCES: [&str; 3] = ["bastionsessions", "bastiontargets", "bastionusers"];
/// The key of the session count in the ResourceQuota.
const QUOTA_KEY: &str = "count/bastionsessions.bastion.dev";
/// The most names in one sentence.
const MAX_NAMES: usize = 5;

/// The objects that the check reads.
#[derive(Debug)]
pub struct Snapshot {
    /// The resources of the group that the API server serves.
    pub served: Lookup<Vec<String>>,
    /// All sessions.
    pub sessions: Lookup<Vec<BastionSession>>,
    /// All Leases in the namespace.
    pub leases: Lookup<Vec<ObservedLease>>,
    /// The ResourceQuota of the sessions.
    pub quota: Lookup<ResourceQuota>,
    /// When the objects were read.
    pub now: Timestamp,
}

/// Returns one step for each part of the bastion.
pub fn examine(snapshot: &Snapshot) -> Vec<Step> {
    vec![
        crds(snapshot),
        gateways(snapshot),
        controllers(snapshot),
        audit(snapshot),
        leader(snapshot),
        quota(snapshot),
        ends(snapshot),
        records(snapshot),
    ]
}

fn crds(snapshot: &Snapshot) -> Step {
    let part = "CRDs";
    let advice = "install them: helm upgrade, or kubectl apply -f crds/bastion.dev.yaml";
    match &snapshot.served {
        Lookup::Found(served) => {
            let missing: Vec<_> = RESOURCES.into_iter().filter(|name| !served.iter().any(|it| it == name)).collect();
            match missing.as_slice() {
                [] => Step::ok(part, format!("{} are served", RESOURCES.join(", "))),
                missing => Step::stuck(part, format!("the cluster has no {}", missing.join(", ")), advice),
            }
        }
        Lookup::Absent => Step::stuck(part, "the cluster has no API group bastion.dev/v1alpha1", advice),
        Lookup::Unknown(why) => Step::unknown(part, why),
    }
}

/// Returns the Leases of a program, or the step that says why they are unknown.
fn of_program<'a>(snapshot: &'a Snapshot, part: &'static str, program: &str) -> Result<Vec<&'a ObservedLease>, Step> {
    match &snapshot.leases {
        Lookup::Found(leases) => {
            let label = |seen: &&ObservedLease| seen.lease.labels().get(LEASE_LABEL).is_some_and(|it| it == program);
            Ok(leases.iter().filter(label).collect())
        }
        Lookup::Absent => Ok(Vec::new()),
        Lookup::Unknown(why) => Err(Step::unknown(part, why)),
    }
}

fn gateways(snapshot: &Snapshot) -> Step {
    let part = "Gateways";
    let leases = match of_program(snapshot, part, LEASE_OF_GATEWAY) {
        Ok(leases) => leases,
        Err(step) => return step,
    };
    let count = |wanted: fn(&LeaseState) -> bool| leases.iter().filter(|seen| wanted(&seen.state)).count();
    let (fresh, lost) = (count(|life| *life == LeaseState::Fresh), count(|life| *life == LeaseState::Lost));
    let silent: Vec<_> = leases.iter().filter(|seen| matches!(seen.state, LeaseState::Silent(_))).collect();
    let remembered = if lost == 0 { String::new() } else { format!("; {lost} declared lost within the last hour") };
    if let Some(first) = silent.first() {
        let says = format!("{} {}{}", first.lease.name_any(), first.describe(snapshot.now), and_more(silent.len()));
        return Step::stuck(part, says, format!("a controller declares it lost after 20s; {SEE_CONTROLLERS}"));
    }
    if fresh == 0 {
        let advice =
            "find out why no gateway runs: kubectl get pods, kubectl logs; check that this is the bastion's namespace";
        return Step::stuck(part, format!("none renews a Lease{remembered}"), advice);
    }
    Step::ok(part, format!("{fresh} renewing{remembered}"))
}

fn and_more(all: usize) -> String {
    if all > 1 { format!(", and {} more", all - 1) } else { String::new() }
}

fn controllers(snapshot: &Snapshot) -> Step {
    let advice = "until one runs, sessions of dead gateways do not end: kubectl get pods";
    running(snapshot, "Controllers", LEASE_OF_CONTROLLER, advice)
}

fn audit(snapshot: &Snapshot) -> Step {
    let advice = "until one runs, the audit database gets no ends, and there is no history: kubectl get pods";
    running(snapshot, "Audit", LEASE_OF_AUDIT, advice)
}

/// Counts the instances of a program that renew their Leases. At least one must do so.
fn running(snapshot: &Snapshot, part: &'static str, program: &str, advice: &str) -> Step {
    match of_program(snapshot, part, program) {
        Err(step) => step,
        Ok(leases) => match leases.iter().filter(|seen| seen.state == LeaseState::Fresh).count() {
            0 => Step::stuck(part, "none renews a Lease", advice),
            fresh => Step::ok(part, format!("{fresh} renewing")),
        },
    }
}

fn leader(snapshot: &Snapshot) -> Step {
    let part = "Leader";
    let leases = match &snapshot.leases {
        Lookup::Found(leases) => leases.as_slice(),
        Lookup::Absent => &[],
        Lookup::Unknown(why) => return Step::unknown(part, why),
    };
    match leases.iter().find(|seen| seen.lease.name_any() == LEADER_LEASE) {
        Some(seen) if seen.state == LeaseState::Fresh => Step::ok(part, format!("{} leads", seen.holder())),
        Some(seen) => Step::stuck(
            part,
            format!("no audit program leads: the Lease {LEADER_LEASE} {}", seen.describe(snapshot.now)),
            SEE_AUDIT,
        ),
        None => Step::stuck(part, "no audit program has ever led", SEE_AUDIT),
    }
}

fn quota(snapshot: &Snapshot) -> Step {
    let part = "Quota";
    let quota = match &snapshot.quota {
        Lookup::Found(quota) => quota,
        Lookup::Absent => {
            return Step::ok(part, "none: the number of sessions that wait for the audit database has no limit");
        }
        Lookup::Unknown(why) => return Step::unknown(part, why),
    };
    let number = |quantities: Option<&std::collections::BTreeMap<String, Quantity>>| {
        quantities.and_then(|all| all.get(QUOTA_KEY)).and_then(|quantity| quantity.0.parse::<u64>().ok())
    };
    let status = quota.status.clone().unwrap_or_default();
    match (number(status.used.as_ref()), number(status.hard.as_ref())) {
        (Some(used), Some(hard)) if used >= hard => {
            let advice = "new sessions are refused: check that records are written (Records), or raise the quota";
            Step::stuck(part, format!("{used} of {hard} sessions"), advice)
        }
        (Some(used), Some(hard)) => Step::ok(part, format!("{used} of {hard} sessions")),
        _ => Step {
            advice: Some("new sessions are refused until the existing ones are counted, about half a minute after the CRDs are installed".to_owned()),
            ..Step::waiting(part, "its status does not count sessions yet")
        },
    }
}

/// Finds Active sessions that should have ended: their gateway is dead, or their end was requested [`SHOWN_WITHIN`] ago.
fn ends(snapshot: &Snapshot) -> Step {
    let part = "Ends";
    let (sessions, leases) = match (&snapshot.sessions, &snapshot.leases) {
        (Lookup::Unknown(why), _) | (_, Lookup::Unknown(why)) => return Step::unknown(part, why),
        (Lookup::Found(sessions), Lookup::Found(leases)) => (sessions.as_slice(), leases.as_slice()),
        (Lookup::Absent, _) | (_, Lookup::Absent) => (&[][..], &[][..]),
    };
    let has_live_gateway = |session: &BastionSession| {
        leases.iter().any(|it| it.lease.name_any() == session.spec.gateway.instance && it.state == LeaseState::Fresh)
    };
    let overdue = |session: &BastionSession| {
        requested_at(session).is_some_and(|at| snapshot.now.duration_since(at) >= SHOWN_WITHIN)
    };
    let active: Vec<_> = sessions.iter().filter(|session| !session.phase().is_final()).collect();
    let late: Vec<_> = active
        .iter()
        .filter(|session| !has_live_gateway(session) || overdue(session))
        .map(|it| it.name_any())
        .collect();
    if late.is_empty() {
        return Step::ok(part, format!("{} sessions are Active, each with a live gateway", active.len()));
    }
    let named = late.iter().take(MAX_NAMES).cloned().collect::<Vec<_>>().join(", ");
    let says = format!("{} of {} Active sessions should have been ended: {named}", late.len(), active.len());
    Step::stuck(part, says, format!("see kubectl bastion status {}", late[0]))
}

fn records(snapshot: &Snapshot) -> Step {
    let part = "Records";
    let sessions = match &snapshot.sessions {
        Lookup::Found(sessions) => sessions.as_slice(),
        Lookup::Absent => &[],
        Lookup::Unknown(why) => return Step::unknown(part, why),
    };
    let end = |session: &BastionSession| session.status.as_ref()?.end_time.as_ref().map(|time| time.0);
    let waiting = sessions.iter().filter(|session| !session.is_in_audit_database());
    let mut waiting: Vec<_> = waiting.filter_map(|session| Some((end(session)?, session.name_any()))).collect();
    waiting.sort();
    let Some((oldest, name)) = waiting.first() else {
        return Step::ok(part, "the audit database has every end");
    };
    let says =
        format!("{} ends wait for the audit database, the oldest for {}", waiting.len(), age(*oldest, snapshot.now));
    if snapshot.now.duration_since(*oldest) < SHOWN_WITHIN {
        return Step::ok(part, says);
    }
    Step::stuck(part, says, format!("see kubectl bastion status {name}"))
}

/// Returns whether every step is ok.
pub fn is_well(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.state == State::Ok)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugin::leases::state_of;
    use crate::plugin::leases::tests::lease;
    use crate::plugin::samples::{active, at, ended};

    fn seen(name: &str, program: &str, holder: &str, renewed: i64) -> ObservedLease {
        let lease = lease(name, program, holder, renewed);
        ObservedLease { state: state_of(&lease, at(100)), lease }
    }

    fn quota_of(status: &Value) -> Lookup<ResourceQuota> {
        Lookup::Found(serde_json::from_value(json!({ "status": status })).unwrap())
    }

    fn gateway(holder: &str, renewed: i64) -> ObservedLease {
        seen("gateway-0-abcdefghij", "gateway", holder, renewed)
    }

    /// Returns a bastion without problems.
    fn well() -> Snapshot {
        let leases = vec![
            gateway("gateway-0-abcdefghij", 98),
            seen("controller-0-abcdefghij", "controller", "controller-0-abcdefghij", 98),
            seen("audit-0-abcdefghij", "audit", "audit-0-abcdefghij", 98),
            seen("bastion-audit", "", "audit-0-abcdefghij", 99),
        ];
        Snapshot {
            served: Lookup::Found(RESOURCES.map(str::to_owned).to_vec()),
            sessions: Lookup::Found(vec![active("a")]),
            leases: Lookup::Found(leases),
            quota: quota_of(&json!({"hard": {QUOTA_KEY: "20000"}, "used": {QUOTA_KEY: "1"}})),
            now: at(100),
        }
    }

    fn with_gateway(gateway: Option<ObservedLease>) -> Snapshot {
        let mut snapshot = well();
        if let Lookup::Found(leases) = &mut snapshot.leases {
            leases.remove(0);
            leases.extend(gateway);
        }
        snapshot
    }

    fn hidden<T>() -> Lookup<T> {
        Lookup::Unknown("you may not".to_owned())
    }

    fn with_sessions(sessions: Vec<BastionSession>, now: i64) -> Snapshot {
        let mut snapshot = Snapshot { sessions: Lookup::Found(sessions), now: at(now), ..well() };
        if let Lookup::Found(leases) = &mut snapshot.leases {
            for seen in leases {
                seen.state = LeaseState::Fresh;
            }
        }
        snapshot
    }

    #[rstest]
    #[case::well(well(), &[])]
    #[case::no_crds(Snapshot { served: Lookup::Absent, ..well() }, &["Stuck CRDs: the cluster has no API group bastion.dev/v1alpha1"])]
    #[case::a_crd_is_missing(Snapshot { served: Lookup::Found(vec!["bastionsessions".into(), "bastionusers".into()]), ..well() }, &["Stuck CRDs: the cluster has no bastiontargets"])]
    #[case::no_gateway(Snapshot { sessions: Lookup::Found(vec![]), ..with_gateway(None) }, &["Stuck Gateways: none renews a Lease"])]
    #[case::silent(with_gateway(Some(gateway("g", 57))), &["Stuck Gateways: gateway-0-abcdefghij has not renewed its Lease for 43s", "Stuck Ends: 1 of 1 Active sessions should have been ended: a"])]
    #[case::lost(with_gateway(Some(gateway("lost", 57))), &["Stuck Gateways: none renews a Lease; 1 declared lost", "Stuck Ends: 1 of 1"])]
    #[case::nothing_runs(Snapshot { leases: Lookup::Found(vec![]), sessions: Lookup::Found(vec![]), ..well() },
        &["Stuck Gateways: none", "Stuck Controllers: none", "Stuck Audit: none", "Stuck Leader: no audit program has ever led"])]
    #[case::no_quota(Snapshot { quota: Lookup::Absent, ..well() }, &[])]
    #[case::quota_full(Snapshot { quota: quota_of(&json!({"hard": {QUOTA_KEY: "7"}, "used": {QUOTA_KEY: "7"}})), ..well() }, &["Stuck Quota: 7 of 7 sessions"])]
    #[case::quota_not_counted(Snapshot { quota: quota_of(&json!({"hard": {QUOTA_KEY: "7"}})), ..well() }, &["Waiting Quota: its status does not count"])]
    #[case::records_in_time(with_sessions(vec![ended("a")], 100), &[])]
    #[case::records_late(with_sessions(vec![ended("a"), ended("b")], 150), &["Stuck Records: 2 ends wait for the audit database, the oldest for 60s"])]
    #[case::no_rights(Snapshot { leases: hidden(), sessions: hidden(), quota: hidden(), ..well() },
        &["Unknown Gateways: you may not", "Unknown Controllers: you", "Unknown Audit: you", "Unknown Leader: you", "Unknown Quota: you", "Unknown Ends: you", "Unknown Records: you"])]
    fn problems_of_a_bastion_are_found(#[case] snapshot: Snapshot, #[case] expected: &[&str]) {
        let steps = examine(&snapshot);
        assert_eq!(is_well(&steps), expected.is_empty());
        let bad = steps.into_iter().filter(|step| step.state != State::Ok);
        let problems: Vec<_> = bad.map(|step| format!("{:?} {}: {}", step.state, step.part, step.says)).collect();
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem} is not {expected}");
        }
    }
}
