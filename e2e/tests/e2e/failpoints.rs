//! Programs in which a step fails, is late, or panics, by the failpoints that test builds have (src/failpoints.rs).

use std::ffi::OsString;
use std::time::{Duration, Instant};

use bastion_operator::api::{Phase, Reason};
use futures::future::join_all;
use futures::{StreamExt, stream};
use kube::ResourceExt;
use nix::sys::signal::Signal;
use rstest::rstest;

use bastion_e2e::programs::{all_rows, audit_store};
use bastion_e2e::{
    Audit, Bastion, Console, Controller, Gateway, LOST_GATEWAY, Process, Setting, TerminalPage, default_timeout,
    eventually, histories, stretched, throughout,
};

/// What a failpoint does at its first passes: nothing, so that a test can begin; then it panics, fails and delays in turn.
const EACH_WAY: &str = "1*off->1*panic->1*return(error)->1*return(2000)->1*return(11000)->1*panic->1*return(error)";

fn with_failpoints<'a>(failpoints: &str) -> Setting<'a> {
    Setting { env: vec![("FAILPOINTS", OsString::from(failpoints))], ..Setting::default() }
}

/// Waits until a program has ended because the task failed, and has said so.
async fn ends_for(process: &mut Process, task: &str, detail: &str) {
    let outcome = process.finish(default_timeout()).await;
    assert_eq!(outcome.code, Some(1), "{task}: {outcome:?}");
    let log = process.stderr();
    let mut lines = log.lines().filter(|line| line.contains("a background task failed") && line.contains("ERROR"));
    let names = |line: &str| line.contains(&format!("`{task}`")) && line.contains(detail);
    assert!(lines.any(names), "no line names {task:?} and {detail:?}:\n{log}");
}

/// Asserts that each session of the user has ended in one way, and returns how many there are.
fn ended_once_each(bastion: &Bastion, user: &str) -> usize {
    let seen = bastion.watch.seen();
    let all = histories(&seen);
    let of_user = all.values().filter(|it| it.session().spec.user.name == user);
    of_user.map(|it| assert!(it.end().is_some(), "{} has not ended", it.name)).count()
}

/// Another user's session goes on meanwhile, and so does the gateway.
#[rstest]
#[case::before_a_session_is_created("create-session")]
#[case::after_a_session_is_created("session-created")]
#[case::before_a_status_is_written("write-status")]
#[case::after_a_status_is_written("status-written")]
#[tokio::test]
async fn each_end_is_written_once_whatever_happens_in_the_session_writer(#[case] point: &str) {
    let failpoints = format!("{point}={EACH_WAY};read-refused-end=1*return(error)->1*panic->1*return(2000)");
    let setting = with_failpoints(&failpoints);
    let mut bastion = Bastion::in_setting(&setting, async |namespace, _| namespace.user("bob").await).await;
    let mut bob = bastion.open("bob").await;
    for _ in 0..6 {
        // Some are refused or cut off.
        bastion.ssh("alice:web-1").await.command("echo through").run().await;
    }
    bastion
        .watch
        .until(LOST_GATEWAY, "every session of alice has ended", |seen| {
            let all = histories(seen);
            let mut of_alice = all.values().filter(|it| it.session().spec.user.name == "alice");
            of_alice.all(|it| it.end().is_some()).then_some(())
        })
        .await;
    println!("{point}: {} sessions, each ended once", ended_once_each(&bastion, "alice"));
    let log = bastion.gateway.process.stderr();
    assert!(log.contains("has panicked"), "the failpoint was passed:\n{log}");
    assert!(bastion.gateway.process.is_there(), "a session's panic is not the gateway's");
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
    eventually(default_timeout(), "the gateway carries one session", async || {
        let sessions = bastion.gateway.sessions_active().await;
        if sessions == 1 { Ok(()) } else { Err(format!("{sessions}")) }
    })
    .await;
    bob.ssh.say("exit").await;
    bastion.watch.ended_within(LOST_GATEWAY, &bob.session, Reason::UserExit).await;
}

/// Renewals that fail, are late, or succeed without the gateway's knowledge.
#[rstest]
#[case::before_a_renewal("renew-lease")]
#[case::after_a_renewal("lease-renewed")]
#[tokio::test]
async fn a_gateway_with_some_failing_renewals_is_not_lost(#[case] point: &str) {
    let ways = "2*return(error)->1*return(4000)->1*return(error)->1*return(1000)->1*return(4000)";
    let setting = with_failpoints(&format!("{point}={ways}"));
    let bastion = Bastion::in_setting(&setting, async |_, _| ()).await;
    let _controller = Controller::start(&bastion.namespace, "controller-0").await;
    let mut open = bastion.open("alice").await;
    throughout(Duration::from_secs(40), async || assert_eq!(bastion.watch.phase(&open.session), Phase::Active)).await;
    open.still_answers().await;
    let failed = bastion.gateway.metric("bastion_lease_renewals_failed_total").await;
    assert!(failed >= 3, "{failed} renewals failed");
    let again = bastion.open("alice").await;
    assert_eq!(again.session.spec.gateway.instance, open.session.spec.gateway.instance);
}

