//! The session writer: creates sessions and writes their ends. No other code writes them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::BackoffBuilder;
use futures::FutureExt;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::request::injected;
use super::{EventSink, Guarded, REQUEST_TIMEOUT, code, retry_pace};
use crate::api::{BastionSession, BastionSessionStatus, CONDITION_ENDED, RecordingResult};
use crate::failpoints::failpoint;
use crate::lifecycle::End;
use crate::metrics::{EndLabels, METRICS, RetryLabels};
use crate::tasks::panic_message;
use crate::text::printable_up_to;

/// How many ends and recording results a writer sends at once. An API server under load serves the requests of one program one
/// after the other, so thousands of ends would delay all other requests of the program.
const MAX_CONCURRENT_ENDS: usize = 48;
/// How many sessions a writer creates at once. The limit is separate, so that sign-ins do not wait for thousands of ends.
const MAX_CONCURRENT_CREATES: usize = 16;

/// How long the write of a recording result is retried.
const RECORDING_RESULT_TIMEOUT: Duration = Duration::from_mins(5);

/// The longest signal name that the schema accepts, in characters.
const MAX_SIGNAL: usize = 32;

/// Writes sessions on behalf of one program.
#[derive(Clone)]
pub struct SessionWriter {
    /// Creates sessions. The API server returns what this program wrote, so the program can read it.
    api: Api<BastionSession>,
    /// Writes ends. A write succeeds if the API server accepts it, even if the returned object is unreadable.
    guarded: Api<Guarded<BastionSession>>,
    namespace: String,
    manager: &'static str,
    events: EventSink,
    /// Permits to write an end or a recording result. Clones share them.
    end_permits: Arc<Semaphore>,
    /// Permits to create a session. Clones share them.
    create_permits: Arc<Semaphore>,
}

/// The outcome of creating a session.
#[derive(Debug)]
pub enum CreateOutcome {
    /// The created object, as the API server returned it.
    Session(Box<BastionSession>),
    /// The API server refused the object.
    Refused(Box<kube::core::Status>),
    /// No answer arrived, so the object may exist. The text is the last error.
    Unknown(String),
}

/// The outcome of writing an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    /// This writer's end is the session's end.
    Written,
    /// Another writer had ended the session before.
    AlreadyFinal,
    /// The object no longer exists.
    Gone,
}

/// A failed attempt to write an end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The API server answered with an error, or the connection to it failed.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The API server did not answer within [`REQUEST_TIMEOUT`].
    #[error("the API server did not answer")]
    Timeout,
    /// The attempt panicked with this message.
    #[error("the attempt has panicked: {0}")]
    Panicked(String),
}

