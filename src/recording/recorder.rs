//! One recording that is going on: what happens at the terminal comes in, and a task stores it piece by piece.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::Failure;
use super::about::About;
use super::asciicast::{Header, Stream, Terminal};
use super::segments::{Due, Segment, Segments};
use super::store::Store;
use crate::api::RecordedChannel;
use crate::metrics::{METRICS, RecordingLabels};

/// Where and what is recorded.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where it is stored.
    pub store: Store,
    /// The session's folder there.
    pub folder: String,
    /// Counted from 1 in its session.
    pub number: i32,
    /// Whether nothing may pass that is not recorded.
    pub required: bool,
    /// Whose it is.
    pub about: Arc<About>,
}

/// How far the storing has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What is in the store. Once it is complete, or has failed, it stays as it is.
    pub stored: RecordedChannel,
    /// Whether the first piece is.
    pub begun: bool,
    /// Whether all is.
    pub complete: bool,
    /// Why no more will be.
    pub failure: Option<Failure>,
}

impl Progress {
    /// Whether nothing will change any more.
    pub const fn is_over(&self) -> bool {
        self.complete || self.failure.is_some()
    }
}

/// A recording that is going on.
#[derive(Debug)]
pub struct Recorder {
    required: bool,
    begun: Instant,
    pieces: Mutex<Segments>,
    /// Something came that is to be stored.
    arrived: Notify,
    /// Something was stored, so there is room.
    room: Notify,
    progress: watch::Sender<Progress>,
}

impl Recorder {
    /// Begins a recording. What comes back beside it stores the pieces, and is to be run.
    pub fn begin(
        order: Order,
        terminal: &Terminal,
        command: Option<String>,
    ) -> (Arc<Self>, impl Future<Output = ()> + use<>) {
        let timestamp = jiff::Timestamp::now().as_second();
        let header = Header::new(terminal, timestamp, order.about.title(), command);
        let stored = RecordedChannel { number: order.number, ..RecordedChannel::default() };
        let recorder = Arc::new(Self {
            required: order.required,
            begun: Instant::now(),
            pieces: Mutex::new(Segments::new(terminal, &header)),
            arrived: Notify::new(),
            room: Notify::new(),
            progress: watch::Sender::new(Progress { stored, ..Progress::default() }),
        });
        let storing = recorder.clone();
        (recorder, async move { storing.store(order).await })
    }

    /// How far it has come.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// A program wrote something. It may be passed on when this returns, and not before: where the recording is
    /// required and has no room, this waits; once it has failed or ended, for ever.
    pub async fn output(&self, stream: Stream, bytes: &[u8]) {
        loop {
            let room = self.room.notified();
            {
                let mut pieces = self.pieces();
                let failed = self.progress.borrow().failure.is_some();
                match () {
                    () if failed && !self.required => return,
                    () if failed || pieces.is_ended() => {}
                    () if !pieces.is_full() => {
                        pieces.output(self.begun.elapsed(), stream, bytes);
                        self.arrived.notify_one();
                        return;
                    }
                    () if !self.required => {
                        drop(pieces);
                        self.fail(&Failure::new("slow", "the store does not keep up with what the session shows"));
                        return;
                    }
                    () => {}
                }
            }
            room.await;
        }
    }

    /// The terminal has another size.
    pub fn resized(&self, columns: u32, rows: u32) {
        self.add(|pieces, now| pieces.resized(now, columns, rows));
    }

    /// Ends it: with the program's exit status, where it has one, and with a word on how it came about otherwise.
    pub fn end(&self, status: Option<u32>, otherwise: Option<&str>) {
        self.add(|pieces, now| {
            if let Some(label) = otherwise {
                pieces.marker(now, label);
            }
            pieces.end(now, status);
        });
    }

    fn add(&self, add: impl FnOnce(&mut Segments, std::time::Duration)) {
        let mut pieces = self.pieces();
        if !pieces.is_ended() && self.progress.borrow().failure.is_none() {
            add(&mut pieces, self.begun.elapsed());
            self.arrived.notify_one();
        }
    }

    fn fail(&self, failure: &Failure) {
        let first = self.progress.send_if_modified(|progress| {
            let first = !progress.is_over();
            if first {
                progress.failure = Some(failure.clone());
            }
            first
        });
        if first {
            METRICS.recordings_failed.get_or_create(&RecordingLabels { cause: failure.label }).inc();
        }
        self.arrived.notify_one();
    }

    /// Stores pieces until the recording has ended or failed.
    async fn store(&self, order: Order) {
        let folder = format!("{}/{}", order.folder, order.number);
        let mut digest = Context::new(&SHA256);
        while let Some(Segment { name, text }) = self.next_piece().await {
            digest.update(&text);
            let bytes = text.len();
            if let Err(failure) = order.store.put(&format!("{folder}/{name}"), text).await {
                return self.fail(&failure);
            }
            METRICS.recording_bytes.inc_by(bytes as u64);
            let sum = hexadecimal(digest.clone().finish().as_ref());
            self.progress.send_modify(|progress| {
                progress.begun = true;
                progress.stored.bytes += i64::try_from(bytes).unwrap_or(i64::MAX);
                progress.stored.sha256 = sum;
            });
            self.room.notify_one();
        }
        let Progress { stored, failure: None, .. } = self.progress.borrow().clone() else { return };
        let manifest = self.manifest(&order, &stored);
        match order.store.put(&format!("{folder}/manifest.json"), manifest).await {
            Ok(()) => self.progress.send_modify(|progress| progress.complete = progress.failure.is_none()),
            Err(failure) => self.fail(&failure),
        }
    }

    /// The next piece that is to be stored; none once the recording has ended, or failed.
    async fn next_piece(&self) -> Option<Segment> {
        loop {
            let due = {
                let mut pieces = self.pieces();
                if self.progress.borrow().failure.is_some() {
                    return None;
                }
                match pieces.due(self.begun.elapsed()) {
                    Due::Now => return Some(pieces.take()),
                    Due::Never if pieces.is_ended() => return None,
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

    /// What is to be known of a complete recording.
    fn manifest(&self, order: &Order, stored: &RecordedChannel) -> Vec<u8> {
        let (pieces, milliseconds) = self.pieces().so_far();
        let RecordedChannel { number, bytes, sha256 } = stored;
        let mut manifest = serde_json::to_value(&*order.about).unwrap_or_default();
        if let Some(manifest) = manifest.as_object_mut() {
            let own = json!({"format": "asciicast-v3", "number": number, "pieces": pieces, "milliseconds": milliseconds,
                "bytes": bytes, "sha256": sha256});
            manifest.extend(own.as_object().cloned().unwrap_or_default());
        }
        serde_json::to_vec(&manifest).unwrap_or_default()
    }

    fn pieces(&self) -> MutexGuard<'_, Segments> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns bytes as hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
