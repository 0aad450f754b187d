//! The status of users and targets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BastionTarget, BastionUser};

/// The status of a BastionUser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BastionUserStatus {
    /// The condition `Valid` is False while a gateway cannot read the user, who then cannot sign in. The message names the
    /// field. Once the user can be read again, it is True. A user that could always be read has no condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

/// The status of a BastionTarget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BastionTargetStatus {
    /// The condition `Valid` is False while a gateway cannot read the target, to which then nobody can connect. The message names
    /// the field. Once the target can be read again, it is True. A target that could always be read has no condition.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

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
