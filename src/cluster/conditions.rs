//! Writes the condition `Valid` of users and targets, which says whether a gateway can read them.

use std::fmt::Debug;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::Event;
use kube::{Api, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::{debug, warn};

use super::readable::Reported;
use super::{Guarded, REQUEST_TIMEOUT, with_retries};
use crate::api::{CONDITION_VALID, Validated};
use crate::metrics::{KindLabels, METRICS};
use crate::tasks::Tasks;

/// The most conditions that wait to be written. Further ones are dropped and counted.
const QUEUE_LENGTH: usize = 256;
/// The reason of the condition if the object cannot be read.
const UNREADABLE: &str = "Unreadable";
/// The reason of the condition if the object can be read again.
const READABLE: &str = "Readable";

/// A condition that waits to be written.
#[derive(Debug)]
struct DueCondition {
    name: String,
    uid: String,
    condition: Condition,
}

/// Sender to the queue of conditions of one kind.
pub struct ConditionWriter {
    queue: Sender<DueCondition>,
    /// The generation of each object for which this program has written a condition. Each generation gets one write, so that
    /// two versions of a program that disagree do not overwrite each other for ever.
    written: Arc<Mutex<Reported>>,
}

impl ConditionWriter {
    /// Creates a writer, and a task that writes its conditions under the name `manager`.
    pub fn start<K>(tasks: &Tasks, api: Api<Guarded<K>>, manager: &'static str) -> Self
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let (queue, conditions) = channel(QUEUE_LENGTH);
        let written = Arc::<Mutex<Reported>>::default();
        let writing = write(api, manager, conditions, written.clone());
        tasks.spawn_endless(format!("conditions of {}", K::plural(&())), writing);
        Self { queue, written }
    }

    /// Enqueues the condition of the object in a watch event, unless the object already has that condition.
    pub fn observe<K: Validated>(&self, event: &Event<Guarded<K>>) {
        let (Event::InitApply(object) | Event::Apply(object)) = event else { return };
        let Some(condition) = due_condition(object, Timestamp::now()) else { return };
        let generation = object.meta().generation.unwrap_or_default();
        let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
        if !self.written.lock().is_new(&uid, &generation.to_string()) {
            return;
        }
        if let Err(error) = self.queue.try_send(DueCondition { name, uid, condition }) {
            let due = error.into_inner();
            self.written.lock().forget(&due.uid);
            count_failure::<K>();
            warn!(kind = %K::kind(&()), name = due.name, "condition Valid not written: the queue is full");
        }
    }
}

/// Returns the condition to write to an object; `None` if the object already has it. A readable object without the condition
/// needs none.
fn due_condition<K: Validated>(object: &Guarded<K>, now: Timestamp) -> Option<Condition> {
    let generation = object.meta().generation;
    let (shown, status, reason, message) = match &object.0 {
        Ok(readable) => {
            let shown = readable.conditions().iter().find(|condition| condition.type_ == CONDITION_VALID)?;
            (Some(shown), "True", READABLE, "")
        }
        Err(unreadable) => (unreadable.valid.as_ref(), "False", UNREADABLE, unreadable.error.as_str()),
    };
    let is_shown = shown.is_some_and(|shown| {
        shown.status == status
            && (status == "True" || (shown.message == message && shown.observed_generation == generation))
    });
    let since =
        shown.filter(|shown| shown.status == status).map_or(Time(now), |shown| shown.last_transition_time.clone());
    (!is_shown).then(|| Condition {
        type_: CONDITION_VALID.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: since,
        observed_generation: generation,
    })
}

/// Writes conditions until the queue is closed. A condition that could not be written is due again at the next watch event of
/// its object. After an outage of the API server, the new list brings such an event.
async fn write<K>(
    api: Api<Guarded<K>>,
    manager: &str,
    mut conditions: Receiver<DueCondition>,
    written: Arc<Mutex<Reported>>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let params = PatchParams::apply(manager).force();
    while let Some(DueCondition { name, uid, condition }) = conditions.recv().await {
        let patch = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()),
            "metadata": {"name": name}, "status": {"conditions": [condition]},
        });
        let writing = with_retries(REQUEST_TIMEOUT, || {
            let (api, name, params, patch) = (&api, &name, &params, Patch::Apply(&patch));
            async move { api.patch_status(name, params, &patch).await }
        });
        match writing.await {
            Ok(_) => debug!(kind = %K::kind(&()), name, status = condition.status, "condition Valid written"),
            Err(error) => {
                written.lock().forget(&uid);
                count_failure::<K>();
                warn!(kind = %K::kind(&()), name, %error, "condition Valid not written; the Event of the object remains");
            }
        }
    }
}

