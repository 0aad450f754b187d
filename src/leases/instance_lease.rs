//! The Lease that an instance holds. Each write is a compare-and-swap. When the instance renews and a controller declares it
//! lost at the same time, only one of the two writes succeeds.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, DeleteParams, PostParams};
use tokio::time::timeout;

use super::object::{LeaseError, create, is_lost, new_lease, with_timeout};
use crate::clock;
use crate::cluster::{LenientLease, code, injected};
use crate::failpoints::failpoint;
use crate::lifecycle::{MAYBE_LOST_AFTER, RENEW_TIMEOUT};

/// A Lease that this process holds and renews.
pub struct InstanceLease {
    api: Api<LenientLease>,
    lease: Lease,
    /// When the last successful renewal began, by [`clock::now`].
    renewed: Instant,
}

impl InstanceLease {
    /// Creates the Lease `name` with the label of `program` and these annotations. If the Lease exists, returns the existing
    /// one: an earlier attempt of this process created it, and the answer was lost.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] if the existing Lease is declared lost. Otherwise the API server refused the request or did not
    /// answer in time.
    pub async fn acquire(
        api: Api<LenientLease>,
        name: &str,
        program: &str,
        annotations: BTreeMap<String, String>,
    ) -> Result<Self, LeaseError> {
        let mut lease = new_lease(name, program, name);
        lease.metadata.annotations = Some(annotations);
        let renewed = clock::now();
        let lease = match create(&api, &lease).await {
            Err(LeaseError::Kube(error)) if code(&error) == Some(409) => with_timeout(api.get(name)).await?.0,
            created => created?,
        };
        if is_lost(&lease) { Err(LeaseError::Lost) } else { Ok(Self { api, lease, renewed }) }
    }

    /// Renews the Lease, by compare-and-swap against the version that this process wrote last.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] is final. After other errors, the caller may try again.
    pub async fn renew(&mut self) -> Result<(), LeaseError> {
        let started = clock::now();
        let mut next = LenientLease(self.lease.clone());
        next.0.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        let name = next.0.metadata.name.clone().unwrap_or_default();
        let writing = async {
            failpoint("renew-lease").await.map_err(injected)?;
            let lease = self.api.replace(&name, &PostParams::default(), &next).await?;
            failpoint("lease-renewed").await.map_err(injected)?;
            Ok(lease)
        };
        match timeout(RENEW_TIMEOUT, writing).await.map_err(|_| LeaseError::Timeout)? {
            Ok(lease) => {
                self.lease = lease.0;
                self.renewed = started;
                Ok(())
            }
            Err(error) => match code(&error) {
                Some(409) => self.after_conflict(&name).await,
                Some(404) => self.recreate(next.0).await,
                _ => Err(error.into()),
            },
        }
    }

    /// Handles a conflict: another client wrote or deleted the Lease, or an earlier renewal succeeded and its answer
    /// was lost.
    async fn after_conflict(&mut self, name: &str) -> Result<(), LeaseError> {
        match with_timeout(self.api.get_opt(name)).await? {
            Some(LenientLease(current)) if is_lost(&current) => Err(LeaseError::Lost),
            Some(LenientLease(current)) => {
                self.lease = current;
                Box::pin(self.renew()).await
            }
            // The API server also answers 409 if the Lease does not exist.
            None => self.recreate(self.lease.clone()).await,
        }
    }

    /// Creates the Lease again after its deletion. After [`MAYBE_LOST_AFTER`] without a renewal, a controller may have
    /// declared the instance lost and deleted the Lease afterwards; then the instance counts as lost.
    async fn recreate(&mut self, mut lease: Lease) -> Result<(), LeaseError> {
        let started = clock::now();
        if started.duration_since(self.renewed) >= MAYBE_LOST_AFTER {
            return Err(LeaseError::Lost);
        }
        lease.metadata = ObjectMeta {
            name: lease.metadata.name.take(),
            labels: lease.metadata.labels.take(),
            annotations: lease.metadata.annotations.take(),
            ..ObjectMeta::default()
        };
        match create(&self.api, &lease).await {
            Err(LeaseError::Kube(error)) if code(&error) == Some(409) => {
                Box::pin(self.after_conflict(lease.metadata.name.as_deref().unwrap_or_default())).await
            }
            Err(error) => Err(error),
            Ok(lease) => {
                self.lease = lease;
                self.renewed = started;
                Ok(())
            }
        }
    }

    /// Deletes the Lease. The instance must have ended all its sessions before.
    pub async fn release(self) {
        let name = self.lease.metadata.name.unwrap_or_default();
        // If this fails, a controller declares the instance lost, which has no sessions any more.
        let _ = timeout(RENEW_TIMEOUT, self.api.delete(&name, &DeleteParams::default())).await;
    }
}

#[cfg(test)]
mod tests;
