//! The header in which a console names the user on whose behalf it asks. The audience of the console's token has its digest.

use axum::http::{HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::authentication::v1::UserInfo;

/// The header with the user: a Kubernetes user, as JSON in base64.
pub const USER_HEADER: HeaderName = HeaderName::from_static("bastion-person");
/// The prefix of names and groups that Kubernetes reserves.
const RESERVED_PREFIX: &str = "system:";
/// The prefix of the names of ServiceAccounts, which a namespace, `:` and a name follow.
const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
/// The group of all authenticated users.
const AUTHENTICATED: &str = "system:authenticated";
/// The group of all ServiceAccounts. With `:` and a namespace, it is the group of those in the namespace.
const ACCOUNTS: &str = "system:serviceaccounts";

/// The user on whose behalf a console asks. The user has a name.
#[derive(Clone, Debug, PartialEq)]
pub struct ImpersonatedUser(UserInfo);

/// Why a header names no user on whose behalf a console may ask.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImpersonationError {
    /// The header is malformed, or the user has no name.
    #[error("the console does not name the user on whose behalf it asks")]
    Malformed,
    /// The name or a group is one that Kubernetes reserves, such as `system:masters`. It may have rights that RBAC does not show.
    #[error("a console may not ask on behalf of {0:?}, which is one of Kubernetes' own names")]
    Reserved(String),
}

impl ImpersonatedUser {
    /// Returns the user in the header.
    ///
    /// # Errors
    /// When the header is malformed, or the user has a name or group of Kubernetes' own.
    pub fn from_header(header: &HeaderValue) -> Result<Self, ImpersonationError> {
        let text = STANDARD.decode(header).map_err(|_| ImpersonationError::Malformed)?;
        let user: UserInfo = serde_json::from_slice(&text).map_err(|_| ImpersonationError::Malformed)?;
        let name = user.username.as_deref().filter(|name| !name.is_empty()).ok_or(ImpersonationError::Malformed)?;
        let is_reserved_name = name.starts_with(RESERVED_PREFIX) && !name.starts_with(ACCOUNT_PREFIX);
        let reserved_group =
            user.groups.iter().flatten().map(String::as_str).find(|group| is_reserved_group(group, name));
        match is_reserved_name.then_some(name).or(reserved_group) {
            Some(reserved) => Err(ImpersonationError::Reserved(reserved.to_owned())),
            None => Ok(Self(user)),
        }
    }

    /// Returns the header with a user, without the groups that [`Self::from_header`] refuses: a console does not vouch for them. So
    /// a person in `system:masters` has the rights that RBAC grants to the name and the other groups.
    pub fn header(user: &UserInfo) -> HeaderValue {
        let name = user.username.as_deref().unwrap_or_default();
        let is_vouched = |group: &&String| !is_reserved_group(group, name);
        let groups = user.groups.as_ref().map(|groups| groups.iter().filter(is_vouched).cloned().collect());
        let vouched = UserInfo { groups, ..user.clone() };
        // The serialization of strings cannot fail, and base64 is a valid header. An empty header is refused.
        let text = STANDARD.encode(serde_json::to_vec(&vouched).unwrap_or_default());
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Returns the Kubernetes user name, never empty.
    pub fn name(&self) -> &str {
        self.0.username.as_deref().unwrap_or_default()
    }

    /// Returns the user, in the form that a SubjectAccessReview takes.
    pub fn info(&self) -> UserInfo {
        self.0.clone()
    }
}

/// Returns whether the name of the group is reserved for Kubernetes (`system:`), and Kubernetes does not itself add this user to
/// it. Such a group may have rights that RBAC does not show.
fn is_reserved_group(group: &str, name: &str) -> bool {
    group.starts_with(RESERVED_PREFIX) && !is_given_by_kubernetes(group, name)
}

/// Returns whether Kubernetes itself puts the user of this name into the group.
fn is_given_by_kubernetes(group: &str, name: &str) -> bool {
    let namespace = name.strip_prefix(ACCOUNT_PREFIX).and_then(|account| account.split_once(':'));
    let of_accounts = group.strip_prefix(ACCOUNTS);
    group == AUTHENTICATED
        || namespace.is_some_and(|(namespace, _)| {
            of_accounts.is_some_and(|rest| rest.is_empty() || rest.strip_prefix(':') == Some(namespace))
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        UserInfo { username: Some(name.to_owned()), groups: Some(groups), ..UserInfo::default() }
    }

    #[rstest]
    #[case("oidc:j\u{fc}rgen", &["a, b", "system:authenticated"])]
    #[case("system:serviceaccount:n:a", &["system:serviceaccounts", "system:serviceaccounts:n", "system:authenticated"])]
    fn a_user_round_trips_through_the_header(#[case] name: &str, #[case] groups: &[&str]) {
        let user = user(name, groups);
        let read = ImpersonatedUser::from_header(&ImpersonatedUser::header(&user));
        assert_eq!(read.map(|user| user.info()), Ok(user));
    }

    /// The header of a console that is taken over: with all groups.
    fn forged_header(user: &UserInfo) -> HeaderValue {
        STANDARD.encode(serde_json::to_vec(user).unwrap()).parse().unwrap()
    }

    #[rstest]
    #[case("kubernetes-admin", &["kubeadm:cluster-admins", "system:authenticated"])]
    #[case("carol", &["system:masters", "kubeadm:cluster-admins", "system:authenticated:oauth", "system:authenticated"])]
    fn a_console_leaves_out_the_groups_of_kubernetes(#[case] name: &str, #[case] groups: &[&str]) {
        let read = ImpersonatedUser::from_header(&ImpersonatedUser::header(&user(name, groups)));
        let vouched = user(name, &["kubeadm:cluster-admins", "system:authenticated"]);
        assert_eq!(read.map(|user| user.info()), Ok(vouched));
    }

    #[rstest]
    #[case("mallory", &["system:masters"], "system:masters")]
    #[case("mallory", &["people", "system:nodes"], "system:nodes")]
    #[case("mallory", &["system:serviceaccounts"], "system:serviceaccounts")]
    #[case("system:serviceaccount:n:a", &["system:serviceaccounts:m"], "system:serviceaccounts:m")]
    #[case("system:serviceaccount:n:a", &["system:serviceaccounts-n"], "system:serviceaccounts-n")]
    #[case("system:serviceaccount:n:a", &["system:masters"], "system:masters")]
    #[case("system:admin", &[], "system:admin")]
    #[case("system:kube-controller-manager", &[], "system:kube-controller-manager")]
    fn reserved_names_and_groups_are_refused(#[case] name: &str, #[case] groups: &[&str], #[case] reserved: &str) {
        let read = ImpersonatedUser::from_header(&forged_header(&user(name, groups)));
        assert_eq!(read, Err(ImpersonationError::Reserved(reserved.to_owned())));
    }

    #[test]
    fn a_header_without_a_name_is_malformed() {
        let nobody = ImpersonatedUser::header(&UserInfo::default());
        for header in
            [nobody, HeaderValue::from_static(""), HeaderValue::from_static("e30="), HeaderValue::from_static("?")]
        {
            assert_eq!(ImpersonatedUser::from_header(&header), Err(ImpersonationError::Malformed));
        }
    }
}
