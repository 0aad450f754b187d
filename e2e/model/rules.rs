//! What the modelled programs do beside the pure functions: the product's rules, and ways to break them.

use std::time::Duration;

use bastion_operator::lifecycle::{
    END_TIMEOUT, FENCE_AFTER, HEARTBEAT_TIMEOUT, LOST_AFTER, MAYBE_LOST_AFTER, POD_GONE_AFTER,
};

/// The rules of the protocol. A variant of the model switches one of them off.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "a list of switches")]
pub struct Rules {
    /// A controller that has not seen its own heartbeat declares no gateway lost.
    pub controllers_doubt_themselves: bool,
    /// A loss is declared by compare-and-swap.
    pub losses_are_swapped: bool,
    /// The controllers that did not declare a loss sweep as well, a little later.
    pub others_sweep_too: bool,
    /// The API server refuses to change a final phase.
    pub phases_absorb: bool,
    /// A controller that waits for an answer does not take the wait for a pause of its own.
    pub waiting_is_no_pause: bool,
    /// A controller whose first heartbeat was answered into the void finds its Lease there.
    pub heartbeats_are_adopted: bool,
    /// A controller learns from a list which Leases are gone.
    pub lists_tell_what_is_gone: bool,
    /// A gateway that finds no Lease after a silence takes itself for lost.
    pub silences_are_remembered: bool,
    /// A stamp in Redis tells when the gateway asked for the time, not when it arrived.
    pub stamps_tell_when_they_were_asked_for: bool,
    /// Only a later stamp than all before it is evidence.
    pub only_later_stamps_count: bool,
    /// A controller vouches for a gateway that only Redis hears.
    pub controllers_vouch: bool,
    /// By how much a gateway waits too long before it ends its sessions.
    pub fence_falls_later: u8,
    /// For how long a gateway must have been cut off at least that ends its sessions: what [`FENCE_AFTER`] is on a
    /// clock that runs fast, and the time within which a controller's hearing of it through Redis protects it from all.
    pub cut_off_for: u8,
    /// A Pod that is gone is no proof that its container has ended.
    pub gone_pods_prove_nothing: bool,
    /// How long such a silence is.
    pub forgotten_after: u8,
    /// How old a renewal must be at least when a loss is declared: what [`LOST_AFTER`] is on a clock that runs fast.
    pub renewed_in_time: u8,
    /// The same where the Pod is gone.
    pub renewed_in_time_without_pod: u8,
    /// How long a controller waits for the answer to its heartbeat.
    pub heartbeat_timeout: u8,
    /// How long a controller waits for the answer to an end that it writes.
    pub end_timeout: u8,
}

impl Rules {
    /// The product's.
    pub fn of_the_product() -> Self {
        Self {
            controllers_doubt_themselves: true,
            losses_are_swapped: true,
            others_sweep_too: true,
            phases_absorb: true,
            waiting_is_no_pause: true,
            heartbeats_are_adopted: true,
            lists_tell_what_is_gone: true,
            silences_are_remembered: true,
            stamps_tell_when_they_were_asked_for: true,
            only_later_stamps_count: true,
            controllers_vouch: true,
            gone_pods_prove_nothing: true,
            fence_falls_later: 0,
            cut_off_for: seconds(FENCE_AFTER) - 2,
            forgotten_after: seconds(MAYBE_LOST_AFTER),
            renewed_in_time: seconds(LOST_AFTER) - 2,
            renewed_in_time_without_pod: seconds(POD_GONE_AFTER) - 2,
            heartbeat_timeout: seconds(HEARTBEAT_TIMEOUT),
            end_timeout: seconds(END_TIMEOUT),
        }
    }
}

/// A budget in ticks.
pub fn seconds(budget: Duration) -> u8 {
    u8::try_from(budget.as_secs()).unwrap_or(u8::MAX)
}
