//! The Lease of a gateway instance. Each write is a compare-and-swap, so that a controller that puts `lost` in the
//! holder's place and a gateway that renews can never both succeed.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use rand::distr::{Distribution, Uniform};
use tokio::time::timeout;

use crate::api::{LEASE_LABEL, LEASE_OF_GATEWAY, LOST_HOLDER, POD_UID_ANNOTATION, VOUCHED_ANNOTATION};
use crate::cluster::{LenientLease, code};
use crate::lifecycle::{LOST_AFTER, LeaseSeen, MAYBE_LOST_AFTER, RENEW_TIMEOUT, Suspect};

/// A Lease that this process renews.
pub struct InstanceLease {
    api: Api<LenientLease>,
    lease: Lease,
    /// When the last renewal that succeeded began.
    renewed: Instant,
}

/// Why a Lease could not be renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// A controller has declared the instance lost.
    #[error("a controller has declared this instance lost")]
    Lost,
    /// The API server did not answer in time.
    #[error("the API server did not answer within {}s", RENEW_TIMEOUT.as_secs())]
    Timeout,
    /// The API server answered with an error, or the connection to it failed.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

/// The name of a new life of the process in `pod`: the Pod's name and ten random letters and digits, a length that
/// the admission policy relies on.
pub fn new_instance(pod: &str) -> String {
    format!("{pod}-{}", random_name(10))
}

/// `length` random lower-case letters and digits.
pub fn random_name(length: usize) -> String {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut rng = rand::rng();
    Uniform::new(0, LETTERS.len())
        .map(|letters| letters.sample_iter(&mut rng).take(length).map(|at| char::from(LETTERS[at])).collect())
        .unwrap_or_default()
}

impl InstanceLease {
    /// Creates the Lease `name`, labelled with the program that it stands for and with these annotations, or finds the one
    /// that an earlier attempt of this process created without learning it.
    ///
    /// # Errors
    /// When the API server refuses it or does not answer.
    pub async fn acquire(
        api: Api<LenientLease>,
        name: &str,
        program: &str,
        annotations: BTreeMap<String, String>,
    ) -> Result<Self, LeaseError> {
        let mut lease = new_lease(name, program, name);
        lease.metadata.annotations = Some(annotations);
        let renewed = Instant::now();
        let lease = match create(&api, &lease).await {
            Err(LeaseError::Kube(error)) if code(&error) == Some(409) => in_time(api.get(name)).await?.0,
            created => created?,
        };
        if is_lost(&lease) { Err(LeaseError::Lost) } else { Ok(Self { api, lease, renewed }) }
    }

    /// Renews the Lease, by compare-and-swap against what this process last wrote.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] is final; after the others another attempt makes sense.
    pub async fn renew(&mut self) -> Result<(), LeaseError> {
        let begun = Instant::now();
        let mut next = LenientLease(self.lease.clone());
        next.0.spec.get_or_insert_default().renew_time = Some(MicroTime(Timestamp::now()));
        let name = next.0.metadata.name.clone().unwrap_or_default();
        let written = timeout(RENEW_TIMEOUT, self.api.replace(&name, &PostParams::default(), &next)).await;
        match written.map_err(|_| LeaseError::Timeout)? {
            Ok(lease) => {
                self.lease = lease.0;
                self.renewed = begun;
                Ok(())
            }
            Err(error) => match code(&error) {
                Some(409) => self.after_conflict(&name).await,
                Some(404) => self.recreate(next.0).await,
                _ => Err(error.into()),
            },
        }
    }

    /// Somebody else wrote the Lease or deleted it, or an earlier attempt of ours got through whose answer was lost.
    async fn after_conflict(&mut self, name: &str) -> Result<(), LeaseError> {
        match in_time(self.api.get_opt(name)).await? {
            Some(LenientLease(current)) if is_lost(&current) => Err(LeaseError::Lost),
            Some(LenientLease(current)) => {
                self.lease = current;
                Box::pin(self.renew()).await
            }
            // The API server calls it a conflict too when the Lease is gone.
            None => self.recreate(self.lease.clone()).await,
        }
    }

    /// Somebody deleted the Lease. A controller that calls the instance lost creates it with another holder. After
    /// a silence that may have happened, and the Lease of the lost instance have been cleared away since.
    async fn recreate(&mut self, mut lease: Lease) -> Result<(), LeaseError> {
        let begun = Instant::now();
        if begun.duration_since(self.renewed) >= MAYBE_LOST_AFTER {
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
                self.renewed = begun;
                Ok(())
            }
        }
    }

    /// Deletes the Lease. To be called when nothing of the instance is left that could need an observer.
    pub async fn release(self) {
        let name = self.lease.metadata.name.unwrap_or_default();
        // Left behind, it would only be declared lost, without sessions.
        let _ = timeout(RENEW_TIMEOUT, self.api.delete(&name, &DeleteParams::default())).await;
    }
}

