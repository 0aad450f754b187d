//! The targets, who may connect to them, and as whom.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::ResourceExt;
use kube::api::Api;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Console;
use super::access::Authorizer;
use super::failure::{Failure, Refusals};
use super::query::{is_name, page, parse_query, read_path};
use super::view::{Target, TargetPage};
use crate::api::{BastionTarget, BastionUser, CONNECT_VERB, Login};
use crate::cluster::{Right, asks_as};
use crate::http::{Caller, asked};

/// How many questions to the API server one request has open at once.
const AT_ONCE: usize = 16;
const TARGETS: &str = "bastiontargets";

/// Which targets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TargetQuery {
    /// How many at most; 100 where it is not given, and no more than 1000.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
}

/// A target, and who may connect to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TargetUsers {
    /// The target.
    pub target: Target,
    /// Those of the bastion's users who may connect, by name; nothing for those who may not list BastionUsers.
    pub users: Option<Vec<TargetUser>>,
}

/// Somebody who may connect to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetUser {
    /// The name of the BastionUser.
    pub name: String,
    /// As whom.
    pub logins: Vec<String>,
}

/// The targets, as the cluster has them. Who may not list them sees those that they may connect to, without their addresses.
#[utoipa::path(get, path = "/api/v1/targets", params(TargetQuery), responses((status = 200, body = TargetPage), Refusals))]
pub async fn targets(
    State(console): State<Console>,
    headers: HeaderMap,
    query: Result<Query<TargetQuery>, QueryRejection>,
) -> Result<Json<TargetPage>, Failure> {
    let caller = console.caller(&headers).await?;
    let TargetQuery { limit, after } = parse_query(query)?;
    let params = page(limit, after.as_deref())?;
    let all = console.authorizer.may(caller.user(), Right::to("list", TARGETS)).await?;
    let api = Api::namespaced(console.client.clone(), &console.namespace);
    let (list, next) = console.listed::<BastionTarget>(&api, &params).await?;
    let asker = console.asker_of(&caller).await?;
    let with_logins = stream::iter(list).map(async |target| match &asker {
        Some(asker) => asker.logins(&target).await.map(|logins| (target, Some(logins))),
        None => Ok((target, None)),
    });
    let targets: Vec<(Arc<BastionTarget>, Option<Vec<String>>)> = with_logins.buffered(AT_ONCE).try_collect().await?;
    let shown = targets.into_iter().map(|(target, logins)| Target::of(Arc::unwrap_or_clone(target), logins));
    let shown = if all { shown.collect() } else { shown.filter_map(Target::without_address).collect() };
    Ok(Json(TargetPage { targets: shown, next }))
}

/// One target, and who may connect to it: for those who may get it.
#[utoipa::path(get, path = "/api/v1/targets/{name}", params(("name" = String, Path, description = "The name of the BastionTarget")),
    responses((status = 200, body = TargetUsers), Refusals))]
pub async fn target(
    State(console): State<Console>,
    headers: HeaderMap,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<TargetUsers>, Failure> {
    let caller = console.caller(&headers).await?;
    let name = read_path(name)?;
    console.authorizer.require(&caller, Right { name: Some(&name), ..Right::to("get", TARGETS) }).await?;
    let found = if is_name(&name) { asked(console.target_objects().get_opt(&name)).await? } else { None };
    let target = found.ok_or_else(|| Failure::Missing { what: "target", name: name.clone() })?;
    let users = if console.authorizer.may(caller.user(), Right::to("list", "bastionusers")).await? {
        Some(console.users_of(&target).await?)
    } else {
        None
    };
    let logins = match console.asker_of(&caller).await? {
        Some(asker) => Some(asker.logins(&target).await?),
        None => None,
    };
    Ok(Json(TargetUsers { target: Target::of(target, logins), users }))
}

impl Console {
    fn target_objects(&self) -> Api<BastionTarget> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Asks in the name of the user who stands for a caller, if there is one who can have sessions.
    async fn asker_of(&self, caller: &Caller) -> Result<Option<Asker<'_>>, Failure> {
        let stands = self.user_index.standing_for(&caller.name).await?;
        match stands.one() {
            Some(user) if stands.lack(&caller.name, Timestamp::now()).is_none() => {
                Ok(Some(Asker::new(&self.authorizer, user).await?))
            }
            _ => Ok(None),
        }
    }

    async fn users_of(&self, target: &BastionTarget) -> Result<Vec<TargetUser>, Failure> {
        let users = self.user_index.who_may_sign_in().await?;
        let with_logins = stream::iter(users).map(async |user| {
            let logins = Asker::new(&self.authorizer, &user).await?.logins(target).await?;
            Ok::<_, Failure>(TargetUser { name: user.name_any(), logins })
        });
        let users: Vec<TargetUser> = with_logins.buffered(AT_ONCE).try_collect().await?;
        Ok(users.into_iter().filter(|user| !user.logins.is_empty()).collect())
    }
}

/// Asks in the name of one user, as the gateways do, in as few questions as the grants allow.
struct Asker<'a> {
    authorizer: &'a Authorizer,
    user: UserInfo,
    everywhere: bool,
    groups: Mutex<HashMap<String, bool>>,
}

impl<'a> Asker<'a> {
    async fn new(authorizer: &'a Authorizer, user: &BastionUser) -> Result<Self, Failure> {
        let user = asks_as(user);
        let everywhere = authorizer.may(user.clone(), Right::to(CONNECT_VERB, TARGETS)).await?;
        Ok(Self { authorizer, user, everywhere, groups: Mutex::default() })
    }

    /// As whom the user may connect to a target.
    async fn logins(&self, target: &BastionTarget) -> Result<Vec<String>, Failure> {
        let logins = target.spec.logins.iter().map(Login::as_str);
        if self.everywhere || self.may_use_all_of(target).await? {
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

    async fn may_use_all_of(&self, target: &BastionTarget) -> Result<bool, Failure> {
        for group in &target.spec.groups {
            if self.may_use_group(group.as_str()).await? {
                return Ok(true);
            }
        }
        let name = target.name_any();
        self.may(Right { name: Some(&name), ..Right::to(CONNECT_VERB, TARGETS) }).await
    }

    async fn may_use_group(&self, group: &str) -> Result<bool, Failure> {
        let known = self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(group).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let may = self.may(Right { name: Some(group), ..Right::to(CONNECT_VERB, "bastiontargetgroups") }).await?;
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(group.to_owned(), may);
        Ok(may)
    }

    async fn may(&self, right: Right<'_>) -> Result<bool, Failure> {
        self.authorizer.may(self.user.clone(), right).await
    }
}
