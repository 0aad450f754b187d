//! What is recorded of one session: whether, where, and what became of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::Failure;
use super::about::About;
use super::asciicast::Terminal;
use super::recorder::{Order, Progress, Recorder};
use super::store::Store;
use crate::api::{RecordingMode, RecordingResult, RecordingState, SessionRecordingPlan};
use crate::metrics::{METRICS, RecordingLabels};

/// How many recordings a session can have: each is on its status.
const MAX_RECORDINGS: usize = 64;
/// For how long the end of a session waits for the store.
const CLOSING: Duration = Duration::from_secs(1);

/// The recordings of one session.
#[derive(Debug)]
pub struct SessionRecording {
    mode: RecordingMode,
    store: Option<Store>,
    about: Arc<About>,
    /// Tasks that store; the program waits for them when it stops.
    tasks: TaskTracker,
    begun: Mutex<Begun>,
    /// The first thing that went wrong.
    failure: Arc<watch::Sender<Option<Failure>>>,
}

#[derive(Debug, Default)]
struct Begun {
    recorders: Vec<Arc<Recorder>>,
    closed: bool,
}

impl SessionRecording {
    /// The recordings of the session that `about` describes.
    pub fn new(mode: RecordingMode, store: Option<Store>, about: About, tasks: TaskTracker) -> Self {
        Self { mode, store, about: Arc::new(about), tasks, begun: Mutex::default(), failure: Arc::default() }
    }

    /// What the session's object says of it from the start.
    pub fn plan(&self) -> Option<SessionRecordingPlan> {
        let location = self.store.as_ref().map(|store| store.location(&self.about.folder()));
        (self.mode != RecordingMode::Off).then_some(SessionRecordingPlan { mode: self.mode, location })
    }

    /// Whether nothing may pass that is not recorded.
    pub fn is_required(&self) -> bool {
        self.mode == RecordingMode::Required
    }

    /// Begins a recording of one shell or command, where the session is recorded. A required one has begun in the store,
    /// too, when this returns.
    ///
    /// # Errors
    /// Why there is none, though it is required.
    pub async fn begin(&self, terminal: &Terminal, command: Option<String>) -> Result<Option<Arc<Recorder>>, Failure> {
        if self.mode == RecordingMode::Off {
            return Ok(None);
        }
        let begun = match self.enter(terminal, command) {
            Ok(recorder) if self.is_required() => first_piece(recorder).await,
            begun => begun,
        };
        match begun {
            Ok(recorder) => Ok(Some(recorder)),
            Err(failure) if self.is_required() => Err(failure),
            Err(_) => Ok(None),
        }
    }

    fn enter(&self, terminal: &Terminal, command: Option<String>) -> Result<Arc<Recorder>, Failure> {
        let session = &self.about.session;
        let mut begun = self.begun();
        let store = match &self.store {
            Some(store) if begun.recorders.len() < MAX_RECORDINGS && !begun.closed => store.clone(),
            other => {
                let failure = match other {
                    None => Failure::new("no_store", "the gateway has no --recording-url"),
                    Some(_) => Failure::new(
                        "too_many",
                        format!("a session has at most {MAX_RECORDINGS} recordings; sign in again"),
                    ),
                };
                METRICS.recordings_failed.get_or_create(&RecordingLabels { cause: failure.label }).inc();
                warn!(session, error = %failure, "not recorded");
                remember(&self.failure, &failure);
                return Err(failure);
            }
        };
        let number = i32::try_from(begun.recorders.len() + 1).unwrap_or(i32::MAX);
        let (folder, required) = (self.about.folder(), self.is_required());
        let order = Order { store, folder, number, required, about: self.about.clone() };
        let (recorder, storing) = Recorder::begin(order, terminal, command);
        begun.recorders.push(recorder.clone());
        drop(begun);
        METRICS.recordings_started.inc();
        info!(session, number, "recording");
        self.tasks.spawn(storing);
        self.tasks.spawn(report(self.about.clone(), recorder.clone(), self.failure.clone()));
        Ok(recorder)
    }

    /// Waits until something that must be recorded cannot be, and says why; for ever where nothing must.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(failure)) if self.is_required() => failure,
            _ => std::future::pending().await,
        }
    }

    /// The session ends, for this reason: nothing more is recorded. What there is to write on its status then; the
    /// store has a moment to take the rest.
    pub async fn close(&self, reason: &str) -> Option<RecordingResult> {
        self.begun().closed = true;
        let label = format!("session ended: {reason}");
        self.recorders().iter().for_each(|recorder| recorder.end(None, Some(&label)));
        let _ = timeout(CLOSING, self.settled()).await;
        self.result()
    }

    /// Waits until the store has taken everything or failed to, and returns what there is to write then.
    pub async fn settled(&self) -> Option<RecordingResult> {
        let over = async |recorder: &Arc<Recorder>| {
            let _ = recorder.progress().wait_for(Progress::is_over).await;
        };
        join_all(self.recorders().iter().map(over)).await;
        self.result()
    }

    fn result(&self) -> Option<RecordingResult> {
        let recorders = self.recorders();
        let failure = self.failure.borrow().clone();
        if recorders.is_empty() && failure.is_none() {
            return None;
        }
        let progress: Vec<Progress> = recorders.iter().map(|recorder| recorder.progress().borrow().clone()).collect();
        let failure = failure.or_else(|| progress.iter().find_map(|it| it.failure.clone()));
        let state = match &failure {
            Some(_) => RecordingState::Failed,
            None if progress.iter().all(|it| it.complete) => RecordingState::Complete,
            None => RecordingState::Unfinished,
        };
        Some(RecordingResult {
            state,
            message: failure.map(|failure| failure.why),
            bytes: progress.iter().map(|it| it.stored.bytes).sum(),
            channels: progress.into_iter().map(|it| it.stored).collect(),
        })
    }

    fn recorders(&self) -> Vec<Arc<Recorder>> {
        self.begun().recorders.clone()
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the store has the beginning of a recording.
async fn first_piece(recorder: Arc<Recorder>) -> Result<Arc<Recorder>, Failure> {
    let mut progress = recorder.progress();
    let failure = match progress.wait_for(|it| it.begun || it.failure.is_some()).await {
        Ok(progress) => progress.failure.clone(),
        Err(_) => None,
    };
    failure.map_or(Ok(recorder), Err)
}

/// Logs what became of a recording.
async fn report(about: Arc<About>, recorder: Arc<Recorder>, first: Arc<watch::Sender<Option<Failure>>>) {
    let mut progress = recorder.progress();
    let Ok(progress) = progress.wait_for(Progress::is_over).await.map(|it| it.clone()) else { return };
    let (session, stored) = (&about.session, progress.stored);
    if let Some(failure) = progress.failure {
        remember(&first, &failure);
        warn!(session, number = stored.number, cause = failure.label, error = %failure, "recording failed");
    } else {
        info!(session, number = stored.number, bytes = stored.bytes, sha256 = stored.sha256, "recorded");
    }
}

fn remember(first: &watch::Sender<Option<Failure>>, failure: &Failure) {
    first.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert_with(|| failure.clone());
        is_first
    });
}
