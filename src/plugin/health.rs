//! Whether the bastion is well: decided from what its API shows to anybody who may look.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;

use super::diagnose::{SEE_CONTROLLERS, SHOWN_WITHIN, asked_at, waits_for_record};
use super::leases::{Life, Seen};
use super::output::age;
use super::step::{Known, State, Step};
use crate::api::{BastionSession, LEADER_LEASE, LEASE_LABEL, LEASE_OF_CONTROLLER, LEASE_OF_GATEWAY};

/// The resources of the bastion.
pub const RESOURCES: [&str; 3] = ["bastionsessions", "bastiontargets", "bastionusers"];
/// What the quota counts.
const COUNT: &str = "count/bastionsessions.bastion.dev";
/// How many names one sentence has.
const NAMED: usize = 5;

/// What is known.
#[derive(Debug)]
pub struct Snapshot {
    /// The resources of the group that the API server serves.
    pub served: Known<Vec<String>>,
    /// All sessions.
    pub sessions: Known<Vec<BastionSession>>,
    /// All Leases in the namespace.
    pub leases: Known<Vec<Seen>>,
    /// How many sessions there may be.
    pub quota: Known<ResourceQuota>,
    /// When.
    pub now: Timestamp,
}

/// Looks at everything.
pub fn examine(facts: &Snapshot) -> Vec<Step> {
    vec![crds(facts), gateways(facts), controllers(facts), leader(facts), quota(facts), ends(facts), records(facts)]
}

fn crds(facts: &Snapshot) -> Step {
    let part = "CRDs";
    let advice = "install them: helm upgrade, or kubectl apply -f crds/bastion.dev.yaml";
    match &facts.served {
        Known::Is(served) => {
            let missing: Vec<_> = RESOURCES.into_iter().filter(|name| !served.iter().any(|it| it == name)).collect();
            match missing.as_slice() {
                [] => Step::ok(part, format!("{} are served", RESOURCES.join(", "))),
                missing => Step::stuck(part, format!("the cluster knows no {}", missing.join(", ")), advice),
            }
        }
        Known::IsNot => Step::stuck(part, "the cluster knows nothing of bastion.dev/v1alpha1", advice),
        Known::Hidden(why) => Step::unknown(part, why),
    }
}

/// The Leases of a program, or why they are not known.
fn of_program<'a>(facts: &'a Snapshot, part: &'static str, program: &str) -> Result<Vec<&'a Seen>, Step> {
    match &facts.leases {
        Known::Is(leases) => {
            let label = |seen: &&Seen| seen.lease.labels().get(LEASE_LABEL).is_some_and(|it| it == program);
            Ok(leases.iter().filter(label).collect())
        }
        Known::IsNot => Ok(Vec::new()),
        Known::Hidden(why) => Err(Step::unknown(part, why)),
    }
}

fn gateways(facts: &Snapshot) -> Step {
    let part = "Gateways";
    let leases = match of_program(facts, part, LEASE_OF_GATEWAY) {
        Ok(leases) => leases,
        Err(step) => return step,
    };
    let count = |wanted: fn(&Life) -> bool| leases.iter().filter(|seen| wanted(&seen.life)).count();
    let (fresh, lost) = (count(|life| *life == Life::Fresh), count(|life| *life == Life::Lost));
    let silent: Vec<_> = leases.iter().filter(|seen| matches!(seen.life, Life::Silent(_))).collect();
    let remembered = if lost == 0 { String::new() } else { format!("; {lost} declared lost within the last hour") };
    if let Some(first) = silent.first() {
        let says = format!("{} {}{}", first.lease.name_any(), first.told(facts.now), and_more(silent.len()));
        return Step::stuck(part, says, format!("a controller declares it lost after 20s; {SEE_CONTROLLERS}"));
    }
    if fresh == 0 {
        let advice = "see why no gateway runs: kubectl get pods, kubectl logs; is this the bastion's namespace?";
        return Step::stuck(part, format!("none renews a Lease{remembered}"), advice);
    }
    Step::ok(part, format!("{fresh} renewing{remembered}"))
}

fn and_more(all: usize) -> String {
    if all > 1 { format!(", and {} more", all - 1) } else { String::new() }
}

fn controllers(facts: &Snapshot) -> Step {
    let part = "Controllers";
    match of_program(facts, part, LEASE_OF_CONTROLLER) {
        Err(step) => step,
        Ok(leases) => match leases.iter().filter(|seen| seen.life == Life::Fresh).count() {
            0 => {
                let advice = "while none runs nobody ends the sessions of a dead gateway, and no end is put on record: kubectl get pods";
                Step::stuck(part, "none renews a Lease", advice)
            }
            fresh => Step::ok(part, format!("{fresh} renewing")),
        },
    }
}

