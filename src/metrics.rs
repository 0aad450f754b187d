//! The metrics of every program, served on `/metrics`. Labels have few values, never the name of a session or user.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::Reason;
use crate::memory_budget::{MEMORY_BUDGET, MemoryBudget};
use crate::open_files::OPEN_FILES;

/// The metrics of this process.
///
/// They are global because a process has one `/metrics` page, and nearly every part of the process counts something. If the
/// metrics were passed on, some ninety functions would have one more parameter. No decision and no test depends on a metric.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::default);

/// The phase and reason of an end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabels {
    phase: &'static str,
    reason: &'static str,
}

impl EndLabels {
    /// Returns the labels of an end for this reason.
    pub fn of(reason: Reason) -> Self {
        Self { phase: reason.phase().as_str(), reason: reason.as_str() }
    }
}

/// The label for the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProgramLabels {
    /// gateway, controller, audit or console.
    pub program: &'static str,
}

/// The program and its version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BuildLabels {
    /// gateway, controller, audit or console.
    pub program: &'static str,
    /// The version of the package.
    pub version: &'static str,
}

/// The phase of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabels {
    /// Active, Closed, Timeout or Terminated.
    pub phase: &'static str,
}

/// The kind of a custom resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// BastionSession, BastionTarget or BastionUser.
    pub kind: String,
}

/// The reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// One of the reasons in this file.
    pub reason: &'static str,
}

/// The listener of a failed `accept`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ListenerLabels {
    /// ssh, or one of the labels of [`HttpPort`].
    pub listener: &'static str,
}

/// The port of a closed HTTP connection, and the limit that closed it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// One of the labels of [`HttpPort`].
    pub port: &'static str,
    /// One of [`HTTP_CLOSE_REASONS`].
    pub reason: &'static str,
}

/// The outcome of a menu.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MenuLabels {
    /// session, left, gone, nothing, too_long, or a reason of a refused sign-in.
    pub outcome: &'static str,
}

/// The cause of a retried write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabels {
    /// forbidden, conflict, invalid, throttled, error, unreachable or timeout.
    pub cause: &'static str,
}

/// Why an end that a gateway reported through Redis is refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReportLabels {
    /// signature, unreadable, `other_session` or `too_early`.
    pub cause: &'static str,
}

/// A legacy algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlgorithmLabels {
    /// The name of a [`crate::api::LegacyAlgorithm`].
    pub algorithm: &'static str,
}

/// The reason of a failed connection to a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UnreachableLabels {
    /// One of the reasons in this file.
    pub reason: &'static str,
}

/// The failed operation of Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RedisLabels {
    /// show, look, order, subscribe, hot state, forget, begin sign-in, signed in or use code.
    pub operation: &'static str,
}

/// The cause of a failed recording.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RecordingLabels {
    /// full, denied, not_found, unreachable, timeout, slow, no_store, too_many or error.
    pub cause: &'static str,
}

/// The reason of an error response of the console.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConsoleLabels {
    /// One of the reasons in docs/operations.md.
    pub reason: &'static str,
}

/// The outcome of a sign-in with a browser.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SignInLabels {
    /// token or oidc for a success; provider, denied, late or claims for a failure with the provider.
    pub outcome: &'static str,
}

/// The cause of a full snapshot for a page of the live feed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SnapshotLabels {
    /// opened, reset, slow or rights.
    pub cause: &'static str,
}

/// The cause of a failure of the audit database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AuditLabels {
    /// One of the causes in this file. `finalizer` is a finalizer that could not be removed.
    pub cause: &'static str,
}

/// The age of a point in time, in seconds; zero if none is set.
#[derive(Clone, Debug, Default)]
pub struct Age(Arc<Mutex<Option<i64>>>);

impl Age {
    /// Sets the point in time, in microseconds since the Unix epoch.
    pub fn set(&self, time: Option<i64>) {
        *self.0.lock() = time;
    }
}

