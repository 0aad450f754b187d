//! What breaks, at random, and is repaired. One fault at a time for each gateway, for the controllers, for the API
//! server, for Redis and for the target, and all of these at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::ledger::Fault;
use bastion_e2e::Controller;

/// How long no controller fails after a fault of one, so that the other observes for itself which gateways live.
const BETWEEN_CONTROLLERS: Duration = Duration::from_secs(30);

/// Lets faults happen until `stop` is cancelled, and returns when all is repaired.
pub async fn happen(environment: Arc<Environment>, mut chance: StdRng, stop: CancellationToken) {
    let mut faults = JoinSet::new();
    while !stop.is_cancelled() {
        let pause = Duration::from_secs_f64(chance.random_range(2.0..10.0));
        stop.run_until_cancelled(sleep(pause)).await;
        let (environment, stop) = (environment.clone(), stop.clone());
        let (kind, gateway) = (chance.random_range(0..100), chance.random_range(0..2));
        let [long, short] = [5.0..40.0, 0.5..6.0].map(|seconds| Duration::from_secs_f64(chance.random_range(seconds)));
        faults.spawn_local(async move {
            let happening = environment.locks.faults.read().await;
            match kind {
                0..20 => kill_gateway(&environment, gateway, short).await,
                20..45 => freeze_gateway(&environment, gateway, long).await,
                45..70 => {
                    let Ok(mut controllers) = environment.controllers.try_lock() else { return };
                    match kind {
                        ..57 => kill_controller(&environment, &mut controllers[gateway], gateway, short).await,
                        _ => freeze_controller(&environment, &controllers[gateway], long).await,
                    }
                    drop(happening);
                    stop.run_until_cancelled(sleep(BETWEEN_CONTROLLERS)).await;
                }
                70..82 => stop_api(&environment, short * 3).await,
                82..86 => kill_redis(&environment, short * 3).await,
                86..91 => freeze_redis(&environment, long).await,
                91..93 => flush_redis(&environment).await,
                _ => kill_target(&environment, short).await,
            }
        });
        while let Some(ended) = faults.try_join_next() {
            ended.expect("a fault can be repaired");
        }
    }
    while let Some(ended) = faults.join_next().await {
        ended.expect("a fault can be repaired");
    }
}

async fn kill_gateway(environment: &Environment, number: usize, down: Duration) {
    let Ok(mut gateway) = environment.gateways[number].try_lock() else { return };
    let from = Timestamp::now();
    gateway.process.kill().await;
    sleep(down).await;
    let _api = environment.locks.api.read().await;
    *gateway = environment.start_gateway(number).await;
    *environment.addresses[number].lock().expect("no panic") = gateway.address;
    environment.ledger.record_fault(Fault::GatewayKilled(number), from);
}

async fn freeze_gateway(environment: &Environment, number: usize, frozen: Duration) {
    let Ok(gateway) = environment.gateways[number].try_lock() else { return };
    let from = Timestamp::now();
    gateway.process.freeze().await;
    sleep(frozen).await;
    gateway.process.thaw();
    environment.ledger.record_fault(Fault::GatewayFrozen(number), from);
}

async fn kill_controller(environment: &Environment, controller: &mut Controller, number: usize, down: Duration) {
    let from = Timestamp::now();
    controller.process.kill().await;
    sleep(down).await;
    let _api = environment.locks.api.read().await;
    *controller = environment.start_controller(number).await;
    environment.ledger.record_fault(Fault::ControllerKilled, from);
}

async fn freeze_controller(environment: &Environment, controller: &Controller, frozen: Duration) {
    let from = Timestamp::now();
    controller.process.freeze().await;
    sleep(frozen).await;
    controller.process.thaw();
    environment.ledger.record_fault(Fault::ControllerFrozen, from);
}

async fn stop_api(environment: &Environment, down: Duration) {
    let Ok(_api) = environment.locks.api.try_write() else { return };
    let from = Timestamp::now();
    environment.namespace.control_plane.stop_api();
    sleep(down).await;
    environment.namespace.control_plane.start_api().await;
    environment.ledger.record_fault(Fault::ApiStopped, from);
}

async fn kill_target(environment: &Environment, down: Duration) {
    let Ok(mut echo) = environment.echo.try_lock() else { return };
    let from = Timestamp::now();
    echo.kill();
    sleep(down).await;
    echo.restart().await;
    environment.ledger.record_fault(Fault::TargetKilled, from);
}

async fn kill_redis(environment: &Environment, down: Duration) {
    let Ok(mut redis) = environment.redis.try_lock() else { return };
    let from = Timestamp::now();
    redis.kill().await;
    sleep(down).await;
    redis.start_again().await;
    environment.ledger.record_fault(Fault::RedisAway, from);
}

async fn freeze_redis(environment: &Environment, frozen: Duration) {
    let Ok(redis) = environment.redis.try_lock() else { return };
    let from = Timestamp::now();
    redis.freeze().await;
    sleep(frozen).await;
    redis.thaw();
    environment.ledger.record_fault(Fault::RedisAway, from);
}

async fn flush_redis(environment: &Environment) {
    let Ok(redis) = environment.redis.try_lock() else { return };
    let from = Timestamp::now();
    redis.ask::<()>(&["FLUSHALL"]).await.expect("Redis answers");
    environment.ledger.record_fault(Fault::RedisFlushed, from);
}
