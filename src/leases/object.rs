//! The Lease objects: their creation, their content, and requests with a timeout.

use std::sync::LazyLock;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::time::timeout;

use crate::api::{END_KEY_ANNOTATION, LEASE_LABEL, LOST_HOLDER, POD_UID_ANNOTATION};
use crate::cluster::{LenientLease, code};
use crate::lifecycle::{LOST_AFTER, ObservedLease, RENEW_TIMEOUT};

/// Why a request about a Lease failed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A controller has declared the instance lost. This is final.
    #[error("a controller has declared this instance lost")]
    Lost,
    /// There was no answer within [`RENEW_TIMEOUT`].
    #[error("the API server did not answer within {} s", RENEW_TIMEOUT.as_secs())]
    Timeout,
    /// The API server answered with an error, or the connection to it failed.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

impl LeaseError {
    /// Returns the status code of the API server's answer, if there was one.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Kube(error) => code(error),
            Self::Lost | Self::Timeout => None,
        }
    }
}

/// Returns the parts of a Lease that the failure detector uses.
pub fn observe_lease(lease: &Lease) -> ObservedLease {
    let annotation = |name| lease.metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned();
    ObservedLease {
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        renewed: lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        acquired: lease.spec.as_ref().and_then(|spec| spec.acquire_time.as_ref()).map(|time| time.0),
        pod_uid: annotation(POD_UID_ANNOTATION),
        end_key: annotation(END_KEY_ANNOTATION),
        lost: is_lost(lease),
    }
}

/// Returns whether a controller has declared the holder lost.
pub fn is_lost(lease: &Lease) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(LOST_HOLDER)
}

/// Returns a Lease that `holder` acquires and renews now. `program` is the value of its label.
pub fn new_lease(name: &str, program: &str, holder: &str) -> Lease {
    let now = Timestamp::now();
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([(LEASE_LABEL.to_owned(), program.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(i32::try_from(LOST_AFTER.as_secs()).unwrap_or(i32::MAX)),
            acquire_time: Some(MicroTime(monotonic_now())),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

/// Returns the time of day, from the wall clock at the first call and the monotonic clock since then.
///
/// The kubelet records the start of the Pod's container by the same wall clock. If that clock is set back later, the wall-clock
/// time would make an instance seem older than its container.
pub fn monotonic_now() -> Timestamp {
    static FIRST: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));
    let (time, instant) = *FIRST;
    time.checked_add(instant.elapsed()).unwrap_or(time)
}

/// Creates a Lease.
///
/// # Errors
/// The API server refused it or did not answer in time.
pub async fn create(api: &Api<LenientLease>, lease: &Lease) -> Result<Lease, LeaseError> {
    Ok(with_timeout(api.create(&PostParams::default(), &LenientLease(lease.clone()))).await?.0)
}

/// Awaits a request for at most [`RENEW_TIMEOUT`].
///
/// # Errors
/// The request failed or timed out.
pub async fn with_timeout<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    Ok(timeout(RENEW_TIMEOUT, request).await.map_err(|_| LeaseError::Timeout)??)
}
