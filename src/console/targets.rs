//! The targets, and which users may connect to them with which logins.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::ResourceExt;
use kube::api::Api;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Console;
use super::access::Authorizer;
use super::api_error::{ApiError, ErrorResponses};
use super::client_request::ClientRequest;
use super::query::{is_name, page, parse_query, read_path};
use super::view::{ConnectAccess, Target, TargetPage};
use crate::api::{BastionTarget, BastionUser, CONNECT_VERB, Login};
use crate::cluster::{Right, rbac_user};
use crate::gateway::WebTerminalBlocker;
use crate::http::{Caller, with_api_timeout};

/// How many access reviews one request sends at once.
const REVIEW_CONCURRENCY: usize = 16;
const TARGETS: &str = "bastiontargets";

/// Selects a page of targets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TargetQuery {
    /// The maximum number of targets, 1 to 1000. The default is 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next` of the previous page.
    after: Option<String>,
}

/// A target and its users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetUsers {
    /// The target.
    pub target: Target,
    /// The BastionUsers who may connect, by name; null if the caller may not list BastionUsers.
    pub users: Option<Vec<TargetUser>>,
}

/// A user who may connect to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetUser {
    /// The name of the BastionUser.
    pub name: String,
    /// The login names that the user may connect with.
    pub logins: Vec<String>,
}

/// Returns the targets in the cluster. Callers who may not list them get the targets that they may connect to, without
/// addresses.
#[utoipa::path(get, path = "/api/v1/targets", params(TargetQuery), responses((status = 200, body = TargetPage), ErrorResponses))]
pub async fn targets(
    State(console): State<Console>,
    request: ClientRequest,
    query: Result<Query<TargetQuery>, QueryRejection>,
) -> Result<Json<TargetPage>, ApiError> {
    let caller = console.caller(&request).await?;
    let TargetQuery { limit, after } = parse_query(query)?;
    let params = page(limit, after.as_deref())?;
    let may_list = console.auth.authorizer.may(caller.user(), Right::to("list", TARGETS)).await?;
    let (list, next) = console.list_page::<BastionTarget>(&console.cluster.api(), &params).await?;
    let rights = console.connect_rights(&caller).await?;
    let with_logins = stream::iter(list).map(async |target| match &rights {
        Some(rights) => rights.access(&target).await.map(|access| (target, Some(access))),
        None => Ok((target, None)),
    });
    let targets: Vec<(Arc<BastionTarget>, Option<ConnectAccess>)> =
        with_logins.buffered(REVIEW_CONCURRENCY).try_collect().await?;
    let targets = targets.into_iter().map(|(target, access)| Target::of(Arc::unwrap_or_clone(target), access));
    let targets = if may_list { targets.collect() } else { targets.filter_map(Target::without_address).collect() };
    Ok(Json(TargetPage { targets, next }))
}

/// Returns one target and the users who may connect to it. Requires the right to get it.
#[utoipa::path(get, path = "/api/v1/targets/{name}", params(("name" = String, Path, description = "The name of the BastionTarget")),
    responses((status = 200, body = TargetUsers), ErrorResponses))]