/// A controller's side: puts `lost` in the place of the suspect's holder, if nothing has changed since it was seen.
/// Returns whether it was this call that did it.
///
/// # Errors
/// Code 409 when the instance has shown itself, or another controller was first; others when the API server did
/// not answer.
pub async fn declare_lost(api: &Api<LenientLease>, suspect: &Suspect) -> Result<bool, LeaseError> {
    let Some(version) = &suspect.resource_version else {
        let mut lost = new_lease(&suspect.instance, LEASE_OF_GATEWAY, LOST_HOLDER);
        // It was never seen to be renewed.
        lost.spec.get_or_insert_default().renew_time = None;
        return create(api, &lost).await.map(|_| true);
    };
    // A consistent read: the API server's answer, not its watch's.
    let LenientLease(mut lease) = in_time(api.get(&suspect.instance)).await?;
    if is_lost(&lease) {
        return Ok(false);
    }
    lease.metadata.resource_version = Some(version.clone());
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(LOST_HOLDER.to_owned());
    // A lost instance's Lease is kept for a while, counted from these times.
    if spec.renew_time.is_none() {
        spec.acquire_time.get_or_insert_with(|| MicroTime(counted_now()));
    }
    in_time(api.replace(&suspect.instance, &PostParams::default(), &LenientLease(lease))).await?;
    Ok(true)
}

/// A controller's side: bears witness, in the Lease, of a sign of life that came another way. The version changes, which
/// is what controllers go by that did not see the sign.
///
/// # Errors
/// Code 409 when the Lease has changed since it was seen; others when the API server did not answer.
pub async fn vouch(api: &Api<LenientLease>, instance: &Suspect) -> Result<(), LeaseError> {
    let LenientLease(mut lease) = in_time(api.get(&instance.instance)).await?;
    if is_lost(&lease) {
        return Err(LeaseError::Lost);
    }
    lease.metadata.resource_version.clone_from(&instance.resource_version);
    let annotations = lease.metadata.annotations.get_or_insert_default();
    annotations.insert(VOUCHED_ANNOTATION.to_owned(), Timestamp::now().to_string());
    in_time(api.replace(&instance.instance, &PostParams::default(), &LenientLease(lease))).await.map(drop)
}

/// Deletes a lost instance's Lease, if it is still the one that was seen.
///
/// # Errors
/// When the API server refuses it or does not answer.
pub async fn forget(api: &Api<LenientLease>, lease: &Suspect) -> Result<(), LeaseError> {
    let same = Preconditions { resource_version: lease.resource_version.clone(), uid: None };
    let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
    in_time(api.delete(&lease.instance, &params)).await.map(drop)
}

/// What an observer needs to know of a Lease.
pub fn seen(lease: &Lease) -> LeaseSeen {
    LeaseSeen {
        resource_version: lease.metadata.resource_version.clone().unwrap_or_default(),
        renewed: lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0),
        acquired: lease.spec.as_ref().and_then(|spec| spec.acquire_time.as_ref()).map(|time| time.0),
        pod_uid: lease.metadata.annotations.as_ref().and_then(|all| all.get(POD_UID_ANNOTATION)).cloned(),
        lost: is_lost(lease),
    }
}

fn is_lost(lease: &Lease) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(LOST_HOLDER)
}

fn new_lease(name: &str, program: &str, holder: &str) -> Lease {
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
            acquire_time: Some(MicroTime(counted_now())),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

/// The time of day, counted from the first call on. The clock that it began with is that by which the Pod's container
/// was started: one that is set back later would make what begins now look older than its container.
fn counted_now() -> Timestamp {
    static FIRST: LazyLock<(Timestamp, Instant)> = LazyLock::new(|| (Timestamp::now(), Instant::now()));
    let (time, moment) = *FIRST;
    time.checked_add(moment.elapsed()).unwrap_or(time)
}

async fn create(api: &Api<LenientLease>, lease: &Lease) -> Result<Lease, LeaseError> {
    Ok(in_time(api.create(&PostParams::default(), &LenientLease(lease.clone()))).await?.0)
}

/// Awaits one request, for as long as a renewal may take.
async fn in_time<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, LeaseError> {
    Ok(timeout(RENEW_TIMEOUT, request).await.map_err(|_| LeaseError::Timeout)??)
}

#[cfg(test)]
mod tests;
