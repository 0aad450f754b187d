//! What each program counts; `/metrics` prints it. Labels have few values, never a session's or a user's name.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
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

/// A program, whose name is that of its subcommand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProgramLabels {
    /// gateway, controller or console.
    pub program: &'static str,
}

/// Which build of a program runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BuildLabels {
    /// gateway, controller or console.
    pub program: &'static str,
    /// That of the package.
    pub version: &'static str,
}

/// In which phase a session is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PhaseLabels {
    /// Active, Closed, Timeout or Terminated.
    pub phase: &'static str,
}

/// A kind of custom resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabels {
    /// BastionSession, BastionTarget or BastionUser.
    pub kind: String,
}

/// Why a sign-in or a connection was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// One of the labels in `gateway::directory`, `gateway::refusal` or `gateway::startups`.
    pub reason: &'static str,
}

/// On which port, and by which limit, an HTTP connection was closed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpLabels {
    /// One of the labels of [`HttpPort`].
    pub port: &'static str,
    /// One of `HTTP_CLOSE_REASONS`.
    pub reason: &'static str,
}

/// How a visit to the menu ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MenuLabels {
    /// session, left, gone, nothing, too_long, or one of the labels in `gateway::refusal`.
    pub outcome: &'static str,
}

/// Why a write was tried again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RetryLabels {
    /// forbidden, conflict, invalid, throttled, error, unreachable or timeout.
    pub cause: &'static str,
}

/// An algorithm that a target asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AlgorithmLabels {
    /// One of those that `spec.legacyAlgorithms` may have.
    pub algorithm: &'static str,
}

/// Why a target was not reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct UnreachableLabels {
    /// One of the labels in `gateway::target::unreachable`.
    pub reason: &'static str,
}

/// What Redis did not do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RedisLabels {
    /// show, look, order, subscribe, hot state, forget, begin sign-in, signed in or use code.
    pub operation: &'static str,
}

/// Why something was not recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RecordingLabels {
    /// full, denied, not_found, unreachable, timeout, slow, no_store, too_many or error.
    pub cause: &'static str,
}

/// Why a request to the console was not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConsoleLabels {
    /// As docs/operations.md has them.
    pub reason: &'static str,
}

/// What came of somebody's sign-in with a browser.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SignInLabels {
    /// token or oidc; or, where the provider led to nothing, provider, denied, late or claims.
    pub outcome: &'static str,
}

/// Why a page of the console's feed was shown everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SnapshotLabels {
    /// opened, reset, slow or rights.
    pub cause: &'static str,
}

/// Why sessions were not put on record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AuditLabels {
    /// One of the labels in `audit::Cause`, or finalizer.
    pub cause: &'static str,
}

/// How long ago a moment of the day was, in seconds; zero without one.
#[derive(Clone, Debug, Default)]
pub struct Age(Arc<Mutex<Option<i64>>>);

