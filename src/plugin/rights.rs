//! The RBAC rights that each plugin command needs, and the errors for users without them.

use std::fmt;

use anyhow::anyhow;

use crate::cluster::code;

/// A right in the bastion's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The RBAC verb.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, or the resource, a slash and the subresource.
    pub resource: &'static str,
    /// The Role in deploy/ that has the right.
    pub role: &'static str,
}

impl Right {
    const fn new(verb: &'static str, group: &'static str, resource: &'static str, role: &'static str) -> Self {
        Self { verb, group, resource, role }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)
    }
}

const VIEWER: &str = "bastion-viewer";
const TERMINATOR: &str = "bastion-session-terminator";
const SUPPORT: &str = "bastion-support";

/// To read one session.
pub const GET_SESSION: Right = Right::new("get", "bastion.dev", "bastionsessions", VIEWER);
/// To read all sessions.
pub const LIST_SESSIONS: Right = Right::new("list", "bastion.dev", "bastionsessions", VIEWER);
/// To watch sessions.
pub const WATCH_SESSIONS: Right = Right::new("watch", "bastion.dev", "bastionsessions", VIEWER);
/// To request a session's end.
pub const PATCH_SESSION: Right = Right::new("patch", "bastion.dev", "bastionsessions", TERMINATOR);
/// To read all targets.
pub const LIST_TARGETS: Right = Right::new("list", "bastion.dev", "bastiontargets", VIEWER);
/// To read all users.
pub const LIST_USERS: Right = Right::new("list", "bastion.dev", "bastionusers", VIEWER);
/// To read one Lease.
pub const GET_LEASE: Right = Right::new("get", "coordination.k8s.io", "leases", SUPPORT);
/// To read all Leases.
pub const LIST_LEASES: Right = Right::new("list", "coordination.k8s.io", "leases", SUPPORT);
/// To read one Pod.
pub const GET_POD: Right = Right::new("get", "", "pods", SUPPORT);
/// To read all Pods.
pub const LIST_PODS: Right = Right::new("list", "", "pods", SUPPORT);
/// To read the programs' logs.
pub const GET_LOGS: Right = Right::new("get", "", "pods/log", SUPPORT);
/// To read all Events.
pub const LIST_EVENTS: Right = Right::new("list", "events.k8s.io", "events", SUPPORT);
/// To read one ResourceQuota.
pub const GET_QUOTA: Right = Right::new("get", "", "resourcequotas", SUPPORT);
/// To read all ResourceQuotas.
pub const LIST_QUOTAS: Right = Right::new("list", "", "resourcequotas", SUPPORT);

/// A right that a plugin command needs.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// The right.
    pub right: Right,
    /// The purpose of the right, and the effect of its absence.
    pub what_for: &'static str,
}

const fn need(right: Right, what_for: &'static str) -> Need {
    Need { right, what_for }
}

/// The rights that each plugin command needs, except `ssh`. docs/kubectl.md lists them. A test runs each command with exactly
/// these rights, and without each of them.
pub const NEEDS: [(&str, &[Need]); 6] = [
    ("sessions", &[need(LIST_SESSIONS, "to find the sessions")]),
    ("watch", &[need(LIST_SESSIONS, "to begin"), need(WATCH_SESSIONS, "to see starts and ends")]),
    (
        "terminate",
        &[
            need(PATCH_SESSION, "to ask for the end"),
            need(LIST_SESSIONS, "to choose, and to wait; not needed for `NAME --no-wait`"),
            need(WATCH_SESSIONS, "to see the end; not needed with `--no-wait`"),
            need(GET_SESSION, "to see why a request was refused, such as that the session has ended"),
        ],
    ),
    (
        "status",
        &[
            need(GET_SESSION, "to read the session"),
            need(GET_LEASE, "whether its gateway and an audit program live; unknown without it"),
            need(GET_POD, "to see the state of the gateway's Pod; unknown without it"),
        ],
    ),
    (
        "check",
        &[
            need(LIST_SESSIONS, "late ends and records"),
            need(LIST_LEASES, "whether gateways, controllers and audit programs live"),
            need(GET_LEASE, "to look again at one that seems silent"),
            need(GET_QUOTA, "whether new sessions are let in"),
        ],
    ),
    (
        "report",
        &[
            need(LIST_SESSIONS, "`sessions.json`"),
            need(LIST_TARGETS, "`targets.json`"),
            need(LIST_USERS, "`users.json`"),
            need(LIST_LEASES, "`leases.json`"),
            need(LIST_EVENTS, "`events.json`"),
            need(LIST_QUOTAS, "`quotas.json`"),
            need(LIST_PODS, "`pods.json`, and whose logs there are"),
            need(GET_LOGS, "`logs/`; not needed with `--no-logs`"),
            need(GET_LEASE, "`check.json`"),
            need(GET_QUOTA, "`check.json`"),
        ],
    ),
];

