//! Reads objects one by one, so that one unreadable object does not fail a whole list or watch.
//!
//! An object is unreadable if an older schema accepted it, or if a newer version of the bastion wrote it before a roll-back.
//! This module counts and reports unreadable objects. Each caller decides how to handle them.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use kube::core::ObjectList;
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tracing::warn;

use super::{EventSink, watch};
use crate::api::{BastionSession, CONDITION_VALID, Phase, Termination};
use crate::lifecycle::{Cause, requested_end, termination_cause};
use crate::metrics::{KindLabels, METRICS};
use crate::tasks::Tasks;
use crate::text::printable_up_to;

/// The longest error that is kept, in characters. An error may quote the object.
const MAX_ERROR: usize = 300;
/// The most unreadable objects whose reported version a program remembers.
const MAX_REPORTED: usize = 4096;

/// An object, or the error of reading it.
///
/// This type replaces kube's `DeserializeGuard`, which fails a whole list if the metadata of one object cannot be read. Any
/// writer of an object can cause such a failure with a time in the year 9999 in `managedFields`.
#[derive(Clone, Debug)]
pub struct Guarded<K>(pub Result<Arc<K>, Unreadable>);

/// An object that this program cannot read.
#[derive(Clone, Debug)]
pub struct Unreadable {
    /// The name, namespace, uid, generation, resource version, finalizers and deletion time. All other metadata is absent.
    pub metadata: ObjectMeta,
    /// `status.phase`, if the object has one.
    pub phase: Option<String>,
    /// The condition `Valid`, if the object has it.
    pub valid: Option<Condition>,
    /// The fields that are needed to end the object, if it is a session.
    pub session: UnreadableSession,
    /// The unreadable field and the error: one printable line of at most 300 characters.
    pub error: String,
}

