//! Reads sessions and lists for callers who may see them.

use std::fmt::Debug;
use std::sync::Arc;

use kube::Resource;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::Console;
use super::api_error::ApiError;
use super::query::is_name;
use crate::api::BastionSession;
use crate::cluster::{Guarded, code};
use crate::http::{Caller, with_api_timeout};

impl Console {
    /// Returns the session of this name, if there is one.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn find_session(&self, name: &str) -> Result<Option<BastionSession>, ApiError> {
        if !is_name(name) {
            return Ok(None);
        }
        let api: Api<BastionSession> = self.cluster.api();
        Ok(with_api_timeout(api.get_opt(name)).await?)
    }

    /// Returns the session of this name, if the caller may see it.
    ///
    /// # Errors
    /// When the session does not exist, the caller may not see it, or the API server does not answer.
    pub async fn visible_session(&self, caller: &Caller, name: String) -> Result<BastionSession, ApiError> {
        let found = self.find_session(&name).await?;
        let subject = found.as_ref().map(|session| session.spec.user.subject.as_str());
        self.auth.authorizer.require_visible(caller, Some(&name), subject).await?;
        found.ok_or_else(|| ApiError::no_session(&name))
    }

    /// Returns the readable objects of one page of a list, and the continue token of the next page.
    ///
    /// # Errors
    /// When the continue token is invalid or expired, or the API server does not answer.
    pub async fn list_page<K>(
        &self,
        api: &Api<Guarded<K>>,
        params: &ListParams,
    ) -> Result<(Vec<Arc<K>>, Option<String>), ApiError>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let expired = "after: this page has expired; begin with the first page again";
        let invalid = "after: send `next` of the previous page unchanged";
        let listed = with_api_timeout(async {
            match api.list(params).await {
                Ok(listed) => Ok(Ok(listed)),
                Err(error) if code(&error) == Some(410) => Ok(Err(ApiError::Malformed(expired.to_owned()))),
                Err(error) if code(&error) == Some(400) => Ok(Err(ApiError::Malformed(invalid.to_owned()))),
                Err(error) => Err(error),
            }
        })
        .await??;
        let next = listed.metadata.continue_.clone().filter(|next| !next.is_empty());
        Ok((self.cluster.reports.readable(listed), next))
    }
}