fn leader(facts: &Snapshot) -> Step {
    let part = "Leader";
    let leases = match &facts.leases {
        Known::Is(leases) => leases.as_slice(),
        Known::IsNot => &[],
        Known::Hidden(why) => return Step::unknown(part, why),
    };
    match leases.iter().find(|seen| seen.lease.name_any() == LEADER_LEASE) {
        Some(seen) if seen.life == Life::Fresh => Step::ok(part, format!("{} leads", seen.holder())),
        Some(seen) => Step::stuck(
            part,
            format!("no controller leads: the Lease {LEADER_LEASE} {}", seen.told(facts.now)),
            SEE_CONTROLLERS,
        ),
        None => Step::stuck(part, "no controller has ever led", SEE_CONTROLLERS),
    }
}

fn quota(facts: &Snapshot) -> Step {
    let part = "Quota";
    let quota = match &facts.quota {
        Known::Is(quota) => quota,
        Known::IsNot => return Step::ok(part, "none: nothing bounds how many sessions wait for the audit database"),
        Known::Hidden(why) => return Step::unknown(part, why),
    };
    let number = |quantities: Option<&std::collections::BTreeMap<String, Quantity>>| {
        quantities.and_then(|all| all.get(COUNT)).and_then(|quantity| quantity.0.parse::<u64>().ok())
    };
    let status = quota.status.clone().unwrap_or_default();
    match (number(status.used.as_ref()), number(status.hard.as_ref())) {
        (Some(used), Some(hard)) if used >= hard => {
            let advice = "new sessions are refused: see whether records are written (Records), or raise it";
            Step::stuck(part, format!("{used} of {hard} sessions"), advice)
        }
        (Some(used), Some(hard)) => Step::ok(part, format!("{used} of {hard} sessions")),
        _ => Step {
            advice: Some("new sessions are refused until kube-controller-manager has counted them, half a minute after the CRDs are installed".to_owned()),
            ..Step::waiting(part, "its status does not count sessions yet")
        },
    }
}

/// Ends that are not shown: of dead gateways, and of those who were asked.
fn ends(facts: &Snapshot) -> Step {
    let part = "Ends";
    let (sessions, leases) = match (&facts.sessions, &facts.leases) {
        (Known::Hidden(why), _) | (_, Known::Hidden(why)) => return Step::unknown(part, why),
        (Known::Is(sessions), Known::Is(leases)) => (sessions.as_slice(), leases.as_slice()),
        (Known::IsNot, _) | (_, Known::IsNot) => (&[][..], &[][..]),
    };
    let lives = |session: &BastionSession| {
        leases.iter().any(|it| it.lease.name_any() == session.spec.gateway.instance && it.life == Life::Fresh)
    };
    let overdue =
        |session: &BastionSession| asked_at(session).is_some_and(|at| facts.now.duration_since(at) >= SHOWN_WITHIN);
    let active: Vec<_> = sessions.iter().filter(|session| !session.phase().is_final()).collect();
    let late: Vec<_> =
        active.iter().filter(|session| !lives(session) || overdue(session)).map(|it| it.name_any()).collect();
    if late.is_empty() {
        return Step::ok(part, format!("{} sessions are Active, each with a gateway that lives", active.len()));
    }
    let named = late.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let says = format!("{} of {} Active sessions should have been ended: {named}", late.len(), active.len());
    Step::stuck(part, says, format!("kubectl bastion status {} says more", late[0]))
}

fn records(facts: &Snapshot) -> Step {
    let part = "Records";
    let sessions = match &facts.sessions {
        Known::Is(sessions) => sessions.as_slice(),
        Known::IsNot => &[],
        Known::Hidden(why) => return Step::unknown(part, why),
    };
    let end = |session: &BastionSession| session.status.as_ref()?.end_time.as_ref().map(|time| time.0);
    let waiting = sessions.iter().filter(|session| waits_for_record(session));
    let mut waiting: Vec<_> = waiting.filter_map(|session| Some((end(session)?, session.name_any()))).collect();
    waiting.sort();
    let Some((oldest, name)) = waiting.first() else { return Step::ok(part, "every end is on record") };
    let says = format!("{} ends wait to be put on record, the oldest for {}", waiting.len(), age(*oldest, facts.now));
    if facts.now.duration_since(*oldest) < SHOWN_WITHIN {
        return Step::ok(part, says);
    }
    Step::stuck(part, says, format!("kubectl bastion status {name} says more"))
}