/// The fields of an unreadable session that are needed to end it. A field that cannot be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadableSession {
    /// `spec.gateway.instance`.
    pub instance: Option<String>,
    /// `spec.startTime`.
    pub start: Option<Timestamp>,
    /// `spec.user.subject`.
    pub subject: Option<String>,
    /// `spec.termination`, without `via`.
    pub termination: Option<Termination>,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut object = Value::deserialize(deserializer)?;
        if let Ok(readable) = K::deserialize(&object) {
            return Ok(Self(Ok(Arc::new(readable))));
        }
        // Any writer of an object can set any time in `managedFields`. Without them, a finished session counts as last changed
        // at its end.
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
            generation: object.pointer("/metadata/generation").and_then(Value::as_i64),
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
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let valid = conditions.into_iter().flatten().find(|condition| condition["type"] == CONDITION_VALID);
        let valid = valid.and_then(|condition| Deserialize::deserialize(condition).ok());
        Self { metadata, phase: text("/status/phase"), valid, session, error: printable_up_to(error, MAX_ERROR) }
    }

    /// Returns whether the phase is final. A phase that this version does not know counts as not final.
    pub fn has_ended(&self) -> bool {
        let phase = Phase::ALL.into_iter().find(|phase| self.phase.as_deref() == Some(phase.as_str()));
        phase.is_some_and(Phase::is_final)
    }

    /// Returns whether the object is a running session: its phase is Active or absent. The schema refuses to end a session in
    /// any other phase.
    pub fn is_active(&self) -> bool {
        self.phase.as_deref().is_none_or(|phase| phase == Phase::Active.as_str())
    }

    /// Returns the cause of a requested end; `None` if no end was requested.
    pub fn requested_end(&self) -> Option<Cause> {
        let UnreadableSession { subject, termination, .. } = &self.session;
        termination_cause(
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

    /// Returns the uid. Every object that the API server sends has a uid; for any other, returns an empty string.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// Returns the name. Every object that the API server sends has a name; for any other, returns an empty string.
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
    /// Returns whether the session has ended. A phase that this version does not know counts as not final.
    pub fn has_ended(&self) -> bool {
        self.0.as_ref().map_or_else(Unreadable::has_ended, |session| session.phase().is_final())
    }

    /// Returns whether the session is running. The schema refuses to end a session that is not.
    pub fn is_active(&self) -> bool {
        self.0.as_ref().map_or_else(Unreadable::is_active, |session| !session.phase().is_final())
    }

    /// Returns the gateway instance of a running session; `None` if it is not running, or the instance cannot be read.
    pub fn active_on(&self) -> Option<&str> {
        let instance = match &self.0 {
            Ok(session) => Some(session.spec.gateway.instance.as_str()),
            Err(unreadable) => unreadable.session.instance.as_deref(),
        };
        instance.filter(|_| self.is_active())
    }

    /// Returns `spec.startTime`, if it can be read.
    pub fn start(&self) -> Option<Timestamp> {
        self.0.as_ref().map_or_else(|unreadable| unreadable.session.start, |session| Some(session.spec.start_time.0))
    }

    /// Returns the cause of a requested end; `None` if no end was requested.
    pub fn requested_end(&self) -> Option<Cause> {
        self.0.as_ref().map_or_else(Unreadable::requested_end, |session| requested_end(session))
    }
}

/// Splits a list into its readable and its unreadable objects.
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

/// Counts unreadable objects, and reports each generation and error of an object once, in the log and in an Event.
#[derive(Clone)]
pub struct UnreadableReports {
    events: EventSink,
    reported: Arc<Mutex<Reported>>,
}

/// The last reported version of each unreadable object, by uid.
#[derive(Debug, Default)]
pub(super) struct Reported(HashMap<String, String>);

impl Reported {
    /// Records a version of an object. Returns whether it differs from the last recorded version. Before a new object would
    /// exceed [`MAX_REPORTED`], forgets all objects; each is reported again when it is next read.
    pub(super) fn is_new(&mut self, uid: &str, version: &str) -> bool {
        if self.0.len() >= MAX_REPORTED && !self.0.contains_key(uid) {
            self.0.clear();
        }
        self.0.insert(uid.to_owned(), version.to_owned()).is_none_or(|before| before != version)
    }

    /// Forgets an object, so that its next version is new.
    pub(super) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }
}

impl UnreadableReports {
    /// Creates reports that publish Events through `events`.
    pub fn new(events: EventSink) -> Self {
        Self { events, reported: Arc::default() }
    }

    /// Counts and reports an object, unless it was reported with this generation and error before.
    pub fn report<K: Resource<DynamicType = ()>>(&self, object: &Unreadable) {
        // The resource version also changes with each write of the object's status.
        let version = format!("{} {}", object.metadata.generation.unwrap_or_default(), object.error);
        if !self.reported.lock().is_new(object.uid(), &version) {
            return;
        }
        let kind = K::kind(&());
        METRICS.objects_unreadable.get_or_create(&KindLabels { kind: kind.to_string() }).inc();
        let (name, error) = (object.name(), object.error.as_str());
        warn!(%kind, name, error, "unreadable object ignored");
        self.events.unreadable(object.reference::<K>(), &object.error);
    }

    /// Returns the readable objects of a list, and reports the others.
    pub fn readable<K: Resource<DynamicType = ()> + Clone>(&self, list: ObjectList<Guarded<K>>) -> Vec<Arc<K>> {
        let (readable, unreadable) = split(list);
        for object in &unreadable {
            self.report::<K>(object);
        }
        readable
    }

    /// Watches as [`watch`] does, and reports unreadable objects. The stream also contains the unreadable objects, because each
    /// replaces an earlier version. Each caller decides how to handle them.
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

    /// Reports the object of a watch event, if it is unreadable.
    pub fn observe<K: Resource<DynamicType = ()>>(&self, event: &Event<Guarded<K>>) {
        if let Event::InitApply(Guarded(Err(object))) | Event::Apply(Guarded(Err(object))) = event {
            self.report::<K>(object);
        }
    }

