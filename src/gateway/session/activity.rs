//! The activity of a running session: bytes in each direction, the last input, and the terminal's size.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::gateway::observe::Traffic;
use crate::metrics::METRICS;

/// Counts the activity of one session. The session's channels write the counters.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    traffic: Traffic,
    /// The time of the last input, in milliseconds since the start.
    last_input: AtomicU64,
    /// The size of the terminal that was resized last: the columns in the upper 32 bits, the rows in the lower 32.
    window: AtomicU64,
}

/// The activity of a session at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActivitySnapshot {
    /// When the user last sent something.
    pub last_input: Timestamp,
    /// Bytes from the user to the target, and back.
    pub bytes: (u64, u64),
    /// Columns and rows of the terminal that was resized last; zero if there is none.
    pub window: (u64, u64),
}

impl Activity {
    /// Creates the counters of a session that starts at `start`. The start counts as input.
    pub fn new(start: Instant) -> Self {
        Self { start, traffic: Traffic::default(), last_input: AtomicU64::new(0), window: AtomicU64::new(0) }
    }

    /// Records that the user has sent something.
    pub fn record_input(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_input.store(elapsed, Ordering::Relaxed);
    }

    /// Records the size of the user's terminal, in characters.
    pub fn resized(&self, columns: u32, rows: u32) {
        self.window.store(u64::from(columns) << 32 | u64::from(rows), Ordering::Relaxed);
    }

    /// Counts bytes passed from the user to the target.
    pub fn sent_to_target(&self, bytes: usize) {
        self.traffic.sent_to_target(bytes);
        METRICS.session_in_bytes.inc_by(bytes as u64);
    }

    /// Counts bytes passed from the target to the user.
    pub fn sent_to_user(&self, bytes: usize) {
        self.traffic.sent_to_user(bytes);
        METRICS.session_out_bytes.inc_by(bytes as u64);
    }

    /// Returns when the user last sent something.
    pub fn last_input(&self) -> Instant {
        self.start + Duration::from_millis(self.last_input.load(Ordering::Relaxed))
    }

    /// Returns the activity of a session that began at `start`, the wall-clock time of [`Self::new`].
    pub fn snapshot(&self, start: Timestamp) -> ActivitySnapshot {
        let last_input = Duration::from_millis(self.last_input.load(Ordering::Relaxed));
        let window = self.window.load(Ordering::Relaxed);
        ActivitySnapshot {
            last_input: start.checked_add(last_input).unwrap_or(start),
            bytes: self.bytes(),
            window: (window >> 32, window & u64::from(u32::MAX)),
        }
    }

    /// Returns the bytes from the user to the target, and back.
    pub fn bytes(&self) -> (u64, u64) {
        self.traffic.bytes()
    }
}
