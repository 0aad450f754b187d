//! The writes of a controller to the Leases of gateway instances.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};

use super::object::{LeaseError, create, is_lost, monotonic_now, new_lease, with_timeout};
use crate::api::{LEASE_OF_GATEWAY, LOST_HOLDER, VOUCHED_ANNOTATION};
use crate::cluster::{LenientLease, injected};
use crate::failpoints::failpoint;
use crate::lifecycle::LeaseVersion;

/// Declares an instance lost: replaces the holder of its Lease with `lost`, if the Lease has not changed since the
/// suspicion. Returns whether this call did it.
///
/// # Errors
/// Code 409 if the Lease has changed: the instance has renewed it, or another controller was first. Otherwise the API
/// server failed or did not answer in time.
pub async fn declare_lost(api: &Api<LenientLease>, suspect: &LeaseVersion) -> Result<bool, LeaseError> {
    let Some(version) = &suspect.resource_version else {
        let mut lost = new_lease(&suspect.instance, LEASE_OF_GATEWAY, LOST_HOLDER);
        // The instance was never observed to renew a Lease.
        lost.spec.get_or_insert_default().renew_time = None;
        return create(api, &lost).await.map(|_| true);
    };
    // Reads from the API server: the watch may lag.
    let LenientLease(mut lease) = with_timeout(api.get(&suspect.instance)).await?;
    if is_lost(&lease) {
        return Ok(false);
    }
    lease.metadata.resource_version = Some(version.clone());
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(LOST_HOLDER.to_owned());
    // A lost Lease is deleted some time after the later of these times. It therefore needs one.
    if spec.renew_time.is_none() {
        spec.acquire_time.get_or_insert_with(|| MicroTime(monotonic_now()));
    }
    failpoint("declare-lost").await.map_err(injected)?;
    with_timeout(api.replace(&suspect.instance, &PostParams::default(), &LenientLease(lease))).await?;
    failpoint("declared-lost").await.map_err(injected)?;
    Ok(true)
}

/// Records in the Lease of an instance that the instance is alive, after a heartbeat in Redis. The write changes the Lease's
/// version. Controllers that did not see the heartbeat thus cannot declare the instance lost.
///
/// # Errors
/// [`LeaseError::Lost`] if the instance is declared lost already, and code 409 if the Lease has changed. Otherwise the
/// API server failed or did not answer in time.
pub async fn confirm_alive(api: &Api<LenientLease>, suspect: &LeaseVersion) -> Result<(), LeaseError> {
    let LenientLease(mut lease) = with_timeout(api.get(&suspect.instance)).await?;
    if is_lost(&lease) {
        return Err(LeaseError::Lost);
    }
    lease.metadata.resource_version.clone_from(&suspect.resource_version);
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(VOUCHED_ANNOTATION.to_owned(), Timestamp::now().to_string());
    with_timeout(api.replace(&suspect.instance, &PostParams::default(), &LenientLease(lease))).await.map(drop)
}

/// Deletes the Lease of a lost instance, if it has not changed since it was observed.
///
/// # Errors
/// The API server refused it or did not answer in time.
pub async fn delete_lost(api: &Api<LenientLease>, lost: &LeaseVersion) -> Result<(), LeaseError> {
    let unchanged = Preconditions { resource_version: lost.resource_version.clone(), uid: None };
    let params = DeleteParams { preconditions: Some(unchanged), ..DeleteParams::default() };
    with_timeout(api.delete(&lost.instance, &params)).await.map(drop)
}

#[cfg(test)]
mod tests;
