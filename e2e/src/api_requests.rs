//! The requests that an API server has answered, by its own count.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use axum::http::Request;

use crate::control_plane::ControlPlane;

/// Counts of requests.
#[derive(Clone, Debug, Default)]
pub struct ApiRequests(BTreeMap<Kind, u64>);

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    resource: String,
    subresource: String,
    verb: String,
    code: String,
}

impl ApiRequests {
    /// All requests since the API server's start.
    pub async fn count(control_plane: &ControlPlane) -> Self {
        let request = Request::get("/metrics").body(vec![]).expect("a request");
        let page = control_plane.admin().request_text(request).await.expect("the API server's metrics");
        let mut counts = BTreeMap::new();
        for line in page.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let (labels, value) = line.rsplit_once("} ").expect("a sample has labels and a value");
            let label = |name: &str| {
                let begin = format!("{name}=\"");
                let found = labels.split(',').find_map(|label| label.strip_prefix(&begin));
                found.unwrap_or_default().trim_end_matches('"').to_owned()
            };
            let kind = Kind {
                resource: label("resource"),
                subresource: label("subresource"),
                verb: label("verb"),
                code: label("code"),
            };
            *counts.entry(kind).or_insert(0) += value.parse::<u64>().expect("fewer than a million");
        }
        Self(counts)
    }

    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let grown = |(kind, count): (&Kind, &u64)| {
            let new = count.saturating_sub(before.0.get(kind).copied().unwrap_or(0));
            (new > 0).then(|| (kind.clone(), new))
        };
        Self(self.0.iter().filter_map(grown).collect())
    }

    /// The writes of a resource and of all its subresources, including refused writes.
    pub fn writes(&self, resource: &str) -> u64 {
        self.sum(|kind| kind.resource == resource && kind.is_write())
    }

    /// The requests of one kind that the API server did.
    pub fn done(&self, verb: &str, resource: &str, subresource: &str) -> u64 {
        let is_kind = |kind: &Kind| kind.verb == verb && kind.resource == resource && kind.subresource == subresource;
        self.sum(|kind| is_kind(kind) && kind.code.starts_with('2'))
    }

    fn sum(&self, which: impl Fn(&Kind) -> bool) -> u64 {
        self.0.iter().filter(|(kind, _)| which(kind)).map(|(_, count)| count).sum()
    }
}

impl Kind {
    fn is_write(&self) -> bool {
        ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"].contains(&self.verb.as_str())
    }
}

/// The writes, one kind a line.
impl Display for ApiRequests {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (Kind { resource, subresource, verb, code }, count) in self.0.iter().filter(|(kind, _)| kind.is_write()) {
            let slash = if subresource.is_empty() { "" } else { "/" };
            writeln!(f, "  {count:6}  {verb} {resource}{slash}{subresource} -> {code}")?;
        }
        Ok(())
    }
}