/// Whether all is well.
pub fn is_well(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.state == State::Ok)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::plugin::leases::judge;
    use crate::plugin::leases::tests::lease;
    use crate::plugin::samples::{active, at, ended};

    fn seen(name: &str, program: &str, holder: &str, renewed: i64) -> Seen {
        let lease = lease(name, program, holder, renewed);
        Seen { life: judge(&lease, at(100)), lease }
    }

    fn quota_of(status: &Value) -> Known<ResourceQuota> {
        Known::Is(serde_json::from_value(json!({ "status": status })).unwrap())
    }

    fn gateway(holder: &str, renewed: i64) -> Seen {
        seen("gateway-0-abcdefghij", "gateway", holder, renewed)
    }

    /// A bastion that is well.
    fn well() -> Snapshot {
        let leases = vec![
            gateway("gateway-0-abcdefghij", 98),
            seen("controller-0-abcdefghij", "controller", "controller-0-abcdefghij", 98),
            seen("bastion-controller", "", "controller-0-abcdefghij", 99),
        ];
        Snapshot {
            served: Known::Is(RESOURCES.map(str::to_owned).to_vec()),
            sessions: Known::Is(vec![active("a")]),
            leases: Known::Is(leases),
            quota: quota_of(&json!({"hard": {COUNT: "20000"}, "used": {COUNT: "1"}})),
            now: at(100),
        }
    }

    fn with_gateway(gateway: Option<Seen>) -> Snapshot {
        let mut facts = well();
        if let Known::Is(leases) = &mut facts.leases {
            leases.remove(0);
            leases.extend(gateway);
        }
        facts
    }

    fn hidden<T>() -> Known<T> {
        Known::Hidden("you may not".to_owned())
    }

    fn with_sessions(sessions: Vec<BastionSession>, now: i64) -> Snapshot {
        let mut facts = Snapshot { sessions: Known::Is(sessions), now: at(now), ..well() };
        if let Known::Is(leases) = &mut facts.leases {
            for seen in leases {
                seen.life = Life::Fresh;
            }
        }
        facts
    }

    #[rstest]
    #[case::well(well(), &[])]
    #[case::no_crds(Snapshot { served: Known::IsNot, ..well() }, &["Stuck CRDs: the cluster knows nothing of bastion.dev/v1alpha1"])]
    #[case::a_crd_is_missing(Snapshot { served: Known::Is(vec!["bastionsessions".into(), "bastionusers".into()]), ..well() }, &["Stuck CRDs: the cluster knows no bastiontargets"])]
    #[case::no_gateway(Snapshot { sessions: Known::Is(vec![]), ..with_gateway(None) }, &["Stuck Gateways: none renews a Lease"])]
    #[case::silent(with_gateway(Some(gateway("g", 57))), &["Stuck Gateways: gateway-0-abcdefghij has not renewed its Lease for 43s", "Stuck Ends: 1 of 1 Active sessions should have been ended: a"])]
    #[case::lost(with_gateway(Some(gateway("lost", 57))), &["Stuck Gateways: none renews a Lease; 1 declared lost", "Stuck Ends: 1 of 1"])]
    #[case::nothing_runs(Snapshot { leases: Known::Is(vec![]), sessions: Known::Is(vec![]), ..well() },
        &["Stuck Gateways: none", "Stuck Controllers: none", "Stuck Leader: no controller has ever led"])]
    #[case::no_quota(Snapshot { quota: Known::IsNot, ..well() }, &[])]
    #[case::quota_full(Snapshot { quota: quota_of(&json!({"hard": {COUNT: "7"}, "used": {COUNT: "7"}})), ..well() }, &["Stuck Quota: 7 of 7 sessions"])]
    #[case::quota_not_counted(Snapshot { quota: quota_of(&json!({"hard": {COUNT: "7"}})), ..well() }, &["Waiting Quota: its status does not count"])]
    #[case::records_in_time(with_sessions(vec![ended("a")], 100), &[])]
    #[case::records_late(with_sessions(vec![ended("a"), ended("b")], 150), &["Stuck Records: 2 ends wait to be put on record, the oldest for 60s"])]
    #[case::no_rights(Snapshot { leases: hidden(), sessions: hidden(), quota: hidden(), ..well() },
        &["Unknown Gateways: you may not", "Unknown Controllers: you", "Unknown Leader: you", "Unknown Quota: you", "Unknown Ends: you", "Unknown Records: you"])]
    fn a_bastion_is_examined(#[case] facts: Snapshot, #[case] expected: &[&str]) {
        let steps = examine(&facts);
        assert_eq!(is_well(&steps), expected.is_empty());
        let bad = steps.into_iter().filter(|step| step.state != State::Ok);
        let told: Vec<_> = bad.map(|step| format!("{:?} {}: {}", step.state, step.part, step.says)).collect();
        assert_eq!(told.len(), expected.len(), "{told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told} is not {expected}");
        }
    }
}
