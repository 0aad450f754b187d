//! Reads sessions and lists for callers who may see them.

use std::fmt::Debug;
use std::sync::Arc;

use kube::Resource;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use super::Console;
use super::failure::Failure;
use super::query::is_name;
use crate::api::BastionSession;
use crate::cluster::{Guarded, code};
use crate::http::{Caller, asked};

impl Console {
    /// The session of this name, for who may see it.
    ///
    /// # Errors
    /// When there is none, the caller may not see it, or the API server does not answer.
    pub async fn seen_by(&self, caller: &Caller, name: String) -> Result<BastionSession, Failure> {
        let api: Api<BastionSession> = Api::namespaced(self.client.clone(), &self.namespace);
        // What can be no name is nobody's.
        let found = if is_name(&name) { asked(api.get_opt(&name)).await? } else { None };
        let subject = found.as_ref().map(|session| session.spec.user.subject.as_str());
        self.authorizer.let_see(caller, Some(&name), subject).await?;
        found.ok_or_else(|| Failure::no_session(&name))
    }

    /// Returns the readable objects of one page of a list, and the token of the next page.
    pub async fn listed<K>(
        &self,
        api: &Api<Guarded<K>>,
        params: &ListParams,
    ) -> Result<(Vec<Arc<K>>, Option<String>), Failure>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let gone = "after: this place is forgotten by now; begin with the first page again";
        let wrong = "after: send `next` of the page before, as it is";
        let listed = asked(async {
            match api.list(params).await {
                Ok(listed) => Ok(Ok(listed)),
                Err(error) if code(&error) == Some(410) => Ok(Err(Failure::Malformed(gone.to_owned()))),
                Err(error) if code(&error) == Some(400) => Ok(Err(Failure::Malformed(wrong.to_owned()))),
                Err(error) => Err(error),
            }
        })
        .await??;
        let next = listed.metadata.continue_.clone().filter(|next| !next.is_empty());
        Ok((self.reports.readable(listed), next))
    }
}
