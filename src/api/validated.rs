//! The kinds that have the condition `Valid`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;

/// A kind with the condition `Valid`, which says whether a gateway can read the object.
pub trait Validated: Resource<DynamicType = ()> + Clone {
    /// Returns the conditions of the object.
    fn conditions(&self) -> &[Condition];
}