/// The Lease is renewed no more, so the gateway ends, and its sessions before it.
#[rstest]
#[case::in_the_middle("renew-lease=3*off->panic", "failpoint renew-lease panic")]
#[case::after_it("lease-renewed=3*off->panic", "failpoint lease-renewed panic")]
#[tokio::test]
async fn a_gateway_whose_lease_renewal_panics_ends_its_sessions_and_itself(#[case] points: &str, #[case] detail: &str) {
    let mut bastion = Bastion::in_setting(&with_failpoints(points), async |_, _| ()).await;
    let mut open = bastion.open("alice").await;
    bastion.watch.ended_within(LOST_GATEWAY, &open.session, Reason::GatewayShutdown).await;
    assert_eq!(open.ssh.finish(default_timeout()).await.code, Some(255));
    ends_for(&mut bastion.gateway.process, "instance", &format!("Lease renewal: {detail}")).await;
    assert_eq!(ended_once_each(&bastion, "alice"), 1);
}

/// The tasks and parts of tasks of each program. A part is named in the message of its task.
const GATEWAY_TASKS: [(&str, &str); 13] = [
    ("probe server", ""),
    ("Event publisher", ""),
    ("watch of bastionusers", ""),
    ("watch of bastiontargets", ""),
    ("watchdog", ""),
    ("revocation", ""),
    ("observer server", ""),
    ("SSH listener", ""),
    ("web terminal server", ""),
    ("instance", ""),
    ("instance", "Lease renewal"),
    ("instance", "pause detector"),
    ("instance", "session watch"),
];
const CONTROLLER_TASKS: [(&str, &str); 9] = [
    ("probe server", ""),
    ("Event publisher", ""),
    ("quota", ""),
    ("session reconciler", ""),
    ("failure detector", ""),
    ("failure detector", "Lease watch"),
    ("failure detector", "Lease renewal"),
    ("failure detector", "check for lost instances"),
    ("failure detector", "Pod watch"),
];
const AUDIT_TASKS: [(&str, &str); 7] = [
    ("probe server", ""),
    ("Event publisher", ""),
    ("history server", ""),
    ("instance", ""),
    ("election", ""),
    ("audit mirror", ""),
    ("pruner", ""),
];
const CONSOLE_TASKS: [(&str, &str); 6] = [
    ("probe server", ""),
    ("Event publisher", ""),
    ("watch of bastionusers", ""),
    ("session feed", ""),
    ("watch of heartbeats", ""),
    ("API server", ""),
];

/// How many programs run at once in a test.
const AT_ONCE: usize = 4;