    /// Starts a store, and a task that keeps it up to date while the program runs and calls `changed` with every event.
    pub fn keep<K>(
        &self,
        tasks: &Tasks,
        api: Api<Guarded<K>>,
        changed: impl Fn(&Event<Guarded<K>>) + Send + 'static,
    ) -> ReadableStore<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        let (reader, writer) = store();
        let events = reflector(writer, self.watch(api, watcher::Config::default()).map(Ok::<_, watcher::Error>));
        tasks.spawn_endless(
            format!("watch of {}", K::plural(&())),
            events.for_each(move |event| {
                event.iter().for_each(&changed);
                std::future::ready(())
            }),
        );
        ReadableStore(reader)
    }
}

/// A cache of the readable objects of one kind. An object that becomes unreadable is removed, so that no user signs in by an
/// outdated version of a BastionUser or BastionTarget.
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

    /// Returns an object that matches, if there is one.
    pub fn find(&self, matches: impl Fn(&K) -> bool) -> Option<Arc<K>> {
        let is_match = |object: &Guarded<K>| object.0.as_ref().is_ok_and(|it| matches(it));
        self.0.find(is_match).and_then(|object| object.0.as_ref().ok().cloned())
    }

    /// Returns all objects, in no order.
    pub fn state(&self) -> Vec<Arc<K>> {
        self.0.state().iter().filter_map(|object| object.0.as_ref().ok().cloned()).collect()
    }

    /// Waits until the objects have been listed once.
    ///
    /// # Errors
    /// When the watch has ended, which happens only at the end of the program.
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
    fn an_unreadable_object_does_not_fail_its_list() {
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
    fn times_in_managed_fields_make_no_object_unreadable() {
        let mut object = user("alice", &json!({}));
        object["metadata"]["managedFields"] = json!([{"manager": "x", "time": "9999-12-31T23:59:59Z"}]);
        assert!(guarded(object.clone()).0.is_ok());
        object["metadata"]["annotations"] = json!(7);
        let Err(object) = guarded(object).0 else { panic!("it was read") };
        assert_eq!(object.name(), "alice");
    }

    #[test]
    fn an_unreadable_session_has_ended_if_its_phase_is_final() {
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
    fn the_fields_that_end_an_unreadable_session_are_read() {
        let mut object = serde_json::to_value(active("a")).unwrap();
        object["spec"]["startTime"] = json!("2099-01-01T00:00:00+99:00");
        object["spec"]["termination"] = json!({"requestedBy": "ops", "reason": "late", "via": "Telepathy"});
        object["metadata"]["finalizers"] = json!(["bastion.dev/audit"]);
        let instance = object["spec"]["gateway"]["instance"].as_str().map(str::to_owned);
        let guarded: Guarded<BastionSession> = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(guarded.requested_end(), Some(Cause::Terminated { by: "ops".into(), reason: Some("late".into()) }));
        let unreadable = guarded.0.unwrap_err();
        assert_eq!((unreadable.session.instance.clone(), unreadable.session.start), (instance, None));
        assert!(unreadable.is_active() && !unreadable.has_ended());
        assert_eq!(unreadable.metadata.finalizers.as_deref(), Some(["bastion.dev/audit".to_owned()].as_slice()));
        object["spec"]["termination"] = json!(null);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        object["status"]["phase"] = json!("Suspended");
        let unreadable = serde_json::from_value::<Guarded<BastionSession>>(object).unwrap().0.unwrap_err();
        assert_eq!(unreadable.requested_end(), Some(Cause::Deleted));
        assert!(!unreadable.is_active() && !unreadable.has_ended());
    }

    #[test]
    fn an_object_that_becomes_unreadable_leaves_the_store() {
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
    fn each_version_of_an_object_is_reported_once_and_memory_is_bounded() {
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
