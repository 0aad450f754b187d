//! Recordings of what users see at their terminals, in pieces that are stored while the session runs.
//!
//! A session's recordings are in `<namespace>/<session>/<number>/` of the store, one number a shell or command, counted
//! from 1. Each is a text in asciicast v3, cut into objects
//! `<number of the piece>-<milliseconds at its beginning>-<columns>x<rows>.cast`: their names are the index by which a
//! player finds a moment, also where the gateway died; joined in the order of their names they are the text.
//! `manifest.json` is there once the text is complete.

mod about;
mod asciicast;
mod playback;
mod recorder;
mod segments;
mod session;
mod store;

pub use about::About;
pub use asciicast::{Stream, Terminal};
pub use playback::{Match, Search, StoredRecording, StoredSegment, recordings};
pub use recorder::Recorder;
pub use session::SessionRecording;
pub use store::{Store, UrlError};

use crate::text::printable_up_to;

/// Why something is not recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Failure {
    /// In one word, for the metrics.
    pub label: &'static str,
    /// In a sentence.
    pub why: String,
}

impl Failure {
    pub(crate) fn new(label: &'static str, why: impl Into<String>) -> Self {
        let why: String = why.into();
        Self { label, why: printable_up_to(&why, 512) }
    }
}
