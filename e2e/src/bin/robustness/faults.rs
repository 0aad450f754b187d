//! Breaks things as the schedule says, and repairs them.

use std::sync::Arc;
use std::time::Duration;

use bastion_e2e::robustness::schedule::{PlannedFault, Round};
use bastion_e2e::robustness::{ApiFault, Fault, Program};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::environment::Environment;

/// How long a program that gets SIGTERM may take to end before it gets SIGKILL, as a kubelet does it.
const TERMINATION_GRACE: Duration = Duration::from_secs(20);

/// Plays the faults of a round, and returns once all are repaired: what could not be broken or repaired.
pub async fn happen(environment: &Arc<Environment>, round: &Round) -> Vec<String> {
    let begin = Instant::now();
    let mut faults = JoinSet::new();
    for planned in round.faults.clone() {
        let environment = environment.clone();
        faults.spawn_local(async move {
            sleep_until(begin + planned.at).await;
            happens(&environment, planned).await;
        });
    }
    let mut failures = Vec::new();
    while let Some(ended) = faults.join_next().await {
        failures.extend(ended.err().map(|failure| format!("a fault: {failure}")));
    }
    failures
}

async fn happens(environment: &Environment, PlannedFault { lasts, fault, .. }: PlannedFault) {
    match fault {
        Fault::Killed(program) | Fault::Stopped(program) => replace(environment, fault, program, lasts).await,
        Fault::Frozen(program) => freeze(environment, fault, program, lasts).await,
        Fault::CutFromApi(program) => {
            let _whole = environment.locks.paths[&program].write().await;
            let relay = environment.network.api_relay(program);
            during(environment, fault, lasts, || relay.cut(), || relay.restore()).await;
        }
        Fault::CutFromRedis(program) => {
            let relay = environment.network.redis_relay(program);
            during(environment, fault, lasts, || relay.cut(), || relay.restore()).await;
        }
        Fault::ApiStopped => stop_api(environment, fault, lasts).await,
        Fault::Api(kind) => break_api(environment, fault, kind, lasts).await,
        Fault::RedisKilled | Fault::RedisFrozen | Fault::RedisFlushed => break_redis(environment, fault, lasts).await,
        Fault::DatabaseAway => {
            let mut database = environment.database.lock().await;
            let from = Timestamp::now();
            let outage = database.go_away().await;
            sleep(lasts).await;
            database.come_back(outage).await;
            environment.recorder.fault(fault, from);
        }
        Fault::TargetKilled => {
            let mut echo = environment.echo.lock().await;
            let from = Timestamp::now();
            echo.kill();
            sleep(lasts).await;
            echo.restart().await;
            environment.recorder.fault(fault, from);
        }
        // No schedule has it: stalls.rs finds it.
        Fault::MachineStalled => {}
    }
}

/// Breaks something, waits, and repairs it.
async fn during(environment: &Environment, fault: Fault, lasts: Duration, begin: impl FnOnce(), end: impl FnOnce()) {
    let from = Timestamp::now();
    begin();
    sleep(lasts).await;
    end();
    environment.recorder.fault(fault, from);
}

/// Ends a process, and starts another one later. A start takes the API server, so it waits for that.
async fn replace(environment: &Environment, fault: Fault, program: Program, down: Duration) {
    let mut running = environment.programs[&program].lock().await;
    let from = Timestamp::now();
    let process = running.process();
    if let Fault::Stopped(_) = fault {
        process.signal(Signal::SIGTERM);
        // A process that does not end gets SIGKILL.
        let _ = timeout(TERMINATION_GRACE, process.ended()).await;
    }
    if process.is_there() {
        process.kill().await;
    }
    sleep(down).await;
    let (_api, _path) = (environment.locks.api.read().await, environment.locks.paths[&program].read().await);
    *running = environment.start(program).await;
    environment.recorder.fault(fault, from);
}

async fn freeze(environment: &Environment, fault: Fault, program: Program, lasts: Duration) {
    let mut running = environment.programs[&program].lock().await;
    let from = Timestamp::now();
    running.process().freeze().await;
    sleep(lasts).await;
    running.process().thaw();
    environment.recorder.fault(fault, from);
}

async fn stop_api(environment: &Environment, fault: Fault, down: Duration) {
    let _whole = environment.locks.api.write().await;
    let from = Timestamp::now();
    environment.namespace.control_plane.stop_api();
    sleep(down).await;
    environment.namespace.control_plane.start_api().await;
    environment.recorder.fault(fault, from);
}

async fn break_api(environment: &Environment, fault: Fault, kind: ApiFault, lasts: Duration) {
    let _whole = environment.locks.api.write().await;
    let network = &environment.network;
    during(environment, fault, lasts, || network.break_api(kind), || network.repair_api()).await;
}

async fn break_redis(environment: &Environment, fault: Fault, lasts: Duration) {
    let mut redis = environment.redis.lock().await;
    let from = Timestamp::now();
    match fault {
        Fault::RedisKilled => {
            redis.kill().await;
            sleep(lasts).await;
            redis.start_again().await;
        }
        Fault::RedisFrozen => {
            redis.freeze().await;
            sleep(lasts).await;
            redis.thaw();
        }
        _ => redis.ask::<()>(&["FLUSHALL"]).await.expect("Redis answers"),
    }
    environment.recorder.fault(fault, from);
}