impl EncodeMetric for Age {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let time = *self.0.lock();
        let now = jiff::Timestamp::now().as_microsecond();
        let age = time.and_then(|time| u64::try_from(now - time).ok()).map_or(Duration::ZERO, Duration::from_micros);
        encoder.encode_gauge(&age.as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// The open files of this process, counted when the metrics are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenFilesGauge;

impl EncodeMetric for OpenFilesGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&u64::try_from(OPEN_FILES.used()).unwrap_or(u64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// The limit of open files of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenFilesLimit;

impl EncodeMetric for OpenFilesLimit {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&u64::try_from(OPEN_FILES.limit()).unwrap_or(u64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// A figure of the memory budget, read when the metrics are read.
#[derive(Clone, Copy, Debug)]
pub struct MemoryBudgetGauge(fn(&MemoryBudget) -> usize);

impl EncodeMetric for MemoryBudgetGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&u64::try_from((self.0)(&MEMORY_BUDGET)).unwrap_or(u64::MAX))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// The age of the oldest running operation, in seconds; zero if no operation runs.
#[derive(Clone, Debug, Default)]
pub struct OldestAge(Arc<Mutex<BTreeMap<u64, Instant>>>);

impl OldestAge {
    /// Records the start of an operation. Returns its id, for [`Self::finish`].
    pub fn start(&self) -> u64 {
        let mut running = self.0.lock();
        let id = running.last_key_value().map_or(0, |(last, _)| last + 1);
        running.insert(id, Instant::now());
        id
    }

    /// Records the end of an operation.
    pub fn finish(&self, id: u64) {
        self.0.lock().remove(&id);
    }
}

impl EncodeMetric for OldestAge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let age = self.0.lock().first_key_value().map_or(0.0, |(_, started)| started.elapsed().as_secs_f64());
        encoder.encode_gauge(&age)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// Creates a counter at zero for each label. Prometheus sees no increase in the first sample of a counter, so each counter must
/// exist before its first increment.
fn counters<T, L: Clone + Eq + std::hash::Hash>(
    labels: impl IntoIterator<Item = T>,
    of: fn(T) -> L,
) -> Family<L, Counter> {
    let family = Family::default();
    for label in labels {
        drop(family.get_or_create(&of(label)));
    }
    family
}

/// The reasons of `bastion_terminals_refused_total`.
const TERMINAL_REFUSALS: [&str; 9] =
    ["unknown", "origin", "no_sign_in", "cookie", "too_many", "cluster", "malformed", "not_ready", "missing"];

/// The reasons of `bastion_follows_refused_total`.
const FOLLOW_REFUSALS: [&str; 9] =
    ["unknown", "too_many", "cluster", "not_the_console", "malformed", "reserved", "forbidden", "missing", "full"];

/// The reasons of `bastion_history_refused_total`.
const HISTORY_REFUSALS: [&str; 9] =
    ["unknown", "too_many", "cluster", "not_the_console", "malformed", "reserved", "forbidden", "missing", "database"];

/// The reasons of `bastion_console_failures_total`.
const CONSOLE_FAILURES: [&str; 18] = [
    "unknown",
    "origin",
    "no_sign_in",
    "cookie",
    "forbidden",
    "too_many",
    "full",
    "malformed",
    "missing",
    "ended",
    "not_asked",
    "sign_out",
    "no_recordings",
    "gateway",
    "cluster",
    "database",
    "audit",
    "recordings",
];

/// The causes of `bastion_console_snapshots_total`.
const SNAPSHOT_CAUSES: [&str; 4] = ["opened", "reset", "slow", "rights"];

/// The outcomes of `bastion_console_sign_ins_total`.
const SIGN_IN_OUTCOMES: [&str; 6] = ["token", "oidc", "provider", "denied", "late", "claims"];

/// The reasons of `bastion_connections_refused_total`.
const CONNECTION_REFUSALS: [&str; 4] = ["all", "address", "proxy_header", "open_files"];

/// The listeners of `bastion_accepts_failed_total`.
const LISTENERS: [&str; 5] = ["ssh", "probes", "console", "terminal", "observers"];

/// The reasons of `bastion_sign_ins_refused_total`.
const SIGN_IN_REFUSALS: [&str; 32] = [
    "unknown_user",
    "disabled",
    "expired",
    "key",
    "security_key",
    "certificate",
    "out_of_turn",
    "password",
    "code",
    "used_code",
    "no_secret",
    "locked_out",
    "key_needed",
    "other_subject",
    "malformed",
    "no_target",
    "unknown_target",
    "no_right",
    "login_not_allowed",
    "withdrawn",
    "rights_unknown",
    "too_many_menus",
    "no_web_terminal",
    "too_many_sessions",
    "full",
    "open_files",
    "no_memory",
    "not_ready",
    "no_place_for_recordings",
    "over_quota",
    "quota_unknown",
    "not_recorded",
];

/// The reasons of `bastion_remote_opens_refused_total`.
const REMOTE_OPEN_REFUSALS: [&str; 4] = ["waited", "queue_full", "not_requested", "memory"];

/// The reasons of `bastion_targets_unreachable_total`.
const UNREACHABLE_REASONS: [&str; 10] =
    ["name", "address", "slow", "no_ssh", "host_key", "algorithms", "credentials", "login", "ssh", "open_files"];

/// The causes of `bastion_recordings_failed_total`.
const RECORDING_FAILURES: [&str; 9] =
    ["full", "denied", "not_found", "unreachable", "timeout", "slow", "no_store", "too_many", "error"];

/// The causes of `bastion_audit_failures_total`.
const AUDIT_FAILURES: [&str; 14] = [
    "unreachable",
    "timeout",
    "tls",
    "denied",
    "read_only",
    "connections",
    "full",
    "busy",
    "schema",
    "rejected",
    "settings",
    "error",
    "finalizer",
    "comparison",
];

/// The operations of `bastion_redis_failures_total`.
const REDIS_OPERATIONS: [&str; 11] = [
    "show",
    "look",
    "report",
    "reports",
    "order",
    "subscribe",
    "hot state",
    "forget",
    "begin sign-in",
    "signed in",
    "use code",
];

/// The kinds of `bastion_objects_unreadable_total`.
const KINDS: [&str; 3] = ["BastionSession", "BastionTarget", "BastionUser"];

/// The causes of `bastion_reported_ends_refused_total`.
const REPORT_CAUSES: [&str; 4] = ["signature", "unreadable", "other_session", "too_early"];

/// The causes of `bastion_end_write_retries_total`.
const RETRY_CAUSES: [&str; 8] =
    ["forbidden", "conflict", "invalid", "throttled", "error", "unreachable", "timeout", "panic"];

/// An HTTP port of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpPort {
    /// The probes and metrics of each program.
    Probes,
    /// The console's page and API.
    Console,
    /// A gateway's web terminal.
    Terminal,
    /// A gateway's TLS port on which consoles observe sessions.
    Observers,
    /// An audit program's TLS port on which consoles read the history.
    History,
}

impl HttpPort {
    /// All ports.
    pub const ALL: [Self; 5] = [Self::Probes, Self::Console, Self::Terminal, Self::Observers, Self::History];

    /// Returns the port's label in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Probes => "probes",
            Self::Console => "console",
            Self::Terminal => "terminal",
            Self::Observers => "observers",
            Self::History => "history",
        }
    }
}

/// The reasons of `bastion_http_connections_closed_total`.
pub const HTTP_CLOSE_REASONS: [&str; 6] =
    ["all", "unfinished", "open_files", "handshake", "header_timeout", "header_size"];

/// Returns the label sets of closed HTTP connections: every reason on every port.
fn http_labels() -> impl Iterator<Item = HttpLabels> {
    HttpPort::ALL
        .into_iter()
        .flat_map(|port| HTTP_CLOSE_REASONS.map(|reason| HttpLabels { port: port.label(), reason }))
}

/// Creates a histogram of seconds, with buckets from 2 ms to 65 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.002, 2.0, 16))
}