impl Age {
    /// The moment, in microseconds since the epoch.
    pub fn set(&self, moment: Option<i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

impl EncodeMetric for Age {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let moment = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = jiff::Timestamp::now().as_microsecond();
        let age =
            moment.and_then(|moment| u64::try_from(now - moment).ok()).map_or(Duration::ZERO, Duration::from_micros);
        encoder.encode_gauge(&age.as_secs_f64())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// How long ago the oldest of several things began that are not yet over, in seconds.
#[derive(Clone, Debug, Default)]
pub struct OldestAge(Arc<Mutex<BTreeMap<u64, Instant>>>);

impl OldestAge {
    /// Something begins. What comes back is for [`Self::over`].
    pub fn begin(&self) -> u64 {
        let mut begun = self.lock();
        let next = begun.last_key_value().map_or(0, |(last, _)| last + 1);
        begun.insert(next, Instant::now());
        next
    }

    /// It is over.
    pub fn over(&self, begun: u64) {
        self.lock().remove(&begun);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for OldestAge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let age = self.lock().first_key_value().map_or(0.0, |(_, begun)| begun.elapsed().as_secs_f64());
        encoder.encode_gauge(&age)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// A counter for each label, which is there, at zero, before anything was counted: Prometheus sees no increase in a
/// first sample.
fn counted<T, L: Clone + Eq + std::hash::Hash>(
    labels: impl IntoIterator<Item = T>,
    of: fn(T) -> L,
) -> Family<L, Counter> {
    let family = Family::default();
    for label in labels {
        drop(family.get_or_create(&of(label)));
    }
    family
}

/// Of requests for a web terminal: as of those of the console, and by what for.
const TERMINAL_REFUSALS: [&str; 8] =
    ["unknown", "origin", "no_sign_in", "cookie", "cluster", "malformed", "not_ready", "missing"];

/// Of consoles that want to follow a session for somebody: as of those requests, and by what for.
const FOLLOW_REFUSALS: [&str; 7] =
    ["unknown", "cluster", "not_the_console", "malformed", "forbidden", "missing", "full"];

/// Of the console's answers that are errors: by who asks, by what for, and by what does not do its part.
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
    "no_history",
    "no_recordings",
    "no_following",
    "gateway",
    "cluster",
    "database",
    "recordings",
];

const SNAPSHOTS: [&str; 4] = ["opened", "reset", "slow", "rights"];

/// Of sign-ins with browsers.
const SIGN_INS: [&str; 6] = ["token", "oidc", "provider", "denied", "late", "claims"];

/// Of sign-ins that are refused: by who signs in, by what for, and by the gateway's own state.
const REFUSALS: [&str; 28] = [
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
    "too_many_sessions",
    "full",
    "not_ready",
    "no_place_for_recordings",
    "over_quota",
    "quota_unknown",
    "not_recorded",
];
/// Why a channel that a target opens is refused: it waited too long for room, or too many were waiting.
const REMOTE_OPEN_REFUSALS: [&str; 2] = ["waited", "queue_full"];
const UNREACHABLE: [&str; 9] =
    ["name", "address", "slow", "no_ssh", "host_key", "algorithms", "credentials", "login", "ssh"];
const RECORDING_FAILURES: [&str; 9] =
    ["full", "denied", "not_found", "unreachable", "timeout", "slow", "no_store", "too_many", "error"];
const AUDIT_CAUSES: [&str; 13] = [
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
];
const REDIS_OPERATIONS: [&str; 9] =
    ["show", "look", "order", "subscribe", "hot state", "forget", "begin sign-in", "signed in", "use code"];
const KINDS: [&str; 3] = ["BastionSession", "BastionTarget", "BastionUser"];
const RETRY_CAUSES: [&str; 7] = ["forbidden", "conflict", "invalid", "throttled", "error", "unreachable", "timeout"];

/// All label sets of closed HTTP connections: every reason on every port.
/// An HTTP port of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpPort {
    /// Probes and metrics of each program.
    Probes,
    /// The console's page and API.
    Console,
    /// A gateway's web terminal.
    Terminal,
    /// A gateway's port for consoles that observe sessions, over TLS.
    Observers,
}

impl HttpPort {
    /// All ports.
    pub const ALL: [Self; 4] = [Self::Probes, Self::Console, Self::Terminal, Self::Observers];

    /// Returns its label in metrics and logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Probes => "probes",
            Self::Console => "console",
            Self::Terminal => "terminal",
            Self::Observers => "observers",
        }
    }
}

/// The reasons of `bastion_http_connections_closed_total`.
pub const HTTP_CLOSE_REASONS: [&str; 5] = ["all", "unfinished", "handshake", "header_timeout", "header_size"];

fn http_labels() -> impl Iterator<Item = HttpLabels> {
    HttpPort::ALL
        .into_iter()
        .flat_map(|port| HTTP_CLOSE_REASONS.map(|reason| HttpLabels { port: port.label(), reason }))
}

/// From 2 ms to a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.002, 2.0, 16))
}

