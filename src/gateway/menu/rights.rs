//! What a user may use: asked of the API server in as few questions as the grants allow, and a few at a time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use kube::ResourceExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};

use super::{Entry, Progress};
use crate::api::{BastionTarget, BastionUser, Group, Login};
use crate::gateway::access::{Directory, Refusal};

/// How many questions one menu asks at once.
const AT_ONCE: usize = 8;
/// How many questions all menus of a gateway ask at once.
pub const ALL_AT_ONCE: usize = 16;
/// How long the answers may take. Targets without one by then are left out.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a user may use, as far as it is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// The targets, by name.
    pub entries: Vec<Entry>,
    /// How many targets could not be checked.
    pub unchecked: usize,
}

/// Asks in the name of one user.
pub struct RightsQuery<'a> {
    /// Where to ask.
    pub directory: &'a Directory,
    /// Who it is about.
    pub user: &'a BastionUser,
    /// Holds back, so that all menus together do not ask too much at once.
    pub questions: &'a Semaphore,
    /// How many targets have been checked.
    pub done: &'a AtomicUsize,
}

/// What was granted for more than one target at once.
#[derive(Default)]
struct Wide {
    groups: HashMap<String, Answer>,
    logins: HashMap<String, Answer>,
}

type Answer = Result<bool, Refusal>;

impl RightsQuery<'_> {
    /// What the user may open a shell on.
    ///
    /// # Errors
    /// When the API server does not answer at all.
    pub async fn usable(&self) -> Result<Usable, Refusal> {
        let targets = self.directory.targets();
        if self.review("bastiontargets", None, "").await? {
            return Ok(Usable {
                entries: targets.iter().map(|target| entry(target, |_| true)).collect(),
                unchecked: 0,
            });
        }
        let deadline = Instant::now() + PATIENCE;
        let wide = self.wide(&targets).await;
        let checked = stream::iter(targets.iter().cloned()).map(|target| self.check(target, &wide));
        let checked: Vec<_> = checked.buffer_unordered(AT_ONCE).take_until(sleep_until(deadline)).collect().await;
        let unchecked = targets.len() - checked.iter().filter(|it| it.is_ok()).count();
        let mut entries: Vec<Entry> = checked.into_iter().filter_map(|it| it.ok().flatten()).collect();
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Usable { entries, unchecked })
    }

    /// Grants on whole groups, and on logins wherever they are.
    async fn wide(&self, targets: &[Arc<BastionTarget>]) -> Wide {
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
        let groups = stream::iter(groups).map(of_group).buffer_unordered(AT_ONCE).collect();
        let logins = stream::iter(logins).map(of_login).buffer_unordered(AT_ONCE).collect();
        let (groups, logins) = futures::join!(groups, logins);
        Wide { groups, logins }
    }

    /// What of the target the user may use: none, or an entry with the logins that are granted.
    async fn check(&self, target: Arc<BastionTarget>, wide: &Wide) -> Result<Option<Entry>, Refusal> {
        let name = target.name_any();
        let groups: Vec<&Answer> =
            target.spec.groups.iter().filter_map(|group| wide.groups.get(group.as_str())).collect();
        let whole = groups.contains(&&Ok(true)) || self.review("bastiontargets", None, &name).await?;
        let mut granted = BTreeSet::new();
        for login in target.spec.logins.iter().map(Login::as_str).filter(|_| !whole) {
            let everywhere = wide.logins.get(login).is_some_and(|answer| *answer == Ok(true));
            if everywhere || self.review("bastiontargets", Some(login), &name).await? {
                granted.insert(login);
            }
        }
        self.done.fetch_add(1, Ordering::Relaxed);
        if !whole && granted.is_empty() {
            // What was not answered is not a no.
            return groups.into_iter().find_map(|answer| answer.clone().err()).map_or(Ok(None), Err);
        }
        Ok(Some(entry(&target, |login| whole || granted.contains(login))))
    }

    async fn review(&self, resource: &str, subresource: Option<&str>, name: &str) -> Answer {
        let _permit = self.questions.acquire().await.map_err(|_| Refusal::RightsUnknown)?;
        self.directory.review(self.user, resource, subresource, name).await
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress { done: self.done.load(Ordering::Relaxed), total: self.directory.targets().len() }
    }
}

fn entry(target: &BastionTarget, may: impl Fn(&str) -> bool) -> Entry {
    let spec = &target.spec;
    let logins = spec.logins.iter().map(|login| login.0.clone());
    Entry {
        name: target.name_any(),
        logins: logins.filter(|login| may(login)).collect(),
        groups: spec.groups.iter().map(|group| group.0.clone()).collect(),
        description: spec.description.as_ref().map(|it| it.0.clone()).unwrap_or_default(),
    }
}
