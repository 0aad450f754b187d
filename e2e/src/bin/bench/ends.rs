//! How long it takes from the event that ends a session until a watch shows the end, in proportion to what nothing
//! can be faster than: a bare `PATCH` of a session's status, until the same watch shows it.
//!
//! All are measured in turn, against the same API server, with the policies in force, by gateways' accounts. Fails
//! when the median is more than 1.5 times that of the bare patch.
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bastion_e2e::namespace::Account;
use bastion_e2e::objects::{bastion_session, merge};
use bastion_e2e::{
    Audit, ControlPlane, Controller, Echo, Gateway, LoadClient, Namespace, Observation, SessionWatch, default_timeout,
    open_load_clients,
};
use bastion_operator::api::{AUDIT_FINALIZER, Reason};
use futures::FutureExt;
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::write_figures;

/// How often each is measured.
const ROUNDS: usize = 200;
/// At most this many times the median of a bare patch.
const ALLOWED: f64 = 1.5;

/// Where it is measured.
struct Bench {
    watch: SessionWatch,
    gateway: Gateway,
    /// A gateway account without a process; only the benchmark writes as it.
    bare: Account,
    _programs: (Controller, Audit),
    _echo: Echo,
    namespace: Namespace,
}

pub async fn run() -> ExitCode {
    let bench = Bench::set_up().await;
    let exits = open_load_clients(bench.gateway.address, "alice:web-1", ROUNDS).await;
    let disconnects = open_load_clients(bench.gateway.address, "alice:web-1", ROUNDS).await;
    let [mut bare, mut exit, mut disconnect] = [(); 3].map(|()| Vec::new());
    for (round, (exits, disconnects)) in exits.iter().zip(&disconnects).enumerate() {
        // In another order each time, so that none of them always comes after the same other.
        let mut measurements = [
            async { bare.push(bench.patch(round).await) }.boxed_local(),
            async { exit.push(bench.end(exits, Reason::UserExit).await) }.boxed_local(),
            async { disconnect.push(bench.end(disconnects, Reason::ClientDisconnected).await) }.boxed_local(),
        ];
        measurements.rotate_left(round % 3);
        for measurement in measurements {
            measurement.await;
        }
    }
    let control_plane = bench.namespace.control_plane.clone();
    drop(bench);
    control_plane.stop().await;
    report([("bare PATCH of the status", bare), ("the user's exit", exit), ("the client's disconnect", disconnect)])
}

impl Bench {
    async fn set_up() -> Self {
        let namespace = Namespace::on(Arc::new(ControlPlane::start().await)).await;
        let echo = Echo::start().await;
        namespace.user("alice").await;
        echo.add_to(&namespace, "web-1", json!({})).await;
        let programs =
            (Controller::start(&namespace, "controller-0").await, Audit::start(&namespace, "audit-0", "10m").await);
        let gateway = Gateway::start(&namespace, "gateway-0").await;
        let bare = namespace.account("bastion-gateway", "gateway-1").await;
        Self { watch: namespace.watch().await, gateway, bare, _programs: programs, _echo: echo, namespace }
    }

    /// What a gateway writes at an end, without a gateway.
    async fn patch(&self, round: usize) -> Duration {
        let name = format!("alice-web-1-bare{round}");
        let mut session = bastion_session(&name, "gateway-1");
        let start = format!("{:.6}", Timestamp::now());
        merge(&mut session["spec"], json!({"startTime": start}));
        self.namespace.create_as(&self.bare.client, session).await.expect("a session");
        self.seen(|it| it.name == name).await;
        let status = status(Reason::UserExit);
        let begin = Instant::now();
        self.namespace.patch_status(&self.bare.client, &name, status).await.expect("an end");
        self.shown(begin, Reason::UserExit, |it| it.name == name).await
    }

    /// The end of a load client's session.
    async fn end(&self, load_client: &LoadClient, reason: Reason) -> Duration {
        let of_it = |it: &Observation| it.session.spec.client.software.as_ref() == Some(&load_client.software);
        self.seen(of_it).await;
        let begin = Instant::now();
        match reason {
            Reason::UserExit => load_client.say("exit 0").await.expect("it takes the line"),
            _ => load_client.kill(),
        }
        self.shown(begin, reason, of_it).await
    }

    async fn seen(&self, which: impl Fn(&Observation) -> bool) -> Observation {
        self.watch
            .until(default_timeout(), "a session is seen", |seen| seen.iter().rev().find(|it| which(it)).cloned())
            .await
    }

    /// The time from `begin` until the session was shown as ended. Returns once its record is written, so that nothing
    /// of it is left to disturb the next.
    async fn shown(&self, begin: Instant, reason: Reason, which: impl Fn(&Observation) -> bool) -> Duration {
        let end = self.seen(|it| which(it) && it.phase.is_final()).await;
        assert_eq!(end.reason.as_deref(), Some(reason.as_str()), "{end:?}");
        let held = |it: &Observation| it.session.finalizers().iter().any(|finalizer| finalizer == AUDIT_FINALIZER);
        self.seen(|it| which(it) && !held(it)).await;
        let first = self.watch.until(default_timeout(), "its end", |seen| {
            seen.iter().find(|it| which(it) && it.phase.is_final()).map(|it| it.at)
        });
        first.await.duration_since(begin)
    }
}

fn status(reason: Reason) -> Value {
    let (now, message) = (format!("{:.6}", Timestamp::now()), "the command ended with exit status 0");
    let condition = json!({"type": "Ended", "status": "True", "reason": reason.as_str(), "message": message,
        "lastTransitionTime": format!("{:.0}", Timestamp::now())});
    json!({"status": {"phase": reason.phase(), "reason": reason.as_str(), "message": message, "endTime": now,
        "observedBy": "Gateway", "exitCode": 0, "bytesIn": 100, "bytesOut": 100, "conditions": [condition]}})
}

/// Prints a table, writes the same as JSON, and fails when an end took too long. The bare patch comes first.
fn report(measured: [(&str, Vec<Duration>); 3]) -> ExitCode {
    let mut rows = Vec::new();
    let mut bare = None;
    println!(
        "\n{:28} {:>8} {:>9} {:>9} {:>9} {:>7}",
        "from event to watch", "samples", "median ms", "p90 ms", "max ms", "ratio"
    );
    for (name, mut samples) in measured {
        samples.sort();
        let at = |part: usize| samples[(samples.len() - 1) * part / 100].as_secs_f64() * 1e3;
        let (median, p90, max) = (at(50), at(90), at(100));
        let ratio = median / *bare.get_or_insert(median);
        println!("{name:28} {:8} {median:9.2} {p90:9.2} {max:9.2} {ratio:7.2}", samples.len());
        rows.push(json!({"event": name, "samples": samples.len(), "medianMilliseconds": median,
            "p90Milliseconds": p90, "maxMilliseconds": max, "ratio": ratio}));
    }
    let late = rows.iter().filter(|row| row["ratio"].as_f64() > Some(ALLOWED)).count();
    write_figures("ends", rows);
    if late > 0 {
        println!("too slow: at most {ALLOWED} times the bare patch is allowed");
    }
    if late > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