fn count_failure<K: Resource<DynamicType = ()>>() {
    METRICS.conditions_unwritten.get_or_create(&KindLabels { kind: K::kind(&()).to_string() }).inc();
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::Value;

    use super::*;
    use crate::api::BastionUser;
    use crate::cluster::scripted_api::{Answer, ScriptedApi};

    const BEFORE: &str = "2026-01-01T00:00:00Z";
    const NOW: &str = "2026-01-02T00:00:00Z";
    const BAD: &str = "2099-01-01T00:00:00+99:00";

    fn user(expires: &str, conditions: &Value) -> Guarded<BastionUser> {
        let metadata = json!({"name": "alice", "namespace": "n", "uid": "u", "generation": 3});
        serde_json::from_value(
            json!({"apiVersion": "bastion.dev/v1alpha1", "kind": "BastionUser", "metadata": metadata,
            "spec": {"expires": expires}, "status": {"conditions": conditions}}),
        )
        .unwrap()
    }

    fn error() -> String {
        user(BAD, &json!([])).0.unwrap_err().error
    }

    fn valid(status: &str, message: &str, generation: i64) -> Value {
        json!([{"type": "Valid", "status": status, "reason": "x", "message": message, "lastTransitionTime": BEFORE,
            "observedGeneration": generation}])
    }

    #[rstest]
    #[case::never_unreadable(NOW, json!([]), None)]
    #[case::readable_and_shown(NOW, valid("True", "", 2), None)]
    #[case::readable_again(NOW, valid("False", "x", 2), Some(("True", NOW)))]
    #[case::unreadable(BAD, json!([]), Some(("False", NOW)))]
    #[case::unreadable_now(BAD, valid("True", "", 2), Some(("False", NOW)))]
    #[case::unreadable_and_shown(BAD, valid("False", &error(), 3), None)]
    #[case::unreadable_in_another_way(BAD, valid("False", "x", 3), Some(("False", BEFORE)))]
    #[case::unreadable_in_a_later_generation(BAD, valid("False", &error(), 2), Some(("False", BEFORE)))]
    fn a_condition_is_written_where_it_is_not_shown(
        #[case] expires: &str,
        #[case] conditions: Value,
        #[case] expected: Option<(&str, &str)>,
    ) {
        let due = due_condition(&user(expires, &conditions), NOW.parse().unwrap());
        let due = due.map(|due| (due.status, due.last_transition_time.0, due.observed_generation));
        let expected = expected.map(|(status, since)| (status.to_owned(), since.parse().unwrap(), Some(3)));
        assert_eq!(due, expected);
    }

    #[tokio::test]
    async fn each_generation_is_written_once() {
        let (queue, mut conditions) = channel(8);
        let writer = ConditionWriter { queue, written: Arc::default() };
        for _ in 0..2 {
            writer.observe(&Event::Apply(user(BAD, &json!([]))));
        }
        // Another program, which can read the object, has overwritten the condition.
        writer.observe(&Event::Apply(user(BAD, &valid("True", "", 3))));
        drop(writer);
        let DueCondition { name, condition, .. } = conditions.recv().await.unwrap();
        assert_eq!((name.as_str(), condition.status.as_str()), ("alice", "False"));
        assert!(condition.message.starts_with("spec.expires: "), "{}", condition.message);
        assert!(conditions.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_condition_that_was_not_written_is_due_again() {
        let (queue, mut conditions) = channel(1);
        let writer = ConditionWriter { queue, written: Arc::default() };
        let event = Event::Apply(user(BAD, &json!([])));
        writer.observe(&event);
        let DueCondition { name, uid, condition } = conditions.recv().await.unwrap();
        let (again, failing) = channel(1);
        let api = ScriptedApi::by(|_| Answer::Status(403));
        again.send(DueCondition { name, uid, condition }).await.unwrap();
        drop(again);
        let users = Api::<Guarded<BastionUser>>::namespaced(api.client(), "n");
        write(users, "bastion-gateway", failing, writer.written.clone()).await;
        writer.observe(&event);
        assert!(conditions.try_recv().is_ok(), "after a failed attempt");
        writer.written.lock().forget("u");
        writer.observe(&event);
        writer.written.lock().forget("u");
        writer.observe(&event);
        conditions.recv().await.unwrap();
        writer.observe(&event);
        assert!(conditions.try_recv().is_ok(), "after the queue was full");
    }
}