/// Starts a program for each of its tasks, in which that task panics or ends after some seconds.
async fn each_task_ends_its_program(tasks: &[(&str, &str)], start: impl AsyncFn(&str, &Setting<'_>) -> Process) {
    let ways = tasks.iter().flat_map(|it| [(it, "panic", "panic"), (it, "return(error)", "")]);
    // The Event publisher may end, because it does so with its last sender.
    let ways = ways.filter(|(it, action, _)| !(it.0 == "Event publisher" && *action == "return(error)"));
    let runs = ways.enumerate().map(async |(number, ((task, part), action, detail))| {
        let point = if part.is_empty() { task } else { part };
        // A point of a task is passed once a second. The program must be up before.
        let seconds = stretched(Duration::from_secs(5)).as_secs();
        let setting = with_failpoints(&format!("{point}={seconds}*off->{action}"));
        let mut process = start(&format!("pod-{number}"), &setting).await;
        let detail = if part.is_empty() { detail } else { part };
        ends_for(&mut process, task, detail).await;
    });
    stream::iter(runs).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test]
async fn a_gateway_ends_when_any_of_its_tasks_does() {
    let bastion = Bastion::up().await;
    each_task_ends_its_program(&GATEWAY_TASKS, async |pod, setting| {
        Gateway::start_in(&bastion.namespace, pod, &["--grace-period", "1h"], setting).await.process
    })
    .await;
}

#[tokio::test]
async fn a_controller_ends_when_any_of_its_tasks_does() {
    let bastion = Bastion::up().await;
    each_task_ends_its_program(&CONTROLLER_TASKS, async |pod, setting| {
        Controller::start_in(&bastion.namespace, pod, setting).await.process
    })
    .await;
}

#[tokio::test]
async fn an_audit_program_ends_when_any_of_its_tasks_does() {
    let bastion = Bastion::up().await;
    each_task_ends_its_program(&AUDIT_TASKS, async |pod, setting| {
        Audit::start_in(&bastion.namespace, pod, "10m", setting).await.process
    })
    .await;
}

#[tokio::test]
async fn a_console_ends_when_any_of_its_tasks_does() {
    let bastion = Bastion::up().await;
    each_task_ends_its_program(&CONSOLE_TASKS, async |pod, setting| {
        Console::start_in(&bastion.namespace, pod, setting).await.process
    })
    .await;
}

/// Both controllers fail, are late, or panic as they sweep; Kubernetes starts one again.
#[rstest]
#[case::before_the_loss_is_declared("declare-lost", "failure detector")]
#[case::after_the_loss_is_declared("declared-lost", "failure detector")]
#[case::before_an_end_is_written("write-status", "session reconciler")]
#[case::after_an_end_is_written("status-written", "session reconciler")]
#[tokio::test]
async fn each_lost_session_ends_once_whatever_happens_in_the_sweep(#[case] point: &str, #[case] task: &str) {
    let bastion = Bastion::with_users(&["bob"]).await;
    let dying = Gateway::start(&bastion.namespace, "gateway-1").await;
    let failing = with_failpoints(&format!("{point}=1*return(error)->1*return(1000)->1*panic"));
    let mut first = Controller::start_in(&bastion.namespace, "controller-0", &failing).await;
    let _second =
        Controller::start_in(&bastion.namespace, "controller-1", &with_failpoints(&format!("{point}=1*return(error)")))
            .await;
    let mut bob = bastion.open("bob").await;
    let lost = join_all((0..8).map(|_| bastion.open_on(&dying, "alice", "web-1"))).await;
    let killed = Instant::now();
    dying.process.signal(Signal::SIGKILL);
    for open in &lost {
        let left = LOST_GATEWAY.saturating_sub(killed.elapsed());
        bastion.watch.ended_within(left, &open.session, Reason::GatewayLost).await;
    }
    println!("{point}: the last of {} lost sessions was shown {:.1?} after the kill", lost.len(), killed.elapsed());
    assert_eq!(ended_once_each(&bastion, "alice"), lost.len());
    bob.still_answers().await;
    assert_eq!(bastion.watch.phase(&bob.session), Phase::Active);
    // Whether the failing controller came to its panic depends on which of the two was first.
    if !first.process.is_there() {
        ends_for(&mut first.process, task, point).await;
    }
}

/// A program that keeps the records fails, is late and panics, and is started again.
#[rstest]
#[case::before_rows_are_written("write-rows")]
#[case::after_rows_are_written("rows-written")]
#[case::before_a_finalizer_is_removed("remove-finalizer")]
#[case::after_a_finalizer_is_removed("finalizer-removed")]
#[tokio::test]
async fn each_session_is_recorded_once_whatever_happens_in_the_audit_mirror(#[case] point: &str) {
    let bastion = Bastion::up().await;
    let failing = with_failpoints(&format!("{point}=1*return(error)->1*return(2000)->1*panic"));
    let mut first = Audit::start_in(&bastion.namespace, "audit-0", "10m", &failing).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let mut open = bastion.open("alice").await;
        open.ssh.say("exit").await;
        bastion.watch.ended(&open.session, Reason::UserExit).await;
        sessions.push(open.session);
    }
    ends_for(&mut first.process, "audit mirror", &format!("failpoint {point} panic")).await;
    let _second = Audit::start(&bastion.namespace, "audit-0", "10m").await;
    let is_released = |name: &str, seen: &[bastion_e2e::Observation]| {
        let last = seen.iter().rev().find(|it| it.name == name).expect("it was seen");
        last.gone || last.session.finalizers().is_empty()
    };
    let names: Vec<String> = sessions.iter().map(ResourceExt::name_any).collect();
    bastion
        .watch
        .until(default_timeout(), "every session is recorded", |seen| {
            names.iter().all(|name| is_released(name, seen)).then_some(())
        })
        .await;
    let rows = all_rows(&audit_store(&bastion.namespace)).await.expect("the database can be read");
    let mut recorded: Vec<_> = rows.iter().map(|row| (row.name.clone(), row.reason.clone())).collect();
    recorded.sort();
    let mut expected: Vec<_> =
        names.into_iter().map(|name| (name, Some(Reason::UserExit.as_str().to_owned()))).collect();
    expected.sort();
    assert_eq!(recorded, expected);
}

#[tokio::test]
async fn a_web_terminal_whose_task_panics_ends_its_session() {
    let setting = with_failpoints("web-terminal-page=1*panic->off");
    let mut bastion = Bastion::in_setting(&setting, async |namespace, _| {
        namespace.person().await;
    })
    .await;
    let token = format!("Bearer {}", bastion.namespace.control_plane.person_token());
    let mut page = TerminalPage::open(bastion.gateway.web, "target=web-1", &[("authorization", token)]).await;
    let session = bastion.watch.started("person").await;
    assert!(page.closed().await.is_none(), "nothing tells the page why");
    bastion.watch.ended(&session, Reason::ClientDisconnected).await;
    assert!(bastion.gateway.process.stderr().contains("the task of a web terminal has panicked"));
    assert!(bastion.gateway.process.is_there(), "a page's panic is not the gateway's");
}
