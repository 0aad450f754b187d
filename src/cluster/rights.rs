//! Rights, as the API server is asked for them in somebody's name.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::api::ObjectMeta;

use crate::api::{BastionUser, GROUP};

/// In whose name a user's rights are asked.
pub fn asks_as(user: &BastionUser) -> UserInfo {
    let groups = user.spec.groups.iter().map(|group| group.0.clone()).collect();
    UserInfo { username: Some(user.subject()), groups: Some(groups), ..UserInfo::default() }
}

/// What somebody must be let do: a verb on a resource, on all of them or on the one of this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right<'a> {
    /// The API group; the bastion's own as a rule.
    pub group: &'static str,
    /// Such as `list`.
    pub verb: &'static str,
    /// Such as `bastionsessions`.
    pub resource: &'a str,
    /// Such as `observe`, where it is a part of the resource.
    pub subresource: Option<&'a str>,
    /// The one of this name.
    pub name: Option<&'a str>,
}

impl Right<'static> {
    /// The right to see what others do: to follow their sessions, and to play recordings.
    pub const OBSERVE: Self = Self { subresource: Some("observe"), ..Self::to("get", "bastionsessions") };
}

impl<'a> Right<'a> {
    /// On all of a resource of the bastion's.
    pub const fn to(verb: &'static str, resource: &'a str) -> Self {
        Self { group: GROUP, verb, resource, subresource: None, name: None }
    }

    /// The resource as RBAC has it, with its part.
    pub fn resource(&self) -> String {
        let part = self.subresource.map(|part| format!("/{part}")).unwrap_or_default();
        format!("{}{part}", self.resource)
    }

    /// The question whether this user has the right in this namespace.
    pub fn review(&self, namespace: &str, user: UserInfo) -> LocalSubjectAccessReview {
        let attributes = ResourceAttributes {
            group: Some(self.group.to_owned()),
            resource: Some(self.resource.to_owned()),
            subresource: self.subresource.map(str::to_owned),
            name: self.name.map(str::to_owned),
            namespace: Some(namespace.to_owned()),
            verb: Some(self.verb.to_owned()),
            ..ResourceAttributes::default()
        };
        let UserInfo { username, uid, groups, extra } = user;
        let spec = SubjectAccessReviewSpec {
            user: username,
            uid,
            groups,
            extra,
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let metadata = ObjectMeta { namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
        LocalSubjectAccessReview { metadata, spec, status: None }
    }
}
