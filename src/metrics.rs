//! The metrics of all programs.

use std::sync::LazyLock;

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

/// Every metric, of whichever program.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Rows committed to the audit database; a session has several over its life.
    pub audit_rows_written: Counter,
    /// Batches that the audit database refused, and finalizers that could not be taken off. Each is tried again.
    pub audit_failures: Counter,
    /// Sessions whose row is not committed yet, or whose finalizer is still to be taken off.
    pub audit_backlog: Gauge,
}

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);
