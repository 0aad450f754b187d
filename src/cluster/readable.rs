//! Reads objects one by one, so that one unreadable object does not fail a whole list or watch.
//!
//! An object may be unreadable because an older schema accepted it, or because a newer version of the bastion wrote it
//! before a roll-back. This module counts and reports unreadable objects; each caller decides what follows.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::core::ObjectList;
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tracing::warn;

use super::{EventSink, watch};
use crate::api::{BastionSession, Phase, Termination};
use crate::lifecycle::{Cause, asked_to_end, cause_of_request};
use crate::metrics::{KindLabels, METRICS};
use crate::text::printable_up_to;

/// The longest error that is kept, in characters: an error may quote the object.
const MAX_ERROR: usize = 300;
/// The most unreadable objects whose reported version a program remembers.
const MAX_REPORTED: usize = 4096;

/// An object, or why it cannot be read. It replaces kube's `DeserializeGuard`, which fails a whole list when the
/// metadata of one object cannot be read. Anybody who may write an object can cause that, with a time in the year 9999
/// in its `managedFields`.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<Arc<K>, Unreadable>);

/// An object that this program cannot read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// Its name, namespace, uid, resource version, finalizers and time of deletion.
    pub metadata: ObjectMeta,
    /// Its `status.phase`, where it has one.
    pub phase: Option<String>,
    /// What is needed to end it, if it is a session.
    pub session: UnreadableSession,
    /// Which field cannot be read, and why: one printable line.
    pub error: String,
}

/// The parts of an unreadable session by which it can be ended. A part that cannot be read is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadableSession {
    /// Its `spec.gateway.instance`.
    pub instance: Option<String>,
    /// Its `spec.startTime`.
    pub start: Option<Timestamp>,
    /// Its `spec.user.subject`.
    pub subject: Option<String>,
    /// Its `spec.termination`, without `via`.
    pub termination: Option<Termination>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        if let Ok(readable) = K::deserialize(&object) {
            return Ok(Self(Ok(Arc::new(readable))));
        }
        // Any writer of an object can set these to any time. Without them, a finished session counts as last changed at
        // its end.
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        let readable = serde_path_to_error::deserialize(&object).map(Arc::new);
        Ok(Self(readable.map_err(|error: serde_path_to_error::Error<_>| Unreadable::new(&object, &error.to_string()))))
    }
}

impl Unreadable {
    fn new(object: &Value, error: &str) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let time = |pointer: &str| text(pointer).and_then(|text| text.parse::<Timestamp>().ok());
        let metadata = ObjectMeta {
            name: text("/metadata/name"),
            namespace: text("/metadata/namespace"),
            uid: text("/metadata/uid"),
            resource_version: text("/metadata/resourceVersion"),
            finalizers: object.pointer("/metadata/finalizers").and_then(|all| Deserialize::deserialize(all).ok()),
            deletion_timestamp: time("/metadata/deletionTimestamp").map(Time),
            ..ObjectMeta::default()
        };
        let termination = object.pointer("/spec/termination").filter(|it| it.is_object()).map(|_| Termination {
            requested_by: text("/spec/termination/requestedBy").unwrap_or_default(),
            reason: text("/spec/termination/reason"),
            via: None,
        });
        let session = UnreadableSession {
            instance: text("/spec/gateway/instance"),
            start: time("/spec/startTime"),
            subject: text("/spec/user/subject"),
            termination,
        };
        Self { metadata, phase: text("/status/phase"), session, error: printable_up_to(error, MAX_ERROR) }
    }

    /// Whether its phase is one that this version knows as final.
    pub fn has_ended(&self) -> bool {
        let phase = Phase::ALL.into_iter().find(|phase| self.phase.as_deref() == Some(phase.as_str()));
        phase.is_some_and(Phase::is_final)
    }

    /// Whether it is a session that runs: it has the phase Active, or none. The schema refuses an end of any other.
    pub fn is_active(&self) -> bool {
        self.phase.as_deref().is_none_or(|phase| phase == Phase::Active.as_str())
    }

    /// Returns the cause for which somebody asked that the session end; `None` if nobody did.
    pub fn asked_to_end(&self) -> Option<Cause> {
        let UnreadableSession { subject, termination, .. } = &self.session;
        cause_of_request(
            termination.as_ref(),
            subject.as_deref().unwrap_or_default(),
            self.metadata.deletion_timestamp.is_some(),
        )
    }

    /// Returns a reference to this version of the object.
    pub fn reference<K: Resource<DynamicType = ()>>(&self) -> ObjectReference {
        let ObjectMeta { name, namespace, uid, resource_version, .. } = self.metadata.clone();
        ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name,
            namespace,
            uid,
            resource_version,
            ..ObjectReference::default()
        }
    }

    /// Its uid; empty for an object without one, which the API server does not send.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Its name; empty for an object without one, which the API server does not send.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
}