/// Defines each metric once: its field and Rust type, its Prometheus type and labels, its initial value, and its help text.
macro_rules! metrics {
    ($($name:ident: $type:ty, $kind:literal, $new:expr, $help:literal;)*) => {
        /// Every metric of the bastion. Metrics that a program does not use stay at zero.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] pub $name: $type,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                Self { $($name: $new,)* }
            }
        }

        impl Metrics {
            fn registry(&self) -> Registry {
                let mut registry = Registry::with_prefix("bastion");
                $(registry.register(stringify!($name), $help.trim_end_matches('.'), self.$name.clone());)*
                registry
            }

            /// Returns the name, type and help text of each metric.
            pub fn descriptions() -> Vec<(String, &'static str, &'static str)> {
                vec![$((
                    format!("bastion_{}{}", stringify!($name), if $kind.starts_with("counter") { "_total" } else { "" }),
                    $kind,
                    $help,
                ),)*]
            }
        }
    };
}

metrics! {
    build_info: Family<BuildLabels, Gauge>, "gauge by program, version", Family::default(), "The program and version that runs. The value is 1.";
    ready: Family<ProgramLabels, Gauge>, "gauge by program", Family::default(), "1 while the program is ready, as on `/readyz`. 0 before that, and while a gateway drains.";
    connections_pending: Gauge, "gauge", Gauge::default(), "Connections that have not signed in yet.";
    connections_refused: Family<RefusalLabels, Counter>, "counter by reason", counters(CONNECTION_REFUSALS, |reason| RefusalLabels { reason }), "SSH connections refused. Too many connections had no session yet, together (all) or from one address (address), the PROXY protocol header was missing or invalid (proxy_header), or 90 % of the open files were in use (open_files).";
    accepts_failed: Family<ListenerLabels, Counter>, "counter by listener", counters(LISTENERS, |listener| ListenerLabels { listener }), "Attempts to accept a connection that failed, mostly because no open file was left.";
    open_files: OpenFilesGauge, "gauge", OpenFilesGauge, "Files that this program has open. Each connection is one.";
    open_files_limit: OpenFilesLimit, "gauge", OpenFilesLimit, "Files that this program may have open. At 80 % a gateway refuses new sessions, at 90 % new connections.";
    http_connections_closed: Family<HttpLabels, Counter>, "counter by port and reason", counters(http_labels(), |labels| labels), "HTTP connections closed, by reason: the port had too many connections and this one was idle longest (all); too many had no complete request header, and this one was the oldest (unfinished); 90 % of the open files were in use (open_files); its TLS handshake failed or timed out (handshake); its request header timed out (header_timeout) or was too large (header_size).";
    sign_ins_refused: Family<RefusalLabels, Counter>, "counter by reason", counters(SIGN_IN_REFUSALS, |reason| RefusalLabels { reason }), "Sign-ins refused. Each refused key of a client counts.";
    targets_unreachable: Family<UnreachableLabels, Counter>, "counter by reason", counters(UNREACHABLE_REASONS, |reason| UnreachableLabels { reason }), "Connections to targets that failed, or failed to sign in.";
    remote_opens_refused: Family<RefusalLabels, Counter>, "counter by reason", counters(REMOTE_OPEN_REFUSALS, |reason| RefusalLabels { reason }), "Channels from targets (`ssh -R`, `ssh -A`) that were refused. No channel became free within 30 s (waited), too many were waiting (queue_full), the user had not requested the channel (not_requested), or the memory budget had no room (memory).";
    channels_beyond_limit: Counter, "counter", Counter::default(), "Channels of users that were refused because their session had as many open as it may.";
    channels_without_memory: Counter, "counter", Counter::default(), "Channels of users that were refused because the memory budget had no room for them.";
    requests_without_memory: Counter, "counter", Counter::default(), "Long requests of users (commands, subsystems, terminals, environment variables) that were refused because the memory budget had no room for them.";
    memory_budget_bytes: MemoryBudgetGauge, "gauge", MemoryBudgetGauge(MemoryBudget::limit), "Bytes of the memory budget for waiting data and channels.";
    memory_budget_taken_bytes: MemoryBudgetGauge, "gauge", MemoryBudgetGauge(MemoryBudget::taken), "Bytes of the memory budget that are taken. A user may take more while at least three times the user's total stays free. After that, the user's windows stay small, and further channels, web terminals and long requests are refused.";
    legacy_algorithms_negotiated: Family<AlgorithmLabels, Counter>, "counter by algorithm", Family::default(), "Legacy algorithms that were negotiated with targets. One key exchange may count several.";
    terminals_open: Gauge, "gauge", Gauge::default(), "Open web terminals, with or without a session yet.";
    terminals_refused: Family<RefusalLabels, Counter>, "counter by reason", counters(TERMINAL_REFUSALS, |reason| RefusalLabels { reason }), "Requests for a web terminal that got an error. A user without access is counted in `bastion_sign_ins_refused_total`.";
    followers: Gauge, "gauge", Gauge::default(), "Users who observe sessions of this gateway.";
    followers_skipped: Counter, "counter", Counter::default(), "Times that terminal output was skipped for an observer that was too slow.";
    follows_refused: Family<RefusalLabels, Counter>, "counter by reason", counters(FOLLOW_REFUSALS, |reason| RefusalLabels { reason }), "Requests of consoles to observe a session that got an error.";
    menus_open: Gauge, "gauge", Gauge::default(), "Connections whose user is in the menu, before choosing a target.";
    menus: Family<MenuLabels, Counter>, "counter by outcome", Family::default(), "Connections that went through the menu, by outcome.";
    sessions_active: Gauge, "gauge", Gauge::default(), "Sessions that this gateway carries.";
    sessions_started: Counter, "counter", Counter::default(), "Sessions that this gateway has started.";
    sessions_ended: Family<EndLabels, Counter>, "counter by phase, reason", counters(Reason::ALL, EndLabels::of), "Ends of sessions that this program has written.";
    session_in_bytes: Counter, "counter", Counter::default(), "Bytes from users to targets.";
    session_out_bytes: Counter, "counter", Counter::default(), "Bytes from targets to users.";
    late_ends_refused: Counter, "counter", Counter::default(), "Ends that were not written because another program had written one before.";
    unwritten_ends: Gauge, "gauge", Gauge::default(), "Ends that are not yet written.";
    oldest_unwritten_end_seconds: OldestAge, "gauge", OldestAge::default(), "Seconds since the oldest end that is not yet written. 0 if there is none.";
    end_write_retries: Family<RetryLabels, Counter>, "counter by cause", counters(RETRY_CAUSES, |cause| RetryLabels { cause }), "Attempts to write an end that failed.";
    end_written_seconds: Family<EndLabels, Histogram>, "histogram by phase, reason", Family::new_with_constructor(seconds), "Seconds from an end until it was written.";
    end_seen_seconds: Family<EndLabels, Histogram>, "histogram by phase, reason", Family::new_with_constructor(seconds), "Seconds from an end until this gateway's own watch showed it.";
    events_dropped: Counter, "counter", Counter::default(), "Kubernetes Events that were not published.";
    watch_interruptions: Counter, "counter", Counter::default(), "Interruptions of watches.";
    objects_unreadable: Family<KindLabels, Counter>, "counter by kind", counters(KINDS, |kind| KindLabels { kind: kind.to_owned() }), "Objects that this program could not read and ignored. Each generation of an object counts once.";
    conditions_unwritten: Family<KindLabels, Counter>, "counter by kind", counters(KINDS, |kind| KindLabels { kind: kind.to_owned() }), "Conditions `Valid` that could not be written.";
    lease_renewals_failed: Counter, "counter", Counter::default(), "Renewals of this program's Lease that failed.";
    instance_losses: Counter, "counter", Counter::default(), "Times that this gateway was declared lost and dropped its sessions.";
    instances_declared_lost: Counter, "counter", Counter::default(), "Gateway instances that this controller declared lost.";
    sweeps: Counter, "counter", Counter::default(), "Times that this controller started to end the sessions of a lost instance.";
    session_comparisons_failed: Counter, "counter", Counter::default(), "Comparisons of this gateway's sessions with the API server's list that failed.";
    sessions_without_object: Counter, "counter", Counter::default(), "Sessions that this gateway ended because their object no longer existed.";
    fences: Counter, "counter", Counter::default(), "Times that this gateway ended its sessions because it reached neither the API server nor Redis, or because the API server refused its credentials.";
    vouchers: Counter, "counter", Counter::default(), "Times that this controller vouched on the Lease for a gateway whose heartbeats came only through Redis.";
    ends_reported: Counter, "counter", Counter::default(), "Ends that this gateway could not write and reported to the controllers through Redis.";
    reported_ends_written: Counter, "counter", Counter::default(), "Ends that this controller wrote because their gateway reported them through Redis.";
    reported_ends_refused: Family<ReportLabels, Counter>, "counter by cause", counters(REPORT_CAUSES, |cause| ReportLabels { cause }), "Ends reported through Redis that this controller refused. They were not signed by the session's gateway (signature), could not be read (unreadable), were about another session (other_session), or were before its start (too_early).";
    orders_sent: Counter, "counter", Counter::default(), "Orders to end a session that this controller sent through Redis.";
    redis_failures: Family<RedisLabels, Counter>, "counter by operation", counters(REDIS_OPERATIONS, |operation| RedisLabels { operation }), "Requests to Redis that failed or timed out.";
    recordings_started: Counter, "counter", Counter::default(), "Recordings that this gateway has started.";
    recordings_failed: Family<RecordingLabels, Counter>, "counter by cause", counters(RECORDING_FAILURES, |cause| RecordingLabels { cause }), "Recordings that failed. If the target requires a recording, the session ends.";
    recording_bytes: Counter, "counter", Counter::default(), "Bytes of recordings that this gateway has stored.";
    recording_put_seconds: Histogram, "histogram", seconds(), "Seconds that the store took for one segment of a recording.";
    leader: Gauge, "gauge", Gauge::default(), "1 on the leading audit program. Only it writes to the audit database and deletes finished sessions.";
    observing: Gauge, "gauge", Gauge::default(), "1 while this controller can detect lost gateways: its own heartbeat comes back through its watch.";
    session_objects: Family<PhaseLabels, Gauge>, "gauge by phase", Family::default(), "BastionSession objects in the cluster, as this controller sees them.";
    reconcile_failures: Counter, "counter", Counter::default(), "Reconciliations of sessions by this controller, or deletions by this audit program, that failed and are retried.";
    sessions_pruned: Counter, "counter", Counter::default(), "Finished sessions that this audit program has deleted.";
    quota_count_failures: Counter, "counter", Counter::default(), "Failed attempts of this controller to set the initial count of the sessions' ResourceQuota.";
    audit_rows_written: Counter, "counter", Counter::default(), "Rows written to the audit database.";
    audit_failures: Family<AuditLabels, Counter>, "counter by cause", counters(AUDIT_FAILURES, |cause| AuditLabels { cause }), "Failed writes and reads of the audit database, finalizers that could not be removed, and comparisons with the cluster that failed.";
    audit_backlog: Gauge, "gauge", Gauge::default(), "Sessions that wait to be written to the audit database, or for the removal of their finalizer. 0 if another audit program leads.";
    audit_oldest_unwritten_end_seconds: Age, "gauge", Age::default(), "Seconds since the oldest end that is not yet in the audit database. 0 if there is none, or if another audit program leads.";
    console_failures: Family<ConsoleLabels, Counter>, "counter by reason", counters(CONSOLE_FAILURES, |reason| ConsoleLabels { reason }), "Requests to the console that got an error.";
    console_sign_ins: Family<SignInLabels, Counter>, "counter by outcome", counters(SIGN_IN_OUTCOMES, |outcome| SignInLabels { outcome }), "Sign-ins with a browser. They succeeded with a token (token) or the OpenID Connect provider (oidc), or the provider failed (provider), refused (denied) or was too slow (late), or its claims named no Kubernetes user (claims).";
    sign_outs_invalid: Counter, "counter", Counter::default(), "Entries of the ConfigMap `bastion-sign-outs` that this program read and that were no time, or more than 2 h in the future. They count as sign-outs at the time of reading.";
    console_pages: Gauge, "gauge", Gauge::default(), "Open pages of the console's live feed.";
    console_snapshots: Family<SnapshotLabels, Counter>, "counter by cause", counters(SNAPSHOT_CAUSES, |cause| SnapshotLabels { cause }), "Full snapshots that were sent to pages. The page was opened (opened), the watch was interrupted (reset), the page was too slow (slow), or the user's rights changed (rights).";
    console_exports_stalled: Counter, "counter", Counter::default(), "Exports that the console broke off: their reader read nothing for 30 s, or the export took more than 30 min.";
    history_refused: Family<RefusalLabels, Counter>, "counter by reason", counters(HISTORY_REFUSALS, |reason| RefusalLabels { reason }), "Requests of consoles for the history that got an error.";
    audit_restores: Counter, "counter", Counter::default(), "Times that the audit database was found restored from an older backup, and all sessions were written again.";
}