pub async fn target(
    State(console): State<Console>,
    request: ClientRequest,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<TargetUsers>, ApiError> {
    let caller = console.caller(&request).await?;
    let name = read_path(name)?;
    console.auth.authorizer.require(&caller, Right { name: Some(&name), ..Right::to("get", TARGETS) }).await?;
    let api: Api<BastionTarget> = console.cluster.api();
    let found = if is_name(&name) { with_api_timeout(api.get_opt(&name)).await? } else { None };
    let target = found.ok_or_else(|| ApiError::NotFound { kind: "target", name: name.clone() })?;
    let users = if console.auth.authorizer.may(caller.user(), Right::to("list", "bastionusers")).await? {
        Some(console.users_of(&target).await?)
    } else {
        None
    };
    let access = match console.connect_rights(&caller).await? {
        Some(rights) => Some(rights.access(&target).await?),
        None => None,
    };
    Ok(Json(TargetUsers { target: Target::of(target, access), users }))
}

impl Console {
    /// Returns the rights of the caller's BastionUser; `None` without an active one.
    async fn connect_rights(&self, caller: &Caller) -> Result<Option<ConnectRights<'_>>, ApiError> {
        let found = self.auth.users.find(&caller.name).await?;
        match found.unique() {
            Some(user) if found.connect_blocker(&caller.name, Timestamp::now()).is_none() => {
                Ok(Some(ConnectRights::new(&self.auth.authorizer, user).await?))
            }
            _ => Ok(None),
        }
    }

    /// Returns the active users who may connect to a target.
    async fn users_of(&self, target: &BastionTarget) -> Result<Vec<TargetUser>, ApiError> {
        let users = self.auth.users.active_users().await?;
        let with_logins = stream::iter(users).map(async |user| {
            let logins = ConnectRights::new(&self.auth.authorizer, &user).await?.logins(target).await?;
            Ok::<_, ApiError>(TargetUser { name: user.name_any(), logins })
        });
        let users: Vec<TargetUser> = with_logins.buffered(REVIEW_CONCURRENCY).try_collect().await?;
        Ok(users.into_iter().filter(|user| !user.logins.is_empty()).collect())
    }
}

/// Checks the targets and logins of one user as gateways do. Checks broad grants first, to send fewer access reviews.
struct ConnectRights<'a> {
    authorizer: &'a Authorizer,
    bastion_user: Arc<BastionUser>,
    user: UserInfo,
    /// Whether the user may connect to all targets.
    all_targets: bool,
    /// Whether the user may connect to the targets of a group, by the group's name.
    groups: Mutex<HashMap<String, bool>>,
}

impl<'a> ConnectRights<'a> {
    async fn new(authorizer: &'a Authorizer, bastion_user: &Arc<BastionUser>) -> Result<Self, ApiError> {
        let (bastion_user, user) = (bastion_user.clone(), rbac_user(bastion_user));
        let all_targets = authorizer.may(user.clone(), Right::to(CONNECT_VERB, TARGETS)).await?;
        Ok(Self { authorizer, bastion_user, user, all_targets, groups: Mutex::default() })
    }

    /// Returns what the user may do on a target.
    async fn access(&self, target: &BastionTarget) -> Result<ConnectAccess, ApiError> {
        let web_terminal_blocker = WebTerminalBlocker::of(&self.bastion_user, target);
        Ok(ConnectAccess { logins: self.logins(target).await?, web_terminal_blocker })
    }

    /// Returns the login names that the user may connect to a target with.
    async fn logins(&self, target: &BastionTarget) -> Result<Vec<String>, ApiError> {
        let logins = target.spec.logins.iter().map(Login::as_str);
        if self.all_targets || self.may_use_all_logins(target).await? {
            return Ok(logins.map(str::to_owned).collect());
        }
        let name = target.name_any();
        let mut granted = Vec::new();
        for login in logins {
            let right = Right { subresource: Some(login), name: Some(&name), ..Right::to(CONNECT_VERB, TARGETS) };
            if self.may(right).await? {
                granted.push(login.to_owned());
            }
        }
        Ok(granted)
    }

    async fn may_use_all_logins(&self, target: &BastionTarget) -> Result<bool, ApiError> {
        for group in &target.spec.groups {
            if self.may_use_group(group.as_str()).await? {
                return Ok(true);
            }
        }
        let name = target.name_any();
        self.may(Right { name: Some(&name), ..Right::to(CONNECT_VERB, TARGETS) }).await
    }

    async fn may_use_group(&self, group: &str) -> Result<bool, ApiError> {
        let known = self.groups.lock().get(group).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let may = self.may(Right { name: Some(group), ..Right::to(CONNECT_VERB, "bastiontargetgroups") }).await?;
        self.groups.lock().insert(group.to_owned(), may);
        Ok(may)
    }

    async fn may(&self, right: Right<'_>) -> Result<bool, ApiError> {
        self.authorizer.may(self.user.clone(), right).await
    }
}
