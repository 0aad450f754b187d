//! The recordings of one session, and their result in the session's status.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::asciicast::Terminal;
use super::error::RecordingError;
use super::recorder::{Progress, Recorder, RecorderConfig};
use super::session_info::SessionInfo;
use super::store::Store;
use crate::api::{RecordingMode, RecordingResult, RecordingState, SessionRecordingPlan};
use crate::metrics::{METRICS, RecordingLabels};

/// The most recordings of a session. The session's status lists each recording.
const MAX_RECORDINGS: usize = 64;
/// How long the end of a session waits for the store.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The recordings of one session.
#[derive(Debug)]
pub struct SessionRecording {
    mode: RecordingMode,
    store: Option<Store>,
    session: Arc<SessionInfo>,
    /// The tasks that store segments. The gateway waits for them at a shutdown.
    tasks: TaskTracker,
    state: Mutex<State>,
    /// The first failure.
    error: Arc<watch::Sender<Option<RecordingError>>>,
}

#[derive(Debug, Default)]
struct State {
    recorders: Vec<Arc<Recorder>>,
    closed: bool,
}

impl SessionRecording {
    /// Returns the recordings of a session. No recording has started yet.
    pub fn new(mode: RecordingMode, store: Option<Store>, session: SessionInfo, tasks: TaskTracker) -> Self {
        Self { mode, store, session: Arc::new(session), tasks, state: Mutex::default(), error: Arc::default() }
    }

    /// Returns `spec.recording` of the session; `None` if the session is not recorded.
    pub fn plan(&self) -> Option<SessionRecordingPlan> {
        let location = self.store.as_ref().map(|store| store.location(&self.session.folder()));
        (self.mode != RecordingMode::Off).then_some(SessionRecordingPlan { mode: self.mode, location })
    }

    /// Returns whether the recordings are required: terminal output may pass only if it is recorded.
    pub fn is_required(&self) -> bool {
        self.mode == RecordingMode::Required
    }

    /// Begins the recording of one shell or command. Returns `None` if the session is not recorded. If the recording is
    /// required, waits until its first segment is stored.
    ///
    /// # Errors
    /// The recording is required and cannot begin.
    pub async fn begin(
        &self,
        terminal: &Terminal,
        command: Option<String>,
    ) -> Result<Option<Arc<Recorder>>, RecordingError> {
        if self.mode == RecordingMode::Off {
            return Ok(None);
        }
        let started = match self.start_recorder(terminal, command) {
            Ok(recorder) if self.is_required() => first_segment(recorder).await,
            started => started,
        };
        match started {
            Ok(recorder) => Ok(Some(recorder)),
            Err(error) if self.is_required() => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn start_recorder(&self, terminal: &Terminal, command: Option<String>) -> Result<Arc<Recorder>, RecordingError> {
        let session = &self.session.session;
        let mut state = self.state();
        let store = self.check_start(&state).inspect_err(|error| {
            METRICS.recordings_failed.get_or_create(&RecordingLabels { cause: error.label }).inc();
            warn!(session, %error, "not recorded");
            set_if_first(&self.error, error);
        })?;
        let number = i32::try_from(state.recorders.len() + 1).unwrap_or(i32::MAX);
        let (folder, required) = (self.session.folder(), self.is_required());
        let config = RecorderConfig { store, folder, number, required, session: self.session.clone() };
        let (recorder, storing) = Recorder::begin(config, terminal, command);
        state.recorders.push(recorder.clone());
        drop(state);
        METRICS.recordings_started.inc();
        info!(session, number, "recording");
        self.tasks.spawn(storing);
        self.tasks.spawn(log_result(self.session.clone(), recorder.clone(), self.error.clone()));
        Ok(recorder)
    }

    /// Returns the store, if another recording may begin.
    fn check_start(&self, state: &State) -> Result<Store, RecordingError> {
        let Some(store) = &self.store else {
            return Err(RecordingError::new("no_store", "the gateway has no --recording-url"));
        };
        if state.recorders.len() >= MAX_RECORDINGS || state.closed {
            let message = format!("a session has at most {MAX_RECORDINGS} recordings; sign in again");
            return Err(RecordingError::new("too_many", message));
        }
        Ok(store.clone())
    }

    /// Waits for the failure of a required recording. Never returns if the recordings are not required.
    pub async fn wait_for_failure(&self) -> RecordingError {
        let mut error = self.error.subscribe();
        match error.wait_for(Option::is_some).await.map(|error| error.clone()) {
            Ok(Some(error)) if self.is_required() => error,
            _ => std::future::pending().await,
        }
    }

    /// Ends all recordings at the session's end, with a marker that names `reason`. Waits up to 1 s for the store. Returns the
    /// result for the session's status.
    pub async fn close(&self, reason: &str) -> Option<RecordingResult> {
        self.state().closed = true;
        let marker = format!("session ended: {reason}");
        self.recorders().iter().for_each(|recorder| recorder.end(None, Some(&marker)));
        let _ = timeout(CLOSE_TIMEOUT, self.wait_until_stored()).await;
        self.result()
    }

    /// Waits until each recording is complete or has failed. Returns the result for the session's status.
    pub async fn wait_until_stored(&self) -> Option<RecordingResult> {
        let over = async |recorder: &Arc<Recorder>| {
            let _ = recorder.progress().wait_for(Progress::is_over).await;
        };
        join_all(self.recorders().iter().map(over)).await;
        self.result()
    }

    fn result(&self) -> Option<RecordingResult> {
        let recorders = self.recorders();
        let error = self.error.borrow().clone();
        if recorders.is_empty() && error.is_none() {
            return None;
        }
        let progress: Vec<Progress> = recorders.iter().map(|recorder| recorder.progress().borrow().clone()).collect();
        let error = error.or_else(|| progress.iter().find_map(|it| it.error.clone()));
        let state = match &error {
            Some(_) => RecordingState::Failed,
            None if progress.iter().all(|it| it.complete) => RecordingState::Complete,
            None => RecordingState::Unfinished,
        };
        Some(RecordingResult {
            state,
            message: error.map(|error| error.message),
            bytes: progress.iter().map(|it| it.stored.bytes).sum(),
            channels: progress.into_iter().map(|it| it.stored).collect(),
        })
    }

    fn recorders(&self) -> Vec<Arc<Recorder>> {
        self.state().recorders.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Waits until the first segment of a recording is stored.
async fn first_segment(recorder: Arc<Recorder>) -> Result<Arc<Recorder>, RecordingError> {
    let mut progress = recorder.progress();
    let error = match progress.wait_for(|it| it.started || it.error.is_some()).await {
        Ok(progress) => progress.error.clone(),
        Err(_) => None,
    };
    error.map_or(Ok(recorder), Err)
}

/// Waits for the result of a recording and logs it. Keeps the error if it is the first of the session.
async fn log_result(
    session: Arc<SessionInfo>,
    recorder: Arc<Recorder>,
    first: Arc<watch::Sender<Option<RecordingError>>>,
) {
    let mut progress = recorder.progress();
    let Ok(progress) = progress.wait_for(Progress::is_over).await.map(|it| it.clone()) else { return };
    let (session, stored) = (&session.session, progress.stored);
    if let Some(error) = progress.error {
        set_if_first(&first, &error);
        warn!(session, number = stored.number, cause = error.label, %error, "recording failed");
    } else {
        info!(session, number = stored.number, bytes = stored.bytes, sha256 = stored.sha256, "recorded");
    }
}

fn set_if_first(first: &watch::Sender<Option<RecordingError>>, error: &RecordingError) {
    first.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert_with(|| error.clone());
        is_first
    });
}
