//! The timeouts that add up to the guarantee: an end that no gateway can write is written within 30 seconds.
//!
//! | Step | Seconds |
//! |---|---|
//! | The last renewal reaches the controller's watch: [`HEARTBEAT_MAX_AGE`], or the controller distrusts its watch | 5 |
//! | The gateway is silent: [`LOST_AFTER`] | 20 |
//! | The next check of the controller: [`TICK`] and rounding | 1 |
//! | Writing the ends | 4 |
//!
//! Silence is counted while the controller's watch works. A lapse of the watch, as in an outage of the API server, adds the
//! length of the lapse and at most [`LAPSE_GRACE`].

use std::time::Duration;

/// The interval at which a gateway instance renews its Lease.
pub const RENEW_INTERVAL: Duration = Duration::from_secs(5);
/// The timeout of one renewal of a Lease.
pub const RENEW_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay between a failed renewal and the next attempt.
pub const RENEW_RETRY_DELAY: Duration = Duration::from_secs(1);
/// How long after its last sign of life an instance counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(20);
/// How long after its last renewal a gateway without a Lease must assume that it was declared lost. It is shorter than
/// [`LOST_AFTER`], because clocks differ.
pub const MAYBE_LOST_AFTER: Duration = Duration::from_secs(15);
/// How long a live gateway may take to create a deleted Lease again.
pub const LEASE_RECREATE_GRACE: Duration = Duration::from_secs(6);
/// How long a gateway with Redis may reach neither the API server nor Redis before it ends its own sessions.
///
/// It is shorter than [`LOST_AFTER`], so that no user can still type in a session that is shown as ended. The exception is a
/// gateway whose Pod object was deleted, because [`POD_GONE_AFTER`] is even shorter.
pub const FENCE_AFTER: Duration = Duration::from_secs(15);
/// How long the API server may refuse a gateway's credentials (401) before the gateway ends its own sessions.
pub const CREDENTIALS_REVOKED_AFTER: Duration = FENCE_AFTER;
/// The interval of a gateway's heartbeats in Redis. It is so short that a cut-off gateway ends its sessions before a controller
/// declares it lost, even if one heartbeat was lost and the controller polls Redis [`REDIS_POLL_INTERVAL`] later.
pub const REDIS_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// The interval at which a controller reads the gateways' heartbeats from Redis.
pub const REDIS_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a Lease must be unrenewed before a controller vouches for its instance.
///
/// A controller that sees the instance's heartbeats in Redis then writes to the Lease, so that a controller without Redis
/// sees a sign of life too. This time plus one [`REDIS_POLL_INTERVAL`] is shorter than [`LOST_AFTER`] − [`FENCE_AFTER`] +
/// [`VOUCH_MAX_AGE`].
pub const VOUCH_AFTER: Duration = Duration::from_secs(6);
/// The greatest age of a heartbeat in Redis with which a controller vouches for an instance. Vouching can make the Lease of a
/// dead instance look younger by at most this time. The last heartbeat of a live instance is at most
/// [`REDIS_HEARTBEAT_INTERVAL`] + [`REDIS_POLL_INTERVAL`] old.
pub const VOUCH_MAX_AGE: Duration = Duration::from_secs(3);
/// The interval at which a controller checks which instances are overdue.
pub const TICK: Duration = Duration::from_millis(500);
/// The longest gap between two ticks of a running process. A longer gap means that the process was paused.
pub const PAUSED_AFTER: Duration = Duration::from_secs(3);
/// The interval at which a controller renews its own Lease, which tests its watch.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(2);
/// The timeout of one renewal of the controller's own Lease. It is so short that after a failed renewal, the next one can
/// return within [`HEARTBEAT_MAX_AGE`].
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// The greatest age of the controller's own heartbeat in its watch at which the controller trusts that watch.
pub const HEARTBEAT_MAX_AGE: Duration = Duration::from_secs(5);
/// How long a controller waits after a lapse of its own watch before it declares instances lost again. An instance whose
/// death is proven is declared lost at once. After an outage, a live gateway renews its Lease within this time: one request
/// that hangs, the pause, and the next request.
pub const LAPSE_GRACE: Duration = Duration::from_secs(2 * RENEW_TIMEOUT.as_secs() + RENEW_RETRY_DELAY.as_secs());
/// How long other controllers leave the sessions of a lost instance to the controller that declared the loss.
pub const SWEEP_HEAD_START: Duration = Duration::from_secs(3);
/// The timeout of a controller's attempt to write an end.
pub const END_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a gateway has to end a session on request before a controller ends it.
pub const TERMINATION_TIMEOUT: Duration = Duration::from_secs(20);
/// How long after the request a controller also sends the order through Redis, in case the gateway cannot see the API.
pub const ORDER_DELAY: Duration = Duration::from_secs(1);
/// The interval at which a controller repeats an order.
pub const ORDER_INTERVAL: Duration = Duration::from_secs(2);
/// How long the Lease of a lost instance is kept, so that people can inspect it.
pub const LOST_LEASE_RETENTION: Duration = Duration::from_hours(1);
/// How long before a limit ends the session the user is warned.
pub const LIMIT_WARNING: Duration = Duration::from_mins(1);
/// How long a gateway waits before it ends an Active object that names the gateway but has no session there.
pub const STALE_AFTER: Duration = Duration::from_secs(5);
/// The interval at which a gateway compares its sessions with the objects that the API server lists.
pub const COMPARISON_INTERVAL: Duration = Duration::from_secs(30);
/// How long a session's task may make no progress before the gateway's watchdog ends the session.
pub const STUCK_AFTER: Duration = Duration::from_secs(15);
/// How long a connection may be silent before a keepalive is sent on it.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a peer that owes an answer may be silent before its network counts as lost.
pub const NETWORK_LOST_AFTER: Duration = Duration::from_secs(20);
/// How much longer a peer behind a proxy may be silent while data that was sent before may still be on its way to it. With
/// [`NETWORK_LOST_AFTER`] and [`NETWORK_CHECK_INTERVAL`], a loss in the middle of a transfer is noticed within 75 seconds.
pub const TRANSFER_ALLOWANCE: Duration = Duration::from_secs(50);
/// The interval at which a session checks the health of its connections.
pub const NETWORK_CHECK_INTERVAL: Duration = Duration::from_secs(3);
/// How long all connections to the target may be gone before the session ends, if its channels have not been told. With
/// [`NETWORK_CHECK_INTERVAL`], the session ends within five seconds of the loss.
pub const TARGET_GONE_AFTER: Duration = Duration::from_secs(2);
/// How long a user may leave buffered data unread after the connections to the target have ended, before the session ends.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(20);
/// The interval at which a gateway checks whether its users still have access.
pub const ACCESS_CHECK_INTERVAL: Duration = Duration::from_secs(30);
/// How long after its last sign of life an instance counts as lost if its Pod object is gone.
pub const POD_GONE_AFTER: Duration = Duration::from_secs(10);
