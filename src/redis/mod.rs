//! The optional Redis: its client, the gateways' heartbeats in it, and the orders and reported ends that pass through it.

mod client;
pub mod heartbeat;
pub mod orders;
pub mod reported_ends;

pub use client::{REDIS_TIMEOUT, RedisClient, RedisError, RedisSettings};
pub use orders::{EndOrder, OrderedCause};
