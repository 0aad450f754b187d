//! What breaks, at random, and is repaired. One fault at a time for each gateway, for the controllers, for the API
//! server, for Redis and for the target, and all of these at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::Signal;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::ground::Ground;
use crate::ledger::Fault;
use bastion_e2e::{Controller, patience};

/// How long the controllers are left alone after a fault of one: with one of two away, the other has to have seen
/// for itself who is alive.
const BETWEEN_CONTROLLERS: Duration = Duration::from_secs(30);

/// Lets faults happen until `stop` is cancelled, and returns when all is repaired.
pub async fn happen(ground: Arc<Ground>, mut chance: StdRng, stop: CancellationToken) {
    let mut faults = JoinSet::new();
    while !stop.is_cancelled() {
        let pause = Duration::from_secs_f64(chance.random_range(2.0..10.0));
        stop.run_until_cancelled(sleep(pause)).await;
        let (ground, stop) = (ground.clone(), stop.clone());
        let (kind, gateway) = (chance.random_range(0..100), chance.random_range(0..2));
        let [long, short] = [5.0..40.0, 0.5..6.0].map(|seconds| Duration::from_secs_f64(chance.random_range(seconds)));
        faults.spawn_local(async move {
            let happening = ground.faults.read().await;
            match kind {
                0..20 => kill_gateway(&ground, gateway, short).await,
                20..45 => freeze_gateway(&ground, gateway, long).await,
                45..70 => {
                    let Ok(mut controllers) = ground.controllers.try_lock() else { return };
                    match kind {
                        ..57 => kill_controller(&ground, &mut controllers[gateway], gateway, short).await,
                        _ => freeze_controller(&ground, &controllers[gateway], long).await,
                    }
                    drop(happening);
                    stop.run_until_cancelled(sleep(BETWEEN_CONTROLLERS)).await;
                }
                70..82 => stop_api(&ground, short * 3).await,
                82..86 => kill_redis(&ground, short * 3).await,
                86..91 => freeze_redis(&ground, long).await,
                91..93 => flush_redis(&ground).await,
                _ => kill_target(&ground, short).await,
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

async fn kill_gateway(ground: &Ground, number: usize, down: Duration) {
    let Ok(mut gateway) = ground.gateways[number].try_lock() else { return };
    let from = Timestamp::now();
    gateway.process.signal(Signal::SIGKILL);
    gateway.process.finish(patience()).await;
    sleep(down).await;
    let _api = ground.api.read().await;
    *gateway = ground.start_gateway(number).await;
    *ground.addresses[number].lock().expect("no panic") = gateway.address;
    ground.ledger.broke(Fault::GatewayKilled(number), from);
}

async fn freeze_gateway(ground: &Ground, number: usize, frozen: Duration) {
    let Ok(gateway) = ground.gateways[number].try_lock() else { return };
    let from = Timestamp::now();
    gateway.process.freeze().await;
    sleep(frozen).await;
    gateway.process.signal(Signal::SIGCONT);
    ground.ledger.broke(Fault::GatewayFrozen(number), from);
}

async fn kill_controller(ground: &Ground, controller: &mut Controller, number: usize, down: Duration) {
    let from = Timestamp::now();
    controller.process.signal(Signal::SIGKILL);
    controller.process.finish(patience()).await;
    sleep(down).await;
    let _api = ground.api.read().await;
    *controller = ground.start_controller(number).await;
    ground.ledger.broke(Fault::ControllerKilled, from);
}

async fn freeze_controller(ground: &Ground, controller: &Controller, frozen: Duration) {
    let from = Timestamp::now();
    controller.process.freeze().await;
    sleep(frozen).await;
    controller.process.signal(Signal::SIGCONT);
    ground.ledger.broke(Fault::ControllerFrozen, from);
}

async fn stop_api(ground: &Ground, down: Duration) {
    let Ok(_api) = ground.api.try_write() else { return };
    let from = Timestamp::now();
    ground.namespace.control_plane.stop_api();
    sleep(down).await;
    ground.namespace.control_plane.start_api().await;
    ground.ledger.broke(Fault::ApiStopped, from);
}

async fn kill_target(ground: &Ground, down: Duration) {
    let Ok(mut echo) = ground.echo.try_lock() else { return };
    let from = Timestamp::now();
    echo.kill();
    sleep(down).await;
    echo.restart().await;
    ground.ledger.broke(Fault::TargetKilled, from);
}

async fn kill_redis(ground: &Ground, down: Duration) {
    let Ok(mut redis) = ground.redis.try_lock() else { return };
    let from = Timestamp::now();
    redis.kill().await;
    sleep(down).await;
    redis.start_again().await;
    ground.ledger.broke(Fault::RedisAway, from);
}

async fn freeze_redis(ground: &Ground, frozen: Duration) {
    let Ok(redis) = ground.redis.try_lock() else { return };
    let from = Timestamp::now();
    redis.freeze().await;
    sleep(frozen).await;
    redis.thaw();
    ground.ledger.broke(Fault::RedisAway, from);
}

async fn flush_redis(ground: &Ground) {
    let Ok(redis) = ground.redis.try_lock() else { return };
    let from = Timestamp::now();
    redis.ask::<()>(&["FLUSHALL"]).await.expect("Redis answers");
    ground.ledger.broke(Fault::RedisFlushed, from);
}
