//! The connection to Redis, the second witness of a gateway in it, and the orders that pass through it.

pub mod heartbeat;
mod link;
pub mod orders;

pub use link::{REDIS_TIMEOUT, RedisFailure, RedisLink, RedisSettings};
pub use orders::{EndOrder, OrderedCause};
