//! Which sessions a command is about.

use std::sync::Arc;

use kube::api::{Api, ListParams};
use kube::core::ObjectList;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};

use super::cli::Filter;
use super::output;
use super::rights::{LIST_SESSIONS, failed};
use crate::api::{BastionSession, Phase};
use crate::cluster::{Guarded, split};

/// How many sessions one answer of the API server has.
const PAGE: u32 = 500;

/// The sessions of a namespace, for a command that is about one of them.
pub fn sessions_in(client: &Client, namespace: &str) -> Api<BastionSession> {
    Api::namespaced(client.clone(), namespace)
}

/// The sessions of a namespace, or of all, for a command that is about many, some of which may be unreadable.
pub fn guarded_sessions_in(client: &Client, namespace: Option<&str>) -> Api<Guarded<BastionSession>> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The sessions that the filter lets through, in this phase or any, in the order of their starts. Those that cannot be read
/// are named on standard error.
///
/// # Errors
/// Why they cannot be listed.
pub async fn find(
    client: &Client,
    namespace: Option<&str>,
    filter: &Filter,
    phase: Option<Phase>,
) -> anyhow::Result<Vec<BastionSession>> {
    let api = guarded_sessions_in(client, namespace);
    let mut params = ListParams::default().limit(PAGE);
    params.field_selector = filter.field_selector(phase);
    let mut found = list(&api, &params).await.map_err(|error| failed(error, LIST_SESSIONS, namespace))?;
    found.retain(|session| filter.takes(session));
    found.sort_by_key(|session| (session.spec.start_time.0, session.name_any()));
    Ok(found)
}

async fn list(api: &Api<Guarded<BastionSession>>, params: &ListParams) -> Result<Vec<BastionSession>, kube::Error> {
    let mut found = Vec::new();
    let mut next = params.clone();
    loop {
        let page = match api.list(&next).await {
            // The next page was asked for too late: the whole list is not.
            Err(kube::Error::Api(status)) if status.code == 410 => {
                return Ok(readable(api.list(&ListParams { limit: None, ..params.clone() }).await?));
            }
            page => page?,
        };
        let token = page.metadata.continue_.clone();
        found.extend(readable(page));
        match token.filter(|token| !token.is_empty()) {
            Some(token) => next = next.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// The objects of a list that can be read; the others are named on standard error.
pub fn readable<K: Resource<DynamicType = ()> + Clone>(list: ObjectList<Guarded<K>>) -> Vec<K> {
    let (readable, unreadable) = split(list);
    output::tell_unreadable::<K>(&unreadable);
    readable.into_iter().map(Arc::unwrap_or_clone).collect()
}

impl Filter {
    /// What the API server itself can choose by.
    fn field_selector(&self, phase: Option<Phase>) -> Option<String> {
        let fields = [
            ("spec.user.name", self.user.as_deref()),
            ("spec.target", self.target.as_deref()),
            ("status.phase", phase.map(Phase::as_str)),
        ];
        let terms: Vec<_> = fields.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))).collect();
        (!terms.is_empty()).then(|| terms.join(","))
    }

    /// A watch of the sessions that it lets through, in any phase: one of those that are Active would call each end a
    /// deletion.
    pub fn watched(&self) -> watcher::Config {
        watcher::Config { field_selector: self.field_selector(None), ..watcher::Config::default() }
    }

    /// The rest, which the API server cannot choose by.
    pub fn takes(&self, session: &BastionSession) -> bool {
        let gateway = &session.spec.gateway;
        self.gateway.as_ref().is_none_or(|name| *name == gateway.name || *name == gateway.instance)
    }

    /// Whether it lets all through.
    pub fn is_empty(&self) -> bool {
        self.user.is_none() && self.target.is_none() && self.gateway.is_none()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::plugin::samples::active;

    fn filter(user: Option<&str>, target: Option<&str>, gateway: Option<&str>) -> Filter {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Filter { user: owned(user), target: owned(target), gateway: owned(gateway) }
    }

    #[rstest]
    #[case(filter(None, None, None), None, None)]
    #[case(filter(None, None, Some("gw")), None, None)]
    #[case(filter(Some("alice"), None, None), None, Some("spec.user.name=alice"))]
    #[case(filter(None, Some("web-1"), None), Some(Phase::Active), Some("spec.target=web-1,status.phase=Active"))]
    fn the_api_server_is_asked_for_what_it_can_choose(
        #[case] filter: Filter,
        #[case] phase: Option<Phase>,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(filter.field_selector(phase).as_deref(), expected);
        assert!(!filter.watched().field_selector.is_some_and(|selector| selector.contains("phase")));
    }

    #[rstest]
    #[case(None, true)]
    #[case(Some("gateway-0"), true)]
    #[case(Some("gateway-0-abcdefghij"), true)]
    #[case(Some("gateway"), false)]
    fn a_gateway_is_its_pod_or_a_life_of_it(#[case] name: Option<&str>, #[case] expected: bool) {
        assert_eq!(filter(None, None, name).takes(&active("a")), expected);
    }
}