impl WriteError {
    /// Returns the label `cause` in the metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Panicked(_) => "panic",
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
    /// Creates a writer for the sessions of `namespace`. `manager` is its name in `managedFields`.
    pub fn new(client: Client, namespace: &str, manager: &'static str, events: EventSink) -> Self {
        let (api, guarded) = (Api::namespaced(client.clone(), namespace), Api::namespaced(client, namespace));
        Self {
            api,
            guarded,
            namespace: namespace.to_owned(),
            manager,
            events,
            end_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_ENDS)),
            create_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_CREATES)),
        }
    }

    /// Creates a session and publishes an Event. Retries for up to [`REQUEST_TIMEOUT`] while the API server answers 429 or 5xx.
    ///
    /// The caller chooses the name, so that a retry after a lost answer finds the object of the first attempt. A retry is
    /// sent only while `wanted` returns true. Otherwise the object may have been ended and deleted meanwhile, and a retry
    /// would create it a second time.
    pub async fn create(&self, session: &BastionSession, wanted: impl Fn() -> bool) -> CreateOutcome {
        let params = PostParams { field_manager: Some(self.manager.to_owned()), ..PostParams::default() };
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let mut unknown = String::new();
        for (attempt, pause) in retry_pace().build().enumerate() {
            if attempt > 0 && !wanted() {
                break;
            }
            let mut answered = false;
            match self.send_create(&params, session).await {
                Ok(Ok(created)) => return self.created(created),
                Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => {
                    match timeout(REQUEST_TIMEOUT / 2, self.api.get(&session.name_any())).await {
                        Ok(Ok(own)) if own.spec.gateway == session.spec.gateway && !own.phase().is_final() => {
                            return self.created(own);
                        }
                        Ok(Ok(_)) => return CreateOutcome::Refused(status),
                        // The existing object may be this session.
                        Ok(Err(_)) | Err(_) => return CreateOutcome::Unknown(status.message),
                    }
                }
                // Other conflicts (409) are concurrent updates of a ResourceQuota. A retry resolves them.
                Ok(Err(kube::Error::Api(status))) if status.code < 500 && !matches!(status.code, 409 | 429) => {
                    // The first attempt may have created the object although a retry is refused.
                    return if attempt == 0 {
                        CreateOutcome::Refused(status)
                    } else {
                        CreateOutcome::Unknown(status.message)
                    };
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
        CreateOutcome::Unknown(unknown)
    }

    /// Sends one request to create a session. At most [`MAX_CONCURRENT_CREATES`] such requests are in flight at once. Waits up
    /// to [`REQUEST_TIMEOUT`] for a permit, and half as long for the answer.
    async fn send_create(
        &self,
        params: &PostParams,
        session: &BastionSession,
    ) -> Result<kube::Result<BastionSession>, Elapsed> {
        // The semaphore is never closed.
        let _permit = timeout(REQUEST_TIMEOUT, self.create_permits.acquire()).await?;
        let sending = async {
            failpoint("create-session").await.map_err(injected)?;
            let created = self.api.create(params, session).await?;
            failpoint("session-created").await.map_err(injected)?;
            Ok(created)
        };
        timeout(REQUEST_TIMEOUT / 2, sending).await
    }

    fn created(&self, session: BastionSession) -> CreateOutcome {
        self.events.started(&session);
        CreateOutcome::Session(Box::new(session))
    }

    /// Writes an end, and retries without limit until the object has a final phase or is gone. A panic is retried too. Callers
    /// keep the session registered until this returns, because the cluster shows the session as online until then.
    pub async fn end_until_final(&self, session: &ObjectReference, end: &End) -> EndOutcome {
        let name = session.name.as_deref().unwrap_or_default();
        let since = Instant::now();
        let mut pace = retry_pace().build();
        METRICS.unwritten_ends.inc();
        let unwritten = METRICS.oldest_unwritten_end_seconds.start();
        loop {
            let attempt = AssertUnwindSafe(self.end(session, end)).catch_unwind().await;
            match attempt.unwrap_or_else(|panic| Err(WriteError::Panicked(panic_message(&*panic).to_owned()))) {
                Ok(ended) => {
                    METRICS.unwritten_ends.dec();
                    METRICS.oldest_unwritten_end_seconds.finish(unwritten);
                    let labels = EndLabels::of(end.cause.reason());
                    METRICS.end_written_seconds.get_or_create(&labels).observe(since.elapsed().as_secs_f64());
                    return ended;
                }
                Err(failure) => {
                    METRICS.end_write_retries.get_or_create(&RetryLabels { cause: failure.label() }).inc();
                    match failure.label() {
                        "forbidden" => {
                            error!(session = name, error = %failure, "no right to write the session's end; retrying; check the Role and the admission policies");
                        }
                        _ => {
                            warn!(session = name, error = %failure, "session's end not written; retrying");
                        }
                    }
                }
            }
            sleep(pace.next().unwrap_or(REQUEST_TIMEOUT)).await;
        }
    }

    /// Writes an end once, if the session still has this resource version. When several controllers sweep the same sessions,
    /// one of them writes each end.
    ///
    /// # Errors
    /// As [`Self::end`]; a conflict (409) if the session has changed.
    pub async fn end_if_unchanged(
        &self,
        session: &ObjectReference,
        version: &str,
        end: &End,
    ) -> Result<EndOutcome, WriteError> {
        let mut patch = patch(end);
        patch["metadata"] = json!({ "resourceVersion": version });
        self.write(session, end, &patch).await
    }

    /// Writes an end once.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses and so leaves the session Active.
    pub async fn end(&self, session: &ObjectReference, end: &End) -> Result<EndOutcome, WriteError> {
        self.write(session, end, &patch(end)).await
    }

    async fn write(&self, session: &ObjectReference, end: &End, patch: &Value) -> Result<EndOutcome, WriteError> {
        let name = session.name.as_deref().unwrap_or_default();
        let ended = match self.patch(name, patch).await {
            Err(WriteError::Kube(kube::Error::Api(status))) if status.code == 422 => {
                self.after_refusal(name, end).await?
            }
            Err(WriteError::Kube(error)) if code(&error) == Some(404) => EndOutcome::Gone,
            Err(error) => return Err(error),
            Ok(()) => EndOutcome::Written,
        };
        let cause = &end.cause;
        match ended {
            EndOutcome::Written => {
                info!(session = name, phase = %end.phase(), reason = %cause.reason(), why = cause.message(), "session ended");
                METRICS.sessions_ended.get_or_create(&EndLabels::of(cause.reason())).inc();
                self.events.ended(session.clone(), end);
            }
            EndOutcome::AlreadyFinal => {
                info!(session = name, reason = %cause.reason(), "another writer had ended the session before");
                METRICS.late_ends_refused.inc();
            }
            EndOutcome::Gone => {
                warn!(session = name, reason = %cause.reason(), "session ended, but its object is gone");
            }
        }
        Ok(ended)
    }

    /// Handles an end that a schema rule refused. Either another writer was first, or a detail of this end is invalid. In the
    /// second case, writes the end without its details.
    async fn after_refusal(&self, name: &str, end: &End) -> Result<EndOutcome, WriteError> {
        failpoint("read-refused-end").await.map_err(injected)?;
        let current = timeout(REQUEST_TIMEOUT, self.guarded.get_opt(name)).await.map_err(|_| WriteError::Timeout)??;
        let start = match current {
            None => return Ok(EndOutcome::Gone),
            Some(Guarded(Ok(session))) if session.phase().is_final() => return Ok(EndOutcome::AlreadyFinal),
            Some(Guarded(Ok(session))) => session.spec.start_time.0,
            Some(Guarded(Err(unreadable))) if unreadable.has_ended() => return Ok(EndOutcome::AlreadyFinal),
            Some(Guarded(Err(_))) => end.time,
        };
        let bare = json!({ "status": {
            "phase": end.phase(),
            "reason": end.cause.reason().as_str(),
            "endTime": MicroTime(end.time.max(start)),
        }});
        self.patch(name, &bare).await.map(|()| EndOutcome::Written)
    }

    /// Writes the result of a session's recordings, with retries for [`RECORDING_RESULT_TIMEOUT`]. Call this after the end was
    /// written, because the end does not wait for the recording store.
    pub async fn write_recording_result(&self, session: &ObjectReference, recording: &RecordingResult) {
        let name = session.name.as_deref().unwrap_or_default();
        let patch = json!({ "status": { "recording": recording } });
        let writing = async {
            for pause in retry_pace().build() {
                match self.patch(name, &patch).await {
                    Ok(()) => break,
                    Err(WriteError::Kube(error)) if code(&error) == Some(404) => break,
                    Err(error) => warn!(session = name, %error, "recording result not written; retrying"),
                }
                sleep(pause).await;
            }
        };
        if timeout(RECORDING_RESULT_TIMEOUT, writing).await.is_err() {
            error!(session = name, ?recording, "recording result not written; giving up");
        }
    }

    /// Writes a session's status. At most [`MAX_CONCURRENT_ENDS`] such requests are in flight at once.
    async fn patch(&self, name: &str, patch: &Value) -> Result<(), WriteError> {
        // The semaphore is never closed.
        let _permit = self.end_permits.acquire().await;
        let params = PatchParams { field_manager: Some(self.manager.to_owned()), ..PatchParams::default() };
        let sending = async {
            failpoint("write-status").await.map_err(injected)?;
            self.guarded.patch_status(name, &params, &Patch::Merge(patch)).await?;
            failpoint("status-written").await.map_err(injected)
        };
        timeout(REQUEST_TIMEOUT, sending).await.map_err(|_| WriteError::Timeout)?.map_err(WriteError::from)
    }

    /// Returns a reference to a session by its name. The session need not exist.
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

/// Returns the merge patch that writes an end.
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
