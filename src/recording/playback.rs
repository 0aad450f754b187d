//! Lists the recordings in the store.

use super::error::RecordingError;
use super::store::{Store, StoredObject};

/// A recording in the store, which may be incomplete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecording {
    /// The recording's number, counted from 1 within the session.
    pub number: u32,
    /// Whether all segments were stored.
    pub complete: bool,
    /// The segments in their order.
    pub segments: Vec<StoredSegment>,
}

/// A segment in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// The object's name within the recording's folder.
    pub name: String,
    /// The segment's start, in milliseconds from the start of the recording.
    pub at: u64,
    /// The terminal's width at the segment's start, in characters.
    pub columns: u32,
    /// The terminal's height at the segment's start, in lines.
    pub rows: u32,
    /// The length of the text, in bytes.
    pub bytes: u64,
}

/// Returns the recordings in a session's folder, in the order of their numbers.
///
/// # Errors
/// The store failed or did not answer in time.
pub async fn list_recordings(store: &Store, folder: &str) -> Result<Vec<StoredRecording>, RecordingError> {
    Ok(group(&store.list(folder).await?))
}

/// Groups the objects of a session's folder by recording.
fn group(objects: &[StoredObject]) -> Vec<StoredRecording> {
    let mut recordings: Vec<StoredRecording> = vec![];
    for StoredObject { path, bytes } in objects {
        let Some((number, name)) = path.split_once('/') else { continue };
        let Ok(number) = number.parse() else { continue };
        let index = recordings.iter().position(|recording| recording.number == number).unwrap_or_else(|| {
            recordings.push(StoredRecording { number, complete: false, segments: vec![] });
            recordings.len() - 1
        });
        if name == "manifest.json" {
            recordings[index].complete = true;
        }
        recordings[index].segments.extend(parse_segment(name, *bytes));
    }
    for recording in &mut recordings {
        recording.segments.sort_by(|one, other| one.name.cmp(&other.name));
    }
    recordings.sort_by_key(|recording| recording.number);
    recordings
}

/// Parses the name of a segment, `<number>-<milliseconds>-<columns>x<rows>.cast`.
fn parse_segment(name: &str, bytes: u64) -> Option<StoredSegment> {
    let mut parts = name.strip_suffix(".cast")?.split('-');
    let (_, at, size, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let (columns, rows) = size.split_once('x')?;
    let (at, columns, rows) = (at.parse().ok()?, columns.parse().ok()?, rows.parse().ok()?);
    Some(StoredSegment { name: name.to_owned(), at, columns, rows, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(path: &str, bytes: u64) -> StoredObject {
        StoredObject { path: path.to_owned(), bytes }
    }

    #[test]
    fn objects_are_grouped_by_recording() {
        let recordings = group(&[
            stored("2/00000000-0000000000-132x50.cast", 90),
            stored("1/00000001-0000000000-80x24.cast", 200),
            stored("1/00000000-0000000000-80x24.cast", 100),
            stored("1/manifest.json", 300),
            stored("1/00000002-0000003000-100x30.cast", 400),
            stored("1/notes.txt", 1),
            stored("readme", 1),
        ]);
        assert_eq!(recordings.iter().map(|it| (it.number, it.complete)).collect::<Vec<_>>(), [(1, true), (2, false)]);
        let segments: Vec<_> = recordings[0].segments.iter().map(|it| (it.at, it.columns, it.rows, it.bytes)).collect();
        assert_eq!(segments, [(0, 80, 24, 100), (0, 80, 24, 200), (3000, 100, 30, 400)]);
    }
}