impl<K: Resource + Clone> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> std::borrow::Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, |object| object.meta())
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => Arc::make_mut(object).meta_mut(),
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

impl Guarded<BastionSession> {
    /// Whether it has ended, in a phase that this version knows.
    pub fn has_ended(&self) -> bool {
        self.0.as_ref().map_or_else(Unreadable::has_ended, |session| session.phase().is_final())
    }

    /// Returns the cause for which somebody asked that the session end; `None` if nobody did.
    pub fn asked_to_end(&self) -> Option<Cause> {
        self.0.as_ref().map_or_else(Unreadable::asked_to_end, |session| asked_to_end(session))
    }
}

/// Returns the objects of a list that can be read, and the others.
pub fn split<K: Clone>(list: ObjectList<Guarded<K>>) -> (Vec<Arc<K>>, Vec<Unreadable>) {
    let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
    for object in list.items {
        match object.0 {
            Ok(object) => readable.push(object),
            Err(object) => unreadable.push(object),
        }
    }
    (readable, unreadable)
}

/// Counts the objects that a program cannot read, and reports them in its log and in an Event: each version of each once.
#[derive(Clone)]
pub struct UnreadableReports {
    events: EventSink,
    reported: Arc<Mutex<Reported>>,
}

/// Which version of each unreadable object was reported last, by uid.
#[derive(Debug, Default)]
struct Reported(HashMap<String, String>);

impl Reported {
    /// Records a version of an object. Returns whether it differs from the one recorded last. At [`MAX_REPORTED`] objects it
    /// forgets all of them, so that each is reported again when it is read again.
    fn is_new(&mut self, uid: &str, version: &str) -> bool {
        if self.0.len() >= MAX_REPORTED && !self.0.contains_key(uid) {
            self.0.clear();
        }
        self.0.insert(uid.to_owned(), version.to_owned()).is_none_or(|before| before != version)
    }
}

impl UnreadableReports {
    /// Returns reports whose Events go to this sink.
    pub fn new(events: EventSink) -> Self {
        Self { events, reported: Arc::default() }
    }

    /// Counts and reports an object, unless this version of it was reported before.
    pub fn report<K: Resource<DynamicType = ()>>(&self, object: &Unreadable) {
        let version = object.metadata.resource_version.as_deref().unwrap_or_default();
        if !self.reported.lock().unwrap_or_else(PoisonError::into_inner).is_new(object.uid(), version) {
            return;
        }
        let kind = K::kind(&());
        METRICS.objects_unreadable.get_or_create(&KindLabels { kind: kind.to_string() }).inc();
        let (name, error) = (object.name(), object.error.as_str());
        warn!(%kind, name, error, "an object cannot be read; it is left out, and the others are used");
        self.events.unreadable(object.reference::<K>(), &object.error);
    }

    /// Returns the objects of a list that can be read, and reports the others.
    pub fn readable<K: Resource<DynamicType = ()> + Clone>(&self, list: ObjectList<Guarded<K>>) -> Vec<Arc<K>> {
        let (readable, unreadable) = split(list);
        for object in &unreadable {
            self.report::<K>(object);
        }
        readable
    }

