//! Ends sign-ins before they expire, on all consoles and gateways.
//!
//! A sign-in cookie holds a generation: the time of the sign-in, in microseconds since the Unix epoch. A sign-out raises the
//! lowest generation that is valid for its user, which a ConfigMap holds and all consoles and gateways watch.
//!
//! Both are bounded by the clock. Otherwise an entry with the highest number would make all later cookies of its user valid
//! until they expire, because no sign-out could exceed it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use super::api_timeout::with_api_timeout;
use super::auth_error::AuthError;
use super::cookie_cipher::{MAX_SIGN_IN, SignedInUser};
use crate::cluster;
use crate::metrics::METRICS;
use crate::tasks::Tasks;

/// The name of the ConfigMap. The release creates it.
const CONFIG_MAP: &str = "bastion-sign-outs";
/// The key for all users. No key of a user is as short.
const EVERYBODY: &str = "everybody";
/// The most users in the ConfigMap, which cannot exceed 1 MiB.
const MAX_USERS: usize = 4096;
/// How much the clocks of programs may differ. An entry is kept for so much longer than a sign-in.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_hours(1);
/// How far ahead of the clock an entry may be. A sign-out exceeds the generation of its cookie, which may be ahead by
/// [`CLOCK_TOLERANCE`] on another clock.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(2);
/// The attempts to write the ConfigMap while other consoles write it.
const ATTEMPTS: usize = 5;
/// How long a request waits for the first list.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// The sign-outs of all users. Clones share the watch.
#[derive(Clone)]
pub struct SignOuts {
    api: Api<ConfigMap>,
    /// `None` until the API server has listed them.
    known: Arc<watch::Sender<Option<Generations>>>,
}

/// The lowest valid generation of each user, by [`key_of`] the user's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Generations(BTreeMap<String, i64>);

impl Generations {
    /// Parses the ConfigMap at `now`. Also returns the number of invalid entries. An entry is invalid if it is no number, negative,
    /// or more than [`MAX_AHEAD`] in the future. It counts as a sign-out at `now`, and the next write replaces it.
    fn parse(map: &ConfigMap, now: Timestamp) -> (Self, usize) {
        let valid = 0..=microseconds_after(now, MAX_AHEAD);
        let (mut generations, mut invalid) = (Self::default(), 0);
        for (key, value) in map.data.iter().flatten() {
            let generation = value.parse::<i64>().ok().filter(|generation| valid.contains(generation));
            invalid += usize::from(generation.is_none());
            generations.raise(key.clone(), generation.unwrap_or_else(|| now.as_microsecond()));
        }
        (generations, invalid)
    }

    fn data(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(key, generation)| (key.clone(), generation.to_string())).collect()
    }

    /// Returns the lowest valid generation of a user.
    fn lowest(&self, name: &str) -> i64 {
        let of = |key: &str| self.0.get(key).copied().unwrap_or_default();
        of(&key_of(name)).max(of(EVERYBODY))
    }

    fn raise(&mut self, key: String, generation: i64) {
        let entry = self.0.entry(key).or_default();
        *entry = generation.max(*entry);
    }

    fn merge(&mut self, other: Self) {
        other.0.into_iter().for_each(|(key, generation)| self.raise(key, generation));
    }

    /// Removes the entries that no unexpired sign-in is older than. Where more than [`MAX_USERS`] are left, the oldest are
    /// replaced by one that ends the older sign-ins of all users.
    fn prune(&mut self, now: Timestamp) {
        let age = SignedDuration::try_from(MAX_SIGN_IN).unwrap_or(SignedDuration::MAX).saturating_add(CLOCK_TOLERANCE);
        let oldest = now.saturating_sub(age).unwrap_or(Timestamp::MIN).as_microsecond();
        self.0.retain(|_, generation| *generation > oldest);
        if self.0.len() <= MAX_USERS {
            return;
        }
        let mut generations: Vec<i64> = self.0.values().copied().collect();
        generations.sort_unstable();
        let Some(floor) = generations.get(generations.len() - MAX_USERS).copied() else { return };
        self.0.retain(|_, generation| *generation > floor);
        self.raise(EVERYBODY.to_owned(), floor);
    }
}