impl Metrics {
    /// Returns all metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// When a metric cannot be formatted.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry())?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_described_metric() {
        METRICS.build_info.get_or_create(&BuildLabels { program: "gateway", version: "0.1.0" }).set(1);
        METRICS.ready.get_or_create(&ProgramLabels { program: "gateway" }).set(1);
        METRICS.session_objects.get_or_create(&PhaseLabels { phase: "Active" }).set(1);
        METRICS.legacy_algorithms_negotiated.get_or_create(&AlgorithmLabels { algorithm: "ssh-rsa" }).inc();
        METRICS.menus.get_or_create(&MenuLabels { outcome: "left" }).inc();
        METRICS.console_failures.get_or_create(&ConsoleLabels { reason: "forbidden" }).inc();
        METRICS.console_snapshots.get_or_create(&SnapshotLabels { cause: "opened" }).inc();
        METRICS.end_written_seconds.get_or_create(&EndLabels::of(Reason::Stale)).observe(1.0);
        METRICS.end_seen_seconds.get_or_create(&EndLabels::of(Reason::Stale)).observe(1.0);
        let page = METRICS.encode().unwrap();
        for (name, kind, _) in Metrics::descriptions() {
            let sample = if kind.starts_with("histogram") { format!("{name}_count") } else { name };
            assert!(page.lines().any(|line| line.starts_with(&sample)), "{sample} is not in\n{page}");
        }
    }

    #[test]
    fn counters_start_at_zero() {
        let page = Metrics::default().encode().unwrap();
        for sample in [
            r#"bastion_sessions_ended_total{phase="Timeout",reason="Stale"} 0"#,
            r#"bastion_sign_ins_refused_total{reason="locked_out"} 0"#,
            r#"bastion_targets_unreachable_total{reason="host_key"} 0"#,
            r#"bastion_recordings_failed_total{cause="full"} 0"#,
            r#"bastion_audit_failures_total{cause="finalizer"} 0"#,
            r#"bastion_http_connections_closed_total{port="probes",reason="unfinished"} 0"#,
        ] {
            assert!(page.contains(sample), "{sample} is not in\n{page}");
        }
    }
}