    /// Watches as [`watch`] does, and reports the objects that cannot be read. The stream contains them too: an earlier
    /// version of such an object is out of date, and each watcher decides what follows.
    pub fn watch<K>(
        &self,
        api: Api<Guarded<K>>,
        config: watcher::Config,
    ) -> impl Stream<Item = Event<Guarded<K>>> + Send + use<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let reports = self.clone();
        watch(api, config).inspect(move |event| reports.observe(event))
    }

    /// Reports the object of an event, if it cannot be read.
    pub fn observe<K: Resource<DynamicType = ()>>(&self, event: &Event<Guarded<K>>) {
        if let Event::InitApply(Guarded(Err(object))) | Event::Apply(Guarded(Err(object))) = event {
            self.report::<K>(object);
        }
    }

    /// Starts a store that a task keeps up to date for as long as the program runs; `changed` is called with each change.
    pub fn keep<K>(&self, api: Api<Guarded<K>>, changed: impl Fn() + Send + 'static) -> ReadableStore<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let (reader, writer) = store();
        let events = reflector(writer, self.watch(api, watcher::Config::default()).map(Ok::<_, watcher::Error>));
        tokio::spawn(events.for_each(move |_| {
            changed();
            std::future::ready(())
        }));
        ReadableStore(reader)
    }
}

/// The readable objects of a kind, in memory. An object that becomes unreadable is removed: the store holds users and
/// targets, and nobody may sign in by an outdated version of their object.
pub struct ReadableStore<K: Resource<DynamicType = ()> + Clone + 'static>(Store<Guarded<K>>);