/// Each metric once: its field, its type as a user of Prometheus knows it, how it begins, and what it means.
macro_rules! metrics {
    ($($name:ident: $type:ty, $kind:literal, $new:expr, $help:literal;)*) => {
        /// Every metric of the bastion. A program leaves at zero what it has no part in.
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

            /// Name, type and meaning of each metric, as `/metrics` has them.
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
    build_info: Family<BuildLabels, Gauge>, "gauge by program, version", Family::default(), "One, for the program and version that runs.";
    ready: Family<ProgramLabels, Gauge>, "gauge by program", Family::default(), "One while the program can do its work: `/readyz`. Zero until then, and while a gateway drains.";
    connections_pending: Gauge, "gauge", Gauge::default(), "Connections that have not signed in yet.";
    connections_refused: Family<RefusalLabels, Counter>, "counter by reason", counted(["all", "address", "proxy_header"], |reason| RefusalLabels { reason }), "Connections turned away because too many had no session yet, in all or from their address, or because a load balancer did not say where they come from.";
    http_connections_closed: Family<HttpLabels, Counter>, "counter by port and reason", counted(http_labels(), |labels| labels), "HTTP connections closed by a limit: the one that was idle longest on a port with too many (all); the oldest without a complete request header where too many have none (unfinished); one whose TLS handshake failed or took too long (handshake); one whose request header took too long (header_timeout) or was too long (header_size).";
    sign_ins_refused: Family<RefusalLabels, Counter>, "counter by reason", counted(REFUSALS, |reason| RefusalLabels { reason }), "Sign-ins refused; each key that a client offers in vain counts.";
    targets_unreachable: Family<UnreachableLabels, Counter>, "counter by reason", counted(UNREACHABLE, |reason| UnreachableLabels { reason }), "Connections to targets that could not be made or signed in.";
    remote_opens_refused: Family<RefusalLabels, Counter>, "counter by reason", counted(REMOTE_OPEN_REFUSALS, |reason| RefusalLabels { reason }), "Channels opened by a target (`ssh -R`, `ssh -A`) that were refused: no room within 30 s (waited), or too many waiting (queue_full).";
    legacy_algorithms_negotiated: Family<AlgorithmLabels, Counter>, "counter by algorithm", Family::default(), "Key exchanges that came to an algorithm that only some targets ask for; one may count several.";
    terminals_open: Gauge, "gauge", Gauge::default(), "Web terminals that are open, with a session or about to have one.";
    terminals_refused: Family<RefusalLabels, Counter>, "counter by reason", counted(TERMINAL_REFUSALS, |reason| RefusalLabels { reason }), "Requests for a web terminal that were answered with an error; who may have no session is counted with the sign-ins.";
    followers: Gauge, "gauge", Gauge::default(), "People who follow sessions that this gateway carries.";
    followers_skipped: Counter, "counter", Counter::default(), "Times that somebody who follows a session could not keep up with a terminal, and some of its output was left out.";
    follows_refused: Family<RefusalLabels, Counter>, "counter by reason", counted(FOLLOW_REFUSALS, |reason| RefusalLabels { reason }), "Requests of consoles to follow a session that were answered with an error.";
    menus_open: Gauge, "gauge", Gauge::default(), "Connections that have signed in and have yet to choose a target.";
    menus: Family<MenuLabels, Counter>, "counter by outcome", Family::default(), "Connections that had a target to choose, by what came of it.";
    sessions_active: Gauge, "gauge", Gauge::default(), "Sessions that this gateway carries.";
    sessions_started: Counter, "counter", Counter::default(), "Sessions that this gateway has started.";
    sessions_ended: Family<EndLabels, Counter>, "counter by phase, reason", counted(Reason::ALL, EndLabels::of), "Ends that this program has written.";
    session_in_bytes: Counter, "counter", Counter::default(), "Bytes from users to targets.";
    session_out_bytes: Counter, "counter", Counter::default(), "Bytes from targets to users.";
    late_ends_refused: Counter, "counter", Counter::default(), "Ends that came after another writer's.";
    unwritten_ends: Gauge, "gauge", Gauge::default(), "Ends that are not yet written.";
    oldest_unwritten_end_seconds: OldestAge, "gauge", OldestAge::default(), "Seconds since the oldest of the ends that are not yet written; zero without one.";
    end_write_retries: Family<RetryLabels, Counter>, "counter by cause", counted(RETRY_CAUSES, |cause| RetryLabels { cause }), "Attempts to write an end that failed.";
    end_written_seconds: Family<EndLabels, Histogram>, "histogram by phase, reason", Family::new_with_constructor(seconds), "Seconds from an end to its being written.";
    end_seen_seconds: Family<EndLabels, Histogram>, "histogram by phase, reason", Family::new_with_constructor(seconds), "Seconds from an end to its being seen by this gateway's own watch.";
    events_dropped: Counter, "counter", Counter::default(), "Events that were not published.";
    watch_interruptions: Counter, "counter", Counter::default(), "Interruptions of watches.";
    objects_unreadable: Family<KindLabels, Counter>, "counter by kind", counted(KINDS, |kind| KindLabels { kind: kind.to_owned() }), "Objects that this program could not read and left out; each version of an object counts once.";
    lease_renewals_failed: Counter, "counter", Counter::default(), "Renewals of this program's Lease that failed.";
    instance_losses: Counter, "counter", Counter::default(), "Times that this gateway was declared lost and dropped its sessions.";
    instances_declared_lost: Counter, "counter", Counter::default(), "Gateway instances that this controller declared lost.";
    sweeps: Counter, "counter", Counter::default(), "Times that this controller began to end the sessions of a lost instance that were left.";
    fences: Counter, "counter", Counter::default(), "Times that this gateway was cut off from the API server and Redis and ended its sessions.";
    vouchers: Counter, "counter", Counter::default(), "Times that this controller vouched for a gateway that only Redis could hear.";
    orders_sent: Counter, "counter", Counter::default(), "Orders to end a session that this controller sent through Redis.";
    redis_failures: Family<RedisLabels, Counter>, "counter by operation", counted(REDIS_OPERATIONS, |operation| RedisLabels { operation }), "Requests that Redis refused or did not answer.";
    recordings_started: Counter, "counter", Counter::default(), "Recordings that this gateway has begun.";
    recordings_failed: Family<RecordingLabels, Counter>, "counter by cause", counted(RECORDING_FAILURES, |cause| RecordingLabels { cause }), "Recordings that could not be begun or failed; what is required then ends the session.";
    recording_bytes: Counter, "counter", Counter::default(), "Bytes of recordings that were stored.";
    recording_put_seconds: Histogram, "histogram", seconds(), "Seconds that the store of recordings took for one piece.";
    leader: Gauge, "gauge", Gauge::default(), "One where this controller leads: it alone writes to the audit database and deletes what is on record.";
    observing: Gauge, "gauge", Gauge::default(), "One where this controller can tell which gateways are alive: its own heartbeat comes back through its watch.";
    session_objects: Family<PhaseLabels, Gauge>, "gauge by phase", Family::default(), "BastionSession objects in the cluster, as this controller sees them.";
    reconcile_failures: Counter, "counter", Counter::default(), "Sessions that a controller could not see to, and tried again.";
    sessions_pruned: Counter, "counter", Counter::default(), "Finished sessions that were deleted.";
    quota_count_failures: Counter, "counter", Counter::default(), "Attempts of this controller to count the sessions for a quota without a count that failed.";
    audit_rows_written: Counter, "counter", Counter::default(), "Rows written to the audit database.";
    audit_failures: Family<AuditLabels, Counter>, "counter by cause", counted(AUDIT_CAUSES, |cause| AuditLabels { cause }), "Batches that the audit database did not take, looks at it in vain, and finalizers that could not be taken off.";
    audit_backlog: Gauge, "gauge", Gauge::default(), "Sessions that wait to be written to the audit database or to be let go; zero where another controller leads.";
    audit_oldest_unwritten_end_seconds: Age, "gauge", Age::default(), "Seconds since the oldest end that is not yet in the audit database; zero without one, and where another controller leads.";
    console_failures: Family<ConsoleLabels, Counter>, "counter by reason", counted(CONSOLE_FAILURES, |reason| ConsoleLabels { reason }), "Requests to the console that got an error.";
    console_sign_ins: Family<SignInLabels, Counter>, "counter by outcome", counted(SIGN_INS, |outcome| SignInLabels { outcome }), "Sign-ins with browsers: by token or oidc; with the provider in vain because it did not do its part (provider), said no (denied), took too long (late) or named nobody whom the cluster could know (claims).";
    console_pages: Gauge, "gauge", Gauge::default(), "Pages of the console's live feed that are open.";
    console_snapshots: Family<SnapshotLabels, Counter>, "counter by cause", counted(SNAPSHOTS, |cause| SnapshotLabels { cause }), "Snapshots that pages were given: opened, after an interruption of the watch (reset), too late for what came (slow), or because the person's rights have changed (rights).";
    audit_restores: Counter, "counter", Counter::default(), "Times that the audit database turned out to be an older copy of itself, and all sessions were recorded anew.";
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_metric_that_is_described() {
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
    fn what_was_never_counted_is_there_at_zero() {
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
