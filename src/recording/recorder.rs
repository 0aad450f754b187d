//! Records one shell or command: buffers its events, and stores them in segments.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::{Mutex, MutexGuard};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::asciicast::{Header, Stream, Terminal};
use super::error::RecordingError;
use super::segments::{Due, Segment, Segments};
use super::session_info::SessionInfo;
use super::store::Store;
use crate::api::RecordedChannel;
use crate::metrics::{METRICS, RecordingLabels};

/// The configuration of a recording.
#[derive(Clone, Debug)]
pub struct RecorderConfig {
    /// The store.
    pub store: Store,
    /// The session's folder in the store.
    pub folder: String,
    /// The recording's number, counted from 1 within the session.
    pub number: i32,
    /// Whether the recording is required. If so, output waits for the recording, and stops when the recording fails.
    pub required: bool,
    /// The recorded session.
    pub session: Arc<SessionInfo>,
}

/// The progress of storing a recording.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The stored part. It does not change after [`Self::is_over`].
    pub stored: RecordedChannel,
    /// Whether the first segment is stored.
    pub started: bool,
    /// Whether everything is stored.
    pub complete: bool,
    /// Why storing stopped.
    pub error: Option<RecordingError>,
}

impl Progress {
    /// Returns whether the recording is complete or has failed.
    pub const fn is_over(&self) -> bool {
        self.complete || self.error.is_some()
    }
}

/// A running recording.
#[derive(Debug)]
pub struct Recorder {
    required: bool,
    started: Instant,
    segments: Mutex<Segments>,
    /// Notified when there is an event to store.
    arrived: Notify,
    /// Notified when a segment is stored, which makes room for output.
    room: Notify,
    progress: watch::Sender<Progress>,
}

impl Recorder {
    /// Begins a recording. Also returns the future that stores the segments; the caller must run it.
    pub fn begin(
        config: RecorderConfig,
        terminal: &Terminal,
        command: Option<String>,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let timestamp = jiff::Timestamp::now().as_second();
        let header = Header::new(terminal, timestamp, config.session.title(), command);
        let stored = RecordedChannel { number: config.number, ..RecordedChannel::default() };
        let recorder = Arc::new(Self {
            required: config.required,
            started: Instant::now(),
            segments: Mutex::new(Segments::new(terminal, &header)),
            arrived: Notify::new(),
            room: Notify::new(),
            progress: watch::Sender::new(Progress { stored, ..Progress::default() }),
        });
        let storing = recorder.clone();
        (recorder, async move { storing.store(config).await })
    }

    /// Subscribes to the progress of storing.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Records output. The caller may pass the output on only after this returns.
    ///
    /// If the recording is required, waits for room in the buffer, and never returns once the recording has failed or ended.
    /// Otherwise never waits: the recording fails if there is no room.
    pub async fn output(&self, stream: Stream, bytes: &[u8]) {
        loop {
            let room = self.room.notified();
            {
                let mut segments = self.segments();
                let failed = self.progress.borrow().error.is_some();
                match () {
                    () if failed && !self.required => return,
                    () if failed || segments.is_ended() => {}
                    () if !segments.is_full() => {
                        segments.output(self.started.elapsed(), stream, bytes);
                        self.arrived.notify_one();
                        return;
                    }
                    () if !self.required => {
                        drop(segments);
                        self.fail(&RecordingError::new("slow", "the store is slower than the session's output"));
                        return;
                    }
                    () => {}
                }
            }
            room.await;
        }
    }

    /// Records a resize.
    pub fn resized(&self, columns: u32, rows: u32) {
        self.add(|segments, now| segments.resized(now, columns, rows));
    }

    /// Ends the recording, with the program's exit status if it has one. `marker` describes an end that is not the program's
    /// own.
    pub fn end(&self, status: Option<u32>, marker: Option<&str>) {
        self.add(|segments, now| {
            if let Some(label) = marker {
                segments.marker(now, label);
            }
            segments.end(now, status);
        });
    }

    fn add(&self, add: impl FnOnce(&mut Segments, Duration)) {
        let mut segments = self.segments();
        if !segments.is_ended() && self.progress.borrow().error.is_none() {
            add(&mut segments, self.started.elapsed());
            self.arrived.notify_one();
        }
    }

    fn fail(&self, error: &RecordingError) {
        let first = self.progress.send_if_modified(|progress| {
            let first = !progress.is_over();
            if first {
                progress.error = Some(error.clone());
            }
            first
        });
        if first {
            METRICS.recordings_failed.get_or_create(&RecordingLabels { cause: error.label }).inc();
        }
        self.arrived.notify_one();
    }

    /// Stores segments until the recording has ended, and then the manifest. Stops at the first failure.
    async fn store(&self, config: RecorderConfig) {
        let folder = format!("{}/{}", config.folder, config.number);
        let mut digest = Context::new(&SHA256);
        while let Some(Segment { name, text }) = self.next_segment().await {
            digest.update(&text);
            let bytes = text.len();
            if let Err(error) = config.store.put(&format!("{folder}/{name}"), text).await {
                return self.fail(&error);
            }
            METRICS.recording_bytes.inc_by(bytes as u64);
            let sum = hexadecimal(digest.clone().finish().as_ref());
            self.progress.send_modify(|progress| {
                progress.started = true;
                progress.stored.bytes += i64::try_from(bytes).unwrap_or(i64::MAX);
                progress.stored.sha256 = sum;
            });
            self.room.notify_one();
        }
        let Progress { stored, error: None, .. } = self.progress.borrow().clone() else { return };
        let manifest = self.manifest(&config, &stored);
        match config.store.put(&format!("{folder}/manifest.json"), manifest).await {
            Ok(()) => self.progress.send_modify(|progress| progress.complete = progress.error.is_none()),
            Err(error) => self.fail(&error),
        }
    }

    /// Waits for the next segment to store. Returns `None` once the recording has ended or failed.
    async fn next_segment(&self) -> Option<Segment> {
        loop {
            let due = {
                let mut segments = self.segments();
                if self.progress.borrow().error.is_some() {
                    return None;
                }
                match segments.due(self.started.elapsed()) {
                    Due::Now => return Some(segments.take()),
                    Due::Never if segments.is_ended() => return None,
                    due => due,
                }
            };
            match due {
                Due::In(wait) => tokio::select! {
                    () = self.arrived.notified() => {}
                    () = sleep(wait) => {}
                },
                Due::Now | Due::Never => self.arrived.notified().await,
            }
        }
    }

    /// Returns the manifest of a complete recording.
    fn manifest(&self, config: &RecorderConfig, stored: &RecordedChannel) -> Vec<u8> {
        let (segments, milliseconds) = self.segments().totals();
        let RecordedChannel { number, bytes, sha256 } = stored;
        let mut manifest = serde_json::to_value(&*config.session).unwrap_or_default();
        if let Some(manifest) = manifest.as_object_mut() {
            let own = json!({"format": "asciicast-v3", "number": number, "pieces": segments, "milliseconds": milliseconds,
                "bytes": bytes, "sha256": sha256});
            manifest.extend(own.as_object().cloned().unwrap_or_default());
        }
        serde_json::to_vec(&manifest).unwrap_or_default()
    }

    fn segments(&self) -> MutexGuard<'_, Segments> {
        self.segments.lock()
    }
}

/// Formats bytes as hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
