//! Kinds with the condition `Valid`: users and targets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;

use super::{BastionTarget, BastionUser};

/// A kind with the condition `Valid`.
pub trait Validated: Resource<DynamicType = ()> + Clone {
    /// Returns the conditions of the object.
    fn conditions(&self) -> &[Condition];
}

impl Validated for BastionUser {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}

impl Validated for BastionTarget {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}