/// Reads the ConfigMap at `now`, and reports its invalid entries.
fn read(map: &ConfigMap, now: Timestamp) -> Generations {
    let (generations, invalid) = Generations::parse(map, now);
    if invalid > 0 {
        warn!(entries = invalid, "ConfigMap {CONFIG_MAP} has entries that are no time; counting them as sign-outs now");
        METRICS.sign_outs_invalid.inc_by(invalid as u64);
    }
    generations
}

/// Returns the time `duration` after `now`, in microseconds since the Unix epoch.
fn microseconds_after(now: Timestamp, duration: SignedDuration) -> i64 {
    now.saturating_add(duration).unwrap_or(Timestamp::MAX).as_microsecond()
}

/// Returns the key of a user, which does not reveal the name at a glance, and has only characters that the API server accepts.
fn key_of(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, name.as_bytes()))
}

impl SignOuts {
    /// Starts the watch of the ConfigMap in `namespace`.
    pub fn watch(client: Client, namespace: &str, tasks: &Tasks) -> Self {
        let sign_outs = Self { api: Api::namespaced(client, namespace), known: Arc::new(watch::Sender::new(None)) };
        tasks.spawn_endless("watch of sign-outs", sign_outs.clone().follow());
        sign_outs
    }

    async fn follow(self) {
        let config = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        let mut events = pin!(cluster::watch(self.api.clone(), config));
        while let Some(event) = events.next().await {
            match event {
                Event::InitApply(map) | Event::Apply(map) => self.learn(read(&map, Timestamp::now())),
                Event::InitDone => self.learn(Generations::default()),
                // What is known stays in force when the ConfigMap is deleted.
                Event::Init | Event::Delete(_) => {}
            }
        }
    }

    /// Adds what a version of the ConfigMap says. An older version may arrive after a newer one.
    fn learn(&self, generations: Generations) {
        self.known.send_modify(|known| {
            let known = known.get_or_insert_default();
            known.merge(generations);
            known.prune(Timestamp::now());
        });
    }

    /// Returns the lowest valid generation of a user.
    ///
    /// # Errors
    /// Fails when the API server has not listed the sign-outs within 5 s.
    async fn lowest(&self, name: &str) -> Result<i64, AuthError> {
        let mut known = self.known.subscribe();
        let listed = timeout(LIST_TIMEOUT, known.wait_for(Option::is_some)).await;
        match listed {
            Ok(Ok(known)) => Ok(known.as_ref().map(|known| known.lowest(name)).unwrap_or_default()),
            Ok(Err(_)) | Err(_) => Err(AuthError::api_server("the sign-outs have not been listed yet".to_owned())),
        }
    }

    /// Returns whether a sign-in is as new as the last sign-out of its user, and not in the future by more than the clocks may
    /// differ.
    ///
    /// # Errors
    /// Fails when the API server has not listed the sign-outs within 5 s.
    pub async fn permit(&self, user: &SignedInUser, now: Timestamp) -> Result<bool, AuthError> {
        let valid = self.lowest(&user.name).await?..=microseconds_after(now, CLOCK_TOLERANCE);
        Ok(valid.contains(&user.generation))
    }

    /// Returns the generation of a sign-in at `now`. It is valid even if the clock of the console that recorded the last sign-out
    /// is ahead.
    ///
    /// # Errors
    /// Fails when the API server has not listed the sign-outs within 5 s, and when the last sign-out is in the future by more
    /// than the clocks may differ.
    pub async fn generation(&self, name: &str, now: Timestamp) -> Result<i64, AuthError> {
        let generation = self.lowest(name).await?.max(now.as_microsecond());
        if generation > microseconds_after(now, CLOCK_TOLERANCE) {
            return Err(AuthError::Unauthenticated("your last sign-out is recorded for a later time than now"));
        }
        Ok(generation)
    }

