//! Selects the sessions of a command.

use std::sync::Arc;

use kube::api::{Api, ListParams};
use kube::core::ObjectList;
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};

use super::cli::Filter;
use super::output;
use super::rights::{LIST_SESSIONS, explain};
use crate::api::{BastionSession, Phase};
use crate::cluster::{Guarded, split};

/// The most sessions in one response of the API server.
const PAGE_SIZE: u32 = 500;

/// Returns the API of a namespace's sessions, for a command on single sessions.
pub fn sessions_in(client: &Client, namespace: &str) -> Api<BastionSession> {
    Api::namespaced(client.clone(), namespace)
}

/// Returns the API of the sessions of one or all namespaces, for a command on many sessions. Some sessions may be unreadable.
pub fn guarded_sessions_in(client: &Client, namespace: Option<&str>) -> Api<Guarded<BastionSession>> {
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Returns the sessions that match the filter and the phase, ordered by their start. Unreadable sessions cause a warning on
/// standard error.
///
/// # Errors
/// When the sessions cannot be listed.
pub async fn find(
    client: &Client,
    namespace: Option<&str>,
    filter: &Filter,
    phase: Option<Phase>,
) -> anyhow::Result<Vec<BastionSession>> {
    let api = guarded_sessions_in(client, namespace);
    let mut params = ListParams::default().limit(PAGE_SIZE);
    params.field_selector = filter.field_selector(phase);
    let mut found = list(&api, &params).await.map_err(|error| explain(error, LIST_SESSIONS, namespace))?;
    found.retain(|session| filter.matches(session));
    found.sort_by_key(|session| (session.spec.start_time.0, session.name_any()));
    Ok(found)
}

async fn list(api: &Api<Guarded<BastionSession>>, params: &ListParams) -> Result<Vec<BastionSession>, kube::Error> {
    let mut found = Vec::new();
    let mut next = params.clone();
    loop {
        let page = match api.list(&next).await {
            // The continue token has expired: list everything in one response.
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

/// Returns the readable objects of a list. Unreadable objects cause a warning on standard error.
pub fn readable<K: Resource<DynamicType = ()> + Clone>(list: ObjectList<Guarded<K>>) -> Vec<K> {
    let (readable, unreadable) = split(list);
    output::warn_unreadable::<K>(&unreadable);
    readable.into_iter().map(Arc::unwrap_or_clone).collect()
}

impl Filter {
    /// Returns the field selector: the part of the filter that the API server applies.
    fn field_selector(&self, phase: Option<Phase>) -> Option<String> {
        let fields = [
            ("spec.user.name", self.user.as_deref()),
            ("spec.target", self.target.as_deref()),
            ("status.phase", phase.map(Phase::as_str)),
        ];
        let terms: Vec<_> = fields.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))).collect();
        (!terms.is_empty()).then(|| terms.join(","))
    }

    /// Returns the configuration of a watch of matching sessions in any phase. A watch of Active sessions would report each end
    /// as a deletion.
    pub fn watch_config(&self) -> watcher::Config {
        watcher::Config { field_selector: self.field_selector(None), ..watcher::Config::default() }
    }

    /// Returns whether the session matches the part of the filter that the API server cannot apply.
    pub fn matches(&self, session: &BastionSession) -> bool {
        let gateway = &session.spec.gateway;
        self.gateway.as_ref().is_none_or(|name| *name == gateway.name || *name == gateway.instance)
    }

    /// Returns whether every session matches.
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
    fn the_api_server_filters_by_user_target_and_phase(
        #[case] filter: Filter,
        #[case] phase: Option<Phase>,
        #[case] expected: Option<&str>,
    ) {
        assert_eq!(filter.field_selector(phase).as_deref(), expected);
        assert!(!filter.watch_config().field_selector.is_some_and(|selector| selector.contains("phase")));
    }

    #[rstest]
    #[case(None, true)]
    #[case(Some("gateway-0"), true)]
    #[case(Some("gateway-0-abcdefghij"), true)]
    #[case(Some("gateway"), false)]
    fn a_gateway_is_a_pod_or_an_instance(#[case] name: Option<&str>, #[case] expected: bool) {
        assert_eq!(filter(None, None, name).matches(&active("a")), expected);
    }
}