impl<K: Resource<DynamicType = ()> + Clone + 'static> Clone for ReadableStore<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> ReadableStore<K> {
    /// Returns the object of this name.
    pub fn get(&self, name: &str, namespace: &str) -> Option<Arc<K>> {
        self.0.get(&ObjectRef::new(name).within(namespace)).and_then(|object| object.0.as_ref().ok().cloned())
    }

    /// Returns all objects, in no order.
    pub fn state(&self) -> Vec<Arc<K>> {
        self.0.state().iter().filter_map(|object| object.0.as_ref().ok().cloned()).collect()
    }

    /// Waits until the objects have been listed once.
    ///
    /// # Errors
    /// When the watch has ended, which happens at the end of the program only.
    pub async fn wait_until_ready(&self) -> Result<(), kube::runtime::reflector::store::WriterDropped> {
        self.0.wait_until_ready().await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::BastionUser;
    use crate::audit::samples::active;

    fn user(name: &str, spec: &Value) -> Value {
        let metadata = json!({"name": name, "namespace": "n", "uid": name, "resourceVersion": "7"});
        json!({"apiVersion": "bastion.dev/v1alpha1", "kind": "BastionUser", "metadata": metadata, "spec": spec})
    }

    fn guarded(object: Value) -> Guarded<BastionUser> {
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_list_with_an_object_that_cannot_be_read_has_all_others() {
        let bad = json!({"expires": "2099-01-01T00:00:00+99:00"});
        let list = json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": [
            user("alice", &json!({})), user("mallory", &bad), user("bob", &json!({"disabled": true})),
        ]});
        let (readable, unreadable) = split(serde_json::from_value::<ObjectList<Guarded<BastionUser>>>(list).unwrap());
        assert_eq!(
            readable.iter().map(|user| user.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(),
            ["alice", "bob"]
        );
        let [mallory] = unreadable.as_slice() else { panic!("{unreadable:?}") };
        assert_eq!((mallory.name(), mallory.uid()), ("mallory", "mallory"));
        assert!(mallory.error.starts_with("spec.expires: "), "{}", mallory.error);
    }

    #[test]
    fn an_error_is_short_and_printable() {
        let evil = format!("\u{1b}[2J{}", "x".repeat(10_000));
        let Err(object) = guarded(user("mallory", &json!({"authentication": [evil]}))).0 else { panic!("it was read") };
        assert!(object.error.starts_with("spec.authentication[0]: unknown variant"), "{}", object.error);
        assert!(object.error.chars().count() <= MAX_ERROR && !object.error.contains('\u{1b}'), "{}", object.error);
    }

    #[test]
    fn times_that_any_writer_may_set_make_no_object_unreadable() {
        let mut object = user("alice", &json!({}));
        object["metadata"]["managedFields"] = json!([{"manager": "x", "time": "9999-12-31T23:59:59Z"}]);
        assert!(guarded(object.clone()).0.is_ok());
        object["metadata"]["annotations"] = json!(7);
        let Err(object) = guarded(object).0 else { panic!("it was read") };
        assert_eq!(object.name(), "alice");
    }

    #[test]
    fn an_unreadable_session_has_ended_when_its_phase_says_so() {
        let with_phase = |phase: Value| {
            let mut object = serde_json::to_value(active("a")).unwrap();
            object["spec"]["protocol"] = json!("Telepathy");
            object["status"]["phase"] = phase;
            let Err(object) = serde_json::from_value::<Guarded<BastionSession>>(object).unwrap().0 else { panic!() };
            object.has_ended()
        };
        assert!(with_phase(json!("Closed")));
        assert!(!with_phase(json!("Active")) && !with_phase(json!(null)) && !with_phase(json!("Suspended")));
    }

    #[test]
    fn what_is_needed_to_end_an_unreadable_session_is_read() {
        let mut object = serde_json::to_value(active("a")).unwrap();
        object["spec"]["startTime"] = json!("2099-01-01T00:00:00+99:00");
        object["spec"]["termination"] = json!({"requestedBy": "ops", "reason": "late", "via": "Telepathy"});
        object["metadata"]["finalizers"] = json!(["bastion.dev/audit"]);
        let instance = object["spec"]["gateway"]["instance"].as_str().map(str::to_owned);
        let guarded: Guarded<BastionSession> = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(guarded.asked_to_end(), Some(Cause::Terminated { by: "ops".into(), reason: Some("late".into()) }));
        let unreadable = guarded.0.unwrap_err();
        assert_eq!((unreadable.session.instance.clone(), unreadable.session.start), (instance, None));
        assert!(unreadable.is_active() && !unreadable.has_ended());
        assert_eq!(unreadable.metadata.finalizers.as_deref(), Some(["bastion.dev/audit".to_owned()].as_slice()));
        object["spec"]["termination"] = json!(null);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["status"]["phase"] = json!("Suspended");
        let unreadable = serde_json::from_value::<Guarded<BastionSession>>(object).unwrap().0.unwrap_err();
        assert_eq!(unreadable.asked_to_end(), Some(Cause::Deleted));
        assert!(!unreadable.is_active() && !unreadable.has_ended());
    }

    #[test]
    fn what_becomes_unreadable_is_no_longer_in_the_store() {
        let (reader, mut writer) = store();
        let users = ReadableStore(reader);
        let bad = user("alice", &json!({"expires": "2099-01-01T00:00:00+99:00"}));
        for (object, expected) in
            [(user("alice", &json!({})), true), (bad, false), (user("alice", &json!({"disabled": true})), true)]
        {
            writer.apply_watcher_event(&Event::Apply(guarded(object)));
            assert_eq!(users.get("alice", "n").is_some(), expected);
            assert_eq!(users.state().len(), usize::from(expected));
        }
    }

    #[test]
    fn each_version_of_an_object_is_new_once_and_few_are_remembered() {
        let mut reported = Reported::default();
        let news =
            [("a", "1"), ("a", "1"), ("b", "1"), ("a", "2"), ("a", "2")].map(|(uid, it)| reported.is_new(uid, it));
        assert_eq!(news, [true, false, true, true, false]);
        for number in 0..2 * MAX_REPORTED {
            assert!(reported.is_new(&number.to_string(), "1"));
        }
        assert!(reported.0.len() <= MAX_REPORTED);
    }
}
