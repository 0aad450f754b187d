//! RBAC rights, and the access reviews that check them for a user.

use k8s_openapi::api::authentication::v1::UserInfo;
use k8s_openapi::api::authorization::v1::{LocalSubjectAccessReview, ResourceAttributes, SubjectAccessReviewSpec};
use kube::api::ObjectMeta;

use crate::api::{BastionUser, GROUP};

/// Returns the Kubernetes user and groups whose RBAC rights `user` has.
pub fn rbac_user(user: &BastionUser) -> UserInfo {
    let groups = user.spec.groups.iter().map(|group| group.0.clone()).collect();
    UserInfo { username: Some(user.subject()), groups: Some(groups), ..UserInfo::default() }
}

/// An RBAC right: a verb on a resource, on all objects or on one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right<'a> {
    /// The API group, mostly `bastion.dev`.
    pub group: &'static str,
    /// The verb, such as `list`.
    pub verb: &'static str,
    /// The resource in the plural, such as `bastionsessions`.
    pub resource: &'a str,
    /// The subresource, such as `observe`.
    pub subresource: Option<&'a str>,
    /// The name of the object; `None` means all objects.
    pub name: Option<&'a str>,
}

impl Right<'static> {
    /// The right to observe the live sessions of other users and to play recordings.
    pub const OBSERVE: Self = Self { subresource: Some("observe"), ..Self::to("get", "bastionsessions") };
}

impl<'a> Right<'a> {
    /// Returns the right to a verb on all objects of a resource of the bastion.
    pub const fn to(verb: &'static str, resource: &'a str) -> Self {
        Self { group: GROUP, verb, resource, subresource: None, name: None }
    }

    /// Returns the resource as in an RBAC rule: `resource` or `resource/subresource`.
    pub fn resource(&self) -> String {
        let subresource = self.subresource.map(|name| format!("/{name}")).unwrap_or_default();
        format!("{}{subresource}", self.resource)
    }

    /// Returns the access review that asks whether `user` has the right in `namespace`.
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
