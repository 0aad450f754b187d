//! What a session does while it runs: bytes each way, and when the user last typed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::gateway::observe::Traffic;
use crate::metrics::METRICS;

/// Counters of one session, written by its channels and read at its end.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    traffic: Traffic,
    /// Milliseconds after the start.
    last_input: AtomicU64,
    /// Columns in the upper half, rows in the lower one.
    window: AtomicU64,
}

/// What there is to tell of a session at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When the user last sent something.
    pub last_input: Timestamp,
    /// Bytes from the user to the target, and back.
    pub bytes: (u64, u64),
    /// Columns and rows of the terminal that was changed last; zero where there is none.
    pub window: (u64, u64),
}

impl Activity {
    /// Counters of a session that starts at `start`, which counts as input.
    pub fn new(start: Instant) -> Self {
        Self { start, traffic: Traffic::default(), last_input: AtomicU64::new(0), window: AtomicU64::new(0) }
    }

    /// The user sent something.
    pub fn input(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_input.store(elapsed, Ordering::Relaxed);
    }

    /// The user has a terminal of this size.
    pub fn resized(&self, columns: u32, rows: u32) {
        self.window.store(u64::from(columns) << 32 | u64::from(rows), Ordering::Relaxed);
    }

    /// Bytes were passed from the user to the target.
    pub fn sent_to_target(&self, bytes: usize) {
        self.traffic.sent_to_target(bytes);
        METRICS.session_in_bytes.inc_by(bytes as u64);
    }

    /// Bytes were passed from the target to the user.
    pub fn sent_to_user(&self, bytes: usize) {
        self.traffic.sent_to_user(bytes);
        METRICS.session_out_bytes.inc_by(bytes as u64);
    }

    /// When the user last sent something.
    pub fn last_input(&self) -> Instant {
        self.start + Duration::from_millis(self.last_input.load(Ordering::Relaxed))
    }

    /// What there is to tell of a session that began at `start`.
    pub fn snapshot(&self, start: Timestamp) -> Snapshot {
        let idle_from = Duration::from_millis(self.last_input.load(Ordering::Relaxed));
        let window = self.window.load(Ordering::Relaxed);
        Snapshot {
            last_input: start.checked_add(idle_from).unwrap_or(start),
            bytes: self.bytes(),
            window: (window >> 32, window & u64::from(u32::MAX)),
        }
    }

    /// Bytes from the user to the target, and back.
    pub fn bytes(&self) -> (u64, u64) {
        self.traffic.bytes()
    }
}
