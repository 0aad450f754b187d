//! The times that add up to the guarantee: an end that nobody is left to write is written within 30 seconds.
//!
//! The last renewal may reach a controller's watch up to [`HEARTBEAT_MAX_AGE`] late: a controller whose watch is later
//! than that doubts itself. [`LOST_AFTER`] it, the controller calls the gateway lost; it looks every [`TICK`], and has
//! the rest, four seconds, for the sweep: 5 + 20 + 1 + 4.

use std::time::Duration;

/// How often a gateway instance renews its Lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long one attempt to renew may take.
pub const RENEW_TIMEOUT: Duration = Duration::from_secs(3);
/// How long after a failed attempt the next one starts.
pub const RENEW_RETRY: Duration = Duration::from_secs(1);
/// How long after the last evidence of it an instance counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(20);
/// How long after its last renewal a gateway that finds no Lease must think that it was called lost: less than
/// [`LOST_AFTER`], since clocks differ.
pub const MAYBE_LOST_AFTER: Duration = Duration::from_secs(15);
/// How long a living gateway may take to create its Lease anew when somebody has deleted it.
pub const RECREATED_WITHIN: Duration = Duration::from_secs(6);
/// How long a gateway that has Redis tries to reach either witness before it ends its own sessions: less than
/// [`LOST_AFTER`], so that nobody is shown as ended who can still type; but [`POD_GONE_AFTER`] is
/// less, where the Pod object is gone.
pub const FENCE_AFTER: Duration = Duration::from_secs(15);
/// How often a gateway shows itself in Redis. A sign that is lost there costs no more than this and a look of the
/// [`LOST_AFTER`] that a controller still waits when the gateway, after [`FENCE_AFTER`], has ended its sessions.
pub const SHOW_EVERY: Duration = Duration::from_secs(2);
/// How often a controller asks Redis for the gateways' signs of life.
pub const WITNESS_LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a Lease has been silent when a controller that hears of its instance through Redis vouches for it, so that
/// a controller which Redis does not answer hears of it too. What a sign through Redis adds to the instance's own
/// patience, [`FENCE_AFTER`], it must add to everybody's: with a look of a second this is less than [`LOST_AFTER`] −
/// [`FENCE_AFTER`] + [`VOUCH_WITHIN`].
pub const VOUCH_AFTER: Duration = Duration::from_secs(6);
/// How old a sign of life may be that is vouched for: with it the Lease of a dead instance looks younger by as much.
/// An instance that lives has always given one within [`SHOW_EVERY`] and a look.
pub const VOUCH_WITHIN: Duration = Duration::from_secs(3);
/// How often a controller compares the evidence with its clock.
pub const TICK: Duration = Duration::from_millis(500);
/// A longer time between two looks means that the controller itself was paused.
pub const PAUSED_AFTER: Duration = Duration::from_secs(3);
/// How often a controller renews the Lease by which it checks its own watch.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// How long one attempt at that may take: after one that failed the next must still come back in time.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// How old the controller's own heartbeat may be, as its watch shows it, for the controller to trust that watch.
pub const HEARTBEAT_MAX_AGE: Duration = Duration::from_secs(5);
/// How long the other controllers leave a lost instance's sessions to the one that declared the loss.
pub const SWEEP_HEAD_START: Duration = Duration::from_secs(3);
/// How long a controller's attempt to write an end may take.
pub const END_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a gateway has to end a session that somebody asked to end, before a controller does.
pub const TERMINATION_PATIENCE: Duration = Duration::from_secs(20);
/// How long a gateway has for that before a controller tells it through Redis too: it may not see the API.
pub const ORDER_AFTER: Duration = Duration::from_secs(1);
/// How often a controller repeats that.
pub const ORDER_EVERY: Duration = Duration::from_secs(2);
/// How long the Lease of a lost instance is kept, for people to look at.
pub const LOST_LEASE_KEPT: Duration = Duration::from_hours(1);
/// How long before the end by a limit the user is warned.
pub const LIMIT_WARNING: Duration = Duration::from_mins(1);
/// How long an Active object without a connection is left alone by the gateway that it names.
pub const STALE_AFTER: Duration = Duration::from_secs(5);
/// How long a session's task may not move before its gateway's supervisor ends the session.
pub const STUCK_AFTER: Duration = Duration::from_secs(15);
/// How long a silent connection is left alone before its other side is asked for a sign of life.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// How long the other side of a connection may be silent while it owes an answer.
pub const NETWORK_LOST_AFTER: Duration = Duration::from_secs(20);
/// How often a session looks at the health of its connections.
pub const NETWORK_LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long all connections to a session's target may be gone, without a channel having been told, before the session ends.
/// With a look every [`NETWORK_LOOK_EVERY`], the end comes within five seconds of the loss.
pub const TARGET_GONE_AFTER: Duration = Duration::from_secs(2);
/// How long a user may read nothing of the data that is left after the target's connections have ended.
pub const UNREAD_AFTER_TARGET_LOST: Duration = Duration::from_secs(20);
/// How often it is looked at whether those who are in still may be.
pub const ACCESS_LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long after the last evidence of it an instance counts as lost whose Pod object is gone.
pub const POD_GONE_AFTER: Duration = Duration::from_secs(10);