    /// Ends all sign-ins of a user that are as old as `user` or older than `now`.
    ///
    /// # Errors
    /// Fails when the API server does not answer or refuses the write. The sign-ins then stay valid.
    pub async fn record(&self, user: &SignedInUser, now: Timestamp) -> Result<(), AuthError> {
        let generation = now.as_microsecond().max(user.generation.saturating_add(1));
        let mut attempt = 1;
        loop {
            let mut map = with_api_timeout(self.api.get(CONFIG_MAP)).await?;
            let mut generations = read(&map, now);
            generations.raise(key_of(&user.name), generation);
            generations.prune(now);
            map.data = Some(generations.data());
            match with_api_timeout(self.api.replace(CONFIG_MAP, &PostParams::default(), &map)).await {
                Ok(_) => {
                    self.learn(generations);
                    info!(who = user.name, "signed out");
                    return Ok(());
                }
                Err(AuthError::ApiServer(error)) if attempt < ATTEMPTS && is_conflict(error.as_ref()) => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

fn is_conflict(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<kube::Error>().and_then(cluster::code) == Some(409)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::scripted_api::{Answer, ScriptedApi};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn signed_in(name: &str, generation: i64) -> SignedInUser {
        SignedInUser::new(name.to_owned(), UserInfo::default(), generation, at(1_000_000))
    }

    fn sign_outs(api: &ScriptedApi) -> SignOuts {
        let known = Arc::new(watch::Sender::new(Some(Generations::default())));
        SignOuts { api: Api::namespaced(api.client(), "n"), known }
    }

    fn config_map(data: &Value) -> Answer {
        Answer::Object(json!({"metadata": {"name": CONFIG_MAP, "resourceVersion": "7"}, "data": data}))
    }

    #[tokio::test]
    async fn a_sign_out_ends_all_older_sign_ins_of_its_user() {
        let now = Timestamp::now();
        let of_bob = config_map(&json!({key_of("bob"): now.as_microsecond().to_string()}));
        let api = ScriptedApi::new([of_bob.clone(), Answer::Status(409), of_bob]);
        let sign_outs = sign_outs(&api);
        let generation = sign_outs.generation("alice", now).await.unwrap();
        let alice = signed_in("alice", generation);
        assert!(sign_outs.permit(&alice, now).await.unwrap());
        sign_outs.record(&alice, now).await.unwrap();
        assert_eq!(api.summaries(), ["GET bastion-sign-outs", "PUT bastion-sign-outs"].repeat(2));
        let written = api.received().pop().unwrap().body;
        assert_eq!(written["metadata"]["resourceVersion"], "7", "it is a compare-and-swap");
        assert_eq!(written["data"].as_object().unwrap().len(), 2, "the sign-outs of others are kept: {written}");
        assert!(!sign_outs.permit(&alice, now).await.unwrap());
        assert!(!sign_outs.permit(&signed_in("alice", 0), now).await.unwrap());
        assert!(sign_outs.permit(&signed_in("carol", 0), now).await.unwrap());
        let again = sign_outs.generation("alice", now).await.unwrap();
        assert!(sign_outs.permit(&signed_in("alice", again), now).await.unwrap(), "a later sign-in is valid");
    }

    /// Entries with which somebody tries to have no later sign-out count: [`i64::MAX`], and as far ahead as is valid.
    #[rstest]
    #[case::highest(i64::MAX.to_string(), 0)]
    #[case::too_far_ahead((Timestamp::now() + MAX_AHEAD + SignedDuration::from_secs(60)).as_microsecond().to_string(), 0)]
    #[case::as_far_ahead_as_cookies((Timestamp::now() + CLOCK_TOLERANCE).as_microsecond().to_string(), 0)]
    #[case::as_far_ahead_as_entries((Timestamp::now() + MAX_AHEAD).as_microsecond().to_string(), 3601)]
    #[case::negative("-1".to_owned(), 0)]
    #[case::beyond_all_numbers("99999999999999999999".to_owned(), 0)]
    #[case::no_number("never".to_owned(), 0)]
    #[tokio::test]
    async fn no_entry_disables_sign_outs(#[case] entry: String, #[case] locked_out_seconds: i64) {
        for key in [key_of("alice"), EVERYBODY.to_owned()] {
            let api = ScriptedApi::new([config_map(&json!({&key: &entry}))]);
            let sign_outs = sign_outs(&api);
            let before = signed_in("alice", Timestamp::now().as_microsecond() - 1_000_000);
            let map = serde_json::from_value(json!({"data": {&key: &entry}})).unwrap();
            sign_outs.learn(read(&map, Timestamp::now()));
            // A sign-in is valid again after a while at most, and a sign-out ends it.
            let now = Timestamp::now() + SignedDuration::from_secs(locked_out_seconds);
            assert!(!sign_outs.permit(&before, now).await.unwrap(), "the entry counts as a sign-out");
            let alice = signed_in("alice", sign_outs.generation("alice", now).await.unwrap());
            assert!(sign_outs.permit(&alice, now).await.unwrap());
            sign_outs.record(&alice, now).await.unwrap();
            assert!(!sign_outs.permit(&alice, now).await.unwrap());
            let written = serde_json::from_value(api.received().pop().unwrap().body).unwrap();
            let (elsewhere, invalid) = Generations::parse(&written, now);
            assert_eq!(invalid, 0, "the write replaces the entry");
            assert!(elsewhere.lowest("alice") > alice.generation, "{elsewhere:?}");
        }
    }

    #[tokio::test]
    async fn a_cookie_of_the_future_is_invalid() {
        let (sign_outs, now) = (sign_outs(&ScriptedApi::new([])), Timestamp::now());
        for (generation, valid) in [(now + CLOCK_TOLERANCE, true), (now + MAX_AHEAD, false)] {
            let alice = signed_in("alice", generation.as_microsecond());
            assert_eq!(sign_outs.permit(&alice, now).await.unwrap(), valid, "{generation}");
        }
        assert!(!sign_outs.permit(&signed_in("alice", i64::MAX), now).await.unwrap());
    }

    #[tokio::test]
    async fn an_unwritten_sign_out_is_an_error() {
        for answer in [Answer::Status(404), Answer::Status(409), Answer::Status(403)] {
            let sign_outs = sign_outs(&ScriptedApi::new([answer]));
            let failed = sign_outs.record(&signed_in("alice", 0), Timestamp::now()).await;
            assert!(matches!(failed, Err(AuthError::ApiServer(_))), "{failed:?}");
        }
    }

    #[test]
    fn an_older_version_of_the_config_map_revives_nothing() {
        let of = |generation| Generations([(key_of("alice"), generation)].into());
        let mut known = of(7);
        known.merge(of(5));
        known.merge(Generations::default());
        assert_eq!((known.lowest("alice"), known.lowest("bob")), (7, 0));
    }

    #[test]
    fn entries_are_kept_for_as_long_as_sign_ins_last() {
        let generation = at(10_000).as_microsecond();
        let entries = Generations([("a".to_owned(), generation)].into());
        for (now, kept) in [(10_000 + 9 * 3600 - 1, true), (10_000 + 9 * 3600, false)] {
            let mut pruned = entries.clone();
            pruned.prune(at(now));
            assert_eq!(!pruned.0.is_empty(), kept, "{now}");
        }
    }

    #[test]
    fn too_many_entries_end_the_oldest_sign_ins_of_everybody() {
        let mut entries = Generations::default();
        for number in 1..=5000 {
            entries.raise(format!("{number:043}"), number);
        }
        entries.prune(at(0));
        assert!(entries.0.len() <= MAX_USERS, "{}", entries.0.len());
        for number in 1..=5000 {
            let lowest = entries.0.get(&format!("{number:043}")).max(entries.0.get(EVERYBODY));
            assert!(*lowest.unwrap() >= number, "{number} is signed out still");
        }
        assert_eq!(entries.lowest("anybody"), 5000 - i64::try_from(MAX_USERS).unwrap() + 1);
    }

    #[test]
    fn the_key_of_a_user_is_a_key_of_a_config_map() {
        for name in ["alice", "https://id.example.com#\u{fc}", ""] {
            let key = key_of(name);
            assert!(key.len() == 43 && key.chars().all(|it| it.is_ascii_alphanumeric() || "-_".contains(it)), "{key}");
        }
    }
}
