//! The only place that writes sessions: their creation, and the one function that writes an end, whatever the
//! cause and whoever the writer.

use std::time::{Duration, Instant};

use backon::BackoffBuilder;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::{EventSink, Guarded, REQUEST_TIMEOUT, code, retry_pace};
use crate::api::{BastionSession, BastionSessionStatus, CONDITION_ENDED, RecordingResult};
use crate::lifecycle::End;
use crate::metrics::{EndLabels, METRICS, RetryLabels};
use crate::text::printable_up_to;

/// How long the write of a session's recording result is repeated.
const RECORDING_RESULT_TIMEOUT: Duration = Duration::from_mins(5);

/// The longest signal name that the schema accepts, in characters.
const MAX_SIGNAL: usize = 32;

/// Writes sessions on behalf of one program.
#[derive(Clone)]
pub struct SessionWriter {
    /// Creates sessions, which this version wrote and so can read.
    api: Api<BastionSession>,
    /// Writes ends. A write succeeds when the API server accepts it, even if the object that it returns cannot be read.
    guarded: Api<Guarded<BastionSession>>,
    namespace: String,
    manager: &'static str,
    events: EventSink,
}

/// What became of a create.
#[derive(Debug)]
pub enum Created {
    /// The object, as the API server has it.
    Session(Box<BastionSession>),
    /// The API server refused it.
    Refused(Box<kube::core::Status>),
    /// No answer came, so the object may exist or not.
    Unknown(String),
}

/// What became of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This writer's end is the session's end.
    Written,
    /// Another writer was first.
    AlreadyFinal,
    /// There is no such object any more.
    Gone,
}

/// Why an end could not be written this time.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server answered with an error, or the connection to it failed.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// No answer within [`REQUEST_TIMEOUT`].
    #[error("the API server did not answer")]
    Timeout,
}

impl WriteError {
    /// A bounded label for the metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Kube(error) => match code(error) {
                Some(403) => "forbidden",
                Some(409) => "conflict",
                Some(422) => "invalid",
                Some(429) => "throttled",
                Some(_) => "error",
                None => "unreachable",
            },
        }
    }
}

impl SessionWriter {
    /// A writer for the sessions of `namespace`; `manager` is its name in `managedFields`.
    pub fn new(client: Client, namespace: &str, manager: &'static str, events: EventSink) -> Self {
        let (api, guarded) = (Api::namespaced(client.clone(), namespace), Api::namespaced(client, namespace));
        Self { api, guarded, namespace: namespace.to_owned(), manager, events }
    }

    /// Creates a session and says so in an Event. The name is the caller's, so that a create whose answer was lost
    /// can be sent again and finds its own object. It is not sent again when the session is not `wanted` any more: its
    /// object may have been ended meanwhile, put on record and deleted, and would come into being a second time. While the
    /// API server answers 429 or 5xx, the create is repeated for up to [`REQUEST_TIMEOUT`].
    pub async fn create(&self, session: &BastionSession, wanted: impl Fn() -> bool) -> Created {
        let params = PostParams { field_manager: Some(self.manager.to_owned()), ..PostParams::default() };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut unknown = String::new();
        for (attempt, pause) in retry_pace().build().enumerate() {
            if attempt > 0 && !wanted() {
                break;
            }
            let mut answered = false;
            match timeout(REQUEST_TIMEOUT / 2, self.api.create(&params, session)).await {
                Ok(Ok(created)) => return self.created(created),
                Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => {
                    match timeout(REQUEST_TIMEOUT / 2, self.api.get(&session.name_any())).await {
                        Ok(Ok(own)) if own.spec.gateway == session.spec.gateway && !own.phase().is_final() => {
                            return self.created(own);
                        }
                        Ok(Ok(_)) => return Created::Refused(status),
                        // It may be our own all the same.
                        Ok(Err(_)) | Err(_) => return Created::Unknown(status.message),
                    }
                }
                // A conflict that is not about the name is about a ResourceQuota, which others count in as well.
                Ok(Err(kube::Error::Api(status))) if status.code < 500 && !matches!(status.code, 409 | 429) => {
                    // What is refused the second time may have come into being the first time.
                    return if attempt == 0 { Created::Refused(status) } else { Created::Unknown(status.message) };
                }
                Ok(Err(error)) => {
                    answered = code(&error).is_some();
                    unknown = error.to_string();
                }
                Err(_) => "the API server did not answer".clone_into(&mut unknown),
            }
            if Instant::now() + pause >= deadline || (attempt > 0 && !answered) {
                break;
            }
            sleep(pause).await;
        }
        Created::Unknown(unknown)
    }

