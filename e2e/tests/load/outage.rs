//! An API server that is away for a minute, in which sessions end.

use std::ops::Range;
use std::time::{Duration, Instant};

use bastion_operator::api::Reason;
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::json;

use crate::environment::Environment;
use bastion_e2e::{LoadClient, PROMPT_BOUND, SessionHistory, default_timeout, end_time, eventually, histories, weight};

const OUTAGE: Duration = Duration::from_mins(1);

/// Past the time after which a silent gateway is given up, in renewals of its Lease.
const RENEWALS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_during_an_outage_of_the_api_is_written_afterwards_and_nothing_else() {
    let _held = weight::take(1).await;
    let environment = Environment::with_gateways(2).await;
    environment.echo.add_to(&environment.namespace, "short", json!({"limits": {"maxSeconds": 30}})).await;
    environment.echo.add_to(&environment.namespace, "idle", json!({"limits": {"idleSeconds": 25}})).await;
    let (mut go_on, more) = tokio::join!(environment.open(0, 10), environment.open(1, 10));
    go_on.extend(more);
    let (exit, killed, cut_off, overstay, idle) = tokio::join!(
        environment.open(0, 6),
        environment.open(1, 6),
        environment.open(0, 6),
        environment.open_on("short", 0, 6),
        environment.open_on("idle", 1, 6),
    );
    let ways = [
        (exit, Reason::UserExit),
        (killed, Reason::ClientDisconnected),
        (cut_off, Reason::TargetClosed),
        (idle, Reason::IdleTimeout),
        (overstay, Reason::MaxDuration),
    ];
    let leases = environment.instances().await;
    let (stopped, began) = (Instant::now(), Timestamp::now());
    environment.namespace.control_plane.stop_api();

    let causes = end_all(&ways).await;
    eventually(OUTAGE, "the outage has lasted a minute", async || {
        if stopped.elapsed() >= OUTAGE { Ok(()) } else { Err(format!("{:?}", stopped.elapsed())) }
    })
    .await;
    join_all(go_on.iter().map(LoadClient::answers)).await.into_iter().collect::<Result<(), _>>().expect("they answer");
    let back = Timestamp::now();
    environment.namespace.control_plane.start_api().await;
    let ready = Instant::now();

    let all = causes.len();
    environment
        .watch
        .until(default_timeout(), "every end of the outage is written", |seen| {
            (histories(seen).values().filter(|it| it.end().is_some()).count() >= all).then_some(())
        })
        .await;
    println!(
        "{all} ends of an outage of {OUTAGE:?}: all were seen {:.1?} after the API server was ready",
        ready.elapsed()
    );
    environment.renewed(RENEWALS).await;
    environment.go_on(&go_on).await;
    assert_eq!(environment.instances().await, leases, "no gateway was declared lost");

    let seen = environment.watch.seen();
    let histories = histories(&seen);
    assert_eq!(histories.len(), all + go_on.len(), "no session is there twice");
    for cause in causes {
        let history = histories.values().find(|it| it.software() == cause.software).expect("it had a session");
        assert_ended_by(history, &cause, began..back);
    }
}

/// The end of a client's session during the outage.
struct Cause<'a> {
    software: &'a str,
    reason: Reason,
    /// When the client had lost its connection.
    gone: Timestamp,
}

/// Ends the session of each client for its reason, and waits until the client has lost its connection.
///
/// The gateway ends sessions by itself at their time limits.
async fn end_all(ways: &[(Vec<LoadClient>, Reason)]) -> Vec<Cause<'_>> {
    let mut causes = Vec::new();
    for (load_clients, reason) in ways {
        for load_client in load_clients {
            match reason {
                Reason::UserExit => load_client.say("exit 4").await.expect("it takes the line"),
                Reason::TargetClosed => load_client.say("hang up").await.expect("it takes the line"),
                Reason::ClientDisconnected => load_client.kill(),
                _ => {}
            }
            load_client.gone().await;
            causes.push(Cause { software: &load_client.software, reason: *reason, gone: Timestamp::now() });
        }
    }
    causes
}

/// Asserts that the session ended for its cause, and that the written end time is that of the cause, during the outage.
fn assert_ended_by(history: &SessionHistory, cause: &Cause, outage: Range<Timestamp>) {
    let end = history.end().unwrap_or_else(|| panic!("{} has not ended", history.name));
    let time = end_time(end).expect("an endTime");
    assert_eq!(end.reason.as_deref(), Some(cause.reason.as_str()), "of {}", history.name);
    let off = time.duration_since(cause.gone).unsigned_abs();
    assert!(
        outage.contains(&time) && off < PROMPT_BOUND,
        "{} ended at {time}, and was gone at {}",
        history.name,
        cause.gone
    );
}
