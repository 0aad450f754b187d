//! Finds the targets that a user may use, with few access reviews and bounded concurrency.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::ResourceExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::model::{Entry, Progress};
use crate::api::{BastionTarget, BastionUser, Group, Login};
use crate::gateway::access::{Directory, Refusal};

/// The number of concurrent access reviews per menu.
const MAX_REVIEWS_PER_MENU: usize = 8;
/// The number of concurrent access reviews of all menus of a gateway.
pub const MAX_CONCURRENT_REVIEWS: usize = 16;
/// The longest duration of a rights check. Targets that are not checked by then are not listed.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

/// The result of a rights check.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// The targets that the user may use, sorted by name.
    pub entries: Vec<Entry>,
    /// The number of targets that could not be checked.
    pub unchecked: usize,
}

/// A rights check for one user.
pub struct RightsQuery<'a> {
    /// Lists targets and performs access reviews.
    pub directory: &'a Directory,
    /// The user whose rights are checked.
    pub user: &'a BastionUser,
    /// Limits the concurrent reviews of all menus.
    pub permits: &'a Semaphore,
    /// Counts the targets that have been checked.
    pub done: &'a AtomicUsize,
}

/// The answers that apply to more than one target.
#[derive(Default)]
struct SharedGrants {
    groups: HashMap<String, Answer>,
    logins: HashMap<String, Answer>,
}

type Answer = Result<bool, Refusal>;

impl RightsQuery<'_> {
    /// Returns the targets that the user may use.
    ///
    /// # Errors
    /// Fails when the API server does not answer the first review.
    pub async fn usable(&self) -> Result<Usable, Refusal> {
        let targets = self.directory.targets();
        if self.review("bastiontargets", None, "").await? {
            return Ok(Usable {
                entries: targets.iter().map(|target| entry(target, |_| true)).collect(),
                unchecked: 0,
            });
        }
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let shared = self.shared_grants(&targets).await;
        let checked = stream::iter(targets.iter().cloned()).map(|target| self.check(target, &shared));
        let checked: Vec<_> =
            checked.buffer_unordered(MAX_REVIEWS_PER_MENU).take_until(sleep_until(deadline)).collect().await;
        let unchecked = targets.len() - checked.iter().filter(|it| it.is_ok()).count();
        let mut entries: Vec<Entry> = checked.into_iter().filter_map(|it| it.ok().flatten()).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Usable { entries, unchecked })
    }

    /// Checks the rights to whole groups, and to logins on all targets.
    async fn shared_grants(&self, targets: &[Arc<BastionTarget>]) -> SharedGrants {
        let groups = targets.iter().flat_map(|it| it.spec.groups.iter().map(Group::as_str));
        let logins = targets.iter().flat_map(|it| it.spec.logins.iter().map(Login::as_str));
        let groups: BTreeSet<String> = groups.map(str::to_owned).collect();
        let logins: BTreeSet<String> = logins.map(str::to_owned).collect();
        let of_group = |group: String| async move {
            let answer = self.review("bastiontargetgroups", None, &group).await;
            (group, answer)
        };
        let of_login = |login: String| async move {
            let answer = self.review("bastiontargets", Some(&login), "").await;
            (login, answer)
        };
        let groups = stream::iter(groups).map(of_group).buffer_unordered(MAX_REVIEWS_PER_MENU).collect();
        let logins = stream::iter(logins).map(of_login).buffer_unordered(MAX_REVIEWS_PER_MENU).collect();
        let (groups, logins) = futures::join!(groups, logins);
        SharedGrants { groups, logins }
    }

    /// Returns an entry with the logins that the user may use on a target, or `None` without such logins.
    async fn check(&self, target: Arc<BastionTarget>, shared: &SharedGrants) -> Result<Option<Entry>, Refusal> {
        let name = target.name_any();
        let groups: Vec<&Answer> =
            target.spec.groups.iter().filter_map(|group| shared.groups.get(group.as_str())).collect();
        let whole = groups.contains(&&Ok(true)) || self.review("bastiontargets", None, &name).await?;
        let mut granted = BTreeSet::new();
        for login in target.spec.logins.iter().map(Login::as_str).filter(|_| !whole) {
            let everywhere = shared.logins.get(login).is_some_and(|answer| *answer == Ok(true));
            if everywhere || self.review("bastiontargets", Some(login), &name).await? {
                granted.insert(login);
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        if !whole && granted.is_empty() {
            // A failed review is not a denial.
            return groups.into_iter().find_map(|answer| answer.clone().err()).map_or(Ok(None), Err);
        }
        Ok(Some(entry(&target, |login| whole || granted.contains(login))))
    }

    async fn review(&self, resource: &str, subresource: Option<&str>, name: &str) -> Answer {
        let _permit = self.permits.acquire().await.map_err(|_| Refusal::RightsUnknown)?;
        self.directory.review(self.user, resource, subresource, name).await
    }

    /// Returns the progress of the check.
    pub fn progress(&self) -> Progress {
        Progress { done: self.done.load(Ordering::Relaxed), total: self.directory.targets().len() }
    }
}

fn entry(target: &BastionTarget, is_allowed: impl Fn(&str) -> bool) -> Entry {
    let spec = &target.spec;
    let logins = spec.logins.iter().map(|login| login.0.clone());
    Entry {
        name: target.name_any(),
        logins: logins.filter(|login| is_allowed(login)).collect(),
        groups: spec.groups.iter().map(|group| group.0.clone()).collect(),
        description: spec.description.as_ref().map(|it| it.0.clone()).unwrap_or_default(),
    }
}
