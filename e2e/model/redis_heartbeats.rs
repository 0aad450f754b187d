//! The controller's reading of heartbeats in Redis, and its vouching for gateways that only Redis can reach.

use bastion_operator::lifecycle::{LeaseVersion, RENEW_TIMEOUT};
use bastion_operator::redis::REDIS_TIMEOUT;
use bastion_operator::redis::heartbeat::Heartbeat;

use crate::controller::LateSwap;
use crate::redis::{Key, REDIS_NOW};
use crate::rules::{Rules, seconds};
use crate::steps::{Trouble, Troubles};
use crate::world::{Example, Lease, NOW, Process, Promise, Shown, World, Writer};
use crate::{objects, redis};

/// Controller `c` asks Redis, when it waits for nothing else.
pub fn ask(world: &mut World, c: usize, troubles: &Troubles, rules: &Rules) {
    let World { redis: Some(redis), controllers, .. } = world else { return };
    let controller = &mut controllers[c];
    if controller.process != Process::Running {
        return;
    }
    controller.asks.timeout_in = controller.asks.timeout_in.saturating_sub(1);
    if controller.asks.timeout_in > 0 {
        return;
    }
    if !controller.reaches_redis(redis.up) {
        controller.asks.timeout_in = seconds(REDIS_TIMEOUT);
        return;
    }
    let (keys, reports) = (redis.keys.clone(), redis.reports.clone());
    for g in (0..reports.len()).filter(|g| reports[*g]) {
        write_reported(world, c, g, rules);
    }
    for (g, key) in keys.into_iter().enumerate() {
        if let Some(key) = key
            && let Some(overdue) = hear(world, c, g, key, rules)
            && rules.controllers_vouch
            && !vouch(world, c, g, &overdue, troubles)
        {
            return;
        }
    }
}

/// Writes the end that gateway `g` reports, if that does not renew its Lease and the watch shows the session as Active.
fn write_reported(world: &mut World, c: usize, g: usize, rules: &Rules) {
    let controller = &world.controllers[c];
    let unable = controller.observer.unable_to_write(*NOW).contains_key(objects::name(g));
    if !unable || controller.views[g].ended || controller.cut || !world.api.up {
        return;
    }
    if world.gateways[g].carries() {
        world.breaks(Promise::ReportedForCause);
    }
    if world.api.sessions[g] == Shown::Active {
        world.example(Example::EndReported);
    }
    world.end_session(g, Writer::Controller, rules.phases_absorb);
}

/// Takes note of a sign of life. Returns the Lease to vouch for, if any.
fn hear(world: &mut World, c: usize, g: usize, key: Key, rules: &Rules) -> Option<LeaseVersion> {
    let controller = &mut world.controllers[c];
    if !rules.only_later_stamps_count {
        controller.observer.shift_redis_stamps(|_| redis::FORGOTTEN);
    }
    let sign = Heartbeat::from_stamp(key.stamp, REDIS_NOW, *NOW)?;
    let before = controller.observer.clone();
    let overdue = controller.observer.observe_redis_heartbeat(objects::name(g), sign.stamp, sign.at, *NOW);
    if controller.observer != before {
        controller.views[g].unheard = Some(key.age);
        if world.gateways[g].cut {
            world.example(Example::OnlyRedisHears);
        }
    }
    overdue
}

/// Sends the vouching. Returns whether there was an answer.
fn vouch(world: &mut World, c: usize, g: usize, overdue: &LeaseVersion, troubles: &Troubles) -> bool {
    let version = overdue.resource_version.as_ref().and_then(|version| version.parse().ok());
    let trouble = troubles.vouch(c);
    let asks = &mut world.controllers[c].asks;
    if let Some(Trouble::Late(lands_in)) = trouble {
        asks.late = Some(LateSwap { gateway: g, version, lands_in });
    }
    if !world.api.up || world.controllers[c].cut || trouble.is_some() {
        world.controllers[c].asks.timeout_in = seconds(RENEW_TIMEOUT);
        return false;
    }
    arrive(world, g, version);
    true
}

/// A vouching of the past arrives.
pub fn land(world: &mut World, c: usize) {
    let Some(late) = &mut world.controllers[c].asks.late else { return };
    late.lands_in -= 1;
    if late.lands_in == 0 {
        let LateSwap { gateway, version, .. } = *late;
        world.controllers[c].asks.late = None;
        if world.api.up {
            arrive(world, gateway, version);
        }
    }
}

/// The API server changes the Lease, if it is still the version that was seen.
fn arrive(world: &mut World, g: usize, version: Option<u8>) {
    if world.api.leases[g].is_some_and(|lease| !lease.lost && Some(lease.version) == version) {
        let version = world.new_version(g);
        let renewal = world.api.leases[g].map_or(version, |lease| lease.renewal);
        world.api.leases[g] = Some(Lease { version, renewal, lost: false });
        world.example(Example::VouchedFor);
    }
}