/// Returns the error of a failed request, with advice. `namespace` is `None` for all namespaces.
pub fn explain(error: kube::Error, right: Right, namespace: Option<&str>) -> anyhow::Error {
    let place = namespace.map_or_else(|| "in all namespaces".to_owned(), |name| format!("in namespace {name}"));
    let (resource, role) = (right.resource, right.role);
    match (code(&error), namespace) {
        (Some(403), Some(_)) => {
            anyhow!("you may not {right} {place}; have the Role {role} bound to you, or name another namespace with -n")
        }
        (Some(403), None) => {
            anyhow!("you may not {right} {place}, which needs a ClusterRole; name one namespace with -n")
        }
        (Some(401), _) => anyhow!("the cluster refused your credentials; sign in to it again"),
        // A list is not found only if the cluster does not have the kind.
        (Some(404), _) if right.verb == "list" => {
            anyhow!("the cluster has no {resource}; have the bastion installed, or choose another --context")
        }
        (Some(_), _) => anyhow::Error::new(error).context(format!("{resource} {place}: cannot {}", right.verb)),
        (None, _) => anyhow::Error::new(error).context("the API server does not answer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the table of docs/kubectl.md.
    fn table() -> String {
        let rows = NEEDS.iter().flat_map(|(verb, needs)| needs.iter().map(move |need| (verb, need)));
        let rows = rows.map(|(verb, Need { right, what_for })| {
            let group = if right.group.is_empty() { String::new() } else { format!(" ({})", right.group) };
            format!("| `{verb}` | `{}` | `{}`{group} | `{}` | {what_for} |\n", right.verb, right.resource, right.role)
        });
        let header = "| Verb | Right | Resource | Role | What for |\n|---|---|---|---|---|\n".to_owned();
        header + &rows.collect::<String>()
    }

    #[test]
    fn the_documented_rights_match_the_code() {
        let docs = include_str!("../../docs/kubectl.md");
        assert!(docs.contains(&table()), "docs/kubectl.md should have this table:\n{}", table());
    }

    /// The Roles of deploy/ have the rights, and none of them allows reading a Secret.
    #[test]
    fn each_right_is_in_its_role() {
        let roles: Vec<serde_json::Value> =
            serde_saphyr::from_multiple(include_str!("../../deploy/rbac.yaml")).unwrap();
        let has = |list: &serde_json::Value, word: &str| list.as_array().unwrap().iter().any(|it| it == word);
        for (verb, needs) in NEEDS {
            for Need { right, .. } in needs {
                let role =
                    roles.iter().find(|it| it["kind"] == "Role" && it["metadata"]["name"] == right.role).unwrap();
                let granted = role["rules"].as_array().unwrap().iter().any(|rule| {
                    has(&rule["apiGroups"], right.group)
                        && has(&rule["resources"], right.resource)
                        && has(&rule["verbs"], right.verb)
                });
                assert!(granted, "{verb} needs {right}, which {} lacks", right.role);
                assert_ne!(right.resource, "secrets");
            }
        }
    }
}
