//! Records what users see at their terminals, in segments that are stored while the session runs.
//!
//! A recording is in `<namespace>/<session>/<number>/` of the store. The number counts the shells and commands of the
//! session, from 1. A recording is a text in asciicast v3, cut into objects with the names
//!
//! `<number of the segment>-<milliseconds at its start>-<columns>x<rows>.cast`
//!
//! The objects form the text in the order of their names. From the names, a player finds the segment for a time, even if the
//! gateway died. `manifest.json` exists once the recording is complete.

mod asciicast;
mod error;
mod playback;
mod recorder;
mod search;
mod segments;
mod session;
mod session_info;
mod store;

pub use asciicast::{Stream, Terminal};
pub use error::RecordingError;
pub use playback::{StoredRecording, StoredSegment, list_recordings};
pub use recorder::Recorder;
pub use search::{Match, Search};
pub use session::SessionRecording;
pub use session_info::SessionInfo;
pub use store::{Store, UrlError};
