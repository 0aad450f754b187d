//! Serves the history to consoles, on behalf of users whose rights it checks.

use std::net::SocketAddr;

use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::history::{HistoryCounts, HistoryFilter};
use super::history_error::HistoryError;
use super::protocol::{COUNTS_PATH, CountsRequest, MAX_PAGE, PageRequest, SESSIONS_PATH};
use super::record::SessionRecord;
use super::store::Store;
use crate::cluster::Right;
use crate::http::internal::{ConsoleGuard, ImpersonatedUser, InternalServer, Service};
use crate::metrics::HttpPort;

const SESSIONS: &str = "bastionsessions";

/// The state that all requests share.
#[derive(Clone)]
struct ServerState {
    store: Store,
    guard: ConsoleGuard,
}

/// Serves consoles until `stop` is cancelled. `console` is their Kubernetes user name.
pub async fn serve(
    server: InternalServer,
    console: &str,
    store: Store,
    client: Client,
    namespace: &str,
    stop: CancellationToken,
) {
    info!(address = %server.endpoint().address, "serving the history");
    let guard = ConsoleGuard::new(client, namespace, console, Service::HISTORY, server.endpoint());
    let routes = Router::new()
        .route(SESSIONS_PATH, post(page))
        .route(&format!("{SESSIONS_PATH}/{{uid}}"), get(record))
        .route(COUNTS_PATH, post(counts))
        .fallback(async || HistoryError::NoRoute)
        .with_state(ServerState { store, guard });
    server.serve(HttpPort::History, routes, stop).await;
}

/// Returns a page of the history, newest first. Users who may list sessions get all sessions; other users get their own.
async fn page(
    State(state): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    request: Result<Json<PageRequest>, JsonRejection>,
) -> Result<Json<Vec<SessionRecord>>, HistoryError> {
    let user = state.guard.user(&headers, peer.ip()).await?;
    let Json(PageRequest { filter, limit }) = request?;
    let may_list = state.guard.may(&user, Right::to("list", SESSIONS)).await?;
    let filter = visible(filter, state.guard.namespace(), &user, may_list);
    Ok(Json(state.store.history(&filter, limit.min(MAX_PAGE)).await?))
}

/// Restricts a filter to the sessions of the namespace that the user may see.
fn visible(filter: HistoryFilter, namespace: &str, user: &ImpersonatedUser, may_list: bool) -> HistoryFilter {
    let subject = if may_list { filter.subject } else { Some(user.name().to_owned()) };
    HistoryFilter { namespace: Some(namespace.to_owned()), subject, ..filter }
}

/// Returns one session: the user's own, or any for users who may get it. The error does not reveal whether it exists.
async fn record(
    State(state): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Path(uid): Path<String>,
) -> Result<Json<SessionRecord>, HistoryError> {
    let user = state.guard.user(&headers, peer.ip()).await?;
    let found = state.store.get(&uid).await?.filter(|record| record.namespace == state.guard.namespace());
    if found.as_ref().is_none_or(|record| record.user_subject != user.name()) {
        let name = found.as_ref().map(|record| record.name.as_str());
        state.require(&user, Right { name, ..Right::to("get", SESSIONS) }).await?;
    }
    found.map(Json).ok_or(HistoryError::NoRecord(uid))
}

/// Returns the numbers of starts and ends since a time, for users who may list sessions.
async fn counts(
    State(state): State<ServerState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    request: Result<Json<CountsRequest>, JsonRejection>,
) -> Result<Json<HistoryCounts>, HistoryError> {
    let user = state.guard.user(&headers, peer.ip()).await?;
    let Json(CountsRequest { since }) = request?;
    state.require(&user, Right::to("list", SESSIONS)).await?;
    Ok(Json(state.store.counts(state.guard.namespace(), since).await?))
}

impl ServerState {
    async fn require(&self, user: &ImpersonatedUser, right: Right<'_>) -> Result<(), HistoryError> {
        if self.guard.may(user, right).await? {
            return Ok(());
        }
        let (user, namespace) = (user.name().to_owned(), self.guard.namespace().to_owned());
        Err(HistoryError::Forbidden { user, verb: right.verb, namespace })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::all(true, None, None)]
    #[case::all_of_one_subject(true, Some("bob"), Some("bob"))]
    #[case::own(false, None, Some("alice"))]
    #[case::own_despite_another_subject(false, Some("bob"), Some("alice"))]
    fn users_who_may_not_list_sessions_see_their_own(
        #[case] may_list: bool,
        #[case] asked: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let alice = UserInfo { username: Some("alice".to_owned()), ..UserInfo::default() };
        let alice = ImpersonatedUser::from_header(&ImpersonatedUser::header(&alice)).unwrap();
        let asked = HistoryFilter {
            namespace: Some("elsewhere".to_owned()),
            subject: asked.map(str::to_owned),
            target: Some("web-1".to_owned()),
            ..HistoryFilter::default()
        };
        let filter = visible(asked, "here", &alice, may_list);
        assert_eq!((filter.namespace.as_deref(), filter.subject.as_deref()), (Some("here"), expected));
        assert_eq!(filter.target.as_deref(), Some("web-1"));
    }
}
