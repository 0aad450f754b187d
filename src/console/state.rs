//! The state that the handlers of all routes share.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::Quota;
use ipnet::IpNet;
use kube::{Api, Client};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::access::Authorizer;
use super::activity::ActivityReader;
use super::api_error::ApiError;
use super::client_request::ClientRequest;
use super::feed::{ConnectionQuota, Feed};
use super::history_client::HistoryClient;
use super::observe_client::ObserveClient;
use super::oidc::Oidc;
use super::overview::CountsCache;
use super::sign_in::SignInLimiter;
use super::user_index::UserIndex;
use crate::cluster::{EventSink, UnreadableReports};
use crate::http::{Authenticator, Caller, Origins, RateLimits};
use crate::recording;
use crate::slots::{Slot, Slots};

/// How many WebSockets may be open, of the feed and of observed sessions.
pub const MAX_SOCKETS: u32 = 1000;
/// How many requests each caller may send a second.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).unwrap();
/// How many requests each caller may send at once after a pause.
const REQUEST_BURST: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// How many exports and searches may run at once.
const MAX_EXPORTS: usize = 3;
/// How many exports and searches of one caller may run at once.
const MAX_EXPORTS_PER_CALLER: usize = 2;

/// The state of the console. Clones share it.
#[derive(Clone)]
pub struct Console {
    pub cluster: Cluster,
    pub auth: Auth,
    pub limits: Limits,
    pub feed: Feed,
    pub history: HistoryClient,
    pub counts: CountsCache,
    pub activity: Option<ActivityReader>,
    pub recordings: Option<recording::Store>,
    pub observe_client: ObserveClient,
    /// The origin of the web terminal, if it differs from the console's.
    pub terminal_origin: Option<Url>,
    /// Closes all WebSockets.
    pub stop: CancellationToken,
}

/// Access to the bastion's namespace.
#[derive(Clone)]
pub struct Cluster {
    pub client: Client,
    pub namespace: String,
    pub events: EventSink,
    pub reports: UnreadableReports,
}

impl Cluster {
    /// Returns the API of one kind of objects in the bastion's namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Authentication and authorization.
#[derive(Clone)]
pub struct Auth {
    pub authenticator: Authenticator,
    pub authorizer: Authorizer,
    pub origins: Origins,
    /// The proxies whose `X-Forwarded-For` header is trusted.
    pub proxies: Arc<[IpNet]>,
    pub users: UserIndex,
    pub oidc: Option<Oidc>,
}

/// The bounds on the load of the console.
#[derive(Clone)]
pub struct Limits {
    pub sign_ins: SignInLimiter,
    /// Requests per caller, by user name.
    requests: Arc<RateLimits<String>>,
    pub sockets: Arc<Semaphore>,
    pub pages_per_user: ConnectionQuota,
    exports: Slots,
}

impl Limits {
    /// Creates unused limits.
    pub fn new() -> Self {
        let requests = Quota::per_second(REQUESTS_PER_SECOND).allow_burst(REQUEST_BURST);
        Self {
            sign_ins: super::sign_in::sign_in_limiter(),
            requests: Arc::new(RateLimits::new(requests)),
            sockets: Arc::new(Semaphore::new(MAX_SOCKETS as usize)),
            pages_per_user: ConnectionQuota::default(),
            exports: Slots::new(MAX_EXPORTS),
        }
    }

    /// Counts one request of a caller.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] beyond 50 requests a second, after a burst of 200.
    pub fn check_request(&self, caller: &Caller) -> Result<(), ApiError> {
        if self.requests.is_within(&caller.name) { Ok(()) } else { Err(ApiError::TooMany) }
    }

    /// Takes the slot of an export or a search.
    ///
    /// # Errors
    /// [`ApiError::TooMany`] when all slots are held, or the caller holds two.
    pub fn export(&self, caller: &Caller) -> Result<Slot, ApiError> {
        self.exports.take(&caller.name, MAX_EXPORTS_PER_CALLER).map_err(|_| ApiError::TooMany)
    }
}

impl Console {
    /// Authenticates a request and counts it. Returns its caller.
    ///
    /// # Errors
    /// When the credentials are unknown, the caller exceeds the rate limit, or the API server does not answer.
    pub async fn caller(&self, request: &ClientRequest) -> Result<Caller, ApiError> {
        let caller = self.auth.authenticator.authenticate(&request.headers, request.address).await?;
        self.limits.check_request(&caller)?;
        Ok(caller)
    }
}
