//! Reads the history from the audit programs, on behalf of a user whose rights they check.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Method, Request, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::api::{LEASE_LABEL, LEASE_OF_AUDIT};
use crate::audit::protocol::{COUNTS_PATH, CountsRequest, PageRequest, SESSIONS_PATH};
use crate::audit::{HistoryCounts, HistoryFilter, SessionRecord};
use crate::cluster::LenientLease;
use crate::http::internal::{CallError, Endpoint, InternalClient, Service};
use crate::http::{AuthError, with_api_timeout};
use crate::leases::observe_lease;

/// How long a connection to one audit program may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How many audit programs one request tries at most.
const MAX_ENDPOINTS: usize = 3;
/// How long an audit program may take to answer. Its database may take 15 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest answer, in bytes. A page of sessions whose every field is as long as the schema allows is shorter.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Reads the history from the audit programs of one bastion.
#[derive(Clone)]
pub struct HistoryClient {
    leases: Api<LenientLease>,
    client: InternalClient,
}

/// Why the history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No Lease says where an audit program serves the history.
    #[error("no audit program runs")]
    NoProgram,
    /// The Leases could not be read.
    #[error(transparent)]
    Cluster(#[from] AuthError),
    /// The request failed, or an audit program refused it.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl HistoryClient {
    /// Creates a client for the bastion in `namespace`, for the console in this Pod.
    pub fn new(client: Client, namespace: &str, pod: &str) -> Self {
        let internal = InternalClient::new(client.clone(), namespace, pod, Service::HISTORY);
        Self { leases: Api::namespaced(client, namespace), client: internal }
    }

    /// Returns up to `limit` sessions that the user may see, newest first.
    ///
    /// # Errors
    /// When no audit program answers, or its database fails.
    pub async fn page(
        &self,
        user: &UserInfo,
        filter: HistoryFilter,
        limit: u32,
    ) -> Result<Vec<SessionRecord>, HistoryError> {
        self.call(user, Method::POST, SESSIONS_PATH, Some(&PageRequest { filter, limit })).await
    }

    /// Returns the session with this uid, if the user may see it.
    ///
    /// # Errors
    /// When there is no such session, the user may not see it, no audit program answers, or its database fails.
    pub async fn record(&self, user: &UserInfo, uid: &str) -> Result<SessionRecord, HistoryError> {
        self.call(user, Method::GET, &format!("{SESSIONS_PATH}/{uid}"), None::<&()>).await
    }

    /// Returns the numbers of starts and ends since a time, in microseconds since the epoch.
    ///
    /// # Errors
    /// When the user may not list sessions, no audit program answers, or its database fails.
    pub async fn counts(&self, user: &UserInfo, since: i64) -> Result<HistoryCounts, HistoryError> {
        self.call(user, Method::POST, COUNTS_PATH, Some(&CountsRequest { since })).await
    }

    /// Sends a request to the audit programs in turn, until one can be reached.
    async fn call<T: DeserializeOwned>(
        &self,
        user: &UserInfo,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, HistoryError> {
        // The serialization of strings and numbers cannot fail.
        let body = body.and_then(|body| serde_json::to_vec(body).ok()).unwrap_or_default();
        let mut failure = HistoryError::NoProgram;
        for endpoint in self.endpoints().await? {
            let mut request = Request::new(Body::from(body.clone()));
            *request.method_mut() = method.clone();
            *request.uri_mut() = InternalClient::url("https", path)
                .parse()
                .map_err(|error| CallError::unreachable(endpoint.address, error))?;
            request.headers_mut().extend(self.client.headers(&endpoint, user).await?);
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            match send(&endpoint, request).await {
                Ok(answer) => {
                    let answer = serde_json::from_slice(&answer);
                    return Ok(answer.map_err(|error| CallError::unreachable(endpoint.address, error))?);
                }
                Err(error @ CallError::Unreachable { .. }) => {
                    debug!(%error, "an audit program cannot be reached; trying the next");
                    failure = error.into();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(failure)
    }

    /// Returns where audit programs serve the history, those that renewed their Lease last first.
    async fn endpoints(&self) -> Result<Vec<Endpoint>, HistoryError> {
        let audit_leases = ListParams::default().labels(&format!("{LEASE_LABEL}={LEASE_OF_AUDIT}"));
        let leases = with_api_timeout(self.leases.list(&audit_leases)).await?;
        Ok(endpoints_in(leases.items.into_iter().map(|lease| lease.0).collect()))
    }
}

/// Returns at most [`MAX_ENDPOINTS`] endpoints, those with the latest renewals. A killed program leaves its Lease behind for an
/// hour.
fn endpoints_in(mut leases: Vec<Lease>) -> Vec<Endpoint> {
    leases.sort_by_key(|lease| std::cmp::Reverse(observe_lease(lease).renewed));
    let annotations = leases.into_iter().filter_map(|lease| lease.metadata.annotations);
    annotations
        .filter_map(|annotations| Endpoint::from_annotations(Service::HISTORY, &annotations))
        .take(MAX_ENDPOINTS)
        .collect()
}

/// Sends a request over a connection of its own. Returns the body of the answer.
async fn send(endpoint: &Endpoint, request: Request<Body>) -> Result<Vec<u8>, CallError> {
    let address = endpoint.address;
    let stream = timeout(CONNECT_TIMEOUT, endpoint.connect()).await;
    let stream = stream.unwrap_or_else(|_| Err(CallError::unreachable(address, "no answer in time")))?;
    let answering = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| CallError::unreachable(address, error))?;
        // The connection ends with this set, when the answer is complete or given up.
        let mut running = JoinSet::new();
        running.spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| CallError::unreachable(address, error))?;
        let status = answer.status();
        let body = to_bytes(Body::new(answer.into_body()), MAX_ANSWER).await;
        let body = body.map_err(|error| CallError::unreachable(address, error))?;
        if status.is_success() { Ok(body.to_vec()) } else { Err(CallError::refused(status, &body)) }
    };
    let answered = timeout(ANSWER_TIMEOUT, answering).await;
    answered.unwrap_or_else(|_| Err(CallError::unreachable(address, "no answer in time")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(port: u16, second: u32) -> Lease {
        let certificate = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let annotations = json!({
            "bastion.dev/history-address": format!("192.0.2.7:{port}"), "bastion.dev/history-certificate": certificate,
        });
        let renewed = format!("2026-01-02T03:04:{second:02}.000000Z");
        let spec = json!({ "holderIdentity": "audit-0-abcdefghij", "renewTime": renewed });
        serde_json::from_value(json!({ "metadata": { "annotations": annotations }, "spec": spec })).unwrap()
    }

    #[test]
    fn the_program_that_renewed_its_lease_last_is_asked_first() {
        let without_endpoint = Lease::default();
        let found = endpoints_in(vec![lease(1, 5), without_endpoint, lease(2, 9), lease(3, 7)]);
        assert_eq!(found.iter().map(|endpoint| endpoint.address.port()).collect::<Vec<_>>(), [2, 3, 1]);
    }
}