    fn created(&self, session: BastionSession) -> Created {
        self.events.started(&session);
        Created::Session(Box::new(session))
    }

    /// Writes an end, again and again until the object says that the session has ended. It returns only then, so
    /// that whoever awaits it keeps the session in the books for as long as the cluster thinks that it is online.
    pub async fn end_until_final(&self, session: &ObjectReference, end: &End) -> Ended {
        let name = session.name.as_deref().unwrap_or_default();
        let since = Instant::now();
        let mut pace = retry_pace().build();
        METRICS.unwritten_ends.inc();
        let unwritten = METRICS.oldest_unwritten_end_seconds.begin();
        loop {
            match self.end(session, end).await {
                Ok(ended) => {
                    METRICS.unwritten_ends.dec();
                    METRICS.oldest_unwritten_end_seconds.over(unwritten);
                    let labels = EndLabels::of(end.cause.reason());
                    METRICS.end_written_seconds.get_or_create(&labels).observe(since.elapsed().as_secs_f64());
                    return ended;
                }
                Err(failure) => {
                    METRICS.end_write_retries.get_or_create(&RetryLabels { cause: failure.label() }).inc();
                    match failure.label() {
                        "forbidden" => {
                            error!(session = name, error = %failure, "may not write the session's end; check the Role and the admission policies");
                        }
                        _ => {
                            warn!(session = name, error = %failure, "the session's end is not yet written; trying again");
                        }
                    }
                }
            }
            sleep(pace.next().unwrap_or(REQUEST_TIMEOUT)).await;
        }
    }

    /// Writes an end once, if the session still has this resource version: of several controllers that sweep the same sessions
    /// one writes each end.
    ///
    /// # Errors
    /// As [`Self::end`], and a conflict when the session has changed.
    pub async fn end_as_seen(&self, session: &ObjectReference, version: &str, end: &End) -> Result<Ended, WriteError> {
        let mut patch = patch(end);
        patch["metadata"] = json!({ "resourceVersion": version });
        self.write(session, end, &patch).await
    }

    /// Writes an end once.
    ///
    /// # Errors
    /// When the API server did not answer, or in a way that leaves the session Active.
    pub async fn end(&self, session: &ObjectReference, end: &End) -> Result<Ended, WriteError> {
        self.write(session, end, &patch(end)).await
    }

    async fn write(&self, session: &ObjectReference, end: &End, patch: &Value) -> Result<Ended, WriteError> {
        let name = session.name.as_deref().unwrap_or_default();
        let ended = match self.patch(name, patch).await {
            Err(WriteError::Kube(kube::Error::Api(status))) if status.code == 422 => {
                self.after_refusal(name, end).await?
            }
            Err(WriteError::Kube(error)) if code(&error) == Some(404) => Ended::Gone,
            Err(error) => return Err(error),
            Ok(()) => Ended::Written,
        };
        let cause = &end.cause;
        match ended {
            Ended::Written => {
                info!(session = name, phase = %end.phase(), reason = %cause.reason(), why = cause.message(), "session ended");
                METRICS.sessions_ended.get_or_create(&EndLabels::of(cause.reason())).inc();
                self.events.ended(session.clone(), end);
            }
            Ended::AlreadyFinal => {
                info!(session = name, reason = %cause.reason(), "session had been ended by another writer");
                METRICS.late_ends_refused.inc();
            }
            Ended::Gone => warn!(session = name, reason = %cause.reason(), "session ended, but its object is gone"),
        }
        Ok(ended)
    }

