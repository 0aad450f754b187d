//! What each program counts; `/metrics` prints it. Labels have few values, never a session's or a user's name.

use std::sync::LazyLock;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::Reason;

/// The metrics of this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);

/// Phase and reason of an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabels {
    phase: &'static str,
    reason: &'static str,
}

impl EndLabels {
    /// The labels of an end for this reason.
    pub fn of(reason: Reason) -> Self {
        Self { phase: reason.phase().as_str(), reason: reason.as_str() }
    }
}

/// Why a sign-in was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// One of the words in `gateway::refusal`.
    pub reason: &'static str,
}

/// Why a write was tried again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabels {
    /// forbidden, conflict, invalid, throttled, error, unreachable or timeout.
    pub cause: &'static str,
}

/// Every metric of the bastion. A program leaves at zero what it has no part in.
#[derive(Debug)]
pub struct Metrics {
    /// Connections that have not signed in yet.
    pub connections_pending: Gauge,
    /// Connections turned away because too many had not signed in.
    pub connections_refused: Counter,
    /// Sign-ins refused, by reason.
    pub sign_ins_refused: Family<RefusalLabels, Counter>,
    /// Sessions that this gateway carries.
    pub sessions_active: Gauge,
    /// Sessions that this gateway has started.
    pub sessions_started: Counter,
    /// Ends that this program has written, by phase and reason.
    pub sessions_ended: Family<EndLabels, Counter>,
    /// Ends that came too late, because another writer was first.
    pub late_ends_refused: Counter,
    /// Ends that are not yet written.
    pub unwritten_ends: Gauge,
    /// Attempts to write an end that failed, by cause.
    pub end_write_retries: Family<RetryLabels, Counter>,
    /// Seconds from an end to its being written.
    pub end_written_seconds: Histogram,
    /// Events that were not published.
    pub events_dropped: Counter,
    /// Interruptions of watches.
    pub watch_interruptions: Counter,
    /// Renewals of this program's Lease that failed.
    pub lease_renewals_failed: Counter,
    /// Times that this gateway was declared lost and dropped its sessions.
    pub instance_losses: Counter,
    /// Gateway instances that this controller declared lost.
    pub instances_declared_lost: Counter,
    /// Reconciliations that failed.
    pub reconcile_failures: Counter,
    /// Finished sessions that were deleted.
    pub sessions_pruned: Counter,
    /// Rows written to the audit database.
    pub audit_rows_written: Counter,
    /// Batches that the audit database did not take.
    pub audit_failures: Counter,
    /// Sessions that wait to be written to the audit database.
    pub audit_backlog: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections_pending: Gauge::default(),
            connections_refused: Counter::default(),
            sign_ins_refused: Family::default(),
            sessions_active: Gauge::default(),
            sessions_started: Counter::default(),
            sessions_ended: Family::default(),
            late_ends_refused: Counter::default(),
            unwritten_ends: Gauge::default(),
            end_write_retries: Family::default(),
            end_written_seconds: Histogram::new(exponential_buckets(0.002, 2.0, 16)),
            events_dropped: Counter::default(),
            watch_interruptions: Counter::default(),
            lease_renewals_failed: Counter::default(),
            instance_losses: Counter::default(),
            instances_declared_lost: Counter::default(),
            reconcile_failures: Counter::default(),
            sessions_pruned: Counter::default(),
            audit_rows_written: Counter::default(),
            audit_failures: Counter::default(),
            audit_backlog: Gauge::default(),
        }
    }
}

impl Metrics {
    /// All metrics in the text format of OpenMetrics.
    ///
    /// # Errors
    /// When a metric cannot be formatted.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry())?;
        Ok(page)
    }

    fn registry(&self) -> Registry {
        let mut r = Registry::with_prefix("bastion");
        r.register("connections_pending", "Connections that have not signed in yet", self.connections_pending.clone());
        r.register(
            "connections_refused",
            "Connections turned away because too many had not signed in",
            self.connections_refused.clone(),
        );
        r.register("sign_ins_refused", "Sign-ins refused", self.sign_ins_refused.clone());
        r.register("sessions_active", "Sessions that this gateway carries", self.sessions_active.clone());
        r.register("sessions_started", "Sessions that this gateway has started", self.sessions_started.clone());
        r.register("sessions_ended", "Ends that this program has written", self.sessions_ended.clone());
        r.register("late_ends_refused", "Ends that came after another writer's", self.late_ends_refused.clone());
        r.register("unwritten_ends", "Ends that are not yet written", self.unwritten_ends.clone());
        r.register("end_write_retries", "Attempts to write an end that failed", self.end_write_retries.clone());
        r.register("end_written_seconds", "Seconds from an end to its being written", self.end_written_seconds.clone());
        r.register("events_dropped", "Events that were not published", self.events_dropped.clone());
        r.register("watch_interruptions", "Interruptions of watches", self.watch_interruptions.clone());
        r.register(
            "lease_renewals_failed",
            "Renewals of this program's Lease that failed",
            self.lease_renewals_failed.clone(),
        );
        r.register("instance_losses", "Times that this gateway was declared lost", self.instance_losses.clone());
        r.register(
            "instances_declared_lost",
            "Gateway instances that this controller declared lost",
            self.instances_declared_lost.clone(),
        );
        r.register("reconcile_failures", "Reconciliations that failed", self.reconcile_failures.clone());
        r.register("sessions_pruned", "Finished sessions that were deleted", self.sessions_pruned.clone());
        r.register("audit_rows_written", "Rows written to the audit database", self.audit_rows_written.clone());
        r.register("audit_failures", "Batches that the audit database did not take", self.audit_failures.clone());
        r.register(
            "audit_backlog",
            "Sessions that wait to be written to the audit database",
            self.audit_backlog.clone(),
        );
        r
    }
}