    /// A schema rule refused the end: either somebody was first, or a detail of ours is at fault, and then the
    /// session must end without the details.
    async fn after_refusal(&self, name: &str, end: &End) -> Result<Ended, WriteError> {
        let current = timeout(REQUEST_TIMEOUT, self.guarded.get_opt(name)).await.map_err(|_| WriteError::Timeout)??;
        let start = match current {
            None => return Ok(Ended::Gone),
            Some(Guarded(Ok(session))) if session.phase().is_final() => return Ok(Ended::AlreadyFinal),
            Some(Guarded(Ok(session))) => session.spec.start_time.0,
            Some(Guarded(Err(unreadable))) if unreadable.has_ended() => return Ok(Ended::AlreadyFinal),
            Some(Guarded(Err(_))) => end.time,
        };
        let bare = json!({ "status": {
            "phase": end.phase(),
            "reason": end.cause.reason().as_str(),
            "endTime": MicroTime(end.time.max(start)),
        }});
        self.patch(name, &bare).await.map(|()| Ended::Written)
    }

    /// Writes what became of a session's recordings, after its end was written: that does not wait for a store.
    pub async fn recorded(&self, session: &ObjectReference, recording: &RecordingResult) {
        let name = session.name.as_deref().unwrap_or_default();
        let patch = json!({ "status": { "recording": recording } });
        let writing = async {
            for pause in retry_pace().build() {
                match self.patch(name, &patch).await {
                    Ok(()) => break,
                    Err(WriteError::Kube(error)) if code(&error) == Some(404) => break,
                    Err(error) => warn!(session = name, %error, "its recording result is not written; trying again"),
                }
                sleep(pause).await;
            }
        };
        if timeout(RECORDING_RESULT_TIMEOUT, writing).await.is_err() {
            error!(session = name, ?recording, "its recording result could not be written; giving up");
        }
    }

    async fn patch(&self, name: &str, patch: &Value) -> Result<(), WriteError> {
        let params = PatchParams { field_manager: Some(self.manager.to_owned()), ..PatchParams::default() };
        timeout(REQUEST_TIMEOUT, self.guarded.patch_status(name, &params, &Patch::Merge(patch)))
            .await
            .map_err(|_| WriteError::Timeout)?
            .map(drop)
            .map_err(WriteError::from)
    }

    /// A reference to a session that may exist, by the name it was given.
    pub fn reference(&self, name: &str) -> ObjectReference {
        use kube::Resource;
        ObjectReference {
            api_version: Some(BastionSession::api_version(&()).into_owned()),
            kind: Some(BastionSession::kind(&()).into_owned()),
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            ..ObjectReference::default()
        }
    }
}

/// The merge patch that writes an end.
fn patch(end: &End) -> Value {
    let reason = end.cause.reason();
    let exit = end.cause.exit();
    let count = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let status = BastionSessionStatus {
        phase: end.phase(),
        reason: Some(reason.as_str().to_owned()),
        message: Some(end.cause.message()),
        last_seen_time: end.last_seen.map(MicroTime),
        end_time: Some(MicroTime(end.time)),
        observed_by: Some(end.observed_by),
        exit_code: exit.code.map(i64::from),
        exit_signal: exit.signal.map(|signal| printable_up_to(&signal, MAX_SIGNAL)),
        bytes_in: end.bytes.map(|(from_user, _)| count(from_user)),
        bytes_out: end.bytes.map(|(_, to_user)| count(to_user)),
        recording: end.recording.clone(),
        conditions: Some(vec![Condition {
            type_: CONDITION_ENDED.to_owned(),
            status: "True".to_owned(),
            reason: reason.as_str().to_owned(),
            message: end.cause.message(),
            last_transition_time: Time(end.time),
            observed_generation: None,
        }]),
    };
    json!({ "status": status })
}

#[cfg(test)]
mod tests;
